"""Puppets: faces drawn from action units, and the embedded database made of them."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.corpus import EMOTIONS
from curation.databases.puppets import Puppets
from curation.puppets import STYLES, render, render_action_units
from curation.puppets.expression import PROTOTYPES, STRONGEST, VARIANTS, action_units
from curation.puppets.geometry import Geometry, geometry
from curation.puppets.identity import Identity, identity

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = [identity(style, subject) for style in STYLES for subject in range(1, 9)]


# a few shots of each style, at sizes that take different ways through the renderer
SHOTS = [
    (style, emotion, size)
    for style in STYLES
    for emotion, size in (("happy", 128), ("fear", 64), ("neutral", 100))
]


def face(person: Identity, **units: float) -> Geometry:
    return geometry(person, {int(name[2:]): value for name, value in units.items()})


@pytest.mark.parametrize("threads", ["1", "2"])
def test_same_bytes_in_another_process_and_with_other_threads(threads: str) -> None:
    program = f"""
import hashlib
import cv2
from curation.puppets import render
cv2.setNumThreads({threads})
for style, emotion, size in {SHOTS!r}:
    print(hashlib.sha256(render(style, 3, 1, emotion, size=size).tobytes()).hexdigest())
"""
    environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONHASHSEED": threads},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [
        hashlib.sha256(render(style, 3, 1, emotion, size=size).tobytes()).hexdigest()
        for style, emotion, size in SHOTS
    ]
    assert done.stdout.split() == here


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    alone = render("lab", 5, 2, "sad", size=64)
    for subject in range(1, 12):
        render("lab", subject, 1, "angry", size=64)
    assert np.array_equal(render("lab", 5, 2, "sad", size=64), alone)


def test_drawing_leaves_the_global_generator_alone() -> None:
    np.random.seed(7)  # noqa: NPY002 - the state under test
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    render("studio", 1, 1, "happy", size=32)
    assert np.random.random() == expected  # noqa: NPY002


def test_every_argument_changes_the_picture() -> None:
    shots = [
        render("studio", 1, 1, "happy", size=64),
        render("lab", 1, 1, "happy", size=64),
        render("studio", 2, 1, "happy", size=64),
        render("studio", 1, 2, "happy", size=64),
        render("studio", 1, 1, "sad", size=64),
        render("studio", 1, 1, "happy", size=64, seed=1),
        render("studio", 1, 1, "happy", size=64, difficulty=0.2),
    ]
    for first, second in itertools.combinations(shots, 2):
        assert np.abs(first.astype(int) - second).mean() > 0.1


@pytest.mark.parametrize("size", [32, 48, 64, 100, 128, 192, 224, 256])
@pytest.mark.parametrize("style", STYLES)
def test_shape_type_and_range(style: str, size: int) -> None:
    image = render(style, 2, 1, "surprise", size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.std() > 10  # a picture, neither flat nor burnt out
    assert (image == 255).mean() < 0.02


def test_sizes_show_the_same_shot() -> None:
    large = render("studio", 4, 1, "happy", size=256)
    small = render("studio", 4, 1, "happy", size=64)
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - small).mean() < 6


@pytest.mark.parametrize("style", ["lab", "ten"])
def test_grey_styles_are_grey(style: str) -> None:
    image = render(style, 1, 1, "happy", size=64)
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])


def test_studio_is_coloured_and_skin_is_redder_than_blue() -> None:
    image = render("studio", 1, 1, "neutral", size=128).astype(int)
    cheek = image[60:76, 45:83]
    assert (cheek[..., 0] - cheek[..., 2]).mean() > 25


def test_ten_has_low_contrast_and_lab_has_varied_walls() -> None:
    def shots(style: str) -> np.ndarray:
        return np.stack([render(style, s, 1, "neutral", size=64) for s in range(1, 13)])

    lab, ten = shots("lab"), shots("ten")
    assert ten.std() < 0.75 * lab.std()
    assert lab[:, :6, :6].mean(axis=(1, 2, 3)).std() > 3 * ten[:, :6, :6].mean(axis=(1, 2, 3)).std()


def test_ten_are_women_and_the_others_are_mixed() -> None:
    for style in STYLES:
        masculine = [identity(style, s).masculinity > 0.5 for s in range(1, 41)]
        assert sum(masculine) == 0 if style == "ten" else 8 < sum(masculine) < 32


def test_styles_and_seeds_share_nobody() -> None:
    people = [
        identity(style, subject, seed)
        for style in STYLES
        for subject in range(1, 31)
        for seed in (0, 1)
    ]
    assert len({person.eye_x + person.chin_y for person in people}) == len(people)


def test_neutral_at_difficulty_0_is_a_still_face() -> None:
    for person in PEOPLE:
        assert action_units("neutral", person, 0.0, np.random.default_rng(1)) == {}
    still = geometry(PEOPLE[0], {})
    again = geometry(PEOPLE[0], action_units("neutral", PEOPLE[0], 0.0, np.random.default_rng(2)))
    assert np.array_equal(still.upper_outer, again.upper_outer)
    assert np.array_equal(still.brows, again.brows)
    assert still.gap == 0


def strength(emotion: str, difficulty: float) -> list[float]:
    """Mean intensity of the prototype's units over people and draws."""
    return [
        float(np.mean([drawn.get(unit, 0.0) for unit in PROTOTYPES[emotion]]))
        for i, person in enumerate(PEOPLE * 6)
        for drawn in [action_units(emotion, person, difficulty, np.random.default_rng(i))]
    ]


