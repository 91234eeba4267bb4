import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from curation import parallel
from curation.align import BoxFrame, EyeFrame, TemplateFrame, eye_angle_deg
from curation.contract import contract_id
from curation.corpus import QUALITY, Corpus, content_id, write_corpus
from curation.detect import Box, Face, Haar, WholePicture, YuNet, choose_face
from curation.ingest import read_image
from curation.puppets import render
from curation.standardise import Clahe, Standard, UnusableFaceError, standardise

SECOND = "haarcascade_frontalface_alt2.xml"
SHARED = Path(__file__).parents[2] / "shared"


def puppet(subject=1, emotion="happy"):
    return render("studio", subject, 1, emotion, size=128, difficulty=0.4)


def planted(face, left, top, height=300, width=400):
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    return picture


def noise(number, height=40, width=40):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


class Told:
    """A detector that is told where faces are."""

    def __init__(self, *faces):
        self.faces = list(faces)
        self.settings = {"detector": "told"}

    def __call__(self, image):
        return self.faces


def with_eyes(left, right, side=100.0):
    points = np.full((5, 2), np.nan, np.float32)
    points[:2] = left, right
    x, y = points[:2].mean(0).tolist()
    return Face(Box(x - side / 2, y - 0.4 * side, side, side), 0.9, points)


def standard(**settings):
    given = {"detector": WholePicture(), "frame": BoxFrame(), "size": 64, **settings}
    return Standard(**given)


@pytest.fixture
def run(tmp_path):
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
        settings = {"size": 64, "workers": 1, "frame": BoxFrame(), **settings}
        facts = standardise(corpus=source, detector=detector or WholePicture(), out=out, **settings)
        with (out / "skipped.csv").open(newline="") as file:
            return Corpus(out), list(csv.DictReader(file)), facts

    return run


def test_a_found_face_fills_the_crop():
    face = puppet()
    alone = standard(detector=Haar(min_share=0.5), size=48)(face)
    found = standard(detector=Haar(min_share=0.2), size=48)(planted(face, 150, 90))
    assert found.image.shape == (48, 48, 3)
    assert np.corrcoef(found.image.ravel(), alone.image.ravel())[0, 1] > 0.9


def test_a_whole_picture_is_only_resized():
    image = noise(7, 64, 64)
    np.testing.assert_array_equal(standard()(image).image, image)


@pytest.mark.parametrize("upright", [False, True])
def test_a_whole_picture_that_is_no_square_is_not_squeezed(upright):
    image = noise(8, 32, 64)
    found = standard()(image.transpose(1, 0, 2).copy() if upright else image).image
    found = found.transpose(1, 0, 2) if upright else found
    np.testing.assert_array_equal(found[16:48], image)
    np.testing.assert_array_equal(found[:16], image[16:0:-1])


def test_fit_pad_adds_black_bars_and_stretch_squeezes():
    image = noise(9, 32, 64) | 1
    bars = standard(fit="pad")(image).image
    np.testing.assert_array_equal(bars[16:48], image)
    assert (bars[:16] == 0).all()
    assert (bars[48:] == 0).all()
    squeezed = standard(fit="stretch")(image).image
    wanted = cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC)
    assert np.corrcoef(squeezed.ravel(), wanted.ravel())[0, 1] > 0.97


DOTS = {"left": (180.0, 150.0), "right": (240.0, 190.0)}


def dotted(radius=6):
    """A grey picture with a red dot at the left eye and a blue one at the right."""
    image = np.full((400, 420, 3), 128, np.uint8)
    for place, colour in ((DOTS["left"], (255, 0, 0)), (DOTS["right"], (0, 0, 255))):
        x, y = (round(value - 0.5) for value in place)
        cv2.circle(image, (x, y), radius, colour, -1)
    return image


