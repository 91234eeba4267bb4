"""Recognisers: pictures in 0 … 255 to emotion logits, the normalisation inside the network.

Every network is a `Recogniser`, whatever its trunk, so training, prediction and protocols know
one form. A recogniser carries its `recipe`, the call that rebuilds its architecture.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import timm
import torch
from timm.models.vgg import VGG
from torch import nn

Mode = Literal["per_image", "unit", "imagenet", "caffe"]
MODES = ("per_image", "unit", "imagenet", "caffe")

# RGB, on the scale 0 … 255; Caffe's means are those of its VGG release, printed there as BGR
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_LUMINANCE = (0.299, 0.587, 0.114)


class Recipe(TypedDict):
    """How to rebuild an architecture: a constructor of this module and its arguments."""

    constructor: str
    arguments: dict[str, Any]


class Normalise(nn.Module):
    """Brings pictures in 0 … 255 to the scale that a trunk was made for.

    Args:
        mode: ``per_image`` (each picture to mean 0, variance 1 over all its values, which takes
            out differences of brightness and contrast between databases), ``unit`` (0 … 1),
            ``imagenet`` (mean and deviation of ImageNet, as torchvision), ``caffe`` (BGR minus
            (103.939, 116.779, 123.68), no scaling: the VGGs of Randellini et al. 2022).
        grey: Replace colour by luminance (ITU-R BT.601) first, so that a colour training
            database and grey test databases look alike.
        channels: What the trunk takes: 3, or 1 for a grey picture that is not repeated.
    """

    mean: torch.Tensor
    std: torch.Tensor
    luminance: torch.Tensor

    def __init__(self, mode: Mode, *, grey: bool, channels: int = 3) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"normalisation {mode!r} is unknown; it is one of {', '.join(MODES)}")
        if channels not in (1, 3) or (channels == 1 and not grey):
            raise ValueError(f"a trunk of {channels} channels cannot take grey={grey} pictures")
        if channels == 1 and mode in ("imagenet", "caffe"):
            raise ValueError(f"normalisation {mode!r} is one value a colour; it needs 3 channels")
        self.mode, self.grey, self.channels = mode, grey, channels
        mean, std = {
            "unit": ((0.0,) * 3, (255.0,) * 3),
            "imagenet": (_IMAGENET_MEAN, _IMAGENET_STD),
            "caffe": (_CAFFE_MEAN, (1.0,) * 3),
            "per_image": ((0.0,) * 3, (1.0,) * 3),
        }[mode]
        # constants of the mode, so no part of the weights
        for name, values in (("mean", mean), ("std", std), ("luminance", _LUMINANCE)):
            width = 3 if name == "luminance" else channels
            buffer = torch.tensor(values[:width]).view(1, -1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (N, 3, H, W) uint8 or float in 0 … 255 to (N, channels, H, W) float32."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"a recogniser takes (N, 3, H, W) RGB, got {tuple(images.shape)}")
        pictures = images.float()
        if self.grey:
            pictures = (pictures * self.luminance).sum(1, keepdim=True)
        if self.mode == "per_image":
            variance, mean = torch.var_mean(pictures, dim=(1, 2, 3), keepdim=True, correction=0)
            # a picture of one colour becomes 0 and not 0 / 0
            pictures = (pictures - mean) / variance.sqrt().clamp(min=1.0)
        if self.grey and self.channels == 3:
            pictures = pictures.expand(-1, 3, -1, -1)
        if self.mode != "per_image":
            pictures = (pictures - self.mean) / self.std
        return pictures.flip(1) if self.mode == "caffe" else pictures


class Recogniser(nn.Module):
    """Normalisation, trunk, dropout and one linear layer.

    Args:
        trunk: Normalised pictures → (N, d) features, pooled.
        width: d.
        classes: Number of emotions.
        normalise: See `Normalise`.
        dropout: Probability of dropping a feature before the last layer, in [0, 1).
        recipe: What rebuilds this architecture (`rebuild`).
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        width: int,
        classes: int,
        normalise: Normalise,
        dropout: float,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a recogniser tells at least 2 emotions apart, got {classes}")
        self.normalise = normalise
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.width, self.classes, self.recipe = width, classes, recipe

    @property
    def name(self) -> str:
        """What to call it in a table: the constructor, or timm's name of the trunk."""
        return self.recipe["arguments"].get("name", self.recipe["constructor"])

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, d) float32 features before the last layer.

        Args:
            images: (N, 3, H, W) RGB, uint8 or float in 0 … 255.
        """
        pictures = self.normalise(images).contiguous(memory_format=torch.channels_last)
        return self.trunk(pictures)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) logits of (N, 3, H, W) RGB, uint8 or float in 0 … 255."""
        return self.head(self.dropout(self.features(images)))


