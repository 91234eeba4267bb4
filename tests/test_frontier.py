"""Accuracy, latency and size: what is measured, compared and drawn."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classifiers.cells import train_cell
from classifiers.export import export_cell
from classifiers.frontier import _together, frontier
from classifiers.latency import least_milliseconds
from classifiers.networks import small_cnn
from classifiers.networks.cost import multiply_adds, parameters
from classifiers.predict import Predictor
from classifiers.report_parts.frontier import _steps, frontier_section
from classifiers.report_parts.tables import tables_in
from classifiers.runtime import OnnxPredictor
from classifiers.splits import External
from classifiers.training import Distillation, Phase, Training
from curation.align import BoxFrame
from curation.artifact import read_json, write_json
from curation.corpus import write_corpus
from curation.detect import Haar
from curation.lineage import Record
from curation.recipes import Part, Recipe
from curation.standard import Standard

EMOTIONS = ("happy", "sad")
CONTRACT = Standard(Haar(), BoxFrame(), size=32).contract
ALONE = Training({"train": Phase(30, learning_rate=0.01)}, batch_size=16)
TAUGHT = Training({"train": Phase(30, learning_rate=0.01)}, batch_size=16, distil=Distillation())
NETWORKS = {"large": (12, ALONE, None), "small": (4, TAUGHT, "large")}


def rows(split, people, database):
    for person in range(people):
        for code, emotion in enumerate(EMOTIONS):
            drawn = np.random.default_rng([person, code, len(split)]).integers(0, 90, (32, 32, 3))
            drawn[4 + 16 * code : 12 + 16 * code, 4:28] += 150
            yield {
                "image": drawn.astype(np.uint8), "emotion": emotion, "split": split,
                "origin": "real", "database": database, "subject": f"{database}/{person}",
            }  # fmt: skip


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    place = tmp_path_factory.mktemp("road")
    corpus = place / "corpora" / "augment"
    corpus.mkdir(parents=True)
    write_corpus([*rows("train", 12, "studio"), *rows("test", 10, "lab")], corpus)
    record = {"stage": "augment", "inputs": {}, "contract": CONTRACT, "content": "faces"}
    write_json(corpus / "corpus.json", record)
    exported = {}
    for name, (width, training, teacher) in NETWORKS.items():
        cell = place / "cells" / name / "original-0"
        cell.mkdir(parents=True)
        config = {"fold": None, "split": "external", "part": 0, "backbone": name}
        config |= {"arm": "original", "seed": 0}
        taught = place / "cells" / teacher / "original-0" if teacher else None
        facts = train_cell(
            corpus, None, cell, teacher=taught, emotions=EMOTIONS,
            network=partial(small_cnn, width=width), training=training,
            recipe=Recipe({"real": Part()}), splitter=External(), keep="all",
            accelerator="cpu", **config,
        )  # fmt: skip
        inputs = {"corpus": {"path": "corpora/augment", "content": "faces"}}
        if teacher:
            inputs["teacher"] = {"path": f"cells/{teacher}/original-0", "content": "x"}
        record = {"stage": "train_cell", "inputs": inputs, "config": config, "facts": facts}
        write_json(cell / "cell.json", {**record, "contract": CONTRACT, "content": name})
        out = place / "exported" / name / "original-0"
        out.mkdir(parents=True)
        facts = export_cell(cell, corpus, out, calibration=16)
        inputs = {"recogniser": {"path": f"cells/{name}/original-0", "content": name}}
        record = {"stage": "export_cell", "inputs": inputs, "facts": facts, "contract": CONTRACT}
        write_json(out / "export.json", {**record, "content": name})
        exported[name] = out
    return place, corpus, exported


@pytest.fixture(scope="module")
def measured(road):
    place, corpus, exported = road
    out = place / "benchmarks" / "frontier"
    out.mkdir(parents=True)
    facts = frontier({0: exported}, [corpus], out, emotions=EMOTIONS, rounds=3)
    write_json(out / "frontier.json", {"stage": "frontier", "inputs": {}, "facts": facts})
    return out, facts


@pytest.mark.slow
def test_an_export_of_a_cell_is_compared_on_what_the_cell_was_tested_on(road):
    _, _, exported = road
    facts = read_json(exported["small"] / "export.json")["facts"]
    assert facts["compared_on"] == "real faces of lab that it never saw"
    assert facts["torch"]["n"] == 20
    assert facts["calibration_faces"] == 16
    card = (exported["small"] / "README.md").read_text()
    assert "- 24 real faces" in card
    assert "12 people, of studio" in card


@pytest.mark.slow
def test_bytes_sizes_and_answers_are_those_of_the_files(road, measured):
    place, corpus, exported = road
    out, facts = measured
    table = pd.read_parquet(out / "frontier.parquet").set_index(["backbone", "precision"])
    assert len(table) == 2 * 4
    assert facts["networks"] == 2
    large = Predictor.load(place / "cells" / "large" / "original-0", device="cpu").networks[0]
    assert (table.loc["large", "parameters"] == parameters(large)).all()
    assert (table.loc["large", "multiply_adds"] == multiply_adds(large, (32, 32))).all()
    for name, file in (("fp32", "model.onnx"), ("int8", "model.int8.onnx")):
        assert table.loc[("small", name), "bytes"] == (exported["small"] / file).stat().st_size
    assert (table["milliseconds"] > 0).all()
    said = pd.read_parquet(out / "predictions.parquet")
    assert len(said) == 2 * 4 * 20
    own = said[(said["backbone"] == "small") & (said["precision"] == "int8")]
    from curation.corpus import Corpus

    data = Corpus(corpus)
    images = dict(zip(data.facts["id"], data.images(), strict=True))
    judge = OnnxPredictor.load(exported["small"], precision="int8")
    expected = judge.probabilities(np.stack([images[name] for name in own["picture"]]))
    assert np.allclose(own[["p_happy", "p_sad"]], expected, atol=1e-6)


@pytest.mark.slow
def test_everything_is_compared_with_the_teacher(road, measured):
    place, corpus, exported = road
    out, facts = measured
    assert facts["reference"] == "large"
    summary = read_json(out / "summary.json")
    assert {claim["reference"] for claim in summary["claims"]} == {"large/torch"}
    assert len(summary["claims"]) == 7
    right = {figure["arm"]: figure["accuracy"]["mean"] for figure in summary["figures"]}
    for claim in summary["claims"]:
        assert claim["difference"] == pytest.approx(right[claim["arm"]] - right["large/torch"])
        low = claim["both"]["low"]
        assert claim["within"] == (low is not None and low > -0.02)
    other = place / "benchmarks" / "other"
    other.mkdir()
    found = frontier(exported, corpus, other, emotions=EMOTIONS, reference="small", rounds=1)
    assert found["reference"] == "small"
    with pytest.raises(
        ValueError, match=r"the reference 'huge' is none of the networks large, small"
    ):
        frontier(exported, corpus, other, emotions=EMOTIONS, reference="huge")
    with pytest.raises(FileNotFoundError, match="is no export of a training that is still there"):
        frontier(corpus, corpus, other, emotions=EMOTIONS)


@pytest.mark.slow
def test_the_report_draws_it_with_a_table(measured):
    section = frontier_section(measured[0])
    assert section is not None
    assert [figure["name"] for figure in section["figures"]] == ["lab"]
    for part in section["figures"][0]["charts"]:
        assert part["chart"].count('class="mark') == 8
        assert 'class="step"' in part["chart"]
    (table,) = tables_in([section])
    assert len(table.rows) == 8
    assert section["reference"] == "large"
    summary = read_json(measured[0] / "summary.json")
    enough = [claim["arm"] for claim in summary["claims"] if claim["difference"] >= -0.02]
    assert ("small in int8" in section["sentence"]) == ("small/int8" in enough)
    assert frontier_section(None) is None


def test_nothing_that_is_beaten_in_both_is_on_the_frontier():
    spots = [
        {"accuracy": accuracy, "bytes": size}
        for accuracy, size in (
            (0.9, 4),
            (0.8, 1),
            (0.8, 2),
            (0.7, 3),
            (0.95, 9),
            (0.95, 8),
            (0.75, 0.995),
        )
    ]
    assert [(s["accuracy"], s["bytes"]) for s in _steps(spots, "bytes")] == [
        (0.8, 1),
        (0.9, 4),
        (0.95, 8),
    ]


def test_runners_take_turns_and_the_least_counts(monkeypatch):
    now, calls = [0.0], []

    def runner(name, took):
        def run():
            calls.append(name)
            now[0] += took[min(calls.count(name), len(took)) - 1]

        return run

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    runners = {"a": runner("a", [9.0] * 10 + [5.0, 2.0, 3.0]), "b": runner("b", [1.0])}
    found = least_milliseconds(runners, rounds=3)
    assert found == pytest.approx({"a": 2000.0, "b": 1000.0})
    assert calls == [*"a" * 10, *"b" * 10, *"aaaabbbb"]


def test_timings_that_differ_by_some_per_cent_are_equal():
    spots = [{"accuracy": right, "milliseconds": took} for right, took in ((0.9, 1.05), (0.8, 1))]
    assert _steps(spots, "milliseconds") == spots[:1]
    spots[1]["milliseconds"] = 0.9
    assert _steps(spots, "milliseconds") == spots[::-1]


def test_networks_of_one_arm_and_seed_are_timed_together():
    config = {"fold": None, "split": "external", "part": 0}
    cells = [
        Record(Path(), {"config": config | {"backbone": backbone, "arm": arm, "seed": seed}})
        for backbone in ("large", "small")
        for arm in ("original", "gan")
        for seed in (0, 1)
    ]
    assert _together(cells) == [[0, 4], [1, 5], [2, 6], [3, 7]]
