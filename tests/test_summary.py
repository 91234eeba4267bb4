import json
import math

import numpy as np
import pandas as pd
import pytest

from classifiers.predictions import CELL
from classifiers.summary import confusion_of, results_of, summarise

EMOTIONS = ("happy", "sad", "angry")
GAN = {"gan": "geometric"}


def cell(hits, people, **changes):
    """Predictions of one cell: hits are 0 or 1 a picture, wrong ones name the next emotion."""
    count = len(hits)
    facts = {"fold": None, "split": "external", "part": 0, "backbone": "small", "arm": "gan"}
    facts |= {"seed": 0, "database": "lab", "origin": "real", "confidence": 0.9, **changes}
    truth = np.arange(count) % len(EMOTIONS)
    said = np.where(np.asarray(hits, bool), truth, (truth + 1) % len(EMOTIONS))
    table = pd.DataFrame({name: [value] * count for name, value in facts.items()})
    table["fold"] = table["fold"].astype("Int64")
    table["id"] = [
        f"{facts['database']}-{facts['fold']}-{facts['part']}-{at}" for at in range(count)
    ]
    table["subject"] = people
    table["emotion"] = np.array(EMOTIONS, object)[truth]
    table["predicted"] = np.array(EMOTIONS, object)[said]
    for code, name in enumerate(EMOTIONS):
        table[f"p_{name}"] = np.where(said == code, 0.9, np.where(truth == code, 0.07, 0.03))
    return table


def grid(hits_of, people, seeds=(0, 1, 2), arms=("geometric", "gan"), **changes):
    return pd.concat(
        [
            cell(hits_of(arm, seed), people, arm=arm, seed=seed, **changes)
            for arm in arms
            for seed in seeds
        ]
    )


def summary_of(*tables, references=GAN, **changes):
    found = summarise(pd.concat(tables), references, emotions=EMOTIONS, **changes)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


PEOPLE = [f"p{at // 6}" for at in range(120)]  # 20 people of 6 pictures


def drawn(share, *seed, count=120):
    return np.random.default_rng(list(seed)).random(count) < share


def clear(arm, seed):
    return drawn(0.9 if arm == "gan" else 0.5, seed, arm == "gan")


def test_figures_and_claims_of_one_database():
    found = summary_of(grid(clear, PEOPLE))
    reference, gan = found["figures"]
    assert (gan["split"], gan["backbone"], gan["database"], gan["arm"]) == (
        "external", "small", "lab", "gan",
    )  # fmt: skip
    assert (gan["images"], gan["subjects"], gan["folds"], gan["seeds"]) == (120, 20, 1, 3)
    shares = [clear("gan", seed).mean() for seed in range(3)]
    assert gan["accuracy"]["mean"] == pytest.approx(np.mean(shares))
    assert gan["accuracy"]["std"] == pytest.approx(np.std(shares, ddof=1))
    assert (
        gan["accuracy"]["both"]["low"] < gan["accuracy"]["mean"] < gan["accuracy"]["both"]["high"]
    )
    # the truth has 0.07 wherever it is not first, the third 0.03
    assert gan["top2"]["mean"] == 1
    assert gan["ece"]["mean"] == pytest.approx(np.mean(np.abs(np.array(shares) - 0.9)))
    assert np.sum(gan["confusion"]) == 360
    assert gan["per_subject"]["lowest"] <= gan["per_subject"]["median"] <= 1
    assert "against" not in reference
    claim = gan["against"]
    assert found["claims"] == [claim]
    assert claim["difference"] == pytest.approx(
        gan["accuracy"]["mean"] - reference["accuracy"]["mean"]
    )
    assert (claim["seeds"]["n"], claim["subjects"]["n"], claim["both"]["n"]) == (3, 20, 20)
    assert claim["verdict"] == "helps"
    assert claim["p_adjusted"] == claim["p"] < 0.05
    assert claim["both"]["low"] > 0
    assert claim["seeds_needed"] is None
    assert claim["effect_size"] > 1
    assert claim["mcnemar"]["gained"] > claim["mcnemar"]["lost"]
    assert set(claim["gain_per_emotion"]) == set(EMOTIONS)
    assert claim["gain_per_emotion"]["sad"]["p"] is None


