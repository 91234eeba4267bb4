import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from classifiers import cells as cells_module
from classifiers.cells import train_cell
from classifiers.finetune import fit
from classifiers.networks import small_cnn
from classifiers.predict import Predictor
from classifiers.protocols import benchmark
from classifiers.pruning import Pruning
from classifiers.search import search_layers
from classifiers.splits import ByPicture, BySubject, External
from classifiers.training import Distillation, Phase, Training
from curation.artifact import read_json, write_json
from curation.corpus import content_id, write_corpus
from curation.recipes import Part, Recipe

EMOTIONS = ("happy", "sad")
TRAINING = Training(
    {"train": Phase(length=12, learning_rate=0.01, weight_decay=0.01, warmup=0.1)},
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
            "source": f"{person}-{emotion}-{take}.png" if origin == "real" else None,
            "split": split,
            "origin": origin,
            **more,
        }
        for person in range(people)
        for emotion in EMOTIONS
        for take in range(each)
    ]


def corpus(path, content):
    path.mkdir(parents=True)
    write_corpus(content, path)
    return path


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    studio = rows("train", "studio", 5)
    copies = [
        {**row, "image": 255 - row["image"], "origin": "geometric", "source": None}
        | {"parent": content_id(row["image"])}
        for row in studio
    ]
    lab = rows("test", "lab", 4, first=100_000)
    corpus(root / "real", [*studio, *copies, *lab, *rows("test", "ten", 3, first=200_000)])
    passed = rows("train", "studio", 3, origin="gan", first=300_000, keep=True)
    refused = rows("train", "studio", 2, origin="gan", first=400_000, keep=False)
    drawn = [{**row, "database": "faces+studio"} for row in (*passed, *refused)]
    corpus(root / "gan", drawn)
    return root


def cell(corpora, out, *, arm="geometric", seed=0, **changes):
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "emotions": EMOTIONS,
        "network": NETWORK,
        "training": TRAINING,
        "recipe": ARMS.get(arm),
        "splitter": External(),
        "fold": 0,
        "split": "external",
        "part": 0,
        "backbone": "small_cnn",
        "arm": arm,
        "seed": seed,
        "accelerator": "cpu",
        **changes,
    }
    facts = train_cell(corpora / "real", corpora / "gan", out, **settings)
    # as the pipeline does
    config = {name: settings[name] for name in ("fold", "split", "part", "backbone", "arm", "seed")}
    record = {"stage": "train_cell", "inputs": {}, "config": config, "seconds": 1.0, "facts": facts}
    write_json(out / "cell.json", record)
    return facts


def made(corpora, out, arm, seed, changes):
    cell(corpora, out, arm=arm, seed=seed, **changes)
    return out


def cells(corpora, root, *, arms=tuple(ARMS), seeds=(0, 1), **changes):
    return {
        seed: {arm: made(corpora, root / f"{arm}-{seed}", arm, seed, changes) for arm in arms}
        for seed in seeds
    }


