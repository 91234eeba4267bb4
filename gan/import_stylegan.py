"""Public StyleGAN2-ADA checkpoints as our networks, read without running what is in them.

A ``.pkl`` of NVIDIA's stylegan2-ada-pytorch, or of stylegan3's StyleGAN2 configurations, is a
pickle that asks to execute the source code it carries. Here it is read as data: tensors, plain
values, and for each module its class name and attributes. Any other request stops the reading.
The weights keep their own licence, which for NVIDIA's forbids commercial use.

``affectory import_stylegan network.pkl folder`` writes what ``train_trunk`` would have written.
"""

import argparse
import io
import logging
import pickle
import sys
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch

from gan import fir
from gan.checkpoint import save_networks
from gan.stylegan2 import Discriminator, Generator, channels, resolutions

log = logging.getLogger(__name__)
ARCHITECTURES = {"orig": "plain", "skip": "skip", "resnet": "residual"}


class Networks(TypedDict):
    """What a checkpoint holds; the generator is the moving average."""

    generator: Generator
    discriminator: Discriminator


class CheckpointError(ValueError):
    """A file that is no checkpoint, asks to run code, or holds a network that is not ours."""


@dataclass
class Module:
    """A pickled network module: its class by name, and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)

    def get(self, attribute: str) -> Any:
        """Return an attribute."""
        try:
            return self.state[attribute]
        except KeyError:
            raise CheckpointError(f"the pickled {self.name} has no {attribute}") from None

    def child(self, path: str) -> "Module":
        """Return a submodule by its dotted name."""
        module = self
        for name in path.split("."):
            module = module.get("_modules").get(name)
            if not isinstance(module, Module):
                raise CheckpointError(f"the pickled {self.name} has no submodule {path}")
        return module

    def tensors(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Return all parameters and buffers by dotted name."""
        found = {
            prefix + name: tensor
            for kind in ("_parameters", "_buffers")
            for name, tensor in self.get(kind).items()
            if isinstance(tensor, torch.Tensor)
        }
        for name, module in self.get("_modules").items():
            if isinstance(module, Module):
                found |= module.tensors(f"{prefix}{name}.")
        return found


class _Attributes(dict):
    """Stands in for NVIDIA's dictionary with attributes."""

    def __setstate__(self, state: object) -> None:
        """Ignore what is no item."""


def _module(meta: dict[str, Any]) -> Module:
    if meta.get("type") != "class":
        raise CheckpointError(f"a persistent object of type {meta.get('type')!r} is unknown")
    return Module(str(meta["class_name"]), dict(meta["state"]))  # its module_src is never looked at


def _storage(content: bytes) -> torch.Tensor:
    stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(stored, torch.storage.TypedStorage):
        raise CheckpointError(f"a tensor's storage is a {type(stored).__name__}")
    with warnings.catch_warnings():  # that this class is deprecated, in which they are written
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
        return torch.empty(0, dtype=stored.dtype).set_(stored.untyped())  # pyright: ignore[reportArgumentType]


def _tensor(
    storage: torch.Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset)  # refuses what lies outside


def _parameter(tensor: torch.Tensor, *_: object) -> torch.Tensor:
    return tensor


ALLOWED: dict[str, Any] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "dnnlib.util.EasyDict": _Attributes,
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands in for a name, or stop."""
        wanted = f"{module}.{name}"
        if wanted in ALLOWED:
            return ALLOWED[wanted]
        if module.startswith("dnnlib.tflib"):
            raise CheckpointError(
                f"it is a TensorFlow checkpoint ({wanted}); take the one for PyTorch"
            )
        raise CheckpointError(f"it asks for {wanted}, which is no part of such a checkpoint")


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data.

    Args:
        path: The ``.pkl`` file.

    Returns:
        Its entries (``G``, ``D``, ``G_ema``, ...); networks as `Module`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is no pickle, or asks for anything beyond what networks need.
    """
    with path.open("rb") as file:
        try:
            content = _Reader(file).load()
        except CheckpointError as error:
            raise CheckpointError(f"{path} is refused: {error}") from None
        except Exception as error:  # a damaged pickle can fail in any way
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path} is no readable checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not G_ema and D")
    return content


