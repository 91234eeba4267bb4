import csv
import hashlib

import cv2
import numpy as np
import pytest

from curation.corpus import Corpus, content_id, write_corpus
from curation.puppets import render
from curation.standardise import Box, Haar, WholePicture, choose_face, crop_face, standardise

DEFAULT, SECOND = "haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml"


def puppet(subject=1, emotion="happy"):
    return render("studio", subject, 1, emotion, size=128, difficulty=0.4)


def planted(face, left, top, height=300, width=400):
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    return picture


def noise(number, height=40, width=40):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def standard(tmp_path):
    made = []

    def run(pictures, detector=None, **settings):
        source, out = tmp_path / f"in{len(made)}", tmp_path / f"out{len(made)}"
        source.mkdir()
        out.mkdir()
        made.append(out)
        rows = (
            {
                "image": picture,
                "emotion": "happy",
                "database": "drawn",
                "subject": f"drawn/{number}",
                "source": f"{number}.png",
                "split": "train",
                "origin": "real",
            }
            for number, picture in enumerate(pictures)
        )
        write_corpus(rows, source)
        settings = {"size": 64, "workers": 1, **settings}
        facts = standardise(corpus=source, detector=detector or WholePicture(), out=out, **settings)
        with (out / "skipped.csv").open(newline="") as file:
            return Corpus(out), list(csv.DictReader(file)), facts

    return run


def test_a_planted_face_is_found_where_it_was_put():
    face = puppet()
    detector = Haar(min_share=0.2)
    (known,) = Haar(min_share=0.5)(face)
    for left, top in ((20, 30), (150, 90), (180, 40)):
        (found,) = detector(planted(face, left, top))
        assert found.left - left == pytest.approx(known.left, abs=5)
        assert found.top - top == pytest.approx(known.top, abs=5)
        assert found.width == pytest.approx(known.width, rel=0.1)


def test_a_found_face_fills_the_crop(standard):
    face = puppet()
    (known,) = Haar(min_share=0.5)(face)
    corpus, skipped, facts = standard([planted(face, 150, 90)], Haar(min_share=0.2), size=48)
    assert skipped == []
    assert facts["rows"] == 1
    (crop,) = corpus.images()
    assert crop.shape == (3, 48, 48)
    wanted = crop_face(face, known, size=48, margin=0, down=0).transpose(2, 0, 1)
    assert np.corrcoef(crop.ravel(), wanted.ravel())[0, 1] > 0.9


def test_a_picture_without_a_face_is_counted_and_left_out(standard):
    flat, tiny = np.full((128, 128, 3), 128, np.uint8), noise(1, 8, 8)
    corpus, skipped, facts = standard([flat, puppet(), tiny], Haar())
    assert list(corpus.facts["source"]) == ["1.png"]
    assert skipped == [
        {"source": "0.png", "reason": "no face found", "detail": content_id(flat)},
        {"source": "2.png", "reason": "no face found", "detail": content_id(tiny)},
    ]
    assert facts["skipped"] == {"no face found": 2}


def test_no_face_in_any_picture_is_an_error(standard):
    with pytest.raises(ValueError, match=r"no face found in any of 2 .* standardise=none"):
        standard([np.zeros((64, 64, 3), np.uint8), np.ones((64, 64, 3), np.uint8)], Haar())


@pytest.mark.parametrize("emotion", ["angry", "fear"])
def test_a_second_cascade_finds_what_the_first_does_not(emotion):
    face = puppet(31, emotion)
    assert Haar(cascades=[DEFAULT])(face) == []
    (box,) = Haar(cascades=[DEFAULT, SECOND])(face)
    assert 50 < box.width < 80
    assert (box.left + box.width / 2, box.top + box.height / 2) == pytest.approx((63, 63), abs=6)


def test_a_second_cascade_is_not_asked_where_the_first_finds_a_face():
    face = puppet()
    assert Haar(cascades=[DEFAULT, SECOND])(face) == Haar(cascades=[DEFAULT])(face)
    assert Haar(cascades=[SECOND])(face) != Haar(cascades=[DEFAULT])(face)


