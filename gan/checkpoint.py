"""A trained GAN on disk: weights as safetensors, architectures as a line of JSON."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    entry = read_json(folder / DESCRIPTION)[name]
    module, _, kind = entry["class"].rpartition(".")
    if not module.startswith("gan."):
        raise ValueError(f"{folder / DESCRIPTION} names {entry['class']}, no network of gan")
    network: Network = getattr(importlib.import_module(module), kind)(**entry["arguments"])
    try:
        network.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{weights} is damaged or of another architecture: {error}") from error
    return network.eval()


def load_generator(folder: Path) -> Generator:
    """Build the generator of a trained GAN; see `load_network`."""
    network = load_network(folder, "generator")
    if not isinstance(network, Generator):
        raise ValueError(f"{folder / DESCRIPTION} calls {type(network).__name__} a generator")
    return network


def trunk_emotions(folder: Path) -> list[str]:
    """Return the emotions that a GAN was trained on, in the order of its labels."""
    if not (folder / DESCRIPTION).exists():
        raise FileNotFoundError(f"{folder} is no trained GAN: it has no {DESCRIPTION}")
    return read_json(folder / DESCRIPTION)["emotions"]


def generator_hash(folder: Path) -> str:
    """Return the identity of a generator: 20 digits of the SHA-256 of its weights file."""
    return file_hash(folder / "generator.safetensors")[:20]
