"""Intervals, paired comparisons and scores of classifications: arrays in, numbers out.

Every interval says what it covers: `mean_interval` and `paired_difference` cover the randomness
of training (values are runs with different seeds), `wilson` and `bootstrap_by_subject` that of
who and what was tested.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Estimate(NamedTuple):
    """A figure with its interval.

    Attributes:
        value: The point estimate.
        low: Lower bound; nan where no interval can be given.
        high: Upper bound; nan where no interval can be given.
        n: How many observations it rests on.
        p: Two-sided p-value that the true value is 0; nan where not tested.
    """

    value: float
    low: float
    high: float
    n: int
    p: float = float("nan")

    def plain(self) -> dict[str, float | int | None]:
        """Return the fields as JSON values: nan, which JSON lacks, becomes null."""
        return {key: None if value != value else value for key, value in self._asdict().items()}


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Return the mean of independent runs with Student's t interval.

    Student 1908; the variance is estimated with n − 1 degrees of freedom.

    Args:
        values: One value a run, for example one accuracy a seed.
        confidence: Coverage in (0, 1).

    Returns:
        The mean and its bounds; nan bounds for one value, all nan for none.
    """
    array = _flat(values)
    _require_share(confidence)
    n = len(array)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(array.mean())
    if n == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * array.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, confidence: float = 0.95
) -> Estimate:
    """Return mean(a − b) of paired runs, its t interval and the paired t-test's p-value.

    Args:
        a: One value a run of the arm.
        b: One value a run of the reference, in the same order (run i shares its seed).
        confidence: Coverage in (0, 1).

    Returns:
        The mean difference; n counts pairs. With one pair bounds and p are nan. Where all
        differences are equal, the interval is a point and p is 0 (1 if they are all 0).

    Raises:
        ValueError: If the runs cannot be paired.
    """
    left, right = _flat(a), _flat(b)
    if len(left) != len(right):
        raise ValueError(f"paired runs must have equal counts, got {len(left)} and {len(right)}")
    difference = left - right
    estimate = mean_interval(difference, confidence)
    if estimate.n < 2:
        return estimate
    error = difference.std(ddof=1) / np.sqrt(estimate.n)
    if error > 0:
        p = float(2 * stats.t.sf(abs(estimate.value) / error, estimate.n - 1))
    else:
        p = 0.0 if estimate.value else 1.0
    return estimate._replace(p=p)


def wilson(k: int, n: int, confidence: float = 0.95) -> Estimate:
    """Return a proportion k/n with Wilson's score interval.

    Wilson 1927 (J. Am. Stat. Assoc. 22:209). It stays inside [0, 1] and keeps its coverage for
    small n, but counts observations as independent: faces of one person are not, so it is
    narrow where few people gave many pictures.

    Args:
        k: Successes, 0 … n.
        n: Trials; 0 gives nan.
        confidence: Coverage in (0, 1).
    """
    if not 0 <= k <= n:
        raise ValueError(f"successes must lie in 0 … n, got k={k}, n={n}")
    _require_share(confidence)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # at k = 0 and k = n the bound is exactly 0 and 1; rounding must not push it past the value
    low = 0.0 if k == 0 else float(centre - half)
    high = 1.0 if k == n else float(centre + half)
    return Estimate(share, low, high, n)


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
    a, b = _flat(correct_a), _flat(correct_b)
    _require_share(confidence)
    if not len(a) == len(b) == len(subjects) or len(a) == 0:
        raise ValueError(
            f"one value a picture is needed, got {len(a)}, {len(b)} and {len(subjects)} subjects"
        )
    names, member = np.unique(np.asarray(subjects).astype(str), return_inverse=True)
    gained = np.bincount(member, weights=a - b)  # (S,) summed differences a subject
    pictures = np.bincount(member)  # (S,)
    value = float(gained.sum() / pictures.sum())
    people = len(names)
    if people < 2:
        return Estimate(value, float("nan"), float("nan"), people)
    generator = np.random.default_rng([seed, people])
    drawn = generator.multinomial(people, np.full(people, 1 / people), size=n)  # (n, S)
    resampled = (drawn @ gained) / (drawn @ pictures)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), people)


def verdict(interval: Estimate) -> str:
    """Put an interval of a difference into words.

    Args:
        interval: A difference "arm − reference" in a figure where more is better.

    Returns:
        ``helps`` if the interval lies above 0, ``hurts`` if below, else ``no evidence`` (also
        where there are no bounds).
    """
    if interval.low > 0:
        return "helps"
    if interval.high < 0:
        return "hurts"
    return "no evidence"


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count predictions: (C, C) int64, rows the truth, columns the prediction.

    Args:
        truth: (N,) integers 0 … C − 1.
        predicted: (N,) integers 0 … C − 1.
        classes: C.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} must be (N,)")
    both = np.concatenate([truth, predicted])
    if len(both) and not 0 <= both.min() <= both.max() < classes:
        raise ValueError(f"labels must lie in 0 … {classes - 1}, got {both.min()} … {both.max()}")
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def precision_recall(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of each class from a confusion matrix.

    Args:
        confusion: (C, C) counts, rows the truth.

    Returns:
        Two (C,) arrays in [0, 1]; nan where nothing was predicted as (precision) or belongs to
        (recall) the class.
    """
    hits = np.diag(confusion).astype(float)
    predicted, belonging = confusion.sum(0), confusion.sum(1)
    nan = np.full(len(hits), np.nan)
    precision = np.divide(hits, predicted, out=nan.copy(), where=predicted > 0)
    recall = np.divide(hits, belonging, out=nan.copy(), where=belonging > 0)
    return precision, recall


def accuracy(confusion: np.ndarray) -> float:
    """Return the share of hits of a (C, C) confusion matrix; nan if it is empty."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Return the mean recall over the classes that occur in the truth (Brodersen et al. 2010)."""
    recall = precision_recall(confusion)[1]
    present = ~np.isnan(recall)
    return float(recall[present].mean()) if present.any() else float("nan")


def macro_f1(confusion: np.ndarray) -> float:
    """Return the unweighted mean of F1 over classes that occur in truth or prediction.

    F1 of one class is 2·hits / (predicted + belonging); averaged as in Opitz & Burst 2019
    (arXiv:1911.03347), eq. 1. A class that is neither shown nor predicted has no F1 and is left
    out.
    """
    hits = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1)
    occurs = either > 0
    return float((2 * hits[occurs] / either[occurs]).mean()) if occurs.any() else float("nan")


def _flat(values: Sequence[float] | np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"one value a run or picture is needed, got shape {array.shape}")
    return array


def _require_share(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
