"""What a recogniser sees: the places it judges by, and the input it likes best."""

from classifiers.explain.attribution import (
    Gradients,
    enlarge,
    grad_cam,
    integrated_gradients,
    last_spatial,
    randomised,
    rank_correlation,
    smoothed,
)
from classifiers.explain.faces import Faces, read_faces
from classifiers.explain.optimal import optimal_inputs

__all__ = [
    "Faces",
    "Gradients",
    "enlarge",
    "grad_cam",
    "integrated_gradients",
    "last_spatial",
    "optimal_inputs",
    "randomised",
    "rank_correlation",
    "read_faces",
    "smoothed",
]
