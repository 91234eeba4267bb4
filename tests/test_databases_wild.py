import importlib.util
import os
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as Picture
from omegaconf import OmegaConf
from PIL import Image

from curation.corpus import Corpus, decode_png, encode_png, split_subjects, write_corpus
from curation.databases import affectnet, hf
from curation.databases.affectnet import AffectNet
from curation.databases.fer2013 import Fer2013
from curation.databases.folder import Folder
from curation.databases.hf import HuggingFace
from curation.databases.layout import LINK_OUTSIDE
from curation.databases.rafdb import RafDb
from curation.ingest import UnreadableImageError, ingest

SEVEN = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
CONF = Path(__file__).parents[1] / "conf" / "database"


def pixels(number, height=9, width=11):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels(len(str(path))) if image is None else image
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def listed(adapter):
    """Rows that have a picture, by source, and problems as source → reason."""
    rows = list(adapter.rows())
    good = {row["source"]: row for row in rows if "problem" not in row}
    bad = {row["source"]: row["problem"] for row in rows if "problem" in row}
    assert len(good) + len(bad) == len(rows)  # no source is named twice
    return good, bad


def emotions(good):
    return {source: row["emotion"] for source, row in good.items()}


def splits(good):
    return {source: row["split"] for source, row in good.items()}


# FER2013


def line(code, number, usage="Training", count=2304):
    grey = np.random.default_rng(number).integers(0, 256, count)
    return f"{code},{' '.join(map(str, grey))},{usage}"


def table(path, lines, header="emotion,pixels,Usage"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_fer2013_table_gives_pixels_labels_and_the_official_splits(tmp_path):
    usages = ("Training", "PublicTest", "PrivateTest")
    table(tmp_path / "fer2013.csv", [line(code, code, usages[code % 3]) for code in range(7)])
    good, bad = listed(Fer2013(tmp_path))
    assert bad == {}
    assert list(emotions(good).items()) == [
        ("fer2013.csv:2", "angry"),
        ("fer2013.csv:3", "disgust"),
        ("fer2013.csv:4", "fear"),
        ("fer2013.csv:5", "happy"),
        ("fer2013.csv:6", "sad"),
        ("fer2013.csv:7", "surprise"),
        ("fer2013.csv:8", "neutral"),
    ]
    assert list(splits(good).values()) == ["train", "validation", "test"] * 2 + ["train"]
    image = pickle.loads(pickle.dumps(good["fer2013.csv:4"]["image"]))()
    grey = np.random.default_rng(2).integers(0, 256, 2304).reshape(48, 48)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("name", "header", "root"),
    [
        ("icml_face_data.csv", "emotion, pixels, Usage", "."),
        ("fer2013.csv", "\ufeffEmotion,Pixels,usage", "."),
        ("fer2013/fer2013.csv", "emotion,pixels,Usage", "."),
        ("fer2013.csv", "emotion,pixels,Usage", "fer2013.csv"),
    ],
)
def test_fer2013_table_is_found_under_its_names(tmp_path, name, header, root):
    table(tmp_path / name, [line(3, 1)], header)
    good, _ = listed(Fer2013(tmp_path / root))
    assert list(emotions(good).values()) == ["happy"]


def test_fer2013_columns_may_come_in_another_order_and_quoted(tmp_path):
    code, grey, usage = line(6, 1, "PrivateTest").split(",")
    header = '"emotion","Usage","pixels"'
    table(tmp_path / "icml_face_data.csv", [f'{code},{usage},"{grey}"'], header)
    (row,) = Fer2013(tmp_path).rows()
    assert (row["emotion"], row["split"], row["image"]().shape) == ("neutral", "test", (48, 48, 3))


def test_a_damaged_line_of_fer2013_costs_that_line_alone(tmp_path):
    good_line = line(3, 1)
    lines = [
        line(3, 2, count=2303),
        line(7, 3),
        line(3, 4).replace(" ", " x", 1),
        "3," + "256 " * 2304 + ",Training",
        "3," + "-1 " * 2304 + ",Training",
        line(3, 5, "Holdout"),
        f'3,"{good_line.split(",")[1]}',
        "",
        "x" * 250_000,
        ",,",
        good_line,
    ]
    table(tmp_path / "fer2013.csv", lines)
    good, bad = listed(Fer2013(tmp_path))
    assert list(good) == ["fer2013.csv:12"]
    assert bad == {
        "fer2013.csv:2": "wrong number of pixels",
        "fer2013.csv:3": "unknown label",
        "fer2013.csv:4": "pixels are not numbers from 0 to 255",
        "fer2013.csv:5": "pixels are not numbers from 0 to 255",
        "fer2013.csv:6": "pixels are not numbers from 0 to 255",
        "fer2013.csv:7": "unknown split",
        "fer2013.csv:8": "line of the table is cut off",
        "fer2013.csv:10": "line of the table is cut off",
        "fer2013.csv:11": "unknown label",
    }


