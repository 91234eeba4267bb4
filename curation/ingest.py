"""Ingest: the pictures of databases, as they are, become a corpus with splits by subject.

Beside the corpus, ``files.csv`` says of each picture which file it came from, and the file's
SHA-256: with it the same pictures can be found again where the database lies.
"""

import csv
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curation.artifact import file_hash
from curation.corpus import EMOTIONS, content_id, encode_png, write_corpus
from curation.decoding import UnreadableImageError, read_image
from curation.parallel import ordered_map
from curation.progress import track
from curation.skipped import Skipped

log = logging.getLogger(__name__)

FILES = "files.csv"
FILE_COLUMNS = ("database", "source", "sha256", "id")


class Database(Protocol):
    """A database of labelled faces; one adapter a file in `curation.databases`."""

    @property
    def expected(self) -> Mapping[str, int]:
        """Label → pictures that the complete database has; empty where nobody knows."""
        ...

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture.

        ``image`` is a path, a picture (H, W, 3) uint8 RGB, or a picklable function that returns
        one; ``emotion`` the label as the database has it, in our spelling; ``database`` its short
        name; ``source`` where the picture lies in it. ``subject`` (``kdef/AF01``), ``session``,
        ``pose``, ``sex``, ``split``, ``valence``, ``arousal`` and ``origin`` where they are known.
        A picture that the complete database has is yielded even if it is not there, so that it is
        named. A row with ``problem`` (a reason, and maybe a ``detail``) instead of a picture is
        listed as skipped.
        """
        ...


def ingest(
    *,
    database: Database,
    split: Callable[[Iterable[str]], Mapping[str, str]],
    out: Path,
    emotions: Sequence[str] = EMOTIONS,
    mapping: Mapping[str, str] | None = None,
    own_split: bool = True,
    forget: Sequence[str] = (),
    test_databases: Mapping[str, Database] | None = None,
    every_emotion: bool = True,
    workers: int = 1,
) -> dict[str, Any]:
    """Read databases into one corpus.

    Args:
        database: The training database.
        split: Subjects → split of each, before anything is augmented. Without a subject, a
            picture counts as its own person.
        out: Empty folder to fill.
        emotions: Labels of the corpus, in order.
        mapping: A database's label → emotion. Pictures of a label that is not in it, or leads to
            none of `emotions`, are left out; None maps each emotion to itself.
        own_split: Whether a split that the database states wins over `split`.
        forget: Subjects (``kdef/AF01``) whose pictures are not taken in.
        test_databases: More databases; every row of these is a test row.
        every_emotion: Whether a database that lacks an emotion is an error.
        workers: Processes that decode pictures; changes nothing but the time.

    Returns:
        Counts of rows by database and emotion, of subjects by split, of skipped by reason; by
        database and label, what the complete database has (``expected``) and what is short of it
        (``missing``).

    Raises:
        ValueError: If an emotion has no picture in a database, no label is mapped to one,
            two databases have one name, a subject to forget is unknown, or the database states a
            split that has a subject on two sides.
    """
    if mapping is None:
        mapping = {emotion: emotion for emotion in emotions}
    if unreachable := [emotion for emotion in emotions if emotion not in mapping.values()]:
        raise ValueError(
            f"no label is mapped to emotion {unreachable[0]!r}; the mapping gives "
            f"{', '.join(sorted({name for name in mapping.values() if name}))} (labels.mapping)"
        )
    skipped = Skipped()
    expected: dict[str, Mapping[str, int]] = {}
    listed = _listed(database, skipped, expected)
    assignment = split(_person(row) for row in listed)
    rows = [
        {**row, "split": (own_split and row.get("split")) or assignment[_person(row)]}
        for row in listed
    ]
    _require_one_side(rows)
    for key, other in (test_databases or {}).items():
        added = [{**row, "split": "test"} for row in _listed(other, skipped, expected)]
        if same := {row["database"] for row in rows} & {row["database"] for row in added}:
            raise ValueError(
                f"two databases are called {min(same)!r}, so that nothing could tell their rows "
                f"apart; give one another name or style (test_databases.{key})"
            )
        rows += added
    if strangers := set(forget) - {row.get("subject") for row in rows}:
        raise ValueError(
            f"there is no subject {min(strangers)!r} to forget; subjects are called like "
            f"{next((row['subject'] for row in rows if row.get('subject')), 'nobody')!r} (forget)"
        )

    counts: dict[str, Counter[str]] = {row["database"]: Counter() for row in rows}
    labels: dict[str, Counter[str]] = {row["database"]: Counter() for row in rows}
    people: dict[str, set[tuple[str, str]]] = {}
    files: list[tuple[str, ...]] = []

    def wanted() -> Iterator[dict[str, Any]]:
        for row in rows:
            label = row["emotion"]
            emotion = mapping.get(label)
            if row.get("subject") in forget:
                skipped.add(row["source"], "subject to be forgotten", row["subject"])
            elif emotion not in emotions:
                image = row["image"]
                if isinstance(image, Path) and not image.exists():
                    skipped.add(row["source"], "file not found", label)
                    continue
                labels[row["database"]][label] += 1
                skipped.add(row["source"], "not one of the emotions wanted", label)
            else:
                yield {**row, "emotion": emotion, "label": label}

    def accepted() -> Iterator[dict[str, Any]]:
        seen: dict[str, str] = {}
        read = ordered_map(_read, wanted(), workers=workers)
        for row in track(read, label="ingest", total=len(rows)):
            source, label = row["source"], row.pop("label")
            if problem := row.get("problem"):
                skipped.add(source, problem)
                continue
            labels[row["database"]][label] += 1
            if row["id"] in seen:
                skipped.add(source, "same pixels as another picture", seen[row["id"]])
                continue
            seen[row["id"]] = source
            counts[row["database"]][row["emotion"]] += 1
            people.setdefault(row["split"], set()).add((row["database"], _person(row)))
            files.append((row["database"], source, row.pop("sha256"), row["id"]))
            yield row

    total = write_corpus(accepted(), out, emotions)
    skipped.write(out)
    write_files(out / FILES, files)
    for name, found in counts.items() if every_emotion else ():
        if absent := [emotion for emotion in emotions if not found[emotion]]:
            raise ValueError(
                f"database {name!r} has no usable picture of {', '.join(absent)} "
                f"(skipped: {skipped.counts() or 'nothing'}); drop them from "
                f"emotions=[{','.join(emotions)}] or look at what the folder holds"
            )
    return {
        "rows": total,
        "databases": {name: dict(sorted(found.items())) for name, found in counts.items()},
        "subjects": {name: len(found) for name, found in sorted(people.items())},
        "expected": {name: dict(wants) for name, wants in expected.items() if wants},
        "missing": {
            name: short
            for name, wants in expected.items()
            if (short := _short(name, wants, labels[name], forget))
        },
        "skipped": skipped.counts(),
    }


def count(database: Database) -> dict[str, Any]:
    """Count the pictures of a database by label, as `ingest` does, but decode none.

    A file counts if it is there and not empty; that it is damaged, only `ingest` finds.

    Returns:
        The database's short name (``database``); by label, what was ``found``, what the complete
        database has (``expected``, empty where nobody knows) and what is short of it
        (``missing``, negative: too many); ``skipped``, the rows of what does not count.

    Raises:
        FileNotFoundError: If the database's folder is not there.
        ValueError: If it holds no labelled picture.
    """
    skipped, expected, found = Skipped(), {}, Counter()
    rows = _listed(database, skipped, expected)
    for row in rows:
        image = row["image"]
        if isinstance(image, Path) and not image.is_file():
            skipped.add(row["source"], "file not found", row["emotion"])
        elif isinstance(image, Path) and image.stat().st_size == 0:
            skipped.add(row["source"], "empty file", row["emotion"])
        else:
            found[row["emotion"]] += 1
    [(name, wants)] = expected.items()
    return {
        "database": name,
        "found": dict(sorted(found.items())),
        "expected": dict(sorted(wants.items())),
        "missing": _differences(wants, found),
        "skipped": skipped.rows,
    }


def write_files(path: Path, files: Iterable[Sequence[str]]) -> None:
    """Write a table of files: `FILE_COLUMNS`, ``sha256`` empty for a picture without its own."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FILE_COLUMNS)
        writer.writerows(files)


