"""JAFFE, Japanese Female Facial Expression: ten women, three or so pictures an expression.

Layout: ``jaffe/KA.AN1.39.tiff``, 256 x 256 grey. A name is the woman's initials, the emotion with
the number of the take, and a running number. Names count in any case, in any folder and with any
picture suffix, since copies as PNG or JPEG go about.

Label codes: AN angry, DI disgust, FE fear, HA happy, NE neutral, SA sad, SU surprise: what was
asked for, which is not always what sixty raters saw.

Subject rule: the initials, ``jaffe/KA``. All are women.

Expected counts: 213 (neutral 30, happy 31, sad 31, surprise 30, angry 30, disgust 29, fear 32).
The running number goes by woman, then emotion (NE, HA, SA, SU, AN, DI, FE), then take; six takes
were left out of the database and their numbers with them, so it ends at 219. That gives the list
of names, so each picture that is missing is named.

Licence: non-commercial research, on request to the authors; the pictures may not be passed on.

Paper: Lyons, Akamatsu, Kamachi & Gyoba, Coding facial expressions with Gabor wavelets, FG 1998.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.databases.layout import Entry, absent, contains, entries, locate

# in the order of the running number
SUBJECTS = ("KM", "KA", "YM", "KR", "NM", "MK", "UY", "KL", "TM", "NA")
EMOTIONS = {
    "NE": "neutral",
    "HA": "happy",
    "SA": "sad",
    "SU": "surprise",
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
}
TAKES = 3
MORE_TAKES = {
    ("KM", "HA"): 5,
    ("KM", "SA"): 5,
    ("KA", "HA"): 4,
    ("KA", "FE"): 4,
    ("YM", "FE"): 4,
    ("KL", "DI"): 4,
    ("TM", "HA"): 4,
}
LEFT_OUT = {8, 12, 21, 76, 108, 183}
EXAMPLE = "KA.AN1.39.tiff"

NAME = re.compile(
    rf"(?P<subject>[A-Z]{{2}})\.(?P<emotion>{'|'.join(EMOTIONS)})(?P<take>\d)\.(?P<number>\d{{1,3}})"
    r"\.(?:tiff?|png|jpe?g|bmp|pgm)",
    re.IGNORECASE,
)


def names() -> list[str]:
    """Return the names of the 213 pictures, without suffix, by running number."""
    listed: list[str] = []
    number = 0
    for subject in SUBJECTS:
        for code in EMOTIONS:
            for take in range(1, MORE_TAKES.get((subject, code), TAKES) + 1):
                number += 1
                if number not in LEFT_OUT:
                    listed.append(f"{subject}.{code}{take}.{number}")
    return listed


@dataclass(frozen=True)
class Jaffe:
    """The pictures of JAFFE.

    Attributes:
        root: The database's folder, or one near it.
    """

    root: Path | str

    @property
    def expected(self) -> Mapping[str, int]:
        """Pictures of each emotion, 213 in all."""
        return dict(sorted(Counter(EMOTIONS[name[3:5]] for name in names()).items()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each picture that the database has, and problems.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If there is no picture of JAFFE in it.
        """
        root = locate(
            self.root,
            database="JAFFE",
            holds=lambda folder: contains(folder, NAME),
            example=EXAMPLE,
        )
        wanted = set(names())
        found: dict[str, Entry] = {}
        for entry in entries(root):
            name = entry.path.stem.upper()
            if entry.problem:
                yield entry.row()
            elif NAME.fullmatch(entry.path.name) is None or name not in wanted:
                yield entry.row("name that no picture of the database has")
            elif name in found:
                yield entry.row("second file for one picture", found[name].source)
            else:
                found[name] = entry
        for name in names():
            path = root / f"{name}.tiff"
            entry = found.get(name) or absent(root, path)
            if entry is None:
                continue
            subject, code = name[:2], name[3:5]
            yield {
                "image": entry.path,
                "emotion": EMOTIONS[code],
                "database": "jaffe",
                "subject": f"jaffe/{subject}",
                "pose": "straight",
                "sex": "female",
                "source": entry.source,
            }
