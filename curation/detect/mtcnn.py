"""MTCNN: three networks in a row with five landmarks, from a package of its own."""

import importlib.metadata
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from curation.detect.faces import Box, Face
from curation.detect.loading import PerThread, check_scale_factor, check_share, resized


class Mtcnn:
    """Three cascaded networks with five landmarks (Zhang et al. 2016), through facenet-pytorch.

    That package carries its weights. It asks for older versions of torch, NumPy and Pillow than it
    needs, so it is installed without its dependencies, all of which are there already.

    Args:
        thresholds: Least scores of the three networks, each in (0, 1].
        min_side: Smallest face, in pixels of the picture brought to `longest_side`; 12 or more.
        scale_factor: Ratio between one scale of the search and the next, over 1.
        longest_side: Larger pictures are brought to this longest side, in pixels.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        min_side: int = 20,
        scale_factor: float = 1.41,
        longest_side: int = 640,
    ) -> None:
        if len(thresholds) != 3:
            raise ValueError(
                f"thresholds {list(thresholds)} must be three, one for each network "
                "(detector.thresholds)"
            )
        for threshold in thresholds:
            check_share("thresholds", threshold)
        if not 12 <= min_side <= longest_side:
            raise ValueError(
                f"min_side {min_side} must be 12 pixels or more, and no more than longest_side, "
                f"which is {longest_side} (detector.min_side)"
            )
        check_scale_factor(scale_factor, "detector.scale_factor")
        self._how = {
            "thresholds": list(thresholds),
            "min_side": min_side,
            "scale_factor": scale_factor,
            "longest_side": longest_side,
        }
        self._network = PerThread(partial(_load_mtcnn, list(thresholds), min_side, scale_factor))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How it searches.

        Raises:
            ImportError: If facenet-pytorch is not installed; with the command for it.
        """
        try:
            version = importlib.metadata.version("facenet-pytorch")
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(_NO_MTCNN) from None
        return {"detector": "mtcnn", "package": f"facenet-pytorch {version}", **self._how}

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Find faces in (H, W, 3) uint8 RGB.

        Raises:
            ImportError: If facenet-pytorch is not installed; with the command for it.
        """
        small, per_pixel = image, np.ones(2)
        if max(image.shape[:2]) > self._how["longest_side"]:
            small, per_pixel = resized(image, self._how["longest_side"])
        if min(small.shape[:2]) < self._how["min_side"]:
            return []  # no scale of the search is left, which the package takes for a mistake
        boxes, scores, landmarks = self._network().detect(small, landmarks=True)
        if boxes is None:
            return []
        faces = []
        for (left, top, right, bottom), score, points in zip(boxes, scores, landmarks, strict=True):
            corner = np.array([left, top]) * per_pixel
            size = np.array([right - left, bottom - top]) * per_pixel
            box = Box(*(float(value) for value in (*corner, *size)))
            points = (np.asarray(points) * per_pixel).astype(np.float32)
            faces.append(Face(box, float(score), points))
        return faces


_NO_MTCNN = (
    "the detector mtcnn needs the package facenet-pytorch: pip install --no-deps facenet-pytorch "
    "(with its dependencies pip would put older versions of torch and NumPy in place of yours)"
)


def _load_mtcnn(thresholds: list[float], min_side: int, scale_factor: float) -> Any:
    try:
        from facenet_pytorch import MTCNN  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(_NO_MTCNN) from error
    # its factor is the one from a scale to the next smaller
    return MTCNN(
        keep_all=True,
        thresholds=thresholds,
        min_face_size=min_side,
        factor=1 / scale_factor,
        device="cpu",
    ).eval()
