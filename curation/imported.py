"""Stages ``import`` and ``gather``: synthetic faces of third parties, such as face swaps.

They come in by any adapter of `curation.databases`, are standardised, scored and selected by the
same stages as what our own generators draw, each kind with figures of its own, and join it after
the gates.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curation.corpus import Corpus, write_corpus
from curation.ingest import Database, ingest
from curation.skipped import Skipped

log = logging.getLogger(__name__)

FORGOTTEN = "derives from a subject to be forgotten"
TWICE = "same face as another picture"


@dataclass(frozen=True)
class DerivedFrom:
    r"""Says which real person a synthetic face derives from.

    Attributes:
        pattern: Regular expression that is searched in the column.
        subject: The person as the corpus calls them, with the pattern's groups: ``kdef/\1``.
        column: ``source``, the picture's path, or ``subject``, what the database's table says.
    """

    pattern: str
    subject: str
    column: Literal["source", "subject"] = "source"

    def __call__(self, row: Mapping[str, Any]) -> str | None:
        """Return the person, or None where the row does not say."""
        found = re.search(self.pattern, row.get(self.column) or "")
        return found.expand(self.subject) if found else None


@dataclass
class _Synthetic:
    """A database whose every picture is synthetic and none may teach who is tested on."""

    database: Database
    derived_from: DerivedFrom | None
    splits: Mapping[str, str] = field(repr=False)
    forget: Sequence[str] = ()
    people: set[str] = field(default_factory=set, repr=False)
    nameless: int = 0

    @property
    def expected(self) -> Mapping[str, int]:
        return self.database.expected

    def rows(self) -> Iterator[dict[str, Any]]:
        for row in self.database.rows():
            if row.get("problem"):
                yield row
                continue
            person = self.derived_from(row) if self.derived_from else None
            if person is None:
                self.nameless += 1
            else:
                self.people.add(person)
            if problem := self._problem(person):
                yield {"source": row["source"], "problem": problem, "detail": person}
            else:
                yield {**row, "subject": person, "split": "train", "origin": "imported"}

    def _problem(self, person: str | None) -> str | None:
        if person in self.forget:
            return FORGOTTEN
        split = self.splits.get(person or "", "train")
        return None if split == "train" else f"derives from a subject of split {split}"


def import_faces(
    corpus: Path,
    out: Path,
    *,
    database: Database,
    emotions: Sequence[str],
    mapping: Mapping[str, str] | None = None,
    derived_from: DerivedFrom | None = None,
    forget: Sequence[str] = (),
    workers: int = 1,
) -> dict[str, Any]:
    """Read a database of synthetic faces into a corpus: origin ``imported``, split ``train``.

    Every picture counts as synthetic, whatever the database says about it. A face that derives
    from a person whom the corpus tests on, or holds out, is left out and named in ``skipped.csv``.

    Args:
        corpus: The ingested corpus of real faces: who is on which side.
        out: Empty folder to fill.
        database: The synthetic faces; under a name of its own, by which its licence is found.
        emotions: Labels, in order; the database need not have all of them.
        mapping: A database's label → emotion (`curation.ingest.ingest`).
        derived_from: How a row tells the real person; without it nobody is known, and nothing can
            be refused.
        forget: People from whom nothing may derive.
        workers: Processes that decode pictures; changes nothing but the time.

    Returns:
        What `curation.ingest.ingest` counts, and ``derived``: the people named, those of them in
        the corpus, and faces that name nobody.

    Raises:
        ValueError: If the database has the name of one in the corpus, or no picture is left.
    """
    known = Corpus(corpus).facts
    people = known.dropna(subset=["subject"])
    splits = dict(zip(people["subject"], people["split"], strict=True))
    synthetic = _Synthetic(database, derived_from, splits, forget)
    facts = ingest(
        database=synthetic,
        split=lambda subjects: dict.fromkeys(subjects, "train"),
        out=out,
        emotions=emotions,
        mapping=mapping,
        every_emotion=False,
        workers=workers,
    )
    if same := sorted(set(facts["databases"]) & set(known["database"].dropna())):
        raise ValueError(
            f"the imported faces are called {same[0]!r}, as a database of {corpus} is; give them "
            "a name of their own (imported.database.database)"
        )
    if not facts["rows"]:
        raise ValueError(f"no picture of {database!r} is left (skipped: {facts['skipped']})")
    ours = synthetic.people & splits.keys()
    if derived_from is None:
        log.warning(
            "import: nothing says from whom the faces derive, so that none could be refused for a "
            "person who is tested on (imported.derived_from)"
        )
    elif not ours or synthetic.nameless:
        log.warning(
            "import: %d faces name nobody by %r, and of %d people named %d are in the corpus, "
            "which calls them like %r (imported.derived_from)",
            synthetic.nameless,
            derived_from.pattern,
            len(synthetic.people),
            len(ours),
            next(iter(splits), "nobody"),
        )
    derived = {
        "people": len(synthetic.people),
        "in_corpus": len(ours),
        "faces_of_nobody": synthetic.nameless,
    }
    return {**facts, "derived": derived}


def gather(drawn: Path, imported: Path, out: Path) -> dict[str, Any]:
    """Put the faces that our generators drew and those imported into one corpus.

    Args:
        drawn: A selected corpus.
        imported: Another.
        out: Empty folder to fill.

    Returns:
        Rows and skipped rows; a picture that is in both stays where it was drawn.

    Raises:
        ValueError: If the two have other labels, or another order of them.
    """
    sources = Corpus(drawn), Corpus(imported)
    if sources[0].emotions != sources[1].emotions:
        raise ValueError(
            f"{drawn} is labelled {', '.join(sources[0].emotions)}, {imported} "
            f"{', '.join(sources[1].emotions)}; make both with the same emotions"
        )
    skipped = Skipped()

    def rows() -> Iterator[dict[str, Any]]:
        yield from sources[0].rows()
        seen = set(sources[0].facts["id"])
        for row in sources[1].rows():
            if row["id"] in seen:
                skipped.add(row["source"] or row["id"], TWICE, row["id"])
            else:
                yield row

    total = write_corpus(rows(), out, sources[0].emotions)
    skipped.write(out)
    return {"rows": total, "skipped": skipped.counts()}
