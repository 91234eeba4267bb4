"""Models that were trained here: GANs and classifiers below ``out``, and whether they are whole.

A finished folder's record states a hash of all its files, and beside it a GAN's generator and the
members of a classifier have hashes of their own.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.doctor.facts import Fact

_GENERATOR = "generator.safetensors"
_MEMBERS = "recogniser.json"


def trained_models() -> Iterator[Fact]:
    """Yield the GANs and classifiers below ``out``, with hashes, against what their cards say."""
    out = Path("out").absolute()
    found = 0
    for place, folders, files in os.walk(out):
        # hidden ones belong to runs that are not done
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Path(place)
        if _GENERATOR in files:
            yield _looked_at(out, folder, "gan.json", "train_gan")
        elif _MEMBERS in files:
            yield _looked_at(out, folder, "classifier.json", "train_classifier")
        else:
            continue
        folders.clear()
        found += 1
    if not found:
        yield Fact("out", "none", f"no trained model below {out}")


def _looked_at(out: Path, folder: Path, record_name: str, stage: str) -> Fact:
    from curation.artifact import file_hash, folder_hash, read_json

    experiment, *inner = folder.relative_to(out).parts or (out.name,)
    place = "/".join(inner) or "."
    figures: dict[str, Any] = {"path": str(folder)}
    try:
        record = read_json(folder / record_name) if (folder / record_name).exists() else None
        if stage == "train_gan":
            stated = ((record or {}).get("facts") or {}).get("generator")
            wanted = {_GENERATOR: stated or ""}
        else:
            wanted = dict(read_json(folder / _MEMBERS)["members"])
        hashes = {name: file_hash(folder / name) for name in wanted}
        differ = [name for name, digest in hashes.items() if not digest.startswith(wanted[name])]
        content = (record or {}).get("content")
        changed = bool(content) and folder_hash(folder, without=record_name) != content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, OSError) else repr(error)
        told = f"{place}: a file is missing, or a card cannot be read: {reason}"
        return Fact(experiment, "damaged", told, _again(folder, stage), wrong=True, figures=figures)
    figures["sha256"] = hashes
    told = ", ".join(f"{name} {digest[:20]}" for name, digest in hashes.items())
    if differ:
        told += f"; its card has {', '.join(f'{name} {wanted[name][:20]}' for name in differ)}"
    elif changed:
        told += f"; other files in it are not those of {record_name}"
    if differ or changed:
        return Fact(experiment, "differs", f"{place}: {told}", _again(folder, stage), True, figures)
    if record is None:
        words = f"{place}: {told}; no {record_name}, so nobody noted what it learned from"
        return Fact(experiment, "no card", words, figures=figures)
    return Fact(experiment, "as its card", f"{place}: {told}", figures=figures)


def _again(folder: Path, stage: str) -> str:
    return f"put back a copy, or delete {folder} and run {stage} again"
