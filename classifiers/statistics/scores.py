"""Scores of classifications: labels, predictions and probabilities in, shares out."""

import numpy as np

BINS = 15


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count predictions: (C, C) int64, rows the truth, columns the prediction.

    Args:
        truth: (N,) integers 0 … C − 1.
        predicted: (N,) integers 0 … C − 1.
        classes: C.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} must be (N,)")
    both = np.concatenate([truth, predicted])
    if len(both) and not 0 <= both.min() <= both.max() < classes:
        raise ValueError(f"labels must lie in 0 … {classes - 1}, got {both.min()} … {both.max()}")
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def precision_recall(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of each class from a confusion matrix.

    Args:
        confusion: (C, C) counts, rows the truth.

    Returns:
        Two (C,) arrays in [0, 1]; nan where nothing was predicted as (precision) or belongs to
        (recall) the class.
    """
    hits = np.diag(confusion).astype(float)
    predicted, belonging = confusion.sum(0), confusion.sum(1)
    nan = np.full(len(hits), np.nan)
    precision = np.divide(hits, predicted, out=nan.copy(), where=predicted > 0)
    recall = np.divide(hits, belonging, out=nan.copy(), where=belonging > 0)
    return precision, recall


def accuracy(confusion: np.ndarray) -> float:
    """Return the share of hits of a (C, C) confusion matrix; nan if it is empty."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Return the mean recall over the classes that occur in the truth (Brodersen et al. 2010)."""
    recall = precision_recall(confusion)[1]
    present = ~np.isnan(recall)
    return float(recall[present].mean()) if present.any() else float("nan")


def macro_f1(confusion: np.ndarray) -> float:
    """Return the unweighted mean of F1 over classes that occur in truth or prediction.

    F1 of one class is 2·hits / (predicted + belonging); averaged as in Opitz & Burst 2019
    (arXiv:1911.03347), eq. 1. A class that is neither shown nor predicted has no F1 and is left
    out.
    """
    hits = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1)
    occurs = either > 0
    return float((2 * hits[occurs] / either[occurs]).mean()) if occurs.any() else float("nan")


def macro_precision(confusion: np.ndarray) -> float:
    """Return the mean precision over the classes of `macro_f1`; 0 for one never predicted."""
    return _macro(precision_recall(confusion)[0], confusion)


def macro_recall(confusion: np.ndarray) -> float:
    """Return the mean recall over the classes of `macro_f1`; 0 for one that is never the truth.

    Where every emotion occurs in the truth it equals `balanced_accuracy`.
    """
    return _macro(precision_recall(confusion)[1], confusion)


def _macro(values: np.ndarray, confusion: np.ndarray) -> float:
    occurs = confusion.sum(0) + confusion.sum(1) > 0
    return float(np.nan_to_num(values[occurs]).mean()) if occurs.any() else float("nan")


def top_k_hits(probabilities: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Say of each picture whether the truth is among its k likeliest classes.

    A class as likely as the truth goes before it if its number is lower, as in an argmax, so
    that a network that says nothing is not rewarded.

    Args:
        probabilities: (N, C).
        truth: (N,) integers 0 … C − 1.
        k: From 1 to C.

    Returns:
        (N,) booleans; their mean is the top-k accuracy.
    """
    if not 1 <= k <= probabilities.shape[1]:
        raise ValueError(f"k={k} must lie in 1 … {probabilities.shape[1]}, the number of classes")
    own = probabilities[np.arange(len(truth)), truth][:, None]
    before = np.arange(probabilities.shape[1]) < np.asarray(truth)[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & before)
    return ahead.sum(1) < k


def calibration_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin 0 … `BINS` − 1 of each confidence in [0, 1]; bins of equal width."""
    return np.minimum((np.asarray(confidence, np.float64) * BINS).astype(int), BINS - 1)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return how far accuracy lies from confidence in its bin, the mean over pictures.

    Guo et al. 2017 (arXiv:1706.04599), eq. 3, with 15 bins of equal width. With few pictures it
    is above zero for a perfect classifier too.

    Args:
        confidence: (N,) probability of the first choice, in [0, 1].
        right: (N,) whether the first choice is the truth.

    Returns:
        A share in [0, 1]; nan without pictures.
    """
    if len(confidence) == 0:
        return float("nan")
    excess = np.asarray(right, np.float64) - np.asarray(confidence, np.float64)
    sums = np.bincount(calibration_bins(confidence), weights=excess, minlength=BINS)
    return float(np.abs(sums).sum() / len(excess))
