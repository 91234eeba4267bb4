"""A figure with its interval, and the intervals of means, paired means and proportions."""

from collections.abc import Sequence
from typing import NamedTuple

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
    array = flat(values)
    require_share(confidence)
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
    left, right = _paired(a, b)
    difference = left - right
    estimate = mean_interval(difference, confidence)
    if estimate.n < 2:
        return estimate
    error = float(difference.std(ddof=1) / np.sqrt(estimate.n))
    return estimate._replace(p=t_test(estimate.value, error, estimate.n - 1))


def hedges_g(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Return the effect size g_av of paired runs: how many spreads of a training is the gain?

    Lakens 2013 (doi:10.3389/fpsyg.2013.00863), eq. 10 with Hedges' correction for few runs:
    the mean difference by the mean of both standard deviations. Unlike d_z it does not grow
    with the correlation of the pairs, so designs that pair well and badly can be compared.

    Args:
        a: One value a run of the arm, at least 2.
        b: One value a run of the reference.

    Returns:
        The effect in standard deviations; nan with fewer than 2 runs or without any spread.
    """
    left, right = _paired(a, b)
    n = len(left)
    if n < 2:
        return float("nan")
    spread = (left.std(ddof=1) + right.std(ddof=1)) / 2
    if spread < 1e-12:
        return float("nan")
    return float((left.mean() - right.mean()) / spread * (1 - 3 / (8 * n - 9)))


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
    require_share(confidence)
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


def t_test(value: float, error: float, degrees: float) -> float:
    """Return the two-sided p-value of value / error under Student's t; 0 or 1 without error."""
    if error > 0:
        return float(2 * stats.t.sf(abs(value) / error, degrees))
    return 0.0 if value else 1.0


def flat(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return values as (N,) float; ValueError for another shape."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"one value a run or picture is needed, got shape {array.shape}")
    return array


def require_share(confidence: float) -> None:
    """Raise a ValueError unless a confidence lies in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")


def _paired(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    left, right = flat(a), flat(b)
    if len(left) != len(right):
        raise ValueError(f"paired runs must have equal counts, got {len(left)} and {len(right)}")
    return left, right