@pytest.fixture(scope="module")
def done(corpora, tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    folders = cells(corpora, root / "cells", cache=root / "cache", keep=0)
    (root / "out").mkdir()
    facts = benchmark(folders, root / "out", emotions=EMOTIONS, reference="geometric")
    return root, facts


def test_every_cell_is_reported_for_every_test_database(done):
    root, facts = done
    results = pd.read_parquet(root / "out" / "results.parquet")
    assert set(results["database"]) == {"lab", "ten", "all"}
    results = results[results["database"] != "all"]
    assert len(results) == 4 * 2 * 2
    assert facts["cells"] == 8
    assert facts["train_rows"] == {"original": 20, "geometric": 40, "gan": 52, "synthetic": 12}
    assert facts["test_rows"] == {"lab": 16, "ten": 12}
    assert facts["unmatched"] == {}
    assert set(results["steps"]) == {12}
    assert set(results["shared_subjects"]) == {0}
    assert results.groupby("database")["n"].unique().map(list).to_dict() == {
        "lab": [16],
        "ten": [12],
    }
    predictions = pd.read_parquet(root / "out" / "predictions.parquet")
    assert len(predictions) == 4 * 2 * 28
    hits = predictions.assign(hit=predictions["emotion"] == predictions["predicted"])
    hits = hits.groupby(["arm", "seed", "database"])["hit"].mean()
    stored = results.set_index(["arm", "seed", "database"])["top1"]
    pd.testing.assert_series_equal(hits, stored.sort_index(), check_names=False)
    shares = predictions[[f"p_{name}" for name in EMOTIONS]].to_numpy()
    assert shares.sum(1) == pytest.approx(np.ones(len(shares)), abs=1e-5)
    assert shares.max(1) == pytest.approx(predictions["confidence"].to_numpy(), abs=1e-6)


def test_the_task_is_learnt(done):
    results = pd.read_parquet(done[0] / "out" / "results.parquet")
    assert results["top1"].mean() > 0.8


def test_the_summary_is_plain_json_with_a_claim_for_each_arm(done):
    root, facts = done
    summary = json.loads(
        (root / "out" / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    own = [claim for claim in summary["claims"] if claim["backbone"] == "small_cnn"]
    assert {(claim["arm"], claim["database"]) for claim in own} == {
        (arm, database) for arm in ARMS if arm != "geometric" for database in ("lab", "ten")
    }
    assert {claim["reference"] for claim in own} == {"geometric"}
    said = {claim["verdict"] for claim in facts["verdicts"]}
    assert said <= {"helps", "hurts", "no evidence"}


def test_one_seed_gives_the_same_predictions(corpora, done, tmp_path):
    cell(corpora, tmp_path / "again", arm="gan", seed=1)
    again = pd.read_parquet(tmp_path / "again" / "predictions.parquet")
    first = pd.read_parquet(done[0] / "cells" / "gan-1" / "predictions.parquet")
    pd.testing.assert_frame_equal(again, first)


def test_the_networks_of_one_seed_are_kept(done, corpora):
    root, _ = done
    kept = Predictor.load(root / "cells" / "gan-0", device="cpu")
    assert kept.emotions == EMOTIONS
    assert not (root / "cells" / "gan-1" / "recogniser.json").exists()
    predictions = pd.read_parquet(root / "cells" / "gan-0" / "predictions.parquet")
    from curation.corpus import Corpus

    real = Corpus(corpora / "real")
    pictures = real.images((real.facts["split"] == "test").to_numpy())
    again = kept.probabilities(pictures)[:, 0]
    assert again == pytest.approx(predictions["p_happy"].to_numpy(), abs=1e-5)


def test_a_cell_notes_the_databases_of_the_generators_too(done):
    root, _ = done
    learned = {
        arm: read_json(root / "cells" / f"{arm}-0" / "cell.json")["facts"]["trained_on"]
        for arm in ("geometric", "gan")
    }
    assert learned["geometric"]["databases"] == ["studio"]
    assert learned["gan"]["databases"] == ["faces", "studio"]
    assert learned["gan"]["people"] == 5


def test_a_cell_learns_from_the_network_of_another(corpora, done, tmp_path):
    root, _ = done
    teacher = root / "cells" / "geometric-0"
    taught = replace(TRAINING, distil=Distillation())
    facts = cell(corpora, tmp_path / "pupil", teacher=teacher, training=taught)
    assert facts["trained_on"] == {
        "databases": ["studio"],
        "faces": {"real": 20, "geometric": 20},
        "people": 5,
    }
    alone = pd.read_parquet(teacher / "predictions.parquet")
    pupil = pd.read_parquet(tmp_path / "pupil" / "predictions.parquet")
    assert (pupil["id"] == alone["id"]).all()
    assert not np.allclose(pupil["p_happy"], alone["p_happy"])
    cut = replace(TRAINING, phases={"cut": Phase(2, prune=Pruning(0.5, multiple=2))})
    cell(corpora, tmp_path / "cut", teacher=teacher, network=None, training=cut, keep="all")
    kept = Predictor.load(tmp_path / "cut", device="cpu").networks[0]
    assert kept.name == "small_cnn, pruned"
    with pytest.raises(FileNotFoundError, match=r"gan-1 kept no network .*protocol.keep=all"):
        cell(corpora, tmp_path / "no", teacher=root / "cells" / "gan-1", training=taught)
    with pytest.raises(
        ValueError, match="tells happy, sad apart, the pupil is to learn sad, happy"
    ):
        cell(corpora, tmp_path / "no", teacher=teacher, training=taught, emotions=EMOTIONS[::-1])


def test_pictures_are_decoded_once_and_a_cell_leaves_none_behind(done, corpora, tmp_path):
    root, _ = done
    assert len(list((root / "cache" / "pictures").glob("*.npy"))) == 1
    cell(corpora, tmp_path / "alone")
    assert not list((tmp_path / "alone").rglob("*.npy"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"subject": "lab/1"}, "arm 'original' would train on the subject 'lab/1'"),
        ({"subject": None, "parent": "TEST"}, "on the test picture .as the parent of a copy."),
        ({"subject": None, "image": face("happy", 100_000)}, "on the test picture '"),
    ],
)
def test_leaks_are_refused_by_name(tmp_path, extra, message):
    tested = rows("test", "lab", 2, first=100_000)
    if extra.get("parent"):
        extra = {**extra, "parent": content_id(tested[0]["image"])}
    trained = rows("train", "studio", 2)
    trained[0] = {**trained[0], **extra}
    corpus(tmp_path / "real", trained + tested)
    corpus(tmp_path / "gan", rows("train", "studio", 1, origin="gan", first=9))
    with pytest.raises(ValueError, match=message):
        cell(tmp_path, tmp_path / "out", arm="original")


def test_an_arm_without_an_emotion_and_an_empty_test_set_are_refused(tmp_path):
    corpus(tmp_path / "real", rows("train", "studio", 2) + rows("test", "lab", 2, first=5000))
    drawn = rows("train", "studio", 2, origin="gan", first=9000)
    corpus(tmp_path / "gan", [{**row, "keep": row["emotion"] == "happy"} for row in drawn])
    with pytest.raises(ValueError, match=r"arm 'synthetic' has no training picture of sad"):
        cell(tmp_path, tmp_path / "out", arm="synthetic")
    corpus(tmp_path / "untested" / "real", rows("train", "studio", 2))
    corpus(tmp_path / "untested" / "gan", drawn)
    with pytest.raises(ValueError, match="no real face with split 'test'"):
        cell(tmp_path / "untested", tmp_path / "out", arm="original")


def test_folds_by_picture_count_who_is_on_both_sides_and_folds_by_subject_have_nobody(
    corpora, tmp_path
):
    changes = {"backbone": "small_cnn", "arms": ["geometric"], "seeds": [0]}
    found = {}
    for split, splitter in (("by_picture", ByPicture(2)), ("by_subject", BySubject(2))):
        made = [
            cells(
                corpora,
                tmp_path / f"{split}-{part}",
                split=split,
                splitter=splitter,
                part=part,
                **changes,
            )
            for part in range(2)
        ]
        (tmp_path / split).mkdir()
        benchmark(made, tmp_path / split, emotions=EMOTIONS, reference="geometric")
        found[split] = pd.read_parquet(tmp_path / split / "results.parquet")
    found = {name: table[table["database"] == "all"] for name, table in found.items()}
    assert found["by_subject"]["shared_subjects"].sum() == 0
    assert found["by_picture"]["shared_subjects"].sum() > 0
    # each picture is tested once: in the first way copies as well as their originals
    assert found["by_picture"]["n"].sum() == 20 + 20 + 28
    assert found["by_subject"]["n"].sum() == 20 + 28


def test_arms_that_are_cut_in_two_ways_are_compared_on_what_both_found(corpora, tmp_path):
    studio, lab = rows("train", "studio", 5), rows("test", "lab", 4, first=100_000)
    corpus(tmp_path / "whole" / "real", studio + lab)
    # another cut: other pixels, and one picture without a face
    corpus(
        tmp_path / "cut" / "real",
        [{**row, "image": row["image"][:, ::-1].copy()} for row in studio + lab[1:]],
    )
    made = {}
    for arm in ("whole", "cut"):
        corpus(tmp_path / arm / "gan", rows("train", "studio", 1, origin="gan", first=9))
        cell(
            tmp_path / arm,
            tmp_path / f"cell-{arm}",
            arm=arm,
            recipe=ARMS["original"],
            match="source",
        )
        made[arm] = tmp_path / f"cell-{arm}"
    (tmp_path / "out").mkdir()
    facts = benchmark(made, tmp_path / "out", emotions=EMOTIONS, reference="whole")
    assert facts["unmatched"] == {"lab": 1}
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert set(results["n"]) == {15}


def test_an_arm_is_compared_with_the_reference_of_its_own(done, tmp_path):
    root, _ = done
    folders = [root / "cells" / f"{arm}-{seed}" for arm in ARMS for seed in (0, 1)]
    facts = benchmark(
        folders, tmp_path, emotions=EMOTIONS, reference="original", references={"gan": "geometric"}
    )
    claims = json.loads((tmp_path / "summary.json").read_text())["claims"]
    assert {(claim["arm"], claim["reference"]) for claim in claims} == {
        ("geometric", "original"),
        ("synthetic", "original"),
        ("gan", "geometric"),
    }
    assert facts["cells"] == 8
    with pytest.raises(ValueError, match=r"have no cells: nobody; there are .*protocol.reference"):
        benchmark(folders, tmp_path, emotions=EMOTIONS, reference="nobody")


def test_valence_and_arousal_are_learnt_where_somebody_judged_them(tmp_path):
    def judged(content):
        signs = {"happy": 0.8, "sad": -0.8}
        return [
            {**row, "valence": signs[row["emotion"]], "arousal": -signs[row["emotion"]] / 2}
            for row in content
        ]

    unjudged = rows("train", "studio", 1, first=70_000)
    pictures = judged([*rows("train", "studio", 5), *rows("test", "lab", 4, first=100_000)])
    corpus(tmp_path / "real", pictures + [{**row, "subject": "studio/9"} for row in unjudged])
    corpus(tmp_path / "gan", rows("train", "studio", 1, origin="gan", first=9))
    training = Training(
        {"train": Phase(length=40, learning_rate=0.01)}, batch_size=16, target="valence_arousal"
    )
    facts = cell(tmp_path, tmp_path / "cell", arm="original", training=training, keep="all")
    assert facts["train_rows"] == 20
    (tmp_path / "out").mkdir()
    benchmark([tmp_path / "cell"], tmp_path / "out", emotions=EMOTIONS, reference="original")
    (row,) = pd.read_parquet(tmp_path / "out" / "results.parquet").to_dict("records")
    assert row["n"] == 16
    assert row["ccc_valence"] > 0.5
    assert row["rmse_arousal"] < 0.4
    corpus(tmp_path / "bare" / "real", rows("train", "a", 2) + rows("test", "b", 2, first=900))
    corpus(tmp_path / "bare" / "gan", rows("train", "studio", 1, origin="gan", first=9))
    with pytest.raises(ValueError, match="would train on has valence and arousal"):
        cell(tmp_path / "bare", tmp_path / "none", arm="original", training=training)


def test_how_many_layers_to_tune_is_found_by_training_people_alone(corpora, tmp_path):
    training = Training(
        {
            "head": Phase(length=2, trains=0, learning_rate=0.01),
            "tune": Phase(length=4, trains=1, learning_rate=0.01),
        },
        batch_size=16,
    )
    found = search_layers(
        corpora / "real",
        tmp_path,
        emotions=EMOTIONS,
        network=NETWORK,
        training=training,
        recipe=ARMS["geometric"],
        candidates=[4, 0],
        validation=0.4,
        seed=0,
        accelerator="cpu",
    )
    table = pd.read_csv(tmp_path / "layers.csv")
    assert list(table["trains"]) == [0, 4]
    assert table["trained"].is_monotonic_increasing
    assert found["train_rows"] == 40
    assert found["validation_rows"] == 16  # two of five people, their copies included
    best = table.loc[table["validation_accuracy"].idxmax(), "trains"]
    assert found["best"] == best


def test_generated_faces_are_learned_from_and_never_held_out(corpora, tmp_path, monkeypatch):
    given = {}

    def seen(images, labels, **options):
        given.update(options)
        return fit(images, labels, **options)

    monkeypatch.setattr(cells_module, "fit", seen)
    held_out = replace(TRAINING, validation=0.4)
    cell(corpora, tmp_path / "cell", arm="gan", training=held_out)
    subjects = pd.Series(given["subjects"])
    assert subjects.isna().sum() == 20  # all drawn faces
    assert subjects[given["rows"]].isna().sum() == 12  # those that passed
    history = json.loads((tmp_path / "cell" / "history.json").read_text())["history"]
    assert "validation_loss" in history[-1]
