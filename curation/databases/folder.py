"""Any folder of class folders: ``root/[split/]<emotion>/*.jpg``, with an optional table of people.

Label codes: the folder's name, in English, as `EMOTIONS` or a usual synonym of it, or as ``names``
says. A folder called train, validation (val) or test above it states the split.
Subject rule: from the table; without one nobody is known, and every picture counts as a person.
Expected counts: none. Licence: unknown to us, so nothing of it is published by default.
"""

import csv
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from curation.corpus import EMOTIONS
from curation.databases.layout import (
    LINK_OUTSIDE,
    PICTURES,
    Entry,
    entries,
    layout_error,
    source_of,
    subfolders,
)
from curation.databases.spelling import emotion_of, split_of
from curation.databases.table import problem_row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder:
    """A folder of class folders.

    Attributes:
        root: The folder.
        database: Name of the database in the corpus, and prefix of its subjects.
        labels: A CSV in the folder that names a subject (and may name the label) of files;
            ignored if it does not exist, none if null.
        file_column: Its column of paths relative to the folder.
        label_column: Its column of emotions; where it is absent, the folder's name counts.
        subject_column: Its column of people; where it is absent, people are unknown.
        names: The folder's or table's name of a class, in any case → emotion.
    """

    root: Path | str
    database: str = "folder"
    labels: str | None = "labels.csv"
    file_column: str = "file"
    label_column: str = "label"
    subject_column: str = "subject"
    names: Mapping[str | int, str] = field(default_factory=dict)

    @property
    def expected(self) -> Mapping[str, int]:
        """Nothing: nobody knows how many pictures a folder should hold."""
        return {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture, in the order of their paths.

        Yields:
            Dicts with ``image`` (the file's path), ``emotion`` (as the folder calls it, if it is
            no emotion we know), ``database``, ``subject`` and ``split`` (or None), ``source``. A
            file that the table names is yielded whether it is there or not; a picture that has
            neither a class folder nor a line in the table is a problem row.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If there is no picture in a class folder, or the table lacks its file
                column.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(
                f"no folder {root} (database.root); it should hold one folder an emotion: "
                f"{', '.join(EMOTIONS)}"
            )
        table = _read_table(root, self.labels, self.file_column)
        missing = dict.fromkeys(table)
        names = {str(raw).strip().lower(): emotion for raw, emotion in self.names.items()}
        found = False
        for entry in _pictures(root):
            missing.pop(entry.source, None)
            if entry.problem:
                yield entry.row()
            elif entry.path.parent == root and entry.source not in table:
                yield entry.row("picture in no class folder")
            else:
                found = True
                yield self._row(root, entry.path, entry.source, table, names)
        if missing:
            log.warning(
                "%s names %d files that are not there, the first %s",
                self.labels,
                len(missing),
                min(missing),
            )
        for source in missing:
            name = PurePosixPath(source)
            if name.is_absolute() or ".." in name.parts:
                yield problem_row(source, LINK_OUTSIDE)
            else:
                yield self._row(root, root / name, source, table, names)
        if not found:
            example = f"happy/001.jpg in one of {', '.join(EMOTIONS)}"
            raise layout_error(root, database="a picture in a class folder", example=example)

    def _row(
        self,
        root: Path,
        path: Path,
        source: str,
        table: Mapping[str, Mapping[str, str]],
        names: Mapping[str, str],
    ) -> dict[str, Any]:
        facts = table.get(source, {})
        label = (facts.get(self.label_column) or path.parent.name).strip().lower()
        subject = (facts.get(self.subject_column) or "").strip()
        above = path.relative_to(root).parts[:-2]
        return {
            "image": path,
            "emotion": emotion_of(names.get(label, label)),
            "database": self.database,
            "subject": f"{self.database}/{subject}" if subject else None,
            "split": next(filter(None, map(split_of, above)), None),
            "source": source,
        }


def _pictures(root: Path) -> Iterator[Entry]:
    """List the files, then folders that somebody gave the name of a picture."""
    yield from entries(root)
    waiting = subfolders(root)
    while waiting:
        folder = waiting.pop()
        if folder.suffix.lower() in PICTURES:
            yield Entry(folder, source_of(root, folder))
        waiting += subfolders(folder)


def _read_table(root: Path, labels: str | None, file_column: str) -> dict[str, dict[str, str]]:
    if labels is None or not (path := root / labels).exists():
        return {}
    # undecodable names are replaced as those of the files are
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
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
