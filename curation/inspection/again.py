"""Detect again: do the standard faces still show a face, and are its eyes level?"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from curation.align import eye_angle_deg
from curation.detect import Detector, choose_face
from curation.progress import track

MOST = 2000  # pictures looked at


@dataclass(frozen=True)
class Again:
    """What a detector says of faces that were cut already.

    Attributes:
        detector: Its settings in words.
        n: Pictures looked at, drawn at random from those that are real.
        of: Real pictures in the corpus.
        found: Pictures in which it found a face.
        angles: Median and 95th percentile of how far the eye line is off level, degrees; None
            where no eyes were found.
    """

    detector: str
    n: int
    of: int
    found: int
    angles: tuple[float, float] | None


def look_again(
    pictures: Iterable[tuple[int, np.ndarray]], detector: Detector, *, n: int, of: int
) -> Again:
    """Run a detector over standard faces.

    Args:
        pictures: Row and picture, (H, W, 3) uint8 RGB.
        detector: One that knows eyes, if angles are wanted.
        n: How many pictures there will be.
        of: From how many they were drawn.
    """
    found, angles = 0, []
    for _, image in track(pictures, label="detect again", total=n):
        face = choose_face(detector(image), image)
        if isinstance(face, str):
            continue
        found += 1
        if (angle := eye_angle_deg(face)) is not None:
            angles.append(abs(angle))
    off = np.percentile(angles, (50, 95)).tolist() if angles else None
    words = ", ".join(f"{key} {value}" for key, value in detector.settings.items())
    return Again(words, n, of, found, (off[0], off[1]) if off else None)
