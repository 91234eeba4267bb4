import math
import pickle
import random
import sys
import types
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import map_coordinates
from scipy.stats import kstest
from torchvision.transforms import v2

from curation import operators
from curation.operators import (
    Albumentations,
    Chain,
    Contrast,
    Flip,
    Height,
    Rotation,
    Torchvision,
    Width,
    Zoom,
    compose,
    scale_contrast,
    warp,
)

CONF = Path(__file__).parents[1] / "conf" / "augment"
DRAWS = 4000
STILL = (1.0, 0.0, 0.0, 1.0)


def noise(number, height=24, width=24):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def smooth(number, height=30, width=30, sigma=4):
    return cv2.GaussianBlur(noise(number, height, width), (0, 0), sigma)


def turn(degrees):
    angle = math.radians(degrees)
    return (math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle))


def preset(name):
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml").operators)


def drawn(operator):
    """Every map that an operator draws for many copies, (N, 4): xx, xy, yx, yy."""
    return np.array([operator.draw(np.random.default_rng([1, n])) for n in range(DRAWS)])


def assert_uniform(values, low, high):
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high
    # one in a thousand true uniforms would fail; the seeds are fixed
    assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


def test_rotation_is_up_to_a_tenth_of_a_turn_to_either_side():
    maps = drawn(Rotation(0.1))
    angles = np.degrees(np.arctan2(maps[:, 2], maps[:, 0]))
    assert_uniform(angles, -36, 36)
    np.testing.assert_allclose(maps, [turn(angle) for angle in angles], atol=1e-12)


def test_zoom_takes_in_a_frame_between_0_9_and_1_1_as_large():
    maps = drawn(Zoom(0.1))
    assert_uniform(maps[:, 0], 0.9, 1.1)
    np.testing.assert_array_equal(maps[:, 3], maps[:, 0])  # no squeezing
    assert not maps[:, 1:3].any()


def test_half_of_the_copies_are_mirrored():
    maps = drawn(Flip(0.5))
    assert set(maps[:, 0]) == {1, -1}
    # four standard deviations of a fair coin
    assert abs((maps[:, 0] < 0).mean() - 0.5) < 4 * 0.5 / DRAWS**0.5
    np.testing.assert_array_equal(maps[:, 1:], np.tile([0.0, 0.0, 1.0], (DRAWS, 1)))


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, 0), (0.2, 0.2), (1.0, 1)])
def test_any_share_of_the_copies_can_be_mirrored(probability, mirrored):
    share = (drawn(Flip(probability))[:, 0] < 0).mean()
    assert abs(share - mirrored) <= 4 * (mirrored * (1 - mirrored) / DRAWS) ** 0.5


def test_height_changes_by_a_fifth_and_alone():
    maps = drawn(Height(0.2))
    assert_uniform(1 / maps[:, 3], 0.8, 1.2)
    np.testing.assert_array_equal(maps[:, :3], np.tile([1.0, 0.0, 0.0], (DRAWS, 1)))


def test_width_changes_by_a_fifth_and_alone():
    maps = drawn(Width(0.2))
    assert_uniform(1 / maps[:, 0], 0.8, 1.2)
    np.testing.assert_array_equal(maps[:, 1:], np.tile([0.0, 0.0, 1.0], (DRAWS, 1)))


def test_a_range_can_lie_to_one_side():
    assert_uniform(1 / drawn(Height([-0.1, 0.3]))[:, 3], 0.9, 1.3)
    assert_uniform(drawn(Zoom((-0.2, 0.0)))[:, 0], 0.8, 1.0)
    assert set(drawn(Zoom([0.1, 0.1]))[:, 0]) == {1.1}


def test_contrast_changes_by_a_fifth():
    picture = np.full((8, 8, 3), 28, np.uint8)
    picture[::2] = 228  # mean 128: 200 apart, and 240 apart at most, so that nothing is clipped
    copies = [Contrast(0.2)(picture, np.random.default_rng([1, n])) for n in range(DRAWS)]
    apart = np.array([np.ptp(copy) / 200 for copy in copies])
    assert_uniform(apart, 0.8, 1.2)