def _listed(
    database: Database, skipped: Skipped, expected: dict[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    """List a database's rows; what it cannot use is noted, and what it should hold."""
    rows = []
    for row in database.rows():
        if problem := row.get("problem"):
            skipped.add(row["source"], problem, row.get("detail", ""))
        else:
            rows.append(row)
    if not rows:
        raise ValueError(
            f"{database!r} holds no labelled picture (skipped: {skipped.counts() or 'nothing'})"
        )
    expected[rows[0]["database"]] = database.expected
    return rows


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with its picture as PNG bytes, id and its file's hash; or a ``problem``."""
    source: Path | np.ndarray | Callable[[], np.ndarray] = row["image"]
    sha256 = ""  # a picture in a table, or drawn by code, has its id alone
    try:
        if isinstance(source, Path):
            image = read_image(source)
            sha256 = file_hash(source)
        else:
            image = source if isinstance(source, np.ndarray) else source()
    except UnreadableImageError as error:
        return {**row, "image": None, "problem": str(error)}
    origin = row.get("origin") or "real"
    picture = {"image": encode_png(image), "id": content_id(image), "sha256": sha256}
    return {**row, **picture, "origin": origin}


def _short(
    name: str, expected: Mapping[str, int], found: Mapping[str, int], forgotten: Sequence[str]
) -> dict[str, int]:
    """Return label → how many pictures are missing (negative: too many), and say so."""
    short = _differences(expected, found)
    if short and not forgotten:
        words = ", ".join(f"{found[label]} of {expected[label]} {label}" for label in sorted(short))
        log.warning(
            "%s is not as the complete database: %s; skipped.csv names what is missing", name, words
        )
    return short


def _differences(expected: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    short = {label: wanted - found[label] for label, wanted in expected.items()}
    return {label: number for label, number in short.items() if number}


def _person(row: Mapping[str, Any]) -> str:
    return row.get("subject") or row["source"]


def _require_one_side(rows: Iterable[Mapping[str, Any]]) -> None:
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(_person(row), set()).add(row["split"])
    if crossing := sorted(name for name, found in sides.items() if len(found) > 1):
        raise ValueError(
            f"the database's own split has {len(crossing)} subjects on two sides, the first "
            f"{crossing[0]!r} in {' and '.join(sorted(sides[crossing[0]]))}; split by subject "
            "instead (protocol.own_split=false), or take the subjects away if they are wrong"
        )
