import base64
import json
import re
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from classifiers.report import SECTIONS, report
from classifiers.report_parts import charts, evidence, pictures
from classifiers.report_parts.benchmark import points
from classifiers.report_parts.charts.axes import round_ticks
from classifiers.report_parts.training import FRAMES
from classifiers.summary import summarise
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
    judge = {"name": "small <cnn> x3", "hash": "judge-1", "classes": 7, "temperature": 1.2}
    lines[-1] |= {"classifier": judge, "classifier_score": figure(5.5) | {"small_sample": False}}
    lines.append({"emotion": "surprise", "extractor": "a <tiny> extractor", "missing": "3 faces"})
    copies = {
        "threshold": 0.03, "quantile": 0.01, "n_faces": 40, "n_subjects": 8,
        "closest": 0.01, "median": 0.2, "n_planted": 40, "planted_caught": 0.95,
    }  # fmt: skip
    return {"seed": 0, "copies": copies, "fidelity": lines}


def predictions(gains, seeds=range(5), people=6, fold=None, first=0):
    """Predictions whose accuracy rises by known shares from arm to arm."""
    for arm, gain in gains.items():
        for seed in seeds:
            draw = np.random.default_rng([seed, 7, first])
            for person in range(first, first + people):
                for emotion in FIVE:
                    for take in range(4):
                        right = draw.random() < 0.55 + gain
                        yield {
                            "arm": arm,
                            "seed": seed,
                            "fold": fold,
                            "database": "puppets_lab",
                            "id": f"{person}-{emotion}-{take}",
                            "subject": f"puppets_lab/{person}",
                            "emotion": emotion,
                            "predicted": emotion if right else "neutral",
                            "confidence": 0.7,
                        }


def write_benchmark(folder, gains, **kwargs):
    folder.mkdir(parents=True)
    table = pd.DataFrame(predictions(gains, **kwargs)).astype({"fold": "Int64"})
    table.to_parquet(folder / "predictions.parquet")
    cells = table[["arm", "seed", "database"]].drop_duplicates()
    cells.assign(train_rows=120).to_parquet(folder / "results.parquet")
    (folder / "summary.json").write_text(
        json.dumps(summarise([table], "geometric", emotions=FIVE, resamples=300))
    )
    return folder


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


def experiment(root, gains):
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
    write_benchmark(folders["bench"], gains)
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


GAINS = {"original": -0.1, "geometric": 0.0, "gan": 0.15, "synthetic": -0.2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    folders = experiment(root, GAINS)
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
    assert [load for load in page.loads if not load.startswith(("data:image/", "#"))] == []
    assert "url(" not in made[0]
    assert "@import" not in made[0]
    assert "<script" not in made[0]


def test_every_section_is_there_in_order_and_linked(made):
    page = parsed(made[0])
    assert page.ids == ["headline", *SECTIONS]
    assert [load[1:] for load in page.loads if load.startswith("#")] == list(SECTIONS)


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


def test_the_classifiers_score_stands_beside_the_distances_and_says_whose_it_is(made):
    section = made[0][made[0].index('<section id="fidelity">') :]
    section = section[: section.index("</section>")]
    table = section[section.index("<caption>Classifier score, ") :]
    cells = re.findall("<td[^>]*>(.*?)</td>", table[: table.index("</table>")])
    assert cells == ["all", "5.50", "4.40 to 6.60", "8", "20", "6.05", "1.38", "4", ""]
    assert "answers of small &lt;cnn&gt; x3 (judge-1, 7 classes, seed 0)" in section
    assert "not comparable with Inception scores" in section


def test_verdict_is_that_of_the_summary(made, tmp_path):
    page, facts, folders = made
    summary = json.loads((folders["bench"] / "summary.json").read_text())
    stored = {entry["arm"]: entry["against"] for entry in summary["figures"] if "against" in entry}
    assert {row["arm"]: row["verdict"] for row in facts["verdicts"]} == {
        arm: entry["verdict"] for arm, entry in stored.items()
    }
    gan = stored["gan"]
    assert gan["verdict"] == "helps"
    headline = page[page.index("verdicts") : page.index("</ul>")]
    assert 'class="helps"' in headline
    assert points(gan["difference"]) in headline
    assert f"{points(gan['seeds']['low'])} to {points(gan['seeds']['high'])}" in headline
    for gains, word in (
        ({"geometric": 0, "gan": -0.2}, "hurts"),
        ({"geometric": 0, "gan": 0}, "no-evidence"),
    ):
        root = tmp_path / word
        bench = write_benchmark(root / "bench", gains)
        other, _ = write_report(folders, root / "page", results=bench)
        assert f'<li class="{word}">' in other


def test_counts_stand_beside_figures(made):
    words = text_of(made[0])
    assert "From 40 real faces of 8 people (puppets_studio), 5 generators drew 100 faces" in words
    assert "120 test images" in words
    assert "5 paired trainings" in words
    assert "6 people" in words
    # agreement of angry: 15 of 20; ceiling 75 % of 8 faces
    assert re.search(r"angry 75\.0 % 53\.1 to 88\.8 20 75\.0 % [\d.]+ to [\d.]+ 8 fear 5", words)
    assert "in no training set: puppets_lab (120 images of 6 people)" in words
    assert "small sample" in words
    assert "No figures for surprise: 3 faces." in words


def test_warnings_name_what_is_wrong(made):
    text = " ".join(made[1]["warnings"])
    assert "No synthetic face of sad passed" in text
    assert "puppets_lab shows only 6 people" in text
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
            [folders["augmented"]], [folders["selected"]], FIVE, columns=4, seed=seed
        )
        for seed in (0, 0, 1)
    ]
    uris = [[picture.uri for picture in strip["happy"][0].pictures] for strip in strips]
    assert uris[0] == uris[1] != uris[2]
    kept = strips[0]["sad"][2]
    assert (len(kept.pictures), kept.among) == (0, 0)


def test_folds_share_faces_and_their_benchmarks_are_pooled(made, tmp_path):
    folders = made[2]
    gains = {"geometric": 0.0, "gan": 0.1}
    benches = [
        write_benchmark(tmp_path / f"bench-{fold}", gains, people=3, fold=fold, first=3 * fold)
        for fold in range(2)
    ]
    out = tmp_path / "page"
    out.mkdir()
    report(
        corpus=[folders["augmented"]] * 2,
        synthetic=[folders["selected"]] * 2,
        results=benches,
        classifier=[folders["gate"]] * 2,
        out=out,
        title="Two folds",
        emotions=FIVE,
    )
    words = text_of((out / "report.html").read_text())
    assert "From 40 real faces of 8 people" in words
    assert "puppets_lab (120 images of 6 people)" in words


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
    assert parsed(page).ids == ["headline", *SECTIONS]
    assert facts["verdicts"] == []
    assert "it says nothing about usefulness" in page


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


def test_duration_in_words():
    assert [evidence.duration(s) for s in (0.42, 12, 185, 7800)] == [
        "0.4 s", "12 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip


def test_points_are_signed():
    values = (0.021, -0.013, -0.0001, float("nan"))
    assert [points(value) for value in values] == ["+2.1", "−1.3", "0.0", "–"]