@pytest.fixture
def seen(monkeypatch):
    """What a chain asks of `warp` and `scale_contrast`: maps and factors, copy by copy."""
    asked = types.SimpleNamespace(maps=[], factors=[])
    monkeypatch.setattr(operators, "warp", lambda image, to: asked.maps.append(to) or image)
    monkeypatch.setattr(
        operators, "scale_contrast", lambda image, to: asked.factors.append(to) or image
    )
    return asked


def test_the_preset_of_protocol_1_is_the_recipe_of_the_paper(seen):
    recipe = preset("randellini2022")
    kinds = [Rotation, Zoom, Flip, Height, Width, Contrast]
    assert [type(step) for step in recipe.steps] == kinds
    for number in range(DRAWS):
        recipe(noise(0), np.random.default_rng(number))
    assert len(seen.maps) == len(seen.factors) == DRAWS  # one warp and one contrast a copy
    xx, xy, yx, yy = np.array(seen.maps).T
    # rotation · diag(x, y), where the flip is the sign of x
    angles = np.degrees(np.arctan2(-xy, yy))
    down, across = np.hypot(xy, yy), np.hypot(xx, yx)
    mirrored = xx * yy < xy * yx
    assert_uniform(angles, -36, 36)
    assert_uniform(np.array(seen.factors), 0.8, 1.2)
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / DRAWS**0.5
    for scale in (across, down):  # (1 ± zoom) / (1 ± stretch)
        assert 0.9 / 1.2 <= scale.min() < 0.9 / 1.15
        assert 1.1 / 0.85 < scale.max() <= 1.1 / 0.8
    # height and width draw on their own, zoom moves both
    assert 0.8 / 1.2 <= (across / down).min() < 0.72
    apart = np.corrcoef([angles, mirrored, seen.factors, np.log(across / down), across * down])
    assert np.abs(apart - np.eye(5)).max() < 4 / DRAWS**0.5


def test_flip_preset_mirrors_every_face():
    for number in range(20):
        copy = preset("flip")(noise(1), np.random.default_rng(number))
        np.testing.assert_array_equal(copy, np.fliplr(noise(1)))


GEOMETRY = (Rotation(0.1), Zoom(0.1), Flip(0.5), Height(0.2), Width(0.2))


def layers(rng, height, width):
    """Keras's layers as functions of places, (x, y) in the output → (x, y) in the input."""
    right, bottom = width - 1, height - 1
    angle = 2 * math.pi * GEOMETRY[0].drawn(rng)
    scale = 1 + GEOMETRY[1].drawn(rng)
    flip = rng.random() < 0.5
    tall, broad = 1 + GEOMETRY[3].drawn(rng), 1 + GEOMETRY[4].drawn(rng)
    cosine, sine = math.cos(angle), math.sin(angle)

    def rotate(x, y):
        x_offset = (right - (cosine * right - sine * bottom)) / 2
        y_offset = (bottom - (sine * right + cosine * bottom)) / 2
        return cosine * x - sine * y + x_offset, sine * x + cosine * y + y_offset

    def zoom(x, y):
        return scale * x + right / 2 * (1 - scale), scale * y + bottom / 2 * (1 - scale)

    def mirror(x, y):
        return (right - x if flip else x), y

    def heighten(x, y):  # resized about pixel corners, then the middle of it
        return x, (y + (tall * height - height) / 2 + 0.5) / tall - 0.5

    def widen(x, y):
        return (x + (broad * width - width) / 2 + 0.5) / broad - 0.5, y

    return [rotate, zoom, mirror, heighten, widen]


@pytest.mark.parametrize("seed", range(20))
def test_one_warp_takes_every_pixel_from_where_keras_layers_one_by_one_take_it(seed, seen):
    height, width = 31, 24
    Chain(GEOMETRY)(noise(0, height, width), np.random.default_rng(seed))
    (found,) = seen.maps
    y, x = np.indices((height, width)).astype(float)
    wanted = x, y
    for layer in reversed(layers(np.random.default_rng(seed), height, width)):
        wanted = layer(*wanted)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    taken = found[0] * x + found[1] * y, found[2] * x + found[3] * y
    np.testing.assert_allclose(taken[0] + (width - 1) / 2, wanted[0], atol=1e-10)
    np.testing.assert_allclose(taken[1] + (height - 1) / 2, wanted[1], atol=1e-10)


