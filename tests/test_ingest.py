import csv
import logging
import os
import struct
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curation.corpus import EMOTIONS, Corpus, decode_png, fold_subjects, split_subjects
from curation.databases.folder import Folder
from curation.ingest import UnreadableImageError, ingest, read_image

PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


def pixels(number, height=9, width=11):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"


@pytest.fixture
def ingested(tmp_path, root):
    def run(
        adapter=None,
        split=split_subjects,
        emotions=("happy",),
        **options,
    ):
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        adapter = adapter or Folder(root)
        facts = ingest(database=adapter, split=split, out=out, emotions=emotions, **options)
        with (out / "skipped.csv").open(newline="", encoding="utf-8") as file:
            return Corpus(out), list(csv.DictReader(file)), facts

    return run


class Listed:
    """A database that is a list of rows."""

    def __init__(self, rows, expected=None):
        self.expected = expected or {}
        self._rows = rows

    def rows(self):
        yield from self._rows


def listing(corpus, column):
    return dict(zip(corpus.facts["source"], corpus.facts[column], strict=True))


def test_class_folders_and_their_synonyms_become_emotions(root, ingested):
    folders = ("anger", "Disgusted", "afraid", "joy", "neutral", "sadness", "SURPRISED")
    for number, name in enumerate(folders):
        save(root / name / "1.png", pixels(number))
    corpus, skipped, facts = ingested(emotions=EMOTIONS)
    assert listing(corpus, "emotion") == {
        f"{name}/1.png": emotion for name, emotion in zip(folders, EMOTIONS, strict=True)
    }
    assert skipped == []
    assert set(corpus.facts["origin"]) == {"real"}
    assert set(corpus.facts["database"]) == {"folder"}
    assert corpus.facts["subject"].isna().all()
    assert facts["rows"] == 7
    assert facts["databases"] == {"folder": dict.fromkeys(EMOTIONS, 1)}


def test_pixels_arrive_unchanged_and_in_the_order_of_the_paths(root, ingested):
    for name in ("b", "a", "c"):
        save(root / "happy" / f"{name}.png", pixels(ord(name)))
    corpus, _, _ = ingested()
    assert list(corpus.facts["source"]) == ["happy/a.png", "happy/b.png", "happy/c.png"]
    np.testing.assert_array_equal(
        corpus.images(), np.stack([pixels(ord(n)) for n in "abc"]).transpose(0, 3, 1, 2)
    )


def table(root, lines, encoding="utf-8"):
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_names_people_and_labels(root, ingested, encoding):
    save(root / "happy" / "1.png", pixels(1))
    save(root / "happy" / "2.png", pixels(2))
    save(root / "happy" / "3.png", pixels(3))
    save(root / "loose.png", pixels(4))
    save(root / "unlisted.png", pixels(5))
    table(
        root,
        [
            "file,label,subject",
            "happy/1.png,sad,p1",
            "happy\\2.png,,p2",
            "loose.png,Anger,p1 ",
            ",,",
        ],
        encoding,
    )
    corpus, _, _ = ingested(Folder(root, database="mine"), emotions=("angry", "happy", "sad"))
    assert listing(corpus, "emotion") == {
        "happy/1.png": "sad",
        "happy/2.png": "happy",
        "happy/3.png": "happy",
        "loose.png": "angry",
    }
    people = listing(corpus, "subject")
    assert (people["happy/1.png"], people["happy/2.png"]) == ("mine/p1", "mine/p2")
    assert people["loose.png"] == "mine/p1"
    assert people["happy/3.png"] not in ("mine/p1", "mine/p2")


