import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Image as Raw
from datasets import get_dataset_config_names, load_dataset
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs, _NoDuplicateSafeLoader
from huggingface_hub import DatasetCard, metadata_load
from PIL import Image

from curation import publish as publishing
from curation.artifact import file_hash
from curation.card import CARDS
from curation.card_counts import KINDS, reason_category
from curation.corpus import (
    COLUMNS,
    EMOTIONS,
    Corpus,
    content_id,
    decode_png,
    encode_png,
    write_corpus,
)
from curation.disclosure import SOURCE_TYPE, disclosed, is_disclosed
from curation.licences import permitted, read_licences, unknown_licence
from curation.publish import publish
from curation.recipes import Part, Recipe

ROOT = Path(__file__).parents[1]
SIDE = 8
RECIPES = {
    name: Recipe(dict.fromkeys(origins, Part()))
    for name, origins in {
        "original": ["real"],
        "geometric": ["real", "geometric"],
        "gan": ["real", "geometric", "gan"],
        "synthetic": ["gan"],
    }.items()
}
SETTINGS: dict[str, Any] = {
    "name": "little-faces",
    "title": "Little faces",
    "emotions": EMOTIONS,
    "recipes": RECIPES,
}


def picture(*key):
    return np.random.default_rng(key).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def real_rows(database, people=4, held=(), copies=5):
    for person in range(people):
        for label, emotion in enumerate(EMOTIONS):
            face = picture(1, person, label)
            split = "validation" if person in held else "train"
            row = {
                "image": face,
                "emotion": emotion,
                "database": database,
                "subject": f"{database}/{person}",
                "source": f"{person}/{emotion}.png",
                "split": split,
                "origin": "real",
            }
            yield row
            for copy in range(copies if split == "train" else 0):
                yield row | {
                    "image": picture(2, person, label, copy),
                    "origin": "geometric",
                    "parent": content_id(face),
                }
    # another database's faces travel in the same corpus and are there to be tested on
    for label, emotion in enumerate(EMOTIONS):
        yield {
            "image": picture(3, label),
            "emotion": emotion,
            "database": "jaffe",
            "subject": "jaffe/KA",
            "split": "test",
            "origin": "real",
        }


def synthetic_rows(database, each=6):
    for label, emotion in enumerate(EMOTIONS):
        for index in range(each):
            keep = index >= 2
            yield {
                "image": picture(4, label, index),
                "emotion": emotion,
                "database": database,
                "split": "train",
                "origin": "gan",
                "generator": f"{label:02d}" * 16,
                "seed": 2**60 + index,
                "truncation": 0.7,
                "predicted": emotion if keep else EMOTIONS[label - 1],
                "agreement": 0.9,
                "keep": keep,
                "reason": None if keep else "label: classifier says otherwise",
            }


def corpora(folder, database, **kwargs):
    paths = folder / "augmented", folder / "selected"
    for path, rows in zip(
        paths, (real_rows(database, **kwargs), synthetic_rows(database)), strict=True
    ):
        path.mkdir(parents=True)
        write_corpus(rows, path)
    return paths


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train_and_test")
    out = folder / "published"
    out.mkdir()
    facts = publish(*corpora(folder, "puppets_studio"), out, **SETTINGS)
    return out, facts


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    out = folder / "published"
    out.mkdir()
    facts = publish(*corpora(folder, "kdef"), out, **SETTINGS)
    return out, facts


def test_counts_are_those_of_the_recipes(free):
    out, facts = free
    # 4 people x 7 emotions, five copies of each, 4 of 6 synthetic faces an emotion
    assert facts["configs"] == {
        "original": {"train": 28},
        "geometric": {"train": 28 * 6},
        "gan": {"train": 28 * 6 + 28},
        "synthetic": {"train": 28},
    }
    assert (facts["made"], facts["kept"], facts["rejected"]) == (42, 28, {"label": 14})
    assert (out / "gan" / "data-00000-of-00001.parquet").is_file()


def test_no_file_name_looks_like_a_split(free):
    out, _ = free
    names = [path.relative_to(out).as_posix() for path in out.rglob("*")]
    assert not [name for name in names if "train" in name or "test" in name]


