"""Fréchet, kernel and nearest-neighbour fidelity between two sets of image features.

Everything here takes feature arrays, never pictures or models. The plain functions return bare
numbers, for a training loop; `compare` returns each number with its counts, its interval and its
floor, for anything that a person reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

# Below this count the Fréchet distance mostly measures its own bias (Chong & Forsyth 2020,
# arXiv:1911.07023; 2,048 is also the width of the features that it was defined on).
SMALL_SAMPLE = 2048
# the matrix of inner products over both sets is held in memory: 800 MB at twice this many rows
_MOST_ROWS = 5000
_BLOCKS = 10
_RANGES = {
    "frechet": (0.0, np.inf),
    "kernel": (-np.inf, np.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "density": (0.0, np.inf),
    "coverage": (0.0, 1.0),
}


@dataclass(frozen=True)
class Figure:
    """One fidelity number with what is needed to judge it.

    Attributes:
        value: The number over all rows.
        n_real: Real rows that it rests on.
        n_fake: Generated rows that it rests on.
        interval: 95 % jackknife interval, None with fewer than two blocks a side or too few rows
            to leave a block out. It tells how
            far another draw of subjects and samples would move the number, not its bias.
        floor: The same number between two halves of the real set, no subject in both: what a
            perfect generator would get. None where not asked for or too few rows.
        at_floor_n: The number of the generated set at the floor's counts, the one to hold
            against `floor`: several of these numbers depend on n.
        n_floor: Rows on each side of `floor` and `at_floor_n`.
        small_sample: True where the number is biased at this n: compare equal n only.
    """

    value: float
    n_real: int
    n_fake: int
    interval: tuple[float, float] | None
    floor: float | None = None
    at_floor_n: float | None = None
    n_floor: int = 0
    small_sample: bool = False


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
    real, fake = _checked(real, fake, least=2)
    return _frechet_of_moments(_moments(real), _moments(fake))


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
    real, fake = _checked(real, fake, least=2)
    width = real.shape[1]
    within = [_off_diagonal_mean(_cubic(rows @ rows.T, width)) for rows in (real, fake)]
    return float(sum(within) - 2 * _cubic(real @ fake.T, width).mean())


def precision_recall_density_coverage(
    real: np.ndarray, fake: np.ndarray, k: int = 5
) -> dict[str, float]:
    """Return how real the samples look and how much of the real set they reach.

    Precision and recall: Kynkäänniemi et al. 2019, eq. 1–2 (arXiv:1904.06991). Density and
    coverage: Naeem et al. 2020, eq. 4 (arXiv:2002.09797). A ball around each row reaches to
    its k-th neighbour within its own set. For two equal distributions density is about 1 and
    coverage about 1 − 2⁻ᵏ at equal counts.

    Args:
        real: Features of real pictures, (n, d) float.
        fake: Features of generated pictures, (m, d) float.
        k: Which neighbour bounds a ball, below both n and m.

    Returns:
        ``precision``, ``recall``, ``coverage`` in [0, 1] and ``density`` ≥ 0.

    Raises:
        ValueError: If a set has at most `k` rows, a value is not finite, or the widths differ.
    """
    if k < 1:
        raise ValueError(f"k={k}: the neighbour that bounds a ball is at least the first")
    real, fake = _checked(real, fake, least=k + 1)
    return _neighbour_figures(
        _radii(_squared_distances(real, real), k),
        _radii(_squared_distances(fake, fake), k),
        _squared_distances(real, fake),
        k,
    )


def compare(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subjects: Sequence[str] | np.ndarray | None = None,
    k: int = 5,
    splits: int = 5,
    seed: int = 0,
) -> dict[str, Figure]:
    """Measure a generated set against a real one, every number with interval and floor.

    Intervals come from a delete-a-block jackknife with up to 10 blocks a side, whole subjects to
    a block, since pictures of one person are no independent draws. Floors are means over
    several random cuts of the real set into two halves.

    Args:
        real: Features of real pictures, (n, d) float. Of more than 5,000 rows a random 5,000
            are used; the counts in the figures say so.
        fake: Features of generated pictures, (m, d) float, limited alike.
        subjects: Who is on each real picture, (n,); None counts every picture as a person.
        k: Which neighbour bounds a ball (`precision_recall_density_coverage`).
        splits: Cuts of the real set that a floor averages over; 0 for no floor.
        seed: Which random blocks and halves.

    Returns:
        ``frechet``, ``kernel``, ``precision``, ``recall``, ``density``, ``coverage``.

    Raises:
        ValueError: As the plain functions do, or if there is not one subject a real row.
    """
    real, fake = _checked(real, fake, least=k + 1)
    people = np.arange(len(real)) if subjects is None else np.asarray(subjects)
    if len(people) != len(real):
        raise ValueError(f"{len(people)} subjects were given for {len(real)} real rows")
    generator = np.random.default_rng([seed, len(real), len(fake)])
    if len(real) > _MOST_ROWS:
        drawn = generator.choice(len(real), _MOST_ROWS, replace=False)
        real, people = real[drawn], people[drawn]
    if len(fake) > _MOST_ROWS:
        fake = fake[generator.choice(len(fake), _MOST_ROWS, replace=False)]
    figures_of = _measurer(real, fake, k)

    all_real, all_fake = np.arange(len(real)), len(real) + np.arange(len(fake))
    values = figures_of(all_real, all_fake)
    rests = [_remainders(side, generator, least=k + 1) for side in (people, all_fake)]
    spread = [
        _deviations([figures_of(rest, all_fake) for rest in rests[0]]),
        _deviations([figures_of(all_real, all_fake[rest]) for rest in rests[1]]),
    ]
    floors: list[dict[str, float]] = []
    matched: list[dict[str, float]] = []
    size = 0
    for _ in range(splits):
        one, other = _halves(people, generator)
        size = min(len(one), len(other), len(fake))
        if size <= k:
            size = 0
            break
        one, other = one[:size], other[:size]
        drawn = generator.choice(all_fake, size, replace=False)
        floors.append(figures_of(one, other))
        matched.append(figures_of(one, drawn))

    found = {}
    for name, value in values.items():
        found[name] = Figure(
            value=value,
            n_real=len(real),
            n_fake=len(fake),
            interval=_interval(value, [side[name] for side in spread if side], _RANGES[name]),
            floor=float(np.mean([figures[name] for figures in floors])) if floors else None,
            at_floor_n=float(np.mean([figures[name] for figures in matched])) if matched else None,
            n_floor=size if floors else 0,
            small_sample=name == "frechet" and min(len(real), len(fake)) < SMALL_SAMPLE,
        )
    return found


def _checked(real: np.ndarray, fake: np.ndarray, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real has features of shape {real.shape}, fake of {fake.shape}; "
            "both must be (rows, d) from the same extractor"
        )
    for name, rows in (("real", real), ("fake", fake)):
        if len(rows) < least:
            raise ValueError(f"{name} has {len(rows)} rows; this figure needs {least}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} has features that are not finite; check the extractor")
    # third powers and differences of near-equal traces lose too many digits in float32
    return real.astype(np.float64), fake.astype(np.float64)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (d,) and a factor F of the covariance FᵀF with at most d rows."""
    mean = rows.mean(axis=0)
    factor = (rows - mean) / np.sqrt(len(rows) - 1)
    if len(rows) > rows.shape[1]:
        factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return mean, factor


