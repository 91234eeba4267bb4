"""An untrained network as an extractor."""

import hashlib
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from curation.artifact import fingerprint
from curation.features.protocol import batches, require_pictures


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
        require_pictures(images)
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
                for batch in batches(images, self.batch_size)
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