def test_smaller_faces_than_asked_for_are_not_found():
    picture = planted(puppet(), 100, 100)
    assert Haar(min_share=0.2)(picture)
    assert Haar(min_share=0.5)(picture) == []


def test_an_unknown_cascade_is_told_with_those_that_exist():
    with pytest.raises(ValueError, match=f"no cascade 'face.xml'; .*{DEFAULT}.*detector.cascades"):
        Haar(cascades=["face.xml"])


def box_at(x, y, side):
    return Box(x - side / 2, y - side / 2, side, side)


PICTURE = np.zeros((300, 400, 3), np.uint8)  # its diagonal is 500


def test_of_equal_faces_the_central_one_is_chosen():
    boxes = [box_at(150, 150, 80), box_at(210, 160, 80), box_at(200, 200, 80)]
    assert choose_face(boxes, PICTURE) == boxes[1]
    assert choose_face(boxes[::-1], PICTURE) == boxes[1]


def test_of_central_faces_the_large_one_is_chosen():
    assert choose_face([box_at(200, 150, 40), box_at(190, 150, 90)], PICTURE).width == 90


@pytest.mark.parametrize(("factor", "wins"), [(1.95, False), (2.05, True)])
def test_a_quarter_of_the_diagonal_off_halves_the_score(factor, wins):
    central, aside = box_at(200, 150, 60), box_at(325, 150, 60 * factor**0.5)
    assert (choose_face([central, aside], PICTURE) == aside) == wins


def test_a_crop_without_scaling_takes_the_pixels_as_they_are():
    image = noise(1)
    crop = crop_face(image, Box(5, 7, 20, 20), size=20, margin=0, down=0)
    np.testing.assert_array_equal(crop, image[7:27, 5:25])


def test_margin_and_shift_are_shares_of_the_longer_side():
    image = noise(2, 100, 100)
    # side 20, margin 4 each side → 28; the centre (40, 45) moves down by 2
    crop = crop_face(image, Box(30, 37, 20, 16), size=28, margin=0.2, down=0.1)
    np.testing.assert_array_equal(crop, image[33:61, 26:54])
    closer = crop_face(image, Box(30, 37, 20, 16), size=10, margin=-0.25, down=0)
    np.testing.assert_array_equal(closer, image[40:50, 35:45])


@pytest.mark.parametrize(
    ("left", "top"), [(-6, 10), (10, -6), (25, 12), (12, 25), (-8, -8), (28, 28)]
)
def test_what_lies_beyond_the_border_is_mirrored_in(left, top):
    image = noise(3)
    crop = crop_face(image, Box(left, top, 20, 20), size=20, margin=0, down=0)
    mirrored = np.pad(image, ((20, 20), (20, 20), (0, 0)), "reflect")
    np.testing.assert_array_equal(crop, mirrored[top + 20 : top + 40, left + 20 : left + 40])


def test_no_box_draws_black_into_a_bright_picture():
    rng = np.random.default_rng(4)
    bright = np.full((30, 50, 3), 200, np.uint8)
    for _ in range(200):
        left, top = rng.uniform(-60, 60, 2)
        box = Box(left, top, *rng.uniform(3, 120, 2))
        crop = crop_face(bright, box, size=16, margin=rng.uniform(-0.3, 0.5), down=0.04)
        assert crop.shape == (16, 16, 3)
        assert (crop == 200).all()


def test_shrinking_a_fine_pattern_gives_grey_and_no_moire():
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checks[..., None], 3, axis=2)
    crop = crop_face(image, Box(0, 0, 256, 256), size=48, margin=0, down=0).astype(int)
    inner = crop[2:-2, 2:-2]
    assert np.abs(inner - 127.5).max() < 3
    aliased = cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(aliased[2:-2, 2:-2] - 127.5).max() > 30  # the trap that is avoided here


