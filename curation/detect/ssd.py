"""The single-shot detector of OpenCV's samples: boxes and scores, no landmarks."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.artifact import file_hash
from curation.detect.faces import Box, Face
from curation.detect.loading import PerThread, check_share
from curation.weights import SSD_NETWORK, SSD_WEIGHTS, find


class DnnSsd:
    """OpenCV's own face detector: a single-shot detector on a small ResNet, 300 × 300 pixels.

    The one of ``samples/dnn/face_detector`` in OpenCV, as Randellini et al. 2022 use it, with
    confidence 0.5. It knows no landmarks. The picture is squeezed to a square, as in training.

    Args:
        network: Its Caffe description (.prototxt); None for the published one.
        weights: Its Caffe weights (.caffemodel); None for the published ones.
        confidence: Least score of a face, in (0, 1].

    Raises:
        ValueError: If `confidence` is out of its range.
    """

    MEAN_BGR = (104.0, 177.0, 123.0)
    SIDE = 300

    def __init__(
        self,
        *,
        network: str | Path | None = None,
        weights: str | Path | None = None,
        confidence: float = 0.5,
    ) -> None:
        check_share("confidence", confidence)
        self._given = network, weights
        self._confidence = confidence
        self._network = PerThread(partial(_load_ssd, network, weights))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How it searches.

        Raises:
            FileNotFoundError: If a model file is missing; with how to get it.
        """
        network, weights = _find_ssd(*self._given)
        return {
            "detector": "dnn_ssd",
            "network": network.name,
            "network_sha256": file_hash(network),
            "weights": weights.name,
            "weights_sha256": file_hash(weights),
            "confidence": self._confidence,
            "side": self.SIDE,
            "mean_bgr": list(self.MEAN_BGR),
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Find faces in (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: If a model file is missing; with how to get it.
            ValueError: If OpenCV cannot read the model.
        """
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        blob = cv2.dnn.blobFromImage(bgr, 1.0, (self.SIDE, self.SIDE), self.MEAN_BGR)
        network = self._network()
        network.setInput(blob)
        height, width = image.shape[:2]
        return decode_ssd(network.forward(), width, height, confidence=self._confidence)


def decode_ssd(output: np.ndarray, width: int, height: int, *, confidence: float) -> list[Face]:
    """Turn the output of a single-shot detector into faces.

    Args:
        output: (1, 1, N, 7): picture, class, score, then left, top, right, bottom as shares of the
            picture; class 1 is a face, and rows without a detection have the picture -1.
        width: The picture's, in pixels.
        height: The picture's, in pixels.
        confidence: Least score.
    """
    faces = []
    for picture, kind, score, *shares in output.reshape(-1, 7).tolist():
        left, top, right, bottom = np.array(shares) * (width, height, width, height)
        if picture >= 0 and kind == 1 and score >= confidence and right > left and bottom > top:
            box = Box(float(left), float(top), float(right - left), float(bottom - top))
            faces.append(Face(box, min(score, 1.0)))
    return faces


def _find_ssd(network: str | Path | None, weights: str | Path | None) -> tuple[Path, Path]:
    return (
        find(SSD_NETWORK, network, key="detector.network"),
        find(SSD_WEIGHTS, weights, key="detector.weights"),
    )


def _load_ssd(network: str | Path | None, weights: str | Path | None) -> cv2.dnn.Net:
    described, learned = _find_ssd(network, weights)
    try:
        # from memory, see _load_yunet
        return cv2.dnn.readNetFromCaffe(
            np.frombuffer(described.read_bytes(), np.uint8),
            np.frombuffer(learned.read_bytes(), np.uint8),
        )
    except cv2.error as error:
        raise ValueError(
            f"{described} and {learned} are no Caffe model that OpenCV {cv2.__version__} reads "
            f"({error.err}) (detector.network, detector.weights)"
        ) from error
