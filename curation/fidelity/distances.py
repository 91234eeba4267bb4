"""Fréchet and kernel distance between two sets of features."""

from collections.abc import Sequence

import numpy as np

from curation.fidelity.checks import check_pair, checked_pair, checked_people

# Below this count the Fréchet distance mostly measures its own bias (Chong & Forsyth 2020,
# arXiv:1911.07023; 2,048 is also the width of the features that it was defined on).
SMALL_SAMPLE = 2048
_STRIP = 256  # features looked at together
Moments = tuple[np.ndarray, np.ndarray]


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Fréchet distance between Gaussians fitted to two feature sets.

    Heusel et al. 2017, eq. 6 (arXiv:1706.08500). With centred feature matrices X (n, d) and
    Y (m, d) scaled by 1/√(n − 1) and 1/√(m − 1), the trace of the square root of the covariances'
    product is the nuclear norm of X Yᵀ. That is exact for any n, also below d, where the usual
    matrix square root meets singular covariances. Biased upwards for small n: compare only
    values computed with equal counts.

    Args:
        real: Features of real pictures, (n, d) float.
        fake: Features of generated pictures, (m, d) float.

    Returns:
        Distance ≥ 0 in squared feature units; 0 for identical moments.

    Raises:
        ValueError: If a set has fewer than 2 rows, a value is not finite, or the widths differ.
    """
    check_pair(real, fake, least=2)
    if max(len(real), len(fake)) > real.shape[1]:
        return frechet_of_moments(moments(real), moments(fake))
    # in strips that stay in the cache: fresh memory would take longer than the arithmetic
    product, distance = np.zeros((len(real), len(fake))), 0.0
    for start in range(0, real.shape[1], _STRIP):
        sides = [_centred(rows[:, start : start + _STRIP]) for rows in (real, fake)]
        (mean_real, factor_real), (mean_fake, factor_fake) = sides
        product += factor_real @ factor_fake.T
        distance += ((mean_real - mean_fake) ** 2).sum()
        distance += np.vdot(factor_real, factor_real) + np.vdot(factor_fake, factor_fake)
    distance -= 2 * np.linalg.svd(product, compute_uv=False).sum()
    return float(max(distance, 0.0))


def frechet_infinity(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subjects: Sequence[str] | np.ndarray | None = None,
    points: int = 15,
    seed: int = 0,
) -> float:
    """Return the Fréchet distance extrapolated to infinitely many rows.

    Chong & Forsyth 2020, section 4 (arXiv:1911.07023): the bias is linear in 1/n, so a line
    through the distances of smaller sets gives the unbiased value at 1/n = 0. Both sets shrink
    together, from all rows to half of them, so that the bias of either goes. Half of the rows must
    still outnumber the features: with fewer the line is none, and the value far too high.

    Args:
        real: Features of real pictures, (n, d) float, n > 2 d.
        fake: Features of generated pictures, (m, d) float, m > 2 d.
        subjects: Who is on each real picture, (n,); whole subjects are left out.
        points: Sizes that the line goes through, at least 2.
        seed: Which rows the smaller sets hold.

    Returns:
        Estimate in squared feature units; around 0, and also below it, for equal distributions.

    Raises:
        ValueError: If a set has too few rows, a value is not finite, or the widths differ.
    """
    real, fake = checked_pair(real, fake, least=2)
    people = checked_people(subjects, len(real))
    if not can_extrapolate(len(real), len(fake), real.shape[1]):
        raise ValueError(
            f"{len(real)} real and {len(fake)} generated rows of {real.shape[1]} features; the "
            f"extrapolation needs {2 * real.shape[1] + 2} of each, or an extractor with fewer "
            "features"
        )
    if points < 2:
        raise ValueError(f"points={points}: a line takes at least 2")
    generator = np.random.default_rng([seed, len(real), len(fake)])
    names, codes = np.unique(people, return_inverse=True)
    real = real[np.argsort(generator.permutation(len(names))[codes], kind="stable")]
    fake = generator.permutation(fake)
    return extrapolated(real, fake, points)


def can_extrapolate(n: int, m: int, width: int) -> bool:
    """Whether half of the rows outnumber the features on both sides (`frechet_infinity`)."""
    return min(n, m) >= 2 * width + 2


def extrapolated(real: np.ndarray, fake: np.ndarray, points: int) -> float:
    """Return `frechet_infinity` of rows in random order; smaller sets are their first rows."""
    shares = np.linspace(0.5, 1, points)
    values = [
        frechet_of_moments(
            moments(real[: round(share * len(real))]), moments(fake[: round(share * len(fake))])
        )
        for share in shares
    ]
    return float(np.polynomial.polynomial.polyfit(1 / shares, values, 1)[0])


def bootstrap_interval(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subjects: Sequence[str] | np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the Fréchet distance.

    Efron 1979. Rows are drawn again as weights, whole subjects on the real side, and the rows'
    common span is found once, so that a resample costs a decomposition of at most d or n + m
    columns. A resample holds about 63 % of the rows, some twice, so it lies above the value as a
    smaller set does (`frechet_distance`); the quantiles are therefore moved to have the value as
    their mean. Where n is not far above d the interval is still about twice as wide as another
    draw of all rows would move the value. The jackknife of `compare` is a third too wide there:
    prefer that.

    Args:
        real: Features of real pictures, (n, d) float.
        fake: Features of generated pictures, (m, d) float.
        subjects: Who is on each real picture, (n,); None counts every picture as a person.
        resamples: How many.
        seed: Which resamples.

    Returns:
        Ends of the interval, ≥ 0, in squared feature units.

    Raises:
        ValueError: If a set has fewer than 2 rows or people, a value is not finite, or the widths
            differ.
    """
    real, fake = checked_pair(real, fake, least=2)
    names, codes = np.unique(checked_people(subjects, len(real)), return_inverse=True)
    if len(names) < 2:
        raise ValueError("all real rows are of one subject; a bootstrap draws among several")
    value = frechet_of_moments(moments(real), moments(fake))
    rows = np.concatenate([real, fake])
    if len(rows) < rows.shape[1]:
        # turned into their own span: distances stay, and so does all that follows
        rows = np.asarray(np.linalg.qr(rows.T, mode="r")).T
        real, fake = rows[: len(real)], rows[len(real) :]
    generator = np.random.default_rng([seed, len(real), len(fake)])

    def drawn(count: int) -> np.ndarray:
        while True:
            times = np.bincount(generator.integers(count, size=count), minlength=count)
            if np.count_nonzero(times) > 1:  # one row alone has no covariance
                return times

    values = np.array(
        [
            frechet_of_moments(
                moments(real, drawn(len(names))[codes]), moments(fake, drawn(len(fake)))
            )
            for _ in range(resamples)
        ]
    )
    low, high = np.quantile(values, [0.025, 0.975]) - values.mean() + value
    return max(float(low), 0.0), max(float(high), 0.0)


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the unbiased squared kernel distance (KID) between two feature sets.

    Bińkowski et al. 2018, eq. 4 (arXiv:1801.01401): squared maximum mean discrepancy under
    k(x, y) = (xᵀy / d + 1)³, over all pairs. Its expectation does not depend on n.

    Args:
        real: Features of real pictures, (n, d) float.
        fake: Features of generated pictures, (m, d) float.

    Returns:
        The estimate; around 0, and also below it, for equal distributions.

    Raises:
        ValueError: If a set has fewer than 2 rows, a value is not finite, or the widths differ.
    """
    real, fake = checked_pair(real, fake, least=2)
    width = real.shape[1]
    within = [_off_diagonal_mean(cubic(rows @ rows.T, width)) for rows in (real, fake)]
    return float(sum(within) - 2 * cubic(real @ fake.T, width).mean())


def moments(rows: np.ndarray, times: np.ndarray | None = None) -> Moments:
    """Return the mean (d,) and a factor F of the covariance FᵀF with at most d rows.

    Args:
        rows: (n, d) float.
        times: How often each row counts, (n,); None for once.
    """
    if times is None:
        mean, factor = _centred(rows)
    else:
        rows, times = rows[times > 0], times[times > 0].astype(np.float64)
        mean = times @ rows / times.sum()
        factor = (rows - mean) * np.sqrt(times / (times.sum() - 1))[:, None]
    if len(rows) > rows.shape[1]:
        factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return mean, factor


def _centred(rows: np.ndarray) -> Moments:
    mean = rows.mean(axis=0, dtype=np.float64)
    factor = rows - mean
    factor /= np.sqrt(len(rows) - 1)
    return mean, factor


def frechet_of_moments(real: Moments, fake: Moments) -> float:
    """Return the distance of two sets from what `moments` made of them."""
    (mean_real, factor_real), (mean_fake, factor_fake) = real, fake
    shared = np.linalg.svd(factor_real @ factor_fake.T, compute_uv=False).sum()
    traces = np.vdot(factor_real, factor_real) + np.vdot(factor_fake, factor_fake)
    distance = ((mean_real - mean_fake) ** 2).sum() + traces - 2 * shared
    return float(max(distance, 0.0))  # rounding can leave −1e-15 for equal sets


def cubic(products: np.ndarray, width: int) -> np.ndarray:
    """Return the kernel of inner products of rows of `width` features."""
    base = products / width + 1
    return base * base * base  # numpy's ** 3 is thirty times slower


def _off_diagonal_mean(square: np.ndarray) -> float:
    n = len(square)
    return float((square.sum() - np.trace(square)) / (n * (n - 1)))
