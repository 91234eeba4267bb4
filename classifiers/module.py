"""The Lightning side of training a recogniser: the module, its epochs, its progress lines."""

import copy
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from classifiers.objectives import Objective
from classifiers.prefix import Split
from classifiers.training import Phase, diverged

logger = logging.getLogger(__name__)


class RecogniserTraining(L.LightningModule):
    """One phase of a training: loss, optimiser and the rate of each step.

    Args:
        split: The network, cut before its first trainable unit.
        objective: What it learns.
        phase: The settings.
        steps: Optimiser steps of the phase.
        cached: Whether batches hold what is before the cut, instead of pictures.
    """

    def __init__(
        self, split: Split, objective: Objective, phase: Phase, *, steps: int, cached: bool
    ) -> None:
        super().__init__()
        self.recogniser = split.recogniser  # a submodule, so that Lightning moves it
        self.split, self.objective, self.phase = split, objective, phase
        self.steps, self.cached = steps, cached
        self.share = 1.0  # of the scheduled rate, which plateaus lower

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss of one batch."""
        inputs, targets = batch
        features = inputs.float() if self.cached else self.split.before(inputs)
        return self.objective.loss(self.split.after(features).float(), targets)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of the step."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate_at(batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of the weights that train."""
        phase = self.phase
        trained = [weight for weight in self.recogniser.parameters() if weight.requires_grad]
        groups = [
            # scales and shifts of norms, and biases: decay only fights what they are there for
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": phase.weight_decay},
            {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        rate, momentum = phase.learning_rate, float(phase.momentum)  # betas must not be integers
        if phase.optimiser == "sgd":
            return torch.optim.SGD(
                groups, rate, momentum=momentum, nesterov=phase.nesterov, fused=True
            )
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[phase.optimiser]
        return kind(groups, rate, betas=(momentum, 0.999), fused=True)

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step of the phase."""
        phase = self.phase
        peak = phase.learning_rate * self.share
        rising = phase.warmup * self.steps
        if step < rising:
            return peak * (step + 1) / (rising + 1)
        if phase.schedule != "cosine":
            return peak
        done = (step - rising) / max(self.steps - rising, 1)
        return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


class Epochs(L.Callback):
    """What happens after each epoch: a line of history, validation, plateaus, early stopping.

    Args:
        label: What is being trained, for errors.
        name: Name of the phase.
        first: Steps done before the phase.
        epoch_steps: Steps of an epoch; the last one of a phase may be shorter.
        validate: Returns ``loss`` and a figure of merit on people held out; None for no such.
        history: Where a line an epoch is put.
    """

    def __init__(
        self,
        *,
        label: str,
        name: str,
        first: int,
        epoch_steps: int,
        validate: Callable[[], dict[str, float]] | None,
        history: list[dict[str, Any]],
    ) -> None:
        self.label, self.name, self.first = label, name, first
        self.epoch_steps, self.validate, self.history = epoch_steps, validate, history
        self.steps = 0
        self.best: dict[str, torch.Tensor] | None = None
        self._lowest = math.inf
        self._bad = self._flat = 0  # epochs without a better loss: in all, and since a lower rate
        self._losses: list[torch.Tensor] = []

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Close the epoch if this was its last step."""
        assert isinstance(pl_module, RecogniserTraining)
        self.steps = batch_idx + 1
        # kept on the device: to read it would wait for the step
        self._losses.append(outputs["loss"].detach())
        if self.steps % self.epoch_steps and self.steps != pl_module.steps:
            return
        loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        if not math.isfinite(loss):
            raise ValueError(diverged(self.label, self.name, self.steps, pl_module.phase))
        line: dict[str, Any] = {
            "phase": self.name,
            "epoch": math.ceil(self.steps / self.epoch_steps),
            "step": self.first + self.steps,
            "loss": loss,
            "rate": pl_module.rate_at(batch_idx),
        }
        if self.validate:
            judged = self.validate()
            line |= {f"validation_{key}": value for key, value in judged.items()}
            self._react(judged["loss"], trainer, pl_module)
        self.history.append(line)

    def _react(self, loss: float, trainer: L.Trainer, module: RecogniserTraining) -> None:
        phase = module.phase
        if loss < self._lowest:
            self._lowest, self._bad, self._flat = loss, 0, 0
            if phase.stop_after is not None:
                self.best = copy.deepcopy(module.recogniser.state_dict())
            return
        self._bad, self._flat = self._bad + 1, self._flat + 1
        if phase.schedule == "plateau" and self._flat >= phase.patience:
            module.share, self._flat = module.share * phase.factor, 0
        if phase.stop_after is not None and self._bad >= phase.stop_after:
            trainer.should_stop = True


class Progress(L.Callback):
    """Logs step, rate and time left every few seconds, nothing for short trainings.

    Args:
        label: What is being trained.
        steps: Steps in all.
        batch_size: Pictures a step.
        every_seconds: Time between two lines.
    """

    def __init__(
        self, label: str, steps: int, batch_size: int, every_seconds: float = 10.0
    ) -> None:
        self.label, self.steps, self.batch_size = label, steps, batch_size
        self.every_seconds = every_seconds
        self._start = self._last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._start = self._last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log a line if it is time for one."""
        now, done = time.monotonic(), batch_idx + 1
        if now - self._last < self.every_seconds or done == self.steps:
            return
        self._last = now
        rate = done / (now - self._start)
        logger.info(
            "%s: step %d of %d, loss %.3f, %.0f images/s, %.0f s left",
            self.label,
            done,
            self.steps,
            float(outputs["loss"]),
            rate * self.batch_size,
            (self.steps - done) / rate,
        )
