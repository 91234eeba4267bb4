import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from curation import forget
from curation.artifact import folder_hash, read_json, tree_state, write_json
from curation.corpus import Corpus, write_corpus
from curation.features import Cached, cached_files
from curation.forget import find, main, retire
from curation.pipeline import run
from curation.traces import _USES, HOLDS, MEASURED, TRAINED

EMOTIONS = ["happy", "sad"]
RECORDS = {
    "corpora": "corpus.json",
    "gans": "gan.json",
    "classifiers": "classifier.json",
    "benchmarks": "benchmark.json",
    "publications": "publication.json",
    "reports": "report.json",
}


def face(number):
    return np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)


class Project:
    """Writes finished folders with records as the pipeline writes them."""

    def __init__(self, out):
        self.out = out
        self.folders = {}

    def add(self, name, stage, target, inputs=None, facts=None, rows=None, **config):
        folder = self.out / name
        folder.mkdir(parents=True)
        if rows is not None:
            write_corpus(rows, folder)
        else:
            (folder / "weights.bin").write_bytes(name.encode())
        self.finish(name, stage, target, inputs, facts, config)
        return name

    def finish(self, name, stage, target, inputs, facts, config):
        folder = self.out / name
        record = {
            "stage": stage,
            "config": {"_target_": target, **config},
            "inputs": {key: self.given(value) for key, value in (inputs or {}).items()},
            "facts": facts or {},
            "content": folder_hash(folder, without=""),
        }
        if stage == "train_gan":
            record["emotion"] = config["emotions"][0]
        write_json(folder / RECORDS[name.split("/")[0]], record)
        self.folders[name] = record["content"]

    def given(self, value):
        if isinstance(value, dict):
            return {key: self.given(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.given(inner) for inner in value]
        return {"path": value, "content": self.folders[value]}


def row(number, subject, emotion="happy", split="train", **more):
    return {
        "image": face(number),
        "emotion": emotion,
        "database": "kdef",
        "subject": subject and f"kdef/{subject}",
        "source": f"{number}.jpg",
        "split": split,
        "origin": "real",
        **more,
    }


def real_rows():
    return [
        row(1, "AF01"),
        row(2, "AF01", "sad"),
        row(3, "AF02"),
        row(4, "AF02", "sad"),
        row(5, "AF03"),  # shows happiness only
        row(6, "AM01", split="test"),
        row(7, "AM01", "sad", split="test"),
    ]


def with_children(rows):
    found = []
    for number, each in enumerate(rows):
        found.append({**each, "id": f"face{number}"})
        if each["split"] == "train":
            # nothing but the parent tells whose copy it is
            copy = row(100 + number, None, each["emotion"], origin="geometric")
            found.append({**copy, "parent": f"face{number}", "id": f"copy{number}"})
    return found


def drawn(generators):
    return [
        row(
            200 + 10 * place + number,
            None,
            emotion,
            origin="gan",
            generator=mark,
            seed=number,
            keep=number > 0,
            reason=None if number else "agreement: low",
        )
        for place, (emotion, mark) in enumerate(generators.items())
        for number in range(3)
    ]


def build(out):
    project = Project(out)
    ingest = project.add("corpora/ingest-1", "ingest", "curation.ingest.ingest", rows=real_rows())
    augment = project.add(
        "corpora/augment-1",
        "augment",
        "curation.augment.augment",
        {"corpus": ingest},
        rows=with_children(real_rows()),
    )
    gans = {
        emotion: project.add(
            f"gans/{emotion}-1",
            "train_gan",
            "gan.train.train",
            {"corpus": ingest},
            {"generator": f"hash-{emotion}"},
            emotions=[emotion],
        )
        for emotion in EMOTIONS
    }
    sample = project.add(
        "corpora/sample-1",
        "sample",
        "gan.sample.sample",
        {"gans": gans, "corpus": ingest},
        rows=drawn({emotion: f"hash-{emotion}" for emotion in EMOTIONS}),
    )
    gate = project.add(
        "classifiers/gate-1",
        "train_classifier",
        "classifiers.train.train_gate",
        {"corpus": augment},
        emotions=EMOTIONS,
    )
    score = project.add(
        "corpora/score-1",
        "score",
        "curation.gates.score",
        {"synthetic": sample, "corpus": augment, "classifier": gate},
        rows=drawn({emotion: f"hash-{emotion}" for emotion in EMOTIONS}),
        emotions=EMOTIONS,
    )
    bench = out / "benchmarks/benchmark-1"
    (bench / "cells").mkdir(parents=True)
    predictions = pd.DataFrame(
        {"id": ["face5", "face6"], "subject": "kdef/AM01", "predicted": "happy"}
    )
    predictions.to_parquet(bench / "predictions.parquet")
    predictions.to_parquet(bench / "cells" / "gan-0.parquet")
    project.finish(
        "benchmarks/benchmark-1",
        "benchmark",
        "classifiers.protocols.benchmark",
        {"corpus": augment, "synthetic": score},
        {},
        {
            "arms": {
                arm: {
                    "_target_": "curation.recipes.Recipe",
                    "parts": {origin: {"_target_": "curation.recipes.Part"}},
                }
                for arm, origin in (("original", "real"), ("synthetic", "gan"))
            },
            "emotions": EMOTIONS,
        },
    )
    publication = out / "publications/kdef-1"
    (publication / "original").mkdir(parents=True)
    write_corpus(
        [each for each in real_rows() if each["split"] == "train"], publication / "original"
    )
    (publication / "README.md").write_text("A card.")
    project.finish(
        "publications/kdef-1",
        "publish",
        "curation.publish.publish",
        {"corpus": augment, "synthetic": score},
        {},
        {},
    )
    project.add(
        "reports/report-1",
        "report",
        "classifiers.report.report",
        {"corpus": [augment], "gans": [gans], "results": ["benchmarks/benchmark-1"]},
    )
    (out / "published").symlink_to("publications/kdef-1")
    (out / "report.html").symlink_to("reports/report-1/report.html")
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "small")