def dot(image, channel):
    """Where a dot is, in pixels from the left and top edge."""
    other = 2 - channel
    weight = np.clip(image[..., channel].astype(float) - image[..., other] - 100, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


def eye_standard(fit, size=90, **settings):
    detector = Told(with_eyes(**DOTS, side=150))
    return standard(detector=detector, frame=EyeFrame(), fit=fit, size=size, **settings)


@pytest.mark.parametrize(
    ("fit", "left", "right"),
    [
        # one inter-eye distance is 20 px of 90 = 4.5 distances; the middle is at 45
        ("square", (35, 26), (55, 26)),
        ("pad", (35, 26), (55, 26)),
        # across, 90 px are 3.4 distances
        ("stretch", (45 - 90 / 6.8, 26), (45 + 90 / 6.8, 26)),
    ],
)
def test_spatial_normalisation_puts_eyes_where_protocol_4_says(fit, left, right):
    found = eye_standard(fit)(dotted()).image
    assert dot(found, 0) == pytest.approx(left, abs=0.7)
    assert dot(found, 2) == pytest.approx(right, abs=0.7)
    black = (found == 0).all(2)
    assert black[:, :11].all() == (fit == "pad")
    assert black[:, 11:-11].sum() == 0


def test_level_makes_the_eye_line_level():
    detector = Told(with_eyes(**DOTS, side=150))
    crooked = standard(detector=detector, frame=BoxFrame(level=False), size=100)(dotted()).image
    level = standard(detector=detector, frame=BoxFrame(level=True), size=100)(dotted()).image
    assert dot(crooked, 2)[1] - dot(crooked, 0)[1] > 20
    assert dot(level, 2)[1] == pytest.approx(dot(level, 0)[1], abs=0.7)
    # lengths stay
    lengths = [np.hypot(*np.subtract(dot(image, 2), dot(image, 0))) for image in (crooked, level)]
    assert lengths[0] == pytest.approx(lengths[1], abs=0.7)


def test_the_template_puts_eyes_on_the_template():
    detector = Told(with_eyes(**DOTS, side=150))
    found = standard(detector=detector, frame=TemplateFrame(), size=112)(dotted()).image
    assert dot(found, 0) == pytest.approx((38.3, 51.6), abs=0.7)
    assert dot(found, 2) == pytest.approx((73.5, 51.6), abs=0.7)


def test_grey_takes_the_colour_away():
    image = noise(5)
    image[..., 2] = 0
    coloured = standard()(image).image
    grey = standard(grey=True)(image).image
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - coloured @ [0.299, 0.587, 0.114]).max() <= 1


