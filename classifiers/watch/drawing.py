"""What is drawn into a frame: boxes, first choices, a bar an emotion, frames a second."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from classifiers.watch.tracker import Track

_COLOURS = ((80, 220, 80), (240, 160, 60), (90, 120, 255), (230, 90, 200), (60, 210, 230))
"""BGR, by face."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST = 11
"""Height of a line in pixels, under which nobody reads it."""
_GAP = 3


class _Area(NamedTuple):
    left: int
    top: int
    width: int
    height: int


def draw(frame: np.ndarray, tracks: Sequence[Track], emotions: Sequence[str], fps: float) -> None:
    """Draw boxes, first choices, a bar an emotion, and frames a second into a frame.

    What is written keeps its size however small a face is, stays within the frame, and lies beside
    the face where there is room, away from other faces.

    Args:
        frame: (H, W, 3) uint8 BGR; changed.
        tracks: Its faces.
        emotions: What their probabilities are of.
        fps: Frames a second.
    """
    line = max(_SMALLEST, frame.shape[0] // 32)
    names = max(_width(name, line) for name in emotions) + 2 * _GAP
    bars = 4 * line
    pace = f"{fps:.0f} frames/s" if fps >= 9.5 else f"{fps:.1f} frames/s"
    corner = _Area(0, frame.shape[0] - line, _width(pace, line) + 2 * _GAP, line)
    boxes = [_Area(*map(round, track.box)) for track in tracks]
    taken = [corner, *boxes]
    for track, box in zip(tracks, boxes, strict=True):
        end = (box.left + box.width, box.top + box.height)
        cv2.rectangle(frame, box[:2], end, _colour(track), 2)
    for track, box in zip(tracks, boxes, strict=True):
        best = int(track.probabilities.argmax())
        title = f"{track.number}: {emotions[best]} {track.probabilities[best]:.0%}"
        wide = max(names + bars, _width(title, line) + 2 * _GAP)
        panel = _placed(box, wide, (1 + len(emotions)) * line, frame.shape, taken)
        taken.append(panel)
        _darken(frame, panel)
        _write(frame, title, panel.left + _GAP, panel.top, line)
        for place, (name, value) in enumerate(zip(emotions, track.probabilities, strict=True), 1):
            top, left = panel.top + place * line, panel.left + names
            _write(frame, name, panel.left + _GAP, top, line)
            end = left + round((bars - _GAP) * float(value))
            cv2.rectangle(frame, (left, top + 2), (end, top + line - 3), _colour(track), -1)
    _darken(frame, corner)
    _write(frame, pace, _GAP, corner.top, line)


def _placed(
    box: _Area, width: int, height: int, shape: Sequence[int], taken: Sequence[_Area]
) -> _Area:
    """Return where a panel covers least: under the face, beside or above it, or in a corner."""
    right, bottom = shape[1] - width, shape[0] - height
    places = [
        (box.left, box.top + box.height + _GAP),
        (box.left + box.width + _GAP, box.top),
        (box.left - width - _GAP, box.top),
        (box.left, box.top - height - _GAP),
        *((x, y) for x in (0, right) for y in (0, bottom)),
    ]
    areas = [
        _Area(max(0, min(left, right)), max(0, min(top, bottom)), width, height)
        for left, top in places
    ]
    return min(areas, key=lambda area: sum(_common(area, other) for other in taken))


def _common(one: _Area, other: _Area) -> int:
    wide = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    high = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    return max(wide, 0) * max(high, 0)


def _colour(track: Track) -> tuple[int, int, int]:
    return _COLOURS[track.number % len(_COLOURS)]


def _darken(frame: np.ndarray, area: _Area) -> None:
    part = frame[area.top : area.top + area.height, area.left : area.left + area.width]
    part //= 3


def _width(words: str, line: int) -> int:
    return cv2.getTextSize(words, _FONT, line / 32, 1)[0][0]


def _write(frame: np.ndarray, words: str, x: int, top: int, line: int) -> None:
    # dark under white is read on any ground
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        place = (x, top + round(0.75 * line))
        cv2.putText(frame, words, place, _FONT, line / 32, colour, thickness, cv2.LINE_AA)
