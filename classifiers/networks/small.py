"""Small networks written here: ours, and those of two papers."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

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


class _InvertedResidual(nn.Module):
    """Sandler et al. 2018: widen, filter each channel, narrow; x + that."""

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(width, middle, 1)
        self.widen_norm = nn.BatchNorm2d(middle)
        self.filter = nn.Conv2d(middle, middle, 3, padding=1, groups=middle)
        self.filter_norm = nn.BatchNorm2d(middle)
        self.narrow = nn.Conv2d(middle, width, 1)
        self.narrow_norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = F.relu6(self.widen_norm(self.widen(x)))
        middle = F.relu6(self.filter_norm(self.filter(middle)))
        return x + self.narrow_norm(self.narrow(middle))


def dao2021(classes: int, *, normalise: Mode = "unit", dropout: float = 0.0) -> Recogniser:
    """Build a real-time network after Dao et al. 2021, for grey pictures of 48×48.

    What their text fixes: convolutions 3×3 and 5×5 with batch norm and ReLU, max pools 2×2, four
    inverted residual blocks with middle widths 256, 256, 512, 512, equal input and output and a
    skip, flatten, fully connected layers, 784,263 parameters at 7 emotions. What it leaves open
    was found by search over widths, biases, pools and dense layers, for that count: 64 and 160
    channels, biases in the blocks alone, a pool after each convolution and after the blocks
    1, 2 and 4, a dense layer of 64. It has 784,263 parameters, no difference, and with its
    activations 9.59 MB of float32 where the paper's table says 9.62; that the authors' network
    is this one is likely in neither widths nor pools.

    Args:
        classes: Number of emotions; 7 in the paper.
        normalise: See `Normalise`; a mode for one channel. The paper names none.
        dropout: Before the dense layers; the paper found that it changes nothing.
    """
    trunk = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 64, 3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(64),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),  # (N, 64, 24, 24)
            conv2=nn.Conv2d(64, 160, 5, padding=2, bias=False),
            norm2=nn.BatchNorm2d(160),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),  # (N, 160, 12, 12)
            block1=_InvertedResidual(160, 256),
            pool3=nn.MaxPool2d(2),  # (N, 160, 6, 6)
            block2=_InvertedResidual(160, 256),
            pool4=nn.MaxPool2d(2),  # (N, 160, 3, 3)
            block3=_InvertedResidual(160, 512),
            block4=_InvertedResidual(160, 512),
            pool5=nn.MaxPool2d(2),  # (N, 160, 1, 1)
            flatten=nn.Flatten(),
        )
    )
    return Recogniser(
        trunk,
        width=160,
        classes=classes,
        normalise=Normalise(normalise, grey=True, channels=1, size=48),
        dropout=dropout,
        hidden=64,
        recipe={
            "constructor": "dao2021",
            "arguments": {"normalise": normalise, "dropout": dropout},
        },
    )
