"""AffectNet: faces found on the web, labelled by hand with an expression, valence and arousal.

Layout, as it is given out now: ``train_set/images/N.jpg`` with ``train_set/annotations/N_exp.npy``,
``N_val.npy`` and ``N_aro.npy`` (and ``N_lnd.npy``, not used), the same in ``val_set``; faces are
cropped. Or, as it was before: ``training.csv`` and ``validation.csv`` (often in a folder
``Manually_Annotated_file_lists``, the second often without a header) with the columns
``subDirectory_filePath, face_x, face_y, face_width, face_height, facial_landmarks, expression,
valence, arousal``, and ``Manually_Annotated_Images/``; pictures are whole. Pictures labelled by
machine (``automatically_annotated.csv``) are not read.

Label codes: 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 angry, 7 contempt; in the
tables also 8 none, 9 uncertain, 10 no face, which are no expressions and are listed as skipped.
Valence and arousal lie in [-1, 1]; -2 means that there is none.

Splits: the training set is ``train``, the validation set ``validation``; the authors keep the
test set.

Subject rule: nobody is known.

Expected counts: training set neutral 74,874, happy 134,415, sad 25,459, surprise 14,090, fear
6,378, disgust 3,803, angry 24,882, contempt 3,750 (van der Weel 2019 prints 134,412 for happy and
the same for the rest, but the set is known to have 287,651 pictures); validation set 500 each.

Licence: non-commercial research by agreement with the authors; no picture may be passed on.

Mollahosseini, Hasani & Mahoor, AffectNet: a database for facial expression, valence, and arousal
computing in the wild, IEEE Transactions on Affective Computing 10(1), 2019.
"""

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.lib import format as npy

from curation.databases.layout import (
    LINK_OUTSIDE,
    Entry,
    child,
    entries,
    layout_error,
    locate,
    source_of,
)
from curation.databases.table import cells, problem_row
from curation.ingest import read_image
from curation.progress import track

log = logging.getLogger(__name__)

