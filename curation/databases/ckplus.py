"""CK+, the Extended Cohn-Kanade database: sequences from neutral to the peak of an expression.

Layout of the original (`CkPlus`): ``cohn-kanade-images/S005/001/S005_001_00000011.png`` (subject,
sequence, frame) and ``Emotion/S005/001/S005_001_00000011_emotion.txt``, one number that holds for
the frame in its name, the peak and last of the sequence. The first frame is neutral. Layout of the
re-packed `CkPlus48`: ``CK+48/anger/S010_004_00000017.png``, 48 x 48 grey, the last three frames of
each labelled sequence.

Label codes: 0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7 surprise.

Subject rule: the first part of a name, ``ckplus/S005`` in both forms, since they show the same
people. ``session`` is the sequence.

Expected counts: 593 sequences of 123 subjects; 327 of them, of 118 subjects, have an emotion:
anger 45, contempt 18, disgust 59, fear 25, happy 69, sadness 28, surprise 83 (Lucey et al. 2010).
Papers seldom say which frames they took, so these are the counts to tell it by (`counts`):

==== ======= ========== ================ =============
peak neutral neutral of with contempt    without
==== ======= ========== ================ =============
1    0       labelled   327              309
1    1       labelled   654              636
1    1       subjects   450              432
1    1       all        920              902
2    0       labelled   654              618
2    1       labelled   981              945
2    1       all        1,247            1,211
3    0       labelled   981 (CK+48)      927
3    1       labelled   1,308            1,254
3    1       subjects   1,104            1,050
3    1       all        1,574            1,520
==== ======= ========== ================ =============

"without" drops the pictures that show contempt and keeps the neutral frames of those sequences;
``subjects`` takes neutral once a person (of 123). The 902 pictures of Randellini et al. 2022 are
one peak frame, and the first frame of all 593 sequences, labelled or not. Their Table 6 bears it
out: its recalls, weighted by these class counts, give 90.6 % where the text prints 90.35 %.

Licence: non-commercial research under a signed agreement; the pictures may not be passed on, and
only people who consented may be shown in print.

Paper: Lucey, Cohn, Kanade, Saragih, Ambadar & Matthews, The Extended Cohn-Kanade Dataset (CK+),
CVPRW 2010.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.databases.layout import (
    Entry,
    absent,
    child,
    entries,
    layout_error,
    locate,
    source_of,
    subfolders,
)
from curation.databases.spelling import emotion_of

log = logging.getLogger(__name__)

CODES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
SEQUENCES = 593
SUBJECTS = 123
LABELLED = {
    "angry": 45,
    "contempt": 18,
    "disgust": 59,
    "fear": 25,
    "happy": 69,
    "sad": 28,
    "surprise": 83,
}
NEUTRAL_OF = {"labelled": sum(LABELLED.values()), "subjects": SUBJECTS, "all": SEQUENCES}
IMAGES = "cohn-kanade-images"

FRAME = re.compile(r"(?P<subject>S\d{3})_(?P<sequence>\d{3})_(?P<frame>\d{8})", re.IGNORECASE)
LABEL = re.compile(FRAME.pattern + r"_emotion\.txt", re.IGNORECASE)

Sequence = tuple[str, str]  # subject, number


def counts(peak_frames: int, neutral_frames: int, neutral_of: str) -> dict[str, int]:
    """Return how many pictures of each emotion a rule takes from the complete database.

    Args:
        peak_frames: Last frames of a labelled sequence that show its emotion.
        neutral_frames: First frames that are neutral.
        neutral_of: Where these are taken from, one of `NEUTRAL_OF`.
    """
    taken = {emotion: n * peak_frames for emotion, n in LABELLED.items()}
    taken["neutral"] = NEUTRAL_OF[neutral_of] * neutral_frames
    return {emotion: n for emotion, n in sorted(taken.items()) if n}


@dataclass(frozen=True)
class CkPlus:
    """Frames of the original CK+.

    Attributes:
        root: The folder that holds ``cohn-kanade-images`` and ``Emotion``, or one near it.
        peak_frames: How many last frames of a labelled sequence show its emotion.
        neutral_frames: How many first frames are neutral.
        neutral_of: Which sequences give neutral frames: "labelled", "subjects" (one a person, the
            first labelled one or else the first) or "all".

    Raises:
        ValueError: If a number is negative, both are 0, or `neutral_of` is unknown.
    """

    root: Path | str
    peak_frames: int = 3
    neutral_frames: int = 1
    neutral_of: str = "labelled"

    def __post_init__(self) -> None:
        if min(self.peak_frames, self.neutral_frames) < 0 or not (
            self.peak_frames or self.neutral_frames
        ):
            raise ValueError(
                f"peak_frames={self.peak_frames} and neutral_frames={self.neutral_frames} "
                "(database): neither may be negative, and one must be over 0"
            )
        if self.neutral_of not in NEUTRAL_OF:
            raise ValueError(
                f"neutral_of {self.neutral_of!r} (database.neutral_of) is one of "
                f"{', '.join(NEUTRAL_OF)}"
            )

    @property
    def expected(self) -> Mapping[str, int]:
        """Pictures of each emotion under these settings, contempt among them."""
        return counts(self.peak_frames, self.neutral_frames, self.neutral_of)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each frame taken, and problems.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If the pictures or the emotion labels are not in it.
        """
        root = locate(
            self.root,
            database="CK+",
            holds=lambda folder: _images(folder) is not None,
            example=f"{IMAGES}/S005/001/S005_001_00000011.png",
        )
        images = _images(root) or root / IMAGES
        frames, problems = _read_frames(root, images)
        yield from problems
        labels, problems = _read_labels(root)
        yield from problems
        late = [
            frames[sequence][min(frames[sequence])].source
            for sequence in sorted(frames)
            if min(frames[sequence]) > 1
        ]
        if late and self.neutral_frames:
            log.warning(
                "%d sequences of CK+ do not begin with frame 1, the first %s; their first frame on "
                "disk counts as neutral",
                len(late),
                late[0],
            )
        neutral = self._neutral(sorted(frames.keys() | labels.keys()), labels)
        for sequence in sorted(frames.keys() | labels.keys()):
            yield from self._sequence(
                root,
                images,
                sequence,
                frames.get(sequence, {}),
                labels.get(sequence),
                neutral=sequence in neutral,
            )

    def _neutral(self, sequences: list[Sequence], labels: Mapping[Sequence, Any]) -> set[Sequence]:
        if not self.neutral_frames:
            return set()
        if self.neutral_of == "all":
            return set(sequences)
        if self.neutral_of == "labelled":
            return set(labels)
        first: dict[str, Sequence] = {}
        for sequence in sorted(sequences, key=lambda sequence: (sequence not in labels, sequence)):
            first.setdefault(sequence[0], sequence)
        return set(first.values())

    def _sequence(
        self,
        root: Path,
        images: Path,
        sequence: Sequence,
        frames: Mapping[int, Entry],
        label: tuple[str, int] | None,
        *,
        neutral: bool,
    ) -> Iterator[dict[str, Any]]:
        subject, number = sequence
        folder = images / subject / number
        if label is None and not neutral:
            yield {
                "source": source_of(root, folder),
                "problem": "sequence without an emotion label",
            }
            return
        first = min(frames, default=1)
        chosen: dict[int, str] = {}
        if neutral:
            chosen |= dict.fromkeys(range(first, first + self.neutral_frames), "neutral")
        if label is not None:
            emotion, peak = label
            wanted = range(max(peak - self.peak_frames + 1, 1), peak + 1)
            if chosen.keys() & set(wanted) or len(wanted) < self.peak_frames:
                yield {
                    "source": source_of(root, folder),
                    "problem": "sequence too short for its frames",
                    "detail": f"frames {first} to {peak}",
                }
            # a frame at the peak is no neutral one
            chosen |= dict.fromkeys(wanted, emotion)
        for frame, emotion in sorted(chosen.items()):
            path = folder / f"{subject}_{number}_{frame:08d}.png"
            if entry := frames.get(frame) or absent(root, path):
                yield {**_row(entry, subject, number, emotion), "database": "ckplus"}


