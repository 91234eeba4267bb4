"""Intervals, comparisons and scores of classifications: arrays in, numbers out.

Every interval says what it covers: `mean_interval` and `paired_difference` cover the randomness
of training (values are runs with different seeds), `wilson` and `bootstrap_by_subject` that of
who and what was tested, `two_way` and `crossed_bootstrap` both.
"""

from classifiers.statistics.claims import LEVEL, chi_square, holm, mcnemar, verdict
from classifiers.statistics.estimates import (
    Estimate,
    hedges_g,
    mean_interval,
    paired_difference,
    wilson,
)
from classifiers.statistics.people import (
    TwoWay,
    bootstrap_by_subject,
    by_subject,
    crossed_bootstrap,
    two_way,
)
from classifiers.statistics.scores import (
    BINS,
    accuracy,
    balanced_accuracy,
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    macro_precision,
    macro_recall,
    precision_recall,
    top_k_hits,
)

__all__ = [
    "BINS",
    "LEVEL",
    "Estimate",
    "TwoWay",
    "accuracy",
    "balanced_accuracy",
    "bootstrap_by_subject",
    "by_subject",
    "calibration_bins",
    "chi_square",
    "confusion_matrix",
    "crossed_bootstrap",
    "expected_calibration_error",
    "hedges_g",
    "holm",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "precision_recall",
    "top_k_hits",
    "two_way",
    "verdict",
    "wilson",
]
