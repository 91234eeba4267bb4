"""Training a recogniser in phases: from scratch, its head alone, or its last layers."""

import copy
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from classifiers.batches import Batches, Inputs, Pictures, ten_crops
from classifiers.networks import Network, Recogniser
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.objectives import Circumplex, Emotion, Objective, Taught
from classifiers.predict import pick_device
from classifiers.prefix import (
    Constants,
    Declined,
    PrefixCache,
    Split,
    autocast,
    content_ids,
    pictures_at_once,
)
from classifiers.pruning import Pruning, prune
from classifiers.teacher import Teacher
from classifiers.training import Phase, Training, diverged
from curation.corpus import split_subjects
from curation.progress import quiet_lightning

logger = logging.getLogger(__name__)

_TAYLOR_BATCHES = 16  # that gradients are gathered over


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
        scores = _scores(split, objective, self.training, pictures, inputs, rows)
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
    job = _Job(
        training=training,
        objective=objective,
        # torch asks for write access (arrays from Arrow and pandas lack it); copies only then
        pictures=torch.from_numpy(np.require(images, requirements="W")),
        targets=objective.targets(labels),
        classes=np.asarray(labels, np.int64) if training.sampling == "balanced" else None,
        teacher=teacher if training.distil else None,
        learned=learned,
        held=held,
        ids=(content_ids(images) if ids is None else list(ids))
        if prefix is not None or training.distil
        else [],
        cache=prefix,
        answers=PrefixCache() if prefix is None else prefix,
        seed=seed,
        label=label,
        accelerator=accelerator,
    )
    # initial weights and dropout draw from torch's global generator: seed it, then put it back
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), quiet_lightning():
        torch.manual_seed(seed)
        recogniser = network(objective.outputs) if network else copy.deepcopy(teacher)
        assert recogniser is not None
        recogniser = recogniser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        job.whole = {
            "multiply_adds": multiply_adds(recogniser, job.side),
            "parameters": parameters(recogniser),
        }
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
        parameters=sum(weight.numel() for weight in recogniser.parameters()),
        trained=job.trained,
        prefix=job.prefix,
        _cache=prefix,
        _accelerator=accelerator,
    )


