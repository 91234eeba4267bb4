"""The command line from end to end, in processes of its own, on the smallest experiment."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Image, load_dataset
from PIL import Image as Picture

from curation.artifact import file_hash, read_json
from curation.corpus import EMOTIONS, Corpus
from curation.review.decisions import reviewed_hash

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(*words, cwd):
    command = [sys.executable, "-m", "curation.cli", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **pipes)


def affectory(*words, cwd):
    process = start(*words, cwd=cwd)
    printed, _ = process.communicate(timeout=500)
    return process.returncode, printed


def stages_started(printed):
    return re.findall(r"^[\d:]{8} (\w+)[\w ]*: starts", printed, re.MULTILINE)


def without_links(out):
    return list(out.rglob("*.partial"))


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    code, printed = affectory("run", "experiment=smoke", cwd=folder)
    assert code == 0, printed
    return folder / "out" / "smoke", printed


def test_the_last_lines_are_the_paths_of_report_and_published_folder(road):
    out, printed = road
    last = printed.strip().splitlines()[-2:]
    assert last == [f"publish: {out / 'published'}", f"report: {out / 'report.html'}"]
    assert (out / "report.html").read_text().count("<h2") >= 5
    assert (out / "results.parquet").exists()


def test_the_report_shows_how_the_trunk_and_each_gan_trained(road):
    out, _ = road
    page = (out / "report.html").read_text()
    section = page[page.index('<section id="training">') : page.index('<section id="time">')]
    assert re.findall("<h3>(.*?)</h3>", section) == ["trunk", *EMOTIONS[:7]]
    assert "trunk: kernel distance over training" in section
    assert section.count('class="film"') == (3 + 1) + 7 * (1 + 1)


def test_a_second_run_skips_every_stage_and_keeps_every_byte(road):
    out, _ = road
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    code, printed = affectory("run", "experiment=smoke", cwd=out.parents[1])
    assert code == 0
    assert stages_started(printed) == []
    assert printed.count("already done") == 13 - 2 + 7 + 4 * 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_counts_follow_the_protocol(road):
    out, _ = road
    (augmented,) = out.glob("corpora/augment-*")
    facts = Corpus(augmented).facts
    train = facts[facts["split"] == "train"]
    assert (train["origin"] == "real").sum() == 6 * 7
    assert (train["origin"] == "geometric").sum() == 2 * 6 * 7
    assert set(facts.loc[facts["split"] == "test", "database"]) == {"puppets_lab", "puppets_ten"}
    people = facts.groupby("subject")["split"].nunique()
    assert (people == 1).all()
    (selected,) = out.glob("corpora/select-*")
    assert len(Corpus(selected)) == 4 * 7


@pytest.mark.parametrize("streaming", [False, True])
def test_the_published_folder_loads(road, tmp_path, streaming, monkeypatch):
    out, _ = road
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = {"streaming": True} if streaming else {"cache_dir": str(tmp_path)}
    faces = load_dataset(str(out / "published"), "gan", split="train", **options)
    assert isinstance(faces.features["image"], Image)
    assert isinstance(faces.features["emotion"], ClassLabel)
    assert tuple(faces.features["emotion"].names) == EMOTIONS
    rows = list(faces)
    made = [row for row in rows if row["origin"] == faces.features["origin"].str2int("gan")]
    assert len(rows) - len(made) == 3 * 6 * 7
    for row in made:
        assert row["generator"]
        assert row["seed"] is not None
        assert row["image"].size == (32, 32)


def test_nothing_published_names_a_folder_of_this_machine(road):
    out, _ = road
    for path in (out / "published").rglob("*"):
        if path.suffix in (".json", ".md"):
            assert str(out.parents[1]) not in path.read_text()


def test_tools_look_at_a_finished_road(road, tmp_path):
    out, _ = road
    (corpus,) = out.glob("corpora/standardise-*")
    code, printed = affectory("inspect", corpus, "--to", tmp_path / "page.html", cwd=tmp_path)
    assert code == 0, printed
    assert "Where it came from" in (tmp_path / "page.html").read_text()
    code, printed = affectory("forget", "subject=puppets_studio/S001", "--in", out, cwd=tmp_path)
    assert code == 0, printed
    for touched in ("corpora/ingest-", "gans/angry-", "classifiers/", "publications/"):
        assert touched in printed
    assert corpus.is_dir()
    code, printed = affectory("prefetch", cwd=tmp_path)
    assert "yunet" in printed


def test_a_grouping_of_labels_reaches_every_stage(tmp_path):
    stages = "[ingest,standardise,augment,train_trunk,train_gan,sample]"
    words = ("experiment=smoke", "labels=three", f"run={stages}", "test_databases={}", "out=out")
    code, printed = affectory("run", *words, cwd=tmp_path)
    assert code == 0, printed
    for path in (tmp_path / "out" / "corpora").iterdir():
        if path.is_dir():
            assert Corpus(path).emotions == ["negative", "neutral", "positive"], path
    (made,) = (tmp_path / "out" / "corpora").glob("sample-*")
    assert set(Corpus(made).facts["emotion"]) == {"negative", "neutral", "positive"}


def test_a_threshold_sweep_scores_nothing_again(road):
    out, _ = road
    words = ("select", "experiment=smoke", "gate.agreement=0.2,0.9", "-m")
    code, printed = affectory(*words, cwd=out.parents[1])
    assert code == 0, printed
    assert stages_started(printed) == ["select", "select"]
    kept = {}
    for folder in out.glob("corpora/select-*"):
        record = read_json(folder / "corpus.json")
        (gate,) = (each for each in record["config"]["gates"] if "Agreement" in each["_target_"])
        kept[gate["minimum"]] = record["facts"]["kept"]
    assert kept[0.9] <= kept[0.2] <= kept[0.0]


def test_a_persons_decisions_are_applied_to_the_corpus_that_was_reviewed(road, tmp_path):
    out, _ = road
    reviewed = min(out.glob("corpora/select-*"), key=lambda path: path.stat().st_mtime)
    first = Corpus(reviewed).facts["id"][0]
    path = tmp_path / "decisions.json"
    content = {"version": 1, "corpus": reviewed_hash(reviewed)}
    path.write_text(json.dumps({**content, "decisions": {first: {"verdict": "reject"}}}))
    words = ("select", "experiment=smoke", f"gate.decisions={path}")
    code, printed = affectory(*words, cwd=out.parents[1])
    assert code == 0, printed
    selected = out.parents[1] / printed.strip().splitlines()[-1]
    assert Corpus(selected).facts["reason"][0] == "person: rejected"
    # what they made is reviewed as the same faces, and the record knows the file by its content
    assert reviewed_hash(selected) == content["corpus"]
    inputs = read_json(selected / "corpus.json")["inputs"]
    assert inputs["decisions"] == {"path": str(path), "content": file_hash(path)}
    path.write_text(json.dumps({**content, "corpus": "deadbeef", "decisions": {}}))
    code, printed = affectory(*words, cwd=out.parents[1])
    assert code == 1
    assert f"corpus deadbeef, this one is {content['corpus']}" in printed


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train_trunk", "benchmark"])
def test_a_killed_run_completes(road, tmp_path, stage):
    """Kill in the middle of a stage that resumes; start again; the result is the same."""
    out, _ = road
    process = start("run", "experiment=smoke", cwd=tmp_path)
    for line in process.stdout:
        if f"{stage}: starts" in line:
            break
    time.sleep(3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    code, printed = affectory("run", "experiment=smoke", cwd=tmp_path)
    assert code == 0, printed
    again = tmp_path / "out" / "smoke"
    assert not without_links(again)
    for name in ("gans/*/generator.safetensors", "corpora/*/*.parquet", "published/*/*.parquet"):
        theirs = {p.relative_to(again): p.read_bytes() for p in again.glob(name)}
        ours = {p.relative_to(out): p.read_bytes() for p in out.glob(name)}
        assert theirs
        assert theirs.items() <= ours.items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bake"], "no stage 'bake'; choose run or one of augment"),
        (
            ["run", "experiment=smoke", "emotions=[happy,joy]"],
            "no label is mapped to emotion 'joy'",
        ),
        (
            ["train_gan", "experiment=smoke", "emotion=joy"],
            "emotion 'joy' is unknown; it is one",
        ),
        (["run", "experiment=smoke", "gan.trunk_stepz=3"], "Key 'trunk_stepz' is not in struct"),
        (["run", "experiment=nosuch"], "Could not find 'experiment/nosuch'"),
        (["run", "experiment=photos"], "database.root must be given"),
        (["run", "experiment=photos", "database.root=/no/such"], "no folder /no/such"),
        (["score", "experiment=smoke"], "has not run with this configuration"),
        (["run", "experiment=smoke", "size=48"], "size 48 does not fit a DCGAN"),
        (["run", "experiment=smoke", "database.style=sudio"], "style 'sudio' is unknown"),
        (["run", "experiment=smoke", "gan.min_images=500"], "gan.min_images"),
    ],
)
def test_wrong_words_end_in_one_clear_message(tmp_path, words, message):
    code, printed = affectory(*words, cwd=tmp_path)
    assert code != 0
    assert message in printed
    assert "Traceback" not in printed
    assert not without_links(tmp_path)


def write_class_folders(root, emotions, *, empty=()):
    for number, emotion in enumerate([*emotions, *empty]):
        (root / emotion).mkdir(parents=True)
        for index in range(0 if emotion in empty else 3):
            pixels = np.random.default_rng([number, index]).integers(0, 256, (40, 40, 3))
            Picture.fromarray(pixels.astype(np.uint8)).save(root / emotion / f"{index}.png")


def test_an_empty_class_ends_in_one_clear_message(tmp_path):
    write_class_folders(
        tmp_path / "faces", ["angry", "happy", "neutral", "sad"], empty=["surprise"]
    )
    code, printed = affectory(
        "ingest", "experiment=photos", f"database.root={tmp_path / 'faces'}", cwd=tmp_path
    )
    assert code != 0
    assert "has no usable picture of surprise" in printed
    assert "Traceback" not in printed


def test_an_unreadable_picture_is_a_counted_skip(tmp_path):
    write_class_folders(tmp_path / "faces", ["angry", "happy"])
    (tmp_path / "faces" / "happy" / "broken.png").write_text("no picture")
    root = f"database.root={tmp_path / 'faces'}"
    code, printed = affectory(
        "ingest", "experiment=photos", root, "emotions=[angry,happy]", "folds=2", cwd=tmp_path
    )
    assert code == 0, printed
    assert "skipped 1 pictures: damaged or not a picture" in printed
    for path in (tmp_path / "out" / "photos").glob("corpora/ingest-*/skipped.csv"):
        assert "happy/broken.png,damaged or not a picture" in path.read_text()


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs in {PHOTOS}")
def test_photographs_go_through_ingest_and_standardise(tmp_path):
    for stage in ("ingest", "standardise"):
        code, printed = affectory(
            stage, "experiment=photos", f"database.root={PHOTOS}", "fold=0", cwd=tmp_path
        )
        assert code == 0, printed
    (folder,) = (tmp_path / "out" / "photos").glob("corpora/standardise-*")
    facts = Corpus(folder).facts
    assert len(facts) > 285
    assert set(facts["split"]) == {"train", "test"}
    assert (facts.groupby("subject")["split"].nunique() == 1).all()


def test_help_names_stages_and_experiments(tmp_path):
    code, printed = affectory("--help", cwd=tmp_path)
    assert code == 0
    for word in ("ingest", "benchmark", "quickstart", "photos", "-m"):
        assert word in printed