def test_fer2013_without_a_column_is_told(tmp_path):
    path = table(tmp_path / "fer2013.csv", ["3,1 2 3"], "emotion,pixels")
    with pytest.raises(ValueError, match=f"{path} has no column usage; its first line is emotion"):
        list(Fer2013(tmp_path).rows())


def test_fer2013_keeps_bytes_and_not_text(tmp_path):
    table(tmp_path / "fer2013.csv", [line(3, number) for number in range(20)])
    rows = list(Fer2013(tmp_path).rows())
    assert max(len(pickle.dumps(row["image"])) for row in rows) < 2304 + 200


def test_fer2013_files_have_the_split_of_their_names(tmp_path):
    for name in (
        "train/angry/Training_3908.jpg",
        "test/angry/PublicTest_1.JPG",
        "test/angry/PrivateTest_2 (1).png",
        "test/Happy/im7.png",
        "train/5/train test.bmp",
    ):
        save(tmp_path / name)
    save(tmp_path / "train" / "loose.png")
    good, bad = listed(Fer2013(tmp_path))
    assert splits(good) == {
        "test/Happy/im7.png": "test",
        "test/angry/PrivateTest_2 (1).png": "test",
        "test/angry/PublicTest_1.JPG": "validation",
        "train/5/train test.bmp": "train",
        "train/angry/Training_3908.jpg": "train",
    }
    assert emotions(good)["train/5/train test.bmp"] == "surprise"
    assert emotions(good)["test/Happy/im7.png"] == "happy"
    assert bad == {"train/loose.png": "picture outside the class folders"}


def test_fer2013_expects_what_its_paper_counts():
    expected = Fer2013("x").expected
    assert sum(expected.values()) == 35_887 == 28_709 + 3_589 + 3_589
    assert expected["disgust"] == 547


def test_duplicates_of_fer2013_are_named_by_ingest(tmp_path):
    lines = [line(3, 1), line(3, 1, "PrivateTest"), line(4, 2)]
    table(tmp_path / "data" / "fer2013.csv", lines)
    corpus, skipped, facts = ingested(tmp_path, Fer2013(tmp_path / "data"), ("happy", "sad"))
    assert list(corpus.facts["source"]) == ["fer2013.csv:2", "fer2013.csv:4"]
    assert skipped == {"fer2013.csv:3": ("same pixels as another picture", "fer2013.csv:2")}
    assert facts["missing"]["fer2013"]["happy"] == 8989 - 2


def ingested(tmp_path, adapter, wanted=("happy",), **options):
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    out.mkdir()
    facts = ingest(database=adapter, split=split_subjects, out=out, emotions=wanted, **options)
    lines = (out / "skipped.csv").read_text().splitlines()[1:]
    skipped = {text.split(",")[0]: tuple(text.split(",", 2)[1:]) for text in lines}
    return Corpus(out), skipped, facts


# AffectNet


def labelled(folder, number, code, valence=0.5, arousal=-0.25, image=True, suffix=".jpg"):
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, value in (("exp", code), ("val", valence), ("aro", arousal)):
        if value is not None:
            np.save(folder / "annotations" / f"{number}_{name}.npy", value)
    np.save(folder / "annotations" / f"{number}_lnd.npy", np.zeros(136))
    if image:
        save(folder / "images" / f"{number}{suffix}", pixels(number))


