import csv
import logging
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features

from curation.artifact import write_json
from curation.corpus import QUALITY, Corpus, write_corpus
from curation.detect import Box, Face
from curation.duplicates import describe
from curation.inspection import counts, measures, page, reading, twins
from curation.inspection.command import find_corpora, main
from curation.inspection.page import render
from curation.inspection.provenance import NAMED, provenance, read_skipped
from curation.inspection.reading import Reader
from curation.inspection.twins import detail_correlation, find_twins

PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


def face(number, side=64, height=None):
    """A picture with detail of all sizes, unlike any other."""
    rng = np.random.default_rng(number)
    picture = np.zeros((height or side, side, 3), np.float32)
    for cells in (3, 8, 24):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * picture, 0, 255).astype(np.uint8)


def row(number, **given):
    return {
        "image": face(number),
        "emotion": "happy",
        "database": "one",
        "subject": f"one/{number}",
        "source": f"{number}.png",
        "split": "train",
        "origin": "real",
        **given,
    }


def made(folder, rows, **options):
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(rows, folder, **options)
    return folder


def altered(image, how):
    height, width = image.shape[:2]
    if how == "compressed":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
    if how == "halved":
        return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    if how == "brightened":
        return np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)
    if how == "mirrored":
        return np.ascontiguousarray(image[:, ::-1])
    if how == "grey":
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert how == "moved"
    return np.ascontiguousarray(image[:, max(1, width // 50) :])


WAYS = ("compressed", "halved", "brightened", "mirrored", "grey", "moved")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.texts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def every(self, tag):
        return [given for name, given in self.tags if name == tag]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two databases, three splits, all origins but GAN, pictures of several sizes."""
    rows = [
        row(
            number,
            image=face(number, side=48 + 8 * (number % 3), height=72),
            emotion=("angry", "happy", "sad")[number % 3],
            split=("train", "train", "validation", "test")[number % 4],
            database=("one", "two")[number % 2],
            sex=("female", "male", None)[number % 3],
            pose=("straight", "left")[number % 2],
            sharpness=0.1 + number / 100,
            detector_score=None if number == 5 else 0.5 + number / 100,
        )
        for number in range(40)
    ]
    child = {**row(900), "id": "child", "parent": "parent", "origin": "geometric"}
    return made(tmp_path_factory.mktemp("mixed") / "corpus", [*rows, child])


@pytest.fixture(scope="module")
def rendered(mixed):
    return render(mixed)


def test_the_page_needs_nothing_but_itself(rendered):
    seen = Page(rendered)
    assert len(seen.every("img")) > 40
    assert all(image["src"].startswith("data:image/webp;base64,") for image in seen.every("img"))
    assert not seen.every("script")
    assert not seen.every("link")
    assert "@import" not in rendered
    assert "url(" not in rendered
    ids = [given["id"] for _, given in seen.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in seen.every("a")} <= set(ids)
    assert all(link["href"].startswith("#") for link in seen.every("a"))


def test_the_page_speaks_to_a_screen_reader(rendered):
    seen = Page(rendered)
    assert all(image["alt"] for image in seen.every("img"))
    assert all(drawing["aria-label"] for drawing in seen.every("svg"))
    assert len(seen.every("caption")) == len(seen.every("table"))
    levels = [int(tag[1]) for tag, _ in seen.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert seen.every("html")[0]["lang"] == "en"
    # what scrolls sideways can be reached and scrolled from the keyboard
    boxes = [given for _, given in seen.tags if given.get("class") == "scroll"]
    assert boxes
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_the_same_corpus_gives_the_same_page(mixed, rendered):
    assert render(mixed, threads=1) == rendered
    assert render(mixed, seed=1) != rendered


def test_counts_by_class_and_split():
    facts = pd.DataFrame(
        {
            "database": ["one", "one", "one", None],
            "split": ["train", "train", "test", "train"],
            "emotion": ["happy", "sad", "happy", "happy"],
        }
    )
    table = counts.by_class(facts, ["happy", "sad", "fear"])
    assert table.columns == ("happy", "sad", "fear", "all")
    assert table.rows == [
        (("one", "train"), (1, 1, 0, 2)),
        (("one", "test"), (1, 0, 0, 1)),
        (("unknown", "train"), (1, 0, 0, 1)),
    ]
    assert table.total == (3, 1, 0, 4)
    assert table.most == 2


def test_people_are_counted_and_unknown_ones_too():
    facts = pd.DataFrame(
        {
            "database": "one",
            "split": "train",
            "origin": ["real", "real", "real", "real", "geometric"],
            "subject": ["a", "a", "b", None, "a"],
        }
    )
    assert counts.subjects(facts).rows == [(("one", "train"), (2, 4, 1, 1, 2, 1))]
    assert counts.subjects(facts.iloc[4:]) is None
    assert counts.by_column(facts.assign(sex=None), "sex") is None


def test_a_person_on_two_sides_is_told(tmp_path):
    rows = [row(1), row(2, subject="one/1", split="test"), row(3)]
    text = render(made(tmp_path / "c", rows))
    assert "1 person is on two sides of a split, the first one/1 in train and test" in text


@pytest.mark.parametrize("how", WAYS)
def test_a_planted_copy_is_found(how):
    images = [face(number, side=128) for number in range(30)]
    images.append(altered(images[7], how))
    found = search(images)
    assert [(pair.first, pair.second) for pair in found.pairs["subject"]] == [(7, 30)]
    assert found.total == 1


def test_a_narrow_first_step_finds_what_keeps_to_its_frame():
    images = [face(number, side=128) for number in range(30)]
    images += [altered(images[3], "moved"), altered(images[7], "compressed")]
    found = search(images, close=0.05)
    assert [(pair.first, pair.second) for pair in found.pairs["subject"]] == [(7, 31)]
    assert search(images).total == 2
    with pytest.raises(ValueError, match=r"close=0 is a distance.*\(0, 2\]"):
        search(images, close=0)


def search(images, close=twins.CLOSE, **columns):
    small = [cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in images]
    greys = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in small])
    facts = pd.DataFrame(
        {
            "split": "train",
            "database": "one",
            "subject": [f"one/{number}" for number in range(len(images))],
            "emotion": "happy",
            "parent": None,
            **columns,
        }
    )
    patterns = describe(np.stack(small).transpose(0, 3, 1, 2))
    return find_twins(patterns, greys, facts, close=close)


def test_copies_are_told_by_what_they_join():
    images = [face(number, side=96) for number in range(6)]
    copies = [altered(image, "compressed") for image in images]
    columns = {
        "split": ["train"] * 6 + ["test", "train", "train", "train", "train", "train"],
        "database": ["one"] * 8 + ["two", "one", "one", "one"],
        "subject": [*"abcdef", "x", "y", "c", "d", None, "z"],
        "emotion": ["happy"] * 7 + ["sad", "happy", "sad", "happy", "happy"],
    }
    found = search([*images, *copies], **columns)
    assert found.counts == {"split": 1, "label": 2, "database": 1, "subject": 3, "person": 1}
    assert {
        kind: [(pair.first, pair.second) for pair in pairs] for kind, pairs in found.pairs.items()
    } == {
        "split": [(0, 6)],
        # nearly the same picture of one person with two labels is one as well
        "label": sorted([(1, 7), (3, 9)], key=lambda pair: -likeness(images, copies, pair)),
        "database": [(2, 8)],
        "subject": [(5, 11)],
        "person": [(4, 10)],  # of somebody unknown
    }
    assert found.pairs["split"][0].kinds == ("split", "subject")


def likeness(images, copies, pair):
    small = [
        cv2.cvtColor(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for image in (images[pair[0]], copies[pair[1] - len(images)])
    ]
    return detail_correlation(*small)


def test_copies_of_a_parent_are_no_duplicates():
    image = face(1)
    found = search([image, image, altered(image, "moved")], parent=[None, "a", "a"])
    assert found.searched == 1
    assert found.total == 0


def test_no_close_pair_is_missed(monkeypatch):
    # few different pictures with noise: many pairs at all distances, over several small blocks
    monkeypatch.setattr(twins, "_ROWS", 37)
    monkeypatch.setattr(twins, "_COLUMNS", 53)
    rng = np.random.default_rng(0)
    base = np.stack([face(number) for number in range(8)])[rng.integers(0, 8, 150)]
    flipped = np.where(rng.random(150)[:, None, None, None] < 0.5, base[:, :, ::-1], base)
    noise = rng.normal(0, rng.uniform(0, 60, 150)[:, None, None, None], base.shape)
    images = np.clip(
        flipped + cv2.blur(noise.reshape(-1, 64, 3), (5, 5)).reshape(noise.shape), 0, 255
    )
    vectors = describe(images.astype(np.uint8).transpose(0, 3, 1, 2))
    turned = vectors.reshape(-1, 16, 16)[:, :, ::-1].reshape(vectors.shape)
    likeness = np.maximum(vectors @ vectors.T, turned @ vectors.T)
    distance = np.sqrt(np.maximum(2 - 2 * likeness, 0))
    expected = {tuple(pair) for pair in np.argwhere(np.triu(distance < twins.CLOSE, 1))}
    assert 500 < len(expected) < 5000
    codes = {"subject": np.arange(150)}
    close, count = twins._close_pairs(vectors, codes, twins.CLOSE, most=10_000)
    assert set(zip(close.first, close.second, strict=True)) == expected
    assert count == len(expected)
    few, count = twins._close_pairs(vectors, codes, twins.CLOSE, most=100)
    assert count == len(expected)
    cut = np.sort(distance[tuple(np.array(sorted(expected)).T)])[99]
    assert len(few.first) == 100
    # √(2 − 2r): what float32 rounds r by, 1e-7, is divided by the distance, 0.06
    assert few.distances.min(axis=1).max() == pytest.approx(cut, abs=1e-5)


def test_flat_pictures_are_alike_only_if_equal():
    flat, other = np.full((64, 64), 100, np.uint8), np.full((64, 64), 140, np.uint8)
    assert detail_correlation(flat, other) == 0
    assert detail_correlation(flat, flat) == 1


def test_the_page_shouts_about_a_copy_across_a_split(tmp_path):
    rows = [row(number) for number in range(12)]
    copy = altered(face(3), "compressed")
    rows.append(row(99, image=copy, split="test", source="copy.png"))
    rows.append(row(98, image=face(5), id="twice", source="again.png"))
    text = render(made(tmp_path / "c", rows))
    assert "1 pair of pictures looks alike across a split" in text
    assert "Alike, on two sides of a split: 1" in text
    assert "copy.png · real face, happy, one/99, test" in text
    assert "1 picture stands in more than one row" not in text  # ids tell, and this one has its own
    rows[-1] = row(98, image=face(5), source="again.png")
    text = render(made(tmp_path / "d", rows))
    assert "1 picture stands in more than one row" in text
    assert "5.png  =  again.png" in text


def test_worst_crops_come_first_with_their_figures(mixed):
    reader = Reader(mixed)
    found = measures.distributions(reader.facts, reader.survey(), columns=3)
    score, sharpness = found["recorded"]
    assert score.measure.column == "detector_score"
    assert (score.n, score.unknown) == (39, 1)  # one without a figure; the child is not asked
    assert [shown.row for shown in score.worst] == [0, 1, 2]
    assert score.worst[1].caption == "0.51 · 1.png"
    assert [shown.row for shown in sharpness.worst] == [0, 1, 2]
    size = found["measured"][0]
    assert size.measure.column == "shorter_px"
    assert {reader.facts["source"][shown.row] for shown in size.worst} <= {
        f"{number}.png" for number in range(0, 40, 3)
    }


def test_either_end_of_brightness_is_doubtful(tmp_path):
    rows = [row(number) for number in range(8)]
    rows[2]["image"] = rows[2]["image"] // 8
    rows[5]["image"] = 255 - rows[5]["image"] // 8
    reader = Reader(made(tmp_path / "c", rows))
    found = measures.distributions(reader.facts, reader.survey(), columns=2)["measured"]
    (brightness,) = [each for each in found if each.measure.column == "brightness"]
    assert {shown.row for shown in brightness.worst} == {2, 5}


def test_a_histogram_counts_everything():
    values = np.array([0.0] * 5 + [1.0] * 3 + [1000.0])
    drawing = measures.histogram(values, measures.RECORDED[0], bins=4)
    told = [int(text.split(": ")[1].split("<")[0]) for text in drawing.split("<title>")[1:]]
    assert sum(told) == 9
    assert measures.histogram(np.array([]), measures.RECORDED[0]) == ""


def test_the_survey_measures_every_picture(mixed):
    reader = Reader(mixed)
    survey = reader.survey(threads=3)
    assert survey.width.tolist()[:3] == [48, 56, 64]
    assert set(survey.height.tolist()[:40]) == {72}
    grey = cv2.cvtColor(face(7, side=56, height=72), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.array_equal(survey.greys[7], grey)
    assert np.allclose(survey.patterns[7], describe(grey[None, None])[0], atol=1e-6)
    assert survey.brightness[7] == pytest.approx(grey.mean(), abs=1e-3)
    assert survey.contrast[7] == pytest.approx(grey.astype(float).std(), abs=1e-3)


def test_only_the_row_groups_wanted_are_read(tmp_path, monkeypatch):
    rows = [row(number, image=face(number, side=16)) for number in range(1100)]
    reader = Reader(made(tmp_path / "c", rows))
    asked = []
    read = pq.ParquetFile.read_row_group

    def noted(self, group, **options):
        asked.append(group)
        return read(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    found = dict(reader.pictures([1099, 3, 3, 499]))
    assert asked == [0, 2]
    assert list(found) == [3, 499, 1099]
    assert np.array_equal(found[499], face(499, side=16))


def test_an_older_corpus_can_be_looked_at(mixed, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    table = pq.read_table(next(mixed.glob("shard-*")))
    gone = [*QUALITY, "sex", "valence", "arousal"]
    kept = {
        name: kind
        for name, kind in Features.from_arrow_schema(table.schema).items()
        if name not in gone
    }
    table = table.drop_columns(gone).cast(Features(kept).arrow_schema)
    pq.write_table(table, old / "shard-00000.parquet")
    text = render(old)
    assert "written before there were the columns" in text
    assert "Not recorded in this corpus: detector" in text
    assert "Pictures by pose" in text
    assert "Pictures by sex" not in text


def test_the_classes_are_those_of_the_corpus(tmp_path):
    names = ["contempt", "happy", "joy"]
    rows = [row(1, emotion="contempt"), row(2, emotion="happy")]
    text = render(made(tmp_path / "c", rows, emotions=names))
    assert "No picture of joy." in text
    assert "real face, contempt, one/1, train" in text


def test_kept_and_rejected_stand_side_by_side(tmp_path):
    reasons = {2: "agreement: 0.30 < 0.50", 3: "agreement: 0.10 < 0.50", 4: "repeat: of a"}
    rows = [
        row(
            number,
            subject=None,
            origin="gan",
            generator="abc",
            keep=number not in reasons,
            reason=reasons.get(number),
        )
        for number in range(8)
    ]
    folder = made(tmp_path / "c", rows)
    table = counts.gates(Reader(folder).facts, ["happy"])
    assert table.columns == ("made", "kept", "rejected: agreement", "rejected: repeat")
    assert table.rows == [(("happy",), (8, 5, 2, 1))]
    text = render(folder)
    assert "kept: 5 of 5" in text
    assert "rejected: 3 of 3" in text
    assert "rejected: agreement: 0.30 &lt; 0.50" in text


def test_faces_are_drawn_from_each_database_in_turn(tmp_path):
    rows = [row(number, database="large") for number in range(40)]
    rows += [row(100 + number, database="small") for number in range(2)]
    facts = Reader(made(tmp_path / "c", rows)).facts
    (strip,) = page.strips(facts, ["happy"], columns=6, seed=0)["happy"]
    names = [facts["database"][shown.row] for shown in strip.pictures]
    assert names.count("small") == 2
    assert strip.among == 42


def upstream(tmp_path, **facts):
    out = tmp_path / "out" / "some"
    ingest = made(out / "corpora" / "ingest-0123456789", [row(1), row(2)])
    standard = made(out / "corpora" / "standardise-0123456789", [row(1)])
    write_json(
        ingest / "corpus.json",
        {"stage": "ingest", "inputs": {}, "content": "aa", "facts": facts, "versions": {"a": "1"}},
    )
    write_json(
        standard / "corpus.json",
        {
            "stage": "standardise",
            "inputs": {"corpus": {"path": "corpora/ingest-0123456789", "content": "aa"}},
            "content": "bb",
            "config": {"size": 64},
            "contract": {"detector": {"name": "haar"}, "size": 64},
        },
    )
    return ingest, standard


def skipped(folder, lines):
    with (folder / "skipped.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("source", "reason", "detail"), *lines])


def test_what_every_stage_left_out_is_named(tmp_path):
    ingest, standard = upstream(tmp_path)
    skipped(ingest, [(f"{number}.jpg", "damaged", "") for number in range(NAMED + 5)])
    skipped(standard, [("x/<b>.jpg", "no face found", "abc")])
    found = provenance(standard)
    assert [stage.stage for stage in found.stages] == ["ingest", "standardise"]
    assert [stage.left_out for stage in found.stages] == [NAMED + 5, 1]
    assert len(found.stages[0].skipped[0].named) == NAMED
    text = render(standard)
    assert f"ingest: {NAMED + 5} left out" in text
    assert f"The first {NAMED}; the rest is in skipped.csv" in text
    assert "x/&lt;b&gt;.jpg" in text
    assert "<b>.jpg" not in text
    assert "standardise left out 1 pictures" in text


def test_the_contract_and_the_stages_are_shown(tmp_path):
    _, standard = upstream(tmp_path)
    found = provenance(standard)
    assert found.contract["detector.name"] == "haar"
    assert len(found.contract["name"]) == 12
    assert found.unresolved == []
    text = render(standard)
    assert '<meta name="affectory-corpus" content="bb">' in text
    assert found.contract["name"] in text
    (standard / "corpus.json").unlink()
    assert "nobody knows what made this corpus" in render(standard)


def test_a_file_that_a_stage_read_is_missed_only_when_it_is_gone(tmp_path):
    file = tmp_path / "decisions.json"
    file.write_text("{}")
    folder = made(tmp_path / "selected", [row(1)])
    inputs = {"decisions": {"path": str(file), "content": "abc"}, "other": None}
    write_json(folder / "corpus.json", {"stage": "select", "inputs": inputs, "content": "d"})
    assert provenance(folder).unresolved == []
    file.unlink()
    assert provenance(folder).unresolved == [f"decisions of select ({file})"]


def test_an_input_that_is_gone_is_told(tmp_path):
    ingest, standard = upstream(tmp_path)
    ingest.rename(ingest.with_name("elsewhere"))
    assert "inputs that are not here: corpus of standardise" in render(standard)


def test_complete_databases_are_compared_with_what_was_found(tmp_path):
    _, standard = upstream(
        tmp_path,
        expected={"kdef": {"angry": 140, "sad": 140}},
        missing={"kdef": {"sad": 3, "contempt": -2}},
    )
    (table,) = counts.expected(provenance(standard).ingests[0])
    assert table.rows == [
        (("angry",), (140, 140, 0)),
        (("contempt",), (0, 2, 2)),
        (("sad",), (140, 137, -3)),
    ]
    assert "kdef is not complete: 3 pictures are missing." in render(standard)


def test_a_strange_list_of_skipped_pictures_is_refused(tmp_path):
    (tmp_path / "skipped.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not source, reason, detail"):
        read_skipped(tmp_path / "skipped.csv")


def test_the_page_goes_beside_the_corpora_and_never_inside(tmp_path, capsys, monkeypatch):
    ingest, standard = upstream(tmp_path)
    assert main([str(standard)]) == 0
    target = tmp_path / "out" / "some" / "inspect-standardise-0123456789.html"
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in standard.iterdir()) == [
        "corpus.json",
        "shard-00000.parquet",
    ]
    assert main([str(ingest), "--to", str(standard / "page.html")]) == 2
    assert "whose content is hashed" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert find_corpora("some") == [
        Path("out/some/corpora") / path.name for path in (ingest, standard)
    ]
    assert main(["some", "--to", "pages", "--stage", "ingest"]) == 0
    assert main(["some", "--to", "pages"]) == 0
    assert len(list((tmp_path / "pages").glob("inspect-*.html"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere"],
            "there is no folder nowhere and no out/nowhere; experiments below out/: some",
        ),
        (["empty"], "empty is no corpus"),
        (["some", "--stage", "select"], "no corpus below out/some/corpora was written by stage"),
        (["some", "--to", "a.html"], "is one file, but there are several corpora"),
        (["some", "--columns", "0"], "--columns 0 must be 1 or more"),
        (["some", "--alike", "2"], "--alike 2.0 is a correlation"),
        (["broken"], "is no readable Parquet file"),
        (["other"], "is no corpus"),
        (["bare"], "has no rows"),
    ],
)
def test_wrong_words_are_named(tmp_path, monkeypatch, arguments, message, capsys):
    upstream(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/shard-00000.parquet").write_bytes(b"PAR1 and then nothing")
    Path("other").mkdir()
    pq.write_table(pa.table({"a": [1]}), "other/shard-00000.parquet")
    made(Path("bare"), [])
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_page_that_is_too_large_is_told(mixed, monkeypatch, caplog):
    monkeypatch.setattr(page, "MOST_BYTES", 100_000)
    caplog.set_level(logging.WARNING)
    render(mixed)
    (warning,) = caplog.messages
    assert "--columns" in warning


def test_a_large_corpus_gives_a_page_of_ordinary_size(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BATCH", 100)  # several batches in one survey
    pool = [face(number, side=120) for number in range(300)]
    rows = [
        {
            **row(number, emotion=("happy", "sad")[number % 2]),
            "image": pool[number // 2],
            "id": f"{number}",
        }
        for number in range(600)
    ]
    folder = made(tmp_path / "c", rows)
    text = render(folder)
    assert len(Corpus(folder)) == 600
    assert len(text.encode()) < 3_000_000
    assert "real face: 24 of 300" in text


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photographs are not there")
def test_copies_among_photographs_are_found_and_nothing_else():
    paths = sorted(PHOTOS.glob("*/*.jpg"))[::4]
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths]
    assert len(images) > 50
    planted = [altered(images[number], how) for number, how in enumerate(WAYS)]
    found = search([*images, *planted])
    pairs = {(pair.first, pair.second) for pair in found.pairs["subject"]}
    assert pairs == {(number, len(images) + number) for number in range(len(WAYS))}


class Tilted:
    """Finds a face in light pictures, its eye line turned by the red of the first pixel."""

    def __init__(self):
        self.settings = {"detector": "tilted", "step": 3}

    def __call__(self, image):
        angle = np.deg2rad(float(image[0, 0, 0]))
        if angle == 0:
            return []
        points = np.full((5, 2), np.nan, np.float32)
        points[0], points[1] = (20, 30), (20 + 20 * np.cos(angle), 30 + 20 * np.sin(angle))
        return [Face(Box(8.0, 8.0, 48.0, 48.0), 0.9, points)]


def test_faces_are_looked_for_again(tmp_path):
    rows = []
    for number, angle in enumerate([0, *range(1, 20)]):
        picture = face(number)
        picture[0, 0, 0] = angle
        rows.append(row(number, image=picture))
    copy = row(99, image=255 - face(99), origin="geometric", parent="x")
    text = render(made(tmp_path / "corpus", [*rows, copy]), again=Tilted())
    assert "In 19 of 20 real pictures a face is found once more (95.0 %)" in text
    assert "10.0° off level in the median and 18.1° at the 95th percentile" in text
    assert "detector tilted, step 3" in text


def test_a_missing_model_is_told_before_the_work(tmp_path, capsys):
    corpus = made(tmp_path / "corpora" / "one", [row(1)])
    assert main([str(corpus), "--yunet", str(tmp_path / "no.onnx")]) == 2
    assert f"no file {tmp_path / 'no.onnx'}" in capsys.readouterr().err
