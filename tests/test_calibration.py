import numpy as np
import pytest

from classifiers.calibration import calibrate, fit_temperature, reliability, temper
from classifiers.statistics import BINS


def drawn(count, temperature, seed=0, classes=5):
    """Labels drawn from calibrated probabilities, and what a network too sure of them says."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(count, classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (true.cumsum(1) > generator.random((count, 1))).argmax(1)
    said = np.exp(logits * temperature) / np.exp(logits * temperature).sum(1, keepdims=True)
    return said, labels, true


@pytest.mark.parametrize("temperature", [0.5, 1, 2.5])
def test_the_planted_temperature_is_found(temperature):
    said, labels, true = drawn(20_000, temperature)
    assert fit_temperature(said, labels) == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(temper(said, temperature), true, atol=1e-9)


def test_a_temperature_keeps_order_and_sums():
    said, _, _ = drawn(100, 3)
    cooler = temper(said.astype(np.float32), 3)
    assert cooler.dtype == np.float32
    assert (cooler.argmax(1) == said.argmax(1)).all()
    np.testing.assert_allclose(cooler.sum(1), 1, atol=1e-6)
    assert np.isfinite(temper(np.array([[1.0, 0.0]]), 0.05)).all()


def test_few_pictures_all_right_make_no_certainty():
    said = np.tile([[0.9, 0.1], [0.2, 0.8]], (10, 1))
    heat = fit_temperature(said, np.tile([0, 1], 10))
    assert 0.2 < heat < 1
    assert 0.9 < temper(said, heat).max() < 0.995


def test_the_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
    found = reliability(probabilities, np.array([0, 1, 1, 1]))
    # half right at 0.9; right at 0.6; right at 1
    assert found["ece"] == pytest.approx((2 * 0.4 + 0.4 + 0) / 4)
    assert [b["n"] for b in found["bins"]] == [1, 2, 1]
    assert found["bins"][-1]["high"] == 1
    assert all(b["low"] <= b["confidence"] <= b["high"] for b in found["bins"])
    assert found["bins"][0]["high"] - found["bins"][0]["low"] == pytest.approx(1 / BINS)


def test_calibration_is_judged_on_people_it_was_not_fitted_on():
    said, labels, _ = drawn(3000, 3)
    folds, people = np.arange(3000) % 3, np.arange(3000) // 3
    found = calibrate(said, labels, folds, people.tolist(), seed=0)
    assert found["temperature"] == pytest.approx(3, rel=0.1)
    assert found["after"]["ece"] < 0.05 < found["before"]["ece"]
    assert found["after"]["loss"] < found["before"]["loss"]
    for side in ("before", "after"):
        low, high = found[side]["interval"]
        assert low <= high
        assert found[side]["n"] == 3000
    # labels of one fold that follow another rule: its own fit would please it, the others' cannot
    flipped = np.where(folds == 0, (labels + 1) % 5, labels)
    worse = calibrate(said, flipped, folds, people.tolist(), seed=0)
    own = temper(said[folds == 0], fit_temperature(said[folds == 0], flipped[folds == 0]))
    assert worse["after"]["ece"] > reliability(own, flipped[folds == 0])["ece"] + 0.1
