"""Augment: changed copies of the training faces, written once (offline).

The recipe is a configuration: an operator (`curation.operators`) and a number of copies. The
default is protocol 1's (Randellini et al. 2022), six Keras layers and five copies.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.corpus import Corpus, content_id, decode_png, encode_png, write_corpus
from curation.operators import Operator
from curation.parallel import ordered_map
from curation.progress import track
from curation.skipped import Skipped

log = logging.getLogger(__name__)

# what a copy has in common with its parent; quality and scores are the parent's picture's own
INHERITED = (
    "emotion",
    "database",
    "subject",
    "session",
    "pose",
    "sex",
    "valence",
    "arousal",
    "source",
    "split",
)
DRAWS = 20  # a fair coin that mirrors or not fails once in a million to give a mirrored copy
UNCHANGED = f"no new picture in {DRAWS} draws"
KNOWN = "same picture as another row"
PATIENCE = 100  # skipped copies, and none made, before a recipe is given up


Family = tuple[dict[str, Any], list[dict[str, Any] | None]]


@dataclass(frozen=True)
class Copies:
    """Makes the copies of one face; what a worker process does.

    Attributes:
        operators: What changes a copy.
        number: Copies of a face.
        seed: Which random copies.
    """

    operators: Operator
    number: int
    seed: int

    def __call__(self, row: dict[str, Any]) -> Family:
        """Return a row of a corpus and its copies, None for each that gave no new picture."""
        if row["split"] != "train" or row["origin"] != "real" or row.get("keep") is False:
            return row, []
        face = decode_png(row["image"])
        face.flags.writeable = False  # an operator that drew into it would change the next copies
        inherited = {name: row[name] for name in INHERITED}
        known = {row["id"]}
        copies: list[dict[str, Any] | None] = []
        for number in range(self.number):
            rng = np.random.default_rng([self.seed, int(row["id"], 16), number])
            made = self._made(face, rng, known)
            if made is not None:
                known.add(made["id"])
                made = {**inherited, **made, "parent": row["id"], "origin": "geometric"}
            copies.append(made)
        return row, copies

    def _made(
        self, face: np.ndarray, rng: np.random.Generator, known: set[str]
    ) -> dict[str, Any] | None:
        for _ in range(DRAWS):
            copy = self.operators(face, rng)
            if copy.shape != face.shape or copy.dtype != np.uint8:
                raise ValueError(
                    f"augment.operators made {copy.shape} {copy.dtype} of a face of {face.shape} "
                    "uint8; a copy keeps size and type (end the recipe with a resize)"
                )
            if (identity := content_id(copy)) not in known:
                return {"id": identity, "image": encode_png(copy)}
        return None


def augment(
    *,
    corpus: Path,
    operators: Operator | None,
    copies: int,
    seed: int,
    out: Path,
    workers: int = 1,
) -> dict[str, Any]:
    """Pass all rows on and add copies of the real training faces after each.

    A face that is held back (``keep`` false) gets no copies.

    A copy inherits who, what and where from (`INHERITED`); its other columns are null. One that
    comes out as its parent or another row of the corpus is drawn again, and listed in
    ``skipped.csv`` where that does not help.

    Args:
        corpus: The standardised corpus.
        operators: What changes a copy; None where there are no copies.
        copies: Copies of each training face.
        seed: Which random copies; each depends on (seed, parent's id, number of the copy) only.
        out: Empty folder to fill.
        workers: Processes; they change nothing but the time.

    Returns:
        Counts of rows by origin, and of copies that were skipped.

    Raises:
        ValueError: If `copies` is negative, or the operators give no picture but the faces
            themselves.
    """
    if copies < 0:
        raise ValueError(f"augment.copies is {copies}; it must be 0 or more")
    if copies and operators is None:
        raise ValueError(
            f"augment.copies is {copies} and augment.operators null; choose a recipe "
            "(augment=randellini2022), or no copies"
        )
    source = Corpus(corpus)
    counts = {"real": 0, "geometric": 0}
    skipped = Skipped()

    def rows() -> Iterator[dict[str, Any]]:
        known = set(source.facts["id"])
        for row, children in track(families, label="augment", total=len(source)):
            counts[row["origin"]] = counts.get(row["origin"], 0) + 1
            yield row
            for number, child in enumerate(children):
                if child is None:
                    skipped.add(row["source"] or row["id"], UNCHANGED, f"copy {number}")
                elif child["id"] in known:
                    skipped.add(row["source"] or row["id"], KNOWN, f"copy {number}: {child['id']}")
                else:
                    known.add(child["id"])
                    counts["geometric"] += 1
                    yield child
            if not counts["geometric"] and len(skipped.rows) >= PATIENCE:
                break

    if copies and operators is not None:
        make = Copies(operators, copies, seed)
        families = ordered_map(make, source.rows(), workers=workers)
    else:
        families = ((row, []) for row in source.rows())
    total = write_corpus(rows(), out, source.emotions)
    if skipped.rows and not counts["geometric"]:
        raise ValueError(
            f"augment.operators changed none of the first {counts['real']} faces of {corpus} "
            f"({len(skipped.rows)} copies: {skipped.counts()}); choose another recipe, or "
            "augment=none"
        )
    skipped.write(out)
    return {"rows": total, "origins": counts, "skipped": skipped.counts()}
