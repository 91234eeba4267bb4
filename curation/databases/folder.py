"""Any folder of class folders: ``root/[split/]<emotion>/*.jpg``, with an optional table of people.

Label codes: the folder's name, in English, as `EMOTIONS` or a usual synonym of it. A folder
called train, validation (val) or test above it states the split.
Subject rule: from the table; without one nobody is known, and every picture counts as a person.
Expected counts: none. Licence: unknown to us, so nothing of it is published by default.
"""

import csv
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from curation.corpus import EMOTIONS, SPLITS

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
SPLIT_SYNONYMS = {"training": "train", "val": "validation", "valid": "validation"}


def rows(
    root: Path | str,
    *,
    database: str = "folder",
    labels: str | None = "labels.csv",
    file_column: str = "file",
    label_column: str = "label",
    subject_column: str = "subject",
) -> Iterator[dict[str, Any]]:
    """Yield one row a picture, in the order of their paths.

    Args:
        root: The folder.
        database: Name of the database in the corpus, and prefix of its subjects.
        labels: A CSV in the folder that names a subject (and may name the label) of files;
            ignored if it does not exist, none if null.
        file_column: Its column of paths relative to the folder.
        label_column: Its column of emotions; where it is absent, the folder's name counts.
        subject_column: Its column of people; where it is absent, people are unknown.

    Yields:
        Dicts with ``image`` (the file's path), ``emotion`` (as the folder calls it, if it is no
        emotion we know), ``database``, ``subject`` (or None), ``split`` (or None), ``source``.

    Raises:
        FileNotFoundError: If the folder is not there.
        ValueError: If there is no picture in a class folder, or the table lacks its file column.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root} (database.root); it should hold one folder an emotion: "
            f"{', '.join(EMOTIONS)}"
        )
    table = _read_table(root, labels, file_column)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    labelled = [path for path in files if path.parent != root or _key(root, path) in table]
    if not labelled:
        raise ValueError(
            f"{root} holds no picture in a class folder (database.root); expected for example "
            f"{root / 'happy' / '001.jpg'} ({', '.join(sorted(SUFFIXES))})"
        )
    listed = {_key(root, path) for path in files}
    if missing := sorted(table.keys() - listed):
        log.warning(
            "%s names %d files that are not there, the first %s", labels, len(missing), missing[0]
        )
    for path in labelled:
        source = _key(root, path)
        facts = table.get(source, {})
        folder = facts.get(label_column) or path.parent.name
        name = folder.strip().lower()
        subject = (facts.get(subject_column) or "").strip()
        parts = path.relative_to(root).parts
        above = parts[0].lower() if len(parts) > 2 else ""
        side = SPLIT_SYNONYMS.get(above, above)
        yield {
            "image": path,
            "emotion": SYNONYMS.get(name, name),
            "database": database,
            "subject": f"{database}/{subject}" if subject else None,
            "split": side if side in SPLITS else None,
            "source": source,
        }


def _key(root: Path, path: Path) -> str:
    # old archives hold names in other encodings, which neither Parquet nor CSV can store
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _read_table(root: Path, labels: str | None, file_column: str) -> dict[str, dict[str, str]]:
    if labels is None or not (path := root / labels).exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if file_column not in (reader.fieldnames or []):
            raise ValueError(
                f"{path} has no column {file_column!r}, only {reader.fieldnames}; "
                "set database.file_column"
            )
        # tables made on Windows separate folders by backslashes
        return {
            PurePosixPath(line[file_column].replace("\\", "/")).as_posix(): line
            for line in reader
            if line[file_column]
        }
