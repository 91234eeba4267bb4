"""The exported folder: files in three precisions, preprocessing, weights, card and record."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from classifiers.export import card
from classifiers.export.graph import build
from classifiers.export.parity import Parity, compare, require_equal
from classifiers.export.quantise import quantised
from classifiers.networks import Recogniser
from classifiers.networks.cost import parameters
from classifiers.predict import Predictor
from classifiers.runtime import (
    MODELS,
    PREPROCESSING,
    OnnxPredictor,
    preprocessing_hash,
)
from classifiers.statistics import wilson
from curation import onnx_files
from curation.artifact import building, file_hash, folder_hash, locked, versions, write_json
from curation.contract import contract_id, describe_difference
from curation.corpus import ORIGINS, Corpus
from curation.lineage import Record, read_record
from curation.recipes import trainable

log = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.parquet"  # of a training of the benchmark
RECORD = "export.json"
COMPARED = 2_000
"""Faces, at most, that the files are compared on."""
_SEED = 0


@dataclass(frozen=True)
class Faces:
    """Faces to compare on.

    Attributes:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) integers in the order of the recogniser's emotions; None if it learned from
            these faces, or from the people whom they show.
        what: In words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    what: str


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
    source = _Source(folder, corpus, member)
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
    source = _Source(recogniser, corpus, None)
    facts = _write(source, out, source.calibration_faces(calibration), source.compared_faces(None))
    whole, small = (facts["bytes"][MODELS[name]] / 1e6 for name in ("fp32", "int8"))
    return {**facts, "headline": f"{whole:.2f} MB, int8 {small:.2f} MB"}


def _write(source: "_Source", made: Path, learned: np.ndarray, compared: Faces) -> dict[str, Any]:
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