def sampled(picture, x, y):
    """Bilinear values at places, mirrored with the edge pixel twice: (H, W, 3) float64."""
    channels = [
        map_coordinates(picture[..., channel], [y, x], order=1, mode="reflect")
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("seed", range(8))
def test_copies_look_as_keras_layers_one_by_one_make_them(seed):
    side = 64
    picture = cv2.GaussianBlur(noise(seed, side, side).astype(float), (0, 0), 7)
    picture = (
        128 + 80 * (picture - picture.mean()) / np.abs(picture - picture.mean()).max()
    ).round()
    places = np.indices((side, side)).astype(float)[::-1]
    slow, inside = picture, np.ones((side, side), bool)
    for layer in layers(np.random.default_rng(seed), side, side):
        x, y = layer(*places)
        # what a layer mirrors in is the canvas as the layers before left it; one warp has the face
        kept = sampled(np.repeat(inside[..., None], 3, 2).astype(float), x, y)[..., 0] == 1
        inside = kept & (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= side - 1)
        slow = sampled(slow, x, y)
    fast = Chain(GEOMETRY)(picture.astype(np.uint8), np.random.default_rng(seed))
    assert inside.mean() > 0.4
    # rounding, and five resamplings blur a little more than one
    assert np.abs(fast - slow)[inside].max() < 1.5
    assert np.abs(fast - picture)[inside].max() > 20


@pytest.mark.parametrize("seed", range(6))
def test_the_whole_recipe_equals_the_composed_map_with_mirrored_margins(seed):
    picture = smooth(seed, 30, 26)
    rng = np.random.default_rng(seed)
    x, y = np.indices((30, 26)).astype(float)[::-1]
    for layer in reversed(layers(rng, 30, 26)):
        x, y = layer(x, y)
    warped = sampled(picture.astype(float), x, y)
    mean = warped.mean((0, 1))
    wanted = np.clip(mean + (1 + Contrast(0.2).drawn(rng)) * (warped - mean), 0, 255)
    copy = preset("randellini2022")(picture, np.random.default_rng(seed))
    assert np.abs(copy - wanted).max() < 1.6
    assert np.abs(copy - picture.astype(float)).max() > 10


# one channel, and what Keras 3.15.1 makes of it by RandomRotation((0.07, 0.07)) and
# RandomZoom((±0.3, ±0.3)), which leave nothing to chance
PICTURE = """95 130 194 217 207 235; 15 163 33 215 217 130; 248 189 16 69 184 232;
             205 78 169 61 125 10; 29 240 66 19 182 39"""
TURNED = """135.73 193.64 214.68 212.04 167.56 155.99; 118.08 131.10 129.24 183.94 196.20 196.56;
            53.64 151.62 23.45 66.41 134.55 39.66; 210.81 181.28 118.21 103.78 89.00 132.45;
            215.96 154.75 161.51 61.26 19.93 167.41"""
ZOOMED_OUT = """95.00 114.25 184.40 215.50 219.60 235.00; 39.00 101.76 92.07 215.36 190.38 161.50;
                248.00 215.55 41.95 86.25 205.60 232.00; 152.20 138.12 136.38 62.46 86.57 18.70;
                29.00 145.05 92.10 43.45 117.65 39.00"""
ZOOMED_IN = """124.10 126.22 115.16 198.04 214.26 202.75; 149.32 106.50 49.40 149.70 190.94 195.48;
               203.75 111.15 23.95 61.05 132.25 196.00; 137.95 116.61 114.14 72.36 107.02 126.18;
               140.75 136.05 115.26 56.74 101.18 116.25"""


def table(text):
    return np.array([row.split() for row in text.split(";")], float)


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (Rotation([0.07, 0.07]), TURNED),
        (Zoom([0.3, 0.3]), ZOOMED_OUT),
        (Zoom([-0.3, -0.3]), ZOOMED_IN),
    ],
    ids=["rotation", "zoom out", "zoom in"],
)
def test_pixels_are_those_of_keras_itself(operator, wanted):
    picture = np.repeat(table(PICTURE).astype(np.uint8)[..., None], 3, axis=2)
    wanted = table(wanted)[..., None]
    xx, xy, yx, yy = operator.draw(np.random.default_rng(0))
    y, x = np.indices((5, 6)) - np.array([2, 2.5])[:, None, None]
    places = xx * x + xy * y + 2.5, yx * x + yy * y + 2
    assert np.abs(sampled(picture.astype(float), *places) - wanted).max() < 0.01
    # OpenCV knows places to 1/32 pixel, and this picture leaps from black to white within one
    assert np.abs(operator(picture, np.random.default_rng(0)) - wanted).max() < 235 / 64


