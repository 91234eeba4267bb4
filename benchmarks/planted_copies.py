"""Do the gates refuse training faces in disguise, and of new people few others?

    OMP_NUM_THREADS=1 python benchmarks/planted_copies.py [--photos] [--repeats 10]

The trial of ``tests/test_planted_copies.py``, with seeds that it does not use: 20 training faces,
plain, mirrored, compressed, shifted, relit or zoomed, among 180 faces of people who are not in the
training set, judged by the default gates but the classifier's. Puppets of all three styles are
other people in each repeat, none of whom any default was chosen on. The photographs beside the
repository, with ``--photos``, are parted by subject anew in each repeat; their people are few, and
every one has been looked at before.
"""

import argparse
import importlib.util
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.corpus import content_id
from curation.gates import wilson_interval
from curation.puppets import STYLES, render

TRIAL = Path(__file__).parents[1] / "tests" / "test_planted_copies.py"
DISGUISES = ("plain", "mirrored", "JPEG", "shifted", "relit", "zoomed")
EMOTIONS = ("happy", "sad", "surprise")
PEOPLE = 120  # in each repeat; half of them are trained on
FIRST_SEED = 9000
Material = tuple[np.ndarray, np.ndarray, np.ndarray]


def trial() -> Any:
    """Return the test that the numbers are of."""
    spec = importlib.util.spec_from_file_location("planted_copies_trial", TRIAL)
    assert spec, TRIAL
    assert spec.loader, TRIAL
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def puppets(style: str, seed: int) -> Material:
    """Return faces (N, 64, 64, 3) uint8 RGB as the test crops them, emotions and people (N,)."""
    rows = [
        (
            cv2.resize(face[12:56, 10:54], (64, 64), interpolation=cv2.INTER_AREA),
            emotion,
            f"{style} {seed} {who}",
        )
        for who in range(1, PEOPLE + 1)
        for emotion in EMOTIONS
        for face in [render(style, who, 1, emotion, size=64, seed=seed)]
    ]
    pictures, named, people = zip(*rows, strict=True)
    return np.stack(pictures), np.array(named), np.array(people)


def report(title: str, materials: Iterator[Material], judged: Callable[..., Any]) -> None:
    """Print what share of copies is caught, and of honest faces lost, each with an interval."""
    caught: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    by_repeat = []
    honest, everybody = 0, set()
    for repeat, (pictures, named, people) in enumerate(materials):
        with tempfile.TemporaryDirectory() as place:
            facts = judged(Path(place), pictures, named, people, FIRST_SEED + repeat)
        copies = facts[facts["source"] == "copy"].reset_index(drop=True)
        for number, kept in enumerate(copies["keep"]):
            planted[DISGUISES[number % len(DISGUISES)]] += 1
            caught[DISGUISES[number % len(DISGUISES)]] += not kept
        others = facts[facts["source"] == "honest"]
        who = {content_id(picture): name for picture, name in zip(pictures, people, strict=True)}
        everybody |= {who[name] for name in others["id"]}
        refused = others[~others["keep"].astype(bool)]
        honest += len(others)
        lost.update(who[name] for name in refused["id"])
        reasons.update(reason.split(":")[0] for reason in refused["reason"])
        by_repeat.append(len(refused) / len(others))
    print(title)
    print(f"  copies caught: {share(caught.total(), planted.total(), planted.total())}")
    print("    " + ", ".join(f"{kind} {caught[kind]} of {planted[kind]}" for kind in DISGUISES))
    # faces of one person fall together, so that people are what is counted for the interval
    print(f"  honest faces lost: {share(lost.total(), honest, len(everybody))}")
    print(f"    {len(everybody)} people, {len(lost)} of them lose a face; by gate {dict(reasons)}")
    print(f"    by repeat {', '.join(f'{value:.1%}' for value in by_repeat)}")


def share(hits: int, n: int, counted: int) -> str:
    """Write a share with the 95 % Wilson interval of `counted` independent trials."""
    low, high = wilson_interval(round(hits / n * counted), counted) or (0.0, 1.0)
    return f"{hits} of {n}, {hits / n:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Print the shares of each kind of face."""
    parser = argparse.ArgumentParser(description="Plant copies of new people among honest faces.")
    parser.add_argument("--photos", action="store_true", help="the photographs, too")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--styles", nargs="*", default=STYLES, choices=STYLES)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    cv2.setNumThreads(1)
    test, repeats = trial(), range(arguments.repeats)
    for style in arguments.styles:
        materials = (puppets(style, FIRST_SEED + repeat) for repeat in repeats)
        report(f"puppets, {style}, {PEOPLE} new people a repeat", materials, test.judged)
    if arguments.photos:
        with tempfile.TemporaryDirectory() as place:
            material = test.photographs(Path(place))
        report("photographs, parted anew", (material for _ in repeats), test.judged)


if __name__ == "__main__":
    main()