def test_grey_takes_the_colour_away(standard):
    image = noise(5)
    image[..., 2] = 0
    (coloured,) = standard([image])[0].images()
    corpus, _, facts = standard([image], grey=True)
    (grey,) = corpus.images()
    assert (grey[0] == grey[1]).all()
    assert (grey[0] == grey[2]).all()
    luma = np.tensordot([0.299, 0.587, 0.114], coloured, 1)
    assert np.abs(grey[0] - luma).max() <= 1
    assert facts["contract"]["colour"] == "grey"


def test_the_contract_holds_everything_that_decides_the_cut(standard):
    detector = Haar(cascades=[SECOND], scale_factor=1.2, min_neighbours=3, min_share=0.4)
    _, _, facts = standard([puppet()], detector, size=32, margin=0.1, down=0.05)
    assert facts["contract"] == {
        "detector": "haar",
        "cascades": [SECOND],
        "scale_factor": 1.2,
        "min_neighbours": 3,
        "min_share": 0.4,
        "size": 32,
        "margin": 0.1,
        "down": 0.05,
        "colour": "RGB",
        "resize": "Pillow bicubic, antialiased",
    }


def test_the_number_of_threads_changes_no_byte(standard):
    faces = [puppet(subject) for subject in range(1, 9)]

    def digest(workers):
        corpus, _, _ = standard(faces, Haar(), workers=workers)
        return [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in corpus.shards]

    assert digest(1) == digest(4)


def test_rows_keep_their_order_and_facts(standard):
    pictures = [noise(number, 20, 20) for number in range(150)]  # more than one batch of threads
    corpus, _, facts = standard(pictures, size=20, workers=4)
    assert facts["rows"] == 150
    assert list(corpus.facts["source"]) == [f"{number}.png" for number in range(150)]
    assert list(corpus.facts["subject"]) == [f"drawn/{number}" for number in range(150)]
    assert list(corpus.facts["id"]) == [content_id(picture) for picture in pictures]
    np.testing.assert_array_equal(corpus.images(), np.stack(pictures).transpose(0, 3, 1, 2))


def test_the_identity_is_that_of_the_crop(standard):
    corpus, _, _ = standard([puppet()], Haar())
    (crop,) = corpus.images().transpose(0, 2, 3, 1)
    assert list(corpus.facts["id"]) == [content_id(crop)]


def test_equal_faces_of_two_pictures_are_taken_once(standard):
    one = noise(6)
    two = one.copy()
    two[0, 0] ^= 255  # outside of the cut
    corpus, skipped, _ = standard([one, two], size=20, margin=-0.25)
    assert list(corpus.facts["source"]) == ["0.png"]
    reason = "same face as another picture"
    assert skipped == [{"source": "1.png", "reason": reason, "detail": "0.png"}]


def test_a_whole_picture_is_only_resized(standard):
    image = noise(7, 64, 64)
    corpus, _, facts = standard([image], WholePicture())
    np.testing.assert_array_equal(corpus.images()[0].transpose(1, 2, 0), image)
    assert facts["contract"]["detector"] == "none"


@pytest.mark.parametrize("upright", [False, True])
def test_a_whole_picture_that_is_no_square_is_not_squeezed(standard, upright):
    image = noise(8, 32, 64)
    corpus, _, _ = standard([image.transpose(1, 0, 2) if upright else image], WholePicture())
    crop = corpus.images()[0].transpose((2, 1, 0) if upright else (1, 2, 0))
    np.testing.assert_array_equal(crop[16:48], image)
    np.testing.assert_array_equal(crop[:16], image[16:0:-1])


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"size": 8}, r"size 8 is too small for a face; use 16 pixels or more \(size\)"),
        ({"margin": -0.5}, r"margin -0\.5 .*\(standardise\.margin\)"),
    ],
)
def test_impossible_settings_are_told(standard, setting, text):
    with pytest.raises(ValueError, match=text):
        standard([noise(1)], **setting)
