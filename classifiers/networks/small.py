"""Small networks written here: ours, and those of two papers."""

from collections import OrderedDict

import torch
from torch import nn

from classifiers.networks.normalise import Mode, Normalise
from classifiers.networks.recogniser import Recogniser, pool


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.norm(self.convolution(x)))


def _reducing(fan_in: int, fan_out: int, kernel: int = 3, stride: int = 2) -> list[nn.Module]:
    return [
        nn.Conv2d(fan_in, fan_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(),
    ]


def small_cnn(
    classes: int,
    *,
    width: int = 32,
    normalise: Mode = "per_image",
    grey: bool = True,
    dropout: float = 0.1,
) -> Recogniser:
    """Build a compact network for faces of about 64 pixels, trained from scratch on a CPU.

    A 7×7 convolution of stride 4 and two 3×3 ones of stride 2, each followed by one residual 3×3
    convolution; batch-norm throughout, global average pooling. With width 32: 289,063
    parameters at 7 emotions, 9.8 million multiply-adds a 64-pixel picture (grey). Two stride-2
    convolutions in place of the first one cost a third more time and gained nothing that two
    seeds could show.

    Args:
        classes: Number of emotions.
        width: Channels after the first layer; doubled at each reduction. The cost grows with its
            square.
        normalise: See `Normalise`.
        grey: See `Normalise`.
        dropout: Before the last layer.
    """
    channels = 3 if not grey or normalise in ("imagenet", "caffe") else 1
    trunk = nn.Sequential(
        *_reducing(channels, width, kernel=7, stride=4),
        _Residual(width),  # (N, w, H/4, W/4)
        *_reducing(width, 2 * width),
        _Residual(2 * width),  # (N, 2w, H/8, W/8)
        *_reducing(2 * width, 4 * width),
        _Residual(4 * width),  # (N, 4w, H/16, W/16)
        pool(),  # (N, 4w)
    )
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    arguments = {"width": width, "normalise": normalise, "grey": grey, "dropout": dropout}
    return Recogniser(
        trunk,
        width=4 * width,
        classes=classes,
        normalise=Normalise(normalise, grey=grey, channels=channels),
        dropout=dropout,
        recipe={"constructor": "small_cnn", "arguments": arguments},
    )


def vanderweel2019(
    classes: int, *, normalise: Mode = "unit", grey: bool = False, dropout: float = 0.5
) -> Recogniser:
    """Build the small network of van der Weel 2019, for pictures of 32×32.

    Convolution 5×5 to 32, pool 2, convolution 7×7 to 64, pool 2, flatten to 1,024, dropout, dense
    256, dense `classes`; no padding. With 8 emotions 367,304 parameters, the paper's count to the
    digit (2,432 + 100,416 + 262,400 + 2,056), from which the widths follow. The text says
    nothing of activations (ReLU here), of the scale of pictures (0 … 1) or of the dropout rate.

    Args:
        classes: Number of emotions; 8 in the paper.
        normalise: See `Normalise`.
        grey: See `Normalise`; the trunk takes three channels anyway.
        dropout: Before the dense layers.
    """
    trunk = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),  # (N, 32, 14, 14)
            conv2=nn.Conv2d(32, 64, 7),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),  # (N, 64, 4, 4)
            flatten=nn.Flatten(),  # (N, 1024)
        )
    )
    return Recogniser(
        trunk,
        width=1024,
        classes=classes,
        normalise=Normalise(normalise, grey=grey, size=32),
        dropout=dropout,
        hidden=256,
        recipe={
            "constructor": "vanderweel2019",
            "arguments": {"normalise": normalise, "grey": grey, "dropout": dropout},
        },
    )
