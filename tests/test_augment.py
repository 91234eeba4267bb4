import hashlib

import numpy as np
import pytest

from curation.augment import Copies, augment
from curation.corpus import (
    EMOTIONS,
    QUALITY,
    Corpus,
    content_id,
    decode_png,
    encode_png,
    write_corpus,
)
from curation.operators import Chain, Contrast, Flip, Height, Rotation, Width, Zoom

RECIPE = Chain([Rotation(0.1), Zoom(0.1), Flip(0.5), Height(0.2), Width(0.2), Contrast(0.2)])
MIRROR = Chain([Flip(1.0)])


def noise(number, height=24, width=24):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def row(number, **changed):
    return {
        "image": noise(number),
        "emotion": "sad",
        "database": "drawn",
        "subject": f"drawn/{number}",
        "session": "2",
        "source": f"{number}.png",
        "split": "train",
        "origin": "real",
        **changed,
    }


ROWS = [row(0), row(1, split="test"), row(2, emotion="fear"), row(3, split="validation")]


@pytest.fixture
def augmented(tmp_path):
    made = []

    def run(rows=ROWS, copies=5, seed=0, operators=RECIPE, workers=1, emotions=EMOTIONS):
        source, out = tmp_path / f"in{len(made)}", tmp_path / f"out{len(made)}"
        source.mkdir()
        out.mkdir()
        made.append(out)
        write_corpus(rows, source, emotions)
        facts = augment(
            corpus=source, operators=operators, copies=copies, seed=seed, out=out, workers=workers
        )
        return Corpus(out), facts

    return run


def test_training_faces_get_five_copies_and_others_none(augmented):
    corpus, facts = augmented()
    assert list(corpus.facts["source"]) == ["0.png"] * 6 + ["1.png"] + ["2.png"] * 6 + ["3.png"]
    copies = corpus.facts.query("origin == 'geometric'")
    assert copies["split"].unique().tolist() == ["train"]
    assert facts["rows"] == len(corpus) == 14
    assert facts["origins"] == {"real": 4, "geometric": 10}


def test_rows_pass_through_unchanged(augmented):
    corpus, _ = augmented()
    real = [read for read in corpus.rows() if read["origin"] == "real"]
    assert [read["id"] for read in real] == [content_id(given["image"]) for given in ROWS]
    assert [read["parent"] for read in real] == [None] * 4


def test_a_copy_inherits_who_what_and_where_from_and_nothing_measured(augmented):
    known = {
        **row(0, pose="frontal", sex="female", valence=-0.5, arousal=0.25),
        **dict.fromkeys(QUALITY, 0.5),
        "generator": "g",
        "seed": 3,
        "truncation": 0.5,
        "predicted": "fear",
        "agreement": 0.5,
        "confidence": 0.5,
        "nearest_id": "n",
        "nearest_distance": 0.5,
        "off_manifold": 0.5,
        "identity_id": "i",
        "identity_distance": 0.5,
        "duplicate_of": "d",
        "keep": True,
        "reason": "r",
    }
    parent, *copies = augmented([known], copies=2)[0].rows()
    assert [name for name, value in parent.items() if value is None] == ["parent"]
    shared = ["emotion", "database", "subject", "session", "pose", "sex", "valence", "arousal"]
    shared += ["source", "split"]
    for copy in copies:
        assert {name: copy[name] for name in shared} == {name: parent[name] for name in shared}
        assert copy["parent"] == parent["id"]
        assert copy["origin"] == "geometric"
        own = {name for name, value in copy.items() if value is not None}
        assert own == {*shared, "parent", "origin", "id", "image"}


def test_copies_differ_from_each_other_and_from_the_face(augmented):
    corpus, _ = augmented()
    assert corpus.facts["id"].is_unique
    pictures = corpus.images().transpose(0, 2, 3, 1)
    assert corpus.facts["id"].tolist() == [content_id(picture) for picture in pictures]


def digest(corpus):
    return [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in corpus.shards]


def test_a_seed_gives_the_same_bytes_and_another_others(augmented):
    assert digest(augmented(seed=3)[0]) == digest(augmented(seed=3)[0])
    assert digest(augmented(seed=3)[0]) != digest(augmented(seed=4)[0])


def children(corpus):
    copies = corpus.facts.query("origin == 'geometric'")
    return {parent: ids.tolist() for parent, ids in copies.groupby("parent")["id"]}


def test_copies_depend_neither_on_the_order_nor_on_the_neighbours(augmented):
    known = children(augmented(ROWS)[0])
    assert children(augmented(ROWS[::-1])[0]) == known
    identity = content_id(ROWS[2]["image"])
    assert children(augmented([ROWS[2]])[0]) == {identity: known[identity]}


def test_more_copies_begin_with_the_same_ones(augmented):
    few, many = children(augmented(copies=2)[0]), children(augmented(copies=4)[0])
    assert {parent: ids[:2] for parent, ids in many.items()} == few


def test_rows_that_are_not_real_are_counted_and_not_copied(augmented):
    corpus, facts = augmented([row(0), row(1, origin="imported"), row(2, origin="geometric")], 2)
    assert facts["origins"] == {"real": 1, "geometric": 3, "imported": 1}
    assert list(corpus.facts["source"]) == ["0.png"] * 3 + ["1.png", "2.png"]