def test_affectnet_reads_labels_valence_and_arousal_in_every_type(tmp_path):
    train, val = tmp_path / "train_set", tmp_path / "val_set"
    labelled(train, 0, np.array("3"), np.array("-0.5"), np.array("1"))
    labelled(train, 2, np.array(7), 0.25, np.float32(-1), suffix=".JPG")
    labelled(train, 10, np.array([5]), np.array([[0.5]]), np.array(b"0.5"), suffix=".png")
    labelled(train, 11, np.array("6"), np.array("-2"), None)
    labelled(val, 2, np.int64(1), np.array("nonsense"), np.float64("nan"))
    good, bad = listed(AffectNet(tmp_path))
    assert bad == {}
    assert list(emotions(good).items()) == [  # by number, not by text
        ("train_set/images/0.jpg", "surprise"),
        ("train_set/images/2.JPG", "contempt"),
        ("train_set/images/10.png", "disgust"),
        ("train_set/images/11.jpg", "angry"),
        ("val_set/images/2.jpg", "happy"),
    ]
    affect = [(row["valence"], row["arousal"]) for row in good.values()]
    assert affect == [(-0.5, 1), (0.25, -1), (0.5, 0.5), (None, None), (None, None)]
    assert list(splits(good).values()) == ["train"] * 4 + ["validation"]
    assert {row["subject"] for row in good.values()} == {None}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_affectnet_without_a_usable_label_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = tmp_path / "train_set"
    labels = train / "annotations"
    labelled(train, 1, None)
    labelled(train, 2, np.array([Evil()], dtype=object))
    labelled(train, 3, np.array([1, 2]))
    labelled(train, 4, np.array("happy"))
    labelled(train, 5, np.array(8))
    labelled(train, 6, np.array("9"))
    labelled(train, 7, np.array(10))
    labelled(train, 8, np.array(-1))
    labelled(train, 9, np.array(1.5))
    labelled(train, 10, np.array("1"), image=False)
    labelled(train, 11, np.array(1))
    (labels / "11_exp.npy").write_bytes((labels / "11_exp.npy").read_bytes()[:-3])
    labelled(train, 12, np.array(1))
    (labels / "12_exp.npy").write_bytes(b"")
    labelled(train, 13, np.array(1))
    (labels / "13_exp.npy").write_text("1")
    labelled(train, 14, np.array(1))
    save(train / "images" / "14.png")
    save(train / "images" / "notes" / "x.png")
    good, bad = listed(AffectNet(tmp_path))
    damaged = "label file damaged"
    assert bad == {
        "train_set/images/1.jpg": "label file missing",
        "train_set/images/2.jpg": damaged,
        "train_set/images/3.jpg": damaged,
        "train_set/images/4.jpg": damaged,
        "train_set/images/5.jpg": "labelled as no expression",
        "train_set/images/6.jpg": "labelled as uncertain",
        "train_set/images/7.jpg": "labelled as no face",
        "train_set/images/8.jpg": "unknown label",
        "train_set/images/9.jpg": "unknown label",
        "train_set/images/11.jpg": damaged,
        "train_set/images/12.jpg": damaged,
        "train_set/images/13.jpg": damaged,
        "train_set/images/14.png": "second picture of one number",
        "train_set/images/notes/x.png": "label file missing",
    }
    assert list(good) == ["train_set/images/10.jpg", "train_set/images/14.jpg"]
    assert not good["train_set/images/10.jpg"]["image"].exists()  # ingest names it as not found
    assert not (tmp_path / "evil").exists()


def test_affectnet_takes_the_splits_wanted_and_expects_them(tmp_path):
    labelled(tmp_path / "train_set", 1, np.array(1))
    labelled(tmp_path / "val_set", 1, np.array(1))
    good, _ = listed(AffectNet(tmp_path, splits=("validation",)))
    assert list(good) == ["val_set/images/1.jpg"]
    assert AffectNet("x", splits=("validation",)).expected == dict.fromkeys(affectnet.TRAIN, 500)
    train = AffectNet("x", splits=["train"]).expected
    assert (train["contempt"], train["angry"]) == (3_750, 24_882)
    assert sum(train.values()) == 287_651
    assert AffectNet("x").expected["fear"] == 6_378 + 500
    with pytest.raises(ValueError, match=r"no split 'test', only train and validation .database\."):
        AffectNet("x", splits=("test",))
    (tmp_path / "train_set").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="AffectNet's split train"):
        list(AffectNet(tmp_path, splits=["train"]).rows())


HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    "expression,valence,arousal"
)


def old_affectnet(root, lines, validation=()):
    lists = root / "Manually_Annotated_file_lists"
    table(lists / "training.csv", lines, HEADER)
    if validation:  # which the authors gave without a header
        (lists / "validation.csv").write_text("\n".join(validation) + "\n")
    return root / "Manually_Annotated_Images"


def test_older_affectnet_tables(tmp_path):
    images = old_affectnet(
        tmp_path,
        [
            "103/a b train.JPG,1,1,5,5,1.0;2.0,1,0.7,-0.1",
            "103\\b.jpg,1,1,5,5,1.0;2.0,7,-2,-2",
            "103/gone.jpg,1,1,5,5,1.0;2.0,0,0,0",
            "104/c.jpg,1,1,5,5,1.0;2.0,8,-2,-2",
            "104/d.jpg,1,1,5,5,1.0;2.0,9,-2,-2",
            "104/e.jpg,NULL,NULL,NULL,NULL,NULL,10,-2,-2",
            "104/f.jpg,1,1,5",
            "104/g.jpg,1,1,5,5,1.0;2.0,sad,0,0",
            "../../outside.jpg,1,1,5,5,1.0;2.0,1,0,0",
            "/etc/passwd,1,1,5,5,1.0;2.0,1,0,0",
        ],
        ["9/v.jpg,1,1,5,5,1.0;2.0,4,0.5,0.25"],
    )
    for name in ("103/a b train.JPG", "103/b.jpg", "9/v.jpg"):
        save(images / name)
    good, bad = listed(AffectNet(tmp_path))
    at = "Manually_Annotated_Images"
    assert {
        source: (row["emotion"], row["split"], row["valence"]) for source, row in good.items()
    } == {
        f"{at}/103/a b train.JPG": ("happy", "train", 0.7),
        f"{at}/103/b.jpg": ("contempt", "train", None),
        f"{at}/103/gone.jpg": ("neutral", "train", 0),
        f"{at}/9/v.jpg": ("fear", "validation", 0.5),
    }
    lists = "Manually_Annotated_file_lists/training.csv"
    assert bad == {
        f"{at}/104/c.jpg": "labelled as no expression",
        f"{at}/104/d.jpg": "labelled as uncertain",
        f"{at}/104/e.jpg": "labelled as no face",
        f"{lists}:8": "line of the table is cut off",
        f"{at}/104/g.jpg": "line of the table without a number",
        f"{lists}:10": LINK_OUTSIDE,
        f"{lists}:11": LINK_OUTSIDE,
    }


