import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from classifiers import protocols
from classifiers.networks import small_cnn
from classifiers.protocols import benchmark, summarise
from classifiers.training import Phase, Training
from curation.corpus import write_corpus
from curation.recipes import Part, Recipe

EMOTIONS = ("happy", "sad")
TRAINING = Training(
    {"train": Phase(12, learning_rate=0.01, weight_decay=0.01, warmup=0.1)},
    batch_size=16,
    mirror=0.5,
)
ARMS = {
    name: Recipe(dict.fromkeys(origins, Part()))
    for name, origins in {
        "original": ["real"],
        "geometric": ["real", "geometric"],
        "gan": ["real", "geometric", "gan"],
        "synthetic": ["gan"],
    }.items()
}
NETWORK = partial(small_cnn, width=8, dropout=0.0)


def face(emotion, seed):
    """A bright bar above (happy) or below (sad) on noise: solvable within a few steps."""
    picture = np.random.default_rng([seed, len(emotion)]).integers(0, 90, (32, 32, 3))
    top = 4 if emotion == "happy" else 20
    picture[top : top + 8, 4:28] += 150
    return picture.astype(np.uint8)


def rows(split, database, people, origin="real", each=2, first=0, **more):
    return [
        {
            "image": face(emotion, first + 1000 * person + take),
            "emotion": emotion,
            "database": database,
            "subject": None if origin == "gan" else f"{database}/{person}",
            "split": split,
            "origin": origin,
            **more,
        }
        for person in range(people)
        for emotion in EMOTIONS
        for take in range(each)
    ]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    studio = rows("train", "studio", 5)
    real = [
        *studio,
        *rows("train", "studio", 5, origin="geometric", first=50_000),
        *rows("test", "lab", 4, first=100_000),
        *rows("test", "ten", 3, first=200_000),
    ]
    drawn = [
        *rows("train", "studio", 3, origin="gan", first=300_000, keep=True),
        *rows("train", "studio", 2, origin="gan", first=400_000, keep=False),
    ]
    for name, content in (("real", real), ("gan", drawn)):
        (root / name).mkdir()
        write_corpus(content, root / name)
    return root


def run(corpora, out, **changes):
    out.mkdir(exist_ok=True)
    arguments = {
        "emotions": EMOTIONS,
        "network": NETWORK,
        "arms": list(ARMS),
        "reference": "geometric",
        "seeds": [0, 1],
        "training": TRAINING,
        "accelerator": "cpu",
        **changes,
    }
    arguments["arms"] = {arm: ARMS[arm] for arm in arguments["arms"]}
    return benchmark(corpora / "real", corpora / "gan", out, **arguments)


