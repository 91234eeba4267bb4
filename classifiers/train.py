"""Training recognisers: a fit of a fixed number of steps, and the gate's cross-fitted ensemble."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch

from classifiers.calibration import calibrate
from classifiers.networks import Network, Recogniser
from classifiers.predict import probabilities_of, save_ensemble
from classifiers.statistics import balanced_accuracy, confusion_matrix, macro_f1, wilson
from curation.corpus import Corpus, fold_subjects
from curation.progress import quiet_lightning
from curation.recipes import GENERATED, trainable

logger = logging.getLogger(__name__)


class Training(TypedDict):
    """The settings of a fit that stages hand through; `fit` says what each one is."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    mirror: bool
    balanced: bool
    warmup: float
    precision: str
    accelerator: str


def fit(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    network: Network,
    seed: int,
    rows: np.ndarray | None = None,
    label: str = "fit",
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    label_smoothing: float,
    mirror: bool,
    balanced: bool,
    warmup: float,
    precision: str,
    accelerator: str,
) -> Recogniser:
    """Train one network for a fixed number of optimiser steps.

    AdamW with a linear warm-up and a cosine to zero. Steps are fixed, not epochs, so that arms
    with few and with many pictures are optimised equally long. On a CPU, one seed gives one set
    of weights to the bit (with the same number of threads); CUDA's kernels do not promise that.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) integers 0 … classes − 1.
        classes: Number of emotions.
        network: Builds the network for a number of classes.
        seed: Seed of initial weights, order, mirroring and dropout.
        rows: (M,) indices of the pictures to train on; None for all.
        label: What progress lines call it.
        steps: Optimiser steps.
        batch_size: Pictures a step, at least 2.
        learning_rate: Peak rate.
        weight_decay: Of AdamW.
        label_smoothing: In [0, 1).
        mirror: Turn half of the pictures left to right, anew at each step.
        balanced: Draw each emotion equally often.
        warmup: Share of the steps in which the rate rises, in [0, 1).
        precision: Lightning's, for example ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        The trained network in evaluation mode, on the CPU.

    Raises:
        ValueError: If the settings or the data are impossible, or training diverged.
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    labels = np.asarray(labels, np.int64)
    if len(rows) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{label}: {len(rows)} pictures chosen of {len(images)}, {len(labels)} labels"
        )
    if steps < 1 or batch_size < 2:
        raise ValueError(f"{label}: steps={steps} must be ≥ 1 and batch_size={batch_size} ≥ 2")
    if not 0 <= warmup < 1 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"{label}: warmup={warmup} and label_smoothing={label_smoothing} must lie in [0, 1)"
        )

    # Lightning takes seconds to import, and most commands never train
    import lightning as L

    from classifiers.module import Batches, Progress, RecogniserTraining

    batches = Batches(
        # torch asks for write access (arrays from Arrow and pandas lack it); copies only then
        torch.from_numpy(np.require(images, requirements="W")),
        torch.from_numpy(np.require(labels, requirements="W")),
        rows,
        steps=steps,
        batch_size=batch_size,
        balanced=balanced,
        mirror=mirror,
        seed=seed,
    )
    # initial weights and dropout draw from torch's global generator: seed it, then put it back
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), quiet_lightning():
        torch.manual_seed(seed)
        recogniser = network(classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = RecogniserTraining(
            recogniser,
            steps=steps,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            warmup=warmup,
        )
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_epochs=1,
            callbacks=[Progress(label, steps, batch_size)],
            barebones=True,
        )
        trainer.fit(module, batches)
    recogniser = module.recogniser.cpu().eval()
    if not all(bool(weight.isfinite().all()) for weight in recogniser.parameters()):
        raise ValueError(
            f"{label}: the weights are no longer finite after {steps} steps; lower "
            f"learning_rate={learning_rate} or raise warmup={warmup}"
        )
    return recogniser


def train_gate(
    corpus: Path,
    out: Path,
    *,
    emotions: Sequence[str],
    network: Network,
    folds: int,
    seed: int,
    **training: Unpack[Training],
) -> dict[str, Any]:
    """Train the classifier that gates synthetic faces, and say how good it is on new people.

    Real faces and their geometric copies only (recipe ``geometric``): a gate must not have seen
    what it judges. Subjects are dealt to `folds` groups and network i learns from all but group
    i, so each real face is judged once by a network that never saw its person (cross-fitting);
    the figures pool those judgements. Synthetic faces are judged by the mean of all networks.

    Args:
        corpus: The augmented corpus.
        out: An empty folder; receives ``fold-<i>.safetensors``, ``recogniser.json`` and, with
            folds ≥ 2, ``out_of_fold.parquet``: a row for each real face with ``id``, ``subject``,
            ``emotion``, ``fold`` (the network that never saw its person) and one column an emotion,
            that network's probabilities, not calibrated.
        emotions: The outputs, in order.
        network: Builds the network for a number of classes.
        folds: How many networks; 1 trains one on everything, without out-of-fold figures.
        seed: Seed of the folds; network i is fitted with seed + i.
        **training: Settings of `fit`.

    Returns:
        ``train_rows``, ``seconds``, and with folds ≥ 2 ``out_of_fold``: accuracy and recall of
        each emotion on real faces of unseen people, each with n and Wilson's interval, balanced
        accuracy, macro-F1 and the confusion matrix (rows the truth, in the order of `emotions`);
        and ``calibration`` (`classifiers.calibration.calibrate`), by whose temperature the
        predictor brings probabilities to what they are worth.

    Raises:
        ValueError: If a synthetic face or a descendant of one would be trained on, or an emotion
            has no picture in some fold.
    """
    data = Corpus(corpus)
    keep = trainable(data.facts, ["real", "geometric"]) & data.facts["emotion"].isin(emotions)
    keep = keep.to_numpy(bool)
    facts = data.facts[keep].reset_index(drop=True)
    _refuse_synthetic(facts, data.facts, corpus)
    codes = facts["emotion"].map({name: code for code, name in enumerate(emotions)})
    labels = codes.to_numpy(np.int64)
    started = time.monotonic()
    training_rows = _training_rows(facts, folds, seed)
    for number, rows in enumerate(training_rows):
        _require_all(labels[rows], emotions, f"{corpus}, fold {number} of {folds}")
    images = data.images(keep)
    logger.info(
        "gate: %d pictures of %d people, %d emotions, %d networks",
        len(facts),
        _people(facts).nunique(),
        len(emotions),
        folds,
    )
    networks: list[Recogniser] = []
    unseen_rows: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    real = (facts["origin"] == "real").to_numpy()
    for number, rows in enumerate(training_rows):
        fitted = fit(
            images,
            labels,
            classes=len(emotions),
            network=network,
            seed=seed + number,
            rows=rows,
            label=f"gate {number + 1} of {folds}",
            **training,
        )
        networks.append(fitted)
        unseen = np.setdiff1d(np.flatnonzero(real), rows)
        if len(unseen):
            judged = probabilities_of(fitted, images[unseen], device=training["accelerator"])
            unseen_rows.append(unseen)
            probabilities.append(judged)
            hits = int((judged.argmax(1) == labels[unseen]).sum())
            logger.info(
                "gate %d of %d: %d of %d unseen right", number + 1, folds, hits, len(unseen)
            )
    calibration = None
    result: dict[str, Any] = {"train_rows": len(facts), "networks": len(networks)}
    if unseen_rows:
        rows, judged = np.concatenate(unseen_rows), np.concatenate(probabilities)
        result["out_of_fold"] = _figures(labels[rows], judged.argmax(1), emotions)
        table = facts.iloc[rows][["id", "subject", "emotion"]].reset_index(drop=True)
        fold_of = np.repeat(np.arange(folds), [len(group) for group in unseen_rows])
        people = _people(facts).iloc[rows].tolist()
        calibration = calibrate(judged, labels[rows], fold_of, people, seed=seed)
        logger.info(
            "gate: temperature %.2f, calibration error %.3f before and %.3f after",
            calibration["temperature"],
            calibration["before"]["ece"],
            calibration["after"]["ece"],
        )
        result["calibration"] = calibration
        table["fold"] = fold_of
        table[list(emotions)] = judged
        table.to_parquet(out / "out_of_fold.parquet", index=False)
    size = images.shape[2:]
    save_ensemble(networks, out, emotions=emotions, size=size, calibration=calibration)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def _refuse_synthetic(facts: pd.DataFrame, everything: pd.DataFrame, corpus: Path) -> None:
    drawn = set(everything.loc[everything["origin"].isin(GENERATED), "id"])
    tainted = facts["generator"].notna() | facts["parent"].isin(drawn)
    if tainted.any():
        first = facts[tainted].iloc[0]
        raise ValueError(
            f"{int(tainted.sum())} of the rows that would train the gate come from a GAN (first: "
            f"{first['id']}, origin {first['origin']}) in {corpus}; a gate must not learn from "
            "what it judges, so give it the corpus of real faces"
        )


def _people(facts: pd.DataFrame) -> pd.Series:
    # nobody's picture is somebody of its own, and its copies are the same somebody
    return facts["subject"].fillna(facts["parent"]).fillna(facts["id"])


def _training_rows(facts: pd.DataFrame, folds: int, seed: int) -> list[np.ndarray]:
    if folds < 1:
        raise ValueError(f"folds={folds} must be at least 1")
    if folds == 1:
        return [np.arange(len(facts))]
    people = _people(facts)
    sides = [fold_subjects(people, folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    return [np.flatnonzero(people.map(side) == "train") for side in sides]


def _require_all(labels: np.ndarray, emotions: Sequence[str], where: str) -> None:
    counts = np.bincount(labels, minlength=len(emotions))
    if missing := [name for name, count in zip(emotions, counts, strict=True) if not count]:
        raise ValueError(
            f"no training picture of {', '.join(missing)} in {where}; "
            "take the emotion out of `emotions` or add pictures"
        )


def _figures(truth: np.ndarray, predicted: np.ndarray, emotions: Sequence[str]) -> dict[str, Any]:
    confusion = confusion_matrix(truth, predicted, len(emotions))
    hits, counts = np.diag(confusion), confusion.sum(1)
    return {
        "accuracy": wilson(int(hits.sum()), int(counts.sum())).plain(),
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "recall": {
            name: wilson(int(hits[code]), int(counts[code])).plain()
            for code, name in enumerate(emotions)
        },
        "confusion": confusion.tolist(),
    }
