"""Detectors that need no file: OpenCV's cascades, and none at all."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.detect.faces import Box, Face
from curation.detect.loading import PerThread, check_scale_factor, check_share


class Haar:
    """OpenCV's bundled cascades of Haar features (Viola and Jones 2001); needs no file.

    A face's score is hits / (hits + 10), of the overlapping windows in which the cascade saw it:
    comparable for one ``scale_factor`` only.

    Args:
        cascades: File names among those in OpenCV's ``data`` folder; each next one looks only where
            those before found nothing.
        scale_factor: Ratio between one scale of the search and the next, over 1.
        min_neighbours: How many overlapping hits make a face.
        min_share: Smallest face, as a share of the picture's shorter side, in (0, 1].

    Raises:
        ValueError: If OpenCV does not carry a cascade, or a setting is out of its range.
    """

    def __init__(
        self,
        *,
        cascades: Sequence[str] = ("haarcascade_frontalface_default.xml",),
        scale_factor: float = 1.1,
        min_neighbours: int = 5,
        min_share: float = 0.3,
    ) -> None:
        paths = cascade_paths(cascades, kind="face", key="detector.cascades")
        check_scale_factor(scale_factor, "detector.scale_factor")
        if min_neighbours < 0:
            raise ValueError(
                f"min_neighbours {min_neighbours} must be 0 or more (detector.min_neighbours)"
            )
        check_share("min_share", min_share)
        self.settings: dict[str, Any] = {
            "detector": "haar",
            "cascades": list(cascades),
            "scale_factor": scale_factor,
            "min_neighbours": min_neighbours,
            "min_share": min_share,
        }
        self._cascades = PerThread(partial(load_cascades, paths))

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Find faces in (H, W, 3) uint8 RGB."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        smallest = round(self.settings["min_share"] * min(image.shape[:2]))
        for cascade in self._cascades():
            found, hits = cascade.detectMultiScale2(
                grey,
                scaleFactor=self.settings["scale_factor"],
                minNeighbors=self.settings["min_neighbours"],
                minSize=(smallest, smallest),
            )
            if len(found):
                return [
                    Face(Box(*map(float, box)), score=float(count / (count + 10)))
                    for box, count in zip(found, np.ravel(hits), strict=True)
                ]
        return []


def cascade_paths(names: Sequence[str], *, kind: str, key: str) -> list[Path]:
    """Return the paths of cascades that OpenCV carries.

    Args:
        names: File names.
        kind: Which to offer in an error: those with this word in their name.
        key: Configuration key of `names`, for errors.

    Raises:
        ValueError: If there is no name, or OpenCV does not carry one.
    """
    carried = {path.name: path for path in (Path(cv2.__file__).parent / "data").glob("*.xml")}
    known = ", ".join(sorted(name for name in carried if kind in name))
    if not names:
        raise ValueError(f"no cascade is named; OpenCV has {known} ({key})")
    for name in names:
        if name not in carried:
            raise ValueError(f"OpenCV carries no cascade {name!r}; for this it has {known} ({key})")
    return [carried[name] for name in names]


def load_cascades(paths: Sequence[Path]) -> list[cv2.CascadeClassifier]:
    """Load cascades, which keep state while they search: one set for each thread."""
    return [cv2.CascadeClassifier(str(path)) for path in paths]


class WholePicture:
    """No search: the picture is the face, for databases that come cropped."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"detector": "none"}

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Return the picture's own frame."""
        return [Face(Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0])))]
