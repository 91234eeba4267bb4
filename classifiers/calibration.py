"""Calibration: does a probability of 0.8 mean right in eight of ten cases?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from classifiers.statistics import BINS, calibration_bins, expected_calibration_error

_DRAWS = 200
_TINY = 1e-30


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities as if their logits had been divided by a temperature.

    Softmax forgets what is added to all logits, so the logarithms of its outputs serve as well.

    Args:
        probabilities: (N, C).
        temperature: Over 0; above 1 makes them less sure, below 1 surer.

    Returns:
        (N, C) of the same type.
    """
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(probabilities.dtype)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of least negative log-likelihood.

    Guo et al. 2017, section 4.2 (arXiv:1706.04599). The order of the classes is not changed.
    Labels are softened as if one more picture had been labelled by lot (after Platt 1999):
    otherwise a network that is right about every one of few pictures would be made certain.

    Args:
        probabilities: Of pictures that the network did not learn from, (N, C).
        labels: (N,) integers.

    Returns:
        A temperature in [0.05, 20].
    """
    by_lot = 1 / (len(labels) + 1)

    def loss(log_temperature: float) -> float:
        tempered = temper(probabilities, float(np.exp(log_temperature)))
        any_label = -np.log(np.maximum(tempered, _TINY)).mean()
        return (1 - by_lot) * likelihood_loss(tempered, labels) + by_lot * float(any_label)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def likelihood_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood, in nats."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, _TINY)).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return the reliability diagram and its expected calibration error.

    Guo et al. 2017, eq. 2–3: 15 bins of equal width by the probability of the first choice.

    Args:
        probabilities: (N, C).
        labels: (N,) integers.

    Returns:
        ``ece`` (`expected_calibration_error`), ``loss`` (`likelihood_loss`), ``n`` and ``bins``,
        of those that are not empty: ``low``, ``high``, ``n``, ``confidence``, ``accuracy``.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = calibration_bins(confidence)
    bins = [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "n": int(own.sum()),
            "confidence": float(confidence[own].mean()),
            "accuracy": float(right[own].mean()),
        }
        for number in range(BINS)
        if (own := place == number).any()
    ]
    return {
        "ece": expected_calibration_error(confidence, right),
        "loss": likelihood_loss(probabilities, labels),
        "n": len(labels),
        "bins": bins,
    }


def calibrate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    people: Sequence[object],
    *,
    seed: int,
) -> dict[str, Any]:
    """Find the temperature of a cross-fitted ensemble, and say what it is worth on new people.

    Args:
        probabilities: Of each real face by the network that never saw its person, (N, C).
        labels: (N,) integers.
        folds: Which network that was, (N,), at least two.
        people: Who is on each, (N,).
        seed: Of the intervals.

    Returns:
        ``temperature``, fitted on all; ``before`` and ``after`` (`reliability`, with ``interval``
        of the error, 95 %, by drawing people anew). For ``after``, the faces of each fold have
        the temperature of the other folds' people, so that nothing is judged by its own fit.
    """
    after = np.empty_like(probabilities)
    for fold in np.unique(folds):
        own = folds == fold
        after[own] = temper(probabilities[own], fit_temperature(probabilities[~own], labels[~own]))
    names, codes = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    rows_of = [np.flatnonzero(codes == code) for code in range(len(names))]
    generator = np.random.default_rng([seed, len(labels)])
    draws = [
        np.concatenate([rows_of[who] for who in generator.integers(0, len(names), len(names))])
        for _ in range(_DRAWS)
    ]

    def judged(values: np.ndarray) -> dict[str, Any]:
        errors = [reliability(values[rows], labels[rows])["ece"] for rows in draws]
        low, high = np.quantile(errors, (0.025, 0.975))
        return {**reliability(values, labels), "interval": [float(low), float(high)]}

    return {
        "temperature": fit_temperature(probabilities, labels),
        "before": judged(probabilities),
        "after": judged(after),
    }
