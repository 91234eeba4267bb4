"""How fast puppets are drawn, on one core: ``python benchmarks/puppets.py``."""

import time

import cv2

from curation.corpus import EMOTIONS
from curation.puppets import STYLES, render


def rate(size: int, seconds: float = 6.0) -> float:
    """Return pictures a second of processor time, over all styles, people drawn anew."""
    started, drawn = time.process_time(), 0
    while (spent := time.process_time() - started) < seconds:
        person, shot = divmod(drawn, 14)
        session, emotion = divmod(shot, 7)
        render(STYLES[person % 3], person + 1, session + 1, EMOTIONS[emotion], size=size)
        drawn += 1
    return drawn / spent


def main() -> None:
    """Print a line for each size."""
    cv2.setNumThreads(1)
    rate(64, seconds=1.0)
    for size in (64, 128, 256):
        print(f"{size} px: {rate(size):.0f} pictures a second of one core")


if __name__ == "__main__":
    main()
