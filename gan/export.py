"""The command ``affectory export`` for generators: latents to faces in an ONNX file."""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCardData
from torch import nn

from curation import onnx_files
from curation.artifact import building, file_hash, folder_hash, locked, versions, write_json
from curation.corpus import Corpus
from curation.licences import RECORDS, hub_licence, read_licences, unknown_licence
from curation.lineage import Record, lineage, read_record
from datasets_cards import markdown
from gan.checkpoint import generator_hash, load_generator, trunk_emotions
from gan.networks import Generator
from gan.pixels import to_pixels

log = logging.getLogger(__name__)

MODEL = "generator.onnx"
CARD = "README.md"
RECORD = "export.json"
COMPARED = 16
"""Faces, for each label, that the file is compared on."""
_SEED = 0


class Drawing(nn.Module):
    """A generator from latents to pixels.

    Args:
        generator: In evaluation mode.
        truncation: In (0, 1]; see `Generator.truncated`.
    """

    def __init__(self, generator: Generator, truncation: float) -> None:
        super().__init__()
        self.generator, self.truncation = generator, truncation

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """(N, z_dim) standard normal, (N,) int64 or None → (N, 3, H, W) float32 in 0 … 255.

        Whole numbers, but not uint8, which graphics processors in browsers do not take.
        """
        faces = self.generator.truncated(latents, self.truncation, labels)
        return ((faces.float() + 1) * 127.5).round().clamp(0, 255)  # `to_pixels`


def export_generator(folder: Path, out: Path, *, truncation: float = 1.0) -> dict[str, Any]:
    """Write a generator as a folder with an ONNX file and a card, and compare it with PyTorch.

    Args:
        folder: A trained GAN.
        out: Folder to make; must not exist.
        truncation: Built into the file; in (0, 1], under 1 for more typical faces.

    Returns:
        What ``export.json`` says; ``differing`` pixels of ``pixels`` are those that rounding put
        one step apart.

    Raises:
        FileNotFoundError: If the folder is no trained GAN.
        ImportError: Without the extra ``onnx``.
        ValueError: If a pixel differs by more than one step of 255, if the network cannot be
            traced, or if `truncation` is out of its range.
    """
    if out.exists():
        raise ValueError(f"{out} exists; name another folder (--out)")
    if not 0 < truncation <= 1:
        raise ValueError(f"truncation {truncation} must lie in (0, 1] (--truncation)")
    generator = load_generator(folder)
    count = int(generator.arguments.get("labels") or 0)
    emotions = trunk_emotions(folder)[:count]
    latents = torch.from_numpy(
        np.random.default_rng(_SEED).standard_normal(
            (COMPARED * max(1, count), generator.z_dim), dtype=np.float32
        )
    )
    given = {"latents": latents}
    if count:
        given["labels"] = torch.arange(count).repeat(COMPARED)
    examples = {name: values[:2] for name, values in given.items()}
    drawing = Drawing(generator, truncation).eval()
    record = read_record(folder)
    with locked(out), building(out) as made:
        model = onnx_files.traced(
            drawing,
            examples,
            ["faces"],
            metadata={
                "emotions": json.dumps(emotions, ensure_ascii=False),
                "generator": generator_hash(folder),
                "truncation": f"{truncation:g}",
            },
        )
        onnx_files.write(model, made / MODEL)
        differing, pixels = _compared(made / MODEL, generator, given, truncation)
        inputs = {"gan": {"path": Path(*folder.resolve().parts[-2:]).as_posix()}}
        inputs["gan"]["content"] = (
            record.content["content"] if record else folder_hash(folder, without="")
        )
        facts = {
            "generator": generator_hash(folder),
            "emotions": emotions,
            "truncation": truncation,
            "size": generator.size,
            "z_dim": generator.z_dim,
            "opset": onnx_files.OPSET,
            "sha256": file_hash(made / MODEL),
            "faces": len(latents),
            "pixels": pixels,
            "differing": differing,
        }
        (made / CARD).write_text(_card(folder, record, facts), encoding="utf-8")
        content = {"stage": "export", "inputs": inputs, "versions": versions(), "facts": facts}
        content["content"] = folder_hash(made, without=RECORD)
        write_json(made / RECORD, content)
    log.info(
        "%s: of %d faces, %d of %d pixels differ from PyTorch's, by 1 of 255",
        *(MODEL, len(latents), differing, pixels),
    )
    return content