OPEN = """
import sys
from datasets import load_dataset
from datasets import ClassLabel, Image
folder, cache = sys.argv[1:]
names = sys.stdin.read().split()
for streaming in (False, True):
    faces = load_dataset(folder, "gan", split="train", streaming=streaming, cache_dir=cache)
    rows = list(faces)
    assert len(rows) == 196, len(rows)
    assert isinstance(faces.features["image"], Image)
    assert faces.features["emotion"] == ClassLabel(names=names)
    assert rows[0]["image"].size == (8, 8)
    assert {row["origin"] for row in rows} == {0, 1, 2}
    assert max(row["seed"] or 0 for row in rows) == 2**60 + 5
    default = load_dataset(folder, split="train", streaming=streaming, cache_dir=cache)
    assert sum(1 for _ in default) == 196
print(",".join(faces.features))
"""


def test_opens_offline_streaming_and_after_a_move(free, tmp_path):
    moved = tmp_path / "elsewhere" / "faces"
    shutil.copytree(free[0], moved)
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(moved), str(tmp_path / "cache")],
        input=" ".join(EMOTIONS),
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().split(",") == list(COLUMNS)


def test_same_input_gives_the_same_bytes(free, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    publish(*corpora(tmp_path, "puppets_studio"), again, **SETTINGS)
    first = {p.relative_to(free[0]): p.read_bytes() for p in free[0].rglob("*") if p.is_file()}
    second = {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert first == second


def stored(path):
    pictures = pq.read_table(path, columns=["image"])["image"].to_pylist()
    return [picture["bytes"] for picture in pictures]


def stored_pictures(folder):
    return {data for path in folder.rglob("*.parquet") for data in stored(path)}


def test_closed_database_leaves_no_pixel_of_a_real_face(closed):
    out, facts = closed
    assert facts["configs"] == {"synthetic": {"train": 28}}
    corpus = Corpus(out.parent / "augmented")
    private = {row["image"] for row in corpus.rows()}
    assert not private & stored_pictures(out)
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert not [face for face in private if face in everything]
    assert "No real face is in this data set" in (out / "README.md").read_text()


def test_preview_of_a_closed_database_shows_synthetic_faces_only(closed, free):
    widths = [Image.open(out / "preview.png").width for out in (closed[0], free[0])]
    assert widths[1] - widths[0] == 2 * (widths[0] - 96)


def test_database_without_a_record_counts_as_closed(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    facts = publish(*corpora(tmp_path, "our_lab"), out, **SETTINGS)
    assert list(facts["configs"]) == ["synthetic"]
    assert "No licence record" in (out / "README.md").read_text()


def test_own_licence_record_opens_a_database(tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    record = {
        "name": "Our lab",
        "databases": ["our_lab"],
        "redistribute": True,
        "terms": "All signed.",
    }
    (records / "our_lab.yaml").write_text(yaml.safe_dump(record))
    out = tmp_path / "out"
    out.mkdir()
    facts = publish(*corpora(tmp_path, "our_lab"), out, **SETTINGS, licences=records)
    assert set(facts["configs"]) == set(RECIPES)
    (records / "our_lab.yaml").write_text(yaml.safe_dump(record | {"redistribute": "perhaps"}))
    with pytest.raises(ValueError, match="write true or false"):
        read_licences([records])


def test_test_rows_are_never_published_and_validation_people_stay_apart(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    corpus, selected = corpora(tmp_path, "puppets_lab", held=(3,))
    facts = publish(corpus, selected, out, **SETTINGS)
    assert facts["configs"]["gan"] == {"train": 21 * 6 + 28, "validation": 7}
    assert facts["configs"]["synthetic"] == {"train": 28}
    facts = Corpus(corpus).facts
    tested = {row["image"] for row in Corpus(corpus).rows(facts["split"] == "test")}
    assert not tested & stored_pictures(out)
    held = set(stored(out / "gan" / "held-00000-of-00001.parquet"))
    assert not held & set(stored(out / "gan" / "data-00000-of-00001.parquet"))


def test_card_header_is_what_the_hub_reads(free):
    data = DatasetCard.load(free[0] / "README.md").data.to_dict()
    assert data["license"] == "mit"
    assert data["task_categories"] == ["image-classification"]
    assert data["size_categories"] == "n<1K"
    assert "synthetic" in data["tags"]
    gan = next(config for config in data["configs"] if config["config_name"] == "gan")
    assert gan["data_files"] == [{"split": "train", "path": "gan/data-*.parquet"}]
    info = next(info for info in data["dataset_info"] if info["config_name"] == "gan")
    assert info["splits"][0]["num_examples"] == 196
    assert info["download_size"] == (free[0] / "gan/data-00000-of-00001.parquet").stat().st_size


def test_card_tables_come_from_the_data(free, closed):
    text = (free[0] / "README.md").read_text()
    assert "| `gan` | train | 28 | 28 | 28 | 28 | 28 | 28 | 28 | 196 |" in text
    assert "| `gan` | train | 28 | 140 | 28 | 4 |" in text
    assert "| angry | 6 | 4 | 2 |" in text
    assert "| angry | 4 | 6 | 67 % |" in text
    assert "`0000000000000000` | 6 | 4 | 0.7 |" in text
    assert all(f"| `{column}` | " in text for column in COLUMNS)
    assert "affectory_puppets" in text
    assert "lundqvist1998kdef" in (closed[0] / "README.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert not [line for line in tables if not line.endswith("|")]


def test_card_tells_settings_but_no_folder_of_anybody(tmp_path):
    corpus, selected = corpora(tmp_path, "puppets_lab")
    gans = {}
    for emotion in ("angry", "fear"):
        gans[emotion] = tmp_path / f"{emotion}-0123456789"
        gans[emotion].mkdir()
        record = {"stage": "train_gan", "emotion": emotion, "inputs": {}}
        record["config"] = {
            "_target_": "a.b",
            "emotions": [emotion],
            "steps": 7,
            "nested": {"p": 1},
        }
        (gans[emotion] / "gan.json").write_text(json.dumps(record))
    record = {
        "stage": "select",
        "config": {"agreement": 0.5, "root": "/home/somebody/faces"},
        "inputs": {"gans": {name: {"path": str(path)} for name, path in gans.items()}},
    }
    (selected / "corpus.json").write_text(json.dumps(record))
    out = tmp_path / "out"
    out.mkdir()
    publish(corpus, selected, out, **SETTINGS)
    text = (out / "README.md").read_text()
    assert "| train_gan | angry, fear | steps 7; nested.p 1 |" in text
    assert "| select | selected | agreement 0.5 |" in text
    assert "somebody" not in text
    assert str(tmp_path) not in text


def test_several_shards_hold_every_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr("curation.shards.FILE_ROWS", 100)
    monkeypatch.setattr("curation.shards.GROUP_ROWS", 50)
    out = tmp_path / "out"
    out.mkdir()
    publish(*corpora(tmp_path, "puppets_ten"), out, **SETTINGS)
    files = sorted((out / "gan").iterdir())
    assert [path.name for path in files] == [f"data-{i:05d}-of-00002.parquet" for i in range(2)]
    assert [len(stored(path)) for path in files] == [100, 96]
    assert len(stored_pictures(out / "gan")) == 196


def test_subset_of_emotions(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    settings = SETTINGS | {
        "emotions": ["happy", "sad"],
        "recipes": {"original": RECIPES["original"]},
    }
    facts = publish(*corpora(tmp_path, "puppets_ten"), out, **settings)
    assert facts["configs"] == {"original": {"train": 8}}
    assert facts["made"] == 12


def test_nothing_to_publish_is_an_error(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    recipes = {"gan": RECIPES["gan"]}
    with pytest.raises(ValueError, match="may not be passed on"):
        publish(*corpora(tmp_path, "kdef"), out, **SETTINGS | {"recipes": recipes})


def test_what_no_gate_passed_is_never_published(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    recipes = {"no_gate": Recipe({"gan": Part(gate="none")})}
    with pytest.raises(ValueError, match="'no_gate' takes faces that the gates have not passed"):
        publish(*corpora(tmp_path, "puppets_ten"), out, **SETTINGS | {"recipes": recipes})


def test_every_adapter_has_a_licence_record():
    known = read_licences([CARDS / "licences"])
    adapters = ["kdef", "ckplus", "jaffe", "sfew", "fer2013", "affectnet", "rafdb", "folder"]
    assert [known[name].redistribute for name in adapters] == [False] * len(adapters)
    assert known["puppets_studio"] is known["puppets_lab"] is known["puppets_ten"]


def test_reason_category():
    assert reason_category("duplicate: of 12ab") == "duplicate"
    assert reason_category(None) == "no reason given"


def test_croissant_validates_and_gives_every_row(free, closed):
    mlcroissant = pytest.importorskip("mlcroissant", reason="an extra of the developers")
    for (out, facts), configs in ((free, list(RECIPES)), (closed, ["synthetic"])):
        content = json.loads((out / "croissant.json").read_text())
        assert content["conformsTo"] == "http://mlcommons.org/croissant/1.1"
        loaded = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
        issues = loaded.metadata.ctx.issues
        assert issues.errors == set()
        assert [text for text in issues.warnings if "datePublished" not in text] == []
        for recipe in configs:
            rows = list(loaded.records(recipe))
            assert len(rows) == sum(facts["configs"][recipe].values())
            assert rows[0][f"{recipe}/image"].size == (SIDE, SIDE)
        names = [row["emotion-labels/name"] for row in loaded.records("emotion-labels")]
        assert names == list(EMOTIONS)
        for file in content["distribution"]:
            if file["@type"] == "cr:FileObject":
                assert file["sha256"] == file_hash(out / file["contentUrl"])


def test_croissant_with_date_and_page_leaves_nothing_to_recommend(tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant", reason="an extra of the developers")
    out = tmp_path / "out"
    out.mkdir()
    about = {"date": "2026-11-26", "url": "https://example.org/faces", "release": 3}
    publish(*corpora(tmp_path, "puppets_ten"), out, **SETTINGS | about)
    metadata = mlcroissant.Dataset(jsonld=str(out / "croissant.json")).metadata
    assert metadata.ctx.issues.warnings == set()
    assert (metadata.version, metadata.url) == ("3.0.0", "https://example.org/faces")
    assert "This is version 3" in (out / "README.md").read_text()


def read_tables(text, heading):
    """Return the tables under a heading of a card, each its lines as column → cell."""
    part = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE):
        header, _, *lines = (
            [cell.strip("` ") for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        tables.append([dict(zip(header, line, strict=True)) for line in lines])
    return tables


@pytest.mark.parametrize("which", ["free", "closed", "held"])
def test_counts_in_the_card_are_those_in_the_data(request, tmp_path, which):
    if which == "held":
        out = tmp_path / "out"
        out.mkdir()
        publish(*corpora(tmp_path, "puppets_lab", held=(3,)), out, **SETTINGS)
    else:
        out, _ = request.getfixturevalue(which)
    shown = {}
    for line in chain(*read_tables((out / "README.md").read_text(), "Configurations")):
        key = line.pop("configuration"), line.pop("split")
        shown.setdefault(key, {}).update({name: int(cell) for name, cell in line.items()})
    counted = {}
    for name in get_dataset_config_names(str(out)):
        faces = load_dataset(str(out), name, cache_dir=str(tmp_path / "cache"))
        for split, rows in faces.items():
            table = rows.remove_columns("image").to_pandas()
            emotion, origin = (rows.features[key].names for key in ("emotion", "origin"))
            counted[name, split] = {
                **{word: int((table["emotion"] == i).sum()) for i, word in enumerate(emotion)},
                "total": len(table),
                "people": table["subject"].nunique(),
                **{KINDS[word]: int((table["origin"] == i).sum()) for i, word in enumerate(origin)},
            }
    assert shown.keys() == counted.keys()
    for key, line in shown.items():
        assert line == {name: counted[key][name] for name in line}
        assert line["total"] == sum(counted[key][kind] for kind in KINDS.values())


# what the hub checks on upload (its docs: "Dataset Cards", "Data files Configuration")
SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "n>10M"]


def test_the_header_survives_the_hubs_own_readers(free, closed):
    for out, facts in (free, closed):
        text = (out / "README.md").read_text()
        card = DatasetCard(text)
        assert str(DatasetCard(str(card))) == str(card) == text
        block = text.split("---\n")[1]
        content = yaml.load(block, Loader=_NoDuplicateSafeLoader)
        assert content == metadata_load(out / "README.md")
        assert content["size_categories"] in SIZES
        assert set(content["task_categories"]) == {"image-classification"}
        assert all(isinstance(tag, str) and tag == tag.strip() for tag in content["tags"])
        if content["license"] == "other":
            assert re.fullmatch(r"[a-z0-9.-]+", content["license_name"])
            assert content.get("license_link", "https://").startswith("https://")
        configs = MetadataConfigs.from_dataset_card_data(card.data)
        assert configs.get_default_config_name() in configs
        infos = DatasetInfosDict.from_dataset_card_data(card.data)
        assert set(configs) == set(infos) == set(facts["configs"])
        for name, info in infos.items():
            assert re.fullmatch(r"[\w-]+", name)
            assert info.features == Corpus(out.parent / "augmented").features
            assert {s: i.num_examples for s, i in info.splits.items()} == facts["configs"][name]
            for entry in configs[name]["data_files"]:
                assert list(out.glob(entry["path"]))
                assert not Path(entry["path"]).is_absolute()


def test_every_synthetic_picture_says_that_it_is_one_and_keeps_its_pixels(free):
    selected = Corpus(free[0].parent / "selected")
    plain = {row["id"]: row["image"] for row in selected.rows()}
    faces = load_dataset(str(free[0]), "gan", split="train").cast_column("image", Raw(decode=False))
    noted = 0
    for row in faces:
        data = row["image"]["bytes"]
        with Image.open(BytesIO(data)) as opened:
            info = dict(opened.info)
        made = faces.features["origin"].names[row["origin"]] == "gan"
        assert content_id(decode_png(data)) == row["id"]
        assert ("xmp" in info) == made
        if made:
            assert info["Description"].startswith("Synthetic face, AI-generated")
            root = ElementTree.fromstring(info["xmp"])
            (described,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
            assert SOURCE_TYPE in described.attrib.values()
            # the compressed pixels are the same bytes, and the note is small
            assert data.endswith(plain[row["id"]][33:])
            assert len(data) - len(plain[row["id"]]) < 700
            noted += 1
    assert noted == 28


def test_a_note_is_written_once_and_into_pngs_only():
    png = encode_png(picture(9))
    once = disclosed(png)
    assert not is_disclosed(png)
    assert is_disclosed(once)
    assert disclosed(once) == once
    assert np.array_equal(decode_png(once), decode_png(png))
    with pytest.raises(ValueError, match="are no PNG"):
        disclosed(b"\xff\xd8\xff\xe0")


def with_first_real_face(masks):
    real, made = masks["synthetic", "train"]
    return {**masks, ("synthetic", "train"): (real | (np.arange(len(real)) == 0), made)}


def test_a_real_face_that_is_chosen_stops_it(tmp_path, monkeypatch):
    choose = publishing.choose

    def wrong(sources, emotions, recipes):
        return with_first_real_face(choose(sources, emotions, recipes))

    monkeypatch.setattr(publishing, "choose", wrong)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match="nothing can be published"):
        publish(*corpora(tmp_path, "kdef"), out, **SETTINGS)
    assert not list(out.iterdir())


def test_a_real_face_that_is_written_stops_it(tmp_path, monkeypatch):
    write = publishing.write_configurations

    def wrong(sources, masks, *rest, **layout):
        return write(sources, with_first_real_face(masks), *rest, **layout)

    monkeypatch.setattr(publishing, "write_configurations", wrong)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError, match=r"real of 0/angry.png \(kdef\), may not be passed on"):
        publish(*corpora(tmp_path, "kdef"), out, **SETTINGS)
    assert not (out / "README.md").exists()


def test_a_real_face_under_another_name_stops_it(tmp_path):
    corpus, selected = corpora(tmp_path, "kdef")
    shutil.rmtree(selected)
    selected.mkdir()
    rows = [*synthetic_rows("kdef")]
    rows[3] = rows[3] | {"image": picture(1, 0, 0)}  # a generator's perfect copy, or a swapped row
    write_corpus(rows, selected)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError, match=r"real of 0/angry.png \(kdef\), may not be passed on"):
        publish(corpus, selected, out, **SETTINGS)


def test_the_record_decides_about_synthetic_faces_too(tmp_path):
    corpus, selected = corpora(tmp_path, "our_lab")
    records = tmp_path / "records"
    records.mkdir()
    record = {"name": "Ours", "databases": ["our_lab"], "terms": "As agreed."}

    def published(**facts):
        (records / "ours.yaml").write_text(yaml.safe_dump(record | facts))
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        return publish(corpus, selected, out, **SETTINGS, licences=records)["configs"]

    assert list(published(redistribute=False)) == ["synthetic"]
    assert list(published(redistribute=True, redistribute_synthetic=False)) == [
        "original",
        "geometric",
    ]
    with pytest.raises(ValueError, match="does not let even synthetic faces be passed on"):
        published(redistribute=False, redistribute_synthetic=False)
    with pytest.raises(ValueError, match="redistribute_synthetic is 'no'; write true or false"):
        published(redistribute=True, redistribute_synthetic="no")


def test_one_closed_database_among_open_ones_closes_what_holds_its_faces():
    terms = {
        name: replace(unknown_licence(name), redistribute=name == "open", redistribute_synthetic=ok)
        for name, ok in (("open", True), ("closed", True), ("strict", False))
    }
    facts = pd.DataFrame(
        {
            "origin": ["real", "geometric", "real", "gan", "imported", "real"],
            "database": ["open", "open", "closed", "open", "open", "never heard of"],
        }
    )
    for trained_on, made in (({"open", "closed"}, True), ({"open", "strict"}, False)):
        found = permitted(facts, terms, trained_on)
        assert found.tolist() == [True, True, False, made, True, False]


def test_figures_of_fidelity_stand_beside_their_floor(tmp_path):
    corpus, selected = corpora(tmp_path, "puppets_ten")
    figure = {"value": 2.5, "n_real": 40, "n_fake": 30, "interval": [2.0, 3.0], "floor": 0.5}
    figure |= {"at_floor_n": 2.75, "n_floor": 20, "small_sample": True}
    line = {
        "emotion": "all",
        "extractor": "net",
        "hash": "abc",
        "resizer": "none",
        "k": 5,
        "seed": 0,
    }
    judge = {"name": "small_cnn x3", "hash": "judge1", "classes": 7, "temperature": 1.2}
    measured = {"frechet": figure, "classifier": judge, "classifier_score": {**figure, "value": 6}}
    metrics = {"fidelity": [{**line, **measured}, {**line, "missing": "2 faces"}]}
    (selected / "metrics.json").write_text(json.dumps(metrics))
    out = tmp_path / "out"
    out.mkdir()
    publish(corpus, selected, out, **SETTINGS)
    text = (out / "README.md").read_text()
    assert "| Fréchet distance | 2.5 | 2 to 3 | 30 / 40 | 2.75 | 0.5 | 20 |" in text
    assert "| classifier score | 6 | 2 to 3 | 30 / 40 | 2.75 | 0.5 | 20 |" in text
    assert "small_cnn x3 (`judge1`) about 7 classes" in text
    assert text.count("The classifier score is") == 1
    assert "Not measured: 2 faces." in text
    assert json.loads((out / "metrics.json").read_text()) == metrics


CUT_OFF = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from curation.corpus import EMOTIONS
from curation.publish import publish
from curation.recipes import Part, Recipe
corpus, selected, out = map(Path, sys.argv[1:])
recipes = {"gan": Recipe({"real": Part(), "geometric": Part(), "gan": Part()})}
publish(corpus, selected, out, name="a", title="A", emotions=EMOTIONS, recipes=recipes)
"""


def test_publishes_without_a_network_and_without_a_home(tmp_path):
    paths = corpora(tmp_path, "puppets_ten")
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, *map(str, paths), str(out)],
        env={"HOME": "/dev/null", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "gan").is_dir()
