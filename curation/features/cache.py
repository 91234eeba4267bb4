"""Features kept on disk, so that no set of pictures goes through the same network twice."""

import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from curation.artifact import fingerprint, versions
from curation.corpus import content_id
from curation.features.protocol import Extractor, require_pictures

_SUFFIX = ".features.npz"
_log = logging.getLogger(__name__)


class Cached:
    """An extractor that remembers whole sets of pictures, by their ids and its own hash.

    What comes back is, bit for bit, what the extractor gives for that set here. That is why sets
    are kept and not pictures: the last digits of a picture's features depend on which others share
    its batch, and on processor, threads and versions, so all these belong to the key.

    A set is one file, written whole or not at all: several processes can use one folder. A file
    that is damaged is not trusted; its features are computed and written again. Where nothing can
    be written, nothing is remembered.
    """

    def __init__(self, extractor: Extractor, folder: Path | str) -> None:
        """Wrap an extractor.

        Args:
            extractor: What computes the features.
            folder: Where to keep them, in a folder for each extractor; delete it at any time.
        """
        self.extractor, self.folder = extractor, Path(folder)

    @property
    def name(self) -> str:
        """The extractor's."""
        return self.extractor.name

    @property
    def hash(self) -> str:
        """The extractor's."""
        return self.extractor.hash

    @property
    def resizer(self) -> str:
        """The extractor's."""
        return self.extractor.resizer

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB."""
        require_pictures(images)
        # of the pixels themselves: an id that somebody wrote into a corpus could be wrong
        ids = [content_id(image.transpose(1, 2, 0)) for image in images]
        path = self._own_folder / f"{fingerprint(ids=ids)}{_SUFFIX}"
        if path.exists():
            try:
                known, features = _read(path)
                if known == ids:
                    return features
                reason = "it holds other pictures"
            except (OSError, ValueError) as error:
                reason = str(error)
            _log.warning("%s is damaged and is not used: %s; computing again", path, reason)
        features = np.asarray(self.extractor(images), dtype=np.float32)
        self._write(path, ids, features)
        return features

    @cached_property
    def _own_folder(self) -> Path:
        graphics = [
            torch.cuda.get_device_name(index)
            for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ]
        own = {key: str(getattr(self.extractor, key, "")) for key in ("device", "batch_size")}
        return self.folder / fingerprint(
            extractor=self.hash,
            resizer=self.resizer,
            processor=torch.backends.cpu.get_cpu_capability(),
            graphics=graphics,
            threads=torch.get_num_threads(),
            versions=versions(),
            **own,
        )

    def _write(self, path: Path, ids: Sequence[str], features: np.ndarray) -> None:
        partial = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=f"{_SUFFIX}.partial")
            partial = Path(name)
            with os.fdopen(handle, "wb") as file:
                np.savez(file, ids=np.array(ids), features=features)
            partial.replace(path)
        except OSError as error:
            _log.warning("features are not kept: %s (%s)", path.parent, error.strerror or error)
        finally:
            if partial is not None:
                partial.unlink(missing_ok=True)


def cached_files(root: Path) -> list[Path]:
    """Return the files of all caches below a folder, also those that a killed run left half."""
    return sorted(path for path in root.rglob(f"*{_SUFFIX}*") if path.is_file())


def cached_ids(path: Path) -> set[str] | None:
    """Return the ids of the pictures whose features a file holds; None if it is damaged."""
    try:
        return set(_read(path)[0])
    except (OSError, ValueError):
        return None


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    """Return ids (N,) and features (N, d), or raise OSError or ValueError."""
    try:
        # checksums first: a size in a damaged header could ask for any amount of memory
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        with np.load(path, allow_pickle=False) as file:
            ids, features = file["ids"], file["features"]
    except (KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error).strip("'\"") or type(error).__name__) from error
    if features.dtype != np.float32 or features.ndim != 2 or ids.shape != (len(features),):
        raise ValueError(
            f"features of shape {features.shape} {features.dtype} stand beside ids of shape "
            f"{ids.shape}"
        )
    return ids.tolist(), features