def test_no_map_changes_nothing():
    for image in (noise(1), noise(2, 23, 31), noise(3, 16, 9)):
        np.testing.assert_array_equal(warp(image, STILL), image)


@pytest.mark.parametrize("shape", [(24, 24), (23, 31), (16, 9)])
def test_a_flip_mirrors_left_to_right(shape):
    image = noise(4, *shape)
    flipped = Flip(1.0)(image, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, np.fliplr(image))


@pytest.mark.parametrize("side", [24, 25])
@pytest.mark.parametrize("turns", [-1, 1, 2])
def test_rotation_is_counter_clockwise(side, turns):
    image = noise(5, side, side)
    turned = Rotation([turns / 4, turns / 4])(image, np.random.default_rng(0))
    np.testing.assert_array_equal(turned, np.rot90(image, turns))


def test_directions_of_zoom_height_and_width():
    face = np.zeros((41, 41, 3), np.uint8)
    face[10:31, 10:31] = 255  # a white square in the middle

    def size(operator):
        copy = operator(face, np.random.default_rng(0))[..., 0] > 127
        return copy.any(1).sum(), copy.any(0).sum()

    assert size(Zoom([-0.2, -0.2])) == (27, 27)  # 21 / 0.8
    assert size(Zoom([0.2, 0.2])) == (17, 17)  # 21 / 1.2
    assert size(Height([0.2, 0.2])) == (25, 21)  # 21 · 1.2
    assert size(Width([-0.2, -0.2])) == (21, 17)  # 21 · 0.8


def test_the_edge_is_mirrored_with_the_edge_pixel_twice():
    ramp = np.array([30, 60, 90, 120, 150, 180, 210, 240], np.uint8)  # d c b a | a b c d | d c b a
    image = np.broadcast_to(ramp[None, :, None], (8, 8, 3)).copy()
    shrunk = warp(image, (2.0, 0.0, 0.0, 2.0))
    # each pixel lies midway between two: -3.5, -1.5, 0.5, 2.5, 4.5, 6.5, 8.5, 10.5
    wanted = np.array([105, 45, 45, 105, 165, 225, 225, 165])
    assert np.abs(shrunk[:, :, 0].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("linear", [(4.3, 0.0, 0.0, 5.1), (2.0, -2.5, 2.5, 2.0)])
def test_the_edge_is_mirrored_again_and_again_where_the_frame_is_wider_than_the_face(linear):
    image = smooth(8, 9, 11, sigma=2)
    y, x = np.indices((9, 11)).astype(float) - np.array([4, 5])[:, None, None]
    xx, xy, yx, yy = linear
    wanted = sampled(image.astype(float), xx * x + xy * y + 5, yx * x + yy * y + 4)
    assert np.abs(warp(image, linear) - wanted).max() < 1


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.0, 1.2, 2.0])
def test_contrast_scales_the_distance_from_each_channels_mean(factor):
    image = noise(6, 24, 19)
    image[..., 1] //= 4
    image[..., 2] = 200
    means = image.reshape(-1, 3).mean(0)
    wanted = np.clip(means + factor * (image - means), 0, 255)
    # half a level by rounding, and what the steps of the shifts add
    step = abs(1 - factor) * np.ptp(means) / 255
    assert np.abs(scale_contrast(image, factor) - wanted).max() <= 0.5 + step / 2 + 1e-3
    if factor > 1:
        assert wanted.max() == 255  # so that clipping is seen
    if factor == 1:
        np.testing.assert_array_equal(scale_contrast(image, factor), image)


