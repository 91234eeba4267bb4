"""The gate's classifier: an ensemble, each network trained on other people (cross-fitting)."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.calibration import calibrate
from classifiers.finetune import fit
from classifiers.networks import Network, Recogniser
from classifiers.predict import probabilities_of, save_ensemble
from classifiers.splits import people_of
from classifiers.statistics import balanced_accuracy, confusion_matrix, macro_f1, wilson
from classifiers.training import Training
from curation.corpus import Corpus, fold_subjects
from curation.recipes import GENERATED, trainable

logger = logging.getLogger(__name__)


def train_gate(
    corpus: Path,
    out: Path,
    *,
    emotions: Sequence[str],
    network: Network,
    training: Training,
    folds: int,
    seed: int,
    accelerator: str = "auto",
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
        training: How each is trained.
        folds: How many networks; 1 trains one on everything, without out-of-fold figures.
        seed: Seed of the folds; network i is fitted with seed + i.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        ``train_rows``, ``seconds``, and with folds ≥ 2 ``out_of_fold``: accuracy and recall of
        each emotion on real faces of unseen people, each with n and Wilson's interval, balanced
        accuracy, macro-F1 and the confusion matrix (rows the truth, in the order of `emotions`);
        and ``calibration`` (`classifiers.calibration.calibrate`), by whose temperature the
        predictor brings probabilities to what they are worth.

    Raises:
        ValueError: If a synthetic face or a descendant of one would be trained on, an emotion has
            no picture in some fold, or the training is none of a gate.
    """
    if training.target != "emotion" or training.ten_crop:
        raise ValueError(
            f"a gate names the emotion of whole pictures; its training has target="
            f"{training.target} and ten_crop={training.ten_crop}: set classifier.training.target="
            "emotion and classifier.training.ten_crop=null"
        )
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
    people = people_of(facts).tolist()
    logger.info(
        "gate: %d pictures of %d people, %d emotions, %d networks",
        len(facts),
        len(set(people)),
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
            training=training,
            seed=seed + number,
            rows=rows,
            subjects=people,
            label=f"gate {number + 1} of {folds}",
            accelerator=accelerator,
        )
        networks.append(fitted.recogniser)
        unseen = np.setdiff1d(np.flatnonzero(real), rows)
        if len(unseen):
            judged = probabilities_of(fitted.recogniser, images[unseen], device=accelerator)
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
        judged_people = [people[row] for row in rows]
        calibration = calibrate(judged, labels[rows], fold_of, judged_people, seed=seed)
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


def _training_rows(facts: pd.DataFrame, folds: int, seed: int) -> list[np.ndarray]:
    if folds < 1:
        raise ValueError(f"folds={folds} must be at least 1")
    if folds == 1:
        return [np.arange(len(facts))]
    people = people_of(facts)
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
