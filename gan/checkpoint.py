"""A trained GAN on disk: weights as safetensors, architectures as a line of JSON."""

import importlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from curation.artifact import file_hash, read_json, write_json
from gan.networks import Generator, Network

DESCRIPTION = "networks.json"


def save_networks(folder: Path, networks: Mapping[str, Network], **facts: Any) -> None:
    """Write ``<name>.safetensors`` for each network and ``networks.json`` beside them.

    Args:
        folder: An existing folder.
        networks: Name → network.
        **facts: More entries of the JSON file.
    """
    description = dict(facts)
    for name, network in networks.items():
        weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
        kind = type(network)
        description[name] = {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "arguments": network.arguments,
        }
    write_json(folder / DESCRIPTION, description)


def load_network(folder: Path, name: str) -> Network:
    """Build a network that `save_networks` wrote, on the CPU, in evaluation mode.

    Args:
        folder: Result of ``train_gan`` or ``train_trunk``.
        name: ``generator`` or ``discriminator``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the folder names a class that is none of ours, or the weights do not fit.
    """
    weights = folder / f"{name}.safetensors"
    for path in (weights, folder / DESCRIPTION):
        if not path.exists():
            raise FileNotFoundError(f"{folder} is no trained GAN: it has no {path.name}")
    entry = _description(folder).get(name)
    if not isinstance(entry, dict) or not {"class", "arguments"} <= entry.keys():
        raise ValueError(f"{folder / DESCRIPTION} is damaged: it does not describe the {name}")
    module, _, kind = entry["class"].rpartition(".")
    if not module.startswith("gan."):
        raise ValueError(f"{folder / DESCRIPTION} names {entry['class']}, no network of gan")
    try:
        network: Network = getattr(importlib.import_module(module), kind)(**entry["arguments"])
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{folder / DESCRIPTION} describes a {entry['class']} that this version cannot build: "
            f"{error}"
        ) from error
    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{weights} is damaged or of another architecture: {reason}") from error
    return network.eval()


def load_generator(folder: Path) -> Generator:
    """Build the generator of a trained GAN; see `load_network`."""
    network = load_network(folder, "generator")
    if not isinstance(network, Generator):
        raise ValueError(f"{folder / DESCRIPTION} calls {type(network).__name__} a generator")
    return network


def trunk_emotions(folder: Path) -> list[str]:
    """Return the emotions that a GAN was trained on, in the order of its labels."""
    return _description(folder).get("emotions", [])


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.exists():
        raise FileNotFoundError(f"{folder} is no trained GAN: it has no {DESCRIPTION}")
    try:
        return read_json(path)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training (tensors and plain values), whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())  # or a crash of the machine could leave the name without the bytes
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, on the CPU.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(
            f"{path}, the state of a training that was stopped, is damaged "
            f"({type(error).__name__}); delete {path.parent} to train from the start"
        ) from error


def generator_hash(folder: Path) -> str:
    """Return the identity of a generator: 20 digits of the SHA-256 of its weights file."""
    return file_hash(folder / "generator.safetensors")[:20]
