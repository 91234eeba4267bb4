"""Weights in the caches of the Hugging Face hub and of torch's hub, which timm keeps its files in.

Neither timm nor the hubs look at a file again once it is there, so its SHA-256 is compared with
the one that its name states. timm and torch are not loaded for this.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.cli import CONF
from curation.doctor.facts import Fact

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_REPOSITORY = "models--timm--"
_INTERPOLATION = re.compile(r"\$\{[\w.]*?(\w+)\}")
# blobs of large files are called by their SHA-256; files of torch's hub end in its first digits
_BLOB = re.compile(r"[0-9a-f]{64}")
_ENDING = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def hub_weights() -> Iterator[Fact]:
    """Yield the networks that the configuration can ask timm for, and others that are there."""
    from huggingface_hub import constants

    hub = Path(constants.HF_HUB_CACHE)
    found = dict(_networks(hub))
    for model, choice in sorted(named_in_configuration().items()):
        # without a tag, timm takes the network's first
        names = [name for name in found if name == model or name.startswith(f"{model}.")]
        if not names:
            way_out = (
                f"hf download timm/{model} model.safetensors"
                if "." in model
                else f"python -c \"import timm; timm.create_model('{model}', pretrained=True)\""
            )
            yield Fact(
                "timm",
                "missing",
                f"{model}, for {choice}; looked for in {hub}",
                way_out,
                figures={"model": model, "choice": choice},
            )
        for name in names:
            yield from (_of_timm(name, path, f"for {choice}") for path in found.pop(name))
    for name, paths in found.items():
        yield from (_of_timm(name, path, f"features.model={name} takes it") for path in paths)
    checkpoints = torch_hub() / "checkpoints"
    for path in sorted(checkpoints.glob("*")) if checkpoints.is_dir() else ():
        if path.suffix in SUFFIXES:
            ending = _ENDING.search(path.name)
            yield _file("torch hub", path.name, path, ending[1] if ending else "", "")


def named_in_configuration() -> dict[str, str]:
    """Return the networks whose weights timm would look for, and by which choice: group=option."""
    import yaml

    found: dict[str, str] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for node in _nodes(tree):
            kind = str(node.get("_target_", "")).rsplit(".", 1)[-1]
            if kind == "TimmModel":
                model = _resolved(node.get("model"), tree)
            elif kind == "timm_network" and _resolved(node.get("pretrained"), tree):
                model = _resolved(node.get("name"), tree)
            else:
                continue
            if model and not _resolved(node.get("weights"), tree):
                found.setdefault(str(model), f"{path.parent.name}={path.stem}")
    return found


def torch_hub() -> Path:
    """Return the folder of `torch.hub.get_dir`, by the same rules."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = os.environ.get("TORCH_HOME") or os.path.join(base, "torch")  # noqa: PTH118
    try:
        return Path(chosen).expanduser() / "hub"
    except RuntimeError:  # no home
        return Path(chosen) / "hub"


def _networks(hub: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield name and weight files of the networks of timm in the hub's cache, each file once."""
    for repository in sorted(hub.glob(f"{_REPOSITORY}*")):
        files = sorted(repository.glob("snapshots/*/*"))
        blobs = {path.resolve(): path for path in files if path.suffix in SUFFIXES}
        if blobs:
            yield repository.name.removeprefix(_REPOSITORY), list(blobs.values())


def _of_timm(name: str, path: Path, use: str) -> Fact:
    blob = path.resolve().name
    expected = blob if _BLOB.fullmatch(blob) else ""
    return _file("timm", name, path, expected, use)


def _file(kind: str, name: str, path: Path, expected: str, use: str) -> Fact:
    """Return whether a file's SHA-256 begins as expected; nothing is expected of some."""
    from curation.artifact import file_hash

    figures: dict[str, Any] = {"model": name, "path": str(path)}
    try:
        digest, size = file_hash(path), path.stat().st_size
    except OSError as error:
        reason = error.strerror or error
        return Fact(kind, "unreadable", f"{name}, {path} ({reason})", figures=figures)
    figures |= {"sha256": digest, "bytes": size}
    about = f"{name}, {size:,} bytes, SHA-256 {digest}"
    if not digest.startswith(expected):
        return Fact(
            kind,
            "damaged",
            f"{about}, and not {expected}; {path}",
            f"delete {path.resolve()} and fetch it again",
            # nothing takes a file of torch's hub unless somebody names its path
            wrong=kind == "timm",
            figures=figures,
        )
    return Fact(kind, "there", ", ".join(filter(None, (about, str(path), use))), figures=figures)


def _nodes(tree: Any) -> Iterator[dict[Any, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _resolved(value: Any, tree: Any) -> Any:
    """Return a value, or what the key of its file holds that it is taken from."""
    if isinstance(value, str) and (inner := _INTERPOLATION.fullmatch(value)):
        return tree.get(inner[1])
    return value