def _frechet_of_moments(
    real: tuple[np.ndarray, np.ndarray], fake: tuple[np.ndarray, np.ndarray]
) -> float:
    (mean_real, factor_real), (mean_fake, factor_fake) = real, fake
    shared = np.linalg.svd(factor_real @ factor_fake.T, compute_uv=False).sum()
    traces = (factor_real**2).sum() + (factor_fake**2).sum()
    distance = ((mean_real - mean_fake) ** 2).sum() + traces - 2 * shared
    return float(max(distance, 0.0))  # rounding can leave −1e-15 for equal sets


def _cubic(products: np.ndarray, width: int) -> np.ndarray:
    base = products / width + 1
    return base * base * base  # numpy's ** 3 is thirty times slower


def _off_diagonal_mean(square: np.ndarray) -> float:
    n = len(square)
    return float((square.sum() - np.trace(square)) / (n * (n - 1)))


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    return squares - 2 * one @ other.T


def _radii(within: np.ndarray, k: int) -> np.ndarray:
    # a row is its own nearest neighbour, so place k of the sorted row is the k-th other one
    return np.partition(within, k, axis=1)[:, k]  # (n,) squared


def _neighbour_figures(
    radius_real: np.ndarray, radius_fake: np.ndarray, between: np.ndarray, k: int
) -> dict[str, float]:
    in_real_ball = between < radius_real[:, None]  # (n, m)
    in_fake_ball = between < radius_fake
    return {
        "precision": float(in_real_ball.any(axis=0).mean()),
        "recall": float(in_fake_ball.any(axis=1).mean()),
        "density": float(in_real_ball.sum() / (k * between.shape[1])),
        "coverage": float(in_real_ball.any(axis=1).mean()),
    }