def test_older_affectnet_does_not_follow_links_out(tmp_path):
    root, away = tmp_path / "root", tmp_path / "away"
    images = old_affectnet(
        root, [f"{n}.jpg,1,1,5,5,1;2,1,0,0" for n in ("1/a", "1/b", "2/a", "2/b")]
    )
    save(images / "1" / "b.jpg")
    save(away / "a.jpg")
    save(away / "b.jpg")
    (images / "1" / "a.jpg").symlink_to(away / "a.jpg")
    (images / "2").symlink_to(away)
    good, bad = listed(AffectNet(root))
    assert list(good) == ["Manually_Annotated_Images/1/b.jpg"]
    assert set(bad.values()) == {LINK_OUTSIDE}
    assert len(bad) == 3


def test_older_affectnet_cuts_out_the_annotated_face(tmp_path):
    image = pixels(1, 40, 60)
    lines = [
        "1/a.png,10,20,8,4,1;2,1,0,0",
        "1/a.png,58,38,8,8,1;2,2,0,0",
        "1/a.png,100,100,5,5,1;2,3,0,0",
        "1/a.png,x,1,5,5,1;2,1,0,0",
        "1/a.png,1,1,0,5,1;2,1,0,0",
        "1/gone.png,1,1,5,5,1;2,1,0,0",
    ]
    save(old_affectnet(tmp_path, lines) / "1" / "a.png", image)
    rows = list(AffectNet(tmp_path, margin=0.25).rows())
    inner, corner, beyond = (pickle.loads(pickle.dumps(row["image"]))() for row in rows[:3])
    np.testing.assert_array_equal(inner, image[19:25, 8:20])
    np.testing.assert_array_equal(corner, image[36:, 56:])
    np.testing.assert_array_equal(beyond, image[-1:, -1:])
    assert [row["problem"] for row in rows[3:5]] == ["line of the table without a number"] * 2
    with pytest.raises(UnreadableImageError, match="file not found"):
        rows[5]["image"]()
    with pytest.raises(ValueError, match=r"margin -1 must lie in \[0, 5\]"):
        AffectNet("x", margin=-1)


# RAF-DB


def raf(root, lines, listing="list_patition_label.txt", kind="aligned"):
    (root / "EmoLabel").mkdir(parents=True, exist_ok=True)
    (root / "EmoLabel" / listing).write_text("\n".join(lines) + "\n")
    (root / "Image" / kind).mkdir(parents=True, exist_ok=True)
    return root / "Image" / kind


@pytest.mark.parametrize("listing", ["list_patition_label.txt", "list_partition_label.txt"])
def test_rafdb_list_gives_labels_splits_and_sex(tmp_path, listing):
    lines = [f"{'test' if n % 2 else 'train'}_{n:05d}.jpg {n}" for n in range(1, 8)]
    images = raf(tmp_path / "basic", lines, listing)
    for text in lines:
        save(images / text.split()[0].replace(".jpg", "_aligned.jpg"))
    manual = tmp_path / "basic" / "Annotation" / "manual"
    manual.mkdir(parents=True)
    for number, code in (("test_00001", 0), ("train_00002", 1), ("test_00003", 2)):
        landmarks = "\n".join(["10.5\t20.5"] * 5)
        (manual / f"{number}_manu_attri.txt").write_text(f"{landmarks}\n{code}\n0\n2\n")
    good, bad = listed(RafDb(tmp_path))
    assert bad == {}
    assert [row["emotion"] for row in good.values()] == [
        "surprise",
        "fear",
        "disgust",
        "happy",
        "sad",
        "angry",
        "neutral",
    ]
    assert splits(good)["Image/aligned/train_00002_aligned.jpg"] == "train"
    assert splits(good)["Image/aligned/test_00001_aligned.jpg"] == "test"
    assert [row["sex"] for row in good.values()] == ["male", "female", *[None] * 5]


