"""How often verdicts are wrong: ``python benchmarks/verdicts.py [repetitions]``.

Benchmarks of two arms are drawn at random: recognisers that are right about 75 % of the pictures,
pictures of one person alike, trainings that differ, persons whom one arm suits better. Where both
arms are equally good every verdict is wrong; where one is eight points better it should be found.
Five rules judge the same draws. Then families of ten equal arms, of which none may be praised.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from classifiers.statistics import (
    Estimate,
    bootstrap_by_subject,
    crossed_bootstrap,
    holm,
    paired_difference,
    two_way,
)

REPETITIONS = 2000
LEVEL, GAIN, ACCURACY, FAMILY, RESAMPLES = 0.05, 0.08, 0.75, 10, 500
SEEDS, CLAIMS = (3, 5, 10), 30
UNEVEN = [3] * 5 + [8] * 3 + [20] * 2
PEOPLE = {  # pictures of each person
    "10 × 14": [14] * 10,
    "10, 3 to 20 each": UNEVEN,
    "30, 3 to 20 each": UNEVEN * 3,
    "70 × 14": [14] * 70,
    "300 × 1": [1] * 300,
}
# standard deviations, beside 1 of a picture's difficulty, of what an arm owes to the training, to
# the person and to both; 0.1 is some 2.5 points of accuracy
SPREADS = {
    "little": (0.05, 0.1, 0.1),
    "trainings": (0.2, 0.0, 0.1),
    "people": (0.0, 0.4, 0.1),
    "trainings and people": (0.2, 0.4, 0.2),
    "each training other people": (0.1, 0.2, 0.5),
}
PERSON, NOISE = 0.5, 0.3
Rule = Callable[[np.ndarray, np.ndarray], bool]


def answers(
    gains: list[float],
    seeds: int,
    pictures: np.ndarray,
    spread: tuple[float, ...],
    generator: np.random.Generator,
) -> np.ndarray:
    """Return (arms, S, N) booleans: which answers are right; each arm is `ACCURACY` plus a gain."""
    who = np.repeat(np.arange(len(pictures)), pictures)
    shape = (len(gains), seeds, len(who))
    of_training, of_person, of_both = spread
    whole = np.sqrt(1 + PERSON**2 + NOISE**2 + sum(each**2 for each in spread))
    ease = generator.normal(0, PERSON, len(pictures))[who] + generator.normal(size=len(who))
    own = generator.normal(0, NOISE, shape)
    own += generator.normal(0, of_training, (*shape[:2], 1))
    own += generator.normal(0, of_person, (shape[0], 1, len(pictures)))[..., who]
    own += generator.normal(0, of_both, (*shape[:2], len(pictures)))[..., who]
    level = stats.norm.ppf(ACCURACY + np.array(gains)) * whole
    return ease + own + level[:, None, None] > 0


def outside(interval: Estimate) -> bool:
    """Say whether an interval leaves out 0."""
    return interval.low > 0 or interval.high < 0


def one_way(gain: np.ndarray, who: np.ndarray) -> bool:
    """Student's t over trainings and the bootstrap over people both leave out 0."""
    runs, still = gain.mean(1), np.zeros(len(gain))
    mean = gain.mean(0)
    return outside(paired_difference(runs, still)) and outside(
        bootstrap_by_subject(mean, np.zeros(len(mean)), who, RESAMPLES)
    )


def pigeonhole(gain: np.ndarray, who: np.ndarray) -> bool:
    """The crossed bootstrap's percentiles."""
    return outside(crossed_bootstrap(gain, who, RESAMPLES))


def widened(gain: np.ndarray, who: np.ndarray) -> bool:
    """The same, widened for the fewer of trainings and people."""
    found = crossed_bootstrap(gain, who, RESAMPLES)
    few = min(len(gain), found.n)
    factor = stats.t.isf(LEVEL / 2, few - 1) / stats.norm.isf(LEVEL / 2) * np.sqrt(few / (few - 1))
    low, high = ((bound - found.value) * factor for bound in (found.low, found.high))
    return found.value + low > 0 or found.value + high < 0


def satterthwaite(gain: np.ndarray, who: np.ndarray) -> bool:
    """One t with Satterthwaite's degrees of freedom for the sum of both variances."""
    found = two_way(gain, who)
    total = found.seed_variance + found.subject_variance
    if total == 0:
        return found.value != 0
    parts = found.seed_variance**2 / (found.seeds - 1)
    parts += found.subject_variance**2 / found.subject_degrees
    return bool(abs(found.value) > stats.t.isf(LEVEL / 2, total**2 / parts) * np.sqrt(total))