@pytest.mark.parametrize("emotion", [e for e in EMOTIONS if e != "neutral"])
def test_difficulty_weakens_and_spreads_expressions(emotion: str) -> None:
    easy, hard = strength(emotion, 0.0), strength(emotion, 1.0)
    assert np.mean(hard) < 0.8 * np.mean(easy)
    assert np.std(hard) / np.mean(hard) > 1.2 * np.std(easy) / np.mean(easy)


def test_difficulty_0_shows_no_unit_of_another_emotion() -> None:
    for emotion in EMOTIONS:
        own = {*PROTOTYPES[emotion], *VARIANTS.get(emotion, (0, {}))[1]}
        for i, person in enumerate(PEOPLE):
            drawn = action_units(emotion, person, 0.0, np.random.default_rng(i))
            assert set(drawn) <= own
            assert all(0 < value <= STRONGEST for value in drawn.values())


@pytest.mark.parametrize("person", PEOPLE, ids=lambda p: "{}-{}".format(*p.key))
def test_action_units_move_what_facs_says(person: Identity) -> None:
    rest = face(person)
    corners = rest.corners
    smile, frown = face(person, au12=1).corners, face(person, au15=1).corners
    assert (smile[:, 1] < corners[:, 1]).all()  # y points down
    assert np.ptp(smile[:, 0]) > np.ptp(corners[:, 0])
    assert (frown[:, 1] > corners[:, 1]).all()
    assert np.ptp(face(person, au20=1).corners[:, 0]) > np.ptp(corners[:, 0])
    assert np.ptp(face(person, au23=1).corners[:, 0]) < np.ptp(corners[:, 0])

    dropped = face(person, au26=1)
    assert dropped.gap > 0.3
    assert dropped.gap > face(person, au25=1).gap > rest.gap == 0
    assert dropped.chin_y > rest.chin_y + 0.1

    inner, outer = face(person, au1=1).brows, face(person, au2=1).brows
    assert (rest.brows - inner)[:, 0, 1].min() > 0.1
    assert (rest.brows - outer)[:, 3, 1].min() > 0.1
    assert ((rest.brows - inner)[:, 0, 1] > (rest.brows - outer)[:, 0, 1]).all()
    frowning = face(person, au4=1).brows
    assert (frowning[:, 0, 1] > rest.brows[:, 0, 1]).all()
    assert np.ptp(frowning[:, 0, 0]) < np.ptp(rest.brows[:, 0, 0]) - 0.1

    wide, narrow = face(person, au5=1), face(person, au7=1)
    assert wide.eye_open > rest.eye_open > narrow.eye_open > 0
    lifted = face(person, au10=1, au25=0.5)
    assert lifted.upper_outer[12, 1] < face(person, au25=0.5).upper_outer[12, 1]
    assert face(person, au9=1).nose_tip_y < rest.nose_tip_y


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_curves_never_cross(emotion: str) -> None:
    for i, person in enumerate(PEOPLE):
        units = action_units(emotion, person, 1.0, np.random.default_rng(i))
        shape = geometry(person, units)
        lips = [shape.upper_outer, shape.upper_inner, shape.lower_inner, shape.lower_outer]
        for above, below in itertools.pairwise(lips):
            assert (below[:, 1] >= above[:, 1] - 1e-9).all()
        assert (shape.lower_lids[..., 1] >= shape.upper_lids[..., 1] - 1e-9).all()
        assert (np.diff(shape.upper_outer[:, 0]) > 0).all()
        assert shape.lower_outer[12, 1] < shape.chin_y - 0.05
        assert np.abs(shape.corners[:, 0]).max() < person.face_half_width