CODES = {
    0: "neutral",
    1: "happy",
    2: "sad",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "angry",
    7: "contempt",
}
NO_EXPRESSION = {
    8: "labelled as no expression",
    9: "labelled as uncertain",
    10: "labelled as no face",
}
TRAIN = {
    "neutral": 74874,
    "happy": 134415,
    "sad": 25459,
    "surprise": 14090,
    "fear": 6378,
    "disgust": 3803,
    "angry": 24882,
    "contempt": 3750,
}
EXPECTED = {"train": TRAIN, "validation": dict.fromkeys(TRAIN, 500)}
SETS = {"train": ("train_set", "train"), "validation": ("val_set", "val")}
TABLES = {"train": "training.csv", "validation": "validation.csv"}
COLUMNS = (
    "subdirectory_filepath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
EXAMPLE = "train_set/annotations/0_exp.npy or training.csv beside Manually_Annotated_Images/"


@dataclass(frozen=True)
class AffectNet:
    """AffectNet's pictures labelled by hand, in the order of their numbers or of the tables.

    Attributes:
        root: The folder that holds ``train_set`` and ``val_set``, or the tables.
        splits: Which of ``train`` and ``validation`` to read.
        margin: Older layout only: cut out the annotated face, with this share of its box more on
            each side; None gives the whole picture, in which a detector may find another face.
    """

    root: Path | str
    splits: Sequence[str] = ("train", "validation")
    margin: float | None = None

    def __post_init__(self) -> None:
        if unknown := [split for split in self.splits if split not in EXPECTED]:
            raise ValueError(
                f"AffectNet has no split {unknown[0]!r}, only {' and '.join(EXPECTED)} "
                "(database.splits)"
            )
        if self.margin is not None and not 0 <= self.margin <= 5:
            raise ValueError(f"margin {self.margin} must lie in [0, 5], or null (database.margin)")

    @property
    def expected(self) -> Mapping[str, int]:
        """Emotion → pictures in the splits that are read."""
        return {
            emotion: sum(EXPECTED[split][emotion] for split in set(self.splits))
            for emotion in TRAIN
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture, with ``valence`` and ``arousal`` (or None).

        Yields:
            Rows; a picture without a usable expression is a problem row.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If it holds neither layout, or nothing of the splits wanted.
        """
        root = locate(self.root, database="AffectNet", holds=_holds, example=EXAMPLE)
        found = False
        for split in self.splits:
            if folder := _set(root, split):
                found = True
                yield from _from_set(root, folder, split)
            elif (table := _table(root, split)) and (pictures := _pictures(root)):
                found = True
                yield from _from_table(root, table, pictures, split, self.margin)
        if not found:
            raise layout_error(
                root, database=f"AffectNet's split {' or '.join(self.splits)}", example=EXAMPLE
            )


def _holds(folder: Path) -> bool:
    if any(_set(folder, split) for split in SETS):
        return True
    return any(_table(folder, split) for split in TABLES) and _pictures(folder) is not None


def _set(root: Path, split: str) -> Path | None:
    folder = child(root, *SETS[split])
    complete = folder and child(folder, "annotations") and child(folder, "images")
    return folder if complete else None


def _table(root: Path, split: str) -> Path | None:
    name = TABLES[split]
    lists = child(root, "Manually_Annotated_file_lists")
    places = [root / name, *([lists / name] if lists else [])]
    return next((place for place in places if place.is_file()), None)


def _pictures(root: Path) -> Path | None:
    name = "Manually_Annotated_Images"
    above = child(root, "Manually_Annotated", f"{name}_compressed")
    return child(root, name) or (above and (child(above, name) or above))


def _from_set(root: Path, folder: Path, split: str) -> Iterator[dict[str, Any]]:
    pictures, labels = child(folder, "images"), child(folder, "annotations")
    assert pictures is not None  # _set saw them
    assert labels is not None
    found: dict[str, Entry] = {}
    for entry in entries(root, pictures):
        stem = entry.path.stem
        if entry.problem:
            yield entry.row()
        elif stem in found:
            yield entry.row("second picture of one number", found[stem].source)
        else:
            found[stem] = entry
    end = "_exp.npy"
    labelled = {name[: -len(end)] for name in os.listdir(labels) if name.endswith(end)}  # noqa: PTH208 - half a million names
    stems = sorted(found.keys() | labelled, key=lambda stem: (len(stem), stem))
    without = 0
    for stem in track(stems, label=f"labels of {folder.name}", unit="picture"):
        path = found[stem].path if stem in found else pictures / f"{stem}.jpg"
        source = found[stem].source if stem in found else source_of(root, path)
        try:
            code = _number(f"{labels}/{stem}{end}")
        except FileNotFoundError:
            yield problem_row(source, "label file missing", f"{stem}{end}")
            continue
        except (OSError, ValueError) as error:
            yield problem_row(source, "label file damaged", f"{stem}{end}: {error}")
            continue
        affect = [_affect(f"{labels}/{stem}_{name}.npy") for name in ("val", "aro")]
        without += None in affect
        yield _row(path, code, split, source, *affect)
    if without:
        log.info("%d pictures of %s have no valence or no arousal", without, folder.name)


def _number(path: str) -> float:
    """Read the only number of a .npy file; text of a number counts as one.

    `np.load` parses each header as Python, which takes eight times as long as all the rest, and
    there are three files a picture.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million of them
        data = file.read()
    start = 10 + int.from_bytes(data[8:10], "little")
    kind = _header(data[:start])
    if len(data) != start + kind.itemsize:
        raise ValueError(f"{len(data) - start} bytes of data instead of {kind.itemsize}")
    value = np.frombuffer(data, kind, count=1, offset=start)[0]
    return float(value.decode() if isinstance(value, bytes) else value)


@lru_cache(maxsize=1024)
def _header(data: bytes) -> np.dtype[Any]:
    stream = BytesIO(data)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("not version 1.0 of the format")
    shape, _, kind = npy.read_array_header_1_0(stream)
    if math.prod(shape) != 1 or kind.kind not in "biufSU" or kind.itemsize == 0:
        raise ValueError(f"no single number, but {shape} of {kind}")
    return kind


def _affect(path: str) -> float | None:
    try:
        return _within(_number(path))
    except (OSError, ValueError):
        return None


def _within(value: float) -> float | None:
    # -2 means that nobody gave a value; beyond [-1, 1] nothing else has a meaning either
    return value if -1 <= value <= 1 else None


def _from_table(
    root: Path, table: Path, pictures: Path, split: str, margin: float | None
) -> Iterator[dict[str, Any]]:
    names = list(COLUMNS)
    inside = root.resolve()
    within: dict[Path, bool] = {}
    for number, line in track(cells(table), label=f"lines of {table.name}", unit="line"):
        if number == 1 and (header := [cell.lower() for cell in line])[0] == COLUMNS[0]:
            names = header
            continue
        cell = dict(zip(names, line, strict=False))
        name = PurePosixPath(cell.get(COLUMNS[0], "").replace("\\", "/"))
        source = f"{source_of(root, table)}:{number}"
        if len(line) < len(names) or not name.name:
            yield problem_row(source, "line of the table is cut off", f"{len(line)} cells")
            continue
        path = pictures / name
        if name.is_absolute() or ".." in name.parts:
            yield problem_row(source, LINK_OUTSIDE, str(name))
            continue
        source = source_of(root, path)
        # folders are few and files many: only links among the files are followed
        if path.parent not in within:
            within[path.parent] = path.parent.resolve().is_relative_to(inside)
        linked = path.is_symlink() and not path.resolve().is_relative_to(inside)
        if linked or not within[path.parent]:
            yield problem_row(source, LINK_OUTSIDE, str(path.resolve()))
            continue
        try:
            code = float(cell["expression"])
            image = path if margin is None else partial(_face, path, _box(cell), margin)
        except ValueError as error:
            yield problem_row(source, "line of the table without a number", str(error))
            continue
        affect = [_text_affect(cell[key]) for key in ("valence", "arousal")]
        yield _row(image, code, split, source, *affect)


def _box(cell: Mapping[str, str]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(cell[key]) for key in COLUMNS[1:5])
    if not (width > 0 and height > 0 and math.isfinite(left + top + width + height)):
        raise ValueError(f"face box {left}, {top}, {width}, {height}")
    return left, top, width, height


def _text_affect(text: str) -> float | None:
    try:
        return _within(float(text))
    except ValueError:
        return None


def _face(path: Path, box: tuple[float, float, float, float], margin: float) -> np.ndarray:
    """Cut out a face: (H, W, 3) uint8 RGB, at least one pixel of the picture."""
    image = read_image(path)
    left, top, width, height = box
    rows = _span(top, height, margin, image.shape[0])
    columns = _span(left, width, margin, image.shape[1])
    return np.ascontiguousarray(image[rows, columns])


def _span(start: float, length: float, margin: float, limit: int) -> slice:
    first = min(max(round(start - margin * length), 0), limit - 1)
    last = min(max(round(start + (1 + margin) * length), first + 1), limit)
    return slice(first, last)


def _row(
    image: Path | partial[np.ndarray],
    code: float,
    split: str,
    source: str,
    valence: float | None,
    arousal: float | None,
) -> dict[str, Any]:
    if code in NO_EXPRESSION:
        return problem_row(source, NO_EXPRESSION[int(code)])
    if code not in CODES:
        return problem_row(source, "unknown label", f"{code:g}")
    return {
        "image": image,
        "emotion": CODES[int(code)],
        "database": "affectnet",
        "subject": None,
        "split": split,
        "source": source,
        "valence": valence,
        "arousal": arousal,
    }
