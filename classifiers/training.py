"""How a recogniser is trained: the settings, and what makes no sense among them.

The papers' recipes are presets of ``conf/training``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from classifiers.prefix import PRECISIONS
from classifiers.pruning import Pruning


@dataclass(frozen=True)
class Distillation:
    """How much a pupil listens to its teacher (`classifiers.objectives.Taught`).

    Attributes:
        temperature: By which the logits of both are divided, above 0. High ones teach how emotions
            resemble each other, not only which one it is.
        weight: Of the teacher, in (0, 1]; the labels have the rest.
    """

    temperature: float = 4.0
    weight: float = 0.9

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        _within("distil.temperature", self.temperature, self.temperature > 0, "above 0")
        _within("distil.weight", self.weight, 0 < self.weight <= 1, "in (0, 1]")


@dataclass(frozen=True)
class Phase:
    """One leg of a training.

    Attributes:
        length: Optimiser steps, or passes over the training pictures: ``"10 epochs"``.
        trains: How many of the last layers train, counted as the papers do
            (`Recogniser.layers`), with the head on top; 0 for the head alone, None for all.
        optimiser: ``adamw`` (Loshchilov & Hutter 2019), ``adam`` (its weight decay is added to
            the gradient) or ``sgd``.
        learning_rate: Its peak.
        momentum: Of SGD; β1 of the others.
        nesterov: Nesterov's form of SGD's momentum.
        weight_decay: On weights of convolutions and linear layers alone.
        schedule: After the warm-up: ``constant``, ``cosine`` down to zero, or ``plateau``
            (times `factor` whenever the validation loss has not fallen for `patience` epochs).
        warmup: Share of the steps in which the rate rises from 0, in [0, 1).
        factor: See `schedule`, in (0, 1).
        patience: See `schedule`.
        stop_after: Stop when the validation loss has not fallen for so many epochs, and go back
            to the weights of the best; None to run all steps and keep the last.
        prune: What is cut away before the phase begins; None for nothing.
    """

    length: int | str
    trains: int | None = None
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup: float = 0.0
    factor: float = 0.1
    patience: int = 10
    stop_after: int | None = None
    prune: Pruning | None = None

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        _among("optimiser", self.optimiser, ("adamw", "adam", "sgd"))
        _among("schedule", self.schedule, ("constant", "cosine", "plateau"))
        _within("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _within("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        _within("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _within("warmup", self.warmup, 0 <= self.warmup < 1, "in [0, 1)")
        _within("factor", self.factor, 0 < self.factor < 1, "in (0, 1)")
        _within("patience", self.patience, self.patience >= 1, "at least 1")
        _within("trains", self.trains, self.trains is None or self.trains >= 0, "≥ 0 or null")
        enough = self.stop_after is None or self.stop_after >= 1
        _within("stop_after", self.stop_after, enough, "at least 1 or null")
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError(
                f"phases.*.nesterov=true needs optimiser=sgd and a momentum, got "
                f"{self.optimiser} with {self.momentum}"
            )
        self.steps(1)

    def steps(self, epoch_steps: int) -> int:
        """Return the phase's optimiser steps where an epoch has `epoch_steps`."""
        epochs = re.fullmatch(r"(\d+) epochs?", str(self.length))
        steps = int(epochs[1]) * epoch_steps if epochs else self.length
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"phases.*.length={self.length!r} must be a number of steps ≥ 1 (400) or of passes "
                "('10 epochs')"
            )
        return steps

    @property
    def needs_validation(self) -> bool:
        """Whether it acts on the loss of people held out."""
        return self.schedule == "plateau" or self.stop_after is not None


