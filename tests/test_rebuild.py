"""A licence holder rebuilds, from the published folder and a tree of KDEF, what was withheld."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from hydra import compose, initialize_config_dir
from PIL import Image

from curation import pipeline, rebuild
from curation.artifact import read_json
from curation.corpus import EMOTIONS, Corpus, write_corpus
from curation.databases.kdef import EMOTIONS as CODES

CONF = Path(__file__).parents[1] / "conf"
SIDE = 24
PEOPLE = [f"{session}{person}" for person in ("F01", "F02", "M01", "M02") for session in "AB"]


def kdef_tree(root):
    """Write a miniature KDEF, as it unpacks: JPEGs of 30 × 40 pixels."""
    for number, folder in enumerate(PEOPLE):
        (root / "KDEF" / folder).mkdir(parents=True)
        for label, code in enumerate(CODES):
            draw = np.random.default_rng([number, label])
            small = draw.integers(0, 256, (4, 3, 3), dtype=np.uint8)
            face = Image.fromarray(small).resize((30, 40), Image.Resampling.BICUBIC)
            face.save(root / "KDEF" / folder / f"{folder}{code}S.JPG", "JPEG", quality=90)
    return root


def synthetic_rows(database):
    for label, emotion in enumerate(EMOTIONS):
        for index in range(4):
            draw = np.random.default_rng([7, label, index])
            yield {
                "image": draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
                "emotion": emotion,
                "database": database,
                "split": "train",
                "origin": "gan",
                "generator": "ab" * 16,
                "seed": index,
                "truncation": 1.0,
                "predicted": emotion,
                "agreement": 0.9,
                "keep": index > 0,
            }


def run(tree, out, synthetic, *words):
    """Run the road as the command does, without the GANs, and return the published folder."""
    given = [
        "database=kdef",
        f"database.root={tree}",
        f"stages.publish.reads.synthetic={synthetic}",
        "run=[ingest,standardise,augment,publish]",
        "protocol.split.validation=0.25",
        "standardise=none",
        f"size={SIDE}",
        "augment.copies=2",
        f"emotions=[{','.join(EMOTIONS)}]",
        f"out={out}",
        "name=little",
        "workers=1",
        *words,
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return pipeline.run(compose("config", given))[-1].folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tree of KDEF, what was published of it, and what would be if its licence allowed."""
    folder = tmp_path_factory.mktemp("train_home")
    tree = kdef_tree(folder / "KDEF_and_AKDEF")
    synthetic = folder / "synthetic"
    synthetic.mkdir()
    write_corpus(synthetic_rows("kdef"), synthetic)
    records = folder / "records"
    records.mkdir()
    own = {"name": "KDEF", "databases": ["kdef"], "redistribute": True, "terms": "All of it."}
    (records / "kdef.yaml").write_text(yaml.safe_dump(own))
    closed = run(tree, folder / "closed", synthetic)
    opened = run(tree, folder / "open", synthetic, f"stages.publish.reads.licences={records}")
    return tree, closed, opened


def parquet(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob("*/*.parquet"))
    }


def test_what_is_withheld_is_a_manifest_and_no_picture(home):
    tree, closed, opened = home
    facts = read_json(closed / "publication.json")["facts"]
    assert facts["configs"] == {"synthetic": {"train": 21}}
    assert facts["withheld"]["original"] == {"train": 42, "validation": 14}
    assert facts["not_rebuildable"] == {}
    assert sorted(path.name for path in (closed / "withheld").iterdir()) == [
        "files.csv",
        "rebuild.json",
        "rows.csv",
    ]
    lines = (closed / "withheld" / "files.csv").read_text().splitlines()
    assert len(lines) == 1 + 56
    assert lines[0] == "database,source,sha256,id,split"
    assert lines[1].startswith("kdef,AF01/AF01AFS.JPG,")
    everything = b"".join(path.read_bytes() for path in closed.rglob("*") if path.is_file())
    assert str(tree).encode() not in everything
    pictures = {
        row["bytes"]
        for path in opened.glob("geometric/*.parquet")
        for row in pq.read_table(path, columns=["image"])["image"].to_pylist()
    }
    assert len(pictures) == 42 * 3 + 14
    assert not [picture for picture in pictures if picture in everything]


def test_the_card_counts_the_people_by_sex_and_tells_how_to_rebuild(home):
    _, closed, _ = home
    text = (closed / "README.md").read_text()
    ingested = Corpus(next(closed.parents[1].glob("corpora/ingest-*"))).facts
    part = text.split("## The people behind it")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 + 1  # one of four people is held out, so one sex there
    for split, sex, people, *counts in lines[2:]:
        own = ingested[(ingested["split"] == split) & (ingested["sex"] == sex)]
        assert int(people) == own["subject"].nunique()
        assert [int(count) for count in counts[:-1]] == [
            int((own["emotion"] == emotion).sum()) for emotion in EMOTIONS
        ]
        assert int(counts[-1]) == len(own)
    assert "**No real face is in this data set.**" in text
    assert "affectory rebuild path/to/this/folder database.root=" in text