def _measurer(
    real: np.ndarray, fake: np.ndarray, k: int
) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Return a function of two index sets over the stacked rows, real ones first.

    Inner products, and from them kernel values and distances, are computed once for all subsets.
    """
    rows = np.concatenate([real, fake])
    products = rows @ rows.T
    squares = products.diagonal()
    # only ranks among distances matter, and float32 is sorted twice as fast
    distances = (squares[:, None] + squares - 2 * products).astype(np.float32)
    kernel = _cubic(products, rows.shape[1])
    kernel_diagonal = kernel.diagonal()
    known: dict[bytes, tuple[tuple[np.ndarray, np.ndarray], np.ndarray]] = {}

    def facts_of(chosen: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        key = chosen.tobytes()
        if key in known:
            return known[key]
        facts = _moments(rows[chosen]), _radii(distances.take(chosen, 0).take(chosen, 1), k)
        # the first two are whole sides, which recur in every deletion from the other side
        if len(known) < 2:
            known[key] = facts
        return facts

    def kernel_of(one: np.ndarray, other: np.ndarray) -> float:
        # sums over blocks as products with 0/1 weights: no block of the matrix is copied
        weights = np.zeros((2, len(rows)))
        weights[0, one] = weights[1, other] = 1
        sums = weights @ kernel @ weights.T
        pairs = [len(side) * (len(side) - 1) for side in (one, other)]
        within = (sums.diagonal() - weights @ kernel_diagonal) / pairs
        return float(within.sum() - 2 * sums[0, 1] / (len(one) * len(other)))

    def figures_of(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
        (moments_one, radii_one), (moments_other, radii_other) = facts_of(one), facts_of(other)
        between = distances.take(one, 0).take(other, 1)
        return {
            "frechet": _frechet_of_moments(moments_one, moments_other),
            "kernel": kernel_of(one, other),
            **_neighbour_figures(radii_one, radii_other, between, k),
        }

    return figures_of


def _remainders(
    groups: np.ndarray, generator: np.random.Generator, *, least: int
) -> list[np.ndarray]:
    """Return, for each of up to 10 blocks of whole groups, the places of the other rows.

    Nothing if one of these has fewer than `least` rows, too few to measure anything with.
    """
    names = np.unique(groups)
    blocks = min(_BLOCKS, len(names))
    if blocks < 2:
        return []
    generator.shuffle(names)
    block_of = {name: index % blocks for index, name in enumerate(names.tolist())}
    blocks_of_rows = np.array([block_of[name] for name in groups.tolist()])
    rests = [np.flatnonzero(blocks_of_rows != block) for block in range(blocks)]
    return rests if min(map(len, rests)) >= least else []


def _halves(people: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of two random halves in random order, no person in both."""
    names, counts = np.unique(people, return_counts=True)
    order = generator.permutation(len(names))
    before = np.cumsum(counts[order]) - counts[order]
    first = np.isin(people, names[order[before < len(people) / 2]])
    one, other = np.flatnonzero(first), np.flatnonzero(~first)
    generator.shuffle(one)
    generator.shuffle(other)
    return one, other


def _deviations(left_out: list[dict[str, float]]) -> dict[str, np.ndarray]:
    if not left_out:
        return {}
    values = {name: np.array([figures[name] for figures in left_out]) for name in left_out[0]}
    return {name: value - value.mean() for name, value in values.items()}


def _interval(
    value: float, sides: list[np.ndarray], bounds: tuple[float, float]
) -> tuple[float, float] | None:
    if len(sides) < 2:
        return None
    # Efron & Stein 1981: the jackknife variance of a two-sample statistic is the sum of both sides
    variance = sum((len(side) - 1) / len(side) * (side**2).sum() for side in sides)
    half = stdtrit(min(len(side) for side in sides) - 1, 0.975) * np.sqrt(variance)
    low, high = np.clip([value - half, value + half], *bounds)
    return float(low), float(high)
