"""Weights for timm's networks: from a file or the hub's cache, in one of several layouts."""

import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from classifiers.networks.normalise import STATISTICS, Mode
from curation import hub

State = dict[str, torch.Tensor]

_TORCHVISION_MOBILENET = re.compile(r"features\.\d+\.conv\.\d")


def find_weights(name: str, weights: Path | str) -> Path | None:
    """Return the file of the weights that a configuration names; nothing is fetched.

    Args:
        name: timm's name of the network.
        weights: ``random``, ``hub`` (what `affectory prefetch` or timm has put into the cache of
            the Hugging Face hub), or a path.

    Returns:
        The file; None for ``random``.

    Raises:
        FileNotFoundError: If it is not there; with how to get it.
    """
    if weights == "random":
        return None
    if weights != "hub":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"the weights of {name} are not at {path} (classifier.network.weights: a file, "
                "`hub` or `random`)"
            )
        return path
    if there := hub.find(name):
        return there
    raise FileNotFoundError(
        f"the ImageNet weights of {name} are not in the cache; {hub.how_to_fetch(name)}, or set "
        "classifier.network.weights to a file of them, or to `random`"
    )


def read_state(path: Path) -> State:
    """Return the tensors of a .safetensors, .pth or .pt file by name.

    Raises:
        ValueError: If the file holds no tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:  # pickle's errors share no base
        raise ValueError(
            f"{path} holds more than weights and is not run ({type(error).__name__}); save its "
            "state_dict() as .safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}, not tensors by name")
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise ValueError(f"{path} holds no tensors")
    return tensors


def load_network(name: str, state: State | None, source: Path | None) -> nn.Module:
    """Build a network of timm without its last layer, and fill it.

    Layouts understood: timm's, those that timm converts itself (torchvision's ResNets, VGGs and
    Inception, Facebook's ConvNeXt, …), and torchvision's MobileNetV2, old and new.

    Args:
        name: timm's name.
        state: The weights by name; None leaves it random.
        source: Where they come from, for errors.

    Raises:
        RuntimeError: If the source does not hold weights of this network, or not all of them.
    """
    options: dict[str, Any] = {"num_classes": 0}
    if name.startswith("vgg"):  # its dense layers, 0.5 GB, are built small and never filled
        options["mlp_ratio"] = 1 / 4096
    if state is None:
        return timm.create_model(name, **options)
    random_state = torch.get_rng_state()
    fresh = timm.create_model(name, **options)
    torch.set_rng_state(random_state)
    if name.startswith("vgg"):
        state = {key: value for key, value in state.items() if key.startswith("features.")}
    try:
        overlay = {"state_dict": from_torchvision(state, fresh), "custom_load": False}
        network = timm.create_model(
            name, **options, pretrained=True, pretrained_cfg_overlay=overlay
        )
    except Exception as error:  # what timm raises over a foreign state dict has no common base
        raise RuntimeError(f"{source} does not hold weights of timm's {name}: {error}") from error
    # timm skips weights that a file lacks without a word and leaves them random; what the same
    # random state gave to a network without the file was not loaded
    initial = dict(fresh.named_parameters())
    untouched = [
        key
        for key, weight in network.named_parameters()
        if weight.ndim > 1 and not key.startswith("pre_logits") and weight.equal(initial[key])
    ]
    if untouched:
        raise RuntimeError(
            f"{source} does not hold weights of timm's {name}: "
            f"{len(untouched)} of its layers are missing, the first is {untouched[0]}"
        )
    return network


def load_strictly(trunk: nn.Sequential, state: State, source: Path | None) -> None:
    """Fill a trunk whose names and shapes the state must have, one by one.

    Recognisers trained here may be given whole: of ``trunk.`` and ``head.`` the trunk is taken.

    Raises:
        RuntimeError: If something is missing, too much or of another shape.
    """
    if any(key.startswith("trunk.") for key in state):
        state = {key[6:]: value for key, value in state.items() if key.startswith("trunk.")}
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        raise RuntimeError(f"{source} does not hold weights of this trunk: {error}") from error


def from_torchvision(state: State, network: nn.Module) -> State:
    """Bring a MobileNetV2 of torchvision's layout to timm's names; leave any other as it is.

    Both list the same convolutions and norms in the same order, ``features.17.conv.6`` here and
    ``blocks.6.0.conv_pwl`` there; torchvision's releases differ in the names alone.

    Args:
        state: Tensors by name.
        network: timm's network, for its names.

    Raises:
        ValueError: If it is that layout, but not of this network.
    """
    if not any(_TORCHVISION_MOBILENET.match(key) for key in state):
        return state
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    ours = _layers(network.state_dict(), ordered=True)
    theirs = _layers(features, ordered=False)
    if len(ours) != len(theirs):
        raise ValueError(
            f"it is a MobileNetV2 of torchvision with {len(theirs)} layers; this network has "
            f"{len(ours)}"
        )
    return {
        f"{new}.{part}": state[f"{old}.{part}"]
        for new, old in zip(ours, theirs, strict=True)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        if f"{old}.{part}" in state
    }


def _layers(state: Mapping[str, Any], *, ordered: bool) -> list[str]:
    paths = [key.rpartition(".")[0] for key in state]
    if not ordered:  # a file may be sorted by letters, in which 10 comes before 2
        paths.sort(key=lambda path: [int(part) for part in re.findall(r"\d+", path)])
    return [path for path, _ in groupby(paths)]


def rescale_first(trunk: nn.Module, *, trained_with: Mode, fed_with: Mode) -> None:
    """Bring the first convolution from pictures of one normalisation to those of another.

    The weights then give on the new scale what they gave on the old. Means may differ by what a
    zero at the border hides, a grey level; so this is for ``imagenet`` and ``caffe``.

    Args:
        trunk: Whose first convolution is changed, in place.
        trained_with: What the weights expect.
        fed_with: What they will get.

    Raises:
        ValueError: If the means of the two lie apart.
    """
    (old_mean, old_std), (new_mean, new_std) = STATISTICS[trained_with], STATISTICS[fed_with]
    apart = max(abs(old - new) for old, new in zip(old_mean, new_mean, strict=True))
    if apart > 1 or "per_image" in (trained_with, fed_with):
        raise ValueError(
            f"weights trained with {trained_with} pictures cannot be brought to {fed_with} ones, "
            "whose zero is another colour; set normalise to what they were trained with"
        )
    first = next(module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    gain = torch.tensor(new_std) / torch.tensor(old_std)
    with torch.no_grad():
        kernels = first.weight.flip(1) if trained_with == "caffe" else first.weight
        kernels = kernels * gain.view(1, 3, 1, 1)  # (out, RGB, k, k)
        first.weight.copy_(kernels.flip(1) if fed_with == "caffe" else kernels)