def test_equalising_raises_contrast_no_further_than_the_clip_limit():
    flat = (110 + puppet() // 12).astype(np.uint8)
    spread = [
        standard(clahe=clahe)(flat).image.std()
        for clahe in (None, Clahe(clip_limit=1.5), Clahe(clip_limit=4), Clahe(clip_limit=40))
    ]
    assert spread == sorted(spread)
    assert spread[2] > 1.5 * spread[0]


def test_equalising_keeps_grey_pictures_grey_and_hues():
    image = puppet()
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    equal = Clahe(clip_limit=4)(grey)
    assert (np.ptp(equal, axis=2) == 0).all()
    assert (equal != grey).mean() > 0.5
    before, after = (cv2.cvtColor(each, cv2.COLOR_RGB2YCrCb) for each in (image, Clahe()(image)))
    unclipped = ((Clahe()(image) > 0) & (Clahe()(image) < 255)).all(2)
    assert np.abs(before[unclipped].astype(int) - after[unclipped])[:, 1:].max() <= 2


def test_one_tile_equalises_by_the_histogram_of_the_luminance():
    grey = np.repeat(cv2.cvtColor(puppet(), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    plain = cv2.equalizeHist(grey[..., 0]).astype(int)
    equal = Clahe(clip_limit=1e6, tiles=1)(grey)[..., 0].astype(int)
    assert np.corrcoef(plain.ravel(), equal.ravel())[0, 1] > 0.999
    tiled = Clahe(clip_limit=1e6, tiles=8)(grey)[..., 0].astype(int)
    assert np.corrcoef(plain.ravel(), tiled.ravel())[0, 1] < 0.95


def test_equalising_the_picture_sees_what_lies_around_the_face():
    face = puppet()
    dark, bright = (planted(face, 140, 90) for _ in range(2))
    dark[:85], bright[:85] = 0, 255
    detector = Told(Face(Box(140, 90, 128, 128)))

    def faces(clahe):
        made = standard(detector=detector, clahe=clahe)
        return made(dark).image, made(bright).image

    assert np.array_equal(*faces(Clahe(scope="face")))
    assert not np.array_equal(*faces(Clahe(scope="picture", tiles=2)))


def test_equalising_leaves_the_bars_black():
    found = standard(fit="pad", clahe=Clahe())(noise(10, 32, 64) // 4).image
    assert (found[:16] == 0).all()
    assert (found[48:] == 0).all()
    assert found[16:48].max() > 80


@pytest.mark.parametrize("scope", ["face", "picture"])
def test_quality_is_measured_before_equalisation(scope):
    image = (110 + puppet() // 12).astype(np.uint8)
    plain = standard()(image).measures
    equal = standard(clahe=Clahe(clip_limit=10, scope=scope), grey=True)(image).measures
    assert equal["exposure"] == pytest.approx(plain["exposure"], abs=0.003)
    assert equal["sharpness"] == pytest.approx(plain["sharpness"], rel=0.1)


def test_a_picture_without_a_face_is_counted_and_left_out(run):
    flat, tiny = np.full((128, 128, 3), 128, np.uint8), noise(1, 8, 8)
    corpus, skipped, facts = run([flat, puppet(), tiny], Haar())
    assert list(corpus.facts["source"]) == ["1.png"]
    assert skipped == [
        {"source": "0.png", "reason": "no face found", "detail": content_id(flat)},
        {"source": "2.png", "reason": "no face found", "detail": content_id(tiny)},
    ]
    assert facts["skipped"] == {"no face found": 2}


def test_no_face_in_any_picture_is_an_error(run):
    with pytest.raises(ValueError, match=r"not one of 2 .*2 × no face found.* standardise=none"):
        run([np.zeros((64, 64, 3), np.uint8), np.ones((64, 64, 3), np.uint8)], Haar())


TWO = Told(Face(Box(20, 20, 80, 80)), Face(Box(250, 150, 100, 100)))


def test_of_several_faces_one_is_chosen_or_the_picture_skipped():
    picture = noise(11, 300, 400)
    assert standard(detector=TWO).find(picture).box == Box(250, 150, 100, 100)
    with pytest.raises(UnusableFaceError, match="several faces"):
        standard(detector=TWO, several="skip").find(picture)


def test_small_faces_are_refused_on_request():
    picture = noise(12, 300, 400)
    only = Told(Face(Box(20, 20, 80, 80)))
    assert standard(detector=only, min_face=80).find(picture).box.width == 80
    with pytest.raises(UnusableFaceError, match="too small"):
        standard(detector=only, min_face=81).find(picture)


BLIND = Told(Face(Box(100, 100, 120, 120), 0.9))


@pytest.mark.parametrize("frame", [EyeFrame(), TemplateFrame(), BoxFrame(level=True)])
def test_a_face_without_eyes_is_skipped_or_taken_as_upright(frame):
    picture = noise(13, 300, 400)
    with pytest.raises(UnusableFaceError, match="eyes not found"):
        standard(detector=BLIND, frame=frame)(picture)
    upright = standard(detector=BLIND, frame=frame, eyes_missing="upright")(picture)
    assert upright.image.shape == (64, 64, 3)
    assert upright.measures["angle_deg"] is None  # supposed, not measured
    assert upright.measures["landmark_error"] is None


def test_a_face_taken_as_upright_lies_where_eyes_usually_are():
    def centre_of(frame):
        image = np.zeros((400, 400, 3), np.uint8)
        image[140:180, 140:180, 0] = 255  # the middle of the box
        found = standard(detector=BLIND, frame=frame, eyes_missing="upright", size=100)(image).image
        return np.argwhere(found[..., 0] > 128).mean(0)

    across, down = centre_of(EyeFrame())[::-1]
    assert across == pytest.approx(49.5, abs=1)
    assert 30 < down < 50  # below the eyes at 29 %


def test_the_box_alone_needs_no_eyes():
    assert standard(detector=BLIND)(noise(14, 300, 400)).measures["angle_deg"] is None


def test_eyes_can_be_added_to_a_face_without():
    asked = []

    def finder(image, face):
        asked.append(face)
        return face._replace(landmarks=with_eyes((130, 140), (190, 150)).landmarks)

    made = standard(detector=BLIND, frame=BoxFrame(level=True), eyes=finder)
    measures = made(noise(15, 300, 400)).measures
    assert measures["angle_deg"] == pytest.approx(np.degrees(np.arctan2(10, 60)), abs=0.01)
    known = Told(with_eyes((130, 140), (190, 140)))
    standard(detector=known, frame=BoxFrame(level=True), eyes=finder)(noise(15, 300, 400))
    assert asked == BLIND.faces  # known eyes are kept


def test_equal_faces_of_two_pictures_are_taken_once(run):
    one = noise(6)
    two = one.copy()
    two[0, 0] ^= 255  # outside of the cut
    corpus, skipped, facts = run([one, two], size=20, frame=BoxFrame(margin=-0.25))
    assert list(corpus.facts["source"]) == ["0.png"]
    reason = "same face as another picture"
    assert skipped == [{"source": "1.png", "reason": reason, "detail": "0.png"}]
    assert facts["quality"]["sharpness"]["n"] == 1


def test_faces_out_of_limits_are_left_out_with_the_value(run):
    sharp = puppet()
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    values = [standard(size=128)(image).measures["sharpness"] for image in (sharp, soft)]
    limits = {"sharpness": [float(np.mean(values)), None]}
    corpus, skipped, facts = run([sharp, soft], size=128, limits=limits)
    assert list(corpus.facts["source"]) == ["0.png"]
    assert skipped[0]["reason"] == "sharpness out of limits"
    assert skipped[0]["detail"].startswith(f"{values[1]:.4g}, not in ")
    assert facts["skipped"] == {"sharpness out of limits": 1}


def test_what_lies_beyond_the_picture_is_measured_and_limits_know_it(run):
    inside, across = Told(Face(Box(20, 20, 60, 60))), Told(Face(Box(70, 20, 60, 60)))
    picture = noise(16, 100, 100)
    assert standard(detector=inside)(picture).measures["outside"] == 0
    assert standard(detector=across)(picture).measures["outside"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="1 × outside out of limits"):
        run([picture], across, limits={"outside": [None, 0.4]})


def test_quality_columns_are_written_and_summarised(run):
    face = with_eyes((50, 50), (90, 60), side=100)
    corpus, _, facts = run([noise(number, 150, 150) for number in range(3)], Told(face))
    frame = corpus.facts
    assert frame["detector_score"].to_numpy() == pytest.approx([0.9] * 3)
    assert frame["face_px"].to_numpy() == pytest.approx([100] * 3)
    angle = np.degrees(np.arctan2(10, 40))
    assert frame["angle_deg"].to_numpy() == pytest.approx([angle] * 3, rel=1e-5)
    assert frame["landmark_error"].isna().all()
    assert (frame["sharpness"] > 1).all()
    assert frame["exposure"].to_numpy() == pytest.approx([0.5] * 3, abs=0.02)
    summary = facts["quality"]
    assert set(summary) == {*QUALITY, "clipped", "outside"} - {"landmark_error"}
    assert summary["angle_deg"] == pytest.approx(
        {"n": 3, "p5": angle, "median": angle, "p95": angle}, rel=1e-5
    )


def test_rows_keep_their_order_and_facts(run):
    pictures = [noise(number, 20, 20) for number in range(150)]
    corpus, _, facts = run(pictures, size=20)
    assert facts["rows"] == 150
    assert list(corpus.facts["source"]) == [f"{number}.png" for number in range(150)]
    assert list(corpus.facts["subject"]) == [f"drawn/{number}" for number in range(150)]
    assert list(corpus.facts["id"]) == [content_id(picture) for picture in pictures]
    np.testing.assert_array_equal(corpus.images(), np.stack(pictures).transpose(0, 3, 1, 2))


def test_the_number_of_workers_changes_no_byte(run, monkeypatch):
    monkeypatch.setattr(parallel, "_FEW", 1)
    faces = [puppet(subject) for subject in range(1, 12)]
    settings = {"clahe": Clahe(), "eyes_missing": "upright", "frame": EyeFrame()}

    def digest(workers):
        corpus, _, facts = run(faces, Haar(), workers=workers, **settings)
        shards = [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in corpus.shards]
        return shards, json.dumps(facts)

    assert digest(1) == digest(2)


def test_the_identity_is_that_of_the_standard_face(run):
    corpus, _, _ = run([puppet()], Haar())
    (face,) = corpus.images().transpose(0, 2, 3, 1)
    assert list(corpus.facts["id"]) == [content_id(face)]


def test_the_contract_holds_everything_that_decides_the_look(run):
    detector = Haar(cascades=[SECOND], scale_factor=1.2, min_neighbours=3, min_share=0.4)
    frame = BoxFrame(margin=0.1, down=0.05)
    _, _, facts = run([puppet()], detector, size=32, frame=frame, clahe=Clahe(), fit="stretch")
    assert facts["contract"] == {
        "detector": {
            "detector": "haar",
            "cascades": [SECOND],
            "scale_factor": 1.2,
            "min_neighbours": 3,
            "min_share": 0.4,
        },
        "frame": {"frame": "box", "margin": 0.1, "down": 0.05, "level": False},
        "fit": "stretch",
        "border": "mirror",
        "size": 32,
        "colour": "RGB",
        "clahe": {"clip_limit": 2.0, "tiles": 8, "scope": "face"},
        "eyes": None,
        "eyes_missing": None,
        "resample": "Pillow bicubic",
    }
    assert facts["contract_id"] == contract_id(facts["contract"])
    json.dumps(facts, allow_nan=False)


OTHERS = [
    {"size": 65},
    {"fit": "pad"},
    {"border": "edge"},
    {"border": "black"},
    {"grey": True},
    {"clahe": Clahe()},
    {"clahe": Clahe(clip_limit=3)},
    {"clahe": Clahe(tiles=4)},
    {"clahe": Clahe(scope="picture")},
    {"detector": Haar()},
    {"detector": Haar(scale_factor=1.2)},
    {"frame": BoxFrame(margin=0.1)},
    {"frame": BoxFrame(down=0.1)},
    {"frame": BoxFrame(level=True)},
    {"frame": BoxFrame(level=True), "eyes_missing": "upright"},
    {"frame": EyeFrame()},
    {"frame": EyeFrame(sides=1.8)},
    {"frame": TemplateFrame()},
    {"frame": TemplateFrame(margin=0.1)},
]


def test_every_setting_of_the_look_makes_another_contract():
    ids = [contract_id(standard(**settings).contract) for settings in [{}, *OTHERS]]
    assert len(set(ids)) == len(ids)


def test_which_faces_are_taken_is_no_part_of_the_contract():
    plain = standard().contract
    assert standard(several="skip", min_face=50).contract == plain
    assert standard(eyes_missing="upright").contract == plain  # a box needs no eyes


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"size": 8}, r"size 8 is too small for a face; use 16 pixels or more \(size\)"),
        ({"fit": "crop"}, r"fit 'crop' is unknown.*\(standardise\.fit\)"),
        ({"border": "white"}, r"border 'white' is unknown; use one of mirror, edge, black"),
        ({"eyes_missing": "guess"}, r"eyes_missing 'guess' .*skip, upright"),
        ({"several": "all"}, r"several 'all' is unknown; use one of choose, skip"),
        ({"min_face": -1}, r"min_face -1 .*\(standardise\.min_face\)"),
    ],
)
def test_impossible_settings_are_told(setting, text):
    with pytest.raises(ValueError, match=text):
        standard(**setting)


def test_impossible_limits_are_told_before_any_work(run):
    with pytest.raises(ValueError, match=r"no quality 'blur'"):
        run([noise(1)], limits={"blur": [0, 1]})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"clip_limit": 0}, r"clip limit over 0 .*\(standardise\.clahe\)"),
        ({"tiles": 0}, r"1 tile or more"),
        ({"scope": "hair"}, r"not on 'hair' \(standardise\.clahe\.scope\)"),
    ],
)
def test_impossible_equalisation_is_told(settings, text):
    with pytest.raises(ValueError, match=text):
        Clahe(**settings)


