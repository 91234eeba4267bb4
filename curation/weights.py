"""Weights: model files that do not come with a package, found, verified, or fetched once.

Nothing here is fetched unless somebody asks for it by name (``affectory prefetch``). A file that a
user passes by its path is taken as it is; a file of the cache must have the SHA-256 stated here.
"""

import hashlib
import logging
import os
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from curation.artifact import file_hash
from curation.progress import track

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
"""How long a server may stay silent."""
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Weights:
    """One model file.

    Attributes:
        name: What ``affectory prefetch`` calls it; files that belong together share one.
        url: Where it is fetched from; its last part is the file's name.
        sha256: Of the file, 64 hexadecimal digits.
        size: Of the file, in bytes.
        licence: SPDX name, with whose file it is; or that none is stated.
    """

    name: str
    url: str
    sha256: str
    size: int
    licence: str

    @property
    def file(self) -> str:
        """The file's name."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


# Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector"; URL of one commit
YUNET = Weights(
    name="yunet",
    url="https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/"
    "models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    size=232_589,
    licence="MIT (Shiqi Yu)",
)
SSD_NETWORK = Weights(
    name="dnn_ssd",
    url="https://raw.githubusercontent.com/opencv/opencv/4.11.0/"
    "samples/dnn/face_detector/deploy.prototxt",
    sha256="dcd661dc48fc9de0a341db1f666a2164ea63a67265c7f779bc12d6b3f2fa67e9",
    size=28_104,
    licence="Apache-2.0 (OpenCV)",
)
SSD_WEIGHTS = Weights(
    name="dnn_ssd",
    url="https://raw.githubusercontent.com/opencv/opencv_3rdparty/"
    "dnn_samples_face_detector_20170830/res10_300x300_ssd_iter_140000.caffemodel",
    sha256="2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d",
    size=10_666_211,
    licence="no licence stated by OpenCV; trained on WIDER FACE",
)
# TensorFlow's Inception v3 of 2015, translated for StyleGAN2-ADA; clean-fid computes with it too
INCEPTION = Weights(
    name="inception",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    size=95_607_719,
    licence="Apache-2.0 (Google) for the weights; none stated by NVIDIA for the translation",
)
KNOWN = (YUNET, SSD_NETWORK, SSD_WEIGHTS, INCEPTION)


def cache_folder() -> Path:
    """Return where fetched files lie: ``AFFECTORY_CACHE``, or the platform's place for caches.

    Raises:
        FileNotFoundError: If neither is known, as for a user without a home.
    """
    if chosen := os.environ.get("AFFECTORY_CACHE"):
        return Path(chosen).expanduser()
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            base = Path(local) if local else Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            chosen = os.environ.get("XDG_CACHE_HOME")
            base = Path(chosen) if chosen else Path.home() / ".cache"
    except RuntimeError:
        raise FileNotFoundError(
            "no home folder for a cache; name a folder in the environment: AFFECTORY_CACHE=/path"
        ) from None
    return base / "affectory"


def cached(weights: Weights) -> Path:
    """Return the path that a fetched file has, whether it is there or not."""
    return cache_folder() / weights.name / weights.file


def find(weights: Weights, path: str | Path | None = None, *, key: str) -> Path:
    """Return the path of a model file that is there; nothing is fetched.

    Args:
        weights: The file wanted.
        path: A user's own file, taken whatever its contents; None for the one in the cache.
        key: Configuration key of `path`, for errors.

    Raises:
        FileNotFoundError: If it is not there; the text says which file, and how to get it.
        ValueError: If the file in the cache is not the one that was published.
    """
    if path is not None:
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no file {path} ({key}); {_how_to_get(weights, key)}")
        return path
    try:
        there = cached(weights)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {_how_to_get(weights, key)}") from None
    if not there.is_file():
        raise FileNotFoundError(f"{there} is missing; {_how_to_get(weights, key)}")
    if there.stat().st_size != weights.size or file_hash(there) != weights.sha256:
        raise ValueError(
            f"{there} is damaged: {there.stat().st_size:,} bytes whose SHA-256 is not "
            f"{weights.sha256}; fetch it again with `affectory prefetch {weights.name}`"
        )
    return there


def _how_to_get(weights: Weights, key: str) -> str:
    return (
        f"fetch {weights.file} once with `affectory prefetch {weights.name}`, or point {key} at "
        f"a copy ({weights.size:,} bytes, SHA-256 {weights.sha256}, {weights.licence}, "
        f"from {weights.url})"
    )


def fetch(weights: Weights) -> Path:
    """Download a file into the cache and verify it; one that is there and whole is kept.

    The file appears under its name only when all of it has come and its SHA-256 is right.

    Returns:
        Its path.

    Raises:
        OSError: If the cache cannot be written, or the server not be reached; with what to do.
        ValueError: If what came is not the published file; it is deleted.
    """
    there = cached(weights)
    if there.is_file() and file_hash(there) == weights.sha256:
        return there
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=there.parent, prefix=f".{weights.file}.")
    except OSError as error:
        raise OSError(
            f"{there.parent} cannot be written ({error.strerror}); name another folder in the "
            "environment: AFFECTORY_CACHE=/path"
        ) from error
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            digest, size = _download(weights, file)
        if digest != weights.sha256:
            raise ValueError(
                f"{weights.url} gave {size:,} bytes with SHA-256 {digest}, not the "
                f"{weights.size:,} bytes with {weights.sha256} that are wanted; they were deleted. "
                "Get the file in another way and give its path"
            )
        partial.chmod(0o644)  # mkstemp makes it the owner's alone; a cache may be shared
        partial.replace(there)
    finally:
        partial.unlink(missing_ok=True)
    log.info("fetched %s (%d bytes) into %s", weights.file, weights.size, there.parent)
    return there


def _download(weights: Weights, file) -> tuple[str, int]:  # noqa: ANN001  any binary file
    """Copy a URL into a file; return the SHA-256 and the size of what came."""
    hashed, size = hashlib.sha256(), 0
    try:
        with (
            urllib.request.urlopen(weights.url, timeout=TIMEOUT_S) as answer,
            track(None, label=weights.file, unit="byte", total=weights.size) as progress,
        ):
            # one byte over the size tells a wrong file without reading all of it
            while size <= weights.size and (block := answer.read(_BLOCK)):
                file.write(block)
                hashed.update(block)
                size += len(block)
                progress.update(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(
            f"{weights.url} cannot be fetched ({reason}). Without a network: copy the file to "
            f"{cached(weights)} (SHA-256 {weights.sha256}), or give its path in the configuration"
        ) from error
    return hashed.hexdigest(), size
