import hashlib
import json

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from curation import corpus as module
from curation.corpus import (
    COLUMNS,
    EMOTIONS,
    ORIGINS,
    SPLITS,
    Corpus,
    content_id,
    copy_corpus,
    decode_png,
    encode_png,
    features,
    fold_subjects,
    label_code,
    split_subjects,
    write_corpus,
)

SEED = 2**62 + 12345  # a float64 would lose its last digits


def picture(number, height=12, width=10):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def row(number=0, **changed):
    given = {"image": picture(number), "emotion": "happy", "split": "train", "origin": "real"}
    return {**given, **changed}


def full_row(number=0):
    return {
        "id": "0123456789abcdef0123",
        "image": picture(number),
        "emotion": "fear",
        "database": "kdef",
        "subject": "kdef/AF01",
        "session": "A",
        "pose": "straight",
        "sex": "female",
        "valence": -0.5,
        "arousal": 0.25,
        "source": "AF01/AF01AFS.JPG",
        "detector_score": 0.875,
        "face_px": 210.5,
        "sharpness": 0.5,
        "exposure": 0.375,
        "angle_deg": -3.5,
        "landmark_error": 0.0625,
        "split": "validation",
        "origin": "gan",
        "parent": "fedcba9876543210fedc",
        "generator": "0badcafe",
        "seed": SEED,
        "truncation": 0.75,
        "predicted": "surprise",
        "agreement": 0.5,
        "confidence": 0.25,
        "nearest_id": "aaaa",
        "nearest_distance": 1.5,
        "duplicate_of": "bbbb",
        "off_manifold": 0.75,
        "identity_id": "cccc",
        "identity_distance": 1.5,
        "keep": False,
        "reason": "agreement 0.5 < 0.8",
    }


@pytest.fixture
def written(tmp_path):
    def write(rows, name="corpus"):
        out = tmp_path / name
        out.mkdir()
        write_corpus(rows, out)
        return Corpus(out)

    return write


def test_every_column_survives_a_round_trip(written):
    wanted = full_row()
    assert wanted.keys() == set(COLUMNS)
    (read,) = written([wanted]).rows()
    np.testing.assert_array_equal(decode_png(read.pop("image")), wanted.pop("image"))
    assert read == wanted


def test_a_corpus_knows_its_own_labels(tmp_path):
    names = ["negative", "neutral", "positive"]
    write_corpus([row(emotion="positive"), row(emotion="negative")], tmp_path, names)
    corpus = Corpus(tmp_path)
    assert corpus.emotions == names
    assert list(corpus.facts["emotion"]) == ["positive", "negative"]
    assert [read["emotion"] for read in corpus.rows()] == ["positive", "negative"]
    assert corpus.features == features(names)
    with pytest.raises(ValueError, match="'happy' is unknown; it is one of negative, neutral"):
        corpus.require_emotions(["happy"])
    with pytest.raises(ValueError, match="'happy' is unknown"):
        write_corpus([row(emotion="happy")], tmp_path / "new", names)


def test_what_a_row_does_not_say_is_null(written):
    (read,) = written([row()]).rows()
    said = {"id", "image", "emotion", "split", "origin"}
    assert {name for name, value in read.items() if value is not None} == said


def test_a_64_bit_seed_beside_nulls_keeps_all_digits(written):
    facts = written([row(1, seed=SEED), row(2), row(3, seed=-SEED)]).facts
    assert facts["seed"].tolist() == [SEED, pd.NA, -SEED]


def test_keep_is_null_true_or_false(written):
    facts = written([row(1), row(2, keep=True), row(3, keep=False)]).facts
    assert facts["keep"].isna().tolist() == [True, False, False]
    assert facts["keep"].iloc[1:].tolist() == [True, False]


def test_labels_come_back_by_name_and_null_as_none(written):
    facts = written([row(1, emotion="surprise", predicted="angry"), row(2, origin="gan")]).facts
    assert facts["emotion"].tolist() == ["surprise", "happy"]
    assert facts["predicted"].tolist() == ["angry", None]
    assert facts["origin"].tolist() == ["real", "gan"]
    assert "image" not in facts


def test_a_row_read_from_a_corpus_can_be_written_to_another(written):
    first = written([full_row(), row(7)])
    second = written(first.rows(), "copy")
    assert list(first.rows()) == list(second.rows())