def test_a_table_with_other_columns_is_read_as_told(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    table(root, ["who,mood,path", "p8", "p7,sad,happy/1.png"])
    adapter = Folder(root, file_column="path", label_column="mood", subject_column="who")
    corpus, _, _ = ingested(adapter, emotions=("sad",))
    assert listing(corpus, "subject") == {"happy/1.png": "folder/p7"}


def test_a_table_without_its_file_column_is_told(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    table(root, ["picture,subject", "happy/1.png,p1"])
    with pytest.raises(
        ValueError, match=r"no column 'file', only \['picture', 'subject'\]; set data"
    ):
        ingested()


def test_a_table_that_names_absent_files_is_told(root, ingested, caplog):
    save(root / "happy" / "1.png", pixels(1))
    table(root, ["file,subject", "happy/1.png,p1", "happy/3.png,p1", ",p1", "happy/2.png,p1"])
    with caplog.at_level(logging.WARNING):
        ingested()
    assert "labels.csv names 2 files that are not there, the first happy/2.png" in caplog.text


def test_a_wrong_folder_is_told_with_what_is_expected(root, ingested):
    with pytest.raises(FileNotFoundError, match=f"no folder {root} .database.root.; .*surprise"):
        ingested()


def test_a_folder_without_pictures_in_class_folders_is_told(root, ingested):
    save(root / "loose.png", pixels(1))
    (root / "happy").mkdir()
    (root / "happy" / "notes.txt").write_text("no picture")
    with pytest.raises(
        ValueError, match=r"does not hold a picture in a class folder .database\.root."
    ):
        ingested()


def test_an_unknown_class_folder_is_skipped_and_counted(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    save(root / "contempt" / "1.png", pixels(2))
    save(root / "contempt" / "2.png", pixels(3))
    save(root / "sad" / "1.png", pixels(4))
    corpus, skipped, facts = ingested()
    assert list(corpus.facts["source"]) == ["happy/1.png"]
    reason = "not one of the emotions wanted"
    assert [tuple(line.values()) for line in skipped] == [
        ("contempt/1.png", reason, "contempt"),
        ("contempt/2.png", reason, "contempt"),
        ("sad/1.png", reason, "sad"),
    ]
    assert facts["skipped"] == {reason: 3}


def png_header(path, width, height):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def truncated(path, **options):
    save(path, pixels(1, 64, 64), **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NOT_A_PICTURE = "damaged or not a picture"
TOO_LARGE = "more than 100 million pixels"
UNREADABLE = {
    "empty.png": (lambda path: path.touch(), "empty file"),
    "text.png": (lambda path: path.write_text("no picture"), NOT_A_PICTURE),
    "page.jpg": (lambda path: path.write_text("<html>404</html>"), NOT_A_PICTURE),
    "noise.png": (lambda path: path.write_bytes(pixels(1).tobytes()), NOT_A_PICTURE),
    "cut.jpg": (truncated, NOT_A_PICTURE),
    "cut_progressive.jpg": (partial(truncated, progressive=True), NOT_A_PICTURE),
    "cut.png": (truncated, NOT_A_PICTURE),
    "cut.bmp": (truncated, NOT_A_PICTURE),
    "cut.webp": (truncated, NOT_A_PICTURE),
    "folder.png": (lambda path: path.mkdir(), NOT_A_PICTURE),
    "dangling.png": (lambda path: path.symlink_to("nowhere.png"), "file not found"),
    "huge.png": (lambda path: png_header(path, 30_000, 30_000), TOO_LARGE),
    "large.png": (lambda path: png_header(path, 11_000, 10_000), TOO_LARGE),
    "float.tiff": (
        lambda path: save(path, np.linspace(0, 1, 99, dtype=np.float32).reshape(9, 11)),
        "floating-point pixels of unknown range",
    ),
}


def test_every_unreadable_file_is_listed_with_its_reason(root, ingested):
    save(root / "happy" / "good.png", pixels(1))
    for name, (write, _) in UNREADABLE.items():
        write(root / "happy" / name)
    corpus, skipped, facts = ingested()
    assert list(corpus.facts["source"]) == ["happy/good.png"]
    assert {line["source"]: line["reason"] for line in skipped} == {
        f"happy/{name}": reason for name, (_, reason) in UNREADABLE.items()
    }
    assert sum(facts["skipped"].values()) == len(UNREADABLE)


GREY = pixels(5)[..., 0]
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=2)
PALETTE = np.array([[250, 0, 0], [0, 250, 7], [9, 0, 250]], np.uint8)
INDICES = (np.arange(99) % 3).reshape(9, 11).astype(np.uint8)


def palette_picture():
    picture = Image.fromarray(INDICES, mode="P")
    picture.putpalette(PALETTE.tobytes())
    return picture


def rgba(image, opacity):
    alpha = np.full((9, 11, 1), opacity, np.uint8)
    return np.concatenate([image, alpha], axis=2)


SIXTEEN = GREY.astype(np.uint16) * 257
READABLE = {
    "plain.png": (pixels(2), pixels(2)),
    "UPPER.PNG": (pixels(2), pixels(2)),
    "plain.bmp": (pixels(2), pixels(2)),
    "plain.tiff": (pixels(2), pixels(2)),
    "plain.ppm": (pixels(2), pixels(2)),
    "grey.png": (GREY, THREE_GREYS),
    "grey.pgm": (GREY, THREE_GREYS),
    "grey16.png": (SIXTEEN, THREE_GREYS),
    "grey16.tiff": (SIXTEEN, THREE_GREYS),
    "bits.png": (Image.fromarray(INDICES == 1), (INDICES == 1)[..., None] * np.full(3, 255)),
    "palette.png": (palette_picture(), PALETTE[INDICES]),
    "alpha.png": (rgba(pixels(3), 255), pixels(3)),
    "clear.png": (rgba(pixels(3), 0), np.full_like(pixels(3), 255)),
    "misnamed.jpg": (pixels(2), pixels(2)),
}


@pytest.mark.parametrize("name", READABLE)
def test_pictures_of_every_kind_arrive_as_8_bit_rgb(root, ingested, name):
    given, wanted = READABLE[name]
    kind = {"format": "PNG"} if name == "misnamed.jpg" else {}
    save(root / "happy" / name, given, **kind)
    corpus, skipped, _ = ingested()
    assert skipped == []
    (row,) = corpus.rows()
    np.testing.assert_array_equal(decode_png(row["image"]), wanted)


def halves():
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16, 0] = image[:, 16:, 2] = 255  # red left, blue right
    return image


@pytest.mark.parametrize(
    ("orientation", "shape", "red", "blue"),
    [
        (1, (16, 32, 3), np.s_[:, :14], np.s_[:, 18:]),
        (3, (16, 32, 3), np.s_[:, 18:], np.s_[:, :14]),
        (6, (32, 16, 3), np.s_[:14], np.s_[18:]),
        (8, (32, 16, 3), np.s_[18:], np.s_[:14]),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation, shape, red, blue):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(save(tmp_path / "turned.jpg", halves(), exif=exif, quality=95))
    assert image.shape == shape
    assert (image[red].min((0, 1)) >= [240, 0, 0]).all()
    assert (image[red].max((0, 1)) <= [255, 15, 15]).all()
    assert image[blue][..., 2].min() >= 240


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableImageError, match="file not found"):
        read_image(tmp_path / "gone.png")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is text")
def test_a_name_in_another_encoding_is_no_obstacle(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    (root / "happy" / "1.png").rename(root / "happy" / os.fsdecode(b"caf\xe9.png"))
    (root / "happy" / os.fsdecode(b"\xe9.png")).touch()
    corpus, skipped, _ = ingested()
    assert list(corpus.facts["source"]) == ["happy/caf\N{REPLACEMENT CHARACTER}.png"]
    assert skipped[0]["source"] == "happy/\N{REPLACEMENT CHARACTER}.png"


def test_equal_pictures_are_skipped_with_the_name_of_the_first(root, ingested):
    save(root / "happy" / "a.png", pixels(1))
    save(root / "happy" / "b.bmp", pixels(1))
    save(root / "sad" / "c.png", pixels(1))
    save(root / "sad" / "d.png", pixels(2))
    corpus, skipped, _ = ingested(emotions=("happy", "sad"))
    assert list(corpus.facts["source"]) == ["happy/a.png", "sad/d.png"]
    reason = "same pixels as another picture"
    assert [tuple(line.values()) for line in skipped] == [
        ("happy/b.bmp", reason, "happy/a.png"),
        ("sad/c.png", reason, "happy/a.png"),
    ]


def test_an_emotion_without_pictures_is_one_clear_error(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    (root / "sad").mkdir()
    (root / "sad" / "1.png").touch()
    with pytest.raises(ValueError, match="folder") as caught:
        ingested(emotions=("fear", "happy", "sad"))
    text = str(caught.value)
    assert "database 'folder' has no usable picture of fear, sad" in text
    assert "{'empty file': 1}" in text
    assert "emotions=[fear,happy,sad]" in text


def test_an_emotion_that_a_test_database_lacks_is_told_too(root, tmp_path, ingested):
    save(root / "happy" / "1.png", pixels(1))
    save(tmp_path / "other" / "sad" / "1.png", pixels(2))
    other = Folder(tmp_path / "other", database="other")
    with pytest.raises(ValueError, match="database 'other' has no usable picture of happy"):
        ingested(test_databases={"other": other})


def album(root, people=12, pictures=3):
    lines = ["file,subject"]
    for person in range(people):
        for number in range(pictures):
            name = f"{'happy' if number else 'sad'}/{person}_{number}.png"
            save(root / name, pixels(100 * person + number))
            lines.append(f"{name},p{person}")
    table(root, lines)


def test_no_subject_is_on_two_sides(root, ingested):
    album(root)
    corpus, _, facts = ingested(
        split=partial(split_subjects, validation=0.25, test=0.25, seed=1),
        emotions=("happy", "sad"),
    )
    sides = corpus.facts.groupby("subject")["split"].unique()
    assert sides.map(len).tolist() == [1] * 12
    assert facts["subjects"] == {"test": 3, "train": 6, "validation": 3}
    assert facts["rows"] == 36


def test_over_all_folds_each_subject_is_tested_once(root, ingested):
    album(root, people=5)
    tested = []
    for fold in range(3):
        corpus, _, _ = ingested(
            split=partial(fold_subjects, folds=3, fold=fold), emotions=("happy", "sad")
        )
        tested += corpus.facts.query("split == 'test'")["subject"].unique().tolist()
    assert sorted(tested) == [f"folder/p{person}" for person in range(5)]


def test_without_subjects_every_picture_is_a_person(root, ingested):
    for number in range(10):
        save(root / "happy" / f"{number}.png", pixels(number))
    _, _, facts = ingested(split=partial(split_subjects, test=0.3))
    assert facts["subjects"] == {"test": 3, "train": 7}


def test_a_split_that_the_database_states_wins(root, ingested):
    for number, side in enumerate(("train", "Val", "TEST", "other")):
        save(root / side / "happy" / "1.png", pixels(number))
    corpus, _, _ = ingested(split=partial(split_subjects, validation=1.0))
    assert listing(corpus, "split") == {
        "train/happy/1.png": "train",
        "Val/happy/1.png": "validation",
        "TEST/happy/1.png": "test",
        "other/happy/1.png": "validation",
    }


def test_a_stated_split_must_not_have_a_person_on_two_sides(root, ingested):
    save(root / "train" / "happy" / "1.png", pixels(1))
    save(root / "test" / "happy" / "2.png", pixels(2))
    table(root, ["file,subject", "train/happy/1.png,p1", "test/happy/2.png,p1"])
    with pytest.raises(
        ValueError, match="1 subjects on two sides, the first 'folder/p1' in test and"
    ):
        ingested()


def test_all_rows_of_test_databases_are_test_rows(root, tmp_path, ingested):
    album(root)
    other = tmp_path / "other"
    for number, side in enumerate(("train", "validation", "none")):
        save(other / side / "happy" / f"{number}.png", pixels(9000 + number))
        save(other / side / "sad" / f"{number}.png", pixels(9100 + number))
    save(other / "sad" / "leak.png", pixels(1))  # the same picture as one of the album
    corpus, skipped, facts = ingested(
        emotions=("happy", "sad"),
        test_databases={"other": Folder(other, database="other")},
    )
    found = corpus.facts.groupby("database")["split"].unique()
    assert {name: list(sides) for name, sides in found.items()} == {
        "folder": ["train"],
        "other": ["test"],
    }
    assert facts["databases"]["other"] == {"happy": 3, "sad": 3}
    assert [(line["source"], line["detail"]) for line in skipped] == [
        ("sad/leak.png", "happy/0_1.png")
    ]


def test_two_databases_of_one_name_are_refused(root, ingested):
    save(root / "happy" / "1.png", pixels(1))
    with pytest.raises(
        ValueError, match=r"two databases are called 'folder'.*test_databases\.again"
    ):
        ingested(test_databases={"again": Folder(root)})


def test_drawn_pictures_are_taken_from_the_function(ingested):
    row = {"emotion": "happy", "database": "drawn", "subject": "drawn/1", "session": "2"}
    adapter = Listed([{**row, "image": lambda: pixels(4), "source": "1"}])
    corpus, _, _ = ingested(adapter)
    (read,) = corpus.rows()
    np.testing.assert_array_equal(decode_png(read["image"]), pixels(4))
    assert (read["subject"], read["session"]) == ("drawn/1", "2")


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"the photographs are not at {PHOTOS}")
def test_real_photographs_are_read_with_their_people(ingested):
    emotions = ("happy", "sad")
    corpus, skipped, facts = ingested(
        Folder(PHOTOS, database="photos"),
        split=partial(split_subjects, validation=0.2, test=0.2),
        emotions=emotions,
    )
    with (PHOTOS / "labels.csv").open(newline="") as file:
        known = {line["file"]: line for line in csv.DictReader(file)}
    assert facts["databases"] == {"photos": {"happy": 60, "sad": 60}}
    assert len(corpus) + len(skipped) == len(known) == 300
    assert listing(corpus, "subject") == {
        name: f"photos/{line['subject']}"
        for name, line in known.items()
        if line["label"] in emotions
    }
    assert corpus.facts.groupby("subject")["split"].nunique().max() == 1
    assert set(corpus.facts["split"]) == {"train", "validation", "test"}
    first = next(iter(corpus.rows()))
    with Image.open(PHOTOS / first["source"]) as photo:
        np.testing.assert_array_equal(decode_png(first["image"]), np.array(photo.convert("RGB")))


def drawn(number, emotion="happy", **facts):
    subject = facts.pop("subject", f"made/{number}")
    row = {"image": pixels(number), "emotion": emotion, "database": "made", "subject": subject}
    return {**row, "source": f"{emotion}/{number}.png", **facts}


def test_labels_are_mapped_and_the_others_left_out(ingested):
    names = ("happy", "surprise", "neutral", "sad", "contempt", "wink")
    rows = [drawn(number, name) for number, name in enumerate(names)]
    mapping = {"happy": "positive", "surprise": "neutral", "neutral": "neutral", "sad": "negative"}
    emotions = ("negative", "neutral", "positive")
    corpus, skipped, _ = ingested(Listed(rows), emotions=emotions, mapping=mapping)
    assert corpus.emotions == list(emotions)
    assert list(corpus.facts["emotion"]) == ["positive", "neutral", "neutral", "negative"]
    left_out = [(row["source"], row["detail"]) for row in skipped]
    assert left_out == [("contempt/4.png", "contempt"), ("wink/5.png", "wink")]


def test_an_emotion_that_no_label_leads_to_is_an_error(ingested):
    with pytest.raises(ValueError, match=r"emotion 'calm'; .*happy.*labels\.mapping"):
        ingested(Listed([drawn(1)]), emotions=("happy", "calm"), mapping={"happy": "happy"})


def test_what_the_complete_database_has_more_is_told_and_named(ingested, tmp_path, caplog):
    absent = drawn(3, image=tmp_path / "3.png")
    unwanted = drawn(5, "sad", image=tmp_path / "5.png")
    rows = [drawn(1), drawn(2), absent, drawn(4, "sad"), unwanted]
    _, skipped, facts = ingested(Listed(rows, {"happy": 3, "sad": 2}))
    assert facts["expected"] == {"made": {"happy": 3, "sad": 2}}
    assert facts["missing"] == {"made": {"happy": 1, "sad": 1}}
    assert "2 of 3 happy" in caplog.text
    gone = {row["source"] for row in skipped if row["reason"] == "file not found"}
    assert gone == {"happy/3.png", "sad/5.png"}


def test_a_complete_database_is_not_complained_about(ingested, caplog):
    # a duplicate is there, though it is not taken in twice
    rows = [drawn(1), drawn(1, source="copy.png"), drawn(2, "contempt")]
    _, _, facts = ingested(Listed(rows, {"happy": 2, "contempt": 1}))
    assert facts["missing"] == {}
    assert "complete" not in caplog.text


def test_rows_with_a_problem_are_listed(ingested):
    rows = [drawn(1), {"source": "S1/2", "problem": "no label file", "detail": "S1/2_emotion.txt"}]
    corpus, skipped, facts = ingested(Listed(rows))
    assert len(corpus) == 1
    assert facts["skipped"] == {"no label file": 1}
    assert skipped[0]["detail"] == "S1/2_emotion.txt"


def test_a_forgotten_subject_stays_out(ingested):
    rows = [drawn(1), drawn(2, subject="made/1"), drawn(3)]
    corpus, skipped, _ = ingested(Listed(rows), forget=["made/1"])
    assert list(corpus.facts["subject"]) == ["made/3"]
    assert {row["detail"] for row in skipped} == {"made/1"}
    with pytest.raises(ValueError, match=r"no subject 'made/9'.*made/1.*forget"):
        ingested(Listed(rows), forget=["made/9"])


def test_a_stated_split_can_be_overruled(ingested):
    rows = [drawn(number, split="test") for number in range(4)]
    corpus, _, _ = ingested(Listed(rows), own_split=False)
    assert set(corpus.facts["split"]) == {"train"}


def test_facts_of_a_database_are_kept(ingested):
    row = drawn(1, sex="female", valence=-0.5, arousal=0.25, pose="straight", session="A")
    corpus, _, _ = ingested(Listed([row]))
    kept = corpus.facts.iloc[0]
    assert (kept["sex"], kept["valence"], kept["arousal"]) == ("female", -0.5, 0.25)


def test_processes_change_nothing(root, ingested):
    for number in range(240):
        save(root / "happy" / f"{number}.png", pixels(number % 230))
    (root / "happy" / "damaged.png").write_text("no picture")
    corpora = [ingested(workers=workers) for workers in (1, 2)]
    shards = [corpus.shards[0].read_bytes() for corpus, _, _ in corpora]
    assert shards[0] == shards[1]
    assert corpora[0][1:] == corpora[1][1:]


def test_wide_integers_are_not_guessed(tmp_path):
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "wide.tiff")
    with pytest.raises(UnreadableImageError, match="integer pixels of unknown range"):
        read_image(tmp_path / "wide.tiff")
