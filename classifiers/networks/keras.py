"""The order in which Keras lists the layers of the networks whose "last k" a paper unfreezes.

Randellini et al. 2022 count k over ``model.layers`` of Keras, pooling on top included. Keras sorts
layers by their distance to the output, the farthest first, and layers at one distance in the order
in which its constructor joined them; so the branches of a block are interleaved from their ends.
Here that order is derived from how the branches run, for VGG16 and 19, Inception v3 and
Inception-ResNet v2.

How counts relate: Keras counts running means and variances of batch norms among (non-trainable)
parameters, and its Inceptions have no scale (gamma) in them. So Keras's count is ours plus the
running statistics minus the scales: 21,802,784 for Inception v3, 54,336,736 for
Inception-ResNet v2, and for the VGGs, which have no norms, 14,714,688 and 20,024,384 on both sides.
Given the same weights the two compute the same, to rounding, but for one thing: the pools inside
timm's Inception v3 count the zeros of the padding, as torchvision's do and TensorFlow's do not.

A `Layer` leaves the scales out, so unfreezing k layers trains as many parameters as in the paper,
and the scales, 1 in TensorFlow's weights, stay; they train only with the whole trunk.
"""

from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from classifiers.networks.recogniser import Layer

# The branches of each block by timm's class of it, in Keras's order of joining. A word is a
# convolution with norm and activation (by its name in the block), or a pool; a slash forks.
_BRANCHES: Mapping[str, str] = {
    "InceptionA": "branch1x1 | branch5x5_1 branch5x5_2 | "
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 | pool branch_pool",
    "InceptionB": "branch3x3 | branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 | pool",
    "InceptionC": "branch1x1 | branch7x7_1 branch7x7_2 branch7x7_3 | branch7x7dbl_1 "
    "branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 | pool branch_pool",
    "InceptionD": "branch3x3_1 branch3x3_2 | "
    "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4 | pool",
    "InceptionE": "branch1x1 | branch3x3_1 branch3x3_2a/branch3x3_2b | branch3x3dbl_1 "
    "branch3x3dbl_2 branch3x3dbl_3a/branch3x3dbl_3b | pool branch_pool",
    "Mixed_5b": "branch0 | branch1.0 branch1.1 | branch2.0 branch2.1 branch2.2 | pool branch3.1",
    "Block35": "branch0 | branch1.0 branch1.1 | branch2.0 branch2.1 branch2.2",
    "Mixed_6a": "branch0 | branch1.0 branch1.1 branch1.2 | pool",
    "Block17": "branch0 | branch1.0 branch1.1 branch1.2",
    "Mixed_7a": "branch0.0 branch0.1 | branch1.0 branch1.1 | branch2.0 branch2.1 branch2.2 | pool",
    "Block8": "branch0 | branch1.0 branch1.1 branch1.2",
}


def keras_layers(trunk: nn.Sequential) -> list[Layer]:
    """Return the layers of a trunk as Keras lists them, its input and pooling on top included.

    Args:
        trunk: Units of timm's VGG, Inception v3 or Inception-ResNet v2.
    """
    layers = [Layer("input")]
    for name, unit in trunk.named_children():
        if branches := _BRANCHES.get(type(unit).__name__):
            layers += _block(name, unit, branches)
        elif hasattr(unit, "conv") and hasattr(unit, "bn"):
            layers += _convolution(name, unit)
        elif not isinstance(unit, nn.ReLU):  # part of the convolution before it, in Keras's VGGs
            layers.append(Layer(name, _parameters(name, unit)))
    return layers


def _block(name: str, unit: nn.Module, branches: str) -> Iterator[Layer]:
    placed: list[tuple[int, Layer]] = []  # (distance to the end of the block, layer)
    for number, branch in enumerate(branches.split("|")):
        distance = 0
        upwards: list[tuple[int, Layer]] = []
        for word in reversed(branch.split()):
            if word == "pool":
                upwards.append((distance, Layer(f"{name}.pool{number}")))
                distance += 1
                continue
            fork = word.split("/")
            if len(fork) > 1:
                upwards.append((distance, Layer(f"{name}.concatenate{number}")))
                distance += 1
            for part in reversed(fork):
                path = f"{name}.{part}"
                layers = reversed(_convolution(path, unit.get_submodule(part)))
                upwards += [(distance + step, layer) for step, layer in enumerate(layers)]
            distance += 3
        placed += reversed(upwards)
    # sorting keeps the order of branches at one distance
    yield from (layer for _, layer in sorted(placed, key=lambda entry: -entry[0]))
    yield Layer(f"{name}.concatenate")
    if hasattr(unit, "conv2d"):  # the residual blocks: x + scale · convolution
        yield Layer(f"{name}.conv2d", _parameters(f"{name}.conv2d", unit.get_submodule("conv2d")))
        yield Layer(f"{name}.scale")
        if getattr(unit, "act", None) is not None or getattr(unit, "relu", None) is not None:
            yield Layer(f"{name}.activation")


def _convolution(path: str, unit: nn.Module) -> list[Layer]:
    return [
        *(Layer(f"{path}.{part}", _parameters(f"{path}.{part}", unit.get_submodule(part)))
          for part in ("conv", "bn")),
        Layer(f"{path}.activation"),
    ]  # fmt: skip


def _parameters(path: str, module: nn.Module) -> tuple[str, ...]:
    scale = "weight" if isinstance(module, _BatchNorm) else None
    return tuple(f"{path}.{key}" for key, _ in module.named_parameters() if key != scale)
