"""Feature extractors for fidelity: (N, 3, H, W) uint8 RGB in, (N, d) float32 out.

To construct an extractor costs nothing; weights are made or read at the first call or when its
``hash`` is asked for. Pictures are brought to a network's size by clean-fid's resizer (Parmar et
al. 2022, arXiv:2104.11222): the resizer alone moves a Fréchet distance by several points.
"""

from curation.features.cache import Cached, cached_files, cached_ids
from curation.features.classifier import ClassifierFeatures, FeaturePredictor
from curation.features.inception import INCEPTION_FILE, Inception
from curation.features.onnx_file import OnnxFile
from curation.features.protocol import Extractor
from curation.features.random_convolutions import RandomConvolutions
from curation.features.timm_model import TimmModel

__all__ = [
    "INCEPTION_FILE",
    "Cached",
    "ClassifierFeatures",
    "Extractor",
    "FeaturePredictor",
    "Inception",
    "OnnxFile",
    "RandomConvolutions",
    "TimmModel",
    "cached_files",
    "cached_ids",
]
