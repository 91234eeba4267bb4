"""Feature extractors for fidelity: (N, 3, H, W) uint8 RGB in, (N, d) float32 out.

To construct an extractor costs nothing; weights are made or read at the first call.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from curation.artifact import file_hash, fingerprint
from curation.progress import track

INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/" + INCEPTION_FILE
)


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


class RandomConvolutions:
    """Untrained multi-scale convolutions with seeded weights: features that know no domain.

    Random filters keep enough of an image's statistics to order generators sensibly
    (Naeem et al. 2020, section 4, arXiv:2002.09797, use a random VGG for data unlike
    ImageNet). They need no weights, so they work offline, and they favour no database.

    Each picture is seen at its own size, a half and a quarter. Two strided convolutions, whitened
    filters, then means over a 2 x 2 grid, since in an aligned face the place matters.
    """

    resizer = "none: the corpus' own size"

    def __init__(
        self,
        seed: int = 0,
        *,
        channels: int = 32,
        scales: int = 2,
        device: str = "cpu",
        batch_size: int = 256,
    ) -> None:
        """Choose the network.

        Args:
            seed: Which random weights.
            channels: Filters of the second layer; d = 4 · channels · scales.
            scales: Own size, half, quarter, …; the smallest must keep 16 pixels.
            device: Where to compute, for example ``cpu`` or ``cuda``.
            batch_size: Pictures at a time.
        """
        self.seed, self.channels, self.scales = seed, channels, scales
        self.device, self.batch_size = device, batch_size
        self.name = f"random convolutions (untrained, seed {seed})"

    @cached_property
    def hash(self) -> str:
        """Identity of the weights and of the form of the network."""
        weights = hashlib.sha256()
        for layers in self._weights:
            for layer in layers:
                weights.update(layer.numpy().tobytes())
        return fingerprint(
            form="conv5/2 relu conv3/2 relu mean2x2",
            scales=self.scales,
            weights=weights.hexdigest(),
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 4 · channels · scales) float32 features of (N, 3, H, W) uint8 RGB."""
        _require_pictures(images)
        smallest = min(images.shape[2:]) // 2 ** (self.scales - 1)
        if smallest < 16:
            raise ValueError(
                f"pictures of {images.shape[2]}x{images.shape[3]} shrink to {smallest} px over "
                f"{self.scales} scales; 16 are needed, so take fewer (scales)"
            )
        weights = [[layer.to(self.device) for layer in layers] for layers in self._weights]
        with torch.inference_mode():
            features = [
                self._embed(batch.to(self.device), weights).cpu().numpy()
                for batch in _batches(images, self.batch_size)
            ]
        return np.concatenate(features)

    def _embed(self, batch: torch.Tensor, weights: list[list[torch.Tensor]]) -> torch.Tensor:
        picture = batch.float() / 127.5 - 1  # (n, 3, H, W)
        parts = []
        for index, (first, second) in enumerate(weights):
            if index:
                picture = functional.avg_pool2d(picture, 2)
            # no padding: it would add a response to the frame that every picture shares
            hidden = functional.conv2d(picture, first, stride=2).relu()
            hidden = functional.conv2d(hidden, second, stride=2).relu()
            parts.append(functional.adaptive_avg_pool2d(hidden, 2).flatten(1))
        return torch.cat(parts, dim=1)

    @cached_property
    def _weights(self) -> list[list[torch.Tensor]]:
        generator = np.random.default_rng([self.seed, self.channels, self.scales])
        hidden = max(16, self.channels // 2)

        def draw(out: int, into: int, side: int) -> torch.Tensor:
            filters = generator.standard_normal((out, into * side * side))
            # half of the filters see contrast only, half brightness and colour too
            filters[::2] -= filters[::2].mean(axis=1, keepdims=True)
            filters /= np.linalg.norm(filters, axis=1, keepdims=True)
            scaled = np.sqrt(2) * filters  # keeps the variance through a ReLU (He et al. 2015)
            return torch.from_numpy(scaled.reshape(out, into, side, side).astype(np.float32))

        return [[draw(hidden, 3, 5), draw(self.channels, hidden, 3)] for _ in range(self.scales)]


class Inception:
    """The Inception v3 pooling features that published Fréchet distances are computed on.

    The TorchScript file of StyleGAN2-ADA through clean-fid (Parmar et al. 2022,
    arXiv:2104.11222), with clean-fid's own antialiased bicubic resizing. Never downloads.
    """

    name = "inception v3 (ImageNet, clean-fid)"
    resizer = "clean-fid: PIL bicubic to 299 px, not quantised"

    def __init__(
        self, folder: Path | str | None, *, device: str = "cpu", batch_size: int = 32
    ) -> None:
        """Say where the weights lie.

        Args:
            folder: Holds ``inception-2015-12-05.pt``; None raises at the first call.
            device: Where to compute, for example ``cpu`` or ``cuda``.
            batch_size: Pictures at a time.
        """
        self.folder = None if folder is None else Path(folder)
        self.device, self.batch_size = device, batch_size

    @cached_property
    def hash(self) -> str:
        """First 10 hexadecimal digits of the weight file's SHA-256."""
        return file_hash(self._file)[:10]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 2048) float32 features of (N, 3, H, W) uint8 RGB.

        Raises:
            FileNotFoundError: If the weights are not in the folder.
        """
        from cleanfid.resize import build_resizer

        _require_pictures(images)
        network, resize = self._network, build_resizer("clean")
        features = []
        with torch.inference_mode():
            for batch in _batches(images, self.batch_size, title=self.name):
                # clean-fid resizes (H, W, 3) pictures to floats 0–255 without rounding
                resized = [resize(picture.permute(1, 2, 0).numpy()) for picture in batch]
                stacked = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
                features.append(network(stacked.to(self.device)).float().cpu().numpy())
        return np.concatenate(features)

    @property
    def _file(self) -> Path:
        where = "no folder is set" if self.folder is None else f"{self.folder} does not hold it"
        if self.folder is None or not (path := self.folder / INCEPTION_FILE).is_file():
            raise FileNotFoundError(
                f"the Inception features need {INCEPTION_FILE}, and {where}. Download it from "
                f"{INCEPTION_URL} into a folder and name that folder in features.folder"
            )
        return path

    @cached_property
    def _network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        folder = self._file.parent
        from cleanfid.inception_torchscript import InceptionV3W

        return InceptionV3W(str(folder), download=False).eval().to(self.device)


class FeaturePredictor(Protocol):
    """A classifier that also shows the features before its last layer."""

    name: str
    hash: str

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB pictures."""
        ...