def test_every_emotion_changes_a_face_beyond_noise() -> None:
    still = render_action_units("studio", 6, {}, size=128).astype(int)
    again = render_action_units("studio", 6, {}, size=128).astype(int)
    assert np.array_equal(still, again)
    shown = [
        render_action_units("studio", 6, units, size=128).astype(int)
        for emotion, units in PROTOTYPES.items()
        if emotion != "neutral"
    ]
    for first, second in itertools.combinations([still, *shown], 2):
        changed = np.abs(first - second).max(axis=2)
        assert (changed > 12).mean() > 0.015


def test_errors_name_argument_value_and_choices() -> None:
    def message(**arguments: object) -> str:
        good: dict = {"style": "studio", "subject": 1, "session": 1, "emotion": "happy"}
        good |= arguments
        with pytest.raises(ValueError, match="puppets: ") as caught:
            render(
                good.pop("style"), good.pop("subject"), good.pop("session"), good.pop("emotion"),
                **good,
            )  # fmt: skip
        return str(caught.value)

    assert message(style="sudio") == (
        "puppets: style 'sudio' is unknown; choose one of studio, lab, ten (database.style)"
    )
    assert "'bored'" in message(emotion="bored")
    assert "surprise" in message(emotion="bored")
    assert "size 31" in message(size=31)
    assert "32" in message(size=31)
    assert "difficulty 1.5" in message(difficulty=1.5)
    assert "difficulty -0.1" in message(difficulty=-0.1)
    with pytest.raises(ValueError, match="action unit 12 at 2"):
        render_action_units("studio", 1, {12: 2.0})
    with pytest.raises(ValueError, match="action unit 99"):
        render_action_units("studio", 1, {99: 1.0})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"style": "colour"}, r"style 'colour'.*studio, lab, ten.*database\.style"),
        ({"subjects": 0}, r"subjects 0 .*at least 1.*database\.subjects"),
        ({"sessions": 0}, r"sessions 0 "),
        ({"size": 16}, r"size 16 .*32"),
        ({"difficulty": 2}, r"difficulty 2 .*\[0, 1\]"),
        ({"emotions": ["happy", "contempt"]}, r"emotion 'contempt'"),
    ],
)
def test_adapter_refuses_at_the_call(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Puppets(**arguments)


def test_adapter_counts_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    blank = np.zeros((128, 128, 3), np.uint8)
    monkeypatch.setattr("curation.databases.puppets.render", lambda *a, **k: blank)
    drawn = list(Puppets().rows())
    assert len(drawn) == 70 * 2 * 7
    assert len({row["source"] for row in drawn}) == len(drawn)
    assert len({row["subject"] for row in drawn}) == 70
    assert {key: value for key, value in drawn[0].items() if key != "image"} == {
        "emotion": "angry",
        "database": "puppets_studio",
        "subject": "puppets_studio/S001",
        "session": "1",
        "pose": "straight",
        "source": "puppets_studio/S001/1/angry",
    }
    for emotion in EMOTIONS:
        assert sum(row["emotion"] == emotion for row in drawn) == 140
    others = {row["subject"] for style in ("lab", "ten") for row in Puppets(style=style).rows()}
    assert not others & {row["subject"] for row in drawn}


def test_adapter_draws_what_render_draws_and_only_when_asked() -> None:
    database = Puppets("ten", subjects=10**6, sessions=1, size=32, emotions=["sad", "fear"])
    stream = database.rows()
    assert database.expected == {"sad": 10**6, "fear": 10**6}
    first, second, third = itertools.islice(stream, 3)
    assert [row["emotion"] for row in (first, second, third)] == ["sad", "fear", "sad"]
    assert third["subject"] == "puppets_ten/S002"
    assert np.array_equal(second["image"](), render("ten", 1, 1, "fear", size=32))


def faces_found(image: np.ndarray, cascade: cv2.CascadeClassifier) -> int:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    side = int(0.3 * len(image))
    return len(cascade.detectMultiScale(grey, 1.1, 5, minSize=(side, side)))


@pytest.mark.parametrize(
    "people", [pytest.param(2, id="42"), pytest.param(29, id="609", marks=pytest.mark.slow)]
)
def test_haar_cascade_finds_exactly_one_face(people: int) -> None:
    folder = Path(cv2.__file__).parent / "data"
    cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
    found = [
        faces_found(row["image"](), cascade)
        for style in STYLES
        for row in Puppets(style=style, subjects=people, sessions=1).rows()
    ]
    assert np.mean([count == 1 for count in found]) >= 0.99
