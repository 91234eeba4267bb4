import importlib.metadata
import itertools
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from curation.detect import Box, EyeCascades, Face, Haar, Mtcnn, WholePicture, choose_face
from curation.detect.eyes import likely_pair
from curation.detect.faces import iou, same_face
from curation.puppets import render

DEFAULT, SECOND = "haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml"
CONF = Path(__file__).parents[1] / "conf" / "detector"


def puppet(subject=1, emotion="happy", style="studio"):
    return render(style, subject, 1, emotion, size=128, difficulty=0.4)


def planted(face, left, top, height=300, width=400):
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    return picture


def turned_puppets():
    """Angry faces, turned and blurred: what cascades miss now and then."""
    for subject, angle in itertools.product(range(1, 9), (19, 20, 21)):
        turn = cv2.getRotationMatrix2D((64, 64), angle, 0.9)
        picture = puppet(subject, "angry", style="lab")
        turned = cv2.warpAffine(picture, turn, (128, 128), borderMode=cv2.BORDER_REPLICATE)
        yield cv2.GaussianBlur(turned, (0, 0), 3)


def face_at(x, y, side, score=None):
    return Face(Box(x - side / 2, y - side / 2, side, side), score)


PICTURE = np.zeros((300, 400, 3), np.uint8)  # its diagonal is 500


def chosen(faces, **settings):
    """Choose, and make sure that the order does not matter."""
    results = {choose_face(list(order), PICTURE, **settings) for order in permuted(faces)}
    assert len(results) == 1
    return results.pop()


def permuted(faces):
    return itertools.permutations(faces) if len(faces) < 5 else [faces, faces[::-1]]


def test_no_face_is_a_reason():
    assert choose_face([], PICTURE) == "no face found"


def test_of_equal_faces_the_central_one_is_chosen():
    faces = [face_at(60, 150, 80), face_at(210, 160, 80), face_at(340, 150, 80)]
    assert chosen(faces) == faces[1]


def test_of_central_faces_the_large_one_is_chosen():
    small, large = face_at(130, 150, 40), face_at(230, 150, 90)
    assert chosen([small, large]) == large


@pytest.mark.parametrize(("factor", "wins"), [(1.95, False), (2.05, True)])
def test_a_quarter_of_the_diagonal_off_halves_the_score(factor, wins):
    central, aside = face_at(200, 150, 60), face_at(325, 150, 60 * factor**0.5)
    assert (chosen([central, aside]) == aside) == wins


def test_a_detectors_score_does_not_choose_between_faces():
    large, sure = face_at(200, 150, 90, score=0.7), face_at(60, 60, 40, score=0.99)
    assert chosen([large, sure]) == large


def test_a_loose_box_around_a_face_does_not_win_by_being_larger():
    face, loose = face_at(200, 140, 90, score=0.95), face_at(205, 160, 140, score=0.3)
    assert chosen([face, loose]) == face


def test_a_hit_on_a_mouth_does_not_win_over_the_face_around_it():
    # as measured on a photograph: 14 hits on the lower half, 9 on the face
    face = Face(Box(19, 10, 314, 314), score=9 / 19)
    part = Face(Box(106, 164, 148, 148), score=14 / 24)
    assert chosen([face, part]) == face


def test_of_boxes_without_scores_the_one_that_most_agree_with_is_chosen():
    faces = [face_at(200, 150, 100), face_at(204, 152, 102), face_at(212, 158, 150)]
    assert chosen(faces) == faces[1]


def test_boxes_joined_by_a_third_are_one_face():
    chain = [face_at(200, 150, 80), face_at(230, 150, 90), face_at(260, 150, 80)]
    assert not same_face(chain[0].box, chain[2].box)
    assert chosen(chain, several="skip") == chain[1]
    assert chosen([chain[0], chain[2]], several="skip") == "several faces"


def test_several_faces_are_a_reason_where_they_are_to_be_skipped():
    faces = [face_at(120, 150, 80, 0.9), face_at(280, 150, 80, 0.8)]
    assert chosen(faces, several="skip") == "several faces"
    assert isinstance(chosen(faces, several="choose"), Face)
    twice = [faces[0], face_at(124, 148, 84, 0.7)]
    assert chosen(twice, several="skip") == faces[0]


@pytest.mark.parametrize(
    ("min_face", "expected"), [(79, None), (81, "face too small"), (0.26, None), (0.27, "face")]
)
def test_small_faces_are_background(min_face, expected):
    main, behind = face_at(200, 150, 80), face_at(60, 60, 30)
    result = chosen([main, behind], several="skip", min_face=min_face)  # 80 of 300 is 0.267
    assert result == main if expected is None else result == "face too small"