def test_both_adds_the_spread_of_people_to_that_of_trainings():
    gained = np.random.default_rng(1).random(20) < 0.6  # persons that the arm gains as a whole

    def hits(arm, seed):
        return drawn(0.5, seed) | (np.repeat(gained, 6) & (arm == "gan"))

    claim = summary_of(grid(hits, PEOPLE))["claims"][0]
    widths = {name: claim[name]["high"] - claim[name]["low"] for name in ("seeds", "both")}
    assert widths["both"] > 1.5 * widths["seeds"]
    values = [claim[name]["value"] for name in ("seeds", "subjects")]
    assert values == pytest.approx([claim["both"]["value"]] * 2)


def test_verdicts_need_seeds_and_people():
    nobody, everybody = np.zeros(120), np.ones(120)
    one = np.arange(120) < 6

    def judge(arm, reference, seeds=3):
        table = grid(lambda name, _: arm if name == "gan" else reference, PEOPLE, range(seeds))
        return summary_of(table)["claims"][0]

    assert judge(everybody, nobody)["verdict"] == "helps"
    assert judge(nobody, everybody)["verdict"] == "hurts"
    # the same single person each time: certain over seeds, but not for other people
    lucky = judge(one, nobody)
    assert lucky["seeds"]["low"] > 0
    assert lucky["verdict"] == "no evidence"
    assert lucky["seeds_needed_reason"] == "more test people are needed, not more seeds"
    alone = judge(everybody, nobody, seeds=1)
    assert alone["both"]["low"] is None
    assert alone["p_adjusted"] is None
    assert alone["verdict"] == "no evidence"
    assert alone["seeds_needed_reason"] == "at least 2 seeds are needed for any interval"


def test_a_gain_that_wavers_between_trainings_asks_for_seeds():
    def wavering(arm, seed):
        return drawn(0.5 + (arm == "gan") * (0.05, 0.3, 0.2)[seed], 7)

    claim = summary_of(grid(wavering, PEOPLE))["claims"][0]
    assert claim["verdict"] == "no evidence"
    assert 0 < claim["seeds_needed"] < 30
    assert claim["seeds_needed_reason"] == ""


def test_verdicts_are_corrected_for_the_number_of_claims():
    def hits(arm, seed):
        return drawn(0.72 if arm == "gan" else 0.5, seed, len(arm))

    alone = summary_of(grid(hits, PEOPLE))["claims"][0]
    arms = ("geometric", "gan", *(f"null{number}" for number in range(9)))
    references = dict.fromkeys(arms[1:], "geometric")
    many = summary_of(grid(hits, PEOPLE, arms=arms), references=references)["claims"]
    assert len(many) == 10
    assert alone["verdict"] == "helps"
    gan = many[0]
    assert gan["p"] == pytest.approx(alone["p"])
    assert gan["p_adjusted"] == pytest.approx(10 * alone["p"])
    assert (gan["verdict"] == "helps") == (10 * alone["p"] <= 0.05)


def test_folds_are_pooled_within_a_seed_and_not_counted_as_runs():
    tables = []
    for fold, (count, share) in enumerate([(10, 0.5), (30, 0.9)]):
        hits = np.arange(count) < share * count
        people = [f"p{fold}-{index % 5}" for index in range(count)]
        worse = hits & (hits.cumsum() > 1)
        tables.append(
            grid(lambda arm, _, a=hits, b=worse: a if arm == "gan" else b, people, fold=fold)
        )
    reference, gan = summary_of(*tables)["figures"]
    assert gan["accuracy"]["mean"] == pytest.approx((5 + 27) / 40)
    assert (gan["images"], gan["subjects"], gan["folds"], gan["seeds"]) == (40, 10, 2, 3)
    assert reference["accuracy"]["mean"] == pytest.approx((4 + 26) / 40)
    assert gan["against"]["seeds"]["n"] == 3
    assert gan["against"]["both"]["n"] == 10
    assert gan["against"]["difference"] == pytest.approx(2 / 40)


def test_the_order_of_cells_and_pictures_does_not_matter():
    table = grid(clear, PEOPLE)
    shuffled = table.sample(frac=1, random_state=3)
    again = summary_of(shuffled)
    by_arm = {figure["arm"]: figure for figure in again["figures"]}
    assert [by_arm["geometric"], by_arm["gan"]] == summary_of(table)["figures"]


