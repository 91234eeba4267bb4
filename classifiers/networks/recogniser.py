"""A recogniser: pictures in 0 … 255 to emotion logits, through units that can be cut anywhere."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from classifiers.networks.normalise import Normalise


class Recipe(TypedDict):
    """How to rebuild an architecture: a constructor of this package and its arguments."""

    constructor: str
    arguments: dict[str, Any]


class Layer(NamedTuple):
    """One of the layers that a paper counts when it unfreezes "the last k".

    Attributes:
        name: For messages.
        parameters: Names of its parameters within the trunk; none for pooling and the like.
    """

    name: str
    parameters: tuple[str, ...] = ()


def pool() -> nn.Sequential:
    """Return the unit on top of a convolutional trunk: (N, d, H, W) → (N, d), the mean."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Recogniser(nn.Module):
    """Normalisation, a trunk of ordered units, and a head.

    ``trunk[:c]`` applied to normalised pictures is all that ``trunk[c:]`` needs, for every c: a
    frozen beginning can be computed once and kept.

    Args:
        trunk: Normalised pictures → (N, d) features; its last units pool.
        width: d.
        classes: Number of emotions.
        normalise: See `Normalise`.
        recipe: What rebuilds this architecture (`rebuild`).
        dropout: Probability of dropping a feature before the head's first layer, in [0, 1).
        hidden: Width of a ReLU layer between features and logits; None for a linear head.
        layers: What counts as a layer of the trunk, in order; None for one layer a unit.
    """

    def __init__(
        self,
        trunk: nn.Sequential,
        *,
        width: int,
        classes: int,
        normalise: Normalise,
        recipe: Recipe,
        dropout: float = 0.0,
        hidden: int | None = None,
        layers: Sequence[Layer] | None = None,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a recogniser tells at least 2 emotions apart, got {classes}")
        self.normalise = normalise
        self.trunk = trunk
        self.head = _head(width, classes, dropout, hidden)
        self.width, self.classes, self.recipe = width, classes, recipe
        self.layers = tuple(_unit_layers(trunk) if layers is None else layers)
        self._cut, self._adapt = 0, False
        # an activation that overwrites its input would overwrite features that somebody keeps
        for module in trunk.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """What to call it in a table: the constructor, or timm's name of the trunk."""
        recipe, note = self.recipe, ""
        if "of" in recipe["arguments"]:  # of a network that lost channels
            recipe, note = recipe["arguments"]["of"], ", pruned"
        name = recipe["arguments"].get("name", recipe["constructor"])
        return name.split(".")[0] + note  # what follows a dot is the name of some weights

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, d) float32 features before the head.

        Args:
            images: (N, 3, H, W) RGB, uint8 or float in 0 … 255.
        """
        pictures = self.normalise(images).contiguous(memory_format=torch.channels_last)
        return self.trunk(pictures)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, classes) logits of (N, 3, H, W) RGB, uint8 or float in 0 … 255."""
        return self.head(self.features(images))

    def trainable_last(self, k: int | None, *, frozen_norms_adapt: bool = False) -> int:
        """Let the last k layers of the trunk and the head train, and nothing else.

        What lies before the first unit that trains stays in evaluation mode even in `train`, and
        so does every batch norm none of whose parameters trains: its mean and variance are part
        of what is frozen, as in Keras. With `frozen_norms_adapt` they follow the training
        pictures all the same, as PyTorch does where one only stops the gradients.

        Args:
            k: How many of `layers`, counted from the top; 0 for the head alone; None for
                everything.
            frozen_norms_adapt: Let frozen batch norms use and gather batch statistics.

        Returns:
            Index of the first unit of `trunk` that holds a parameter that trains; ``len(trunk)``
            if none does. What lies before is a constant, unless `frozen_norms_adapt`.

        Raises:
            ValueError: If the trunk has fewer than k layers.
        """
        if k is not None and not 0 <= k <= len(self.layers):
            raise ValueError(
                f"{self.name} has {len(self.layers)} layers, so the last {k} cannot be trained "
                "(training.phases.trains); use null for all"
            )
        names = {
            name
            for layer in self.layers[len(self.layers) - (k or 0) :]
            for name in layer.parameters
        }
        for name, weight in self.trunk.named_parameters():
            weight.requires_grad_(k is None or name in names)
        for weight in self.head.parameters():
            weight.requires_grad_(True)
        self._adapt = frozen_norms_adapt
        self._cut = next(
            (
                place
                for place, unit in enumerate(self.trunk)
                if any(weight.requires_grad for weight in unit.parameters())
            ),
            len(self.trunk),
        )
        self.train(self.training)
        return self._cut

    def train(self, mode: bool = True) -> "Recogniser":
        """Set training mode, but for what `trainable_last` has frozen."""
        super().train(mode)
        if mode and not self._adapt:
            for unit in self.trunk[: self._cut]:
                unit.eval()
            for module in self.trunk[self._cut :].modules():
                weights = list(module.parameters(recurse=False))
                frozen = weights and not any(weight.requires_grad for weight in weights)
                if isinstance(module, _BatchNorm) and frozen:
                    module.eval()
        return self


Network = Callable[[int], Recogniser]
"""Builds a recogniser for a number of emotions: a partial of a constructor of this package."""


def _head(width: int, classes: int, dropout: float, hidden: int | None) -> nn.Sequential:
    head: OrderedDict[str, nn.Module] = OrderedDict(dropout=nn.Dropout(dropout))
    if hidden is not None:
        head["hidden"] = nn.Linear(width, hidden)
        head["relu"] = nn.ReLU()
        width = hidden
    head["logits"] = nn.Linear(width, classes)
    return nn.Sequential(head)


def _unit_layers(trunk: nn.Sequential) -> list[Layer]:
    return [
        Layer(name, tuple(f"{name}.{key}" for key, _ in unit.named_parameters()))
        for name, unit in trunk.named_children()
    ]