def test_unknown_words_for_choosing_are_told():
    with pytest.raises(ValueError, match=r"several='all' .*'choose' or 'skip'"):
        choose_face([], PICTURE, several="all")
    with pytest.raises(ValueError, match="min_face -1 must be 0 or more"):
        choose_face([], PICTURE, min_face=-1)


def test_iou_and_same_face_are_symmetric_shares():
    one, half = Box(0, 0, 10, 10), Box(5, 0, 10, 10)
    assert iou(one, half) == iou(half, one) == pytest.approx(50 / 150)
    assert iou(one, one) == 1
    assert iou(one, Box(20, 0, 5, 5)) == 0
    assert not same_face(one, half)
    assert same_face(Box(0, 0, 100, 100), Box(40, 60, 20, 20))  # within
    assert same_face(Box(40, 60, 20, 20), Box(0, 0, 100, 100))
    assert not same_face(Box(0, 0, 100, 100), Box(90, 40, 20, 20))  # half within


def test_a_planted_face_is_found_where_it_was_put():
    face = puppet()
    detector = Haar(min_share=0.2)
    (known,) = Haar(min_share=0.5)(face)
    for left, top in ((20, 30), (150, 90), (180, 40)):
        picture = planted(face, left, top)
        found = choose_face(detector(picture), picture)
        assert found.box.left - left == pytest.approx(known.box.left, abs=5)
        assert found.box.top - top == pytest.approx(known.box.top, abs=5)
        assert found.box.width == pytest.approx(known.box.width, rel=0.1)


def test_more_hits_make_a_higher_score():
    found = Haar(min_neighbours=3, min_share=0.2)
    clear = puppet()
    (sure,) = found(clear)
    dim = (cv2.GaussianBlur(clear, (0, 0), 3) * 0.3 + 90).astype(np.uint8)
    (unsure,) = found(dim)
    assert 3 / 13 <= unsure.score < sure.score < 1


def test_a_second_cascade_finds_what_the_first_does_not():
    first = Haar(cascades=[DEFAULT])
    second = Haar(cascades=[SECOND])
    both = Haar(cascades=[DEFAULT, SECOND])
    missed = [picture for picture in turned_puppets() if first(picture) == []]
    assert [both(picture) for picture in missed] == [second(picture) for picture in missed]
    assert any(both(picture) for picture in missed)


def test_a_second_cascade_is_not_asked_where_the_first_finds_a_face():
    face = puppet()
    assert Haar(cascades=[DEFAULT, SECOND])(face) == Haar(cascades=[DEFAULT])(face)
    assert Haar(cascades=[SECOND])(face) != Haar(cascades=[DEFAULT])(face)


def test_smaller_faces_than_asked_for_are_not_found():
    picture = planted(puppet(), 100, 100)
    assert Haar(min_share=0.2)(picture)
    assert Haar(min_share=0.5)(picture) == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cascades": ["face.xml"]}, rf"no cascade 'face\.xml'; .*{DEFAULT}.*detector\.cascades"),
        ({"cascades": []}, r"no cascade is named; .*detector\.cascades"),
        ({"scale_factor": 1.0}, r"scale_factor 1\.0 must be over 1.*detector\.scale_factor"),
        ({"min_neighbours": -1}, r"min_neighbours -1 must be 0 or more .*min_neighbours"),
        ({"min_share": 0}, r"min_share 0 must be over 0 .*detector\.min_share"),
        ({"min_share": 1.5}, r"min_share 1\.5 must be .* no more than 1 .*detector\.min_share"),
    ],
)
def test_impossible_settings_of_cascades_are_told(settings, text):
    with pytest.raises(ValueError, match=text):
        Haar(**settings)


def test_a_whole_picture_is_its_own_face():
    (face,) = WholePicture()(np.zeros((30, 50, 3), np.uint8))
    assert face == Face(Box(0, 0, 50, 30))


@pytest.mark.parametrize("made", [Haar(), EyeCascades(), WholePicture()], ids=lambda x: type(x))
def test_a_detector_can_be_pickled_before_and_after_use(made):
    picture = puppet()
    (face,) = Haar()(picture)

    def ask(each):
        return each.find(picture, face.box).tolist() if hasattr(each, "find") else each(picture)

    before = pickle.loads(pickle.dumps(made))
    wanted = ask(made)
    after = pickle.loads(pickle.dumps(made))
    assert ask(before) == ask(after) == wanted
    assert before.settings == after.settings == made.settings