def test_backbones_are_claimed_for_each_and_for_their_mean():
    def hits(arm, seed, base):
        return drawn(base + 0.15 * (arm == "gan"), seed, len(arm), int(100 * base))

    tables = [
        grid(lambda arm, seed, b=base: hits(arm, seed, b), PEOPLE, backbone=name)
        for name, base in (("vgg", 0.5), ("resnet", 0.6), ("small", 0.4))
    ]
    found = summary_of(*tables)
    assert found["backbones"] == ["vgg", "resnet", "small"]
    assert [claim["backbone"] for claim in found["claims"]] == ["vgg", "resnet", "small", "all"]
    each, pooled = found["claims"][:3], found["claims"][3]
    assert pooled["difference"] == pytest.approx(np.mean([claim["difference"] for claim in each]))
    assert pooled["seeds"]["n"] == 3
    assert pooled["p"] < np.median([claim["p"] for claim in each])
    assert all(figure["backbone"] != "all" for figure in found["figures"])


def test_missing_cells_are_named_and_complete_seeds_go_on():
    table = grid(clear, PEOPLE, seeds=range(4))
    short = table[~((table["arm"] == "gan") & (table["seed"] == 2))]
    found = summary_of(short)
    assert found["missing"] == [
        {"fold": None, "split": "external", "part": 0, "backbone": "small", "arm": "gan", "seed": 2}
    ]
    reference, gan = found["figures"]
    assert (reference["seeds"], gan["seeds"], gan["against"]["seeds"]["n"]) == (4, 3, 3)
    kept = table[table["seed"] != 2]
    assert gan["against"]["difference"] == summary_of(kept)["claims"][0]["difference"]
    assert summary_of(table)["missing"] == []


def test_a_seed_that_lacks_a_fold_is_not_complete():
    tables = [grid(clear, PEOPLE, fold=fold) for fold in (0, 1)]
    table = pd.concat(tables)
    gone = (table["arm"] == "gan") & (table["seed"] == 1) & (table["fold"] == 1)
    found = summary_of(table[~gone])
    assert [entry["seed"] for entry in found["missing"]] == [1]
    assert found["claims"][0]["seeds"]["n"] == 2
    planned = pd.concat([tables[0], tables[1].assign(fold=pd.array([2] * 720, "Int64"))])
    with_plan = summarise(table, GAN, emotions=EMOTIONS, cells=planned[list(CELL)])
    assert {entry["fold"] for entry in with_plan["missing"]} == {2}
    assert len(with_plan["missing"]) == 6


def test_a_plan_says_what_was_trained_on_and_what_is_missing():
    plan = [
        {"fold": None, "split": "external", "part": 0, "backbone": "small", "arm": arm}
        | {"seed": seed, "train_rows": 100 + seed if arm == "gan" else None}
        for arm in ("geometric", "gan", "imported")
        for seed in range(3)
    ]
    found = summary_of(grid(clear, PEOPLE), cells=pd.DataFrame(plan))
    assert [figure["train_rows"] for figure in found["figures"]] == [None, 101]
    assert {(entry["arm"], entry["fold"]) for entry in found["missing"]} == {("imported", None)}
    assert len(found["missing"]) == 3


def test_leaky_splits_tell_real_from_all_and_claim_nothing():
    real = grid(clear, PEOPLE, split="by_picture")
    copies = grid(
        lambda arm, seed: np.ones(30), [None] * 30, split="by_picture", origin="gan", database=None
    )
    found = summary_of(real, copies)
    assert [(figure["database"], figure["images"]) for figure in found["figures"]] == [
        ("lab", 120), ("lab", 120), ("all", 150), ("all", 150),
    ]  # fmt: skip
    figures = {(figure["database"], figure["arm"]): figure for figure in found["figures"]}
    own, whole = (
        figures["lab", "gan"]["accuracy"]["mean"],
        figures["all", "gan"]["accuracy"]["mean"],
    )
    assert whole == pytest.approx((120 * own + 30) / 150)
    assert found["claims"] == []
    assert summary_of(real, leaky=["by_picture"])["claims"] == []
    assert len(summary_of(real)["claims"]) == 1


