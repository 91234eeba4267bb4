"""What detectors share: a model for each thread, pictures made smaller, settings checked."""

from collections.abc import Callable
from threading import local
from typing import Any, Generic, TypeVar

import cv2
import numpy as np

Model = TypeVar("Model")


class PerThread(Generic[Model]):
    """A model that each thread makes for itself when it first asks; pickled without the model.

    Args:
        make: Loads the model; picklable.
    """

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._of_thread = local()

    def __call__(self) -> Model:
        """Return this thread's own."""
        if not hasattr(self._of_thread, "model"):
            self._of_thread.model = self._make()
        return self._of_thread.model

    def __reduce__(self) -> tuple[Any, ...]:
        return PerThread, (self._make,)


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless a setting of a detector is over 0 and no more than 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} {value} must be over 0 and no more than 1 (detector.{name})")


def check_scale_factor(value: float, key: str) -> None:
    """Raise ValueError unless the ratio between scales is over 1."""
    if value <= 1:
        raise ValueError(f"scale_factor {value} must be over 1, as 1.1 ({key})")


def resized(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring the longer side to `side`; also return the picture's pixels to one of these, (2,)."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how), np.array([width, height]) / size
