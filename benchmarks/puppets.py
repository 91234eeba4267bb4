"""How fast puppets are drawn, on one core: ``python benchmarks/puppets.py``."""

import time

import cv2
import numpy as np

from curation.corpus import EMOTIONS
from curation.puppets import STYLES, render

SIZES, ROUNDS, PEOPLE = (64, 128, 256), 9, 12


def rate(size: int, first: int) -> float:
    """Return pictures a second of processor time: new people of every style, 14 of each."""
    started = time.process_time()
    for person in range(first, first + PEOPLE):
        for session in (1, 2):
            for emotion in EMOTIONS:
                render(STYLES[person % 3], person + 1, session, emotion, size=size)
    return PEOPLE * 2 * len(EMOTIONS) / (time.process_time() - started)


def main() -> None:
    """Print a line for each size; rounds of all sizes take turns, since machines have moods."""
    cv2.setNumThreads(1)
    rate(64, first=0)
    rounds = [[rate(size, first=PEOPLE * (1 + turn)) for size in SIZES] for turn in range(ROUNDS)]
    for size, seen in zip(SIZES, np.transpose(rounds), strict=True):
        print(
            f"{size} px: median {np.median(seen):.0f}, best {seen.max():.0f} pictures a second "
            f"of one core ({ROUNDS} rounds of {PEOPLE * 14})"
        )


if __name__ == "__main__":
    main()
