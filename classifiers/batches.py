"""Batches of pictures, or of what frozen layers make of them: a function of (seed, step) alone."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from classifiers.prefix import turn
from classifiers.training import Training


class Inputs(Protocol):
    """Pictures, or what frozen layers make of them (`classifiers.prefix.Constants`)."""

    def __call__(self, rows: np.ndarray, turned: np.ndarray) -> torch.Tensor:
        """Return the inputs of (N,) rows, mirrored where the (N,) booleans say so."""
        ...


class Teaching(Protocol):
    """What a teacher says (`classifiers.teacher.Teacher`)."""

    def __call__(self, rows: np.ndarray, turned: np.ndarray, inputs: torch.Tensor) -> torch.Tensor:
        """Return (B, classes) logits of (B,) rows, mirrored where (B,) `turned` says so.

        Args:
            rows: Of the pictures.
            turned: Which are mirrored.
            inputs: The batch as the pupil gets it.
        """
        ...


class Pictures:
    """Pictures in memory, (N, 3, H, W) uint8 RGB."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __call__(self, rows: np.ndarray, turned: np.ndarray) -> torch.Tensor:
        """Return copies of some of them, mirrored where `turned` says so."""
        return turn(self.images[torch.from_numpy(rows)], turned)


class Batches:
    """A fixed number of batches.

    What a batch holds is a function of (seed, step) alone: no workers, no state, the same order
    for each arm of a comparison, and the same whether frozen layers are looked up or run.

    Args:
        inputs: The pictures, or features of them.
        targets: (N, outputs) float32.
        rows: (M,) rows that may be drawn.
        training: Its batch size, mirroring, crops and mixup.
        steps: How many batches.
        first: Number of the first one; a later phase goes on where the one before it stopped.
        teacher: Puts what it says of each picture beside the targets; None for none.
        classes: (N,) class of each row, to draw each class equally often (with replacement);
            None passes over all rows again and again, in a new order each time.
        seed: Seed of order, mirroring, crops and mixup.
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: torch.Tensor,
        rows: np.ndarray,
        *,
        training: Training,
        steps: int,
        first: int = 0,
        teacher: Teaching | None = None,
        classes: np.ndarray | None = None,
        seed: int,
    ) -> None:
        self.teacher = teacher
        self.inputs, self.targets, self.rows = inputs, targets, rows
        self.training, self.steps, self.first, self.seed = training, steps, first, seed
        self.chance: np.ndarray | None = None
        if classes is not None:
            drawn = classes[rows]
            counts = np.bincount(drawn)
            self.chance = 1 / (counts[drawn] * np.count_nonzero(counts))
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.steps

    def rows_at(self, step: int) -> np.ndarray:
        """Return the (batch_size,) rows of one step."""
        size = self.training.batch_size
        if self.chance is not None:
            return self._generator(0, step).choice(self.rows, size, p=self.chance)
        # the rows in endless passes, cut into batches; a batch may span two passes
        places = step * size + np.arange(size)
        passes, inside = np.divmod(places, len(self.rows))
        return np.array(
            [self._pass(int(number))[place] for number, place in zip(passes, inside, strict=True)]
        )

    def turned_at(self, step: int) -> np.ndarray:
        """Return which (batch_size,) pictures of one step are mirrored."""
        return self._generator(2, step).random(self.training.batch_size) < self.training.mirror

    def _pass(self, number: int) -> np.ndarray:
        if self._order is None or self._order[0] != number:
            self._order = (number, self._generator(1, number).permutation(self.rows))
        return self._order[1]

    def _generator(self, purpose: int, step: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, step])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in range(self.first, self.first + self.steps):
            rows, turned = self.rows_at(step), self.turned_at(step)
            inputs = self.inputs(rows, turned)
            targets = self.targets[torch.from_numpy(rows)]
            if self.training.ten_crop:
                inputs = random_crops(inputs, self.training.ten_crop, self._generator(3, step))
            if self.training.mixup:
                inputs, targets = mix(
                    inputs.float(), targets, self.training.mixup, self._generator(4, step)
                )
            if self.teacher is not None:
                targets = torch.cat([targets, self.teacher(rows, turned, inputs)], dim=1)
            yield inputs, targets


def random_crops(images: torch.Tensor, side: int, generator: np.random.Generator) -> torch.Tensor:
    """Cut a square of `side` pixels out of each of (N, 3, H, W) pictures, each at random."""
    height, width = images.shape[2:]
    tops = generator.integers(0, height - side + 1, len(images))
    lefts = generator.integers(0, width - side + 1, len(images))
    return torch.stack(
        [
            image[:, top : top + side, left : left + side]
            for image, top, left in zip(images, tops, lefts, strict=True)
        ]
    )


def ten_crops(images: torch.Tensor, side: int) -> list[torch.Tensor]:
    """Return the four corners and the middle of (N, 3, H, W) pictures, and their mirror images.

    The views of Krizhevsky et al. 2012, over which predictions are averaged.
    """
    height, width = images.shape[2:]
    bottom, right = height - side, width - side
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = [images[:, :, top : top + side, left : left + side] for top, left in places]
    return crops + [crop.flip(-1) for crop in crops]


def mix(
    inputs: torch.Tensor, targets: torch.Tensor, alpha: float, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend a batch with itself in another order (mixup, Zhang et al. 2018, arXiv:1710.09412).

    Args:
        inputs: (N, …) float.
        targets: (N, outputs) float.
        alpha: Both parameters of the Beta distribution that the batch's share is drawn from.
        generator: What the share and the order are drawn with.
    """
    share = float(generator.beta(alpha, alpha))
    partner = torch.from_numpy(generator.permutation(len(inputs)))
    return inputs.lerp(inputs[partner], 1 - share), targets.lerp(targets[partner], 1 - share)
