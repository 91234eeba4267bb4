"""Detect: find the faces of a picture, their landmarks, and the one that the picture is of.

Every detector takes (H, W, 3) uint8 RGB, returns `Face` objects in pixels of that picture, and can
be pickled. To make one costs nothing: model files are found at the first use of its ``settings``
or of itself, and a model is loaded once for each thread, as OpenCV's keep state while they search.
``settings`` is what standardisation records as its contract.
"""

from curation.detect.eyes import EyeCascades
from curation.detect.faces import Box, Detector, Face, choose_face, distinct_faces
from curation.detect.haar import Haar, WholePicture
from curation.detect.mtcnn import Mtcnn
from curation.detect.ssd import DnnSsd
from curation.detect.yunet import YuNet

__all__ = [
    "Box",
    "Detector",
    "DnnSsd",
    "EyeCascades",
    "Face",
    "Haar",
    "Mtcnn",
    "WholePicture",
    "YuNet",
    "choose_face",
    "distinct_faces",
]