Network = Callable[[int], Recogniser]
"""Builds a recogniser for a number of emotions: a partial of a constructor below."""


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
        nn.ReLU(inplace=True),
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
    channels = 1 if grey and normalise in ("per_image", "unit") else 3
    trunk = nn.Sequential(
        *_reducing(channels, width, kernel=7, stride=4),
        _Residual(width),  # (N, w, H/4, W/4)
        *_reducing(width, 2 * width),
        _Residual(2 * width),  # (N, 2w, H/8, W/8)
        *_reducing(2 * width, 4 * width),
        _Residual(4 * width),  # (N, 4w, H/16, W/16)
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # (N, 4w)
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


def timm_network(
    classes: int,
    *,
    name: str,
    pretrained: bool = False,
    weights: Path | str | None = None,
    normalise: Mode = "imagenet",
    grey: bool = False,
    dropout: float = 0.0,
) -> Recogniser:
    """Build a recogniser on any trunk of timm, global average pooling on top.

    The VGGs lose their two 4,096-wide layers: what remains is the convolutional trunk that
    papers mean by "VGG16 without top" (14,714,688 parameters).

    Args:
        classes: Number of emotions.
        name: timm's name, for example ``resnet18``, ``vgg16`` or ``inception_resnet_v2``.
        pretrained: Start from ImageNet weights, which timm fetches over the network.
        weights: A file with those weights instead (.pth or .safetensors); nothing is fetched.
        normalise: See `Normalise`; must be what the weights were trained with.
        grey: See `Normalise`.
        dropout: Before the last layer.

    Raises:
        ValueError: If timm has no such network.
        FileNotFoundError: If the weight file does not exist.
        RuntimeError: If the weights can be neither read nor fetched.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(f"timm has no network {name!r}{hint}")
    trunk = _timm_trunk(name, pretrained, Path(weights) if weights else None)
    width = int(getattr(trunk, "head_hidden_size", trunk.num_features))  # type: ignore[arg-type]
    if isinstance(trunk, VGG):
        trunk.pre_logits = nn.Identity()
        width = int(trunk.num_features)
    arguments = {"name": name, "normalise": normalise, "grey": grey, "dropout": dropout}
    return Recogniser(
        trunk,
        width=width,
        classes=classes,
        normalise=Normalise(normalise, grey=grey),
        dropout=dropout,
        recipe={"constructor": "timm_network", "arguments": arguments},
    )


def _timm_trunk(name: str, pretrained: bool, weights: Path | None) -> nn.Module:
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"the weights of {name} are not at {weights}")
    options: dict[str, Any] = {"num_classes": 0, "global_pool": "avg"}
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"file": str(weights)}
    elif not pretrained:
        return timm.create_model(name, **options)
    random_state = torch.get_rng_state()
    fresh = timm.create_model(name, num_classes=0, global_pool="avg")
    torch.set_rng_state(random_state)
    try:
        trunk = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # hub, network, pickle and state-dict errors share no base
        if weights is not None:
            raise RuntimeError(
                f"{weights} does not hold weights of timm's {name}: {error}"
            ) from error
        raise RuntimeError(
            f"ImageNet weights of {name} could not be fetched ({type(error).__name__}: {error}); "
            "give a local file as `weights`, or set `pretrained: false`"
        ) from error
    # timm skips weights that a file lacks without a word and leaves them random; what the same
    # random state gave to a network without the file was not loaded
    initial = dict(fresh.named_parameters())
    untouched = [
        key
        for key, weight in trunk.named_parameters()
        if weight.ndim > 1 and not key.startswith("pre_logits") and weight.equal(initial[key])
    ]
    if untouched:
        raise RuntimeError(
            f"{weights or 'what timm fetched'} does not hold weights of timm's {name}: "
            f"{len(untouched)} of its layers are missing, the first is {untouched[0]}"
        )
    return trunk


_CONSTRUCTORS = {"small_cnn": small_cnn, "timm_network": timm_network}


def rebuild(recipe: Mapping[str, Any], classes: int) -> Recogniser:
    """Build the architecture that a recipe describes, with fresh weights and offline.

    Args:
        recipe: The `Recogniser.recipe` of a network.
        classes: Number of emotions.

    Raises:
        ValueError: If the recipe names a constructor that this module does not have.
    """
    # a closed table: a recipe is read from a file and must not name arbitrary code
    constructor = _CONSTRUCTORS.get(recipe["constructor"])
    if constructor is None:
        raise ValueError(
            f"network constructor {recipe['constructor']!r} is unknown; "
            f"it is one of {', '.join(_CONSTRUCTORS)}"
        )
    return constructor(classes, **recipe["arguments"])