def test_contrast_of_a_grey_face_stays_grey():
    grey = np.repeat(noise(7)[..., :1], 3, axis=2)
    copy = scale_contrast(grey, 1.17)
    assert (np.ptp(copy, axis=2) == 0).all()
    assert np.abs(copy - np.clip(grey.mean() + 1.17 * (grey - grey.mean()), 0, 255)).max() < 0.51


def test_the_order_of_a_chain_is_the_order_of_its_steps(seen):
    rotation, width = Rotation([0.1, 0.1]), Width([0.2, 0.2])
    Chain([rotation, width])(noise(0), np.random.default_rng(0))
    Chain([width, rotation])(noise(0), np.random.default_rng(0))
    stretch = np.diag([1 / 1.2, 1])
    turned = np.reshape(turn(36), (2, 2))
    np.testing.assert_allclose(np.reshape(seen.maps[0], (2, 2)), turned @ stretch)
    np.testing.assert_allclose(np.reshape(seen.maps[1], (2, 2)), stretch @ turned)


def test_compose_is_a_product_of_matrices():
    first, second = np.random.default_rng(0).normal(size=(2, 2, 2))
    found = compose(tuple(first.ravel()), tuple(second.ravel()))
    np.testing.assert_allclose(np.reshape(found, (2, 2)), first @ second)


