"""Verdicts where the truth is known: ``python benchmarks/planted_truths.py [repetitions]``.

What the benchmark takes for synthetic faces is planted: real faces of further people (must help),
the same with their labels dealt anew (must not), copies of the training faces (must not). Each
repetition draws people whom no other has, trains the small network on each arm with seeds of its
own, and lets the summary judge. A verdict that contradicts the planted truth is wrong; so is "no
evidence" for the further people.
"""

import sys
import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from classifiers.finetune import fit
from classifiers.networks import small_cnn
from classifiers.summary import summarise
from classifiers.training import Phase, Training
from curation.corpus import EMOTIONS
from curation.puppets import render

REPETITIONS, SEEDS, STEPS, SIDE = 5, 5, 120, 32
TRAINED, FURTHER, TESTED = 8, 32, 40  # people
TRUTHS = {
    "further people": ("helps",),
    "labels dealt anew": ("hurts", "no evidence"),
    "copies": ("no evidence",),
}


def faces(people: range, seed: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N, 3, H, W) uint8 pictures, (N,) codes of emotions and (N,) people."""
    rows = [(who, code) for who in people for code in range(len(EMOTIONS))]
    pictures = [
        render("studio", who, 1, EMOTIONS[code], size=side, difficulty=0.6, seed=seed)
        for who, code in rows
    ]
    codes, names = np.array([code for _, code in rows]), np.array([who for who, _ in rows])
    return np.stack(pictures).transpose(0, 3, 1, 2), codes, names


def plant(
    repetition: int,
    *,
    seeds: int = SEEDS,
    steps: int = STEPS,
    side: int = SIDE,
    people: tuple[int, int, int] = (TRAINED, FURTHER, TESTED),
) -> dict[str, Any]:
    """Train and judge one repetition.

    Args:
        repetition: Which people and which seeds; no two have any in common.
        seeds: Trainings of each arm.
        steps: Optimiser steps of each.
        side: Pixels.
        people: How many are trained on, are planted, and are tested on.

    Returns:
        The summary (`classifiers.summary.summarise`); its arms are ``real`` and those of `TRUTHS`.
    """
    trained, further, _ = people
    images, labels, who = faces(range(1, sum(people) + 1), 1000 + repetition, side)
    generator = np.random.default_rng([repetition])
    own = np.flatnonzero(who <= trained)
    more = np.flatnonzero((who > trained) & (who <= trained + further))
    test = np.flatnonzero(who > trained + further)
    dealt = labels.copy()
    dealt[more] = generator.permutation(labels[more])
    arms = {
        "real": (labels, own),
        "further people": (labels, np.r_[own, more]),
        "labels dealt anew": (dealt, np.r_[own, more]),
        "copies": (labels, np.tile(own, 1 + further // trained)),
    }
    training = Training(
        phases={"train": Phase(steps, learning_rate=4e-3, weight_decay=0.05, warmup=0.2)},
        sampling="balanced",
        mirror=0.5,
        label_smoothing=0.05,
    )
    cells = []
    for seed in range(seeds * repetition, seeds * (repetition + 1)):
        for arm, (named, rows) in arms.items():
            fitted = fit(
                images,
                named,
                classes=len(EMOTIONS),
                network=partial(small_cnn, width=16),
                training=training,
                seed=seed,
                rows=rows,
                label=f"repetition {repetition}, {arm}, seed {seed}",
                accelerator="cpu",
            )
            cells.append(_cell(fitted.predict(images[test]), labels[test], who[test], arm, seed))
    references = dict.fromkeys(TRUTHS, "real")
    return summarise(pd.concat(cells, ignore_index=True), references)


def _cell(
    said: np.ndarray, truth: np.ndarray, who: np.ndarray, arm: str, seed: int
) -> pd.DataFrame:
    names = np.array(EMOTIONS, object)
    table = pd.DataFrame({"id": [f"{at}" for at in range(len(truth))], "subject": who.astype(str)})
    table = table.assign(
        fold=None,
        split="external",
        part=0,
        backbone="small_cnn",
        arm=arm,
        seed=seed,
        database="puppets_studio",
        origin="real",
        emotion=names[truth],
        predicted=names[said.argmax(1)],
        confidence=said.max(1),
    )
    return table.join(pd.DataFrame(said, columns=[f"p_{name}" for name in EMOTIONS]))


def main(repetitions: int) -> int:
    """Print a line a claim; return how many verdicts are wrong."""
    started, wrong = time.process_time(), 0
    print("| repetition | planted | with | without | gain, 95 % | p, Holm | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for repetition in range(repetitions):
        found = plant(repetition)
        accuracy = {entry["arm"]: entry["accuracy"]["mean"] for entry in found["figures"]}
        for claim in found["claims"]:
            right = claim["verdict"] in TRUTHS[claim["arm"]]
            wrong += not right
            low, high = (100 * claim["both"][end] for end in ("low", "high"))
            print(
                f"| {repetition} | {claim['arm']} | {100 * accuracy[claim['arm']]:.1f} "
                f"| {100 * accuracy['real']:.1f} "
                f"| {100 * claim['difference']:+.1f} ({low:+.1f} to {high:+.1f}) "
                f"| {claim['p_adjusted']:.2g} "
                f"| {claim['verdict']}{'' if right else ' (wrong)'} |",
                flush=True,
            )
    print(f"\n{wrong} wrong; {time.process_time() - started:.0f} processor seconds")
    return wrong


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS) > 0)