def test_identity_is_that_of_the_pixels_whatever_the_file(tmp_path):
    image = picture(0)
    read = []
    for name in ("a.png", "a.bmp", "a.tiff", "a.ppm"):
        cv2.imwrite(str(tmp_path / name), image[..., ::-1])
        read.append(np.ascontiguousarray(cv2.imread(str(tmp_path / name))[..., ::-1]))
    assert {content_id(one) for one in [image, *read]} == {content_id(image)}
    assert content_id(np.asfortranarray(image)) == content_id(image)
    changed = image.copy()
    changed[3, 4, 1] ^= 1
    assert content_id(changed) != content_id(image)


def test_identity_tells_equal_bytes_of_another_shape_apart():
    flat = np.zeros((4, 6, 3), np.uint8)
    assert content_id(flat) != content_id(flat.reshape(6, 4, 3))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_only_8_bit_rgb_is_stored(image, tmp_path):
    for stores in (
        content_id,
        encode_png,
        lambda image: write_corpus([row(image=image)], tmp_path),
    ):
        with pytest.raises(ValueError, match=r"uint8 RGB pictures, got \(4, 4"):
            stores(image)


def test_an_unknown_column_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no column \['colour', 'mood'\]"):
        write_corpus([row(mood="blue", colour="red")], tmp_path)


@pytest.mark.parametrize("name", ["image", "emotion", "split", "origin"])
def test_a_row_says_at_least_what_it_shows_and_where_it_belongs(name, tmp_path):
    lacking = row()
    del lacking[name]
    with pytest.raises(ValueError, match=name):
        write_corpus([lacking], tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("emotion", "anger"), ("split", "val"), ("origin", "fake"), ("predicted", "Happy")],
)
def test_an_unknown_label_is_named_with_the_known_ones(column, value, tmp_path):
    with pytest.raises(ValueError, match=f"{column} '{value}' is unknown; it is one of "):
        write_corpus([row(**{column: value})], tmp_path)


def test_label_codes_follow_the_fixed_order():
    assert [label_code("emotion", name, EMOTIONS) for name in EMOTIONS] == list(range(7))
    assert EMOTIONS == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def test_png_bytes_need_their_id(tmp_path):
    with pytest.raises(ValueError, match="needs its id"):
        write_corpus([row(image=encode_png(picture(0)))], tmp_path)


