import csv
from functools import partial

import numpy as np
import pandas as pd
import pytest

from classifiers.networks import small_cnn
from classifiers.train import train_gate
from classifiers.training import Phase, Training
from curation.augment import Copies
from curation.corpus import Corpus, content_id, write_corpus
from curation.labels import OUT_OF_FOLD, SHEET, TABLE, check_labels
from curation.operators import Flip

pytest.importorskip("cleanlab")
EMOTIONS = ("angry", "happy", "sad")
PEOPLE, PLANTED = 40, 9
TRAINING = Training(
    {"train": Phase(40, learning_rate=0.01, weight_decay=0.01, warmup=0.1)}, mirror=0.5
)


def face(emotion, key):
    """A bright bar at a height that is the emotion's, on noise."""
    picture = np.random.default_rng(key).integers(0, 90, (32, 32, 3))
    top = 2 + 10 * EMOTIONS.index(emotion)
    picture[top : top + 8, 4:28] += 120
    return picture.astype(np.uint8)


def build(folder, planted):
    """A corpus with a copy of each face, and the ids of the real faces that are named wrongly."""
    rows, wrong = [], set()
    for person in range(PEOPLE):
        for place, emotion in enumerate(EMOTIONS):
            picture = face(emotion, [person, place])
            name = emotion
            if place == person % 3 and person < planted:
                name = EMOTIONS[(place + 1) % 3]
                wrong.add(content_id(picture))
            facts = {"emotion": name, "subject": f"lab/{person}", "split": "train"}
            rows.append({**facts, "image": picture, "origin": "real", "source": f"{person}.png"})
            copy = {"image": picture[:, ::-1].copy(), "parent": content_id(picture)}
            rows.append({**facts, **copy, "origin": "geometric"})
    rows.append({**rows[0], "image": face("sad", [999]), "subject": "lab/x", "split": "test"})
    for name in ("corpus", "classifier"):
        (folder / name).mkdir(parents=True)
    write_corpus(rows, folder / "corpus", EMOTIONS)
    train_gate(
        folder / "corpus",
        folder / "classifier",
        emotions=EMOTIONS,
        network=partial(small_cnn, width=8, dropout=0.1),
        folds=3,
        seed=0,
        training=TRAINING,
        accelerator="cpu",
    )
    return folder, wrong


def checked(folder, name, **more):
    (folder / name).mkdir()
    paths = folder / "corpus", folder / "classifier", folder / name
    facts = check_labels(*paths, emotions=EMOTIONS, **more)
    return facts, Corpus(folder / name).facts


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return build(tmp_path_factory.mktemp("planted"), PLANTED)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return build(tmp_path_factory.mktemp("clean"), 0)


def test_planted_labels_are_found(planted):
    folder, wrong = planted
    facts, rows = checked(folder, "found")
    found = set(rows.loc[rows["reason"].notna() & (rows["origin"] == "real"), "id"])
    assert facts["judged"] == 3 * PEOPLE
    assert facts["suspects"] == len(found)
    assert len(wrong) == PLANTED
    assert len(found & wrong) / len(wrong) >= 0.85  # recall
    assert len(found & wrong) / len(found) >= 0.75  # precision
    with (folder / "found" / TABLE).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["id"] for line in lines} == found
    shares = [float(line["p_given"]) for line in lines]
    assert shares == sorted(shares)
    sheet = (folder / "found" / SHEET).read_text(encoding="utf-8")
    assert sheet.count("data:image/webp") == len(found)


def test_clean_labels_give_few(clean):
    facts, _ = checked(clean[0], "found")
    assert facts["suspects"] <= 0.03 * facts["judged"]


def test_without_holding_back_only_marks_change(planted):
    folder, _ = planted
    _, rows = checked(folder, "marked")
    before = Corpus(folder / "corpus").facts
    marks = ("predicted", "agreement", "confidence", "reason")
    unchanged = [name for name in before if name not in marks]
    pd.testing.assert_frame_equal(rows[unchanged], before[unchanged])
    judged = (rows["split"] == "train") & (rows["origin"] == "real")
    assert rows["predicted"].notna().equals(judged)
    assert rows["keep"].isna().all()


def test_held_back_faces_and_their_copies_teach_nothing(planted):
    folder, wrong = planted
    _, rows = checked(folder, "held", hold_back=True)
    held = rows[rows["keep"].fillna(True).eq(False)]
    real = set(held.loc[held["origin"] == "real", "id"])
    assert set(held.loc[held["origin"] == "geometric", "parent"]) == real
    assert len(real & wrong) >= 0.85 * PLANTED
    assert held["reason"].str.startswith("label: read as ").all()
    copies = Copies(Flip(1.0), 1, 0)
    for row in Corpus(folder / "held").rows():
        if row["origin"] == "real":
            assert bool(copies(row)[1]) == (row["split"] == "train" and row["id"] not in real)
    (folder / "again").mkdir()
    settings = {"network": partial(small_cnn, width=8), "folds": 1, "seed": 0}
    settings["training"] = Training({"train": Phase(1)})
    facts = train_gate(folder / "held", folder / "again", emotions=EMOTIONS, **settings)
    assert facts["train_rows"] == 2 * (3 * PEOPLE - len(real))


def test_what_is_missing_is_told(planted, tmp_path):
    folder, _ = planted
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"classifier\.gate_folds"):
        check_labels(folder / "corpus", tmp_path / "empty", tmp_path, emotions=EMOTIONS)
    table = pd.read_parquet(folder / "classifier" / OUT_OF_FOLD)
    table.iloc[5:].to_parquet(tmp_path / "empty" / OUT_OF_FOLD)
    with pytest.raises(ValueError, match="5 of 120 training faces have no probabilities"):
        check_labels(folder / "corpus", tmp_path / "empty", tmp_path, emotions=EMOTIONS)


def test_a_classifier_that_doubts_too_much_holds_nothing_back(planted, tmp_path):
    folder, _ = planted
    settings = {"emotions": EMOTIONS, "hold_back": True, "most": 0.02}
    with pytest.raises(ValueError, match=r"of 120 labels are doubtful.*no more than 2% may be"):
        check_labels(folder / "corpus", folder / "classifier", tmp_path, **settings)
    assert not list(tmp_path.iterdir())