@dataclass(frozen=True)
class CkPlus48:
    """The frames of CK+48: cut, shrunk and without neutral.

    Attributes:
        root: The folder of class folders, or one near it.
    """

    root: Path | str

    @property
    def expected(self) -> Mapping[str, int]:
        """Pictures of each emotion, contempt among them: three a labelled sequence, 981 in all."""
        return counts(3, 0, "labelled")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each picture, and problems.

        Raises:
            FileNotFoundError: If the folder is not there.
            ValueError: If there are no class folders in it.
        """
        root = locate(
            self.root,
            database="CK+48",
            holds=lambda folder: len(_classes(folder)) > 1,
            example="anger/S010_004_00000017.png",
        )
        frames: Counter[tuple[str, str, str]] = Counter()
        for entry in entries(root):
            name = FRAME.fullmatch(entry.path.stem)
            folder = entry.path.parent.name.lower()
            emotion = emotion_of(folder)
            if entry.problem:
                yield entry.row()
            elif emotion not in CODES:
                yield entry.row("picture outside the class folders")
            elif name is None:
                yield entry.row("name that no picture of the database has")
            else:
                subject, sequence = name["subject"].upper(), name["sequence"]
                frames[folder, subject, sequence] += 1
                yield {**_row(entry, subject, sequence, emotion), "database": "ckplus48"}
        for (folder, subject, sequence), n in sorted(frames.items()):
            if n < 3:
                yield {
                    "source": f"{folder}/{subject}_{sequence}",
                    "problem": "sequence with frames missing",
                    "detail": f"{n} of 3",
                }


def _row(entry: Entry, subject: str, sequence: str, emotion: str) -> dict[str, Any]:
    return {
        "image": entry.path,
        "emotion": emotion,
        "subject": f"ckplus/{subject}",
        "session": sequence,
        "pose": "straight",
        "source": entry.source,
    }


def _images(folder: Path) -> Path | None:
    wrapped = child(folder, f"extended-{IMAGES}")
    return child(folder, IMAGES) or (wrapped and child(wrapped, IMAGES))


def _classes(folder: Path) -> list[Path]:
    return [inner for inner in subfolders(folder) if emotion_of(inner.name) in CODES]


def _read_frames(
    root: Path, images: Path
) -> tuple[dict[Sequence, dict[int, Entry]], list[dict[str, Any]]]:
    frames: dict[Sequence, dict[int, Entry]] = {}
    problems: list[dict[str, Any]] = []
    for entry in entries(root, images):
        name = FRAME.fullmatch(entry.path.stem)
        if entry.problem:
            problems.append(entry.row())
        elif name is None:
            problems.append(entry.row("name that no picture of the database has"))
        else:
            sequence = frames.setdefault((name["subject"].upper(), name["sequence"]), {})
            known = sequence.setdefault(int(name["frame"]), entry)
            if known is not entry:
                problems.append(entry.row("second file for one picture", known.source))
    if not frames:
        raise layout_error(
            images, database="pictures of CK+", example="S005/001/S005_001_00000011.png"
        )
    return frames, problems


def _read_labels(
    root: Path,
) -> tuple[dict[Sequence, tuple[str, int]], list[dict[str, Any]]]:
    outer = child(root, "Emotion", "Emotion_labels", "Emotions")
    labels: dict[Sequence, tuple[str, int]] = {}
    problems: list[dict[str, Any]] = []
    for entry in entries(root, outer, suffixes={".txt"}) if outer else ():
        name = LABEL.fullmatch(entry.path.name)
        if entry.problem:
            problems.append(entry.row())
            continue
        if name is None:
            continue
        text = entry.path.read_text("utf-8", "replace").strip()
        sequence = name["subject"].upper(), name["sequence"]
        try:
            code = float(text)
            emotion = CODES[int(code)] if code in range(len(CODES)) else None
        except ValueError:
            emotion = None
        if emotion is None:
            problems.append(entry.row("emotion label that is no number from 0 to 7", text[:40]))
        elif sequence in labels:
            problems.append(entry.row("second emotion label of a sequence"))
        else:
            labels[sequence] = emotion, int(name["frame"])
    if not labels and not problems:
        raise layout_error(
            root,
            database="the emotion labels of CK+",
            example="Emotion/S005/001/S005_001_00000011_emotion.txt",
        )
    return labels, problems