def test_threads_find_the_same_and_change_nothing_of_opencv():
    pictures = [puppet(subject) for subject in range(1, 9)]
    haar, eyes = Haar(), EyeCascades()

    def find(picture):
        (face,) = haar(picture)
        return face.box, face.score, eyes.find(picture, face.box).tolist()

    state = cv2.getNumThreads(), cv2.useOptimized()
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(find, pictures))
    assert threaded == [find(picture) for picture in pictures]
    assert (cv2.getNumThreads(), cv2.useOptimized()) == state


def test_every_configured_detector_takes_its_settings():
    made = {}
    for path in CONF.glob("*.yaml"):
        settings = OmegaConf.to_container(OmegaConf.load(path))
        kind = settings.pop("_target_")
        assert kind.startswith("curation.detect.")
        module = sys.modules["curation.detect"]
        made[path.stem] = getattr(module, kind.rsplit(".", 1)[1])(**settings)
    assert sorted(made) == ["dnn_ssd", "haar", "mtcnn", "none", "yunet"]
    assert made["none"].settings == {"detector": "none"}
    assert made["haar"].settings["detector"] == "haar"
    found = [choose_face(made["haar"](puppet(n, style="ten")), PICTURE) for n in range(1, 6)]
    assert all(isinstance(face, Face) for face in found)


BOX = Box(100, 50, 100, 100)
LEFT, RIGHT = (129, 89), (171, 89)  # usual eyes in that box