def test_a_licence_holder_rebuilds_the_same_bytes(home, tmp_path, capsys):
    tree, closed, opened = home
    published = tmp_path / "test_and_train" / "published"
    shutil.copytree(closed, published)
    (published / "publication.json").unlink()  # nothing but what travels
    moved = tmp_path / "mine" / "KDEF"
    shutil.copytree(tree / "KDEF", moved)
    out = tmp_path / "rebuilt"
    code = rebuild.main(
        [str(published), f"database.root={moved}", "--to", str(out), "--workers", "1"]
    )
    assert code == 0, capsys.readouterr().err
    assert "gan: 147 train, 14 validation" in capsys.readouterr().out
    want = parquet(opened)
    assert sorted({name.split("/")[0] for name in want}) == [
        "gan",
        "geometric",
        "original",
        "synthetic",
    ]
    assert parquet(out) == want
    faces = load_dataset(str(out), "gan", cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in faces.items()} == {"train": 147, "validation": 14}
    assert "may not be passed on" in (out / "README.md").read_text()
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("change", ["altered", "missing", "both"])
def test_one_wrong_file_is_named_and_nothing_is_left(home, tmp_path, capsys, change):
    tree, closed, _ = home
    mine = tmp_path / "mine"
    shutil.copytree(tree, mine)
    if change in ("altered", "both"):
        picture = mine / "KDEF" / "BM01" / "BM01HAS.JPG"
        picture.write_bytes(picture.read_bytes() + b"\0")  # the same pixels, another file
    if change in ("missing", "both"):
        (mine / "KDEF" / "AF02" / "AF02ANS.JPG").unlink()
    out = tmp_path / "rebuilt"
    assert rebuild.main([str(closed), f"database.root={mine}", "--to", str(out)]) == 2
    said = capsys.readouterr().err
    assert ("1 is altered: BM01/BM01HAS.JPG" in said) == (change != "missing")
    assert ("1 is missing: AF02/AF02ANS.JPG" in said) == (change != "altered")
    assert not out.exists()
    assert not (tmp_path / ".rebuilt.partial").exists()


def test_a_picture_that_the_published_one_did_not_have_changes_nothing(home, tmp_path):
    tree, closed, opened = home
    mine = tmp_path / "mine"
    shutil.copytree(tree, mine)
    (mine / "KDEF" / "AF03").mkdir()
    shutil.copy(mine / "KDEF/AF01/AF01ANS.JPG", mine / "KDEF/AF03/AF03ANS.JPG")
    rebuild.rebuild(closed, [f"database.root={mine}"], tmp_path / "out")
    assert parquet(tmp_path / "out") == parquet(opened)


def test_settings_that_give_other_pictures_are_refused(home, tmp_path):
    tree, closed, _ = home
    root = f"database.root={tree}"
    with pytest.raises(ValueError, match=f"size: {SIDE} against 16"):
        rebuild.rebuild(closed, [root, "standardise.size=16"], tmp_path / "out")
    with pytest.raises(ValueError, match="geometric/train came out with 42 of 126"):
        rebuild.rebuild(closed, [root, "augment.seed=5"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_asks_for_the_database_and_knows_its_keys(home, tmp_path, capsys):
    _, closed, opened = home
    to = ["--to", str(tmp_path / "out")]
    assert rebuild.main([str(closed), *to]) == 2
    assert "database.root must be given" in capsys.readouterr().err
    assert rebuild.main([str(closed), "database.rot=/x", *to]) == 2
    assert "rot" in capsys.readouterr().err
    assert rebuild.main([str(closed), "database.root=/no/such", *to]) == 2
    assert "/no/such does not exist" in capsys.readouterr().err
    assert rebuild.main([str(opened), *to]) == 2
    assert "nothing of it is withheld" in capsys.readouterr().err


@pytest.mark.parametrize(
    "target", ["os.system", "curation.databases.layout.os.system", "builtins.print", "nowhere.f"]
)
def test_a_published_folder_cannot_call_what_it_likes(home, tmp_path, target):
    tree, closed, _ = home
    evil = tmp_path / "evil"
    shutil.copytree(closed, evil)
    plan = evil / "withheld" / "rebuild.json"
    content = json.loads(plan.read_text())
    content["settings"]["standardise"]["frame"] = {"_target_": target, "_args_": ["true"]}
    plan.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="it is not called"):
        rebuild.rebuild(evil, [f"database.root={tree}"], tmp_path / "out")


def test_ingest_notes_every_file_and_its_hash(home):
    from curation.artifact import file_hash

    tree, closed, _ = home
    (ingested,) = closed.parents[1].glob("corpora/ingest-*")
    lines = [line.split(",") for line in (ingested / "files.csv").read_text().splitlines()[1:]]
    assert [line[3] for line in lines] == list(Corpus(ingested).facts["id"])
    for _, source, sha256, _ in lines:
        assert file_hash(tree / "KDEF" / source) == sha256
