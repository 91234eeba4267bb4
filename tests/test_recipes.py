import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from curation.corpus import EMOTIONS, Corpus, content_id, write_corpus
from curation.recipes import Part, Recipe, trainable

CONF = Path(__file__).parents[1] / "conf"


def facts(*blocks):
    """Facts of a made-up corpus: (origin, rows, other columns) each, emotions in turn."""
    rows = []
    for block, (origin, count, more) in enumerate(blocks):
        for index in range(count):
            row = {
                "id": hashlib.sha256(f"{block} {origin} {index}".encode()).hexdigest()[:20],
                "emotion": EMOTIONS[index % len(EMOTIONS)],
                "split": "train",
                "origin": origin,
                "keep": None,
                "parent": None,
                "agreement": np.nan,
                "database": "studio",
            }
            rows.append(row | {key: v(index) if callable(v) else v for key, v in more.items()})
    frame = pd.DataFrame(rows)
    frame["keep"] = frame["keep"].astype("boolean")
    return frame


def passing(index):
    return index % 5 != 0  # a fifth is turned down


def agreement(index):
    return (index * 7919 % 1000) / 1000


KDEF = facts(
    ("real", 980, {}),
    ("geometric", 4900, {}),
    ("real", 902, {"split": "test", "database": "ckplus"}),
    ("real", 213, {"split": "test", "database": "jaffe"}),
    ("gan", 30, {"keep": True}),  # a corpus that carries generated faces along feeds them to nobody
)
DRAWN = facts(
    ("gan", 1050, {"keep": True, "agreement": agreement}),
    ("imported", 980, {"keep": True, "agreement": agreement}),
)
JUDGED = facts(("gan", 1050, {"keep": passing, "agreement": agreement}))


def preset(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(f"recipe/{name}", overrides=["+seed=0", *overrides])
    return instantiate(cfg.recipe, _convert_="all")


def taken(recipe, corpus=KDEF, synthetic=DRAWN, emotions=EMOTIONS):
    chosen = recipe.choose(corpus, synthetic, emotions)
    return pd.concat([corpus[chosen.corpus], synthetic[chosen.synthetic]], ignore_index=True)


def ids(recipe, **kwargs):
    return set(taken(recipe, **kwargs)["id"])


@pytest.mark.parametrize(
    ("name", "total", "parts"),
    [
        ("original", 980, {"real": 980}),
        ("geometric", 5880, {"real": 980, "geometric": 4900}),
        ("imported", 6860, {"real": 980, "geometric": 4900, "imported": 980}),
        ("gan", 6930, {"real": 980, "geometric": 4900, "gan": 1050}),
        ("imported_gan", 7910, {"real": 980, "geometric": 4900, "gan": 1050, "imported": 980}),
        ("synthetic", 1050, {"gan": 1050}),
    ],
)
def test_presets_have_the_counts_of_protocol_1(name, total, parts):
    rows = taken(preset(name))
    assert len(rows) == total
    assert rows["origin"].value_counts().to_dict() == parts
    assert set(rows["database"]) == {"studio"}
    assert set(rows["split"]) == {"train"}


@pytest.mark.parametrize("with_real", [True, False])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 2.0, 5.0])
def test_ratios_count_real_faces_and_balance_the_emotions(ratio, with_real):
    many = facts(("gan", 4900, {"keep": True}))
    parts = {"gan": Part(ratio=ratio), **({"real": Part()} if with_real else {})}
    rows = taken(Recipe(parts), synthetic=many)
    made = rows[rows["origin"] == "gan"]
    assert len(made) == round(980 * ratio)
    assert len(rows) == len(made) + 980 * with_real
    assert set(made["emotion"].value_counts()) == {980 * ratio / 7}


@pytest.mark.parametrize("order", ["random", "agreement"])
def test_a_smaller_part_is_among_a_larger_one(order):
    def of(**size):
        return ids(Recipe({"gan": Part(order=order, **size)}))

    previous = set()
    # numbers that emotions do not divide, too
    for count in (3, 7, 100, 101, 490, 980, 1050):
        chosen = of(count=count)
        assert len(chosen) == count
        assert previous < chosen
        previous = chosen
    assert of(ratio=0.5) == of(count=490)
    assert of(count=1050) == ids(Recipe({"gan": Part()}))