def test_rafdb_names_what_is_missing_or_too_much(tmp_path):
    images = raf(
        tmp_path,
        [
            "train_00001.jpg 4",
            "train_00002.jpg 9",
            "train_00003.jpg 5",
            "train_00001.jpg 4",
            "",
            "holiday.jpg 4",
            "test_0004.jpg",
            "test_0005.jpg 4",
        ],
    )
    away = save(tmp_path.parent / f"{tmp_path.name}_away.jpg")
    save(images / "train_00001_aligned.JPG")
    save(images / "train_00002_aligned.jpg")
    save(images / "train_00009_aligned.jpg")
    (images / "test_0005_aligned.jpg").symlink_to(away)
    good, bad = listed(RafDb(tmp_path))
    assert list(good) == [
        "Image/aligned/train_00001_aligned.JPG",
        "Image/aligned/train_00003_aligned.jpg",
    ]
    assert not good["Image/aligned/train_00003_aligned.jpg"]["image"].exists()
    where = "EmoLabel/list_patition_label.txt"
    assert bad == {
        "Image/aligned/train_00002_aligned.jpg": "unknown label",
        f"{where}:4": "picture listed twice",
        f"{where}:6": "line of the list that names no picture",
        f"{where}:7": "line of the list that names no picture",
        "Image/aligned/train_00009_aligned.jpg": "picture without a label",
        "Image/aligned/test_0005_aligned.jpg": LINK_OUTSIDE,
    }


def test_rafdb_original_pictures(tmp_path):
    save(raf(tmp_path, ["train_00001.jpg 4"], kind="original") / "train_00001.jpg")
    good, _ = listed(RafDb(tmp_path, pictures="original"))
    assert list(good) == ["Image/original/train_00001.jpg"]
    with pytest.raises(ValueError, match="does not hold RAF-DB's aligned pictures"):
        list(RafDb(tmp_path).rows())
    with pytest.raises(ValueError, match="'cropped'; it is 'aligned' or 'original'"):
        RafDb(tmp_path, pictures="cropped")


def test_rafdb_of_compound_expressions_is_refused(tmp_path):
    raf(tmp_path, [f"train_{n:05d}.jpg {n}" for n in range(1, 12)])
    with pytest.raises(ValueError, match="compound expressions; name the folder of the basic"):
        list(RafDb(tmp_path).rows())


def test_rafdb_in_class_folders(tmp_path):
    for code in range(1, 8):
        save(tmp_path / "DATASET" / "train" / str(code) / f"train_0000{code}_aligned.jpg")
    save(tmp_path / "DATASET" / "test" / "4" / "test_00001_aligned.jpg")
    save(tmp_path / "DATASET" / "test" / "4" / "cover.jpg")
    good, bad = listed(RafDb(tmp_path))
    assert emotions(good)["test/4/test_00001_aligned.jpg"] == "happy"
    assert splits(good)["test/4/test_00001_aligned.jpg"] == "test"
    assert len(good) == 8
    assert bad == {"test/4/cover.jpg": "picture without a label"}


def test_rafdb_expects_what_its_authors_count():
    assert sum(RafDb("x").expected.values()) == 15_339 == 12_271 + 3_068


# image folders


def test_a_folder_keeps_further_classes_and_any_case(tmp_path):
    for name in (
        "Contempt/1.PNG",
        "data/Train/HAPPY/a.b.jpeg",
        "data/Val/Joy/x train.JPG",
        "0/1.bmp",
    ):
        save(tmp_path / name)
    good, bad = listed(Folder(tmp_path, names={0: "anger"}))
    assert {source: (row["emotion"], row["split"]) for source, row in good.items()} == {
        "0/1.bmp": ("angry", None),
        "Contempt/1.PNG": ("contempt", None),
        "data/Train/HAPPY/a.b.jpeg": ("happy", "train"),
        "data/Val/Joy/x train.JPG": ("happy", "validation"),
    }
    assert bad == {}


def test_a_folder_names_links_out_and_pictures_without_a_class(tmp_path):
    root = tmp_path / "root"
    away = save(tmp_path / "away" / "1.png")
    save(root / "happy" / "1.png")
    save(root / "loose.png")
    (root / "happy" / "2.png").symlink_to(away)
    (root / "sad").symlink_to(away.parent)
    (root / "happy" / "3.png").symlink_to(root / "happy" / "1.png")
    good, bad = listed(Folder(root))
    assert sorted(good) == ["happy/1.png", "happy/3.png"]
    assert bad == {
        "happy/2.png": LINK_OUTSIDE,
        "sad": LINK_OUTSIDE,
        "loose.png": "picture in no class folder",
    }


def test_a_table_cannot_name_a_file_outside(tmp_path):
    root = tmp_path / "root"
    save(tmp_path / "outside.png")
    save(root / "happy" / "1.png")
    (root / "labels.csv").write_text(
        f"file,label\n../outside.png,happy\n{tmp_path}/outside.png,sad\nhappy/2.png,\n"
    )
    good, bad = listed(Folder(root))
    assert bad == {"../outside.png": LINK_OUTSIDE, f"{tmp_path}/outside.png": LINK_OUTSIDE}
    assert emotions(good) == {"happy/1.png": "happy", "happy/2.png": "happy"}