@dataclass(frozen=True)
class Training:
    """How a recogniser is trained.

    Attributes:
        phases: Name → phase, one after the other on the same network.
        batch_size: Pictures a step, at least 2.
        sampling: ``shuffled`` (all pictures before any returns) or ``balanced`` (each emotion
            equally often, with replacement).
        class_weights: Weigh a picture's loss by max(n) / (C · n_i), n_i the training pictures of
            its emotion and C their number (van der Weel 2019).
        mirror: Probability of turning a picture left to right, anew at each step.
        label_smoothing: Share of the target spread over all emotions, in [0, 1).
        mixup: α of the Beta distribution by which pictures are blended (Zhang et al. 2018); 0 for
            none.
        ten_crop: Side in pixels of random crops in training, and of the ten crops (corners,
            middle, mirrored) over which predictions are averaged; None for whole pictures.
        validation: Share of the training people held out, in [0, 1).
        batches_per_epoch: Steps of an epoch; None for a pass over the training pictures.
        frozen_norms_adapt: Let batch norms whose weights are frozen follow the training pictures,
            as PyTorch does where one only stops the gradients; Keras and the papers keep them.
        distil: How to learn from a teacher, too; None for labels alone.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        target: ``emotion`` or ``valence_arousal``.
    """

    phases: Mapping[str, Phase]
    batch_size: int = 32
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    class_weights: bool = False
    mirror: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ten_crop: int | None = None
    validation: float = 0.0
    batches_per_epoch: int | None = None
    frozen_norms_adapt: bool = False
    distil: Distillation | None = None
    precision: str = "32-true"
    target: Literal["emotion", "valence_arousal"] = "emotion"

    def __post_init__(self) -> None:
        """Refuse impossible settings, alone and together."""
        if not self.phases:
            raise ValueError("training.phases is empty; give at least one")
        for name, phase in self.phases.items():
            if not isinstance(phase, Phase):
                raise ValueError(
                    f"training.phases.{name} is no phase but {phase!r}; give it the _target_ "
                    "classifiers.training.Phase, or set a phase that the preset has"
                )
            if phase.needs_validation and not self.validation:
                raise ValueError(
                    f"phase {name!r} acts on the validation loss (schedule={phase.schedule}, "
                    f"stop_after={phase.stop_after}); set training.validation above 0"
                )
        _among("sampling", self.sampling, ("shuffled", "balanced"))
        _among("precision", self.precision, PRECISIONS)
        _among("target", self.target, ("emotion", "valence_arousal"))
        _within("batch_size", self.batch_size, self.batch_size >= 2, "at least 2")
        _within("mirror", self.mirror, 0 <= self.mirror <= 1, "in [0, 1]")
        _within("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in [0, 1)")
        _within("mixup", self.mixup, self.mixup >= 0, "at least 0")
        _within("validation", self.validation, 0 <= self.validation < 1, "in [0, 1)")
        for key in ("ten_crop", "batches_per_epoch"):
            value = getattr(self, key)
            _within(key, value, value is None or value >= 1, "at least 1 or null")
        if self.target == "valence_arousal" and (
            self.sampling == "balanced" or self.class_weights or self.label_smoothing or self.distil
        ):
            raise ValueError(
                "training.target=valence_arousal has no emotions to balance or to be taught; set "
                "sampling=shuffled, class_weights=false, label_smoothing=0 and distil=null"
            )

    def epoch_steps(self, pictures: int) -> int:
        """Return the steps of an epoch over so many training pictures."""
        return self.batches_per_epoch or -(-pictures // self.batch_size)


def _among(key: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"training {key}={value!r} is unknown; it is one of {', '.join(known)}")


def _within(key: str, value: object, right: bool, bounds: str) -> None:
    if not right:
        raise ValueError(f"training {key}={value} must be {bounds}")


def diverged(label: str, name: str, steps: int, phase: Phase) -> str:
    """Return what to say when a phase of a training has gone out of bounds."""
    return (
        f"{label}, phase {name!r}: the weights are no longer finite after {steps} steps; lower "
        f"phases.{name}.learning_rate={phase.learning_rate} or raise its warmup={phase.warmup}"
    )
