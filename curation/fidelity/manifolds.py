"""Precision, recall, density and coverage: how two sets lie in each other's neighbourhoods."""

import numpy as np

from curation.fidelity.checks import check_pair
from curation.neighbours import across


def precision_recall_density_coverage(
    real: np.ndarray, fake: np.ndarray, k: int = 5
) -> dict[str, float]:
    """Return how real the samples look and how much of the real set they reach.

    Precision and recall: Kynkäänniemi et al. 2019, eq. 1–2 (arXiv:1904.06991). Density and
    coverage: Naeem et al. 2020, eq. 4 (arXiv:2002.09797). A ball around each row reaches to
    its k-th neighbour within its own set. For two equal distributions density is about 1 and
    coverage about 1 − 2⁻ᵏ at equal counts.

    Args:
        real: Features of real pictures, (n, d) float.
        fake: Features of generated pictures, (m, d) float.
        k: Which neighbour bounds a ball, below both n and m.

    Returns:
        ``precision``, ``recall``, ``coverage`` in [0, 1] and ``density`` ≥ 0.

    Raises:
        ValueError: If a set has at most `k` rows, a value is not finite, or the widths differ.
    """
    if k < 1:
        raise ValueError(f"k={k}: the neighbour that bounds a ball is at least the first")
    check_pair(real, fake, least=k + 1)
    in_real_ball, real_balls_over, fake_balls_over = across(real, fake, k)
    return {
        "precision": float((real_balls_over > 0).mean()),
        "recall": float((fake_balls_over > 0).mean()),
        "density": float(in_real_ball.sum() / (k * len(fake))),
        "coverage": float((in_real_ball > 0).mean()),
    }