def import_stylegan(path: Path) -> Networks:
    """Build our networks from a public StyleGAN2 checkpoint.

    They compute what the originals compute, with constant noise. Every tensor of the file is used,
    and every one of ours is set.

    Args:
        path: A ``.pkl`` of stylegan2-ada-pytorch, or of stylegan3 trained with a stylegan2
            configuration.

    Returns:
        Both networks, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is refused (see `read_pickle`) or is another architecture.
    """
    content = read_pickle(path)
    try:
        pickled = {}
        for name in ("G_ema", "D"):
            pickled[name] = content.get(name)
            if not isinstance(pickled[name], Module):
                raise CheckpointError(
                    f"it has no network {name}, only {', '.join(map(str, content))}"
                )
        networks: Networks = {
            "generator": _generator(pickled["G_ema"]),
            "discriminator": _discriminator(pickled["D"]),
        }
    except KeyError as error:
        raise CheckpointError(f"{path} does not fit: it has no tensor {error}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit: {error}") from None
    for network in networks.values():
        assert isinstance(network, torch.nn.Module)
        network.eval()
    return networks


def _generator(pickled: Module) -> Generator:
    size, labels = _size_and_labels(pickled)
    synthesis, mapping = pickled.child("synthesis"), pickled.child("mapping")
    if "b4" not in synthesis.get("_modules"):
        raise CheckpointError(
            f"the generator ({synthesis.name}) has no level b4: it is StyleGAN3's alias-free one, "
            "which this is not; take a stylegan2 configuration"
        )
    sides = resolutions(size)
    widths = {side: len(synthesis.child(f"b{side}.conv1").tensors()["bias"]) for side in sides}
    depth = _depth(mapping)
    network = Generator(
        size=size,
        z_dim=pickled.get("z_dim"),
        w_dim=pickled.get("w_dim"),
        mapping_layers=depth,
        architecture=_architecture(synthesis.child(f"b{size}")),
        labels=labels,
        clamp=synthesis.child("b4.conv1").get("conv_clamp"),
        **_width_rule(widths),
    )
    names = _mapping_names("mapping", depth, labels)
    names |= {"mapping.w_avg": "centre", "synthesis.b4.const": "constant"}
    for level, side in enumerate(sides):
        for layer in ("conv0", "conv1", "torgb"):
            for theirs, ours in (
                ("affine.weight", "affine.weight"),
                ("affine.bias", "affine.bias"),
                ("weight", "weight"),
                ("bias", "bias"),
                ("noise_strength", "strength"),
                ("noise_const", "noise"),
            ):
                own = "to_rgb" if layer == "torgb" else layer
                names[f"synthesis.b{side}.{layer}.{theirs}"] = f"levels.{level}.{own}.{ours}"
        names[f"synthesis.b{side}.skip.weight"] = f"levels.{level}.skip.weight"
    tensors = pickled.tensors()
    tensors["synthesis.b4.const"] = tensors["synthesis.b4.const"][None]
    tensors["mapping.w_avg"] = tensors["mapping.w_avg"].expand(max(labels, 1), -1)
    _fill(network, tensors, names)
    return network


def _discriminator(pickled: Module) -> Discriminator:
    size, labels = _size_and_labels(pickled)
    sides = resolutions(size)[::-1]
    last = pickled.child("b4")
    widths = {side: len(pickled.child(f"b{side}.conv0").tensors()["bias"]) for side in sides[:-1]}
    widths[4] = len(last.child("conv").tensors()["bias"])
    spread, depth = 0, 8
    if "mbstd" in last.get("_modules") and isinstance(last.get("_modules")["mbstd"], Module):
        spread = last.child("mbstd").get("group_size")
        if last.child("mbstd").get("num_channels") != 1 or not isinstance(spread, int):
            raise CheckpointError(
                "its minibatch standard deviation is not of one channel and group"
            )
    if labels:
        depth = _depth(pickled.child("mapping"))
        if pickled.child("mapping").get("w_dim") != widths[4]:
            raise CheckpointError("its mapped label is not as wide as its features")
    network = Discriminator(
        size=size,
        architecture=_architecture(pickled.child(f"b{size}")),
        labels=labels,
        mapping_layers=depth,
        spread=spread,
        clamp=last.child("conv").get("conv_clamp"),
        **_width_rule(widths),
    )
    names = _mapping_names("mapping", depth, labels)
    for level, side in enumerate(sides[:-1]):
        for theirs, ours in (
            ("fromrgb", "from_rgb"),
            ("conv0", "conv0"),
            ("conv1", "conv1"),
            ("skip", "skip"),
        ):
            for kind in ("weight", "bias"):
                names[f"b{side}.{theirs}.{kind}"] = f"levels.{level}.{ours}.{kind}"
    for theirs, ours in (
        ("fromrgb", "from_rgb"),
        ("conv", "conv"),
        ("fc", "dense"),
        ("out", "out"),
    ):
        for kind in ("weight", "bias"):
            names[f"b4.{theirs}.{kind}"] = f"{ours}.{kind}"
    _fill(network, pickled.tensors(), names)
    return network


