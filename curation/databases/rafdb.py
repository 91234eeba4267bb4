"""RAF-DB, basic expressions: 15,339 faces from the web, each labelled by about 40 people.

Layout: ``EmoLabel/list_patition_label.txt`` (the database's spelling; ``partition`` is read as
well) with lines ``train_00001.jpg 5``, pictures as ``Image/aligned/train_00001_aligned.jpg``
(100×100, aligned by the authors) and ``Image/original/train_00001.jpg`` (whole). Sex, where
``Annotation/manual/train_00001_manu_attri.txt`` is there (0 male, 1 female, 2 unsure). Also the
repacked form without a list: ``train|test/<code>/train_00001_aligned.jpg``.

Label codes: 1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral. The set of compound
expressions has the same layout and codes up to 11; it is another database, and refused.

Splits: the authors', by the names: ``train_…`` and ``test_…``.

Subject rule: nobody is known.

Expected counts: 12,271 for training (surprise 1,290, fear 281, disgust 717, happy 4,772, sad
1,982, angry 705, neutral 2,524) and 3,068 for testing (329, 74, 160, 1,185, 478, 162, 680).

Licence: non-commercial research, on request to the authors; no picture may be passed on.

Li, Deng & Du, Reliable crowdsourcing and deep locality-preserving learning for expression
recognition in the wild, CVPR 2017.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.databases.layout import Entry, child, entries, layout_error, locate, source_of
from curation.databases.table import problem_row

CODES = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happy",
    "5": "sad",
    "6": "angry",
    "7": "neutral",
}
COMPOUND = {"8", "9", "10", "11"}
EXPECTED = {
    "surprise": 1290 + 329,
    "fear": 281 + 74,
    "disgust": 717 + 160,
    "happy": 4772 + 1185,
    "sad": 1982 + 478,
    "angry": 705 + 162,
    "neutral": 2524 + 680,
}
LISTS = ("list_patition_label.txt", "list_partition_label.txt")
EXAMPLE = "EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg"
NAME = re.compile(r"(train|test)_\d+", re.IGNORECASE)
SEXES = {"0": "male", "1": "female"}


@dataclass(frozen=True)
class RafDb:
    """RAF-DB's basic expressions, in the order of its list.

    Attributes:
        root: The folder that holds ``EmoLabel`` and ``Image`` (``basic`` in the archive).
        pictures: ``aligned`` for the authors' 100×100 faces, ``original`` for whole pictures.
    """

    root: Path | str
    pictures: str = "aligned"

    def __post_init__(self) -> None:
        if self.pictures not in ("aligned", "original"):
            raise ValueError(
                f"pictures is {self.pictures!r}; it is 'aligned' or 'original' (database.pictures)"
            )

    @property
    def expected(self) -> Mapping[str, int]:
        """Emotion → pictures in both splits."""
        return EXPECTED

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture, with ``sex`` where the annotations are there.

        Yields:
            Rows; a picture that the list does not name is a problem row.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If it holds no layout of RAF-DB, not the pictures wanted, or the set of
                compound expressions.
        """
        root = Path(self.root)
        if root.is_dir():  # the sets of basic and of compound expressions often lie side by side
            root = child(root, "basic") or root
        root = locate(root, database="RAF-DB", holds=_holds, example=EXAMPLE)
        if listed := _list(root):
            yield from _from_list(root, listed, self.pictures)
        elif self.pictures == "aligned":
            yield from _from_folders(root)
        else:
            raise layout_error(root, database="RAF-DB's original pictures", example=EXAMPLE)


def _holds(folder: Path) -> bool:
    if _list(folder):
        return True
    train = child(folder, "train")
    return train is not None and all(child(train, code) for code in CODES)


def _list(folder: Path) -> Path | None:
    labels = child(folder, "EmoLabel")
    places = [labels / name for name in LISTS] if labels else []
    return next((place for place in places if place.is_file()), None)


def _from_list(root: Path, listed: Path, pictures: str) -> Iterator[dict[str, Any]]:
    text = listed.read_text(encoding="utf-8-sig", errors="replace")
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1)]
    if {words[1] for _, words in lines if len(words) > 1} >= COMPOUND:
        raise ValueError(
            f"{listed} has labels up to 11: this is RAF-DB's set of compound expressions; "
            "name the folder of the basic ones (database.root)"
        )
    images = child(root, "Image")
    folder = images and child(images, pictures)
    if folder is None:
        raise layout_error(root, database=f"RAF-DB's {pictures} pictures", example=EXAMPLE)
    manual = child(root, "Annotation")
    manual = manual and child(manual, "manual")
    end = "_aligned" if pictures == "aligned" else ""
    found: dict[str, Entry] = {}
    for entry in entries(root, folder):
        found[entry.path.stem.lower()] = entry
    named: set[str] = set()
    for number, words in lines:
        if not words:
            continue
        line = f"{source_of(root, listed)}:{number}"
        stem = Path(words[0]).stem
        if len(words) < 2 or not NAME.fullmatch(stem):
            yield problem_row(line, "line of the list that names no picture", " ".join(words)[:80])
            continue
        key = f"{stem}{end}".lower()
        entry = found.get(key) or Entry(folder / f"{stem}{end}.jpg", "")
        source = entry.source or source_of(root, entry.path)
        if key in named:
            yield problem_row(line, "picture listed twice", source)
        elif words[1] not in CODES:
            yield problem_row(source, "unknown label", words[1][:40])
        elif not entry.problem:
            sex = _sex(manual / f"{stem}_manu_attri.txt") if manual else None
            yield _row(entry.path, CODES[words[1]], stem, source, sex)
        named.add(key)
    for key, entry in found.items():
        if entry.problem:
            yield entry.row()
        elif key not in named:
            yield entry.row("picture without a label")


def _sex(path: Path) -> str | None:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return None
    # five landmarks (x, y), then sex, race and age
    return SEXES.get(words[10]) if len(words) > 10 else None


def _from_folders(root: Path) -> Iterator[dict[str, Any]]:
    for entry in entries(root):
        code, name = entry.path.parent.name, NAME.match(entry.path.name)
        if entry.problem:
            yield entry.row()
        elif code not in CODES or name is None:
            yield entry.row("picture without a label")
        else:
            yield _row(entry.path, CODES[code], name.group(), entry.source, None)


def _row(path: Path, emotion: str, name: str, source: str, sex: str | None) -> dict[str, Any]:
    return {
        "image": path,
        "emotion": emotion,
        "database": "rafdb",
        "subject": None,
        "sex": sex,
        "split": name.lower().split("_")[0],
        "source": source,
    }
