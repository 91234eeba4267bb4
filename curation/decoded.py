"""Pictures of corpora decoded once, into a file that many processes look into at a time."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curation.artifact import fingerprint, folder_hash, locked
from curation.corpus import Corpus, decode_png
from curation.lineage import read_record

logger = logging.getLogger(__name__)


def decoded(corpora: Sequence[Corpus], folder: Path) -> np.ndarray:
    """Return all pictures of some corpora, one corpus after the other.

    They are decoded into one file and mapped into memory: processes that train side by side
    share one copy, which the system keeps as far as there is memory. The file is a cache: it
    holds nothing but what the corpora hold, and can be deleted at any time.

    Args:
        corpora: Standardised corpora of pictures of one size.
        folder: Where the file is or will be.

    Returns:
        (N, 3, H, W) uint8 RGB, in row order. Writing into it changes no file.

    Raises:
        ValueError: If the pictures differ in size.
        OSError: If the file cannot be written, for example on a full disk.
    """
    corpora = [corpus for corpus in corpora if len(corpus.facts)]
    total = sum(len(corpus.facts) for corpus in corpora)
    path = folder / f"pictures-{fingerprint(contents=[_content(each) for each in corpora])}.npy"
    if not path.exists():
        with locked(path):
            if not path.exists():
                _write(corpora, total, path)
    return np.load(path, mmap_mode="c")


def _content(corpus: Corpus) -> str:
    record = read_record(corpus.path)
    known = record.content.get("content") if record else None
    return str(known or folder_hash(corpus.path, without=""))


def _write(corpora: Sequence[Corpus], total: int, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        pictures: np.ndarray | None = None
        place = 0
        for corpus in corpora:
            for row in corpus.rows():
                picture = decode_png(row["image"]).transpose(2, 0, 1)
                if pictures is None:
                    shape = (total, *picture.shape)
                    pictures = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
                if picture.shape != pictures.shape[1:]:
                    raise ValueError(
                        f"pictures of {corpus.path} are {picture.shape[1:]}, those before them "
                        f"{pictures.shape[2:]}; sample at the size that was standardised to"
                    )
                pictures[place] = picture
                place += 1
        if pictures is None:
            raise ValueError("there is no picture to decode")
        pictures.flush()
        logger.info("%d pictures decoded (%.2f GB)", total, pictures.nbytes / 1e9)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
