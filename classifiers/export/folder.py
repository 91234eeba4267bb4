"""The exported folder: files in three precisions, preprocessing, weights, card and record."""

import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from classifiers.export import card
from classifiers.export.graph import build
from classifiers.export.parity import Parity, compare, require_equal
from classifiers.export.quantise import quantised
from classifiers.export.source import Faces, Source
from classifiers.networks import Recogniser
from classifiers.networks.cost import parameters
from classifiers.runtime import (
    MODELS,
    PREPROCESSING,
    OnnxPredictor,
    preprocessing_hash,
)
from classifiers.statistics import wilson
from curation import onnx_files
from curation.artifact import building, file_hash, folder_hash, locked, versions, write_json
from curation.contract import contract_id

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
RECORD = "export.json"


def export_recogniser(
    folder: Path,
    out: Path,
    *,
    corpus: Path | None = None,
    held_out: Path | None = None,
    member: int | None = None,
    calibration: int = 256,
) -> dict[str, Any]:
    """Write a recogniser as a folder that runs anywhere, and compare it with PyTorch.

    Args:
        folder: A finished classifier folder (`classifiers.predict.save_ensemble`).
        out: Folder to make; must not exist.
        corpus: What it was trained on: gives the ranges of the int8 file. None for the corpus in
            its record.
        held_out: Another corpus of faces that it never saw, to compare on; None for the real
            validation and test faces of `corpus`, or, if it has none, its training faces.
        member: Which network of an ensemble, from 0; None for the mean of all.
        calibration: Training faces that give the ranges, evenly of each emotion.

    Returns:
        What ``export.json`` says.

    Raises:
        FileNotFoundError: If the recogniser or a corpus is not there.
        ImportError: Without the extra ``onnx``.
        ValueError: If the float32 file differs from PyTorch by more than 1e-4; if faces were cut
            under another contract, or under none that is known; or if there is no such member.
    """
    if out.exists():
        raise ValueError(f"{out} exists; name another folder (--out)")
    source = Source(folder, corpus, member)
    learned, compared = source.calibration_faces(calibration), source.compared_faces(held_out)
    with locked(out), building(out) as made:
        facts = _write(source, made, learned, compared)
        record = {
            "stage": "export",
            "inputs": source.inputs,
            "versions": {**versions(), **_onnx_versions()},
            "contract": source.contract,
            "facts": facts,
            "content": folder_hash(made, without=RECORD),
        }
        write_json(made / RECORD, record)
    return record


def export_cell(recogniser: Path, corpus: Path, out: Path, *, calibration: int) -> dict[str, Any]:
    """Stage ``export_cell``: export the network of one training of the benchmark.

    Args:
        recogniser: A cell that kept its network (`classifiers.cells.train_cell`).
        corpus: What it was trained on.
        out: An empty folder; receives what `export_recogniser` writes but the record.
        calibration: Training faces that give the ranges of the int8 file, evenly of each emotion.

    Returns:
        The ``facts`` of `export_recogniser`, and a ``headline``.

    Raises:
        FileNotFoundError: If the cell kept no network.
        ValueError: See `export_recogniser`.
    """
    source = Source(recogniser, corpus, None)
    facts = _write(source, out, source.calibration_faces(calibration), source.compared_faces(None))
    whole, small = (facts["bytes"][MODELS[name]] / 1e6 for name in ("fp32", "int8"))
    return {**facts, "headline": f"{whole:.2f} MB, int8 {small:.2f} MB"}


def _write(source: Source, made: Path, learned: np.ndarray, compared: Faces) -> dict[str, Any]:
    """Write all files but the record, and return what it says of them."""
    predictor = source.predictor
    said = predictor.probabilities(compared.images)
    networks, heat = predictor.networks, source.temperature
    shape = {"size": predictor.size, "emotions": predictor.emotions}
    log.info("export: %s, %d calibration faces", predictor.name, len(learned))
    full = build(networks, heat, **shape)
    onnx_files.write(full, made / MODELS["fp32"])
    onnx_files.write(build(networks, heat, **shape, half=True), made / MODELS["fp16"])
    onnx_files.write(quantised(full, learned), made / MODELS["int8"])
    _save_weights(networks, made / WEIGHTS)
    _write_preprocessing(source, made)
    parity: dict[str, Parity] = {}
    for precision, file in MODELS.items():
        exported = OnnxPredictor.load(made, precision=precision)
        found = compare(exported.probabilities(compared.images), said, compared.labels)
        parity[precision] = found
        log.info(
            "%s: differs by %.2g at most, same first choice for %d of %d",
            *(file, found.largest, found.agreement, found.n),
        )
    require_equal(parity["fp32"], MODELS["fp32"])
    facts = {
        "member": source.member,
        "networks": len(networks),
        "recipe": networks[0].recipe,
        "parameters": parameters(networks[0]),
        "calibration_faces": len(learned),
        "opset": onnx_files.OPSET,
        "compared_on": compared.what,
        "held_out": compared.labels is not None,
        "torch": compare(said, said, compared.labels).plain(),
        "emotions": _right_of_each(said, compared.labels, predictor.emotions),
        "parity": {name: each.plain() for name, each in parity.items()},
        "bytes": {file: (made / file).stat().st_size for file in MODELS.values()},
        "unseen": source.unseen,
    }
    card.write(made, facts, source.trained_on, name=predictor.name, **shape)
    return facts


def _right_of_each(
    said: np.ndarray, labels: np.ndarray | None, emotions: Sequence[str]
) -> dict[str, Any]:
    """Return for each emotion the share of its faces read as labelled; nothing without labels."""
    if labels is None:
        return {}
    right = said.argmax(1) == labels
    mine = {emotion: right[labels == code] for code, emotion in enumerate(emotions)}
    return {
        emotion: wilson(int(each.sum()), len(each)).plain()
        for emotion, each in mine.items()
        if len(each)
    }


def _save_weights(networks: Sequence[Recogniser], path: Path) -> None:
    state: dict[str, torch.Tensor] = {}
    for number, network in enumerate(networks):
        for name, weight in network.state_dict().items():
            state[f"members.{number}.{name}"] = weight.detach().cpu().contiguous()
    save_file(state, path)


def _write_preprocessing(source: Source, folder: Path) -> None:
    predictor = source.predictor
    content: dict[str, Any] = {
        "name": predictor.name,
        "emotions": list(predictor.emotions),
        "size": list(predictor.size),
        "input": "images: (N, 3, H, W) float32 RGB in 0 … 255; normalisation is in the graph",
        "outputs": "probabilities, logits: (N, C) float32; temperature is in the graph",
        "temperature": source.temperature,
        "contract": dict(source.contract),
        "contract_id": contract_id(source.contract),
        "files": {name: file_hash(folder / name) for name in (*MODELS.values(), WEIGHTS)},
    }
    write_json(folder / PREPROCESSING, {**content, "hash": preprocessing_hash(content)})


def _onnx_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
