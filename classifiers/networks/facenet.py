"""Inception-ResNet v1 with the weights of a face recogniser (FaceNet), from a file.

Written from Szegedy et al. 2017 (arXiv:1602.07261, figures 10 to 15) with the widths of D.
Sandberg's FaceNet, under the names of facenet-pytorch's state dict, so that its files
(``20180402-114759-vggface2.pt``, ``20180408-102900-casia-webface.pt``) load as they are.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from classifiers.networks.normalise import Mode, Normalise
from classifiers.networks.recogniser import Recogniser, pool
from classifiers.networks.weights import load_strictly, read_state

_DROPPED = ("last_linear.", "last_bn.", "logits.")  # the embedding of identities, and its classes

_Size = int | tuple[int, int]


class _Convolution(nn.Module):
    def __init__(
        self, fan_in: int, fan_out: int, kernel: _Size, stride: int = 1, padding: _Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, fan_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(fan_out, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


def _tower(fan_in: int, *layers: tuple) -> nn.Module:
    """Convolutions in a row, each (width, kernel, stride, padding); a single one stands alone."""
    row: list[nn.Module] = []
    for width, *shape in layers:
        row.append(_Convolution(fan_in, width, *shape))
        fan_in = width
    return row[0] if len(row) == 1 else nn.Sequential(*row)


class _Branches(nn.Module):
    """Branches side by side; with a `scale`, their sum with the input (a residual block)."""

    def __init__(
        self,
        *branches: nn.Module,
        join: tuple[int, int] | None = None,
        scale: float = 1.0,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.count, self.scale, self.relu = len(branches), scale, relu
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.conv2d = None if join is None else nn.Conv2d(*join, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.get_submodule(f"branch{number}")(x) for number in range(self.count)]
        joined = torch.cat(branches, 1)
        if self.conv2d is None:
            return joined
        out = self.conv2d(joined) * self.scale + x
        return torch.relu(out) if self.relu else out


def _block35() -> _Branches:
    return _Branches(
        _tower(256, (32, 1)),
        _tower(256, (32, 1), (32, 3, 1, 1)),
        _tower(256, (32, 1), (32, 3, 1, 1), (32, 3, 1, 1)),
        join=(96, 256),
        scale=0.17,
    )


def _block17() -> _Branches:
    return _Branches(
        _tower(896, (128, 1)),
        _tower(896, (128, 1), (128, (1, 7), 1, (0, 3)), (128, (7, 1), 1, (3, 0))),
        join=(256, 896),
        scale=0.10,
    )


def _block8(*, last: bool = False) -> _Branches:
    return _Branches(
        _tower(1792, (192, 1)),
        _tower(1792, (192, 1), (192, (1, 3), 1, (0, 1)), (192, (3, 1), 1, (1, 0))),
        join=(384, 1792),
        scale=1.0 if last else 0.20,
        relu=not last,
    )


def _trunk() -> nn.Sequential:
    units: OrderedDict[str, nn.Module] = OrderedDict(
        conv2d_1a=_Convolution(3, 32, 3, 2),
        conv2d_2a=_Convolution(32, 32, 3),
        conv2d_2b=_Convolution(32, 64, 3, 1, 1),
        maxpool_3a=nn.MaxPool2d(3, 2),
        conv2d_3b=_Convolution(64, 80, 1),
        conv2d_4a=_Convolution(80, 192, 3),
        conv2d_4b=_Convolution(192, 256, 3, 2),
    )
    units |= {f"repeat_1_{number}": _block35() for number in range(5)}
    units["mixed_6a"] = _Branches(
        _tower(256, (384, 3, 2)),
        _tower(256, (192, 1), (192, 3, 1, 1), (256, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    units |= {f"repeat_2_{number}": _block17() for number in range(10)}
    units["mixed_7a"] = _Branches(
        _tower(896, (256, 1), (384, 3, 2)),
        _tower(896, (256, 1), (256, 3, 2)),
        _tower(896, (256, 1), (256, 3, 1, 1), (256, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    units |= {f"repeat_3_{number}": _block8() for number in range(5)}
    units["block8"] = _block8(last=True)
    units["pool"] = pool()  # (N, 1792)
    return nn.Sequential(units)


def facenet(
    classes: int,
    *,
    weights: Path | str = "random",
    normalise: Mode = "facenet",
    size: int | None = 160,
    grey: bool = False,
    dropout: float = 0.0,
    hidden: int | None = None,
) -> Recogniser:
    """Build a recogniser on the trunk of FaceNet, which knows faces before it sees emotions.

    The 1,792 pooled features below the embedding: what makes a person's faces alike is meant to
    remove the expression, and does so mostly in the last layers.

    Args:
        classes: Number of emotions.
        weights: A file of facenet-pytorch's state dict (.pt, .safetensors), or ``random``.
        normalise: See `Normalise`; ``facenet`` is what the published weights expect.
        size: Side that pictures are brought to; 75 at least.
        grey: See `Normalise`.
        dropout: Before the head.
        hidden: Width of a ReLU layer in the head; None for none.

    Raises:
        FileNotFoundError: If the file is not there.
        RuntimeError: If it does not hold these weights.
    """
    trunk = _trunk()
    if weights != "random":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"the weights of facenet are not at {path} (classifier.network.weights: a file "
                "of facenet-pytorch, or `random`)"
            )
        state = {
            _renamed(key): value
            for key, value in read_state(path).items()
            if not key.startswith(_DROPPED)
        }
        load_strictly(trunk, state, path)
    arguments = {
        "normalise": normalise,
        "size": size,
        "grey": grey,
        "dropout": dropout,
        "hidden": hidden,
    }
    return Recogniser(
        trunk,
        width=1792,
        classes=classes,
        normalise=Normalise(normalise, grey=grey, size=size),
        dropout=dropout,
        hidden=hidden,
        recipe={"constructor": "facenet", "arguments": arguments},
    )


def _renamed(key: str) -> str:
    """``repeat_1.0.…`` is a unit of its own here: ``repeat_1_0.…``."""
    return key.replace(".", "_", 1) if key.startswith("repeat_") else key
