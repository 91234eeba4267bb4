import hashlib

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.stats import kstest

from curation.augment import KerasLayers, augment
from curation.corpus import Corpus, content_id, write_corpus

NOTHING = {"angle_deg": 0.0, "scale_x": 1.0, "scale_y": 1.0, "contrast": 1.0}
STILL = {"rotation": 0, "zoom": 0, "flip": False, "height": 0, "width": 0, "contrast": 0}
DRAWS = 4000


def noise(number, height=24, width=24):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def smooth(number, height=30, width=30):
    return cv2.GaussianBlur(noise(number, height, width), (0, 0), 4)


def drawn(**settings):
    """Parameter → all its values over many copies, with all other operators off."""
    operators = KerasLayers(**{**STILL, **settings})
    copies = [operators.draw(np.random.default_rng([1, n])) for n in range(DRAWS)]
    return {name: np.array([copy[name] for copy in copies]) for name in NOTHING}


def assert_uniform(values, low, high):
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high
    # one in a thousand true uniforms would fail; the seeds are fixed
    assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


def assert_still(values, *names):
    for name in names:
        assert (values[name] == NOTHING[name]).all()


def test_rotation_is_up_to_a_tenth_of_a_turn_to_either_side():
    values = drawn(rotation=0.1)
    assert_uniform(values["angle_deg"], -36, 36)
    assert_still(values, "scale_x", "scale_y", "contrast")


def test_zoom_samples_a_frame_between_0_9_and_1_1_as_large():
    values = drawn(zoom=0.1)
    assert_uniform(1 / values["scale_y"], 0.9, 1.1)
    assert values["scale_y"].min() >= 1 / 1.1
    assert values["scale_y"].max() <= 1 / 0.9
    np.testing.assert_array_equal(values["scale_x"], values["scale_y"])  # no squeezing
    assert_still(values, "angle_deg", "contrast")


def test_half_of_the_copies_are_mirrored():
    values = drawn(flip=True)
    assert set(values["scale_x"]) == {1, -1}
    # four standard deviations of a fair coin
    assert abs((values["scale_x"] < 0).mean() - 0.5) < 4 * 0.5 / DRAWS**0.5
    assert_still(values, "angle_deg", "scale_y", "contrast")


def test_height_changes_by_a_fifth_and_alone():
    values = drawn(height=0.2)
    assert_uniform(values["scale_y"], 0.8, 1.2)
    assert_still(values, "angle_deg", "scale_x", "contrast")


def test_width_changes_by_a_fifth_and_alone():
    values = drawn(width=0.2)
    assert_uniform(values["scale_x"], 0.8, 1.2)
    assert_still(values, "angle_deg", "scale_y", "contrast")


def test_operators_draw_on_their_own():
    values = drawn(rotation=0.1, height=0.2, width=0.2, contrast=0.2)
    apart = np.corrcoef([values[name] for name in NOTHING]) - np.eye(4)
    assert np.abs(apart).max() < 4 / DRAWS**0.5


def test_contrast_changes_by_a_fifth():
    values = drawn(contrast=0.2)
    assert_uniform(values["contrast"], 0.8, 1.2)
    assert_still(values, "angle_deg", "scale_x", "scale_y")


def test_the_defaults_are_the_recipe_of_the_paper():
    assert KerasLayers() == KerasLayers(0.1, 0.1, True, 0.2, 0.2, 0.2)
    copies = [KerasLayers().draw(np.random.default_rng(n)) for n in range(DRAWS)]
    values = {name: np.array([copy[name] for copy in copies]) for name in NOTHING}
    assert_uniform(values["angle_deg"], -36, 36)
    assert_uniform(values["contrast"], 0.8, 1.2)
    stretch = np.abs(values["scale_x"]) / values["scale_y"]  # height and width draw on their own
    assert stretch.min() < 0.75
    assert stretch.max() > 1.35
    assert 0.8 / 1.1 <= values["scale_y"].min() <= values["scale_y"].max() <= 1.2 / 0.9


def test_nothing_drawn_changes_nothing():
    for image in (noise(1), noise(2, 23, 31), noise(3, 16, 9)):
        np.testing.assert_array_equal(KerasLayers().apply(image, NOTHING), image)


def test_settings_of_zero_change_nothing():
    operators = KerasLayers(**STILL)
    assert operators.draw(np.random.default_rng(0)) == NOTHING


@pytest.mark.parametrize("shape", [(24, 24), (23, 31), (16, 9)])
def test_a_flip_mirrors_left_to_right(shape):
    image = noise(4, *shape)
    flipped = KerasLayers().apply(image, {**NOTHING, "scale_x": -1.0})
    np.testing.assert_array_equal(flipped, np.fliplr(image))


