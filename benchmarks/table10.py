"""Table 10 of Randellini et al. 2022, ours beside theirs: bytes, accuracy, milliseconds a face.

    OMP_NUM_THREADS=1 python benchmarks/table10.py EXPORTED [EXPORTED ...] [--test CORPUS]

For each exported recogniser: bytes; accuracy with its 95 % interval on a test set (real faces of a
standardised corpus under its contract, without the training faces where it learned from that very
corpus; without one, on the faces that it was compared on when it was exported, if it never saw
them); milliseconds a face of one core in PyTorch and ONNX Runtime, and in Chromium.
PyTorch needs the trained recogniser in the same experiment as its export.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from browser import in_chromium

from classifiers.latency import least_milliseconds, runners_of
from classifiers.predict import Predictor
from classifiers.runtime import MODELS, PREPROCESSING, OnnxPredictor
from classifiers.statistics import wilson
from curation.artifact import read_json
from curation.contract import describe_difference
from curation.corpus import Corpus
from curation.lineage import located

# network and where it ran, size in MB, accuracy, milliseconds a face; as printed there
PAPER = (
    ("VGG19, server", 195.1, "81 %", 260),
    ("VGG19, browser, float32", 80.6, "–", 874),
    ("VGG19, browser, int16", 40.3, "81 %", 895),
    ("VGG19, browser, int8", 20.2, "81 %", 870),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Table 10, ours beside the paper's.")
    parser.add_argument("folders", type=Path, nargs="+", help="what affectory export wrote")
    parser.add_argument("--test", type=Path, help="standardised faces that none of them saw")
    parser.add_argument("--ort", type=Path, help="tarball or folder of onnxruntime-web")
    parser.add_argument("--runs", type=int, default=200, help="in Chromium")
    given = parser.parse_args()
    torch.set_num_threads(1)
    browsers = in_chromium(given.folders, ort=given.ort, runs=given.runs)
    print("| network | MB | accuracy (95 % interval, n) | ms a face, processor | ms, Chromium |")
    print("| --- | --- | --- | --- | --- |")
    for title, size, right, took in PAPER:
        here = ("–", f"{took}") if "browser" in title else (f"{took}", "–")
        print(f"| paper: {title} | {size} | {right} | {here[0]} | {here[1]} |")
    for folder, browser in zip(given.folders, browsers, strict=True):
        record = read_json(folder / "export.json")
        took = latency(folder, record)
        name = read_json(folder / "preprocessing.json")["name"]
        weighs = (folder / "weights.safetensors").stat().st_size
        right = accuracy(folder, record, given.test)
        rows = [("PyTorch", "torch", weighs)]
        rows += [(key, key, (folder / file).stat().st_size) for key, file in MODELS.items()]
        for title, key, size in rows:
            processor = f"{took[key]:.2f}" if key in took else "–"
            chromium = f"{browser[key]:.1f}" if key in browser else "–"
            print(
                f"| {name}, {title} | {size / 1e6:.2f} | {right[key]} | {processor} | {chromium} |"
            )


def latency(folder: Path, record: dict[str, Any]) -> dict[str, float]:
    """Return milliseconds a face of one core, by runner."""
    source = trained(folder, record)
    height, width = read_json(folder / PREPROCESSING)["size"]
    face = np.random.default_rng(0).integers(0, 256, (1, 3, height, width), np.uint8)
    in_torch = source and partial(source.probabilities, face)
    return least_milliseconds(runners_of(folder, face, in_torch))


def trained(folder: Path, record: dict[str, Any]) -> Predictor | None:
    """Return what was exported, if it still lies where it lay."""
    source = located(Path(record["inputs"]["recogniser"]["path"]), folder.resolve())
    return Predictor.load(source, device="cpu") if source.is_dir() else None


def accuracy(folder: Path, record: dict[str, Any], test: Path | None) -> dict[str, str]:
    """Return the accuracy of each runner, in words; PyTorch's where it was compared or is there."""
    facts = record["facts"]
    if test is None:
        found = {"torch": facts["torch"], **facts["parity"]}
        return {key: _told(each["right"], each["n"]) for key, each in found.items()}
    corpus, cut = Corpus(test), read_json(test / "corpus.json")
    rows = (corpus.facts["origin"] == "real").to_numpy(bool, copy=True)
    if cut["content"] == record["inputs"]["corpus"]["content"]:
        rows &= (corpus.facts["split"] != "train").to_numpy(bool)
    said = {"torch": "–"}
    exported = {key: OnnxPredictor.load(folder, precision=key) for key in MODELS}
    source = trained(folder, record)
    predictors = {**exported, **({} if source is None else {"torch": source})}
    emotions, contract = exported["fp32"].emotions, exported["fp32"].contract
    if difference := describe_difference(contract, cut.get("contract") or {}):
        raise SystemExit(f"{test} was not cut for {folder}: {difference}")
    rows &= corpus.facts["emotion"].isin(emotions).to_numpy(bool)
    if not rows.any():
        raise SystemExit(f"{test} has no real face that {folder} never saw (--test)")
    truth = [emotions.index(name) for name in corpus.facts["emotion"][rows]]
    for key, predictor in predictors.items():
        right = predictor.probabilities(corpus.images(rows)).argmax(1) == truth
        found = wilson(int(right.sum()), len(right))
        said[key] = _told({"value": found.value, "low": found.low, "high": found.high}, found.n)
    return said


def _told(right: dict[str, float] | None, n: int) -> str:
    if right is None:
        return "– (no face that it never saw)"
    value, low, high = (100 * right[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f}, {n:,})"


if __name__ == "__main__":
    main()
