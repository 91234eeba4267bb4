"""Fidelity of a generated set against a real one, from arrays of image features.

Everything here takes features or probabilities, never pictures or models. The plain functions
return bare numbers, for a training loop; `compare` returns each number with its counts, its
interval and its floor, for anything that a person reads.
"""

from curation.fidelity.comparison import Figure, compare
from curation.fidelity.distances import (
    SMALL_SAMPLE,
    bootstrap_interval,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
)
from curation.fidelity.diversity import inception_score, vendi_score
from curation.fidelity.manifolds import precision_recall_density_coverage

__all__ = [
    "SMALL_SAMPLE",
    "Figure",
    "bootstrap_interval",
    "compare",
    "frechet_distance",
    "frechet_infinity",
    "inception_score",
    "kernel_distance",
    "precision_recall_density_coverage",
    "vendi_score",
]
