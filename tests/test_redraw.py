"""Rows drawn again: from sampled corpora and published folders, as they were and tampered with."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from curation.artifact import write_json
from curation.corpus import Corpus, decode_png, write_corpus
from curation.publish import publish
from curation.recipes import Part, Recipe
from gan.checkpoint import generator_hash, save_networks
from gan.dcgan import Generator as Dcgan
from gan.redraw import main
from gan.sample import sample
from gan.stylegan2 import Generator as StyleGan2

SETTINGS = {"truncation": 0.7, "seed": 3}


def networks():
    torch.manual_seed(0)
    style = StyleGan2(size=32, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8)
    style.centre.normal_()
    return {"angry": Dcgan(size=16, filters=4, max_filters=8), "happy": style}


def real(path):
    path.mkdir(parents=True)
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    row = {"image": face, "emotion": "angry", "database": "puppets_studio", "split": "train"}
    write_corpus(
        [{**row, "origin": "real", "subject": "puppets_studio/1", "source": "a.png"}], path
    )
    return path


@pytest.fixture
def experiment(tmp_path):
    gans = {}
    for emotion, network in networks().items():
        gans[emotion] = tmp_path / "gans" / f"{emotion}-0123456789"
        gans[emotion].mkdir(parents=True)
        save_networks(gans[emotion], {"generator": network})
        facts = {"generator": generator_hash(gans[emotion])}
        write_json(gans[emotion] / "gan.json", {"stage": "train_gan", "inputs": {}, "facts": facts})
    faces, sampled = real(tmp_path / "corpora" / "standard"), tmp_path / "corpora" / "sample"
    sampled.mkdir()
    sample(gans=gans, corpus=faces, per_emotion=2, out=sampled, **SETTINGS)
    return tmp_path


def rows(experiment):
    return list(Corpus(experiment / "corpora" / "sample").rows())


def rewrite(experiment, changed):
    (experiment / "corpora" / "sample" / "shard-00000.parquet").unlink()
    write_corpus(changed, experiment / "corpora" / "sample")


@pytest.mark.parametrize("place", ["corpora/sample", "."])
def test_every_sampled_row_is_drawn_again(experiment, place, capsys):
    assert main(["--all", "--in", str(experiment / place)]) == 0
    assert "4 faces identical, 0 not" in capsys.readouterr().out


def test_a_published_row_is_found_by_the_beginning_of_its_id(experiment, capsys):
    kept = [row | {"keep": True} for row in rows(experiment)]
    selected, out = experiment / "corpora" / "select", experiment / "publications" / "faces"
    for folder in (selected, out):
        folder.mkdir(parents=True)
    write_corpus(kept, selected)
    publish(
        experiment / "corpora" / "standard", selected, out, name="faces", title="Faces",
        emotions=["angry", "happy"], recipes={"synthetic": Recipe({"gan": Part()})},
    )  # fmt: skip
    (experiment / "published").symlink_to("publications/faces")
    for row in kept:
        assert main([row["id"][:10], "--in", str(experiment / "published")]) == 0
        printed = capsys.readouterr().out
        assert printed.count(row["id"]) == 1
        assert printed.strip().endswith("identical")


def test_a_changed_pixel_is_found_and_located(experiment, capsys):
    changed = rows(experiment)
    face = decode_png(changed[0]["image"])
    face[5, 9, 1] ^= 64
    changed[0]["image"] = face
    rewrite(experiment, changed)
    sheet = experiment / "sheet.png"
    assert main(["--all", "--in", str(experiment), "--out", str(sheet)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 256 pixels differ, by 64 of 255 at most (row 5, column 9)" in printed
    assert "the stored face was changed after it was sampled" in printed
    assert "3 faces identical, 1 not" in printed
    assert main([changed[1]["id"], "--in", str(experiment)]) == 0


def test_the_picture_shows_stored_redrawn_and_difference(experiment):
    changed = rows(experiment)[:1]
    face = decode_png(changed[0]["image"])
    face[5, 9, 1] ^= 64
    rewrite(experiment, [changed[0] | {"image": face}])
    sheet = experiment / "new" / "sheet.png"
    assert main([changed[0]["id"], "--in", str(experiment), "--out", str(sheet)]) == 1
    seen = np.asarray(Image.open(sheet))
    assert seen.shape == (192, 3 * 192 + 2 * 4, 3)
    stored, redrawn, apart = (seen[::12, x : x + 192 : 12] for x in (0, 196, 392))
    assert np.array_equal(stored, face)
    assert np.array_equal(redrawn, decode_png(changed[0]["image"]))
    assert np.argwhere(apart).tolist() == [[5, 9, 1]]
    assert apart[5, 9, 1] == 255


def test_altered_weights_are_refused(experiment, capsys):
    row = rows(experiment)[0]
    weights = experiment / "gans" / "angry-0123456789" / "generator.safetensors"
    tensors = load_file(weights)
    tensors["dense.bias"][0] += 1
    save_file(tensors, weights)
    assert main([row["id"], "--in", str(experiment)]) == 2
    said = capsys.readouterr().err
    assert "were altered" in said
    assert row["generator"] in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["zz"], "no row has the id 'zz'; looked through 5 rows of .*, 4 of them drawn"),
        (["REAL"], "is real, not drawn by a GAN.* database puppets_studio, subject .*file a.png"),
        (["GAN", "--gans", "EMPTY"], "generator [0-9a-f]{20} is not in .*no generator"),
        (["GAN", "--gans", "HAPPY"], r"is not in .*\(happy-0123456789\)"),
        (["GAN", "--in", "EMPTY/none"], "there is no folder"),
        (["GAN", "--in", "EMPTY"], "holds no rows"),
    ],
)
def test_wrong_input_is_named(experiment, capsys, words, message):
    (experiment / "empty").mkdir()
    names = {
        "REAL": Corpus(experiment / "corpora" / "standard").facts["id"][0],
        "GAN": rows(experiment)[0]["id"],
        "HAPPY": str(experiment / "gans" / "happy-0123456789"),
        "EMPTY/none": str(experiment / "empty" / "none"),
        "EMPTY": str(experiment / "empty"),
    }
    given = [names.get(word, word) for word in words]
    given += [] if "--in" in given else ["--in", str(experiment)]
    assert main(given) == 2
    assert re.search(message, capsys.readouterr().err)


def test_more_faces_leave_the_first_ones_as_they_are(experiment, tmp_path):
    gans = {name: tmp_path / "gans" / f"{name}-0123456789" for name in ("angry", "happy")}
    images = {}
    for count in (5, 10):
        out = tmp_path / f"sampled{count}"
        out.mkdir()
        corpus = experiment / "corpora" / "standard"
        sample(gans=gans, corpus=corpus, per_emotion=count, out=out, **SETTINGS)
        for emotion in gans:
            drawn = [row for row in Corpus(out).rows() if row["emotion"] == emotion]
            images[emotion, count] = [(row["id"], row["image"]) for row in drawn]
    for emotion in gans:
        assert len(set(images[emotion, 10])) == 10
        assert images[emotion, 5] == images[emotion, 10][:5]