@pytest.fixture(scope="module")
def done(corpora, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    return out, run(corpora, out, fold=0)


def test_every_cell_is_reported_for_every_test_database(done):
    out, facts = done
    results = pd.read_parquet(out / "results.parquet")
    assert len(results) == 4 * 2 * 2
    assert facts["train_rows"] == {"original": 20, "geometric": 40, "gan": 52, "synthetic": 12}
    assert facts["test_rows"] == {"lab": 16, "ten": 12}
    assert set(results["steps"]) == {12}
    assert results.groupby("database")["n"].unique().map(list).to_dict() == {
        "lab": [16],
        "ten": [12],
    }
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert len(predictions) == 4 * 2 * 28
    again = predictions.assign(hit=predictions["emotion"] == predictions["predicted"])
    hits = again.groupby(["arm", "seed", "database"])["hit"].mean()
    stored = results.set_index(["arm", "seed", "database"])["accuracy"]
    pd.testing.assert_series_equal(hits, stored.sort_index(), check_names=False)


def test_the_task_is_learnt(done):
    results = pd.read_parquet(done[0] / "results.parquet")
    assert results["accuracy"].mean() > 0.8


def test_summary_is_plain_json_with_differences_to_the_reference(done):
    out, facts = done
    summary = json.loads(
        (out / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert summary["comparisons"] == 6
    assert len(summary["figures"]) == 8
    for figure in summary["figures"]:
        assert ("against" in figure) == (figure["arm"] != "geometric")
    ten = next(f for f in facts["figures"] if f["database"] == "ten" and f["arm"] == "gan")
    assert (ten["images"], ten["subjects"], ten["seeds"]) == (12, 3, 2)
    assert np.sum(ten["confusion"]) == 24


def test_same_seed_gives_the_same_predictions(corpora, done, tmp_path):
    run(corpora, tmp_path / "again", arms=["geometric", "gan"], seeds=[1], fold=0)
    again = pd.read_parquet(tmp_path / "again" / "predictions.parquet")
    first = pd.read_parquet(done[0] / "predictions.parquet")
    first = first[(first["seed"] == 1) & first["arm"].isin(["geometric", "gan"])]
    pd.testing.assert_frame_equal(again, first.reset_index(drop=True))


def test_a_killed_run_goes_on_where_it_was(corpora, done, tmp_path, monkeypatch):
    calls = []
    real_fit = protocols.fit

    def killed_at_the_third(*args, **kwargs):
        calls.append(kwargs["label"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real_fit(*args, **kwargs)

    monkeypatch.setattr(protocols, "fit", killed_at_the_third)
    changes = {"arms": ["geometric", "original"], "fold": 0}
    with pytest.raises(KeyboardInterrupt):
        run(corpora, tmp_path / "out", **changes)
    assert not (tmp_path / "out" / "summary.json").exists()
    facts = run(corpora, tmp_path / "out", **changes)
    # arms of a seed before the next seed, the smaller arm first
    assert calls == [
        "original, seed 0",
        "geometric, seed 0",
        "original, seed 1",
        "original, seed 1",
        "geometric, seed 1",
    ]
    assert facts["cells_resumed"] == 2
    resumed = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    whole = pd.read_parquet(done[0] / "predictions.parquet")
    whole = whole[whole["arm"].isin(["geometric", "original"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(resumed, whole)


def test_cells_of_another_benchmark_are_refused(corpora, tmp_path):
    two, three = (replace(TRAINING, phases={"train": Phase(steps)}) for steps in (2, 3))
    changes = {"arms": ["geometric"], "seeds": [0]}
    run(corpora, tmp_path / "out", training=two, **changes)
    with pytest.raises(ValueError, match=r"geometric-0.parquet comes from another benchmark"):
        run(corpora, tmp_path / "out", training=three, **changes)


def _corpus(path, content):
    path.mkdir(parents=True)
    write_corpus(content, path)
    return path


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"subject": "lab/1"}, "arm 'original' would train on the subject 'lab/1'"),
        ({"subject": None, "parent": "TEST"}, "on the test picture .as the parent of a copy."),
        ({"subject": None, "image": face("happy", 100_000)}, "on the test picture '"),
    ],
)
def test_leaks_are_refused_by_name(corpora, tmp_path, extra, message):
    tested = rows("test", "lab", 2, first=100_000)
    if extra.get("parent"):
        from curation.corpus import content_id

        extra = {**extra, "parent": content_id(tested[0]["image"])}
    trained = rows("train", "studio", 2)
    trained[0] = {**trained[0], **extra}
    _corpus(tmp_path / "real", trained + tested)
    _corpus(tmp_path / "gan", rows("train", "studio", 1, origin="gan", first=9))
    with pytest.raises(ValueError, match=message):
        run(tmp_path, tmp_path / "out")


def test_an_arm_without_an_emotion_and_an_empty_test_set_are_refused(tmp_path):
    _corpus(tmp_path / "real", rows("train", "studio", 2) + rows("test", "lab", 2, first=5000))
    drawn = rows("train", "studio", 2, origin="gan", first=9000)
    _corpus(tmp_path / "gan", [{**row, "keep": row["emotion"] == "happy"} for row in drawn])
    with pytest.raises(ValueError, match=r"arm 'synthetic' has no training picture of sad"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="reference 'gan' is not among the arms original"):
        run(tmp_path, tmp_path / "out", arms=["original"], reference="gan")
    _corpus(tmp_path / "untested" / "real", rows("train", "studio", 2))
    _corpus(tmp_path / "untested" / "gan", drawn)
    with pytest.raises(ValueError, match="no real face with split 'test'"):
        run(tmp_path / "untested", tmp_path / "out")


def predictions(arm, seed, fold, hits, people, database="lab"):
    count = len(hits)
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "fold": pd.array([fold] * count, dtype="Int64"),
            "database": database,
            "id": [f"{fold}-{index}" for index in range(count)],
            "subject": people,
            "emotion": "happy",
            "predicted": ["happy" if hit else "sad" for hit in hits],
            "confidence": 0.9,
        }
    )


def test_folds_are_pooled_within_a_seed_and_not_counted_as_runs():
    frames = []
    for fold, (count, share) in enumerate([(10, 0.5), (30, 0.9)]):
        hits = np.arange(count) < share * count
        people = [f"p{fold}-{index % 5}" for index in range(count)]
        cells = [
            predictions(
                arm, seed, fold, hits if arm == "gan" else hits & (hits.cumsum() > 1), people
            )
            for arm in ("geometric", "gan")
            for seed in (0, 1, 2)
        ]
        frames.append(pd.concat(cells))
    summary = summarise(frames, "geometric", emotions=EMOTIONS)
    reference, gan = summary["figures"]
    assert gan["accuracy"]["mean"] == pytest.approx((5 + 27) / 40)
    assert (gan["images"], gan["subjects"], gan["folds"], gan["seeds"]) == (40, 10, 2, 3)
    assert reference["accuracy"]["mean"] == pytest.approx((4 + 26) / 40)
    assert gan["against"]["seeds"]["n"] == 3
    assert gan["against"]["subjects"]["n"] == 10
    assert gan["against"]["difference"] == pytest.approx(2 / 40)


def test_a_verdict_needs_seeds_and_people_to_agree():
    people = [f"p{index}" for index in range(20)]
    nobody, everybody = np.zeros(20, bool), np.ones(20, bool)
    one = np.arange(20) < 1

    def judge(arm_hits, reference_hits):
        cells = [
            predictions(arm, seed, None, hits[seed], people)
            for arm, hits in (("gan", arm_hits), ("geometric", reference_hits))
            for seed in range(len(hits))
        ]
        figures = summarise([pd.concat(cells)], "geometric", emotions=EMOTIONS)["figures"]
        return figures[0]["against"]

    assert judge([everybody] * 3, [nobody] * 3)["verdict"] == "helps"
    assert judge([nobody] * 3, [everybody] * 3)["verdict"] == "hurts"
    # always the same single person: certain over seeds, but not for other people
    lucky = judge([one] * 3, [nobody] * 3)
    assert lucky["seeds"]["low"] > 0
    assert lucky["verdict"] == "no evidence"
    alone = judge([everybody], [nobody])
    assert alone["seeds"]["low"] is None
    assert alone["verdict"] == "no evidence"


def test_summarise_names_a_missing_cell():
    people = ["a", "b"]
    cells = [
        predictions("geometric", 0, 0, [1, 1], people),
        predictions("geometric", 1, 0, [1, 1], people),
        predictions("gan", 0, 0, [1, 1], people),
    ]
    with pytest.raises(ValueError, match="arm 'gan' with seed 1 on lab"):
        summarise([pd.concat(cells)], "geometric", emotions=EMOTIONS)
    cells.append(predictions("gan", 1, 0, [1], people[:1]))
    with pytest.raises(ValueError, match="'gan' with seed 1 was tested on other pictures"):
        summarise([pd.concat(cells)], "geometric", emotions=EMOTIONS)
