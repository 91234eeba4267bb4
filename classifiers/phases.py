"""The phases of a training, one after the other on the same network."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from classifiers.batches import Batches, Inputs, Pictures, ten_crops
from classifiers.networks import Recogniser
from classifiers.objectives import Objective
from classifiers.predict import pick_device
from classifiers.prefix import (
    Constants,
    Declined,
    PrefixCache,
    Split,
    autocast,
    pictures_at_once,
)
from classifiers.pruning import Pruning, prune
from classifiers.teacher import Teacher
from classifiers.training import Phase, Training, diverged

logger = logging.getLogger(__name__)

_TAYLOR_BATCHES = 16  # that gradients are gathered over


@dataclass
class PhaseRunner:
    """A training under way: what its phases share, and what they leave behind.

    Attributes:
        training: The settings.
        objective: What is learned.
        pictures: (N, 3, H, W) uint8 RGB.
        targets: (N, outputs) float32.
        classes: (N,) codes to draw equally often; None draws all rows in turn.
        teacher: Whom it learns from, too; None for labels alone.
        learned: Rows to learn from.
        held: Rows of people held out.
        ids: (N,) identities of the pictures, where something is kept by them.
        cache: Where to keep what frozen layers give; None runs them at each step.
        answers: Where to keep what the teacher says.
        whole: Measures of the network when the training began, of which pruning leaves a share.
        seed: Of order, mirroring, crops and pruning.
        label: For progress and errors.
        accelerator: Lightning's.
        steps: Taken until now.
        history: See `classifiers.finetune.Fitted`, as are `trained` and `prefix`.
    """

    training: Training
    objective: Objective
    pictures: torch.Tensor
    targets: torch.Tensor
    classes: np.ndarray | None
    teacher: Recogniser | None
    learned: np.ndarray
    held: np.ndarray
    ids: list[str]
    cache: PrefixCache | None
    answers: PrefixCache
    whole: Mapping[str, int]
    seed: int
    label: str
    accelerator: str
    steps: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    prefix: list[dict[str, Any]] = field(default_factory=list)

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
            scores = scores_of(split, self.objective, training, self.pictures, constants, self.held)
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


def scores_of(
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