@dataclass
class _Job:
    """A training under way: what its phases share, and what they leave behind."""

    training: Training
    objective: Objective
    pictures: torch.Tensor  # (N, 3, H, W) uint8
    targets: torch.Tensor  # (N, outputs) float32
    classes: np.ndarray | None  # (N,) to balance by
    teacher: Recogniser | None
    learned: np.ndarray  # rows
    held: np.ndarray  # rows
    ids: list[str]
    cache: PrefixCache | None
    seed: int
    label: str
    accelerator: str
    answers: PrefixCache  # where the teacher's are kept
    steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    prefix: list[dict[str, Any]] = field(default_factory=list)
    whole: dict[str, int] = field(default_factory=dict)  # what pruning takes its share of

    @property
    def side(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        height, width = self.pictures.shape[2:]
        return height, width

    def run(self, recogniser: Recogniser, name: str, phase: Phase) -> None:
        """Train the network, in place, through one phase."""
        import lightning as L

        from classifiers.module import Epochs, Progress, RecogniserTraining

        training = self.training
        epoch_steps = training.epoch_steps(len(self.learned))
        steps = phase.steps(epoch_steps)
        teaching = self._teaching(steps)
        if phase.prune:
            self._prune(recogniser, phase.prune, teaching)
        cut = recogniser.trainable_last(
            phase.trains, frozen_norms_adapt=training.frozen_norms_adapt
        )
        split = Split(recogniser, cut)
        constants = self._constants(split, steps, epoch_steps)
        batches = self._batches(
            Pictures(self.pictures) if constants is None else constants, steps, teaching
        )

        def validate() -> dict[str, float]:
            recogniser.eval()
            scores = _scores(split, self.objective, training, self.pictures, constants, self.held)
            recogniser.train()
            return self.objective.judge(scores, self.targets[torch.from_numpy(self.held)])

        epochs = Epochs(
            label=self.label,
            name=name,
            first=self.steps,
            epoch_steps=epoch_steps,
            validate=validate if len(self.held) else None,
            history=self.history,
        )
        many = len(training.phases) > 1
        label = f"{self.label}, {name}" if many else self.label
        recogniser.train()
        trainer = L.Trainer(
            accelerator=self.accelerator,
            devices=1,
            precision=training.precision,  # type: ignore[arg-type]
            max_epochs=1,
            callbacks=[epochs, Progress(label, steps, training.batch_size)],
            barebones=True,
        )
        module = RecogniserTraining(
            split, self.objective, phase, steps=steps, cached=constants is not None
        )
        with warnings.catch_warnings():
            # frozen layers are in evaluation mode on purpose
            warnings.filterwarnings("ignore", ".*in eval mode at the start", module="lightning")
            trainer.fit(module, batches)
        recogniser.cpu()
        self.steps += epochs.steps
        if epochs.best is not None:
            recogniser.load_state_dict(epochs.best)
        if not all(bool(weight.isfinite().all()) for weight in recogniser.parameters()):
            raise ValueError(diverged(self.label, name, epochs.steps, phase))

    def _batches(self, inputs: Inputs, steps: int, teaching: Teacher | None) -> Batches:
        return Batches(
            inputs,
            self.targets,
            self.learned,
            training=self.training,
            steps=steps,
            first=self.steps,
            teacher=teaching,
            classes=self.classes,
            seed=self.seed,
        )

    def _teaching(self, steps: int) -> Teacher | None:
        if self.teacher is None:
            return None
        return Teacher(
            self.teacher,
            self.pictures,
            self.ids,
            self.learned,
            training=self.training,
            uses=steps * self.training.batch_size,
            cache=self.answers,
            device=pick_device(self.accelerator),
            label=self.label,
        )

    def _prune(self, recogniser: Recogniser, pruning: Pruning, teaching: Teacher | None) -> None:
        batches = self._batches(Pictures(self.pictures), _TAYLOR_BATCHES, teaching)
        device = pick_device(self.accelerator)

        def losses() -> Iterator[torch.Tensor]:
            for inputs, targets in batches:
                yield self.objective.loss(recogniser(inputs.to(device)), targets.to(device))

        prune(
            recogniser.to(device),
            pruning,
            whole=self.whole[pruning.of],
            side=self.side,
            losses=losses,
            seed=self.seed,
        )
        recogniser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _constants(self, split: Split, steps: int, epoch_steps: int) -> Constants | None:
        """Return the features at the cut if they can be kept, and note why not."""
        recogniser, training = split.recogniser, self.training
        trained = [weight for weight in recogniser.parameters() if weight.requires_grad]
        self.trained.append(sum(weight.numel() for weight in trained))
        found: Constants | None = None
        why = self._why_not(split)
        if why is None and self.cache is not None:
            device = pick_device(self.accelerator)
            epochs = -(-steps // epoch_steps)
            try:
                found = self.cache.constants(
                    Split(recogniser.to(device).eval(), split.cut),
                    self.pictures,
                    self.ids,
                    np.concatenate([self.learned, self.held]),
                    mirrored=self.learned if training.mirror else self.learned[:0],
                    device=device,
                    precision=training.precision,
                    uses=steps * training.batch_size + epochs * len(self.held),
                    label=f"{self.label}: frozen layers",
                )
            except Declined as declined:
                why = str(declined)
        self.prefix.append({"cut": split.cut, "cached": found is not None, "why": why})
        logger.debug("%s: %s", self.label, self.prefix[-1])
        return found

    def _why_not(self, split: Split) -> str | None:
        if self.cache is None:
            return "no cache was given"
        if split.cut == 0:
            return "the first unit trains"
        if self.training.ten_crop:
            return "crops are drawn anew at each step"
        if self.training.mixup:
            return "mixup blends the pictures anew at each step"
        split.recogniser.train()
        return split.varies()


def _scores(
    split: Split,
    objective: Objective,
    training: Training,
    pictures: torch.Tensor,
    constants: Constants | None,
    rows: np.ndarray,
) -> torch.Tensor:
    """Return the (M, outputs) float32 scores of some rows; the network is in evaluation mode."""
    device = next(split.recogniser.parameters()).device
    done: list[torch.Tensor] = []
    with torch.inference_mode(), autocast(training.precision, device):
        many = pictures_at_once(device)
        for start in range(0, len(rows), many):
            part = rows[start : start + many]
            if constants is not None:
                views = [constants(part, np.zeros(len(part), bool)).to(device).float()]
            else:
                views = [pictures[torch.from_numpy(part)].to(device)]
                if training.ten_crop:
                    views = ten_crops(views[0], training.ten_crop)
                views = [split.before(view) for view in views]
            scores = [objective.scores(split.after(view).float()) for view in views]
            done.append(torch.stack(scores).mean(0).cpu())
    return torch.cat(done)


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
