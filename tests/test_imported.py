import csv

import numpy as np
import pytest
from PIL import Image

from curation.corpus import Corpus, write_corpus
from curation.databases.folder import Folder
from curation.imported import DerivedFrom, gather, import_faces

EMOTIONS = ("angry", "happy", "sad")
RULE = DerivedFrom(r"swap_(\w+)", r"kdef/\1")


def pixels(*key):
    return np.random.default_rng(key).integers(0, 256, (12, 12, 3), dtype=np.uint8)


@pytest.fixture
def real(tmp_path):
    rows = [
        {
            "image": pixels(0, number),
            "emotion": "happy",
            "database": "kdef",
            "subject": f"kdef/{name}",
            "split": split,
            "origin": "real",
        }
        for number, (name, split) in enumerate(
            [("AF01", "train"), ("AF02", "test"), ("AF03", "validation")]
        )
    ]
    (tmp_path / "real").mkdir()
    write_corpus(rows, tmp_path / "real", EMOTIONS)
    return tmp_path / "real"


@pytest.fixture
def swaps(tmp_path):
    """Two emotions of three, of people on every side, of a stranger and of nobody."""
    root = tmp_path / "pfa"
    names = ["swap_AF01", "swap_AF02", "swap_AF03", "swap_BM99", "nobody"]
    for number, emotion in enumerate(("angry", "happy")):
        (root / emotion).mkdir(parents=True)
        for place, name in enumerate(names):
            Image.fromarray(pixels(1, number, place)).save(root / emotion / f"{name}.png")
    return Folder(root, database="pfa")


def imported(real, database, out, **more):
    out.mkdir()
    facts = import_faces(real, out, database=database, emotions=EMOTIONS, **more)
    with (out / "skipped.csv").open(newline="", encoding="utf-8") as file:
        return Corpus(out), list(csv.DictReader(file)), facts


def test_rows_are_imported_training_faces_of_nobody(real, swaps, tmp_path, caplog):
    corpus, skipped, facts = imported(real, swaps, tmp_path / "out")
    assert skipped == []
    assert corpus.emotions == list(EMOTIONS)
    assert len(corpus) == facts["rows"] == 10
    rows = corpus.facts
    for column, value in (("origin", "imported"), ("split", "train"), ("database", "pfa")):
        assert set(rows[column]) == {value}
    for column in ("subject", "generator", "seed", "keep", "parent"):
        assert rows[column].isna().all()
    assert "nothing says from whom the faces derive" in caplog.text


def test_faces_of_people_who_are_held_out_are_refused_and_named(real, swaps, tmp_path):
    corpus, skipped, facts = imported(
        real, swaps, tmp_path / "out", derived_from=RULE, forget=["kdef/BM99"]
    )
    assert corpus.facts["subject"].dropna().unique().tolist() == ["kdef/AF01"]
    assert len(corpus) == 4
    told = {(line["source"], line["reason"], line["detail"]) for line in skipped}
    assert told == {
        (f"{emotion}/swap_{name}.png", reason, f"kdef/{name}")
        for emotion in ("angry", "happy")
        for name, reason in (
            ("AF02", "derives from a subject of split test"),
            ("AF03", "derives from a subject of split validation"),
            ("BM99", "derives from a subject to be forgotten"),
        )
    }
    assert facts["derived"] == {"people": 4, "in_corpus": 3, "faces_of_nobody": 2}


def test_a_rule_that_finds_nobody_of_ours_is_told(real, swaps, tmp_path, caplog):
    wrong = DerivedFrom(r"swap_(\w+)", r"\1")
    imported(real, swaps, tmp_path / "out", derived_from=wrong)
    assert "of 4 people named 0 are in the corpus, which calls them like 'kdef/AF01'" in caplog.text


def test_a_table_can_say_whom_a_face_derives_from():
    rule = DerivedFrom("^pfa/(.*)$", r"kdef/\1", column="subject")
    assert rule({"source": "x.png", "subject": "pfa/AF01"}) == "kdef/AF01"
    assert rule({"source": "x.png", "subject": None}) is None


def test_the_name_of_a_real_database_is_refused(real, swaps, tmp_path):
    same = Folder(swaps.root, database="kdef")
    with pytest.raises(ValueError, match=r"are called 'kdef'.*imported.database.database"):
        imported(real, same, tmp_path / "out")


def test_gather_joins_what_was_drawn_and_what_was_imported(tmp_path):
    def corpus(name, keys, origin, emotions=EMOTIONS):
        rows = [
            {
                "image": pixels(2, key),
                "emotion": "happy",
                "split": "train",
                "origin": origin,
                "keep": key % 2 == 0,
            }
            for key in keys
        ]
        (tmp_path / name).mkdir()
        write_corpus(rows, tmp_path / name, emotions)
        return tmp_path / name

    drawn, other = corpus("drawn", range(4), "gan"), corpus("other", range(3, 9), "imported")
    (tmp_path / "out").mkdir()
    assert gather(drawn, other, tmp_path / "out") == {
        "rows": 9,
        "skipped": {"same face as another picture": 1},
    }
    facts = Corpus(tmp_path / "out").facts
    assert facts["origin"].tolist() == ["gan"] * 4 + ["imported"] * 5
    assert facts["keep"].tolist() == [key % 2 == 0 for key in range(9)]
    turned = corpus("turned", [20], "imported", EMOTIONS[::-1])
    with pytest.raises(ValueError, match="make both with the same emotions"):
        gather(drawn, turned, tmp_path / "out")