PHOTOS = SHARED / "photos"
MODEL = SHARED / "models" / "yunet_n_640_640.onnx"
shared = pytest.mark.skipif(
    not (PHOTOS.is_dir() and MODEL.is_file()), reason=f"no photographs or no YuNet in {SHARED}"
)


@pytest.fixture(scope="module")
def photographs():
    return [read_image(path) for path in sorted(PHOTOS.rglob("*.jpg"))]


@shared
def test_photographs_come_out_level(photographs):
    detector = YuNet(model=MODEL)
    upright = standard(detector=detector, frame=TemplateFrame(margin=0.3), size=160, border="edge")
    again = YuNet(model=MODEL, refine_side=None)
    angles, found = [], 0
    for picture in photographs:
        try:
            face = upright(picture).image
        except UnusableFaceError:
            continue
        found += 1
        seen = choose_face(again(face), face)
        if not isinstance(seen, str):
            angles.append(abs(eye_angle_deg(seen)))
    assert len(photographs) == 300
    assert found >= 0.99 * len(photographs)
    assert len(angles) >= 0.99 * found
    assert np.median(angles) < 2
    assert np.percentile(angles, 95) < 7


@shared
def test_haar_alone_finds_nearly_all_photographs(photographs):
    cascades = [f"haarcascade_frontalface_{name}.xml" for name in ("default", "alt2", "alt")]
    detector = Haar(cascades=cascades)
    found = sum(not isinstance(choose_face(detector(p), p), str) for p in photographs[::3])
    assert found >= 95


