"""The Lightning side of training a recogniser: the module, its batches, its progress lines."""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.nn import functional as F

from classifiers.networks import Recogniser

logger = logging.getLogger(__name__)


class Batches:
    """A fixed number of batches from pictures in memory.

    What a batch holds is a function of (seed, step) alone: no workers, no state, the same order
    for each arm of a comparison.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) integers.
        rows: (M,) rows that may be drawn.
        steps: How many batches.
        batch_size: Pictures a batch.
        balanced: Draw each class equally often (with replacement); else pass over all rows
            again and again, in a new order each time.
        mirror: Turn half of the pictures left to right.
        seed: Seed of order and turning.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: np.ndarray,
        *,
        steps: int,
        batch_size: int,
        balanced: bool,
        mirror: bool,
        seed: int,
    ) -> None:
        self.images, self.labels, self.rows = images, labels, rows
        self.steps, self.batch_size, self.seed = steps, batch_size, seed
        self.mirror = mirror
        self.chance: np.ndarray | None = None
        if balanced:
            drawn = labels.numpy()[rows]
            counts = np.bincount(drawn)
            self.chance = 1 / (counts[drawn] * np.count_nonzero(counts))
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.steps

    def rows_at(self, step: int) -> np.ndarray:
        """Return the (batch_size,) rows of one step."""
        if self.chance is not None:
            generator = np.random.default_rng([self.seed, 0, step])
            return generator.choice(self.rows, self.batch_size, p=self.chance)
        # the rows in endless passes, cut into batches; a batch may span two passes
        places = step * self.batch_size + np.arange(self.batch_size)
        passes, inside = np.divmod(places, len(self.rows))
        return np.array(
            [self._pass(int(number))[place] for number, place in zip(passes, inside, strict=True)]
        )

    def _pass(self, number: int) -> np.ndarray:
        if self._order is None or self._order[0] != number:
            generator = np.random.default_rng([self.seed, 1, number])
            self._order = (number, generator.permutation(self.rows))
        return self._order[1]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in range(self.steps):
            rows = torch.from_numpy(self.rows_at(step))
            images = self.images[rows]
            if self.mirror:
                generator = np.random.default_rng([self.seed, 2, step])
                turned = torch.from_numpy(generator.random(self.batch_size) < 0.5)
                images[turned] = images[turned].flip(-1)
            yield images, self.labels[rows]


class RecogniserTraining(L.LightningModule):
    """Cross-entropy, AdamW, linear warm-up and a cosine down to zero.

    Args:
        recogniser: The network to train, in place.
        steps: Optimiser steps in all; the schedule ends there.
        learning_rate: Its peak.
        weight_decay: Of AdamW (Loshchilov & Hutter 2019), on weights of convolutions and linear
            layers alone.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        warmup: Share of the steps in which the rate rises from 0, in [0, 1).
    """

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        label_smoothing: float,
        warmup: float,
    ) -> None:
        super().__init__()
        self.recogniser = recogniser
        self.steps, self.warmup = steps, warmup
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.label_smoothing = label_smoothing

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss of one batch."""
        images, labels = batch
        logits = self.recogniser(images).float()
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, one tick a step."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        groups = [
            # scales and shifts of norms, and biases: decay only fights what they are there for
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.rate_at)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step as a share of its peak."""
        rising = self.warmup * self.steps
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(self.steps - rising, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))


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