def hits(*places, noise=1.0):
    """Hits around some places, each given as (x, y, count)."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal((x, y), noise, (n, 2)) for x, y, n in places])


def test_the_eyes_are_where_most_hits_are():
    eyes = likely_pair(hits((*LEFT, 9), (*RIGHT, 7)), BOX)
    np.testing.assert_allclose(eyes, [LEFT, RIGHT], atol=1)


@pytest.mark.parametrize(
    "stray", [(150, 125, 9), (130, 70, 4), (171, 120, 8), (150, 90, 6), (195, 60, 9)]
)
def test_stray_hits_are_outvoted_or_lie_unlike_eyes(stray):
    eyes = likely_pair(hits((*LEFT, 8), (*RIGHT, 8), stray), BOX)
    np.testing.assert_allclose(eyes, [LEFT, RIGHT], atol=2)


@pytest.mark.parametrize(
    "places",
    [
        [(*LEFT, 9)],  # one eye only
        [(130, 70, 5), (165, 95, 5)],  # steeper than 30°
        [(140, 89, 5), (160, 89, 5)],  # nearer than a quarter of the box
        [(115, 89, 5), (185, 89, 5)],  # wider than 0.6 of it
    ],
)
def test_two_places_that_do_not_lie_as_eyes_do_are_none(places):
    assert likely_pair(hits(*places, noise=0.5), BOX) is None


def test_eyes_become_landmarks_and_the_other_points_stay_unknown():
    picture = puppet()
    (face,) = Haar()(picture)
    seen = EyeCascades()(picture, face)
    assert (seen.box, seen.score) == (face.box, face.score)
    assert seen.landmarks.shape == (5, 2)
    assert seen.landmarks.dtype == np.float32
    assert np.isfinite(seen.landmarks[:2]).all()
    assert np.isnan(seen.landmarks[2:]).all()


def test_a_face_whose_eyes_are_not_found_stays_as_it_is():
    face = Face(Box(10, 10, 60, 60), 0.5)
    eyes = EyeCascades()
    assert eyes(np.full((100, 100, 3), 90, np.uint8), face) is face
    assert eyes.find(puppet(), Box(500, 500, 60, 60)) is None  # beyond the picture
    assert eyes.find(np.zeros((3, 3, 3), np.uint8), Box(0, 0, 3, 3)) is None


@pytest.mark.parametrize("style", ["studio", "lab", "ten"])
def test_eyes_turn_shift_and_grow_with_the_picture(style):
    eyes, haar = EyeCascades(), Haar()
    for subject in (1, 2, 3):
        picture = puppet(subject, style=style)
        face = choose_face(haar(picture), picture)
        known = eyes.find(picture, face.box)
        turn = cv2.getRotationMatrix2D((64, 64), 10, 1.5)
        turn[:, 2] += (60, 30)
        other = cv2.warpAffine(picture, turn, (260, 220), borderMode=cv2.BORDER_REPLICATE)
        middle = turn @ np.array(
            [face.box.left + face.box.width / 2, face.box.top + face.box.height / 2, 1]
        )
        side = face.box.width * 1.5
        found = eyes.find(other, Box(*(middle - side / 2), side, side))
        wanted = known @ turn[:, :2].T + turn[:, 2]
        apart = np.linalg.norm(wanted[1] - wanted[0])
        assert np.linalg.norm(found - wanted, axis=1).max() < 0.15 * apart


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cascades": ["eyes.xml"]}, r"no cascade 'eyes\.xml'; .*haarcascade_eye\.xml.*eyes\."),
        ({"scale_factor": 0.9}, r"scale_factor 0\.9 must be over 1.*eyes\.scale_factor"),
        ({"sides": [20]}, r"sides \[20\] must be .*eyes\.sides"),
    ],
)
def test_impossible_settings_of_the_eye_finder_are_told(settings, text):
    with pytest.raises(ValueError, match=text):
        EyeCascades(**settings)


def test_mtcnn_without_its_package_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    detector = Mtcnn()  # to make one needs nothing
    for use in (lambda: detector.settings, lambda: detector(puppet())):
        with pytest.raises(ImportError, match="pip install --no-deps facenet-pytorch"):
            use()


class Networks:
    """Stands for facenet_pytorch.MTCNN: notes what it was given, finds one face, or none."""

    def __init__(self, **settings):
        self.settings = settings
        self.made.append(self)

    def eval(self):
        return self

    def detect(self, image, landmarks):
        assert landmarks
        self.shape = image.shape
        if not image.any():
            return None, [None], None
        points = np.array([[[12, 20], [28, 21], [20, 30], [14, 38], [26, 39]]], float)
        return np.array([[5.0, 6.0, 35.0, 46.0]]), np.array([0.97]), points


@pytest.fixture
def mtcnn(monkeypatch):
    made = []
    module = ModuleType("facenet_pytorch")
    module.MTCNN = type("MTCNN", (Networks,), {"made": made})
    monkeypatch.setitem(sys.modules, "facenet_pytorch", module)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} of today")
    return made


def test_mtcnn_hands_over_its_settings_and_scales_back(mtcnn):
    detector = Mtcnn(longest_side=100, min_side=24, scale_factor=1.25, thresholds=(0.5, 0.6, 0.8))
    (face,) = detector(np.ones((200, 400, 3), np.uint8))
    (networks,) = mtcnn
    assert networks.shape == (50, 100, 3)
    assert networks.settings == {
        "keep_all": True,
        "thresholds": [0.5, 0.6, 0.8],
        "min_face_size": 24,
        "factor": 0.8,
        "device": "cpu",
    }
    assert face.box == Box(20, 24, 120, 160)
    assert face.score == pytest.approx(0.97)
    np.testing.assert_allclose(face.landmarks[:2], [[48, 80], [112, 84]])
    assert face.landmarks.dtype == np.float32
    assert detector.settings["package"] == "facenet-pytorch facenet-pytorch of today"
    assert detector.settings["thresholds"] == [0.5, 0.6, 0.8]


def test_mtcnn_finds_nothing_without_a_crash(mtcnn):
    detector = Mtcnn()
    assert detector(np.zeros((50, 50, 3), np.uint8)) == []
    assert len(mtcnn) == 1
    assert mtcnn[0].shape == (50, 50, 3)  # small pictures are not made larger
    assert detector(np.ones((12, 500, 3), np.uint8)) == []  # lower than any face


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"thresholds": [0.6, 0.7]}, r"must be three.*detector\.thresholds"),
        ({"thresholds": [0.6, 0.7, 1.2]}, r"thresholds 1\.2 must be"),
        ({"min_side": 8}, r"min_side 8 must be 12 pixels or more.*detector\.min_side"),
        ({"min_side": 800}, r"no more than longest_side, which is 640"),
        ({"scale_factor": 0.709}, r"scale_factor 0\.709 must be over 1"),
    ],
)
def test_impossible_settings_of_mtcnn_are_told(settings, text):
    with pytest.raises(ValueError, match=text):
        Mtcnn(**settings)


def test_mtcnn_finds_a_puppets_face_and_eyes():
    pytest.importorskip("facenet_pytorch", reason="the optional package is not installed")
    picture = puppet()
    face = choose_face(Mtcnn()(picture), picture)
    assert face.score > 0.9
    eyes = EyeCascades().find(picture, choose_face(Haar()(picture), picture).box)
    apart = np.linalg.norm(eyes[1] - eyes[0])
    assert np.linalg.norm(face.landmarks[:2] - eyes, axis=1).max() < 0.3 * apart
