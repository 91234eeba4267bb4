"""Networks that lost channels: the shapes that are left, and how to build them again."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from classifiers.networks.recogniser import Recipe, Recogniser

NARROWED = "narrowed"  # what the recipe of such a network calls its constructor
Shapes = Mapping[str, Sequence[int]]


def narrowed(network: Recogniser, shapes: Shapes) -> Recogniser:
    """Give some tensors of a network smaller shapes, in place: the first channels stay.

    Args:
        network: The whole network.
        shapes: Name of a parameter or buffer → its shape.

    Returns:
        The network, its recipe that of the narrow one.

    Raises:
        ValueError: If it has no such tensor, a shape is larger, or a layer is none of
            convolution, batch norm, linear.
    """
    tensors = network.state_dict()
    for name, shape in shapes.items():
        path, _, leaf = name.rpartition(".")
        old = tensors.get(name)
        fits = old is not None and len(old.shape) == len(shape)
        if old is None or not fits or any(a > b for a, b in zip(shape, old.shape, strict=True)):
            raise ValueError(
                f"{network.name} cannot have {name} of shape {list(shape)}: "
                f"{'there is none' if old is None else f'its own is {list(old.shape)}'}"
            )
        layer, part = network.get_submodule(path), old[tuple(slice(side) for side in shape)].clone()
        setattr(layer, leaf, nn.Parameter(part) if leaf in layer._parameters else part)
        _tell_widths(layer, name)
    _name(network, network.recipe, shapes)
    return network


def note_shapes(network: Recogniser, before: Shapes) -> None:
    """Write into the recipe of a network, whose layers have been narrowed, which shapes are left.

    Args:
        network: After narrowing, its recipe still that of before.
        before: All its shapes of before (`shapes_of`).
    """
    known: dict[str, Sequence[int]] = {}
    whole = network.recipe
    if whole["constructor"] == NARROWED:  # narrowed before: one step from the whole network
        known, whole = dict(whole["arguments"]["shapes"]), whole["arguments"]["of"]
    for name, tensor in network.state_dict().items():
        if tensor.shape != before[name]:
            known[name] = list(tensor.shape)
    _name(network, whole, known)


def _name(network: Recogniser, whole: Recipe, shapes: Shapes) -> None:
    arguments = {"of": whole, "shapes": {name: list(shape) for name, shape in shapes.items()}}
    network.recipe = Recipe(constructor=NARROWED, arguments=arguments)
    first = next(layer for layer in network.head if isinstance(layer, nn.Linear))
    network.width = first.in_features


def _tell_widths(layer: nn.Module, name: str) -> None:
    """Let a layer's attributes say what the shapes of its tensors do."""
    if isinstance(layer, nn.Conv2d):
        rows, columns = layer.weight.shape[:2]
        if 1 < layer.groups == layer.in_channels:  # each channel by itself
            layer.groups = rows
        layer.in_channels, layer.out_channels = columns * layer.groups, rows
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _BatchNorm):
        layer.num_features = len(layer.weight)
    else:
        raise ValueError(f"{name} belongs to a {type(layer).__name__}, which cannot be narrowed")


def shapes_of(network: nn.Module) -> dict[str, torch.Size]:
    """Return the shape of each parameter and buffer by name."""
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
