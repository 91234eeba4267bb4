"""KDEF, the Karolinska Directed Emotional Faces: 70 amateur actors photographed twice.

Layout: ``KDEF_and_AKDEF/KDEF/AF01/AF01ANS.JPG``. A name is session (A, B), sex (F, M), number
(01-35), emotion and angle. Names count in any case and in any folder, so pictures put into class
folders are read as well. AKDEF beside it holds averages of faces: they have no subject, other
names, and are not read.

Label codes: AF afraid (fear), AN angry, DI disgusted, HA happy, NE neutral, SA sad, SU surprised.
Angles: FL full left, HL half left, S straight, HR half right, FR full right.

Subject rule: sex and number. AF01 and BF01 are one woman in two sessions: subject ``kdef/F01``,
sessions A and B.

Expected counts: 70 subjects x 2 sessions x 7 emotions x 5 angles = 4,900; of each angle 980, 140
an emotion. The list follows from the names, so each picture that is missing is named.

Licence: non-commercial research; the pictures may not be passed on.

Paper: Lundqvist, Flykt & Öhman, The Karolinska Directed Emotional Faces (KDEF), CD-ROM,
Karolinska Institutet, 1998.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from curation.databases.layout import Entry, absent, contains, entries, locate

EMOTIONS = {
    "AF": "fear",
    "AN": "angry",
    "DI": "disgust",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
POSES = {
    "FL": "full_left",
    "HL": "half_left",
    "S": "straight",
    "HR": "half_right",
    "FR": "full_right",
}
SEXES = {"F": "female", "M": "male"}
SESSIONS = ("A", "B")
NUMBERS = range(1, 36)
EXAMPLE = "KDEF/AF01/AF01ANS.JPG"

NAME = re.compile(
    rf"(?P<session>[AB])(?P<person>[FM]\d\d)(?P<emotion>{'|'.join(EMOTIONS)})"
    rf"(?P<pose>{'|'.join(POSES)})\.(?:jpe?g|png|bmp|tiff?)",
    re.IGNORECASE,
)
FOLDER = re.compile(r"[AB][FM]\d\d", re.IGNORECASE)


@dataclass(frozen=True)
class Kdef:
    """The pictures of KDEF.

    Attributes:
        root: The database's folder, or one near it.
        poses: Which of `POSES` to read.

    Raises:
        ValueError: If a pose is unknown or none is given.
    """

    root: Path | str
    poses: Sequence[str] = ("straight",)

    def __post_init__(self) -> None:
        unknown = [pose for pose in self.poses if pose not in POSES.values()]
        if unknown or not self.poses:
            raise ValueError(
                f"poses {self.poses!r} (database.poses): give a list of one or more of "
                f"{', '.join(POSES.values())}"
            )

    @property
    def expected(self) -> Mapping[str, int]:
        """Pictures of each emotion: 140 for each pose."""
        each = len(SEXES) * len(NUMBERS) * len(SESSIONS) * len(set(self.poses))
        return dict.fromkeys(sorted(EMOTIONS.values()), each)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each picture that the database has, and problems.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If there is no picture of KDEF in it.
        """
        root = locate(self.root, database="KDEF", holds=_holds, example=EXAMPLE)
        found: dict[str, Entry] = {}
        for entry in entries(root):
            name = NAME.fullmatch(entry.path.name)
            if entry.problem:
                yield entry.row()
            elif _averaged(root, entry.path):
                continue
            elif name is None:
                yield entry.row("name that no picture of the database has")
            elif (key := _key(entry.path)) in found:
                yield entry.row("second file for one picture", found[key].source)
            elif int(name["person"][1:]) not in NUMBERS:
                yield entry.row("subject that the database does not have")
            else:
                found[key] = entry
        codes = {pose: code for code, pose in POSES.items() if pose in self.poses}
        for sex, number, session in product(SEXES, NUMBERS, SESSIONS):
            person = f"{sex}{number:02d}"
            for code, (pose, angle) in product(EMOTIONS, codes.items()):
                name = f"{session}{person}{code}{angle}"
                path = root / f"{session}{person}" / f"{name}.JPG"
                entry = found.get(name) or absent(root, path)
                if entry is None:
                    continue
                yield {
                    "image": entry.path,
                    "emotion": EMOTIONS[code],
                    "database": "kdef",
                    "subject": f"kdef/{person}",
                    "session": session,
                    "pose": pose,
                    "sex": SEXES[sex],
                    "source": entry.source,
                }


def _key(path: Path) -> str:
    return path.stem.upper()


def _averaged(root: Path, path: Path) -> bool:
    folders = path.relative_to(root).parts[:-1]
    return any(folder.lower() == "akdef" for folder in folders)


def _holds(folder: Path) -> bool:
    # of one subject's own folder the database is the folder above
    if FOLDER.fullmatch(folder.name) or folder.name.lower() == "akdef":
        return False
    return contains(folder, NAME, folders=FOLDER)
