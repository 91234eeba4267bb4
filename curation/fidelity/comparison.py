"""Every figure of a generated set against a real one, with its counts, interval and floor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from curation.fidelity.checks import checked_pair, checked_people
from curation.fidelity.distances import (
    SMALL_SAMPLE,
    can_extrapolate,
    cubic,
    extrapolated,
    frechet_of_moments,
    moments,
)
from curation.fidelity.diversity import inception_score, vendi_of_directions

# the matrix of inner products over both sets is held in memory: 800 MB at twice this many rows
_MOST_ROWS = 5000
_BLOCKS = 10
_POINTS = 3  # of the line to infinitely many rows: as exact as 15, from which it differs by noise
_RANGES = {
    "frechet": (0.0, np.inf),
    "frechet_infinity": (-np.inf, np.inf),
    "kernel": (-np.inf, np.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "density": (0.0, np.inf),
    "coverage": (0.0, 1.0),
    "vendi": (1.0, np.inf),
    "classifier_score": (1.0, np.inf),
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


def compare(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subjects: Sequence[str] | np.ndarray | None = None,
    probabilities: tuple[np.ndarray, np.ndarray] | None = None,
    k: int = 5,
    splits: int = 5,
    seed: int = 0,
) -> dict[str, Figure]:
    """Measure a generated set against a real one, every number with interval and floor.

    Intervals come from a delete-a-block jackknife with up to 10 blocks a side, whole subjects to
    a block, since pictures of one person are no independent draws. (A bootstrap repeats rows, which
    moves and widens most of these numbers: `bootstrap_interval`.) Floors are means over several
    random cuts of the real set into two halves.

    Args:
        real: Features of real pictures, (n, d) float. Of more than 5,000 rows a random 5,000
            are used; the counts in the figures say so.
        fake: Features of generated pictures, (m, d) float, limited alike.
        subjects: Who is on each real picture, (n,); None counts every picture as a person.
        probabilities: Of a classifier on the real (n, C) and generated (m, C) pictures, for the
            classifier score; None leaves that out.
        k: Which neighbour bounds a ball (`precision_recall_density_coverage`).
        splits: Cuts of the real set that a floor averages over; 0 for no floor.
        seed: Which random blocks and halves.

    Returns:
        ``frechet``, ``kernel``, ``precision``, ``recall``, ``density``, ``coverage``; ``vendi``
        and, with `probabilities`, ``classifier_score``, which look at the generated set only (their
        floor at the real one); ``frechet_infinity`` where the rows suffice for it. No ``vendi``
        if a row is 0 throughout. The classifier score is the formula of `inception_score` on that
        classifier's answers: an Inception score only if it is Inception's.

    Raises:
        ValueError: As the plain functions do, or if there is not one subject a real row.
    """
    real, fake = checked_pair(real, fake, least=k + 1)
    people = checked_people(subjects, len(real))
    answers = _checked_answers(probabilities, len(real), len(fake))
    generator = np.random.default_rng([seed, len(real), len(fake)])
    if len(real) > _MOST_ROWS:
        drawn = generator.choice(len(real), _MOST_ROWS, replace=False)
        real, people = real[drawn], people[drawn]
        answers = None if answers is None else (answers[0][drawn], answers[1])
    if len(fake) > _MOST_ROWS:
        drawn = generator.choice(len(fake), _MOST_ROWS, replace=False)
        fake = fake[drawn]
        answers = None if answers is None else (answers[0], answers[1][drawn])
    # a random order in which people stay together; of its own generator, as it came later
    chance = np.random.default_rng([seed, len(real), len(fake), 1])
    names, codes = np.unique(people, return_inverse=True)
    rank = chance.permutation(len(names))[codes], chance.permutation(len(fake))
    figures_of = _measurer(real, fake, k, np.concatenate(rank), answers)

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
            interval=_interval(
                value, [side[name] for side in spread if name in side], _RANGES[name]
            ),
            floor=_mean(floors, name),
            at_floor_n=_mean(matched, name),
            n_floor=0 if _mean(floors, name) is None else size,
            small_sample=name == "frechet" and min(len(real), len(fake)) < SMALL_SAMPLE,
        )
    return found


def _checked_answers(
    probabilities: tuple[np.ndarray, np.ndarray] | None, n: int, m: int
) -> tuple[np.ndarray, np.ndarray] | None:
    if probabilities is not None and (counts := tuple(map(len, probabilities))) != (n, m):
        raise ValueError(
            f"{counts[0]} and {counts[1]} rows of probabilities were given for {n} real and {m} "
            "generated rows"
        )
    return probabilities


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
    real: np.ndarray,
    fake: np.ndarray,
    k: int,
    rank: np.ndarray,
    answers: tuple[np.ndarray, np.ndarray] | None,
) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Return a function of two index sets over the stacked rows, real ones first.

    Inner products, and from them kernel values and distances, are computed once for all subsets.
    """
    rows = np.concatenate([real, fake])
    products = rows @ rows.T
    squares = products.diagonal()
    # only ranks among distances matter, and float32 is sorted twice as fast
    distances = (squares[:, None] + squares - 2 * products).astype(np.float32)
    kernel = cubic(products, rows.shape[1])
    kernel_diagonal = kernel.diagonal()
    lengths = np.sqrt(squares)[:, None]
    directions = rows / lengths if lengths.all() else None  # a row of zeros has none
    stacked_answers = np.concatenate(answers or ([], []))
    known: dict[bytes, tuple[tuple[np.ndarray, np.ndarray], np.ndarray]] = {}

    def facts_of(chosen: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        key = chosen.tobytes()
        if key in known:
            return known[key]
        facts = moments(rows[chosen]), _radii(distances.take(chosen, 0).take(chosen, 1), k)
        # the first two are whole sides, which recur in every deletion from the other side
        if len(known) < 2:
            known[key] = facts
        return facts

    def alone_of(side: np.ndarray) -> dict[str, float]:
        found = {} if directions is None else {"vendi": vendi_of_directions(directions[side])}
        if answers is not None:
            found["classifier_score"] = inception_score(stacked_answers[side])
        return found

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
        found = {
            "frechet": frechet_of_moments(moments_one, moments_other),
            "kernel": kernel_of(one, other),
            **_neighbour_figures(radii_one, radii_other, between, k),
            **alone_of(other),
        }
        if can_extrapolate(len(one), len(other), rows.shape[1]):
            ordered = [rows[side[np.argsort(rank[side], kind="stable")]] for side in (one, other)]
            found["frechet_infinity"] = extrapolated(ordered[0], ordered[1], _POINTS)
        return found

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
    common = set.intersection(*map(set, left_out))
    values = {name: np.array([figures[name] for figures in left_out]) for name in common}
    return {name: value - value.mean() for name, value in values.items()}


def _mean(several: list[dict[str, float]], name: str) -> float | None:
    if not several or any(name not in figures for figures in several):
        return None
    return float(np.mean([figures[name] for figures in several]))


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
