"""Balls around the real faces of one emotion: which generated faces lie where real ones do.

A ball around each real face reaches to its k-th neighbour among the real faces of its emotion
(Kynkäänniemi et al. 2019, arXiv:1904.06991). Everything here takes feature arrays.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln

_PARTS = 10
_MOST = 3000  # faces of one emotion on either side; 36 MB for the distances among them
FIGURES = ("precision", "recall", "density", "coverage")


def ball_ratios(real: np.ndarray, faces: np.ndarray, k: int) -> np.ndarray:
    """Return how far each face is from the nearest ball around a real face, in that ball's radii.

    Args:
        real: Features of real faces, (M, d), M > k.
        faces: Features of the faces in question, (N, d).
        k: Which neighbour bounds a ball.

    Returns:
        (N,) float32 ≥ 0; up to 1 for a face in some ball.
    """
    radii = np.sqrt(_radii(squared_distances(real, real), k))
    # pictures that occur k times over have no ball; they reach to themselves only
    radii = np.maximum(radii, 1e-12)
    found = np.empty(len(faces), np.float32)
    for start in range(0, len(faces), 1024):
        between = np.sqrt(squared_distances(faces[start : start + 1024], real))
        found[start : start + 1024] = (between / radii).min(axis=1)
    return found


def held_out_ratios(
    real: np.ndarray, people: np.ndarray, k: int, generator: np.random.Generator
) -> np.ndarray:
    """Return `ball_ratios` of real faces, none measured with balls of people of its own tenth.

    The people are dealt to ten parts (fewer people: one each), and the faces of each part are
    held against the balls of the others.

    Args:
        real: Features of real faces, (M, d).
        people: Who is on each, (M,).
        k: Which neighbour bounds a ball.
        generator: Deals the parts.

    Returns:
        (M,) float32, NaN where the other parts have too few faces for a ball.
    """
    names = np.unique(people)
    part = dict(zip(names.tolist(), generator.permutation(len(names)) % _PARTS, strict=True))
    parts = np.array([part[name] for name in people.tolist()])
    found = np.full(len(real), np.nan, np.float32)
    for number in range(_PARTS):
        own = parts == number
        if own.any() and (~own).sum() > k:
            found[own] = ball_ratios(real[~own], real[own], k)
    return found


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances, (N, d) and (M, d) to (N, M) float32 ≥ 0."""
    # third digits of small distances are lost in float32 if the features lie far from zero
    middle = other.mean(axis=0, dtype=np.float64)
    one, other = one - middle, other - middle
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    return np.maximum(squares - 2 * one @ other.T, 0).astype(np.float32)


def _radii(within: np.ndarray, k: int) -> np.ndarray:
    # a row is its own nearest neighbour, so place k of the sorted row is the k-th other one
    return np.partition(within, k, axis=1)[:, k]


@dataclass(frozen=True)
class Manifold:
    """The real and the generated faces of one emotion in one feature space.

    Attributes:
        real: Features of the real faces, (M, d); of more than 3,000, that many drawn evenly.
        made: Features of the generated faces, (N, d).
        k: Which neighbour bounds a ball.
    """

    real: np.ndarray
    made: np.ndarray
    k: int

    @cached_property
    def inside(self) -> np.ndarray:
        """Which generated face lies in which real ball, (M, N) bool."""
        radii = _radii(squared_distances(self.real, self.real), self.k)
        return self._between < radii[:, None]

    @cached_property
    def _between(self) -> np.ndarray:
        return squared_distances(self.real, self.made)

    def figures(self, kept: np.ndarray) -> dict[str, Any]:
        """Measure some of the generated faces: precision, recall, density and coverage.

        Precision and recall as in Kynkäänniemi et al. 2019, eq. 1–2, density and coverage as in
        Naeem et al. 2020, eq. 4 (arXiv:2002.09797).

        Args:
            kept: Places among the generated faces, (n,).

        Returns:
            None for what cannot be measured: recall with k faces or fewer, or with more than
            3,000; all but coverage with none.
        """
        inside = self.inside[:, kept]
        recall = None
        if self.k < len(kept) <= _MOST:
            radii = _radii(squared_distances(self.made[kept], self.made[kept]), self.k)
            recall = float((self._between[:, kept] < radii).any(axis=1).mean())
        some = len(kept) > 0
        return {
            "precision": float(inside.any(axis=0).mean()) if some else None,
            "recall": recall,
            "density": float(inside.sum() / (self.k * len(kept))) if some else None,
            "coverage": float(inside.any(axis=1).mean()),
        }

    def coverage_by_lot(self, standing: np.ndarray, count: int) -> float:
        """Return the coverage to expect if `count` of the standing faces were kept by lot.

        Exact: a ball that m of n faces lie in is missed with probability
        C(n − m, count) / C(n, count).
        """
        n, hits = len(standing), self.inside[:, standing].sum(axis=1)
        left = n - hits
        possible = left >= count
        log_missed = np.full(len(hits), -np.inf)
        log_missed[possible] = (
            gammaln(left[possible] + 1)
            - gammaln(left[possible] - count + 1)
            - gammaln(n + 1)
            + gammaln(n - count + 1)
        )
        return float(1 - np.exp(log_missed).mean())


def evenly(count: int, most: int = _MOST) -> np.ndarray:
    """Return at most `most` places of `count`, evenly spread, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
