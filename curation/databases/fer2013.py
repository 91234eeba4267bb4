"""FER2013: 35,887 grey faces of 48×48 pixels, found on the web by emotional words.

Layout: one table, ``fer2013.csv`` (``icml_face_data.csv`` in the second release, with blanks in
its header): ``emotion,pixels,Usage``, pixels as 2,304 numbers row by row. Or the same pictures
as files, ``train|test/<emotion>/*.jpg``, named ``Training_…``, ``PublicTest_…`` and
``PrivateTest_…``. The table wins where both are there.

Label codes: 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral.

Splits: those of the challenge; Training is ``train``, PublicTest ``validation``, PrivateTest
``test``. The files state them by their names; where those are gone, by the folder, in which both
tests are one.

Subject rule: nobody is known. The pictures hold duplicates, some on two sides of the split and
some under two labels; ingest keeps the first of each and names the others.

Expected counts: 35,887; 28,709, 3,589 and 3,589 by split; angry 4,953, disgust 547, fear 5,121,
happy 8,989, neutral 6,198, sad 6,077, surprise 4,002.

Licence: pictures from the web under the challenge's rules; nothing of them may be passed on.

Goodfellow et al., Challenges in representation learning: a report on three machine learning
contests, 2013 (arXiv:1307.0414).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from curation.databases.layout import child, entries, layout_error, locate
from curation.databases.spelling import emotion_of, split_of
from curation.databases.table import cells, problem_row
from curation.progress import track

COLUMNS = ("emotion", "pixels", "usage")
CODES = {
    "0": "angry",
    "1": "disgust",
    "2": "fear",
    "3": "happy",
    "4": "sad",
    "5": "surprise",
    "6": "neutral",
}
USAGES = {"training": "train", "publictest": "validation", "privatetest": "test"}
EXPECTED = {
    "angry": 4953,
    "disgust": 547,
    "fear": 5121,
    "happy": 8989,
    "sad": 6077,
    "surprise": 4002,
    "neutral": 6198,
}
SIDE = 48
GREYS = {str(grey): grey for grey in range(256)}  # twice as fast as int(), and stricter
TABLES = ("fer2013.csv", "icml_face_data.csv")
EXAMPLE = "fer2013.csv (with columns emotion, pixels, Usage) or train/happy/Training_3908.jpg"


@dataclass(frozen=True)
class Fer2013:
    """FER2013, in the order of the table or of the files' paths.

    Attributes:
        root: The folder that holds the table or the folders ``train`` and ``test``, or the table.
    """

    root: Path | str

    @property
    def expected(self) -> Mapping[str, int]:
        """Emotion → pictures in all three splits."""
        return EXPECTED

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture.

        Yields:
            Rows whose ``image`` is a function that gives (48, 48, 3) uint8 RGB (table) or a path
            (files). A line of the table that is no picture is a problem row; ``source`` names it
            (``fer2013.csv:17``, the header being line 1).

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If it holds neither layout, or a table lacks a column.
        """
        root = Path(self.root)
        if root.is_file() and root.suffix.lower() == ".csv":
            yield from _from_table(root)
            return
        root = locate(root, database="FER2013", holds=_holds, example=EXAMPLE)
        table = _table(root)
        yield from _from_table(table) if table else _from_files(root)


def _holds(folder: Path) -> bool:
    if _table(folder):
        return True
    # any split folder will do, so that a user may keep the test pictures alone
    side = child(folder, "train", "training", "test", "publictest", "privatetest", "validation")
    return side is not None and child(side, *CODES.values(), *CODES) is not None


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def _from_table(table: Path) -> Iterator[dict[str, Any]]:
    lines = cells(table)
    _, header = next(lines, (0, []))
    names = [name.lower() for name in header]
    if lacking := [name for name in COLUMNS if name not in names]:
        seen = ", ".join(name[:20] for name in header[:8]) or "nothing"
        raise ValueError(
            f"{table} has no column {', '.join(lacking)}; its first line is {seen} "
            f"(database.root); FER2013's is {', '.join(COLUMNS)}"
        )
    places = [names.index(name) for name in COLUMNS]
    for number, line in track(lines, label=table.name, unit="line"):
        source = f"{table.name}:{number}"
        if len(line) < len(names):
            detail = f"{len(line)} of {len(names)} cells"
            yield problem_row(source, "line of the table is cut off", detail)
            continue
        code, text, usage = (line[place] for place in places)
        if code not in CODES:
            yield problem_row(source, "unknown label", code[:40])
            continue
        if usage.lower() not in USAGES:
            yield problem_row(source, "unknown split", usage[:40])
            continue
        try:
            grey = bytes(map(GREYS.__getitem__, text.split()))
        except KeyError:
            yield problem_row(source, "pixels are not numbers from 0 to 255")
            continue
        if len(grey) != SIDE * SIDE:
            detail = f"{len(grey)} instead of {SIDE * SIDE}"
            yield problem_row(source, "wrong number of pixels", detail)
            continue
        # the bytes are a quarter of the text, and whoever reads the row decodes them
        yield _row(partial(_picture, grey), CODES[code], USAGES[usage.lower()], source)


def _picture(grey: bytes) -> np.ndarray:
    plane = np.frombuffer(grey, np.uint8).reshape(SIDE, SIDE, 1)
    return np.repeat(plane, 3, axis=2)


def _from_files(root: Path) -> Iterator[dict[str, Any]]:
    found = False
    for entry in entries(root):
        if entry.problem:
            yield entry.row()
            continue
        folders = entry.path.relative_to(root).parts[:-1]
        split = _split(entry.path.name, folders)
        if split is None or len(folders) < 2:
            yield entry.row("picture outside the class folders")
            continue
        found = True
        label = folders[-1]
        yield _row(entry.path, CODES.get(label) or emotion_of(label), split, entry.source)
    if not found:
        raise layout_error(root, database="FER2013", example=EXAMPLE)


def _split(name: str, folders: tuple[str, ...]) -> str | None:
    stated = USAGES.get(name.split("_")[0].lower())
    above = folders[0] if folders else ""
    return stated or USAGES.get(above.lower()) or split_of(above)


def _row(
    image: Path | partial[np.ndarray], emotion: str, split: str, source: str
) -> dict[str, Any]:
    return {
        "image": image,
        "emotion": emotion,
        "database": "fer2013",
        "subject": None,
        "split": split,
        "source": source,
    }
