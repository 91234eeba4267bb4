"""Intervals over the people who were tested, and over trainings and people at once.

`two_way` is what verdicts rest on. The bootstraps answer for people alone, and for both without
any model but the sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from classifiers.statistics.estimates import Estimate, flat, require_share

POWER = 0.8
MOST_SEEDS = 100
_LEAST_P = 1e-12


@dataclass(frozen=True)
class TwoWay:
    """A mean over trainings and people, and how much each makes it vary.

    Attributes:
        value: The mean over all pictures and trainings.
        seeds: S, how many trainings.
        subjects: G, how many people.
        seed_variance: Of the mean, from trainings: what another S trainings would change.
        subject_variance: Of the mean, from people: what another G people would change, without
            the part of it that is chance of trainings.
        subject_degrees: Effective number of people less 1 (N² / Σ n²: one person with most of
            the pictures is hardly more than one).
    """

    value: float
    seeds: int
    subjects: int
    seed_variance: float
    subject_variance: float
    subject_degrees: float

    def half_width(self, level: float, seeds: int | None = None) -> float:
        """Return half the interval of confidence 1 − level; inf where it cannot be told.

        Args:
            level: In (0, 1].
            seeds: As if so many trainings showed the same spread; None for as many as there are.
        """
        if self.seeds < 2 or self.subject_degrees <= 0:
            return float("inf")
        count = self.seeds if seeds is None else seeds
        over_seeds = special.stdtrit(count - 1, level / 2) ** 2 * self.seed_variance
        over_people = special.stdtrit(self.subject_degrees, level / 2) ** 2 * self.subject_variance
        return float(np.sqrt(over_seeds * self.seeds / count + over_people))

    def p(self) -> float:
        """Return the two-sided p-value that the mean is 0: the level whose interval ends there.

        At least 1e-12, nan where there is no interval; without any spread 0, or 1 for a mean of 0.
        """
        if np.isinf(self.half_width(0.5)):
            return float("nan")
        size = abs(self.value)
        if size < 1e-12:
            return 1.0
        if self.half_width(0.5) == 0:
            return 0.0
        low, high = float(np.log(_LEAST_P)), 0.0
        for _ in range(50):
            middle = (low + high) / 2
            if self.half_width(float(np.exp(middle))) > size:
                low = middle
            else:
                high = middle
        return float(np.exp(high))

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """Return the mean with its interval and p; n counts people, nan bounds where none is."""
        require_share(confidence)
        half = self.half_width(1 - confidence)
        if np.isinf(half):
            return Estimate(self.value, float("nan"), float("nan"), self.subjects)
        return Estimate(self.value, self.value - half, self.value + half, self.subjects, self.p())

    def seeds_needed(self, level: float) -> tuple[int | None, str]:
        """Return how many more trainings would find a mean as large as this one.

        Found means: the interval of confidence 1 − level leaves out 0 with probability 0.8, if
        the mean and both spreads are what they look like here.

        Args:
            level: Of the test, the correction for the number of claims included.

        Returns:
            The number and "", or None and why there is none.
        """
        if self.seeds < 2 or self.subject_degrees <= 0:
            what = "seeds" if self.seeds < 2 else "test people"
            return None, f"at least 2 {what} are needed for any interval"
        size = abs(self.value)
        for count in range(self.seeds + 1, MOST_SEEDS + 1):
            spread = np.sqrt(self.seed_variance * self.seeds / count + self.subject_variance)
            if size >= self.half_width(level, count) + special.ndtri(POWER) * spread:
                return count - self.seeds, ""
        # what would be left with endless seeds
        quantiles = special.ndtri(POWER) - special.stdtrit(self.subject_degrees, level / 2)
        if size <= quantiles * np.sqrt(self.subject_variance):
            return None, "more test people are needed, not more seeds"
        return None, f"the difference is too small for {MOST_SEEDS} seeds to decide"


def two_way(values: np.ndarray, subjects: Sequence[Any] | np.ndarray) -> TwoWay:
    """Split the spread of a mean over trainings × pictures into trainings and people.

    A model of random trainings crossed with random people, as in studies of many readers and
    many cases (Dorfman, Berbaum & Metz 1992; Obuchowski & Rockette 1995): the variance of the
    mean is MS(trainings) plus, where it is positive, MS(people) − MS(rest), over S·G. The people's
    mean square comes from leaving out one person at a time (the jackknife, Efron & Stein 1981),
    since people have unequal numbers of pictures. The interval adds both half widths in squares,
    each with the t of its own degrees of freedom (Banerjee 1961, Sankhyā A 23:359), which unlike
    Satterthwaite's single t does not promise too much with three seeds (benchmarks/README.md).

    Args:
        values: (S, N) a value for each training and picture, e.g. the gain in correctness.
        subjects: (N,) who is on the picture.

    Returns:
        The mean with its components.

    Raises:
        ValueError: If the shapes do not fit, or there is nothing.
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or table.shape[1] != len(subjects) or not table.size:
        raise ValueError(
            f"values of shape {table.shape} must be (trainings, pictures), {len(subjects)} subjects"
        )
    sums, pictures = by_subject(table, subjects)
    seeds, people = sums.shape
    total = pictures.sum()
    value = float(table.mean())
    if people < 2:
        return TwoWay(value, seeds, people, float("nan"), float("nan"), 0.0)
    residuals = sums - value * pictures  # (S, G)
    rows = residuals.sum(1) / total  # (S,) each training's mean, less the mean
    left_out = (people - 1) * residuals / (total - pictures)
    columns = left_out.mean(0)
    seed_variance = subject_variance = float("nan")
    if seeds > 1:
        seed_variance = float((rows**2).sum() / (seeds - 1) / seeds)
        rest = left_out - columns - (left_out - columns).mean(1, keepdims=True)
        noise = (rest**2).sum() / ((seeds - 1) * (people - 1)) / (seeds * people)
        subject_variance = (columns**2).sum() / (people - 1) / people
        subject_variance = max(float(subject_variance - noise), 0.0)
    degrees = float(total**2 / (pictures**2).sum() - 1)
    return TwoWay(value, seeds, people, seed_variance, subject_variance, degrees)


