"""Watching a GAN train: kernel distance and diversity of its samples, and what follows from them.

At every few ticks a fixed set of samples is held against real faces. From the readings follow the
networks to keep, whether the generator has collapsed, and whether training can stop. The faces
are those of the validation split where there is one, else those of training, never test faces.
The lowest of several noisy distances flatters: it says which networks to keep, not how good they
are.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from curation.features import Extractor
from curation.fidelity import compare, kernel_distance
from gan.networks import Generator
from gan.pixels import to_pixels

log = logging.getLogger(__name__)

MOST_FACES = 300  # held against some 150 samples; more would make a reading slow, not better
MOST_COMPARED = 2000  # of a class, for diversity
PATTERN_PX = 16
CAVEAT = (
    "measured on the training faces, for want of a validation split: "
    "a generator that repeats them looks best"
)


class Faces(NamedTuple):
    """Real faces to hold samples against.

    Attributes:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) int64, or None.
        subjects: (N,) who is on each; a picture without a known subject stands for itself.
        split: ``validation`` or ``train``.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    subjects: np.ndarray
    split: str


@dataclass(frozen=True)
class Reading:
    """What was measured after a step.

    Attributes:
        step: The step.
        kernel: Kernel distance between samples and faces (`curation.fidelity`).
        low: Lower end of its 95 % interval.
        high: Upper end.
        diversity: Of the samples (`diversity`).
    """

    step: int
    kernel: float
    low: float
    high: float
    diversity: float


@dataclass(frozen=True)
class Watch:
    """How often to measure, and what follows.

    Attributes:
        features: Builds the extractor that the kernel distance is computed in; needs no network
            connection and knows nothing of the benchmark's classifiers.
        every: Ticks between two readings; the last tick always has one.
        samples: Generated faces in a reading.
        first: Step (``1000`` or ``500 epochs``) from which networks can be chosen.
        choose: Whether the networks with the lowest kernel distance are kept; otherwise the last.
        patience: Readings without a lower distance before training stops, or None. Needs
            `choose`.
        collapse: Share of the real faces' diversity below which the generator counts as
            collapsed, from `first` on or once it was above: it is warned of, noted, not chosen.
        stop_at_collapse: Whether training ends there.
    """

    features: Callable[[], Extractor]
    every: int
    samples: int
    first: int | str
    choose: bool
    patience: int | None
    collapse: float
    stop_at_collapse: bool

    def __post_init__(self) -> None:
        if self.every < 1 or self.samples < 10:
            raise ValueError(
                f"gan.watch.every is {self.every}, gan.watch.samples {self.samples}; "
                "they must be at least 1 and 10"
            )
        if not 0 <= self.collapse < 1:
            raise ValueError(f"gan.watch.collapse is {self.collapse}; it must lie in [0, 1)")
        if self.patience is not None and not self.choose:
            raise ValueError(
                "gan.watch.patience stops training when nothing better comes, so the best must be "
                "kept: set gan.watch.choose=true"
            )