def test_order_by_score_takes_the_largest_of_each_emotion():
    rows = taken(Recipe({"gan": Part(count=70, order="agreement")}))
    drawn = DRAWN[DRAWN["origin"] == "gan"]
    for emotion in EMOTIONS:
        best = drawn[drawn["emotion"] == emotion]["agreement"].nlargest(10)
        assert sorted(rows[rows["emotion"] == emotion]["agreement"]) == sorted(best)


def test_random_order_is_the_seed_s_and_ignores_where_rows_stand():
    part = {"gan": Part(count=210)}
    first = ids(Recipe(part))
    assert first == ids(Recipe(part), synthetic=DRAWN.sample(frac=1, random_state=3))
    others = ids(Recipe(part, seed=1))
    # two independent fifths of 1,050 share a fifth of a fifth
    assert 20 < len(first & others) < 65
    further = pd.concat([DRAWN, facts(("real", 5, {}), ("gan", 700, {"keep": True})).iloc[5:]])
    # more faces to choose from displace some, and reshuffle nobody
    assert len(first & ids(Recipe(part), synthetic=further)) > 210 * 0.5


def test_no_gate_takes_all_that_was_drawn():
    rows = taken(preset("no_gate"), synthetic=JUDGED)
    assert (rows["origin"] == "gan").sum() == 1050
    assert not preset("no_gate").gated


def test_random_drop_takes_as_many_of_each_emotion_as_passed():
    uneven = JUDGED.copy()
    uneven.loc[uneven["emotion"] == "sad", "keep"] = [index < 20 for index in range(150)]
    gated, dropped = (taken(preset(name), synthetic=uneven) for name in ("gan", "random_drop"))
    gated, dropped = (rows[rows["origin"] == "gan"] for rows in (gated, dropped))
    assert gated["emotion"].value_counts().to_dict() == dropped["emotion"].value_counts().to_dict()
    assert (dropped["emotion"] == "sad").sum() == 20
    # by lot, so that a fifth of those of the other emotions were turned down by the gates
    others = dropped[dropped["emotion"] != "sad"]
    assert 0.13 < 1 - others["keep"].mean() < 0.27
    assert not preset("random_drop").gated
    assert preset("gan").gated


def test_a_face_that_no_gate_judged_has_not_passed():
    unjudged = facts(("gan", 70, {}), ("imported", 70, {"keep": False}))
    assert not ids(preset("imported_gan"), synthetic=unjudged) & set(unjudged["id"])
    real = facts(("real", 14, {}), ("real", 7, {"keep": False}))
    assert ids(preset("original"), corpus=real) == set(real["id"][:14])


def test_copies_go_with_their_parents():
    real = facts(("real", 70, {}))
    copies = facts(("real", 70, {}), ("geometric", 140, {"parent": lambda i: real["id"][i % 70]}))
    recipe = Recipe({"real": Part(ratio=0.5), "geometric": Part()})
    rows = taken(recipe, corpus=copies)
    assert (rows["origin"] == "real").sum() == 35
    kept = set(rows.loc[rows["origin"] == "real", "id"])
    assert set(rows.loc[rows["origin"] == "geometric", "parent"]) == kept
    assert len(rows) == 3 * 35


