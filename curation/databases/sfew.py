"""SFEW, Static Facial Expressions in the Wild: stills from films, in two releases.

Layout of release ``2.0``: ``Train/Angry/*.png`` and ``Val/Angry/*.png``, often nested once more by
the archives (``Train/Train/Angry``); the labels of ``Test/*.png`` were kept back by the organisers
of the challenge, so pictures there count as unlabelled unless they lie in class folders. Aligned
faces lie in folders of their own (``Train/Train_Aligned_Faces/Angry``,
``Val/Val_Aligned_Faces_new/Val_Aligned_Faces/Angry``). Layout of release ``675``, a subset of the
first SFEW: ``Angry/*.png``, no split. A file is named after its film, time and frame:
``Airheads_000519240_00000005.png``.

Label codes: the folders Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise.

Subject rule: people are not named, so ``subject`` is null; ``session`` is the film, by which a
split can be checked.

Expected counts: release 2.0 has 958 in Train, 436 in Val and 372 unlabelled in Test (Dhall et al.
2015). Their division into classes is the one that later papers quote; it was checked against these
totals, not against the pictures. Release 675 has 100 of each class and 75 of disgust (Gong). How
many aligned faces there are differs from copy to copy, so nothing is expected of them.

Licence: for research on request to the authors; the pictures may not be passed on.

Papers: Dhall, Goecke, Lucey & Gedeon, Static facial expression analysis in tough conditions,
ICCVW 2011; Dhall et al., Video and image based emotion recognition challenges in the wild: EmotiW
2015, ICMI 2015.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.databases.layout import Entry, entries, locate, subfolders
from curation.databases.spelling import emotion_of, split_of

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
TRAIN = (178, 66, 98, 198, 150, 172, 96)
VAL = (77, 23, 47, 73, 86, 73, 57)
RELEASES = {
    "2.0": {emotion: n + m for emotion, n, m in zip(EMOTIONS, TRAIN, VAL, strict=True)},
    "675": {**dict.fromkeys(EMOTIONS, 100), "disgust": 75},
}
FACES = ("whole", "aligned")

# whole names, so that a folder called "test pictures" is no split
SPLIT_FOLDER = re.compile(
    r"(train|val(?:idation)?|test)(?:[ _-](?:set|images|aligned[ _-]?faces).*)?", re.IGNORECASE
)
FILM = re.compile(r"(?P<film>.+)_\d{9}_\d{8}")


@dataclass(frozen=True)
class Sfew:
    """The pictures of SFEW.

    Attributes:
        root: The database's folder, or one near it.
        release: "2.0" or "675".
        faces: "whole" for the stills, "aligned" for the cut faces that come with release 2.0.

    Raises:
        ValueError: If the release or the kind of faces is unknown.
    """

    root: Path | str
    release: str = "2.0"
    faces: str = "whole"

    def __post_init__(self) -> None:
        if str(self.release) not in RELEASES:
            raise ValueError(
                f"SFEW has no release {self.release!r} (database.release); it is one of "
                f"{', '.join(map(repr, RELEASES))}"
            )
        if self.faces not in FACES:
            raise ValueError(
                f"faces {self.faces!r} of SFEW are unknown (database.faces); they are "
                f"{' or '.join(FACES)}"
            )

    @property
    def expected(self) -> Mapping[str, int]:
        """Labelled pictures of each emotion; nothing for aligned faces."""
        return RELEASES[str(self.release)] if self.faces == "whole" else {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each labelled picture, and problems.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If it has another layout, or not the kind of faces asked for.
        """
        split_folders = str(self.release) == "2.0"
        root = locate(
            self.root,
            database=f"SFEW (release {self.release})",
            holds=_holds_splits if split_folders else _holds_classes,
            example=("Train/" if split_folders else "") + "Angry/Airheads_000519240_00000005.png",
        )
        found: dict[str, int] = dict.fromkeys(FACES, 0)
        for entry in entries(root):
            folders = entry.path.relative_to(root).parts[:-1]
            kind = "aligned" if any("align" in name.lower() for name in folders) else "whole"
            if entry.problem:
                yield entry.row()
                continue
            emotion = emotion_of(folders[-1]) if folders else ""
            splits = [
                split_of(match[1]) for name in folders if (match := SPLIT_FOLDER.fullmatch(name))
            ]
            if split_folders and not splits:
                yield entry.row("picture outside the folders of the database")
                continue
            if kind == self.faces and emotion not in EMOTIONS:
                yield entry.row("picture without an emotion label")
                continue
            found[kind] += emotion in EMOTIONS
            if kind == self.faces:
                yield _row(entry, emotion, splits[0] if split_folders else None)
        if not found[self.faces]:
            other = next(kind for kind in FACES if kind != self.faces)
            way_out = (
                f"{found[other]} are {other}: set database.faces={other}"
                if found[other]
                else "the class folders are empty"
            )
            raise ValueError(f"{root} holds no labelled {self.faces} pictures of SFEW; {way_out}")


def _row(entry: Entry, emotion: str, split: str | None) -> dict[str, Any]:
    film = FILM.fullmatch(entry.path.stem)
    return {
        "image": entry.path,
        "emotion": emotion,
        "database": "sfew",
        "subject": None,
        "session": film["film"] if film else None,
        "split": split,
        "source": entry.source,
    }


def _holds_splits(folder: Path) -> bool:
    own = SPLIT_FOLDER.fullmatch(folder.name)
    splits = {
        split_of(match[1])
        for inner in subfolders(folder)
        if (match := SPLIT_FOLDER.fullmatch(inner.name)) and _has_classes(inner, depth=3)
    }
    # Train/Train_Aligned_Faces: of a split's own folder the database is the folder above
    return bool(splits - {split_of(own[1])} if own else splits)


def _has_classes(folder: Path, *, depth: int) -> bool:
    inner = subfolders(folder)
    return any(emotion_of(path.name) in EMOTIONS for path in inner) or (
        depth > 1 and any(_has_classes(path, depth=depth - 1) for path in inner)
    )


def _holds_classes(folder: Path) -> bool:
    return len({emotion_of(inner.name) for inner in subfolders(folder)} & set(EMOTIONS)) > 1