def two_ts(gain: np.ndarray, who: np.ndarray) -> bool:
    """Both variances, each with a t of its own: what the summary uses."""
    found = two_way(gain, who)
    return abs(found.value) > found.half_width(LEVEL)


RULES: dict[str, Rule] = {
    "both one-way": one_way,
    "crossed bootstrap": pigeonhole,
    "the same, widened": widened,
    "Satterthwaite": satterthwaite,
    "**two t's**": two_ts,
}


def judged(
    gain: float, repetitions: int, seeds: int, pictures: np.ndarray, spread: tuple[float, ...]
) -> np.ndarray:
    """Return the share of verdicts that each rule gives."""
    who = np.repeat(np.arange(len(pictures)), pictures).astype(str)
    found = np.zeros(len(RULES))
    for number in range(repetitions):
        generator = np.random.default_rng([number, seeds, len(who), round(1000 * gain)])
        arm, reference = answers([gain, 0.0], seeds, pictures, spread, generator).astype(float)
        found += [rule(arm - reference, who) for rule in RULES.values()]
    return found / repetitions


def families(repetitions: int) -> None:
    """Print how often any of ten equal arms has a verdict, plain and corrected."""
    pictures = np.array(PEOPLE["30, 3 to 20 each"])
    who = np.repeat(np.arange(len(pictures)), pictures).astype(str)
    for seeds in SEEDS:
        plain, corrected = 0, 0
        for number in range(repetitions):
            generator = np.random.default_rng([number, seeds])
            spread = list(SPREADS.values())[number % len(SPREADS)]
            arms = answers([0.0] * (FAMILY + 1), seeds, pictures, spread, generator).astype(float)
            p = np.array([two_way(arm - arms[0], who).p() for arm in arms[1:]])
            plain += bool((p <= LEVEL).any())
            corrected += bool((holm(p) <= LEVEL).any())
        print(
            f"| {seeds} | {plain / repetitions:.1%} | {corrected / repetitions:.1%} |", flush=True
        )


def pairing(draws: int = 400_000) -> None:
    """Print how much oftener than its level t over trainings is wrong, paired by seed and not."""
    generator = np.random.default_rng(0)
    for seeds in SEEDS:
        for ratio in (1, 10, 100):
            arm = generator.normal(size=(draws, seeds))
            other = generator.normal(0, np.sqrt(ratio), (draws, seeds))
            paired = stats.ttest_1samp(arm - other, 0, axis=1).pvalue
            welch = stats.ttest_ind(arm, other, axis=1, equal_var=False).pvalue
            cells = [
                f"{(p <= level).mean() / level:.2f}"
                for p in (paired, welch)
                for level in (LEVEL, LEVEL / CLAIMS)
            ]
            print(f"| {seeds} | {ratio} | " + " | ".join(cells) + " |", flush=True)


def main(repetitions: int) -> None:
    """Print the tables."""
    started = time.monotonic()
    print(f"{repetitions} draws of each of {len(SPREADS)} spreads, level {LEVEL:.0%}: the highest")
    print(f"share of false verdicts; and of a gain of {GAIN:.0%} found, mean of the spreads\n")
    print("| seeds | people | " + " | ".join(RULES) + " |")
    print("| --- | --- |" + " --- |" * len(RULES))
    for seeds in SEEDS:
        for name, counts in PEOPLE.items():
            pictures = np.array(counts)
            false, true = (
                np.array(
                    [judged(gain, count, seeds, pictures, spread) for spread in SPREADS.values()]
                )
                for gain, count in ((0.0, repetitions), (GAIN, repetitions // 4))
            )
            cells = [
                f"{100 * wrong:.1f}, {100 * right:.0f}"
                for wrong, right in zip(false.max(0), true.mean(0), strict=True)
            ]
            print(f"| {seeds} | {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nAny of {FAMILY} equal arms with a verdict, 30 people:\n")
    print("| seeds | plain | Holm |\n| --- | --- | --- |")
    families(repetitions)
    print("\nTrainings alone, one arm's variance a multiple of the other's: false verdicts by")
    print(f"those that are accepted, one claim and the first of {CLAIMS}\n")
    print("| seeds | multiple | paired | of many | Welch | of many |")
    print("| --- | --- | --- | --- | --- | --- |")
    pairing()
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS)
