"""Training a recogniser in phases: from scratch, its head alone, or its last layers."""

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from classifiers.networks import Network, Recogniser
from classifiers.networks.cost import parameters
from classifiers.objectives import Circumplex, Emotion, Objective, Taught
from classifiers.phases import PhaseRunner, scores_of
from classifiers.predict import pick_device
from classifiers.prefix import Constants, Declined, PrefixCache, Split, content_ids
from classifiers.pruning import MEASURES
from classifiers.training import Training
from curation.corpus import split_subjects
from curation.progress import quiet_lightning

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A trained network and how it came about.

    Attributes:
        recogniser: In evaluation mode, on the CPU.
        training: The settings.
        history: A line an epoch: ``phase``, ``epoch`` of the phase, ``step`` of the training, mean
            ``loss``, last ``rate``, and with people held out ``validation_loss`` and
            ``validation_accuracy`` (or ``validation_ccc``).
        steps: Optimiser steps taken.
        seconds: Wall time.
        train_rows: Pictures learned from, without those held out.
        validation_rows: Pictures held out.
        parameters: Weights in all.
        trained: Weights that trained, for each phase.
        prefix: For each phase, ``cut`` (the first unit that trains), ``cached`` (whether what is
            before it was looked up) and ``why`` not.
    """

    recogniser: Recogniser
    training: Training
    history: list[dict[str, Any]]
    steps: int
    seconds: float
    train_rows: int
    validation_rows: int
    parameters: int
    trained: list[int]
    prefix: list[dict[str, Any]]
    _cache: PrefixCache | None = field(default=None, repr=False)
    _accelerator: str = "auto"

    def predict(self, images: np.ndarray, *, ids: Sequence[str] | None = None) -> np.ndarray:
        """Return what it says about pictures, float32.

        Frozen layers are looked up where training looked them up; with ``ten_crop`` it is the
        mean over ten crops.

        Args:
            images: (N, 3, H, W) uint8 RGB.
            ids: Their identities (`Corpus` ids); None to hash their pixels.

        Returns:
            (N, C) probabilities, or (N, 2) valence and arousal in [−1, 1].
        """
        _require_pictures(images)
        device = pick_device(self._accelerator)
        pictures = torch.from_numpy(np.require(images, requirements="W"))
        rows = np.arange(len(images))
        split = Split(self.recogniser.to(device).eval(), self.prefix[-1]["cut"])
        objective = _OBJECTIVES[self.training.target](self.recogniser.classes)
        inputs: Constants | None = None
        if self._cache is not None and self.prefix[-1]["cached"]:
            try:
                inputs = self._cache.constants(
                    split,
                    pictures,
                    content_ids(images) if ids is None else list(ids),
                    rows,
                    mirrored=rows[:0],
                    device=device,
                    precision=self.training.precision,
                )
            except Declined as why:
                logger.info("test pictures are not kept before the cut: %s", why)
        scores = scores_of(split, objective, self.training, pictures, inputs, rows)
        self.recogniser.cpu()
        return scores.numpy()


_OBJECTIVES: dict[str, Any] = {"emotion": Emotion, "valence_arousal": lambda _: Circumplex()}


def fit(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    network: Network | None,
    training: Training,
    seed: int,
    teacher: Recogniser | None = None,
    rows: np.ndarray | None = None,
    subjects: Sequence[str | None] | None = None,
    ids: Sequence[str] | None = None,
    prefix: PrefixCache | None = None,
    label: str = "fit",
    accelerator: str = "auto",
) -> Fitted:
    """Train one network.

    On a CPU, one seed gives one set of weights to the bit (with the same number of threads);
    CUDA's kernels do not promise that. Frozen layers run without gradients, and with `prefix`
    once for each picture and side: the batches are the same, the weights equal but for rounding.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) integers 0 … classes − 1, or (N, 2) valence and arousal in [−1, 1].
        classes: Number of emotions.
        network: Builds the network for a number of outputs; None goes on with a copy of the
            teacher.
        training: How.
        seed: Seed of initial weights, people held out, order, mirroring, crops and dropout.
        teacher: A trained network of the same emotions, for ``training.distil`` or to go on with.
            It must not have seen whom the new one is tested on.
        rows: (M,) indices of the pictures to train on; None for all.
        subjects: (N,) whom each picture shows, for ``training.validation``. Those of nobody
            (None or NaN: synthetic faces) are always learned from and never held out.
        ids: (N,) identities of the pictures for `prefix`; None to hash their pixels.
        prefix: Where to keep what frozen layers give.
        label: What progress lines and errors call it.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        The network and its history.

    Raises:
        ValueError: If the settings or the data are impossible, or training diverged.
    """
    # Lightning takes seconds to import, and most commands never train
    import lightning  # noqa: F401  before it is silenced below, for it sets its own loggers up

    started = time.monotonic()
    _require_pictures(images)
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    if len(rows) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{label}: {len(rows)} pictures chosen of {len(images)}, {len(labels)} labels"
        )
    if training.ten_crop and training.ten_crop > min(images.shape[2:]):
        raise ValueError(
            f"{label}: ten_crop={training.ten_crop} is larger than pictures of {images.shape[2:]}"
        )
    _require_teacher(network, training, teacher, classes, label)
    learned, held = _hold_out(rows, subjects, training.validation, seed, label)
    if not np.isfinite(np.asarray(labels)[rows]).all():
        raise ValueError(f"{label}: some of the chosen pictures have no label; leave them out")
    objective = _objective(training, labels, learned, classes)
    named = prefix is not None or training.distil is not None
    # initial weights and dropout draw from torch's global generator: seed it, then put it back
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), quiet_lightning():
        torch.manual_seed(seed)
        recogniser = network(objective.outputs) if network else copy.deepcopy(teacher)
        assert recogniser is not None
        recogniser = recogniser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        job = PhaseRunner(
            training=training,
            objective=objective,
            # torch asks for write access (arrays from Arrow and pandas lack it); copies only then
            pictures=torch.from_numpy(np.require(images, requirements="W")),
            targets=objective.targets(labels),
            classes=np.asarray(labels, np.int64) if training.sampling == "balanced" else None,
            teacher=teacher if training.distil else None,
            learned=learned,
            held=held,
            ids=[] if not named else content_ids(images) if ids is None else list(ids),
            cache=prefix,
            answers=PrefixCache() if prefix is None else prefix,
            whole=_measures(recogniser, training, images.shape[2:]),
            seed=seed,
            label=label,
            accelerator=accelerator,
        )
        for name, phase in training.phases.items():
            job.run(recogniser, name, phase)
    return Fitted(
        recogniser=recogniser.cpu().eval(),
        training=training,
        history=job.history,
        steps=job.steps,
        seconds=round(time.monotonic() - started, 2),
        train_rows=len(learned),
        validation_rows=len(held),
        parameters=parameters(recogniser),
        trained=job.trained,
        prefix=job.prefix,
        _cache=prefix,
        _accelerator=accelerator,
    )


def _measures(recogniser: Recogniser, training: Training, side: Sequence[int]) -> dict[str, int]:
    """Return what pruning takes its share of; nothing where nothing is pruned."""
    if not any(phase.prune for phase in training.phases.values()):
        return {}
    height, width = side
    return {name: measure(recogniser, (height, width)) for name, measure in MEASURES.items()}


def _objective(
    training: Training, labels: np.ndarray, learned: np.ndarray, classes: int
) -> Objective:
    if training.target == "valence_arousal":
        return Circumplex()
    weights = None
    if training.class_weights:
        counts = np.bincount(np.asarray(labels, np.int64)[learned], minlength=classes)
        # an emotion without pictures has no loss to weigh
        weights = counts.max() / (classes * np.maximum(counts, 1))
    emotion = Emotion(classes, label_smoothing=training.label_smoothing, weights=weights)
    if training.distil is None:
        return emotion
    taught = training.distil
    return Taught(emotion, temperature=taught.temperature, weight=taught.weight)


def _require_teacher(
    network: Network | None,
    training: Training,
    teacher: Recogniser | None,
    classes: int,
    label: str,
) -> None:
    if teacher is None:
        if training.distil or network is None:
            key = "network is null" if network is None else "training.distil is set"
            raise ValueError(
                f"{label}: {key}, so it needs a teacher; name another backbone of the benchmark "
                "(backbones.<name>.teacher)"
            )
    elif not training.distil and network is not None:
        raise ValueError(
            f"{label}: nothing is learned from its teacher; set training.distil, or network=null "
            "to go on with the teacher's own network, or teacher=null"
        )
    elif teacher.classes != classes or training.target != "emotion":
        raise ValueError(
            f"{label}: the teacher tells {teacher.classes} emotions apart, the pupil is to learn "
            f"{classes} outputs (training.target={training.target})"
        )


def _hold_out(
    rows: np.ndarray,
    subjects: Sequence[str | None] | None,
    share: float,
    seed: int,
    label: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and those of the people held out."""
    if not share:
        return rows, rows[:0]
    given = [None] * (int(rows.max()) + 1) if subjects is None else list(subjects)
    people = pd.Series(given, dtype=object).iloc[rows]
    names = people.dropna()
    side = split_subjects(names, validation=share, seed=seed)
    held = people.map(side).eq("validation").to_numpy(bool)
    if not held.any() or held.all():
        raise ValueError(
            f"{label}: training.validation={share} of {names.nunique()} people leaves "
            f"{int((~held).sum())} pictures to learn from and {int(held.sum())} to judge by; "
            "change the share, or give `subjects`"
        )
    return rows[~held], rows[held]


def _require_pictures(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"pictures must be (N, 3, H, W) uint8 RGB, got {images.shape} {images.dtype}"
        )
