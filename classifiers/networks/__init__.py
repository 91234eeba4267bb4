"""Recognisers: pictures in 0 … 255 to emotion logits, the normalisation inside the network.

Every network is a `Recogniser`, whatever its trunk, so training, prediction and protocols know
one form. A recogniser carries its `recipe`, the call that rebuilds its architecture.
"""

from collections.abc import Mapping
from typing import Any

from classifiers.networks.facenet import facenet
from classifiers.networks.narrow import NARROWED, narrowed
from classifiers.networks.normalise import MODES, Mode, Normalise
from classifiers.networks.recogniser import Layer, Network, Recipe, Recogniser
from classifiers.networks.small import dao2021, small_cnn, vanderweel2019
from classifiers.networks.timm_trunks import timm_network

__all__ = [
    "MODES",
    "Layer",
    "Mode",
    "Network",
    "Normalise",
    "Recipe",
    "Recogniser",
    "dao2021",
    "facenet",
    "rebuild",
    "small_cnn",
    "timm_network",
    "vanderweel2019",
]

_CONSTRUCTORS = {
    constructor.__name__: constructor
    for constructor in (small_cnn, timm_network, vanderweel2019, dao2021, facenet)
}


def rebuild(recipe: Mapping[str, Any], classes: int) -> Recogniser:
    """Build the architecture that a recipe describes, with fresh weights and offline.

    Args:
        recipe: The `Recogniser.recipe` of a network.
        classes: Number of emotions.

    Raises:
        ValueError: If the recipe names a constructor that this package does not have.
    """
    # a closed table: a recipe is read from a file and must not name arbitrary code
    if recipe["constructor"] == NARROWED:
        arguments = recipe["arguments"]
        return narrowed(rebuild(arguments["of"], classes), arguments["shapes"])
    constructor = _CONSTRUCTORS.get(recipe["constructor"])
    if constructor is None:
        raise ValueError(
            f"network constructor {recipe['constructor']!r} is unknown; "
            f"it is one of {', '.join(_CONSTRUCTORS)}"
        )
    return constructor(classes, **recipe["arguments"])
