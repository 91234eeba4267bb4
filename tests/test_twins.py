"""The protocols' small twins, every stage and every cell of them, with fewer people and steps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from curation.artifact import read_json

ROOT = Path(__file__).parents[1]
# fewer people, smaller networks, fewer steps: mud, but all of the road
TWINS = {
    "gong_sfew_small": (
        [
            # a look into a ResNet takes longer than its training
            "report.explain=false",
            "~backbones.resnet34",
            "~backbones.resnet50",
            "protocol.parts=2",
            "database.subjects=4",
        ],
        {"split": 2, "part": 2, "backbone": 1, "arm": 2, "seed": 1},
    ),
    "vanderweel2019_affectnet_small": (
        [
            "database.subjects=8",
            "protocol.seeds=[0,1]",
            "backbones.vanderweel2019.training.phases.train.length=1 epochs",
            "backbones.vanderweel2019.training.batches_per_epoch=3",
            "backbones.mobilenet_v1.training.phases.train.length=1 epochs",
            "backbones.mobilenet_v1.training.batches_per_epoch=2",
        ],
        {"split": 1, "part": 1, "backbone": 2, "arm": 2, "seed": 2},
    ),
    "dao2021_fer2013_small": (
        [
            "database.subjects=8",
            "protocol.seeds=[0]",
            "backbones.dao2021.training.phases.train.length=1 epochs",
            "report.explain=false",
        ],
        {"split": 1, "part": 1, "backbone": 1, "arm": 1, "seed": 1},
    ),
    "shrink_small": (
        [
            "database.subjects=6",
            "database.sessions=1",
            *(f"test_databases.{name}.subjects=2" for name in ("lab", "ten")),
            *(f"test_databases.{name}.sessions=1" for name in ("lab", "ten")),
            "augment.copies=1",
            "protocol.seeds=[0]",
            "report.explain=false",
            "stages.frontier.call.rounds=3",
            "backbones.large.network.width=24",
            "backbones.large.training.phases.train.length=20",
            "backbones.pruned.training.phases.cut.length=4",
            "backbones.pruned.training.phases.cut.prune.multiple=4",
            "backbones.distilled.network.width=8",
            "backbones.distilled.training.phases.train.length=4",
            "backbones.alone.network.width=8",
            "backbones.alone.training.phases.train.length=4",
        ],
        {"split": 1, "part": 1, "backbone": 4, "arm": 1, "seed": 1},
    ),
    "randellini2022_small": (
        [
            "per_emotion=4",
            "database.subjects=6",
            "database.sessions=1",
            "database.size=96",
            "imported.database.subjects=3",
            "imported.database.size=96",
            *(
                f"test_databases.{name}.{key}"
                for name in ("lab", "ten")
                for key in ("subjects=2", "sessions=1", "size=96")
            ),
            "gan.generator.filters=8",
            "gan.generator.max_filters=16",
            "gan.discriminator.filters=8",
            "gan.discriminator.max_filters=16",
            "gan.warm_steps=10",
            "gan.trunk_steps=10",
            "gan.steps=4",
            "gan.batch_size=4",
            "gan.tick_steps=8",
            "gan.min_images=4",
            "augment.copies=2",
            "gate=none",
            "classifier.network.width=4",
            "classifier.gate_folds=2",
            "classifier.training.phases.train.length=10",
            "tune.length=2",
            *(
                f"backbones.{name}.training.phases.train.length=4"
                for name in ("small_cnn", "vanderweel2019", "dao2021", "mobilenet_v2")
            ),
        ],
        {"split": 1, "part": 1, "backbone": 4, "arm": 4, "seed": 3},
    ),
}


def start(experiment, cuts, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "curation.cli", "run", f"experiment={experiment}", *cuts]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, cwd=cwd, env=environment, start_new_session=True, **pipes)


def counts_of(table):
    return {name: table[name].nunique() for name in ("split", "part", "backbone", "arm", "seed")}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", list(TWINS))
def test_a_twin_runs_to_its_report(experiment, tmp_path):
    cuts, expected = TWINS[experiment]
    process = start(experiment, cuts, tmp_path)
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, printed
    out = tmp_path / "out" / experiment
    results = pd.read_parquet(out / "results.parquet")
    assert counts_of(results) == expected
    cells = results.drop_duplicates("cell")
    assert len(cells) == pd.Series(expected).prod()
    assert results["top1"].between(0, 1).all()
    (folder,) = out.glob("benchmarks/benchmark-*")
    summary = read_json(folder / "summary.json")
    assert summary["missing"] == []
    arms = expected["arm"]
    assert bool(summary["claims"]) == (arms > 1)
    page = (out / "report.html").read_text()
    assert "no evidence" in page or arms == 1
    assert ('<section id="frontier">' in page) == experiment.startswith("shrink")
    assert printed.strip().endswith(f"report: {out / 'report.html'}")


@pytest.mark.slow
def test_a_killed_grid_goes_on_and_repeats_no_cell(tmp_path):
    cuts, expected = TWINS["gong_sfew_small"]
    process = start("gong_sfew_small", cuts, tmp_path)
    for line in process.stdout:
        if "3 of 8:" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    cells = tmp_path / "out" / "gong_sfew_small" / "cells"
    made = {
        path: path.stat().st_mtime_ns
        for path in cells.rglob("predictions.parquet")
        if not path.parent.name.startswith(".")
    }
    assert 3 <= len(made) < 8
    time.sleep(2)  # until the workers have noticed
    again = start("gong_sfew_small", cuts, tmp_path)
    printed, _ = again.communicate(timeout=900)
    assert again.returncode == 0, printed
    assert made == {path: path.stat().st_mtime_ns for path in made}
    results = pd.read_parquet(tmp_path / "out" / "gong_sfew_small" / "results.parquet")
    assert counts_of(results) == expected