def _size_and_labels(pickled: Module) -> tuple[int, int]:
    if pickled.get("img_channels") != 3:
        raise CheckpointError(f"its pictures have {pickled.get('img_channels')} channels, not 3")
    return pickled.get("img_resolution"), pickled.get("c_dim")


def _architecture(level: Module) -> Any:
    theirs = level.get("architecture")
    if theirs not in ARCHITECTURES:
        raise CheckpointError(f"architecture {theirs!r} is none of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[theirs]


def _depth(mapping: Module) -> int:
    depth = mapping.get("num_layers")
    rate = mapping.child("fc0").get("bias_gain")
    if abs(rate - 0.01) > 1e-6:
        raise CheckpointError(f"its mapping network learns at {rate} of the rate; ours at 0.01")
    return depth


def _mapping_names(prefix: str, depth: int, labels: int) -> dict[str, str]:
    layers = {f"fc{number}": f"layers.{number}" for number in range(depth)}
    if labels:
        layers["embed"] = "embedding"
    return {
        f"{prefix}.{theirs}.{kind}": f"{prefix}.{ours}.{kind}"
        for theirs, ours in layers.items()
        for kind in ("weight", "bias")
    }


def _width_rule(widths: dict[int, int]) -> dict[str, int]:
    """Find channel_base and channel_max from the channels at each resolution."""
    most = max(widths.values())
    base = max(side * width for side, width in widths.items())
    for side, width in widths.items():
        if channels(side, base, most) != width:
            raise CheckpointError(
                f"its widths {widths} are not min(channel_base / resolution, channel_max)"
            )
    return {"channel_base": base, "channel_max": most}


def _fill(
    network: torch.nn.Module, tensors: dict[str, torch.Tensor], names: dict[str, str]
) -> None:
    """Set all weights of a network from tensors under other names, every one of them used."""
    taps = torch.tensor(fir.BINOMIAL)
    weights, unknown = {}, []
    for name, tensor in tensors.items():
        if name.endswith("resample_filter"):
            if not torch.allclose(tensor.float(), torch.outer(taps, taps), atol=1e-6):
                raise CheckpointError(f"its filter {name} is not [1, 3, 3, 1]")
        elif name in names:
            weights[names[name]] = tensor.float()
        else:
            unknown.append(name)
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    if unknown or missing:
        raise CheckpointError(
            f"tensors without a place: {', '.join(unknown[:5]) or 'none'}; "
            f"not in the file: {', '.join(missing[:5]) or 'none'}"
        )
    for name, tensor in weights.items():
        if name not in own or tensor.shape != own[name].shape:
            expected = tuple(own[name].shape) if name in own else "absent"
            raise CheckpointError(f"{name} is {tuple(tensor.shape)}, ours {expected}")
    network.load_state_dict(weights)


def main(arguments: Sequence[str]) -> int:
    """Write a checkpoint's networks to a folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="affectory import_stylegan",
        description="Turn a public StyleGAN2-ADA checkpoint into a folder to train or sample from.",
    )
    parser.add_argument("checkpoint", type=Path, help="the .pkl file")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument(
        "--emotions", default="", help="names of its classes, in order, separated by commas"
    )
    chosen = parser.parse_args(arguments)
    emotions = [name for name in chosen.emotions.split(",") if name]
    try:
        networks = import_stylegan(chosen.checkpoint)
        labels = networks["generator"].arguments["labels"]
        if len(emotions) != labels:
            raise CheckpointError(
                f"{chosen.checkpoint} has {labels} classes, --emotions names {len(emotions)}"
            )
        chosen.out.mkdir(parents=True)
    except (CheckpointError, OSError) as error:
        print(f"affectory import_stylegan: {error}", file=sys.stderr)  # noqa: T201
        return 1
    save_networks(
        chosen.out,
        {"generator": networks["generator"], "discriminator": networks["discriminator"]},
        emotions=emotions,
        imported=chosen.checkpoint.name,
    )
    log.info("%s → %s (%d px)", chosen.checkpoint, chosen.out, networks["generator"].size)
    return 0
