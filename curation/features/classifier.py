"""The project's own classifiers as extractors."""

from typing import Protocol

import numpy as np

from curation.features.protocol import require_pictures


class FeaturePredictor(Protocol):
    """A classifier that also shows the features before its last layer."""

    name: str
    hash: str

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB pictures."""
        ...


class ClassifierFeatures:
    """A classifier's own features as an extractor.

    They know expressions better than any other, but what the classifier overlooks, they overlook.
    """

    def __init__(self, classifier: FeaturePredictor, *, note: str = "") -> None:
        """Wrap a classifier.

        Args:
            classifier: Anything with ``features``, ``name`` and ``hash``.
            note: Put behind the name in brackets, for example what it was trained on.
        """
        self.classifier = classifier
        self.name = f"{classifier.name} ({note})" if note else classifier.name
        self.hash = classifier.hash
        self.resizer = getattr(classifier, "resizer", "none: the corpus' own size")
        self.device = getattr(classifier, "device", "")
        self.batch_size = getattr(classifier, "batch_size", "")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB."""
        require_pictures(images)
        return np.asarray(self.classifier.features(images), dtype=np.float32)