@pytest.mark.parametrize("adapter", [Fer2013, AffectNet, RafDb, Folder])
def test_an_archive_that_was_never_unpacked_is_named(adapter, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("fer2013.csv", "emotion,pixels,Usage\n")
    with pytest.raises(ValueError, match=r"database\.root.*archive\.zip.*never unpacked"):
        list(adapter(tmp_path).rows())
    with pytest.raises(FileNotFoundError, match=r"nowhere.*database\.root"):
        list(adapter(tmp_path / "nowhere").rows())


# damaged files


@pytest.fixture(scope="module")
def trial():
    path = Path(__file__).parents[1] / "benchmarks" / "ingest.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_ingest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_damaged_file_is_named_and_every_good_one_arrives(tmp_path, trial):
    kinds = len(trial.GOOD), len(trial.BAD)
    sources, reasons = trial.write_mixed(tmp_path / "root", good=kinds[0], bad=2 * kinds[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    corpus, skipped, facts = ingested(tmp_path, Folder(tmp_path / "root"))
    assert set(corpus.facts["source"]) == sources
    assert {source: reason for source, (reason, _) in skipped.items()} == reasons
    assert facts["rows"] + sum(facts["skipped"].values()) == kinds[0] + 2 * kinds[1]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 700_000  # KB; a picture of 81 million pixels that is cut off takes 250 MB


# Hugging Face


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(hf.settings, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def encoded(number):
    return {"bytes": encode_png(pixels(number)), "path": None}


def dataset(count=3, **columns):
    names = columns.pop("names", ["angry", "Happiness", "contempt"])
    content = {"image": [encoded(n) for n in range(count)], "label": [n % 3 for n in range(count)]}
    features = Features({"image": Picture(), "label": ClassLabel(names=names)})
    made = Dataset.from_dict(content, features=features)
    for name, values in columns.items():
        made = made.add_column(name, values)
    return made


def drawn(row):
    return pickle.loads(pickle.dumps(row["image"]))()


def write(made, root, kind):
    if kind == "disk":
        made.save_to_disk(root)
        return root
    root.mkdir(parents=True, exist_ok=True)
    made.to_parquet(root / "data.parquet")
    return root if kind == "folder" else root / "data.parquet"


@pytest.mark.parametrize("kind", ["disk", "folder", "file"])
def test_a_dataset_gives_pictures_late_and_names_of_labels(tmp_path, kind):
    path = write(dataset(5, subject=["a", None, "faces/b", "", "a"]), tmp_path / "faces", kind)
    good, bad = listed(HuggingFace(path, database="faces"))
    assert bad == {}
    assert emotions(good) == {
        "train/0": "angry",
        "train/1": "happy",
        "train/2": "contempt",
        "train/3": "angry",
        "train/4": "happy",
    }
    subjects = [row["subject"] for row in good.values()]
    assert subjects == ["faces/a", None, "faces/b", None, "faces/a"]
    assert set(splits(good).values()) == {None}  # a lone `train` says nothing
    for number, row in enumerate(good.values()):
        np.testing.assert_array_equal(drawn(row), pixels(number))
        assert len(pickle.dumps(row["image"])) < 500  # the place, and not the picture


def test_columns_labels_and_splits_are_read_as_told(tmp_path):
    features = Features({"img": Picture(), "fer": Value("int64"), "who": Value("int64")})
    content = {"img": [encoded(n) for n in range(3)], "fer": [0, 1, 5], "who": [7, 8, 9]}
    made = Dataset.from_dict(content, features=features)
    DatasetDict({"train": made, "holdout": made, "extra": made}).save_to_disk(tmp_path / "mine")
    adapter = HuggingFace(
        tmp_path / "mine",
        columns={"image": "img", "emotion": "fer", "subject": "who"},
        label_names={0: "anger", "1": "joy", 5: "sleepy"},
        splits={"train": "training", "holdout": "test"},
    )
    good, _ = listed(adapter)
    assert splits(good) == {
        **dict.fromkeys(["train/0", "train/1", "train/2"], "train"),
        **dict.fromkeys(["holdout/0", "holdout/1", "holdout/2"], "test"),
    }
    assert emotions(good)["holdout/0"] == "angry"
    assert [good[f"train/{n}"]["emotion"] for n in range(3)] == ["angry", "happy", "sleepy"]
    assert good["train/0"]["subject"] == "mine/7"
    assert good["train/0"]["database"] == "mine"


def test_values_come_as_our_columns_hold_them(tmp_path):
    features = Features(
        {
            "image": Picture(),
            "label": Value("string"),
            "sex": ClassLabel(names=["M", "Female", "both"]),
            "session": Value("int64"),
            "valence": Value("string"),
        }
    )
    content = {
        "image": [encoded(n) for n in range(4)],
        "label": ["happy"] * 4,
        "sex": [0, 1, 2, None],
        "session": [1, 2, None, 4],
        "valence": ["0.5", "none", None, "-1"],
    }
    made = Dataset.from_dict(content, features=features)
    corpus, _, _ = ingested(tmp_path, HuggingFace(write(made, tmp_path / "faces", "disk")))
    rows = list(corpus.rows())
    assert [row["sex"] for row in rows] == ["male", "female", None, None]
    assert [row["session"] for row in rows] == ["1", "2", None, "4"]
    assert [row["valence"] for row in rows] == [0.5, None, None, -1]


def test_settings_that_do_not_fit_are_told(tmp_path):
    path = write(dataset(), tmp_path / "faces", "disk")
    wrong = [
        (
            {"columns": {"emotion": "mood"}},
            r"no column 'mood', only image, label.*columns\.emotion",
        ),
        ({"columns": {"image": "label"}}, "column 'label' holds int64, which is no picture"),
        ({"splits": {"dev": "test"}}, r"no split 'dev', only train .database\.splits"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            list(HuggingFace(path, **options).rows())
    with pytest.raises(ValueError, match="columns names 'age', which is none of image, emotion"):
        HuggingFace(path, columns={"age": "years"})
    with pytest.raises(ValueError, match="splits leads to 'exam'"):
        HuggingFace(path, splits={"train": "exam"})


def test_bare_integers_need_names(tmp_path):
    made = dataset().cast_column("label", Value("int64"))
    path = write(made, tmp_path / "faces", "disk")
    with pytest.raises(ValueError, match=r"'label' of .* holds 0, .*database\.label_names"):
        list(HuggingFace(path).rows())
    good, _ = listed(HuggingFace(path, label_names={"0": "sad", "1": "fear", "2": "happy"}))
    assert list(emotions(good).values()) == ["sad", "fear", "happy"]


def test_columns_that_cannot_be_guessed_are_asked_for(tmp_path):
    twice = dataset()
    twice = twice.add_column("crop", [encoded(9)] * 3, feature=Picture())
    with pytest.raises(ValueError, match=r"2 columns of pictures.*database\.columns\.image"):
        list(HuggingFace(write(twice, tmp_path / "twice", "disk")).rows())
    plain = dataset().remove_columns("label")
    with pytest.raises(ValueError, match=r"no column emotion, label, labels.*columns\.emotion"):
        list(HuggingFace(write(plain, tmp_path / "plain", "disk")).rows())
    matrix = Dataset.from_dict(
        {"image": [[[1, 2], [3, 4]]], "label": ["happy"]},
        features=Features({"image": Array2D((2, 2), "uint8"), "label": Value("string")}),
    )
    with pytest.raises(ValueError, match="which is no picture; cast it to"):
        list(HuggingFace(write(matrix, tmp_path / "matrix", "disk")).rows())


def test_rows_without_picture_or_label_are_problems(tmp_path):
    features = Features({"image": Picture(), "label": Value("string")})
    content = {"image": [encoded(1), None, encoded(2)], "label": [None, "happy", "Sadness"]}
    path = write(Dataset.from_dict(content, features=features), tmp_path / "faces", "folder")
    good, bad = listed(HuggingFace(path))
    assert emotions(good) == {"train/2": "sad"}
    np.testing.assert_array_equal(drawn(good["train/2"]), pixels(2))
    assert bad == {"train/0": "no label", "train/1": "no picture in the row"}


def test_unlabelled_classes_are_problems(tmp_path):
    made = dataset(2).map(lambda row, n: {"label": -n}, with_indices=True)
    _, bad = listed(HuggingFace(write(made, tmp_path / "faces", "disk")))
    assert bad == {"train/1": "no label"}


def test_damaged_pictures_of_a_dataset_are_named_by_ingest(tmp_path):
    made = dataset(4, names=["happy", "happy ", "joy"])
    bad = {"bytes": encode_png(pixels(9))[:40], "path": None}
    empty = {"bytes": b"", "path": None}
    pictures = Dataset.from_dict(
        {"image": [bad, empty, encoded(1), encoded(2)], "label": made["label"]},
        features=made.features,
    )
    path = write(pictures, tmp_path / "faces", "folder")
    corpus, skipped, _ = ingested(tmp_path, HuggingFace(path))
    assert skipped == {
        "train/0": ("damaged or not a picture", ""),
        "train/1": ("empty file", ""),
    }
    assert len(corpus) == 2


def test_an_image_folder_gives_paths_and_the_splits_of_its_folders(tmp_path):
    root = tmp_path / "faces"
    away = save(tmp_path / "away.png")
    for name in ("train/happy/1.png", "train/sad/1.png", "test/happy/1 2.jpg", "test/sad/2.png"):
        save(root / name, pixels(len(name)))
    (root / "train" / "sad" / "link.png").symlink_to(away)
    good, bad = listed(HuggingFace(root))
    found = {str(row["image"].relative_to(root)): row for row in good.values()}
    assert {name: (row["emotion"], row["split"]) for name, row in found.items()} == {
        "train/happy/1.png": ("happy", "train"),
        "train/sad/1.png": ("sad", "train"),
        "test/happy/1 2.jpg": ("happy", "test"),
        "test/sad/2.png": ("sad", "test"),
    }
    assert set(bad.values()) == {LINK_OUTSIDE}


def test_a_published_corpus_keeps_people_databases_and_splits(tmp_path):
    facts = {"emotion": "happy", "origin": "real", "database": "kdef", "session": "A"}
    rows = [
        {**facts, "image": pixels(1), "split": "train", "subject": "kdef/AF01", "valence": 0.5},
        {**facts, "image": pixels(2), "split": "validation", "subject": "kdef/AF02"},
        {**facts, "image": pixels(3), "split": "train", "subject": "kdef/AF01"}
        | {"origin": "geometric"},
        {
            "image": pixels(4),
            "split": "train",
            "emotion": "sad",
            "origin": "gan",
            "database": "kdef",
        },
    ]
    (tmp_path / "corpus").mkdir()
    write_corpus(rows, tmp_path / "corpus")
    for name in ("skipped.csv", "more.csv", "again.csv"):  # more tables than shards
        (tmp_path / "corpus" / name).write_text("source,reason,detail\n")
    good, bad = listed(HuggingFace(tmp_path / "corpus"))
    kept = [
        [row[name] for name in ("emotion", "database", "subject", "session", "split", "origin")]
        for row in good.values()
    ]
    assert kept == [
        ["happy", "kdef", "kdef/AF01", "A", "train", "real"],
        ["happy", "kdef", "kdef/AF02", "A", "validation", "real"],
    ]
    assert good["train/0"]["valence"] == 0.5
    assert bad == {
        "train/2": "copy of another picture, made by augmentation",
        "train/3": "generated picture (database.synthetic)",
    }
    good, _ = listed(HuggingFace(tmp_path / "corpus", synthetic=True))
    assert good["train/3"]["origin"] == "imported"
    corpus, _, _ = ingested(tmp_path, HuggingFace(tmp_path / "corpus"))
    assert list(corpus.facts["split"]) == ["train", "validation"]
    np.testing.assert_array_equal(decode_png(next(corpus.rows())["image"]), pixels(1))


def test_what_no_library_can_load_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"`datasets` can load .database\.path"):
        list(HuggingFace(tmp_path / "empty").rows())
    with pytest.raises(FileNotFoundError, match=r"no folder and no Parquet file .*database\.path"):
        list(HuggingFace(tmp_path / "gone").rows())


def test_without_the_hub_the_way_out_is_told_at_once(monkeypatch):
    asked = []

    def unreachable(self, name, **options):
        asked.append((name, options["revision"]))
        raise OSError("Name or service not known")

    monkeypatch.setattr(hf.HfApi, "dataset_info", unreachable)
    load, offline = hf.load_dataset, []

    def watched(*args, **options):
        offline.append(hf.settings.HF_HUB_OFFLINE)
        return load(*args, **options)

    monkeypatch.setattr(hf, "load_dataset", watched)
    before = hf.settings.HF_HUB_OFFLINE
    with pytest.raises(ConnectionError, match=r"Name or service.*hf download someone/faces --repo"):
        list(HuggingFace("someone/faces", revision="v1").rows())
    assert asked == [("someone/faces", "v1")]
    assert offline == [True]  # otherwise it asks again and again for half a minute
    assert before == hf.settings.HF_HUB_OFFLINE


def test_a_cached_dataset_needs_no_hub(tmp_path, monkeypatch):
    def unreachable(self, name, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(hf.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(hf, "load_dataset", lambda *_, **__: DatasetDict({"test": dataset(2)}))
    good, _ = listed(HuggingFace("someone/faces"))
    assert [(row["database"], row["split"]) for row in good.values()] == [("faces", "test")] * 2
    np.testing.assert_array_equal(drawn(good["test/1"]), pixels(1))  # held in memory: no file


def test_a_configuration_of_a_published_folder(tmp_path):
    for number, (name, side) in enumerate(
        (("gan", "train"), ("gan", "validation"), ("real", "train"))
    ):
        path = tmp_path / "published" / name / f"{side}-00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset(number + 1).to_parquet(path)
    (tmp_path / "published" / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: gan\n  data_files:\n"
        "  - {split: train, path: gan/train-*.parquet}\n"
        "  - {split: validation, path: gan/validation-*.parquet}\n"
        "- config_name: real\n  data_files:\n"
        "  - {split: train, path: real/train-*.parquet}\n---\n# Faces\n"
    )
    good, _ = listed(HuggingFace(tmp_path / "published", config="gan"))
    assert splits(good) == {
        "train/0": "train",
        "validation/0": "validation",
        "validation/1": "validation",
    }
    with pytest.raises(ValueError, match=r"gan.*real.*database\.config"):
        list(HuggingFace(tmp_path / "published").rows())


@pytest.mark.parametrize("name", ["fer2013", "affectnet", "rafdb", "hf", "folder"])
def test_the_configuration_states_every_setting(name):
    stated = OmegaConf.load(CONF / f"{name}.yaml")
    adapter = {
        "fer2013": Fer2013,
        "affectnet": AffectNet,
        "rafdb": RafDb,
        "hf": HuggingFace,
        "folder": Folder,
    }[name]
    assert set(stated) - {"_target_"} == set(adapter.__dataclass_fields__)
    assert stated["_target_"] == f"{adapter.__module__}.{adapter.__name__}"