class ClassifierFeatures:
    """A classifier's own features as an extractor.

    They know expressions better than any other, but what the classifier overlooks, they overlook.
    """

    def __init__(self, classifier: FeaturePredictor, *, note: str = "") -> None:
        """Wrap a classifier.

        Args:
            classifier: Anything with ``features``, ``name`` and ``hash``.
            note: Put behind the name in brackets, for example what it was trained on.
        """
        self.classifier = classifier
        self.name = f"{classifier.name} ({note})" if note else classifier.name
        self.hash = classifier.hash
        self.resizer = getattr(classifier, "resizer", "none: the corpus' own size")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB."""
        _require_pictures(images)
        return np.asarray(self.classifier.features(images), dtype=np.float32)


def _require_pictures(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"an extractor takes (N, 3, H, W) uint8 RGB, N ≥ 1; got {images.shape} {images.dtype}"
        )


def _batches(images: np.ndarray, size: int, title: str | None = None) -> Iterator[torch.Tensor]:
    """Yield uint8 batches on the CPU; with a title, show rate and time left."""
    starts: Any = range(0, len(images), size)
    if title is not None:
        starts = track(starts, label=title, unit="batch")
    for start in starts:
        # a copy, because torch takes no arrays with negative strides or without write access
        yield torch.from_numpy(np.array(images[start : start + size]))
