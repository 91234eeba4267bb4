"""Eyes for faces whose detector knows no landmarks, from OpenCV's cascades."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from curation.detect.faces import Box, Face
from curation.detect.haar import cascade_paths, load_cascades
from curation.detect.loading import PerThread, check_scale_factor

# All lengths below are shares of the box's width, and from the boxes of cascades on photographs.
_MIDPOINT = np.array([0.5, 0.39])
"""Between the eyes: across, and down as a share of the height."""
_MIDPOINT_SPREAD = 0.07
_DISTANCE, _DISTANCE_SPREAD = 0.42, 0.06
_DISTANCE_RANGE = (0.25, 0.6)
_STEEPEST = np.tan(np.radians(30))
_BLUR = 0.06
"""Hits within about this distance speak for one eye."""
_EYE_SIZES = (0.16, 0.42)


class EyeCascades:
    """Finds both eyes of a face with OpenCV's eye cascades; needs no file.

    All windows in which a cascade sees an eye vote, single ones too: on photographs that misses
    half as many eyes as asking each cascade for several hits does. The pair is chosen that has most
    votes and lies as eyes do: level within 30°, apart by 0.25 to 0.6 of the box's width, and likely
    so where eyes mostly are. For faces that look at the camera and are upright within 20° or so.

    Args:
        cascades: File names among those in OpenCV's ``data`` folder; all vote.
        sides: Widths in pixels that the box is brought to; each next one is tried only where no
            pair was found before.
        scale_factor: Ratio between one scale of the search and the next, over 1.

    Raises:
        ValueError: If OpenCV does not carry a cascade, or a setting is out of its range.
    """

    def __init__(
        self,
        *,
        cascades: Sequence[str] = (
            "haarcascade_eye.xml",
            "haarcascade_eye_tree_eyeglasses.xml",
        ),
        sides: Sequence[int] = (96, 160),
        scale_factor: float = 1.1,
    ) -> None:
        paths = cascade_paths(cascades, kind="eye", key="eyes.cascades")
        check_scale_factor(scale_factor, "eyes.scale_factor")
        if not sides or min(sides) < 48:
            raise ValueError(
                f"sides {list(sides)} must be one or more widths of 48 pixels or more, as "
                "[96, 160] (eyes.sides)"
            )
        self.settings: dict[str, Any] = {
            "eyes": "cascades",
            "cascades": list(cascades),
            "sides": list(sides),
            "scale_factor": scale_factor,
        }
        self._cascades = PerThread(partial(load_cascades, paths))

    def __call__(self, image: np.ndarray, face: Face) -> Face:
        """Return the face with its eyes as landmarks, or as it is where they were not found.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: Where to look; landmarks that it has are replaced.
        """
        eyes = self.find(image, face.box)
        if eyes is None:
            return face
        landmarks = np.full((5, 2), np.nan, np.float32)
        landmarks[:2] = eyes
        return face._replace(landmarks=landmarks)

    def find(self, image: np.ndarray, box: Box) -> np.ndarray | None:
        """Return both eyes, (2, 2) float32 pixels (x, y), image left first; None if not found."""
        for side in self.settings["sides"]:
            hits = self._hits(image, box, side)
            if len(hits) > 1 and (eyes := likely_pair(hits, box)) is not None:
                return eyes.astype(np.float32)
        return None

    def _hits(self, image: np.ndarray, box: Box, side: int) -> np.ndarray:
        """Return the centres of all windows in which an eye is seen, (N, 2) pixels."""
        height, width = image.shape[:2]
        # a tenth more on both sides: in a face turned aside an eye lies near the box's edge
        x0 = int(np.clip(box.left - 0.1 * box.width, 0, width))
        x1 = int(np.clip(np.ceil(box.left + 1.1 * box.width), 0, width))
        y0 = int(np.clip(box.top + 0.12 * box.height, 0, height))
        y1 = int(np.clip(np.ceil(box.top + 0.67 * box.height), 0, height))
        part = image[y0:y1, x0:x1]
        if not part.size:
            return np.empty((0, 2))
        scale = side / box.width
        size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), size, interpolation=how)
        smallest, largest = (round(share * side) for share in _EYE_SIZES)
        windows = []
        for cascade in self._cascades():
            found = cascade.detectMultiScale(
                small,
                scaleFactor=self.settings["scale_factor"],
                minNeighbors=0,
                minSize=(smallest, smallest),
                maxSize=(largest, largest),
            )
            windows += [found] if len(found) else []
        if not windows:
            return np.empty((0, 2))
        found = np.concatenate(windows).astype(float)
        centres = found[:, :2] + found[:, 2:] / 2
        return centres * (part.shape[1] / size[0], part.shape[0] / size[1]) + (x0, y0)


def likely_pair(hits: np.ndarray, box: Box) -> np.ndarray | None:
    """Return the two places that are most likely the eyes of a face.

    Args:
        hits: Places where an eye was seen, (N, 2) pixels, false ones among them.
        box: The face.

    Returns:
        (2, 2) pixels, image left first; None if no two lie to each other as eyes do.
    """
    # two steps of mean shift bring each hit to the middle of its neighbours
    centres = hits
    for _ in range(2):
        apart = np.linalg.norm(centres[:, None] - hits[None], axis=2)  # (N, N)
        votes = np.exp(-0.5 * (apart / (_BLUR * box.width)) ** 2)
        centres = votes @ hits / votes.sum(1, keepdims=True)
    support = np.log(votes.sum(1))
    across, down = np.moveaxis(centres[None] - centres[:, None], 2, 0)  # from row to column
    distance = np.hypot(across, down) / box.width
    level = (across > 0) & (np.abs(down) <= _STEEPEST * across)
    fits = level & (distance >= _DISTANCE_RANGE[0]) & (distance <= _DISTANCE_RANGE[1])
    if not fits.any():
        return None
    usual = np.array([box.left, box.top]) + _MIDPOINT * (box.width, box.height)
    off = np.linalg.norm((centres[None] + centres[:, None]) / 2 - usual, axis=2) / box.width
    likely = (
        support[:, None]
        + support[None]
        - 0.5 * (off / _MIDPOINT_SPREAD) ** 2
        - 0.5 * ((distance - _DISTANCE) / _DISTANCE_SPREAD) ** 2
    )
    left, right = np.unravel_index(np.argmax(np.where(fits, likely, -np.inf)), likely.shape)
    return centres[[left, right]]