CONF = Path(__file__).parents[1] / "conf"
PRESETS = sorted(path.stem for path in (CONF / "standardise").glob("*.yaml"))


def preset(name, *overrides):
    """The arguments of `Standard` that a preset gives."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[f"standardise={name}", *overrides])
    call = instantiate(cfg.stages.standardise.call, _partial_=True).keywords
    limits = call.pop("limits")
    assert limits == {}
    return Standard(**call)


def test_presets_are_those_of_the_protocols_and_ours():
    assert set(PRESETS) >= {
        "aligned",
        "gong_sfew",
        "haar",
        "none",
        "randellini2022",
        "vanderweel2019_affectnet",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_states_every_setting(name):
    made = preset(name, "size=32")
    assert made.size == 32
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = compose("config", overrides=[f"standardise={name}"]).standardise
    assert set(given) == set(Standard.__dataclass_fields__) - {"size", "detector"} | {"limits"}
    assert made.frame.settings["frame"] in ("box", "eyes", "template")


def test_the_quickstart_crops_as_its_gans_were_tuned():
    made = preset("haar")
    assert made.frame == BoxFrame(margin=0.0, down=0.04, level=False)
    assert made.detector.settings["min_share"] == 0.3
    assert (made.fit, made.border, made.clahe, made.grey) == ("square", "mirror", None, False)


def test_protocols_1_2_and_4_are_followed():
    for name in ("randellini2022", "gong_sfew"):
        made = preset(name)
        assert (made.frame, made.fit, made.grey) == (BoxFrame(), "stretch", False)
        assert made.clahe is None
    made = preset("vanderweel2019_affectnet")
    assert made.frame == EyeFrame(sides=1.7, above=1.3, below=3.2)
    assert (made.fit, made.clahe.scope) == ("stretch", "picture")