def by_subject(
    values: np.ndarray, subjects: Sequence[Any] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of (S, N) values over each subject's pictures, (S, G), and (G,) counts."""
    member = np.unique(np.asarray(subjects).astype(str), return_inverse=True)[1]
    order = np.argsort(member, kind="stable")
    pictures = np.bincount(member)
    starts = np.concatenate([[0], np.cumsum(pictures)[:-1]])
    return np.add.reduceat(values[:, order], starts, axis=1), pictures


def bootstrap_by_subject(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    subjects: Sequence[Any] | np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return the paired difference of accuracies with a bootstrap interval over people.

    The cluster bootstrap (Davison & Hinkley 1997, section 3.8) with percentile bounds: whole
    subjects are drawn with replacement, since pictures of one person are not independent.

    Args:
        correct_a: (N,) correctness of the arm on each picture: 0 or 1, or the mean over runs.
        correct_b: (N,) the same for the reference, same pictures.
        subjects: (N,) who is on the picture.
        n: Number of resamples.
        seed: Seed of the resampling.
        confidence: Coverage in (0, 1).

    Returns:
        accuracy(a) − accuracy(b) over all pictures; the estimate's n counts **subjects**. With
        one subject the bounds are nan.

    Raises:
        ValueError: If the arrays differ in length or are empty.
    """
    a, b = flat(correct_a), flat(correct_b)
    require_share(confidence)
    if not len(a) == len(b) == len(subjects) or len(a) == 0:
        raise ValueError(
            f"one value a picture is needed, got {len(a)}, {len(b)} and {len(subjects)} subjects"
        )
    gained, pictures = by_subject((a - b)[None], subjects)
    value = float(gained.sum() / pictures.sum())
    people = len(pictures)
    if people < 2:
        return Estimate(value, float("nan"), float("nan"), people)
    drawn = _draws(people, n, seed)
    resampled = (drawn @ gained[0]) / (drawn @ pictures)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), people)


def crossed_bootstrap(
    values: np.ndarray,
    subjects: Sequence[Any] | np.ndarray,
    n: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Return the mean over trainings and people with a bootstrap interval over both.

    The pigeonhole bootstrap (Owen 2007, doi:10.1214/07-AOAS122): trainings and people are drawn
    with replacement, each by itself, and a picture counts as often as its training times as often
    as its person. Percentile bounds: with few trainings they are too narrow, for the spread of S
    drawn ones is (S − 1)/S of the true one; `two_way` has no such flaw.

    Args:
        values: (S, N) a value for each training and picture, e.g. the gain in correctness.
        subjects: (N,) who is on the picture.
        n: Number of resamples.
        seed: Seed of the resampling.
        confidence: Coverage in (0, 1).

    Returns:
        The mean; n counts people. nan bounds with one training or one person.
    """
    require_share(confidence)
    table = np.asarray(values, float)
    sums, pictures = by_subject(table, subjects)
    seeds, people = sums.shape
    value = float(table.mean())
    if seeds < 2 or people < 2:
        return Estimate(value, float("nan"), float("nan"), people)
    trainings, persons = _draws(seeds, n, seed), _draws(people, n, seed)
    resampled = ((trainings @ sums) * persons).sum(1) / (persons @ pictures) / seeds
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), people)


@lru_cache(maxsize=4)
def _draws(count: int, n: int, seed: int) -> np.ndarray:
    """Return (n, count) how often each of `count` is drawn; a summary asks for the same again."""
    generator = np.random.default_rng([seed, count])
    return generator.multinomial(count, np.full(count, 1 / count), size=n).astype(float)