class Observer:
    """The readings of one training.

    Args:
        watch: The settings.
        faces: What samples are held against.
        mirror: Whether training mirrors its faces, so that mirrored ones count as real too.
        first: `Watch.first` in steps.
        seed: Which latents, and which of very many faces.
    """

    def __init__(self, watch: Watch, faces: Faces, *, mirror: bool, first: int, seed: int) -> None:
        self.watch, self.faces, self.mirror = watch, faces, mirror
        self.first, self.seed = first, seed
        self.readings: list[Reading] = []
        self.best: dict[str, Any] | None = None  # the networks' weights at the chosen step
        self._real: tuple[np.ndarray, np.ndarray] | None = None
        self._extractor: Extractor | None = None
        self.real_diversity = diversity(*self._with_mirrored(faces.images, faces.labels))

    @torch.no_grad()
    def measure(self, generator: Generator, step: int) -> Reading:
        """Take a reading of a generator in evaluation mode, and remember it."""
        # the same latents every time: readings differ by the generator alone
        chance = torch.Generator().manual_seed(self.seed)
        device = next(generator.parameters()).device
        z = torch.randn(self.watch.samples, generator.z_dim, generator=chance).to(device)
        labels = None
        if self.faces.labels is not None:
            classes = int(self.faces.labels.max()) + 1
            labels = torch.arange(self.watch.samples) % classes
        faces = torch.cat(
            [
                to_pixels(generator(z[start : start + 50], _part(labels, start, device))).cpu()
                for start in range(0, len(z), 50)
            ]
        )
        real, people = self._real_features()
        figure = compare(
            real, self.extractor(faces.numpy()), subjects=people, k=1, splits=0, seed=self.seed
        )["kernel"]
        low, high = figure.interval or (float("nan"), float("nan"))
        reading = Reading(step, figure.value, low, high, diversity(faces, labels))
        before = self.readings[-1] if self.readings else None
        self.readings.append(reading)
        if self.collapsed(reading) and not (before and self.collapsed(before)):
            log.warning(
                "GAN collapse at step %d: samples differ by %.1f grey levels, real faces by %.1f "
                "(gan.watch.collapse)", step, reading.diversity, self.real_diversity,
            )  # fmt: skip
        return reading

    @property
    def extractor(self) -> Extractor:
        """The extractor, built when first asked for."""
        if self._extractor is None:
            self._extractor = self.watch.features()
        return self._extractor

    def collapsed(self, reading: Reading) -> bool:
        """Whether samples have come to be too much alike; at first they are before they differ."""
        least = self.watch.collapse * self.real_diversity
        started = reading.step >= self.first or any(
            each.diversity >= least for each in self.readings if each.step < reading.step
        )
        return started and reading.diversity < least

    @property
    def chosen(self) -> Reading | None:
        """The reading of the networks to keep: the lowest distance that is no collapse's."""
        candidates = [reading for reading in self.readings if self._eligible(reading)]
        return min(candidates, key=lambda reading: reading.kernel, default=None)

    def reason_to_stop(self) -> str | None:
        """Return why training should end after the last reading, or None."""
        if self.watch.stop_at_collapse and self.collapsed(self.readings[-1]):
            return "collapse"
        chosen = self.chosen
        if self.watch.patience is None or chosen is None:
            return None
        since = sum(reading.step > chosen.step for reading in self.readings)
        return "no better reading" if since >= self.watch.patience else None

    def facts(self) -> dict[str, Any]:
        """Return what the record says about the choice."""
        real, _ = self._real_features()
        last, chosen = self.readings[-1], self.chosen if self.watch.choose else None
        return {
            "rule": "lowest kernel distance" if self.watch.choose else "last step",
            **asdict(chosen or last),
            "chosen_from": sum(map(self._eligible, self.readings)) if chosen else 1,
            "against": self.faces.split,
            "caveat": None if self.faces.split == "validation" else CAVEAT,
            "n_real": len(real),
            "n_fake": self.watch.samples,
            "mirrored": self.mirror,
            "real_to_real": self._floor(),
            "real_diversity": self.real_diversity,
            "collapsed_at": [each.step for each in self.readings if self.collapsed(each)],
            "features": self.extractor.name,
            "features_hash": self.extractor.hash,
        }

    def state(self) -> dict[str, Any]:
        """Return the readings and the kept weights."""
        return {"readings": [asdict(reading) for reading in self.readings], "best": self.best}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.readings = [Reading(**reading) for reading in state["readings"]]
        self.best = state["best"]

    def _floor(self, cuts: int = 5) -> float | None:
        """Kernel distance between two halves of the real faces, no person in both; mean of cuts."""
        real, people = self._real_features()
        names = np.unique(people)
        chance = np.random.default_rng(self.seed)
        found = []
        for _ in range(cuts):
            first = np.isin(people, chance.permutation(names)[: len(names) // 2])
            if min(first.sum(), (~first).sum()) < 2:
                return None
            found.append(kernel_distance(real[first], real[~first]))
        return float(np.mean(found))

    def _eligible(self, reading: Reading) -> bool:
        return reading.step >= self.first and not self.collapsed(reading)

    def _with_mirrored(
        self, images: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if not self.mirror:
            return images, labels
        return torch.cat([images, images.flip(3)]), None if labels is None else labels.repeat(2)

    def _real_features(self) -> tuple[np.ndarray, np.ndarray]:
        if self._real is None:
            images, people = self.faces.images, self.faces.subjects
            if len(images) > MOST_FACES:
                drawn = np.random.default_rng(self.seed).choice(
                    len(images), MOST_FACES, replace=False
                )
                images, people = images[torch.from_numpy(drawn)], people[drawn]
            images, _ = self._with_mirrored(images, None)
            people = np.tile(people, 2 if self.mirror else 1)
            if len(people) - np.unique(people, return_counts=True)[1].max() < 3:
                people = np.arange(len(people))  # too few of others to leave a person out
            self._real = self.extractor(images.cpu().numpy()), people
        return self._real


def diversity(images: torch.Tensor, labels: torch.Tensor | None = None) -> float:
    """Return how much faces of one class differ: the mean distance between two of them.

    The distance is the root mean square over a 16 × 16 grey picture, which sees another person,
    pose or light, and no noise.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        labels: (N,) classes, or None for a single one.

    Returns:
        Grey levels in 0–255, the mean over classes of at least two faces; 0 if there is none.
    """
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)[:, None, None]
    patterns = torch.cat(
        [
            F.adaptive_avg_pool2d((batch.float() * weights).sum(1), PATTERN_PX)
            for batch in images.split(500)
        ]
    ).flatten(1)
    classes = torch.zeros(len(images)) if labels is None else labels.cpu()
    means = [
        float(torch.pdist(patterns[members].cpu()).mean()) / PATTERN_PX
        for label in classes.unique()
        if len(members := torch.nonzero(classes == label)[:MOST_COMPARED, 0]) > 1
    ]
    return float(np.mean(means)) if means else 0.0


def _part(labels: torch.Tensor | None, start: int, device: torch.device) -> torch.Tensor | None:
    return None if labels is None else labels[start : start + 50].to(device)