def test_hugging_face_reads_the_shards_as_images_and_labels(written, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(module, "SHARD_ROWS", 2)
    source = written([row(1, emotion="sad", split="test"), full_row(2), row(3)])
    loaded = datasets.load_dataset(
        "parquet",
        data_files=[str(shard) for shard in source.shards],
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert loaded.features == features()
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded.features["emotion"].names == list(EMOTIONS)
    assert loaded.features["predicted"].names == list(EMOTIONS)
    assert loaded.features["split"].names == list(SPLITS)
    assert loaded.features["origin"].names == list(ORIGINS)
    assert loaded["emotion"][:] == [EMOTIONS.index(name) for name in ("sad", "fear", "happy")]
    np.testing.assert_array_equal(np.array(loaded[1]["image"]), picture(2))
    assert loaded[1]["seed"] == SEED


def test_rows_keep_their_order_over_several_shards(written, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 3)
    source = written([row(number, source=str(number)) for number in range(8)])
    assert [shard.name for shard in source.shards] == [f"shard-{n:05d}.parquet" for n in range(3)]
    assert len(source) == 8
    assert source.facts["source"].tolist() == list("01234567")
    assert [read["source"] for read in source.rows()] == list("01234567")
    np.testing.assert_array_equal(
        source.images(), np.stack([picture(n) for n in range(8)]).transpose(0, 3, 1, 2)
    )


def test_whole_shards_leave_no_empty_one_behind(written, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 2)
    source = written([row(number) for number in range(4)])
    assert (len(source.shards), len(source)) == (2, 4)


def test_no_rows_make_a_corpus_of_none(written):
    source = written([])
    assert len(source) == 0
    assert list(source.facts.columns) == [name for name in COLUMNS if name != "image"]


def test_the_number_of_rows_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 2)
    assert write_corpus([row(number) for number in range(5)], tmp_path) == 5


def test_the_same_rows_give_the_same_bytes(written):
    def digest(source):
        return [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in source.shards]

    rows = [full_row(), row(1), row(2, subject="x/1")]
    assert digest(written(rows, "one")) == digest(written(rows, "two"))
    assert digest(written(rows[::-1], "three")) != digest(written(rows, "four"))


def test_a_folder_without_shards_is_no_corpus(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no corpus"):
        Corpus(tmp_path)


def test_a_mask_selects_rows_and_pictures_across_shards(written, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 2)
    source = written([row(number, source=str(number)) for number in range(5)])
    mask = source.facts["source"].isin(["1", "4"])
    assert [read["source"] for read in source.rows(mask)] == ["1", "4"]
    np.testing.assert_array_equal(
        source.images(np.array(mask)), np.stack([picture(1), picture(4)]).transpose(0, 3, 1, 2)
    )


def test_a_mask_counts_places_and_not_index_labels(written):
    source = written([row(number, source=str(number)) for number in range(3)])
    mask = pd.Series([True, False, False], index=[2, 1, 0])
    assert [read["source"] for read in source.rows(mask)] == ["0"]


@pytest.mark.parametrize("length", [2, 4])
def test_a_mask_of_another_corpus_is_refused(written, length):
    source = written([row(number) for number in range(3)])
    with pytest.raises(ValueError, match=f"{length} .* 3"):
        list(source.rows([True] * length))


def test_selecting_no_picture_is_an_error(written):
    with pytest.raises(ValueError, match=r"no picture of .+ was selected"):
        written([row()]).images([False])


def test_pictures_of_several_sizes_do_not_stack(written):
    source = written([row(1), row(image=picture(2, 11, 10))])
    with pytest.raises(ValueError, match="differ in size; standardise them first"):
        source.images()


def test_too_few_training_pictures_are_told_with_the_key(written):
    source = written([row(1, emotion="fear"), row(2, emotion="fear", split="test"), row(3)])
    source.require_emotions(["fear", "happy"])
    with pytest.raises(ValueError, match=r"'fear' has 1 training .*; 2 are needed \(gan\.min\)"):
        source.require_emotions(["fear"], minimum=2, key="gan.min")
    with pytest.raises(ValueError, match="'sad' has 0 training pictures"):
        source.require_emotions(["happy", "sad"])
    with pytest.raises(ValueError, match="emotion 'glad' is unknown"):
        source.require_emotions(["glad"])


PEOPLE = [f"db/{number:02d}" for number in range(40)]


def test_split_shares_are_of_subjects():
    sides = split_subjects(PEOPLE * 3, validation=0.25, test=0.1, seed=3)
    counted = pd.Series(sides).value_counts().to_dict()
    assert counted == {"train": 26, "validation": 10, "test": 4}
    assert set(sides) == set(PEOPLE)


def test_splits_do_not_depend_on_the_order_but_on_the_seed():
    def sides(people, seed):
        return split_subjects(people, validation=0.2, test=0.2, seed=seed)

    assert sides(PEOPLE, 1) == sides(PEOPLE[::-1] + PEOPLE[:7], 1)
    assert sides(PEOPLE, 1) != sides(PEOPLE, 2)


def test_without_shares_everybody_trains():
    assert set(split_subjects(PEOPLE).values()) == {"train"}
    assert split_subjects([]) == {}


@pytest.mark.parametrize("people", [1, 2, 3, 5, 7, 11])
@pytest.mark.parametrize("validation", [0.0, 0.25, 0.5, 0.9])
def test_every_subject_has_one_side_whatever_the_rounding(people, validation):
    names = PEOPLE[:people]
    sides = split_subjects(names, validation=validation, test=1 - validation)
    assert set(sides) == set(names)
    assert "train" not in sides.values()


@pytest.mark.parametrize("shares", [(-0.1, 0.5), (0.6, 0.5), (0.0, 1.1)])
def test_impossible_shares_are_told(shares):
    with pytest.raises(ValueError, match=f"validation={shares[0]} and test={shares[1]}"):
        split_subjects(PEOPLE, validation=shares[0], test=shares[1])


def all_folds(people, folds, seed=0):
    return [fold_subjects(people, folds=folds, fold=k, seed=seed) for k in range(folds)]


def test_over_all_folds_each_subject_is_tested_exactly_once():
    tested = [
        name for sides in all_folds(PEOPLE, 7) for name, side in sides.items() if side == "test"
    ]
    assert sorted(tested) == PEOPLE
    for sides in all_folds(PEOPLE, 7):
        assert set(sides) == set(PEOPLE)
        assert set(sides.values()) == {"train", "test"}


def test_folds_do_not_depend_on_the_order_but_on_the_seed():
    assert all_folds(PEOPLE, 5) == all_folds(PEOPLE[::-1], 5)
    assert all_folds(PEOPLE, 5, seed=0) != all_folds(PEOPLE, 5, seed=1)


def test_folds_are_balanced_by_pictures():
    pictures = {name: 1 + (number * 7) % 23 for number, name in enumerate(PEOPLE)}
    listed = [name for name, count in pictures.items() for _ in range(count)]
    loads = [
        sum(pictures[name] for name, side in sides.items() if side == "test")
        for sides in all_folds(listed, 5)
    ]
    assert sum(loads) == len(listed)
    # the heaviest person has 23 pictures; folds of eight people each would differ by far more
    assert max(loads) - min(loads) <= 2


def test_one_person_with_most_pictures_gets_a_fold_alone():
    sides = fold_subjects(["a"] * 100 + ["b", "c", "d"], folds=2, fold=0)
    assert sides == {"a": "test", "b": "train", "c": "train", "d": "train"}


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (3, 3), (3, -1), (41, 0)])
def test_impossible_folds_are_told(folds, fold):
    with pytest.raises(ValueError, match=f"fold {fold} of {folds} is impossible with 40 subjects"):
        fold_subjects(PEOPLE, folds=folds, fold=fold)


