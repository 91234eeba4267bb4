"""Tests of a difference, their correction for number, and the verdict."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05


def mcnemar(gained: int, lost: int, *, mid_p: bool = True) -> float:
    """Return the exact two-sided p-value of McNemar's test of paired predictions.

    McNemar 1947; a binomial test that pictures which the two sides do not share are gained as
    often as lost. It takes pictures as independent: of few people with many pictures each it is
    surer than it may be, and it knows nothing of other trainings.

    Args:
        gained: Pictures that only the arm has right.
        lost: Pictures that only the reference has right.
        mid_p: Count half the probability of what was seen (Fagerland, Lydersen & Laake 2013,
            doi:10.1186/1471-2288-13-91), since the exact test alone is needlessly cautious.

    Returns:
        p in (0, 1]; 1 where no picture differs.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"counts cannot be negative, got gained={gained} and lost={lost}")
    n = gained + lost
    if n == 0 or gained == lost:
        return 1.0
    fewer = min(gained, lost)
    p = 2 * float(stats.binom.cdf(fewer, n, 0.5))
    return min(1.0, p - float(stats.binom.pmf(fewer, n, 0.5)) if mid_p else p)


def chi_square(hits_a: float, n_a: int, hits_b: float, n_b: int) -> tuple[float, float]:
    """Return the chi-square statistic and p-value that two accuracies are equal.

    Pearson's test of the table of right and wrong, 1 degree of freedom, no continuity
    correction, as Vanderweel 2019 compares preprocessed with plain pictures. It takes pictures as
    independent and the two sides as unpaired.

    Args:
        hits_a: Right predictions of the arm; a mean over trainings need not be whole.
        n_a: Its pictures, at least 1.
        hits_b: Right predictions of the reference.
        n_b: Its pictures, at least 1.

    Returns:
        (statistic, p); (0, 1) where both sides are all right or all wrong.
    """
    if not (0 <= hits_a <= n_a and 0 <= hits_b <= n_b and n_a and n_b):
        raise ValueError(f"{hits_a} of {n_a} and {hits_b} of {n_b} are no accuracies")
    pooled = (hits_a + hits_b) / (n_a + n_b)
    variance = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
    if variance <= 0:
        return 0.0, 1.0
    statistic = float((hits_a / n_a - hits_b / n_b) ** 2 / variance)
    return statistic, float(stats.chi2.sf(statistic, 1))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number, in the given order.

    Holm 1979 (Scand. J. Stat. 6:65): whoever calls those at or under 5 % true is wrong about any
    of them with probability 5 % at most, whatever their dependence.

    Args:
        p: (M,) p-values; nan for what could not be tested, which does not count.

    Returns:
        (M,) in [0, 1], each at least p; nan where p is.
    """
    values = np.asarray(p, float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def verdict(difference: float, p_adjusted: float, level: float = LEVEL) -> str:
    """Put a corrected test of a difference into words.

    Args:
        difference: "Arm − reference" in a figure where more is better.
        p_adjusted: Of the test over trainings and people, corrected for the number of claims;
            nan where it could not be tested.
        level: The share of false verdicts that is accepted.

    Returns:
        ``helps`` or ``hurts`` if p is at or under the level, else ``no evidence``.
    """
    if not p_adjusted <= level or difference == 0:
        return "no evidence"
    return "helps" if difference > 0 else "hurts"