@pytest.fixture
def project(built, tmp_path):
    copy = Project(tmp_path / "out" / "small")
    shutil.copytree(built.out, copy.out, symlinks=True)
    copy.folders = dict(built.folders)
    return copy


def touches(out, *subjects):
    (findings,) = find([out], [f"kdef/{name}" for name in subjects])
    return {each.artifact.place: {touch.how for touch in each.touches} for each in findings.touched}


def words(out, place, *subjects):
    (findings,) = find([out], [f"kdef/{name}" for name in subjects])
    (found,) = [each for each in findings.touched if each.artifact.place == place]
    return [touch.words for touch in found.touches]


def test_a_training_subject_is_found_in_everything(project):
    found = touches(project.out, "AF01")
    assert found == {
        "corpora/ingest-1": {HOLDS},
        "corpora/augment-1": {HOLDS},
        "gans/happy-1": {TRAINED},
        "gans/sad-1": {TRAINED},
        "corpora/sample-1": {HOLDS},
        "classifiers/gate-1": {TRAINED},
        "corpora/score-1": {HOLDS, MEASURED},
        "benchmarks/benchmark-1": {TRAINED},
        "publications/kdef-1": {HOLDS},
        "reports/report-1": {MEASURED},
    }


def test_rows_are_counted_by_origin_and_split(project):
    (line,) = words(project.out, "corpora/augment-1", "AF01")
    assert line == "holds 4 pictures: 2 geometric copies (train), 2 real (train)"
    (line,) = words(project.out, "corpora/sample-1", "AF01")
    assert line == "holds 6 pictures: 6 generated (train)"
    (line,) = words(project.out, "publications/kdef-1", "AF01")
    assert line == "holds 2 pictures in original: 2 real (train)"
    assert "was trained on 1 picture: 1 real (train)" in words(project.out, "gans/sad-1", "AF01")
    trained = words(project.out, "benchmarks/benchmark-1", "AF01")
    # two of the three faces of each emotion were kept
    assert trained == [
        "has cells of arm original trained on 2 pictures: 2 real (train)",
        "has cells of arm synthetic trained on 4 pictures: 4 generated (train)",
    ]


def test_a_test_subject_was_only_measured(project):
    found = touches(project.out, "AM01")
    assert found == {
        "corpora/ingest-1": {HOLDS},
        "corpora/augment-1": {HOLDS},
        "benchmarks/benchmark-1": {MEASURED},
        "reports/report-1": {MEASURED},
    }
    assert words(project.out, "benchmarks/benchmark-1", "AM01") == [
        "holds 4 judgements of their pictures",
        "has all cells tested on 2 pictures: 2 real (test)",
    ]
    (findings,) = find([project.out], ["kdef/AM01"])
    passed = {each.artifact.place for each in findings.passed}
    assert passed == {"gans/happy-1", "gans/sad-1", "classifiers/gate-1", "corpora/score-1"}


