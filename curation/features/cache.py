"""Features kept on disk, so that no picture goes through the same network twice."""

import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from curation.artifact import fingerprint
from curation.corpus import content_id
from curation.features.protocol import Extractor, require_pictures

_log = logging.getLogger(__name__)


class Cached:
    """An extractor that remembers, by the picture's id and its own hash.

    Every call that finds something new writes one file more, under a name of its own, whole or not
    at all: several processes can use one folder. A file that is damaged is deleted and its
    features are computed again. Where nothing can be written, nothing is remembered.
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

    def __call__(self, images: np.ndarray, ids: Sequence[str] | None = None) -> np.ndarray:
        """Return (N, d) float32 features of (N, 3, H, W) uint8 RGB.

        Args:
            images: The pictures.
            ids: Their ids in a corpus (`curation.corpus.content_id`), which tell pictures apart
                by their pixels, (N,); None to find these here.
        """
        require_pictures(images)
        if ids is None:
            ids = [content_id(image.transpose(1, 2, 0)) for image in images]
        elif len(ids) != len(images):
            raise ValueError(f"{len(ids)} ids were given for {len(images)} pictures")
        known = self._read()
        new = {name: place for place, name in enumerate(ids) if name not in known}
        if new:
            computed = self.extractor(images[list(new.values())])
            self._write(list(new), computed)
            known |= dict(zip(new, computed, strict=True))
        return np.stack([known[name] for name in ids])

    @cached_property
    def _own_folder(self) -> Path:
        return self.folder / fingerprint(extractor=self.hash, resizer=self.resizer)

    def _read(self) -> dict[str, np.ndarray]:
        known: dict[str, np.ndarray] = {}
        for path in sorted(self._own_folder.glob("*.npz")):
            try:
                # reading checks the checksum of each array
                with np.load(path, allow_pickle=False) as file:
                    ids, features = file["ids"], file["features"]
            except FileNotFoundError:
                continue  # another process found it damaged
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                _log.warning("%s is damaged (%s) and was deleted", path, error)
                path.unlink(missing_ok=True)
                continue
            known |= dict(zip(ids.tolist(), features, strict=True))
        return known

    def _write(self, ids: list[str], features: np.ndarray) -> None:
        try:
            self._own_folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._own_folder, suffix=".partial")
        except OSError as error:
            _log.warning("features are not kept: %s (%s)", self._own_folder, error.strerror)
            return
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, ids=np.array(ids), features=features)
            partial.replace(partial.with_suffix(".npz"))
        finally:
            partial.unlink(missing_ok=True)
