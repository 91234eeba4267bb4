"""What happens to a picture before a trunk sees it: grey, size, scale."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Mode = Literal["per_image", "unit", "signed", "facenet", "imagenet", "caffe"]
MODES = ("per_image", "unit", "signed", "facenet", "imagenet", "caffe")

# mean and deviation of each mode, RGB on the scale 0 … 255; Caffe's means are those of its VGG
# release, printed there as BGR
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "per_image": ((0.0,) * 3, (1.0,) * 3),
    "unit": ((0.0,) * 3, (255.0,) * 3),
    "signed": ((127.5,) * 3, (127.5,) * 3),
    "facenet": ((127.5,) * 3, (128.0,) * 3),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((123.68, 116.779, 103.939), (1.0,) * 3),
}
_LUMINANCE = (0.299, 0.587, 0.114)


class Normalise(nn.Module):
    """Brings pictures in 0 … 255 to the size and scale that a trunk was made for.

    Args:
        mode: ``per_image`` (each picture to mean 0, variance 1 over all its values, which takes
            out differences of brightness and contrast between databases), ``unit`` (0 … 1),
            ``signed`` (−1 … 1), ``facenet`` ((x − 127.5) / 128), ``imagenet`` (mean and
            deviation of ImageNet, as torchvision), ``caffe`` (BGR minus (103.939, 116.779,
            123.68), no scaling: the VGGs of Randellini et al. 2022).
        grey: Replace colour by luminance (ITU-R BT.601) first, so that a colour training
            database and grey test databases look alike.
        channels: What the trunk takes: 3, or 1 for a grey picture that is not repeated.
        size: Side in pixels that pictures of another size are brought to (bilinear with
            antialiasing; a rectangle becomes a square); None takes them as they come.
    """

    mean: torch.Tensor
    std: torch.Tensor
    luminance: torch.Tensor

    def __init__(
        self, mode: Mode, *, grey: bool, channels: int = 3, size: int | None = None
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"normalisation {mode!r} is unknown; it is one of {', '.join(MODES)}")
        if channels not in (1, 3) or (channels == 1 and not grey):
            raise ValueError(f"a trunk of {channels} channels cannot take grey={grey} pictures")
        if channels == 1 and mode in ("imagenet", "caffe"):
            raise ValueError(f"normalisation {mode!r} is one value a colour; it needs 3 channels")
        if size is not None and size < 1:
            raise ValueError(f"pictures cannot be brought to size={size} pixels")
        self.mode, self.grey, self.channels, self.size = mode, grey, channels, size
        mean, std = STATISTICS[mode]
        # constants of the mode, so no part of the weights
        for name, values in (("mean", mean), ("std", std), ("luminance", _LUMINANCE)):
            width = 3 if name == "luminance" else channels
            buffer = torch.tensor(values[:width]).view(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (N, 3, H, W) uint8 or float in 0 … 255 to (N, channels, H', W') float32."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"a recogniser takes (N, 3, H, W) RGB, got {tuple(images.shape)}")
        pictures = images.float()
        if self.grey:
            pictures = (pictures * self.luminance).sum(1, keepdim=True)
        if self.size is not None and pictures.shape[2:] != (self.size, self.size):
            pictures = F.interpolate(
                pictures, size=(self.size, self.size), mode="bilinear", antialias=True
            )
        if self.mode == "per_image":
            variance, mean = torch.var_mean(pictures, dim=(1, 2, 3), keepdim=True, correction=0)
            # a picture of one colour becomes 0 and not 0 / 0
            pictures = (pictures - mean) / variance.sqrt().clamp(min=1.0)
        if self.grey and self.channels == 3:
            pictures = pictures.expand(-1, 3, -1, -1)
        if self.mode != "per_image":
            pictures = (pictures - self.mean) / self.std
        return pictures.flip(1) if self.mode == "caffe" else pictures