def test_a_gan_of_an_emotion_that_a_subject_never_showed_is_clean(project):
    found = touches(project.out, "AF03")
    assert "gans/happy-1" in found
    assert "gans/sad-1" not in found
    (line,) = words(project.out, "corpora/sample-1", "AF03")
    assert line == "holds 3 pictures: 3 generated (train)"


def test_a_trunk_hands_on_whom_it_learned_from(tmp_path):
    project = Project(tmp_path)
    ingest = project.add("corpora/ingest-1", "ingest", "curation.ingest.ingest", rows=real_rows())
    trunk = project.add(
        "gans/trunk-1",
        "train_trunk",
        "gan.train.train",
        {"corpus": ingest},
        {"generator": "hash-trunk"},
        emotions=EMOTIONS,
    )
    project.add(
        "gans/sad-1",
        "train_gan",
        "gan.train.train",
        {"corpus": ingest, "trunk": trunk},
        {"generator": "hash-sad"},
        emotions=["sad"],
    )
    project.add(
        "corpora/sample-1",
        "sample",
        "gan.sample.sample",
        {"gans": {"sad": "gans/sad-1"}, "corpus": ingest},
        rows=drawn({"sad": "hash-sad"}),
    )
    assert words(tmp_path, "gans/sad-1", "AF03") == ["goes on from gans/trunk-1, which is touched"]
    assert touches(tmp_path, "AF03")["corpora/sample-1"] == {HOLDS}
    assert "gans/sad-1" not in touches(tmp_path, "AM01")


def test_inputs_come_before_what_was_made_of_them(project):
    (findings,) = find([project.out], ["kdef/AF01"])
    places = [each.artifact.place for each in findings.touched]
    for above, below in [
        ("corpora/ingest-1", "corpora/augment-1"),
        ("gans/sad-1", "corpora/sample-1"),
        ("corpora/score-1", "benchmarks/benchmark-1"),
        ("benchmarks/benchmark-1", "reports/report-1"),
    ]:
        assert places.index(above) < places.index(below)


class Mean:
    """An extractor."""

    name, hash, resizer = "mean colour", "v1", "none"

    def __call__(self, images):
        return images.mean(axis=(2, 3), dtype=np.float32)


def remember(project, name, where):
    """Cache features of some rows of a corpus, and return the file."""
    before = set(cached_files(project.out))
    corpus = Corpus(project.out / name)
    Cached(Mean(), project.out / "features")(corpus.images(where(corpus.facts)))
    (path,) = set(cached_files(project.out)) - before
    return path


def of(*people):
    return lambda facts: facts["subject"].isin([f"kdef/{name}" for name in people]).to_numpy()


def test_cached_features_of_a_person_are_listed_and_deleted(project, capsys):
    everybody = remember(project, "corpora/ingest-1", of("AF01", "AF02", "AF03"))
    others = remember(project, "corpora/ingest-1", of("AF02", "AM01"))
    # faces that were drawn by a generator which learned from them
    drawn_from = remember(project, "corpora/sample-1", lambda facts: facts["emotion"] == "sad")
    assert main(["subject=kdef/AF01", "--in", str(project.out)]) == 0
    place = everybody.parent.relative_to(project.out).as_posix()
    told = "features of 2 sets of pictures, theirs or of unknown people among them"
    assert f"  {place}\n    {told}" in capsys.readouterr().out
    assert everybody.exists()
    assert main(["subject=kdef/AF01", "--in", str(project.out), "--retire"]) == 0
    assert cached_files(project.out) == [others]
    (note,) = read_json(project.out / "forgotten.json")["forgotten"]
    removed = {path.relative_to(project.out).as_posix() for path in (everybody, drawn_from)}
    assert set(note["features_removed"]) == removed