def test_an_operator_of_anybodys_stands_where_it_is_named():
    def darken(image, rng):
        return image // 2 + rng.integers(2, dtype=np.uint8)

    image, steps = noise(9), [Rotation(0.1), Flip(0.5), darken, Zoom(0.1)]
    copy = Chain(steps)(image, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    wanted = warp(image, compose(steps[0].draw(rng), steps[1].draw(rng)))
    wanted = warp(darken(wanted, rng), steps[3].draw(rng))
    np.testing.assert_array_equal(copy, wanted)


def test_a_face_is_left_as_it_was():
    image = noise(10)
    image.flags.writeable = False
    recipes = ("randellini2022", "flip", "randaugment", "trivialaugment")
    for name in recipes:
        copy = preset(name)(image, np.random.default_rng(0))
        assert copy.shape == image.shape
        assert copy.dtype == np.uint8
    np.testing.assert_array_equal(image, noise(10))


@pytest.mark.parametrize("kind", [Rotation, Zoom, Height, Width, Contrast])
@pytest.mark.parametrize(
    "factor", [-0.1, 1.5, float("nan"), [0.2, 0.1], [-0.1, 2], [0.1], [float("nan"), 0.1], []]
)
def test_a_range_that_is_none_is_told(kind, factor):
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.factor is .*augment\.operators"):
        kind(factor)


@pytest.mark.parametrize("kind", [Zoom, Height, Width])
def test_nothing_shrinks_to_nothing(kind):
    with pytest.raises(ValueError, match="over -1"):
        kind(1)
    assert kind([-0.9, 1]).low == -0.9
    assert Contrast(1).low == Rotation(1).low == -1


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_that_is_none_is_told(probability):
    with pytest.raises(ValueError, match=r"Flip\.probability is .*augment\.operators"):
        Flip(probability)


def test_a_chain_that_changes_nothing_is_refused():
    still = [kind(0) for kind in (Rotation, Zoom, Height, Width, Contrast)] + [Flip(0)]
    with pytest.raises(ValueError, match=r"augment\.operators changes nothing \(Rotation.*none"):
        Chain(still)
    with pytest.raises(ValueError, match="empty"):
        Chain([])
    assert len(Chain([*still, Flip(0.1)]).steps) == 7


ALL = ("randellini2022", "flip", "randaugment", "trivialaugment", "albumentations")


def ready(name):
    if name == "albumentations":
        pytest.importorskip("albumentations", reason="albumentations is an optional package")
    return preset(name)


def pollute(seed):
    """Move every generator that a library could secretly draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.mark.parametrize("name", ALL)
def test_a_copy_depends_on_its_generator_only(name):
    recipe, image = ready(name), smooth(11, 40, 40)
    pollute(1)
    first = [recipe(image, np.random.default_rng(n)) for n in range(12)]
    pollute(2)
    again = pickle.loads(pickle.dumps(recipe))  # as in another process
    backwards = [again(image, np.random.default_rng(n)) for n in reversed(range(12))][::-1]
    np.testing.assert_array_equal(first, backwards)
    different = {copy.tobytes() for copy in first}
    assert len(different) >= (1 if name == "flip" else 9)  # RandAugment may draw Identity twice


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_torchs_own_generator_is_left_alone(name):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    preset(name)(noise(12), np.random.default_rng(0))
    assert torch.equal(torch.rand(4), wanted)


def test_transforms_may_end_as_tensors_or_grey():
    image = smooth(13)
    noisy = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise()])
    copy = Torchvision(noisy)(image, np.random.default_rng(0))
    assert copy.shape == image.shape
    assert 10 < np.std(copy.astype(float) - image) < 30  # sigma 0.1 of 255, less where clipped
    grey = Torchvision(v2.Grayscale())(image, np.random.default_rng(0))
    assert np.abs(grey - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(int)).max() <= 1


def test_without_albumentations_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(ModuleNotFoundError, match=r"opencv-python-headless.*--no-deps"):
        Albumentations({"transforms": []})


@pytest.fixture
def stand_in(monkeypatch):
    """A module in albumentations' place that keeps what it is given."""

    def from_dict(given):
        if "turn" in given["transform"]:
            warnings.warn("Argument(s) 'turn' are not valid", UserWarning, stacklevel=1)
        if "transforms" not in given["transform"]:
            raise KeyError("transforms")
        composed = types.SimpleNamespace(given=given, seeds=[])

        class Composed:
            set_random_seed = composed.seeds.append

            def __call__(self, image):
                return {"image": image + np.uint8(composed.seeds[-1] % 7)}

        composed.call = Composed()
        made.append(composed)
        return composed.call

    made = []
    module = types.SimpleNamespace(from_dict=from_dict, __version__="2.0.8")
    monkeypatch.setitem(sys.modules, "albumentations", module)
    return made


def test_a_pipeline_reaches_albumentations_as_plain_containers_and_is_seeded(stand_in):
    operator = preset("albumentations")
    node = OmegaConf.load(CONF / "albumentations.yaml").operators.pipeline
    assert stand_in[0].given == {"transform": OmegaConf.to_container(node)}
    assert type(stand_in[0].given["transform"]) is dict
    assert type(stand_in[0].given["transform"]["transforms"]) is list
    copies = [operator(noise(0), np.random.default_rng(n)) for n in (5, 6, 5)]
    seeds = stand_in[0].seeds
    assert seeds[0] == seeds[2] != seeds[1]
    np.testing.assert_array_equal(copies[0], copies[2])
    np.testing.assert_array_equal(copies[0], noise(0) + np.uint8(seeds[0] % 7))


@pytest.mark.parametrize("pipeline", [{"transforms": [], "turn": 3}, {"p": 1.0}])
def test_a_pipeline_that_albumentations_does_not_take_is_an_error(stand_in, pipeline):
    with pytest.raises(ValueError, match=r"albumentations 2\.0\.8 .*augment\.operators\.pipeline"):
        Albumentations(pipeline)


def test_the_albumentations_preset_is_taken_and_a_misspelt_argument_is_not():
    pytest.importorskip("albumentations", reason="albumentations is an optional package")
    pipeline = OmegaConf.to_container(
        OmegaConf.load(CONF / "albumentations.yaml").operators.pipeline
    )
    Albumentations(pipeline)
    pipeline["transforms"][0]["turn"] = 3
    with pytest.raises(ValueError, match="turn"):
        Albumentations(pipeline)