def test_shortage_is_told_in_numbers_or_taken_and_reported(caplog):
    few = facts(("gan", 700, {"keep": lambda index: index % 7 != 5 or index < 280}))  # 40 sad
    parts = {"gan": Part(ratio=0.5)}
    with pytest.raises(
        ValueError,
        match=r"arm 'half' asks for 490 faces of origin gan \(0.5 × 980 real ones\); 30 are not "
        r"there: 30 of sad\. Draw more \(per_emotion\).*shortage: take_all",
    ):
        Recipe(parts).choose(KDEF, few, EMOTIONS, label="arm 'half'")
    recipe = Recipe(parts, shortage="take_all")
    with caplog.at_level(logging.WARNING):
        chosen = recipe.choose(KDEF, few, EMOTIONS, label="arm 'half'")
    assert len(chosen) == 460
    assert chosen.short == {"gan": {"sad": 30}}
    assert "30 of sad; it takes all there are" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe({}), "has the parts none"),
        (lambda: Recipe({"fake": Part()}), "has the parts fake; they are of real, geometric"),
        (lambda: Recipe({"gan": Part()}, shortage="maybe"), "shortage 'maybe'"),
        (lambda: Part(count=3, ratio=0.5), "count 3 and ratio 0.5; give one"),
        (lambda: Part(ratio=-1), "must be 0 or more"),
        (lambda: Part(gate="open"), "gate 'open' of a recipe is unknown"),
        (lambda: taken(Recipe({"gan": Part(count=7, order="beauty")})), "by 'beauty', which is no"),
        (
            lambda: taken(
                Recipe({"gan": Part(count=7, order="agreement")}),
                synthetic=facts(("gan", 9, {"keep": True})),
            ),
            "'agreement', which 9 of 9 faces lack",
        ),
    ],
)
def test_impossible_recipes_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_descriptions_say_what_is_in_it():
    assert preset("original").describe() == "real faces"
    assert preset("geometric").describe() == "real faces and their geometric copies"
    assert preset("gan").describe() == (
        "real faces, their geometric copies and the synthetic faces that passed the gates"
    )
    assert preset("synthetic").describe() == "the synthetic faces that passed the gates, alone"
    half = preset("synthetic", "+recipe.parts.gan.ratio=0.5", "+recipe.parts.gan.order=agreement")
    assert "0.5 for each real face, as many of each emotion" in half.describe()
    assert "by agreement, the largest first" in half.describe()


def test_ratios_are_arms_of_a_protocol():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=quickstart", "protocol=ratios"])
    arms = instantiate(cfg.protocol.arms, _convert_="all")
    assert cfg.protocol.reference in arms
    many = facts(("gan", 7 * 900, {"keep": passing}))
    sizes = {name: len(arm.choose(KDEF, many, EMOTIONS)) for name, arm in arms.items()}
    expected = {"025": 245, "05": 490, "1": 980, "2": 1960, "5": 4900}
    assert sizes == {
        "original": 980,
        **{f"with_{name}": 980 + count for name, count in expected.items()},
        **{f"alone_{name}": count for name, count in expected.items()},
        **{f"geometric_{name}": 980 + count for name, count in expected.items()},
        **{f"no_gate_{name}": 980 + count for name, count in expected.items()},
        **{f"random_drop_{name}": 980 + count for name, count in expected.items()},
    }
    # each arm with synthetic faces against as many of another kind
    for arm, reference in cfg.protocol.references.items():
        assert sizes[arm] == sizes[reference]


def test_candidates_hold_every_choice():
    recipe = Recipe({"real": Part(), "gan": Part(ratio=0.3, gate="random")})
    chosen = recipe.choose(KDEF, JUDGED, EMOTIONS)
    assert not recipe.whole
    assert (recipe.candidates(JUDGED, EMOTIONS) >= chosen.synthetic).all()
    whole = preset("gan")
    assert whole.whole
    chosen = whole.choose(KDEF, JUDGED, EMOTIONS)
    assert (whole.candidates(JUDGED, EMOTIONS) == chosen.synthetic).all()


def test_facts_of_a_stored_corpus_do(tmp_path):
    rows = [
        {
            "image": np.full((8, 8, 3), 10 * number + label, np.uint8),
            "emotion": emotion,
            "split": "test" if number == 3 else "train",
            "origin": "gan" if number == 2 else "real",
            "keep": True if number == 2 else None,
            "agreement": 0.5 if number == 2 else None,
        }
        for number in range(4)
        for label, emotion in enumerate(EMOTIONS)
    ]
    write_corpus(rows, tmp_path)
    stored = Corpus(tmp_path).facts
    assert trainable(stored, ["real"]).tolist() == [True] * 14 + [False] * 14
    recipe = Recipe({"real": Part(count=3), "gan": Part(count=2, order="agreement")})
    chosen = recipe.choose(stored, stored, ["happy", "sad"])
    # the odd one is of the first emotion
    assert stored.loc[chosen.corpus, "emotion"].tolist() == ["happy", "sad", "happy"]
    assert chosen.corpus.dtype == bool
    assert stored.loc[chosen.synthetic, "id"].tolist() == [
        content_id(row["image"])
        for row in rows
        if row["origin"] == "gan" and row["emotion"] in ("happy", "sad")
    ]
