"""Any network of timm as an extractor: DINOv2, ResNets, ViTs, with local weights or the hub's."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation import hub
from curation.artifact import file_hash, fingerprint
from curation.features.protocol import batches, require_pictures
from curation.features.resizing import resize, resizer_name


class TimmModel:
    """A timm network without its last layer.

    Size, mean and standard deviation are those that the network was trained with. Stein et al.
    2023 (arXiv:2306.04675) find DINOv2 nearer to what people see than Inception.
    """

    def __init__(
        self,
        model: str,
        *,
        weights: Path | str | None = None,
        size: int | None = None,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> None:
        """Choose the network.

        Args:
            model: timm's name with its weights' tag, as ``vit_small_patch14_dinov2.lvd142m``.
            weights: A file of its weights (``.safetensors``, ``.pth``); None takes those of the
                Hugging Face hub from that hub's cache, where ``hf download`` puts them. Nothing
                is downloaded here.
            size: Side in pixels that pictures are brought to; None for the network's own.
            device: Where to compute, for example ``cpu`` or ``cuda``.
            batch_size: Pictures at a time.
        """
        self.model, self.size = model, size
        self.weights = None if weights is None else Path(weights).expanduser()
        self.device, self.batch_size = device, batch_size
        self.name = f"{model} (timm)"

    @property
    def resizer(self) -> str:
        """How pictures are brought to the network's size."""
        return resizer_name(self._side)

    @cached_property
    def hash(self) -> str:
        """Identity of the architecture, the weights' bytes and how pictures enter."""
        return fingerprint(
            model=self.model, weights=file_hash(self._file), side=self._side, **self._statistics
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB.

        Raises:
            FileNotFoundError: If the weights are not there; with which, and how to get them.
            ValueError: If timm knows no such network, or these are no pictures.
        """
        require_pictures(images)
        network = self._network
        mean, std = (
            torch.tensor(self._statistics[key], device=self.device).view(3, 1, 1)
            for key in ("mean", "std")
        )
        features = []
        with torch.inference_mode():
            for batch in batches(images, self.batch_size, title=self.name):
                pixels = resize(batch, self._side).to(self.device) / 255
                features.append(network((pixels - mean) / std).float().cpu().numpy())
        return np.concatenate(features)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return hub.settings(self.model, key="features.model")

    @property
    def _side(self) -> int:
        return self.size or self._settings["input_size"][-1]

    @property
    def _statistics(self) -> dict[str, list[float]]:
        return {key: list(self._settings[key]) for key in ("mean", "std")}

    @cached_property
    def _file(self) -> Path:
        if self.weights is not None:
            if not self.weights.is_file():
                raise FileNotFoundError(
                    f"no file {self.weights} (features.weights) with the weights of {self.model}"
                )
            return self.weights
        _ = self._settings  # says which key is wrong where timm knows no such network
        if there := hub.find(self.model):
            return there
        raise FileNotFoundError(
            f"the weights of {self.model} are not in the cache; {hub.how_to_fetch(self.model)}, "
            "or name a copy of that file in features.weights"
        )

    @cached_property
    def _network(self) -> torch.nn.Module:
        import timm

        network: torch.nn.Module = timm.create_model(
            self.model,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(self._file)},
            num_classes=0,  # the pooled features before the last layer
        )
        # transformers are built for one size; convolutions take any
        change = getattr(network, "set_input_size", None)
        if self.size is not None and change is not None:
            change(img_size=self.size)
        return network.eval().to(torch.device(self.device))
