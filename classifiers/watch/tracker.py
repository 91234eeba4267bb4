"""Faces over time: which face of a frame is which of before, and what is said of it, smoothed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation.detect import Box
from curation.detect.faces import iou


@dataclass(frozen=True)
class Track:
    """One face over time.

    Attributes:
        number: Which face, from 0 in the order of appearance.
        box: Where it is, in pixels of the frame.
        probabilities: (C,) in [0, 1], smoothed.
        raw: (C,) in [0, 1], of this frame alone.
        seen: When it was seen last, in seconds.
    """

    number: int
    box: Box
    probabilities: np.ndarray
    raw: np.ndarray
    seen: float


class Tracker:
    """Follows faces by overlap and smooths what is said of each.

    A face is the one of before whose box it shares most with; the best pairs are matched first.
    Probabilities are averaged with weights that fall by half in each half-life, whatever the frame
    rate. A cut of a film that puts another person in the same place is not noticed.

    Args:
        half_life_s: Seconds after which a judgement counts half; 0 for no smoothing.
        overlap: Least share of their union that two boxes of one face share, in (0, 1].
        patience_s: Seconds that a face may be lost before it counts as another one.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self, *, half_life_s: float = 0.3, overlap: float = 0.3, patience_s: float = 0.5
    ) -> None:
        # so asked, also what is no number fails
        if not (half_life_s >= 0 and patience_s >= 0 and 0 < overlap <= 1):
            raise ValueError(
                f"half-life {half_life_s} and patience {patience_s} must be 0 s or more, overlap "
                f"{overlap} over 0 and no more than 1"
            )
        self.half_life_s, self.overlap, self.patience_s = half_life_s, overlap, patience_s
        self._tracks: list[Track] = []
        self._count = 0

    def update(self, faces: Sequence[tuple[Box, np.ndarray]], time_s: float) -> list[Track]:
        """Take the faces of one frame and return their tracks, in the same order.

        Args:
            faces: Box and (C,) probabilities of each.
            time_s: When the frame was taken; never less than before.
        """
        pairs = sorted(
            (
                (iou(track.box, box), -track.number, place, track)
                for track in self._tracks
                for place, (box, _) in enumerate(faces)
            ),
            key=lambda pair: pair[:3],
            reverse=True,
        )
        before: dict[int, Track] = {}
        taken: set[int] = set()
        for shared, _, place, track in pairs:
            if shared < self.overlap:
                break
            if place not in before and track.number not in taken:
                before[place] = track
                taken.add(track.number)
        found = [
            self._next(before.get(place), box, said, time_s)
            for place, (box, said) in enumerate(faces)
        ]
        waiting = [
            track
            for track in self._tracks
            if track.number not in taken and time_s - track.seen <= self.patience_s
        ]
        self._tracks = [*found, *waiting]
        return found

    def _next(self, before: Track | None, box: Box, said: np.ndarray, time_s: float) -> Track:
        if before is None:
            self._count += 1
            return Track(self._count - 1, box, said, said, time_s)
        kept = 0.5 ** ((time_s - before.seen) / self.half_life_s) if self.half_life_s else 0.0
        smoothed = kept * before.probabilities + (1 - kept) * said
        return replace(before, box=box, probabilities=smoothed, raw=said, seen=time_s)