@pytest.mark.parametrize("side", [24, 25])
@pytest.mark.parametrize("turns", [-1, 1, 2])
def test_rotation_is_counter_clockwise(side, turns):
    image = noise(5, side, side)
    turned = KerasLayers().apply(image, {**NOTHING, "angle_deg": 90.0 * turns})
    np.testing.assert_array_equal(turned, np.rot90(image, turns))


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.2])
def test_contrast_scales_the_distance_from_each_channels_mean(factor):
    image = noise(6)
    image[..., 1] //= 4
    image[..., 2] = 200
    wanted = np.empty(image.shape)
    for channel in range(3):
        values = image[..., channel].astype(float)
        wanted[..., channel] = values.mean() + factor * (values - values.mean())
    changed = KerasLayers().apply(image, {**NOTHING, "contrast": factor})
    assert np.abs(changed - np.clip(wanted, 0, 255)).max() <= 0.51
    if factor > 1:
        assert wanted.max() > 255  # so that clipping is seen


def test_zooming_out_mirrors_the_edge_with_the_edge_pixel_twice():
    ramp = np.array([30, 60, 90, 120, 150, 180, 210, 240], np.uint8)  # d c b a | a b c d | d c b a
    image = np.broadcast_to(ramp[None, :, None], (8, 8, 3)).copy()
    shrunk = KerasLayers().apply(image, {**NOTHING, "scale_x": 0.5, "scale_y": 0.5})
    # each pixel lies midway between two: -3.5, -1.5, 0.5, 2.5, 4.5, 6.5, 8.5, 10.5
    wanted = np.array([105, 45, 45, 105, 165, 225, 225, 165])
    assert np.abs(shrunk[:, :, 0].astype(int) - wanted).max() <= 1


def sampled(image, parameters):
    """The same change by SciPy, from the layers one after another, for smooth pictures."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width)).astype(float)
    down, across = rows - (height - 1) / 2, columns - (width - 1) / 2
    down, across = down / parameters["scale_y"], across / parameters["scale_x"]
    turn = np.exp(1j * np.deg2rad(parameters["angle_deg"]))  # y upwards in the complex plane
    before = (across - 1j * down) / turn
    places = [-before.imag + (height - 1) / 2, before.real + (width - 1) / 2]
    channels = [
        map_coordinates(image[..., c].astype(float), places, order=1, mode="reflect")
        for c in range(3)
    ]
    warped = np.stack(channels, axis=-1)
    mean = warped.mean((0, 1))
    return np.clip(mean + parameters["contrast"] * (warped - mean), 0, 255)


@pytest.mark.parametrize("seed", range(6))
def test_copies_equal_rotation_then_stretch_with_mirrored_borders(seed):
    image = smooth(seed, 30, 26)
    parameters = KerasLayers().draw(np.random.default_rng(seed))
    changed = KerasLayers().apply(image, parameters)
    assert np.abs(changed - sampled(image, parameters)).max() < 1.6
    assert np.abs(changed - sampled(image, NOTHING)).max() > 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", -0.1),
        ("rotation", 1.5),
        ("zoom", 1),
        ("height", 1.0),
        ("width", -1),
        ("contrast", float("nan")),
    ],
)
def test_invalid_operators_are_told_with_their_key(name, value):
    with pytest.raises(ValueError, match=rf"augment\.operators\.{name} is {value}"):
        KerasLayers(**{name: value})


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

    def run(rows=ROWS, copies=5, seed=0, operators=None):
        source, out = tmp_path / f"in{len(made)}", tmp_path / f"out{len(made)}"
        source.mkdir()
        out.mkdir()
        made.append(out)
        write_corpus(rows, source)
        operators = operators or KerasLayers()
        facts = augment(corpus=source, operators=operators, copies=copies, seed=seed, out=out)
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


def test_a_copy_inherits_all_but_its_own_identity(augmented):
    corpus, _ = augmented()
    read = list(corpus.rows())
    parents = {one["id"]: one for one in read if one["origin"] == "real"}
    own = ("id", "image", "origin", "parent")
    for copy in read:
        if copy["origin"] == "geometric":
            parent = parents[copy["parent"]]
            inherited = {name: value for name, value in copy.items() if name not in own}
            assert inherited == {name: parent[name] for name in inherited}


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
    corpus, facts = augmented(copies=0)
    assert facts["origins"] == {"real": 4, "geometric": 0}
    assert len(corpus) == 4
    with pytest.raises(ValueError, match=r"augment\.copies is -1; it must be 0 or more"):
        augmented(copies=-1)