def test_cached_features_of_nobody_knows_whom_are_deleted(project):
    unknown = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    Cached(Mean(), project.out / "features")(unknown)
    damaged = remember(project, "corpora/ingest-1", of("AF02"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    half = damaged.with_name("tmp1.features.npz.partial")  # of a killed run
    half.write_bytes(b"PK")
    kept = remember(project, "corpora/ingest-1", of("AF03"))
    (findings,) = find([project.out], ["kdef/AM01"])
    assert len(findings.features) == 3
    retire(findings, ["kdef/AM01"])
    assert cached_files(project.out) == [kept]


def test_a_benchmark_whose_record_has_names_of_arms_alone_is_traced(project):
    path = project.out / "benchmarks/benchmark-1/benchmark.json"
    record = read_json(path)
    record["config"]["arms"] = ["original", "geometric", "synthetic", "my_own"]
    write_json(path, record)
    assert words(project.out, "benchmarks/benchmark-1", "AF01") == [
        "has cells of arm original trained on 2 pictures: 2 real (train)",
        "has cells of arm geometric trained on 4 pictures: 2 geometric copies (train), "
        "2 real (train)",
        # of a recipe that is not recorded, some of everything
        "has cells of arm my_own trained on some of 4 pictures: 2 geometric copies (train), "
        "2 real (train)",
        "has cells of arm synthetic trained on 4 pictures: 4 generated (train)",
        "has cells of arm my_own trained on some of 6 pictures: 6 generated (train)",
    ]
    assert touches(project.out, "AM01")["benchmarks/benchmark-1"] == {MEASURED}


def test_an_input_that_is_gone_cannot_be_checked(project):
    shutil.rmtree(project.out / "corpora/ingest-1")
    (findings,) = find([project.out], ["kdef/AF01"])
    why = {each.artifact.place: each.unchecked for each in findings.unchecked}
    assert "gans/happy-1" in why
    assert "is not here" in why["gans/happy-1"][0]
    # what an unknown network drew is as unknown as the network
    assert "3 faces of generator hash-happy, which could not be checked" in why["corpora/sample-1"]
    assert "corpora/augment-1" not in why  # its rows tell
    assert "corpora/augment-1" in {each.artifact.place for each in findings.touched}


def test_of_two_equal_folders_the_one_that_was_read_is_upstream(project):
    copy = project.out / "corpora/another-1"
    shutil.copytree(project.out / "corpora/augment-1", copy)
    (findings,) = find([project.out], ["kdef/AM01"])
    bench = next(each for each in findings.touched if each.artifact.stage == "benchmark")
    places = [each.artifact.place for each in findings.touched]
    assert places.index("corpora/augment-1") < places.index(bench.artifact.place)
    assert "corpora/another-1" in places


def test_a_folder_of_the_same_name_with_other_content_is_not_the_input(project):
    path = project.out / "corpora/ingest-1/corpus.json"
    write_json(path, {**read_json(path), "content": "something else"})
    (findings,) = find([project.out], ["kdef/AF01"])
    assert "gans/sad-1" in {each.artifact.place for each in findings.unchecked}


def test_what_one_experiment_reads_from_another_is_followed(project, tmp_path):
    other = Project(tmp_path / "out" / "other")
    place = str(project.out / "corpora/augment-1")
    other.folders[place] = project.folders["corpora/augment-1"]
    other.add(
        "classifiers/gate-1",
        "train_classifier",
        "classifiers.train.train_gate",
        {"corpus": place},
        emotions=EMOTIONS,
    )
    assert touches(other.out.parent / "small", "AF01")  # not empty: the same people
    findings = find([project.out, other.out], ["kdef/AF01"])
    assert [each.artifact.place for each in findings[1].touched] == ["classifiers/gate-1"]


def test_a_corpus_without_a_record_counts(tmp_path):
    folder = tmp_path / "corpora" / "by hand"
    folder.mkdir(parents=True)
    write_corpus(real_rows(), folder)
    assert touches(tmp_path, "AF02") == {"corpora/by hand": {HOLDS}}


def test_a_stage_that_nobody_knows_counts_as_touched(project):
    project.add(
        "classifiers/mine-1",
        "train_mine",
        "elsewhere.train",
        {"corpus": "corpora/augment-1"},
    )
    assert touches(project.out, "AM01")["classifiers/mine-1"] == {TRAINED}


def test_every_stage_of_the_road_is_described():
    stages = Path(__file__).parents[1] / "conf" / "stage"
    targets = {
        OmegaConf.load(path).get("call", {}).get("_target_") for path in stages.glob("*.yaml")
    } - {None}
    assert len(targets) > 8
    # a report shows all that it is given, which is what an undescribed stage is taken to do
    assert targets - _USES.keys() == {"classifiers.report.report"}


def test_nothing_changes_without_being_told_to(project, capsys):
    before = tree_state(project.out)
    assert main(["subject=kdef/AF01", "--in", str(project.out)]) == 0
    text = capsys.readouterr().out
    assert tree_state(project.out) == before
    assert "10 of 10 finished folders touched" in text
    assert "Nothing was changed" in text
    assert "was trained on 1 picture: 1 real (train)" in text


def test_retiring_moves_whole_folders_and_notes_it(project, capsys):
    contents = {
        name: folder_hash(project.out / name, without="") for name in touches(project.out, "AM01")
    }
    assert main(["subject=kdef/AM01", "--in", str(project.out), "--retire"]) == 0
    (away,) = (project.out / "retired").iterdir()
    assert {name: folder_hash(away / name, without="") for name in contents} == contents
    assert not any((project.out / name).exists() for name in contents)
    assert (project.out / "gans/happy-1/gan.json").exists()
    assert (project.out / "published").exists()
    assert not (project.out / "report.html").is_symlink()
    (note,) = read_json(project.out / "forgotten.json")["forgotten"]
    assert note["subjects"] == ["kdef/AM01"]
    assert note["links_removed"] == ["report.html"]
    assert {entry["place"] for entry in note["retired"]} == set(contents)
    (bench,) = [each for each in note["retired"] if each["what"] == "benchmark"]
    assert {touch["how"] for touch in bench["touched"]} == {MEASURED}
    assert "'forget=[kdef/AM01]'" in capsys.readouterr().out


def test_the_advice_names_all_that_were_ever_forgotten(project, capsys):
    main(["subject=kdef/AM01", "--in", str(project.out), "--retire"])
    capsys.readouterr()
    main(["subject=kdef/AF01", "--in", str(project.out), "--retire"])
    assert "'forget=[kdef/AF01,kdef/AM01]'" in capsys.readouterr().out
    assert len(read_json(project.out / "forgotten.json")["forgotten"]) == 2


def test_an_interrupted_retirement_is_finished_by_the_next(project, monkeypatch):
    everything = set(touches(project.out, "AF01"))
    moved = []
    move = forget._move

    def failing(source, target):
        if len(moved) == 3:
            raise OSError("the disk went away")
        moved.append(source.relative_to(project.out).as_posix())
        move(source, target)

    monkeypatch.setattr(forget, "_move", failing)
    (findings,) = find([project.out], ["kdef/AF01"])
    with pytest.raises(OSError, match="disk went away"):
        retire(findings, ["kdef/AF01"], stamp="first")
    (note,) = read_json(project.out / "forgotten.json")["forgotten"]
    assert [entry["place"] for entry in note["retired"]] == moved
    # what is left can still be traced to the person, even without what was moved
    shutil.rmtree(project.out / "retired")
    assert set(touches(project.out, "AF01")) == everything - set(moved)
    monkeypatch.setattr(forget, "_move", move)
    (findings,) = find([project.out], ["kdef/AF01"])
    retire(findings, ["kdef/AF01"], stamp="second")
    assert not any((project.out / name).exists() for name in everything)


def test_a_running_experiment_is_left_alone(project, capsys):
    before = touches(project.out, "AF01")
    with FileLock(project.out / "corpora" / ".score-1.lock"):
        assert main(["subject=kdef/AF01", "--in", str(project.out), "--retire"]) == 2
    assert "a run is at work" in capsys.readouterr().err
    assert touches(project.out, "AF01") == before


def test_what_a_killed_run_left_is_named(project, capsys):
    (project.out / "gans" / ".sad-2.partial").mkdir()
    main(["subject=kdef/AF01", "--in", str(project.out)])
    text = capsys.readouterr().out
    assert "left by a killed run, not looked into\n    gans/.sad-2.partial" in text


def test_inspection_pages_of_touched_corpora_go_too(project):
    page = project.out / "inspect-something.html"
    content = project.folders["corpora/augment-1"]
    page.write_text(f'<head><meta name="affectory-corpus" content="{content}"></head>')
    other = project.out / "inspect-other.html"
    other.write_text('<head><meta name="affectory-corpus" content="0000000000"></head>')
    (findings,) = find([project.out], ["kdef/AM01"])
    away = retire(findings, ["kdef/AM01"])
    assert (away / page.name).exists()
    assert other.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["subject=kdef/AM1"], "did you mean kdef/AM01"),
        (["subject=AM01"], "did you mean kdef/AM01?"),
        (["kdef/AF01"], "write subject=<name>"),
        (["subject=kdef/AF01", "--in", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_wrong_words_are_named(project, arguments, message, capsys):
    place = [] if "--in" in arguments else ["--in", str(project.out)]
    assert main([*arguments, *place]) == 2
    assert message in capsys.readouterr().err


def test_without_a_place_all_experiments_are_looked_at(project, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["subject=kdef/AF01"]) == 0
    assert "small: 10 of 10" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "out" / "small" / "gans")
    assert main(["subject=kdef/AF01"]) == 2
    assert "no experiment below out/" in capsys.readouterr().err


DATABASE = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Small:
    people: int = 4

    @property
    def expected(self):
        return {}

    def rows(self):
        for person in range(self.people):
            for number, emotion in enumerate(("happy", "sad")):
                image = np.random.default_rng([person, number]).integers(0, 255, (8, 8, 3))
                yield {
                    "image": image.astype(np.uint8), "emotion": emotion, "database": "small",
                    "subject": f"small/P{person}", "session": None, "pose": None, "sex": None,
                    "split": None, "valence": None, "arousal": None,
                    "source": f"{person}/{emotion}",
                }
"""
ROAD = """
command: run
run: [ingest, augment]
seed: 0
out: {out}
emotions: [happy, sad]
emotion: all
folds: 1
fold: all
forget: []
stages:
  ingest:
    version: 1
    each: []
    folder: corpora/ingest
    record: corpus.json
    reads: {{}}
    call:
      _target_: curation.ingest.ingest
      database: {{_target_: small_database.Small}}
      split: {{_target_: curation.corpus.split_subjects, _partial_: true, test: 0.5}}
      emotions: ${{emotions}}
      forget: ${{forget}}
  augment:
    version: 1
    each: []
    folder: corpora/augment
    record: corpus.json
    reads: {{corpus: ingest}}
    call:
      _target_: small_database.passed_on
"""


def test_a_retired_experiment_runs_again_without_the_person(tmp_path, monkeypatch, capsys):
    stage = (
        "\nfrom curation.corpus import Corpus, write_corpus\n"
        "def passed_on(*, corpus, out):\n"
        "    return {'rows': write_corpus(Corpus(corpus).rows(), out, Corpus(corpus).emotions)}\n"
    )
    (tmp_path / "small_database.py").write_text(DATABASE + stage)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "small_database", raising=False)
    out = tmp_path / "out"
    cfg = OmegaConf.create(ROAD.format(out=out))
    before = Corpus(run(cfg)[-1].folder).facts
    assert main(["subject=small/P2", "--in", str(out), "--retire"]) == 0
    assert "'forget=[small/P2]'" in capsys.readouterr().out
    assert not list((out / "corpora").glob("[!.]*"))
    after = Corpus(run(OmegaConf.merge(cfg, {"forget": ["small/P2"]}))[-1].folder).facts
    assert set(after["subject"]) == {"small/P0", "small/P1", "small/P3"}
    # nobody else changes sides
    sides = before.set_index("source")["split"]
    assert (after.set_index("source")["split"] == sides[after["source"]].to_numpy()).all()
    assert main(["subject=small/P2", "--in", str(out)]) == 0
    assert "0 of 2 finished folders touched" in capsys.readouterr().out


def test_what_was_retired_still_tells_whom_the_rest_learned_from(project, capsys):
    assert main(["subject=kdef/AM01", "--in", str(project.out), "--retire"]) == 0
    assert "4 folders that stay were made from other rows" in capsys.readouterr().out
    found = touches(project.out, "AF01")
    assert found["gans/sad-1"] == {TRAINED}
    assert not [place for place in found if place.startswith("retired")]
    assert "corpora/ingest-1" not in found
    (away,) = (project.out / "retired").iterdir()
    assert (away / "corpora/ingest-1").is_dir()
    shutil.rmtree(away)
    (findings,) = find([project.out], ["kdef/AF01"])
    assert "gans/sad-1" in {each.artifact.place for each in findings.unchecked}


def test_what_trainings_keep_is_deleted_with_a_person_and_only_then(project, capsys):
    kept = project.out / "cache" / "pictures" / "pictures-1.npy"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"faces")
    main(["subject=kdef/nobody", "--in", str(project.out), "--retire"])
    assert kept.exists()
    capsys.readouterr()
    assert main(["subject=kdef/AF01", "--in", str(project.out), "--retire"]) == 0
    assert "what trainings of recognisers keep" in capsys.readouterr().out
    assert not kept.exists()
    note = read_json(project.out / "forgotten.json")["forgotten"][-1]
    assert "cache/pictures/pictures-1.npy" in note["features_removed"]