def test_no_copies_are_a_choice_and_fewer_an_error(augmented):
    for operators in (RECIPE, None):
        corpus, facts = augmented(copies=0, operators=operators)
        assert facts["origins"] == {"real": 4, "geometric": 0}
        assert len(corpus) == 4
    with pytest.raises(ValueError, match=r"augment\.copies is -1; it must be 0 or more"):
        augmented(copies=-1)
    with pytest.raises(ValueError, match=r"augment\.copies is 2 and augment\.operators null"):
        augmented(copies=2, operators=None)


def test_workers_change_nothing(augmented):
    rows = [row(number) for number in range(20)]  # more than one chunk, so that processes start
    rows[3] = row(3, split="test")
    alone, together = augmented(rows, copies=2), augmented(rows, copies=2, workers=2)
    assert digest(alone[0]) == digest(together[0])
    assert alone[1] == together[1]
    assert alone[1]["rows"] == 20 + 2 * 19


def test_labels_beyond_the_seven_pass_on(augmented):
    emotions = [*EMOTIONS, "contempt"]
    corpus, _ = augmented([row(0, emotion="contempt")], copies=2, emotions=emotions)
    assert corpus.emotions == emotions
    assert corpus.facts["emotion"].tolist() == ["contempt"] * 3


def listed(corpus):
    lines = (corpus.path / "skipped.csv").read_text().splitlines()
    return [line.split(",") for line in lines[1:]]


def test_a_copy_that_exists_already_is_skipped_and_listed(augmented):
    corpus, facts = augmented([row(0)], copies=3, operators=MIRROR)
    assert len(corpus) == 2
    face, mirrored = corpus.images()
    np.testing.assert_array_equal(mirrored, face[..., ::-1])
    ((reason, count),) = facts["skipped"].items()
    assert (count, facts["origins"]) == (2, {"real": 1, "geometric": 1})
    assert listed(corpus) == [["0.png", reason, "copy 1"], ["0.png", reason, "copy 2"]]


def test_a_copy_that_equals_its_parent_is_drawn_again(augmented):
    rows = [row(number) for number in range(60)]
    corpus, facts = augmented(rows, copies=1, operators=Chain([Flip(0.3)]))
    assert facts["origins"] == {"real": 60, "geometric": 60}
    assert corpus.facts["id"].is_unique
    assert facts["skipped"] == {}


def test_a_symmetric_face_has_no_mirrored_copy(augmented):
    face = noise(7)
    face[:, 12:] = face[:, 11::-1]
    corpus, facts = augmented([row(0), row(7, image=face)], copies=1, operators=MIRROR)
    assert facts["origins"] == {"real": 2, "geometric": 1}
    assert [source for source, *_ in listed(corpus)] == ["7.png"]


@pytest.mark.parametrize("later", [False, True])
def test_a_copy_that_equals_another_picture_of_the_corpus_is_skipped(augmented, later):
    twin = row(8, image=np.fliplr(noise(0)).copy(), split="test")
    rows = [row(0), twin, row(1)] if later else [twin, row(0), row(1)]
    corpus, facts = augmented(rows, copies=1, operators=MIRROR)
    assert facts["origins"] == {"real": 3, "geometric": 1}
    assert facts["skipped"] == {"same picture as another row": 1}
    assert corpus.facts["id"].is_unique
    assert listed(corpus)[0][0] == "0.png"


def test_two_faces_with_the_same_copy_write_it_once(augmented):
    def darken(image, rng):
        return image // 2

    even = noise(0) // 2 * 2
    rows = [row(0, image=even), row(1, image=even + 1)]
    corpus, facts = augmented(rows, copies=1, operators=darken)
    assert facts["origins"] == {"real": 2, "geometric": 1}
    assert [read["parent"] for read in corpus.rows()] == [None, content_id(even), None]


def unchanged(image, rng):
    return image


def test_a_recipe_that_changes_nothing_is_given_up(augmented):
    with pytest.raises(ValueError, match=r"changed none of the first 2 faces .*augment=none"):
        augmented([row(0), row(1)], copies=3, operators=unchanged)
    many = [row(number) for number in range(120)]
    with pytest.raises(ValueError, match=r"changed none of the first 50 faces"):
        augmented(many, copies=2, operators=unchanged)


@pytest.mark.parametrize(
    ("operator", "made"),
    [
        (lambda image, rng: image[1:], r"\(23, 24, 3\) uint8"),
        (lambda image, rng: image / 255, r"\(24, 24, 3\) float64"),
    ],
)
def test_a_copy_of_another_size_or_type_is_told(augmented, operator, made):
    with pytest.raises(ValueError, match=rf"augment\.operators made {made} .*\(24, 24, 3\)"):
        augmented(operators=operator)


def test_an_operator_cannot_draw_into_the_face(augmented):
    def paint(image, rng):
        image[:] = 0
        return image

    with pytest.raises(ValueError, match="read-only"):
        augmented(operators=paint)


def test_a_copy_is_the_operators_picture_of_its_own_generator():
    face = noise(9)
    parent = {**row(9), "id": content_id(face), "image": encode_png(face), "seed": None}
    parent |= dict.fromkeys(("pose", "sex", "valence", "arousal"))
    same, (first, second) = Copies(RECIPE, 2, 4)(parent)
    assert same is parent
    for number, copy in enumerate((first, second)):
        rng = np.random.default_rng([4, int(parent["id"], 16), number])
        wanted = RECIPE(face, rng)
        np.testing.assert_array_equal(decode_png(copy["image"]), wanted)
        assert copy["id"] == content_id(wanted)
