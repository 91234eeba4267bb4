"""What an extractor is, and what all of them do with the pictures that they are given."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from curation.progress import track


class Extractor(Protocol):
    """What turns pictures into the features that a fidelity figure compares."""

    @property
    def name(self) -> str:
        """What to call it beside a figure."""
        ...

    @property
    def hash(self) -> str:
        """Identity of its weights and architecture: figures compare only within one hash."""
        ...

    @property
    def resizer(self) -> str:
        """How pictures are brought to the extractor's size."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB pictures."""
        ...


def require_pictures(images: np.ndarray) -> None:
    """Raise ValueError unless these are (N, 3, H, W) uint8 pictures, N ≥ 1."""
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"an extractor takes (N, 3, H, W) uint8 RGB, N ≥ 1; got {images.shape} {images.dtype}"
        )


def batches(images: np.ndarray, size: int, title: str | None = None) -> Iterator[torch.Tensor]:
    """Yield uint8 batches on the CPU; with a title, show rate and time left."""
    starts: Any = range(0, len(images), size)
    if title is not None:
        starts = track(starts, label=title, unit="batch")
    for start in starts:
        # a copy, because torch takes no arrays with negative strides or without write access
        yield torch.from_numpy(np.array(images[start : start + size]))