class _Source:
    """A recogniser, with what its record says of the faces that it learned from."""

    def __init__(self, folder: Path, corpus: Path | None, member: int | None) -> None:
        self.folder = folder
        self.member = "all" if member is None else member
        whole = Predictor.load(folder, device="cpu")
        if member is not None and not 0 <= member < len(whole.networks):
            raise ValueError(
                f"{folder} has {len(whole.networks)} networks, 0 to {len(whole.networks) - 1}; "
                f"there is no {member} (--member)"
            )
        self.predictor = Predictor(
            whole.networks if member is None else [whole.networks[member]],
            emotions=whole.emotions,
            size=whole.size,
            hash=whole.hash,
            calibration=whole.calibration,
            device="cpu",
        )
        self.record: Record | None = read_record(folder)
        self.corpus = Corpus(corpus or self._recorded_corpus())
        self.contract = self._contract()

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        known = self.predictor.calibration
        return float(known["temperature"]) if known else 1.0

    @property
    def unseen(self) -> dict[str, Any] | None:
        """What the training noted of faces of people whom a network never saw."""
        return (self._noted.get("out_of_fold") or {}).get("accuracy")

    @property
    def _noted(self) -> Mapping[str, Any]:
        """What the training noted, besides."""
        return (self.record.content.get("facts") if self.record else None) or {}

    @property
    def inputs(self) -> dict[str, Any]:
        """What the record says it was made from, as the pipeline does: by place and content."""
        given = {"recogniser": self.folder, "corpus": self.corpus.path}
        return {name: _entry(path) for name, path in given.items()}

    @cached_property
    def trained_on(self) -> card.TrainedOn:
        """The faces that it learned from."""
        if noted := self._noted.get("trained_on"):
            return card.TrainedOn(**noted)
        facts = self.corpus.facts[self._training]
        databases = facts["database"].fillna("unnamed").astype(str).unique()
        origins = facts["origin"].value_counts()
        return card.TrainedOn(
            databases=sorted(databases),
            faces={origin: int(origins[origin]) for origin in ORIGINS if origin in origins},
            people=int(facts["subject"].nunique()),
        )

    @cached_property
    def _training(self) -> np.ndarray:
        facts = self.corpus.facts
        chosen = trainable(facts, ["real", "geometric"])
        if self._tested is not None:  # the benchmark may split the corpus's people otherwise
            tested = facts["id"].isin(self._tested) | facts["parent"].isin(self._tested)
            people = facts.loc[tested, "subject"].dropna()
            chosen &= ~(tested | facts["subject"].isin(people))
        return (chosen & facts["emotion"].isin(self.predictor.emotions)).to_numpy(bool)

    @cached_property
    def _tested(self) -> set[str] | None:
        """The pictures that a training of the benchmark was tested on; None for other trainings."""
        path = self.folder / PREDICTIONS
        return (
            set(pd.read_parquet(path, columns=["picture"])["picture"]) if path.is_file() else None
        )

    def calibration_faces(self, count: int) -> np.ndarray:
        """Return training faces, evenly of each emotion: (N, 3, H, W) uint8 RGB."""
        if count < 1:
            raise ValueError(f"{count} calibration faces; give 1 or more (--calibration)")
        chosen = np.zeros(len(self._training), bool)
        emotions = self.corpus.facts["emotion"].to_numpy()
        for code, emotion in enumerate(self.predictor.emotions):
            own = np.flatnonzero(self._training & (emotions == emotion))
            share = -(-count // len(self.predictor.emotions))
            chosen[np.random.default_rng([_SEED, code]).permutation(own)[:share]] = True
        if not chosen.any():
            raise ValueError(
                f"{self.corpus.path} has no training face of {', '.join(self.predictor.emotions)}; "
                "give the corpus that the recogniser was trained on (--corpus)"
            )
        return self._images(self.corpus, chosen)

    def compared_faces(self, held_out: Path | None) -> Faces:
        """Return faces to compare on, with labels if the recogniser never saw them."""
        data = self.corpus
        if held_out is not None:
            data = Corpus(held_out)
            self._require_contract(data.path)
        facts = data.facts
        known = facts["emotion"].isin(self.predictor.emotions) & (facts["origin"] == "real")
        unseen = known
        if held_out is None:
            tested = self._tested
            unseen = known & (
                facts["split"] != "train" if tested is None else facts["id"].isin(tested)
            )
        name = "+".join(sorted(facts.loc[unseen, "database"].fillna("unnamed").unique()))
        what, labelled = f"real faces of {name} that it never saw", True
        if held_out is None and self._noted.get("shared_subjects"):
            # a protocol that lets people, or copies of a picture, fall on both sides
            what, labelled = f"real faces of {name}, some of people whom it learned from", False
        if not unseen.any():
            if held_out is not None:
                raise ValueError(f"{held_out} has no real face of the recogniser's emotions")
            unseen, labelled = known, False
            what = "real faces that it learned from, for want of others"
        rows = np.flatnonzero(unseen.to_numpy(bool))
        rows = np.sort(np.random.default_rng([_SEED, len(rows)]).permutation(rows)[:COMPARED])
        chosen = np.zeros(len(facts), bool)
        chosen[rows] = True
        codes = {name: code for code, name in enumerate(self.predictor.emotions)}
        labels = facts["emotion"].iloc[rows].map(codes).to_numpy(np.int64)
        return Faces(self._images(data, chosen), labels if labelled else None, what)

    def _images(self, data: Corpus, chosen: np.ndarray) -> np.ndarray:
        images = data.images(chosen)
        if images.shape[2:] != self.predictor.size:
            height, width = self.predictor.size
            raise ValueError(
                f"faces of {data.path} are {images.shape[2]}x{images.shape[3]}, the recogniser "
                f"was trained on {height}x{width}; give the corpus that it was trained on"
            )
        return images

    def _recorded_corpus(self) -> Path:
        given = self.record.given("corpus") if self.record else []
        if not given:
            raise ValueError(
                f"{self.folder} has no record of the corpus that it was trained on; name it by "
                "--corpus <folder>"
            )
        path = given[0]
        if not path.is_dir():
            raise FileNotFoundError(
                f"the corpus that {self.folder} was trained on, {path}, is not there any more; "
                "name it by --corpus <folder>"
            )
        return path

    def _contract(self) -> Mapping[str, Any]:
        own = self.record.content.get("contract") if self.record else None
        contract = own or _contract_of(self.corpus.path)
        if not contract:
            raise ValueError(
                f"neither {self.folder} nor {self.corpus.path} says how its faces were cut; only "
                "what was trained on standardised faces can be exported (affectory standardise)"
            )
        self.contract = contract
        self._require_contract(self.corpus.path)
        return contract

    def _require_contract(self, corpus: Path) -> None:
        there = _contract_of(corpus)
        if there and contract_id(there) != contract_id(self.contract):
            raise ValueError(
                f"the faces of {corpus} were cut in another way than those that the recogniser "
                f"learned from: {describe_difference(self.contract, there)}"
            )


def _contract_of(folder: Path) -> Mapping[str, Any] | None:
    record = read_record(folder)
    return record.content.get("contract") if record else None


def _entry(path: Path) -> dict[str, str]:
    record = read_record(path)
    content = record.content.get("content") if record else None
    # the last two parts, as in an experiment: where it lies otherwise is private
    place = Path(*path.resolve().parts[-2:]).as_posix()
    return {"path": place, "content": content or folder_hash(path, without="")}


def _save_weights(networks: Sequence[Recogniser], path: Path) -> None:
    state: dict[str, torch.Tensor] = {}
    for number, network in enumerate(networks):
        for name, weight in network.state_dict().items():
            state[f"members.{number}.{name}"] = weight.detach().cpu().contiguous()
    save_file(state, path)


def _write_preprocessing(source: _Source, folder: Path) -> None:
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
