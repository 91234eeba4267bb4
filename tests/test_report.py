import base64
import json
import re
import shutil
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from classifiers.report import SECTIONS, report
from classifiers.report_parts import charts, evidence, pictures
from classifiers.report_parts.charts.axes import round_ticks
from classifiers.report_parts.tables import points
from classifiers.report_parts.training import FRAMES
from curation.corpus import EMOTIONS, content_id, write_corpus
from curation.lineage import lineage, read_record

SIDE = 48
FIVE = ("angry", "happy", "neutral", "sad", "surprise")


def face(emotion, person, shade=0):
    """A drawn stand-in: a disc whose mouth bends with the emotion."""
    image = np.full((SIDE, SIDE, 3), 90 + 4 * person, np.uint8)
    skin = (200 - 6 * person, 160, 120 + 5 * person)
    cv2.circle(image, (24, 24), 20, skin, -1, cv2.LINE_AA)
    for x in (17, 31):
        cv2.circle(image, (x, 19), 3, (30, 30, 30), -1, cv2.LINE_AA)
    bend = EMOTIONS.index(emotion) - 3
    curve = [(x, 33 + bend * abs(x - 24) // 6) for x in range(15, 34, 3)]
    cv2.polylines(image, [np.array(curve)], False, (120, 30, 40), 2, cv2.LINE_AA)
    noise = np.random.default_rng([person, shade, bend + 9]).integers(0, 25, image.shape)
    return np.clip(image.astype(int) + noise - 12 + shade, 0, 255).astype(np.uint8)


def corpus_rows(people=8):
    for person in range(people):
        for emotion in FIVE:
            image = face(emotion, person)
            row = {
                "image": image,
                "emotion": emotion,
                "database": "puppets_studio",
                "subject": f"puppets_studio/{person}",
                "split": "train",
                "origin": "real",
            }
            yield row
            for copy in range(2):
                yield row | {
                    "image": np.roll(image, copy + 1, axis=1),
                    "origin": "geometric",
                    "parent": content_id(image),
                }


def synthetic_rows(each=20):
    for emotion in FIVE:
        for index in range(each):
            # every face of sad is refused, some others too
            wrong = emotion == "sad" or index % 4 == 0
            reason = "agreement: read as fear, 0.21 < 0.50 <b>bold</b>" if wrong else None
            if not wrong and index % 5 == 0:
                reason = "copy: 0.012 from training face ab12, under 0.030"
            yield {
                "image": face(emotion, index % 8, shade=20 + index),
                "emotion": emotion,
                "database": "puppets_studio",
                "split": "train",
                "origin": "gan",
                "generator": content_id(face(emotion, 0)),
                "seed": index,
                "truncation": 0.8,
                "predicted": "fear" if wrong else emotion,
                "agreement": 0.2 if wrong else 0.9,
                "confidence": 0.9,
                "keep": reason is None,
                "reason": reason,
            }


def figure(value, n_fake=20):
    return {
        "value": value,
        "n_real": 8,
        "n_fake": n_fake,
        "interval": [value * 0.8, value * 1.2],
        "floor": value / 4,
        "at_floor_n": value * 1.1,
        "n_floor": 4,
        "small_sample": True,
    }


def metrics():
    lines = [
        {
            "emotion": emotion,
            "extractor": "a <tiny> extractor",
            "hash": "12ab",
            "resizer": "none",
            "k": 5,
            "seed": 0,
            "frechet": figure(3.0 + index),
            "kernel": figure(0.02 * index),
            "precision": figure(0.5),
            "recall": figure(0.4),
            "density": figure(0.9),
            "coverage": figure(0.6),
        }
        for index, emotion in enumerate((*FIVE[:4], "all"))
    ]
    lines.append({"emotion": "surprise", "extractor": "a <tiny> extractor", "missing": "3 faces"})
    copies = {
        "threshold": 0.03, "quantile": 0.01, "n_faces": 40, "n_subjects": 8,
        "closest": 0.01, "median": 0.2, "n_planted": 40, "planted_caught": 0.95,
    }  # fmt: skip
    return {"seed": 0, "copies": copies, "fidelity": lines}


def write_record(folder, name, stage, inputs, **more):
    record = {
        "stage": stage,
        "config": {"_target_": "a.b", "steps": 10, "root": "/home/somebody/faces"},
        "inputs": {key: {"path": str(path), "content": "0f" * 5} for key, path in inputs.items()},
        "seed": 0,
        "versions": {"python": "3.11.9", "torch": "2.14.1"},
        "seconds": 75.0,
        "content": f"c0ffee-{stage}",
        **more,
    }
    (folder / name).write_text(json.dumps(record))


def write_gan(folder, emotion):
    (folder / "samples").mkdir(parents=True)
    sheet = np.vstack([np.hstack([face(emotion, person) for person in range(10)])] * 3)
    for step in range(0, 600, 100):
        cv2.imwrite(str(folder / "samples" / f"step-{step:06d}.png"), sheet[..., ::-1])
    steps = np.arange(0, 2000, 10)
    losses = {"loss_discriminator": np.exp(-steps / 900), "loss_generator": 1 + steps / 900}
    pd.DataFrame({"step": steps, **losses}).to_csv(folder / "metrics.csv", index=False)


def experiment(root, bench):
    folders = {name: root / name for name in ("augmented", "selected", "gate", "angry", "bench")}
    for name in ("augmented", "selected", "gate"):
        folders[name].mkdir(parents=True)
    write_corpus(corpus_rows(), folders["augmented"])
    write_corpus(synthetic_rows(), folders["selected"])
    (folders["selected"] / "metrics.json").write_text(json.dumps(metrics()))
    recall = {name: {"value": 0.75, "low": 0.6, "high": 0.9, "n": 8} for name in FIVE}
    write_record(folders["augmented"], "corpus.json", "augment", {})
    write_record(
        folders["gate"], "classifier.json", "train_classifier", {"corpus": folders["augmented"]},
        facts={"out_of_fold": {"recall": recall}},
    )  # fmt: skip
    write_gan(folders["angry"], "angry")
    write_record(
        folders["angry"], "gan.json", "train_gan", {"corpus": folders["augmented"]}, emotion="angry"
    )
    nested = {"gans": {"angry": folders["angry"]}, "classifier": folders["gate"]}
    write_record(folders["selected"], "corpus.json", "select", {})
    record = json.loads((folders["selected"] / "corpus.json").read_text())
    entry: dict[str, Any] = {key: {"path": str(nested[key])} for key in ("classifier",)}
    entry["gans"] = {"angry": {"path": str(folders["angry"]), "content": "ab"}}
    (folders["selected"] / "corpus.json").write_text(json.dumps(record | {"inputs": entry}))
    bench.write(folders["bench"])
    return folders


def write_report(folders, out, **more):
    out.mkdir()
    settings = {
        "title": "Faces & <script>alert(1)</script>",
        "emotions": FIVE,
        "command": "affectory run experiment=quickstart",
        "gans": {"angry": folders["angry"]},
        "classifier": [folders["gate"]],
        "results": [folders["bench"]],
    }
    facts = report(
        corpus=[folders["augmented"]],
        synthetic=[folders["selected"]],
        out=out,
        **settings | more,
    )
    return (out / "report.html").read_text(encoding="utf-8"), facts


@pytest.fixture(scope="module")
def bench(made_up, test_pictures):
    """Twenty-four people of one database; seven seeds settle a gain."""
    people = test_pictures("puppets_lab", people=24, takes=2, emotions=FIVE)

    def build(**changed):
        return made_up(people, **{"seeds": range(7), "emotions": FIVE, "luck": 0.05} | changed)

    return build


@pytest.fixture(scope="module")
def made(tmp_path_factory, bench):
    root = tmp_path_factory.mktemp("report")
    folders = experiment(root, bench())
    page, facts = write_report(folders, root / "page")
    return page, facts, folders


class Page(HTMLParser):
    """Collects what a browser would load, and whether every element is closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.ids, self.images, self.words = [], [], [], [], []
        self.svgs = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.loads += [given[key] for key in ("src", "srcset", "data", "poster") if key in given]
        if tag in ("link", "use", "image", "a"):
            self.loads += [given[key] for key in ("href", "xlink:href") if key in given]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "img":
            self.images.append(given)
        if tag == "svg":
            self.svgs.append(given)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(page):
    parser = Page()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def text_of(page):
    return " ".join(" ".join(parsed(page).words).split())


def test_page_loads_nothing_from_outside(made):
    page = parsed(made[0])
    kept = ("data:image/", "data:text/csv", "data:application/x-tex", "#")
    assert [load for load in page.loads if not load.startswith(kept)] == []
    assert "url(" not in made[0]
    assert "@import" not in made[0]
    assert "<script" not in made[0]


def test_every_section_is_there_in_order_and_linked(made):
    page = parsed(made[0])
    # no network lies in the folder of the classifier that is made up here
    present = [key for key in SECTIONS if key not in ("explain", "papers", "ratios", "frontier")]
    own = [name for name in page.ids if not name.startswith(("table-", "caption-"))]
    assert own == ["headline", *present]
    assert [load[1:] for load in page.loads if load.startswith("#")] == present
    assert len(set(page.ids)) == len(page.ids)


def test_pictures_have_words_and_are_readable(made):
    page = parsed(made[0])
    assert all(image["alt"] for image in page.images)
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.svgs)
    # 5 emotions: 8 real, 8 copies, 8 kept and 8 rejected, but no kept face of sad and
    # fewer refused ones elsewhere; then a film of the GAN's training
    first = page.images[0]["src"].split(",", 1)[1]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(first), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (SIDE, SIDE, 3)
    assert page.images[0]["width"] == str(2 * SIDE)
    assert len([image for image in page.images if image.get("class") == "film"]) == FRAMES


def test_text_from_outside_is_escaped(made):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made[0]
    assert "<b>bold</b>" not in made[0]
    assert "a &lt;tiny&gt; extractor" in made[0]


def test_verdict_is_that_of_the_summary(made, bench, tmp_path):
    page, facts, folders = made
    claims = {
        claim["arm"]: claim
        for claim in json.loads((folders["bench"] / "summary.json").read_text())["claims"]
    }
    assert {row["arm"]: row["verdict"] for row in facts["verdicts"]} == {
        arm: claim["verdict"] for arm, claim in claims.items()
    }
    gan = claims["gan"]
    assert gan["verdict"] == "helps"
    headline = page[page.index("verdicts") : page.index("</ul>")]
    assert 'class="helps"' in headline
    assert points(gan["difference"]) in headline
    assert f"{points(gan['both']['low'])} to {points(gan['both']['high'])}" in headline
    assert "7 paired trainings, 24 people" in headline
    for gains, word in (
        ({"geometric": 0, "gan": -1.2}, "hurts"),
        ({"geometric": 0, "gan": 0}, "no-evidence"),
    ):
        root = tmp_path / word
        results = bench(gains=gains, references={"gan": "geometric"}).write(root / "bench")
        other, _ = write_report(folders, root / "page", results=results)
        assert f'<li class="{word}">' in other


def test_counts_stand_beside_figures(made):
    words = text_of(made[0])
    assert "From 40 real faces of 8 people (puppets_studio), 5 generators drew 100 faces" in words
    # agreement of angry: 15 of 20; ceiling 75 % of 8 faces
    assert re.search(r"angry 75\.0 53\.1 to 88\.8 20 75\.0 [\d.]+ to [\d.]+ 8 fear 5", words)
    assert "28 trainings: 1 backbone (small_cnn), 4 arms" in words
    assert "puppets_lab (240 pictures of 24 people)" in words
    assert "small sample" in words
    assert "No figures for surprise: 3 faces." in words


def test_warnings_name_what_is_wrong(made):
    text = " ".join(made[1]["warnings"])
    assert "No synthetic face of sad passed" in text
    assert "down to n = 8" in text


def test_gate_table_counts_reasons(made):
    faces = evidence.synthetic_faces([made[2]["selected"]])
    gates = evidence.gate_outcomes(faces, FIVE)
    rows = {row["emotion"]: row for row in gates["rows"]}
    assert rows["sad"]["rejected"] == {"agreement": 20}
    assert rows["angry"]["rejected"] == {"agreement": 5, "copy": 3}
    assert rows["all"]["made"] == 100
    assert rows["all"]["kept"] == made[1]["kept"] == 48


def test_every_stage_upstream_appears_once_inputs_first(made):
    folders = made[2]
    records = lineage([folders["selected"], folders["augmented"], folders["selected"]])
    assert [record.stage for record in records] == [
        "augment", "train_classifier", "train_gan", "select",
    ]  # fmt: skip
    assert records[2].name == "angry"
    assert records[0].settings == {"steps": 10}
    assert "5 min 00 s" in evidence.timings(records)["total"]


def test_lineage_survives_a_move(made, tmp_path):
    folders = made[2]
    moved = tmp_path / "moved"
    for name in ("augmented", "gate"):
        (moved / name).mkdir(parents=True)
        for path in folders[name].glob("*.json"):
            text = path.read_text().replace(str(folders["augmented"].parent), "/gone/away")
            (moved / name / path.name).write_text(text)
    assert [record.stage for record in lineage([moved / "gate"])] == ["augment", "train_classifier"]
    assert read_record(tmp_path) is None


def test_samples_are_random_by_seed_and_not_by_order(made):
    folders = made[2]
    strips = [
        pictures.sample_strips(
            [folders["augmented"]],
            [folders["selected"]],
            FIVE,
            columns=4,
            seed=seed,
            showing=pictures.Showing({}, frozenset(), restricted=True),
        )
        for seed in (0, 0, 1)
    ]
    uris = [[picture.uri for picture in strip["happy"][0].pictures] for strip in strips]
    assert uris[0] == uris[1] != uris[2]
    kept = strips[0]["sad"][2]
    assert (len(kept.pictures), kept.among) == (0, 0)


def test_folds_share_faces(made, tmp_path):
    folders = made[2]
    out = tmp_path / "page"
    out.mkdir()
    report(
        corpus=[folders["augmented"]] * 2,
        synthetic=[folders["selected"]] * 2,
        results=folders["bench"],
        classifier=[folders["gate"]] * 2,
        out=out,
        title="Two folds",
        emotions=FIVE,
    )
    words = text_of((out / "report.html").read_text())
    assert "From 40 real faces of 8 people" in words
    assert "the faces of 2 folds together" in words


def test_ceiling_counts_faces_and_not_judgements(made):
    faces = evidence.synthetic_faces([made[2]["selected"]])
    # in three folds each face is judged twice: 3 x 8 judgements are of 12 faces
    for folders, n in ((1, 8), (3, 12)):
        rows = evidence.agreement(faces, [made[2]["gate"]] * folders, FIVE)["rows"]
        assert rows[0]["real"].n == n
        assert rows[0]["real"].value == 0.75


def test_report_without_benchmark_says_so(made, tmp_path):
    folders = made[2]
    out = tmp_path / "page"
    out.mkdir()
    facts = report(
        corpus=folders["augmented"], synthetic=folders["selected"], out=out,
        title="Half", emotions=FIVE,
    )  # fmt: skip
    page = (out / "report.html").read_text()
    assert parsed(page).open == []
    assert facts["verdicts"] == []
    assert "it says nothing about usefulness" in page


def test_every_table_lies_beside_the_page(made, tmp_path):
    _, facts = write_report(made[2], tmp_path / "page")
    files = {path.name for path in (tmp_path / "page" / "tables").iterdir()}
    assert files == {f"{name}.{kind}" for name in facts["tables"] for kind in ("csv", "tex")}
    assert {"verdicts", "agreement", "gate-outcomes", "scores-puppets_lab", "time"} <= {
        *facts["tables"]
    }
    named = set(re.findall(r'id="table-([^"]+)"', made[0]))
    assert named == set(facts["tables"])


def test_a_page_without_synthetic_faces_leaves_their_sections_out(made, tmp_path):
    folders = made[2]
    out = tmp_path / "page"
    out.mkdir()
    facts = report(
        corpus=folders["augmented"], results=folders["bench"], out=out, title="", emotions=FIVE
    )
    page = (out / "report.html").read_text()
    own = [name for name in parsed(page).ids if name in SECTIONS]
    assert own == [
        "samples", "benchmark", "mistakes", "costs", "time", "provenance", "caveats",
    ]  # fmt: skip
    assert "Trained on 40 real faces of 8 people" in page
    assert "gates" not in text_of(page).split("Caveats")[1]
    assert facts["made"] == 0


def restricted(folder, made):
    """The experiment's real faces, as if they were of a database that must not be passed on."""
    folder.mkdir()
    rows = [
        row | {"database": "kdef", "subject": row["subject"].replace("puppets_studio", "kdef")}
        for row in corpus_rows(people=2)
    ]
    write_corpus(rows, folder)
    return folder


def test_faces_that_may_not_be_passed_on_are_shown_on_a_private_page_alone(made, tmp_path):
    corpus = restricted(tmp_path / "kdef", made)
    pages = {}
    for private in (False, True):
        out = tmp_path / f"page-{private}"
        out.mkdir()
        report(corpus=corpus, out=out, title="", emotions=FIVE, show_restricted=private)
        pages[private] = (out / "report.html").read_text()
    assert parsed(pages[False]).images == []
    assert "report.show_restricted=true" in pages[False]
    assert len(parsed(pages[True]).images) == 5 * (2 + 4)
    # a record of one's own allows it
    licences = tmp_path / "licences"
    licences.mkdir()
    record = "name: mine\ndatabases: [kdef]\nredistribute: true\nterms: free\n"
    (licences / "mine.yaml").write_text(record)
    out = tmp_path / "page-own"
    out.mkdir()
    report(corpus=corpus, out=out, title="", emotions=FIVE, licences=licences)
    assert len(parsed((out / "report.html").read_text()).images) == 30


def test_gan_faces_are_hidden_where_a_licence_forbids_what_was_learned(made, tmp_path):
    folders = made[2]
    licences = tmp_path / "licences"
    licences.mkdir()
    record = "name: mine\ndatabases: [puppets_studio]\nredistribute: false\n"
    record += "redistribute_synthetic: false\nterms: closed\n"
    (licences / "mine.yaml").write_text(record)
    page, _ = write_report(folders, tmp_path / "page", licences=licences)
    assert parsed(page).images == []
    assert 'class="film"' not in page


def test_cells_are_one_line_of_the_time_table_and_each_is_named_by_its_hash(made, tmp_path):
    cells = []
    for run, arm in ((0, "geometric"), (1, "geometric"), (0, "gan")):
        folder = tmp_path / f"cell-{arm}-{run}"
        folder.mkdir()
        write_record(
            folder, "cell.json", "train_cell", {},
            split="external", part=0, backbone="small_cnn", arm=arm, trial=run,
            content=f"feed{arm}{run}",
        )  # fmt: skip
        cells.append({"path": str(folder), "content": "x"})
    results = tmp_path / "bench"
    shutil.copytree(made[2]["bench"], results)
    write_record(results, "benchmark.json", "benchmark", {})
    record = json.loads((results / "benchmark.json").read_text())
    (results / "benchmark.json").write_text(json.dumps(record | {"inputs": {"cells": cells}}))
    page, _ = write_report(made[2], tmp_path / "page", results=results)
    time = page[page.index('<section id="time">') : page.index('<section id="provenance">')]
    assert '<td class="left">3 trainings</td>' in time
    assert "3 min 45 s" in time
    proof = page[page.index('<section id="provenance">') : page.index('<section id="caveats">')]
    proof = text_of(proof)
    for content in ("feedgeometric0", "feedgeometric1", "feedgan0"):
        assert proof.count(content) == 1
    # two arms, whose runs differ by the seed alone
    assert page.count("<h3>train_cell external, small_cnn, ") == 2


def test_report_needs_a_corpus(made, tmp_path):
    with pytest.raises(ValueError, match="at least one corpus"):
        report(corpus=[], synthetic=[], out=tmp_path, title="", emotions=FIVE)
    with pytest.raises(ValueError, match="bored"):
        report(
            corpus=made[2]["augmented"], synthetic=made[2]["selected"], out=tmp_path,
            title="", emotions=["bored"],
        )  # fmt: skip


def test_same_input_gives_the_same_page(made, tmp_path):
    page, _ = write_report(made[2], tmp_path / "again")
    assert page == made[0]


def test_gans_and_the_trunk_that_they_started_from_have_their_curves(made, tmp_path):
    _, _, folders = made
    trunk, started = tmp_path / "trunk", tmp_path / "angry"
    for folder in (trunk, started):
        write_gan(folder, "angry")
    write_record(trunk, "gan.json", "train_trunk", {})
    write_record(started, "gan.json", "train_gan", {"trunk": trunk}, emotion="angry")
    page, _ = write_report(folders, tmp_path / "page", gans={"angry": started})
    section = page[page.index('<section id="training">') : page.index('<section id="time">')]
    assert re.findall("<h3>(.*?)</h3>", section) == ["trunk", "angry"]
    # without a trunk (gan.from_trunk=null) there is the GAN alone
    section = made[0][made[0].index('<section id="training">') : made[0].index('id="time"')]
    assert re.findall("<h3>(.*?)</h3>", section) == ["angry"]
    assert section.count('<svg class="chart"') == 1


def test_a_collapse_is_among_the_warnings(made, tmp_path):
    folder = tmp_path / "angry"
    write_gan(folder, "angry")
    choice = {"rule": "last step", "step": 500, "collapsed_at": [200]}
    write_record(folder, "gan.json", "train_gan", {}, emotion="angry", facts={"choice": choice})
    _, facts = write_report(made[2], tmp_path / "page", gans=folder)
    assert "Samples of the GAN of angry collapsed on the way." in facts["warnings"]


def test_ticks_are_round_and_enclose():
    assert round_ticks(-3.2, 4.1) == [-4, -2, 0, 2, 4, 6]
    assert round_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert round_ticks(0.5, 0.5)[0] <= 0.5


def test_interval_without_bounds_draws_a_point_only():
    chart = charts.intervals([("one", [charts.Point(0, 2.0)])], title="t", unit="u")
    assert chart.count("<circle") == 1
    assert 'class="bar' not in chart