def test_generated_test_pictures_may_differ_between_arms():
    real = grid(clear, PEOPLE, split="by_picture")
    drawn_faces = [
        cell(np.ones(30 + 10 * (arm == "gan")), None, split="by_picture", origin="gan", arm=arm,
             seed=seed, database=f"drawn {arm}")
        for arm in ("geometric", "gan") for seed in range(3)
    ]  # fmt: skip
    found = summary_of(real, *drawn_faces)
    whole = {f["arm"]: f["images"] for f in found["figures"] if f["database"] == "all"}
    assert whole == {"geometric": 150, "gan": 160}
    assert {f["images"] for f in found["figures"] if f["database"] == "lab"} == {120}


def test_an_arm_without_a_part_has_no_figure_and_no_claim():
    table = pd.concat([grid(clear, PEOPLE, part=part) for part in (0, 1)])
    short = table[(table["arm"] != "gan") | (table["part"] == 0)]
    found = summary_of(short)
    assert [figure["arm"] for figure in found["figures"]] == ["geometric"]
    assert found["claims"] == []
    assert {entry["part"] for entry in found["missing"]} == {1}


def test_databases_have_claims_of_their_own_and_a_common_figure():
    tables = [grid(clear, PEOPLE, database=name) for name in ("lab", "ten")]
    found = summary_of(*tables)
    assert [claim["database"] for claim in found["claims"]] == ["lab", "ten"]
    assert [f["database"] for f in found["figures"] if f["arm"] == "gan"] == ["lab", "ten", "all"]


def test_cells_on_different_pictures_and_a_wrong_reference_are_refused():
    table = grid(clear, PEOPLE)
    odd = table[~((table["arm"] == "gan") & (table["seed"] == 1) & (table["id"] == "lab-None-0-7"))]
    with pytest.raises(ValueError, match=r"small/gan/1 of split 'external' .*120 and 119"):
        summary_of(odd)
    with pytest.raises(ValueError, match=r"compared with 'none', which is no arm .*geometric, gan"):
        summary_of(table, references={"gan": "none"})
    with pytest.raises(ValueError, match="lack the columns origin, p_sad"):
        summary_of(table.drop(columns=["origin", "p_sad"]))
    with pytest.raises(ValueError, match="holds 'bored', none of happy, sad, angry"):
        summary_of(table.assign(predicted="bored"))


def test_people_that_are_not_known_are_somebody_each():
    found = summary_of(grid(clear, [None] * 120))
    assert found["figures"][0]["subjects"] == 120
    assert found["figures"][0]["per_subject"] is None


def test_results_have_a_row_for_each_cell_and_database():
    table = pd.concat([grid(clear, PEOPLE, database=name) for name in ("lab", "ten")])
    table["cell"] = table["arm"] + table["seed"].astype(str)
    facts = {
        name: {
            "steps": 12,
            "trained_parameters": [5, 9],
            "prefix": [{"cached": True}],
            "seconds": 1,
        }
        for name in table["cell"].unique()
    }
    found = results_of(table, facts, EMOTIONS)
    assert len(found) == 6 * 3
    assert list(found["database"].unique()) == ["lab", "ten", "all"]
    row = found.query("arm == 'gan' and seed == 1 and database == 'ten'").iloc[0]
    assert row["top1"] == clear("gan", 1).mean()
    assert (row["n"], row["subjects"], row["top2"], row["steps"]) == (120, 20, 1, 12)
    assert (row["trained_parameters"], row["prefix_cached"], row["cell"]) == (9, True, "gan1")
    assert row["ece"] == pytest.approx(abs(row["top1"] - 0.9))
    assert row["recall"] == pytest.approx(row["balanced_accuracy"])
    assert math.isfinite(row["precision"])
    assert pd.isna(row["fold"])
    with pytest.raises(ValueError, match="no facts of the cell gan2"):
        results_of(table, {name: facts[name] for name in facts if name != "gan2"}, EMOTIONS)


def test_confusion_of_a_table():
    table = cell([1, 1, 0], ["a"] * 3)
    assert confusion_of(table, EMOTIONS).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
