import cv2
import numpy as np
import pytest

from curation.align import TEMPLATE
from curation.corpus import COLUMNS, QUALITY
from curation.detect import Box, Face
from curation.puppets import render
from curation.quality import (
    MEASURES,
    check_limits,
    clipped,
    exposure,
    measure,
    middle,
    out_of_limits,
    sharpness,
)

WHOLE = Face(Box(0, 0, 64, 64))


@pytest.fixture(scope="module")
def grey():
    picture = render("studio", 3, 1, "happy", size=128, difficulty=0.4)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def blurred(image, sigma):
    return cv2.GaussianBlur(image, (0, 0), sigma)


def test_white_noise_has_the_kernels_sum_of_squares():
    noise = np.random.default_rng(0).normal(128, 20, (400, 400)).clip(0, 255).astype(np.uint8)
    assert sharpness(noise) == pytest.approx(20, rel=0.05)


def test_a_wave_has_the_sharpness_of_its_frequency():
    # the Laplacian of cos(kx) is −2 (1 − cos k) cos(kx)
    for period in (4, 8, 16):
        wave = 128 + 100 * np.cos(2 * np.pi * np.arange(322) / period)
        image = np.repeat(wave.round().astype(np.uint8)[None], 50, axis=0)
        expected = (2 * (1 - np.cos(2 * np.pi / period))) ** 2
        assert sharpness(image) == pytest.approx(expected, rel=0.05)


def test_blur_lowers_sharpness_step_by_step(grey):
    values = [sharpness(grey)] + [sharpness(blurred(grey, sigma)) for sigma in (0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]


def test_brightness_and_contrast_leave_sharpness_as_it_is(grey):
    flat = (60 + grey * 0.4).round().astype(np.uint8)
    assert sharpness(flat) == pytest.approx(sharpness(grey), rel=0.05)
    brighter = (30 + grey * 0.8).round().astype(np.uint8)
    assert sharpness(brighter) == pytest.approx(sharpness(grey), rel=0.05)


def test_a_face_that_was_enlarged_is_less_sharp(grey):
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    assert sharpness(enlarged) < 0.3 * sharpness(grey)


def test_a_flat_picture_has_no_sharpness():
    assert sharpness(np.full((30, 30), 90, np.uint8)) == 0


def test_exposure_is_the_mean_and_clipping_what_it_hides():
    half = np.zeros((20, 20), np.uint8)
    half[:, 10:] = 255
    assert exposure(half) == pytest.approx(0.5)
    assert clipped(half) == 1.0
    even = np.full((20, 20), 128, np.uint8)
    assert exposure(even) == pytest.approx(128 / 255)
    assert clipped(even) == 0.0
    even[:5] = 255
    assert clipped(even) == 0.25


def test_only_the_middle_counts():
    image = np.full((100, 100, 3), 128, np.uint8)
    measures = measure(image, WHOLE)
    image[:10], image[-10:], image[:, :10], image[:, -10:] = 255, 0, 255, 0
    assert measure(image, WHOLE) == measures
    assert middle(image).shape == (70, 70, 3)
    image[50, 50] = 0
    assert measure(image, WHOLE) != measures


def test_what_the_detector_knows_is_measured():
    points = ((TEMPLATE * 80) + [10, 20]).astype(np.float32)
    measures = measure(np.zeros((64, 64), np.uint8), Face(Box(5, 5, 70, 90), 0.75, points))
    assert measures["detector_score"] == 0.75
    assert measures["face_px"] == 90
    assert measures["angle_deg"] == pytest.approx(
        np.degrees(np.arctan2(-0.1949, 35.2392)), abs=0.01
    )
    assert measures["landmark_error"] == pytest.approx(0, abs=1e-4)


def test_what_the_detector_does_not_know_is_none():
    measures = measure(np.zeros((64, 64), np.uint8), WHOLE)
    unknown = {name for name, value in measures.items() if value is None}
    assert unknown == {"detector_score", "angle_deg", "landmark_error"}


def test_measures_are_the_columns_and_two_more():
    assert set(measure(np.zeros((64, 64), np.uint8), WHOLE)) == set(MEASURES)
    assert set(QUALITY) == set(MEASURES) & set(COLUMNS)


def test_limits_name_the_measure_and_the_value():
    measures = dict.fromkeys(MEASURES, 0.5)
    assert out_of_limits(measures, {}) is None
    assert out_of_limits(measures, {"sharpness": (0.5, 0.5)}) is None
    reason, detail = out_of_limits(measures, {"exposure": (0, 1), "sharpness": (0.6, None)})
    assert (reason, detail) == ("sharpness out of limits", "0.5, not in 0.6…")
    reason, detail = out_of_limits(measures, {"clipped": (None, 0.25)})
    assert (reason, detail) == ("clipped out of limits", "0.5, not in …0.25")


def test_what_is_unknown_is_within_limits():
    measures = {**dict.fromkeys(MEASURES, 0.5), "landmark_error": None}
    assert out_of_limits(measures, {"landmark_error": (0.0, 0.1)}) is None


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"blur": [0, 1]}, r"no quality 'blur' .*sharpness.*\(standardise\.limits\.blur\)"),
        ({"sharpness": [1]}, r"write \[lowest, highest\].*\(standardise\.limits\.sharpness\)"),
        ({"sharpness": "01"}, r"write \[lowest, highest\]"),
        ({"exposure": [0.9, 0.1]}, r"leave nothing: 0\.9 is over 0\.1"),
    ],
)
def test_impossible_limits_are_told(limits, text):
    with pytest.raises(ValueError, match=text):
        check_limits(limits)


def test_limits_on_one_side_are_possible():
    check_limits({"sharpness": [0.1, None], "landmark_error": [None, 0.3], "exposure": [0.1, 0.9]})