def test_a_corpus_is_copied_with_other_values_in_some_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 4)
    monkeypatch.setattr(module, "GROUP_ROWS", 3)
    rows = [
        {
            "image": np.full((4, 4, 3), number, np.uint8),
            "emotion": EMOTIONS[number % 3],
            "split": "train",
            "origin": "gan",
            "seed": 2**62 + number,
        }
        for number in range(10)
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_corpus(rows, tmp_path / "one")
    source = Corpus(tmp_path / "one")
    predicted = ["sad", None] * 5
    agreement = np.arange(10, dtype=np.float32)
    agreement[3] = np.nan
    new = {"predicted": predicted, "agreement": agreement, "keep": [True, False] * 5}
    assert copy_corpus(source, tmp_path / "two", new) == 10
    copied = Corpus(tmp_path / "two")
    assert [shard.name for shard in copied.shards] == [shard.name for shard in source.shards]
    for number, (old, row) in enumerate(zip(source.rows(), copied.rows(), strict=True)):
        changed = {"predicted": predicted[number], "keep": number % 2 == 0}
        changed["agreement"] = None if number == 3 else float(number)
        assert row == {**old, **changed}
    (tmp_path / "bad").mkdir()
    with pytest.raises(ValueError, match="9 values for the 10 rows"):
        copy_corpus(source, tmp_path / "bad", {"keep": [True] * 9})
    with pytest.raises(ValueError, match="no column"):
        copy_corpus(source, tmp_path / "bad", {"kept": [True] * 10})
    with pytest.raises(ValueError, match="predicted 'joy' is unknown"):
        copy_corpus(source, tmp_path / "bad", {"predicted": ["joy"] * 10})


def test_a_corpus_of_before_a_column_was_invented_is_read_and_copied(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    row = {"image": np.zeros((4, 4, 3), np.uint8), "emotion": "sad", "split": "train"}
    write_corpus([{**row, "origin": "real", "valence": 0.5}], tmp_path / "old")
    (shard,) = Corpus(tmp_path / "old").shards
    table = pq.read_table(shard)
    features = json.loads(table.schema.metadata[b"huggingface"])
    del features["info"]["features"]["off_manifold"]
    table = table.drop_columns(["off_manifold"])
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), shard)
    old = Corpus(tmp_path / "old")
    assert old.facts["off_manifold"].isna().all()
    assert old.facts["valence"].tolist() == [0.5]
    copy_corpus(old, tmp_path / "new", {"keep": [True]})
    assert next(Corpus(tmp_path / "new").rows())["off_manifold"] is None
