import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classifiers.summary import summarise
from curation.corpus import EMOTIONS

# planted arm → gain in accuracy, and what may be said of it
TRUTHS = {
    "further people": (0.12, {"helps"}),
    "labels dealt anew": (-0.08, {"hurts", "no evidence"}),
    "copies": (0.0, {"no evidence"}),
}
NAMES = np.array(EMOTIONS, object)
PEOPLE, FACES, SEEDS = 30, 14, 5


def answers(repetition, *planted):
    """Predictions of arms of known worth: trainings waver, and each arm suits some people."""
    generator = np.random.default_rng([repetition, 77])
    who = np.repeat(np.arange(PEOPLE), FACES)
    truth = np.tile(np.arange(FACES) % len(EMOTIONS), PEOPLE)
    ease = generator.normal(0, 0.1, PEOPLE)[who] + generator.normal(0, 0.2, len(who))
    common = generator.normal(0, 0.04, PEOPLE)[who]
    tables = []
    for arm in ("real", *planted):
        gain = TRUTHS[arm][0] if arm in TRUTHS else 0.0
        # copies teach nothing about other people than what they copy
        suits = common if arm in ("real", "copies") else generator.normal(0, 0.04, PEOPLE)[who]
        for seed in range(SEEDS):
            share = 0.7 + gain + ease + suits + generator.normal(0, 0.01)
            right = generator.random(len(who)) < share
            said = np.where(right, truth, (truth + generator.integers(1, 7, len(who))) % 7)
            table = pd.DataFrame(0.05, np.arange(len(who)), [f"p_{name}" for name in EMOTIONS])
            table = table.where(said[:, None] != np.arange(7), 0.7)
            tables.append(
                table.assign(
                    fold=None, split="external", part=0, backbone="small", arm=arm, seed=seed,
                    database="lab", origin="real", id=np.arange(len(who)).astype(str),
                    subject=who.astype(str), emotion=NAMES[truth], predicted=NAMES[said],
                    confidence=0.7,
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_planted_truths_are_found_and_nothing_else():
    for repetition in range(5):
        table = answers(repetition, *TRUTHS)
        claims = summarise(table, dict.fromkeys(TRUTHS, "real"))["claims"]
        assert [claim["arm"] for claim in claims] == list(TRUTHS)
        for claim in claims:
            gain, allowed = TRUTHS[claim["arm"]]
            assert claim["verdict"] in allowed, (repetition, claim["arm"], claim["p_adjusted"])
            assert claim["both"]["low"] < gain + 0.03
            assert claim["both"]["high"] > gain - 0.03


def test_equal_arms_are_seldom_praised():
    wrong, count = 0, 60
    for repetition in range(count):
        table = answers(1000 + repetition, "as good")
        claim = summarise(table, {"as good": "real"}, resamples=50)["claims"][0]
        wrong += claim["verdict"] != "no evidence"
    # at 5 % more than 7 of 60 happens once in a hundred times
    assert wrong <= 7


@pytest.mark.slow
def test_trained_recognisers_tell_further_people_from_copies_and_wrong_labels():
    script = runpy.run_path(
        str(Path(__file__).parents[1] / "benchmarks" / "planted_truths.py"), run_name="planted"
    )
    found = script["plant"](0, steps=100, side=32, people=(6, 30, 30))
    verdicts = {claim["arm"]: claim["verdict"] for claim in found["claims"]}
    assert verdicts.keys() == script["TRUTHS"].keys()
    for arm, allowed in script["TRUTHS"].items():
        assert verdicts[arm] in allowed