def _card(folder: Path, record: Record | None, facts: Mapping[str, Any]) -> str:
    """Return the model card: what it draws and is not for, how to use it, what it learned from."""
    learned = (record.content.get("facts") if record else None) or {}
    known = read_licences([RECORDS])
    databases, complete = _databases(folder)
    licences = {
        each.name: each for each in (known.get(name, unknown_licence(name)) for name in databases)
    }
    licence = hub_licence(licences.values()) if complete else "other"
    header = ModelCardData(
        license=licence,
        license_name="terms-of-the-source" if licence == "other" else None,
        license_link=next((each.url for each in licences.values() if each.url), None)
        if licence == "other"
        else None,
        library_name="onnx",
        pipeline_tag="unconditional-image-generation",
        tags=["facial-expression", "emotion", "faces", "synthetic", "gan", "onnx"],
    )
    environment = markdown(Path(__file__).parent)
    text = environment.get_template("export_card.md.jinja").render(
        {
            **facts,
            "name": folder.resolve().name,
            "file": MODEL,
            "labels": facts["emotions"],
            "emotions": facts["emotions"] or learned.get("emotions", []),
            "images": learned.get("images"),
            "databases": databases,
            "complete": complete,
            "licences": list(licences.values()),
        }
    )
    return f"---\n{header.to_yaml()}\n---\n\n{text}"


def _databases(folder: Path) -> tuple[list[str], bool]:
    """Return the databases that a GAN learned from, also as a trunk, and whether these are all."""
    records = [each for each in lineage([folder]) if each.stage in ("train_trunk", "train_gan")]
    complete = folder.resolve() in {each.folder for each in records}
    names: set[str] = set()
    for record in records:
        for path in (*record.given("corpus"), *record.given("extra")):
            if not path.is_dir():
                complete = False
                continue
            facts = Corpus(path).facts
            names |= set(facts.loc[facts["split"] == "train", "database"].fillna("unnamed"))
        # a trunk without a record, such as a public checkpoint, learned from who knows whom
        trunks = {path.resolve() for path in record.given("trunk")}
        complete &= trunks <= {each.folder for each in records}
    return sorted({name for joined in names for name in joined.split("+")}), complete


@torch.no_grad()
def _compared(
    path: Path, generator: Generator, given: dict[str, torch.Tensor], truncation: float
) -> tuple[int, int]:
    """Return how many values differ from PyTorch's by one step, and of how many."""
    wanted = to_pixels(
        generator.truncated(given["latents"], truncation, given.get("labels"))
    ).numpy()
    session = onnx_files.session(path)
    (found,) = session.run(None, {name: values.numpy() for name, values in given.items()})
    apart = np.abs(found - wanted.astype(np.float32))
    if not apart.max() <= 1:  # also where it is no number
        raise ValueError(
            f"{MODEL} draws faces that differ from PyTorch's by {apart.max():g} of 255, 1 is "
            "allowed: this generator cannot be exported faithfully"
        )
    return int((apart > 0).sum()), apart.size


def main(arguments: Sequence[str]) -> int:
    """Export a generator.

    Args:
        arguments: What follows ``affectory export`` on the command line.

    Returns:
        0, or 2 if it could not be exported faithfully.
    """
    parser = argparse.ArgumentParser(
        prog="affectory export",
        description="Write a trained generator as an ONNX file with a model card, compared with "
        "PyTorch.",
    )
    parser.add_argument("folder", type=Path, help="of a trained GAN (out/.../gans/…)")
    parser.add_argument(
        "--out", type=Path, help="folder to make (default: exported/<name> in its experiment)"
    )
    parser.add_argument("--truncation", type=float, default=1.0, help="in (0, 1] (1)")
    given = parser.parse_args(list(arguments))
    place = given.folder.resolve()
    out = given.out or place.parent.parent / "exported" / place.name
    try:
        export_generator(given.folder, out, truncation=given.truncation)
    except (ValueError, OSError, ImportError) as error:
        print(f"affectory export: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(out)  # noqa: T201  the command's result
    return 0
