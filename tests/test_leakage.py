"""A test person planted at each place upstream stops the run and is named."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf

from curation.corpus import content_id, write_corpus
from curation.leakage import LeakError, refuse_leaks, refuse_taught_by_generated
from curation.pipeline import run


def picture(number):
    return np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)


def row(number, subject, split="train", origin="real", **more):
    facts = {"emotion": "happy", "subject": subject, "split": split, "origin": origin}
    return {"image": picture(number), **facts, **more}


class Upstream:
    """A small experiment: corpus → augment → GAN and classifier → sample."""

    def __init__(self, root):
        self.root = root
        self.extra = {}

    def finish(self, name, stage, inputs=(), rows=None):
        folder = self.root / name
        folder.mkdir()
        if rows is not None:
            write_corpus(rows, folder)
        given = {f"in{i}": {"path": str(self.root / each)} for i, each in enumerate(inputs)}
        (folder / "record.json").write_text(json.dumps({"stage": stage, "inputs": given}))
        return folder

    def build(self):
        people = [row(1, "lab/a"), row(2, "lab/b"), row(3, "lab/t", split="test")]
        child = row(11, "lab/a", origin="geometric", parent=content_id(picture(1)))
        self.finish("standardise", "standardise", rows=people)
        self.finish("web", "standardise", rows=[row(5, "web/x"), *self.extra.get("web", [])])
        augmented = [*people, child, *self.extra.get("augment", [])]
        corpus = self.finish("augment", "augment", ["standardise"], augmented)
        self.finish("gan", "train_gan", ["standardise", "web"])
        taught = [*people, *self.extra.get("classifier", [])]
        self.finish("other", "augment", [], taught)
        classifier = self.finish("gate", "train_classifier", ["other"])
        drawn = row(20, None, origin="gan", generator="abc")
        sample = self.finish("sample", "sample", ["gan"], [drawn])
        return sample, corpus, classifier


def test_people_on_one_side_each_pass(tmp_path):
    folders = Upstream(tmp_path).build()
    refuse_leaks(folders)
    refuse_taught_by_generated(folders[2])


@pytest.mark.parametrize(
    ("place", "planted", "said"),
    [
        ("web", row(6, "lab/t"), r"lab/t is in split train of .*web .*train_gan gan"),
        ("web", row(3, "web/y"), r"web/y is in split train of .*web "),  # another name, one picture
        ("classifier", row(7, "lab/t"), r"lab/t .* of .*other .*train_classifier gate"),
        ("classifier", row(8, "lab/t", split="validation"), r"lab/t is in split validation"),
        (
            "augment",
            row(9, None, origin="geometric", parent=content_id(picture(3))),
            rf"unknown name is in split train of .*augment .*a child of {content_id(picture(3))}",
        ),
        (
            "augment",
            row(10, "lab/a", origin="geometric", parent=content_id(picture(3))),
            r"lab/a is in split train",
        ),
    ],
)
def test_a_test_person_upstream_stops_the_run_and_is_named(tmp_path, place, planted, said):
    upstream = Upstream(tmp_path)
    upstream.extra[place] = [planted]
    with pytest.raises(LeakError, match=said) as error:
        refuse_leaks(upstream.build())
    assert content_id(planted["image"]) in str(error.value)


def test_a_grandchild_is_found(tmp_path):
    upstream = Upstream(tmp_path)
    child = row(9, "lab/t", split="test", origin="geometric", parent=content_id(picture(3)))
    grandchild = row(12, None, origin="geometric", parent=content_id(picture(9)))
    upstream.extra["augment"] = [child, grandchild]
    with pytest.raises(LeakError, match=content_id(picture(12))):
        refuse_leaks(upstream.build())


def test_a_classifier_that_saw_generated_faces_is_refused(tmp_path):
    drawn = row(30, None, origin="gan", generator="abc")
    child = row(31, None, origin="geometric", parent=content_id(picture(30)))
    upstream = Upstream(tmp_path)
    upstream.extra["classifier"] = [drawn, child]
    _, _, classifier = upstream.build()
    with pytest.raises(LeakError, match=r"holds 2 generated pictures .*origin gan"):
        refuse_taught_by_generated(classifier)


def test_folders_without_records_are_no_obstacle(tmp_path):
    write_corpus([row(1, "lab/a")], tmp_path)
    refuse_leaks([tmp_path, tmp_path / "absent"])


STAGES = """
import numpy as np
from curation.corpus import write_corpus

def people(*, names, out):
    write_corpus(
        (
            {"image": np.full((4, 4, 3), place, np.uint8), "emotion": "happy", "origin": "real",
             "subject": name, "split": split}
            for place, (name, split) in enumerate(names.items(), start=len(out.name))
        ),
        out,
    )
    return {}

def learned(*, corpus, extra, out):
    (out / "weights.bin").write_bytes(b"w")
    return {}
"""

CONFIG = """
command: run
run: [lab, web, train_gan]
seed: 0
out: {out}
emotions: [happy]
emotion: all
folds: 1
fold: all
stages:
  lab:
    {{version: 1, each: [], folder: corpora/lab, record: corpus.json, reads: {{}},
      call: {{_target_: leaking_road.people, names: {{lab/a: train, lab/t: test}}}}}}
  web:
    {{version: 1, each: [], folder: corpora/web-more, record: corpus.json, reads: {{}},
      call: {{_target_: leaking_road.people, names: {{{person}: train}}}}}}
  train_gan:
    {{version: 1, each: [], folder: gans/happy, record: gan.json,
      reads: {{corpus: lab, extra: web}},
      call: {{_target_: leaking_road.learned}}}}
"""


def test_the_pipeline_stops_before_the_stage_that_would_learn(tmp_path, monkeypatch):
    (tmp_path / "leaking_road.py").write_text(STAGES)
    monkeypatch.syspath_prepend(tmp_path)
    for person in ("web/x", "lab/t"):
        out = tmp_path / person.replace("/", "-")
        cfg = OmegaConf.create(CONFIG.format(out=out, person=person))
        if person == "lab/t":
            with pytest.raises(LeakError, match="test subject lab/t is in split train"):
                run(cfg)
            assert not list(out.glob("gans/happy-*"))
        else:
            run(cfg)
            assert list(out.glob("gans/happy-*"))
