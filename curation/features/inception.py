"""The features that published Fréchet distances are computed on."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from curation.artifact import file_hash
from curation.features.protocol import batches, require_pictures
from curation.features.resizing import resize, resizer_name
from curation.weights import INCEPTION, find

INCEPTION_FILE = INCEPTION.file
_SIDE = 299
_log = logging.getLogger(__name__)


class Inception:
    """Inception v3's pooling features, by the TorchScript file of StyleGAN2-ADA and clean-fid.

    Parmar et al. 2022 (arXiv:2104.11222), with clean-fid's own antialiased bicubic resizing.
    Never downloads: ``affectory prefetch inception`` does, once.
    """

    name = "inception v3 (ImageNet, clean-fid)"
    resizer = resizer_name(_SIDE)

    def __init__(
        self, folder: Path | str | None = None, *, device: str = "cpu", batch_size: int = 32
    ) -> None:
        """Say where the weights lie.

        Args:
            folder: Holds ``inception-2015-12-05.pt``; None for the cache.
            device: Where to compute, for example ``cpu`` or ``cuda``.
            batch_size: Pictures at a time.
        """
        self.folder = None if folder is None else Path(folder)
        self.device, self.batch_size = device, batch_size

    @cached_property
    def hash(self) -> str:
        """First 10 hexadecimal digits of the weight file's SHA-256."""
        found = file_hash(self._file)
        if found != INCEPTION.sha256:
            _log.warning(
                "%s is not the published file (SHA-256 %s, not %s): distances in its features "
                "compare with none that were published",
                self._file, found, INCEPTION.sha256,
            )  # fmt: skip
        return found[:10]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, 2048) float32 features of (N, 3, H, W) uint8 RGB.

        Raises:
            FileNotFoundError: If the weights are not there; with how to get them.
            ValueError: If the file in the cache is damaged, or these are no pictures.
        """
        require_pictures(images)
        network = self._network
        with torch.inference_mode():
            features = [
                network(resize(batch, _SIDE).to(self.device)).float().cpu().numpy()
                for batch in batches(images, self.batch_size, title=self.name)
            ]
        return np.concatenate(features)

    @property
    def _file(self) -> Path:
        path = None if self.folder is None else self.folder / INCEPTION_FILE
        return find(INCEPTION, path, key="features.folder")

    @cached_property
    def _network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        folder = self._file.parent
        from cleanfid.inception_torchscript import InceptionV3W

        return InceptionV3W(str(folder), download=False).eval().to(self.device)
