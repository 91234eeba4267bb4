"""A corpus as the pages read it: facts at once, pictures as they pass by.

Older corpora lack columns that today's schema has; here they read as null, since looking at old
data must not need new data.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel

from curation.corpus import COLUMNS, Corpus, decode_png
from curation.duplicates import describe
from curation.progress import track

_SIDE = 64  # pictures are measured at this size, as `curation.duplicates` compares them
_BATCH = 256
# what no page asks for
_UNREAD = {"image", "session", "seed", "truncation"}


@dataclass(frozen=True)
class Survey:
    """What one pass over the pictures measured, one entry a row of the corpus.

    Attributes:
        width: In pixels, (N,) int32.
        height: In pixels, (N,) int32.
        brightness: Mean grey level, (N,) float32 in [0, 255].
        contrast: Standard deviation of the grey level at 64 px, (N,) float32 in [0, 128].
        patterns: `curation.duplicates.describe` of each grey picture, (N, 256) float32.
        greys: Each picture at 64 px, (N, 64, 64) uint8, in a file that goes with the array.
    """

    width: np.ndarray
    height: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    patterns: np.ndarray
    greys: np.ndarray


class Reader:
    """Reads a corpus for a page.

    Args:
        path: Folder of a corpus, of this version or an older one.

    Raises:
        FileNotFoundError: If the folder holds no corpus.
        ValueError: If its files are damaged or lack the labels that make a corpus.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corpus = Corpus(path)
        try:
            features = self.corpus.features
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise ValueError(f"{self.corpus.shards[0]} is no readable Parquet file") from error
        labels = {
            name: kind.names for name, kind in features.items() if isinstance(kind, ClassLabel)
        }
        if missing := {"id", "image", "emotion", "split", "origin"} - features.keys():
            raise ValueError(f"{path} is no corpus: it has no column {', '.join(sorted(missing))}")
        self._labels = labels
        self.emotions: list[str] = labels["emotion"]
        self.absent = [name for name in COLUMNS if name not in features]

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One line a row, class labels by name, absent columns null."""
        wanted = [name for name in COLUMNS if name not in _UNREAD]
        present = [name for name in wanted if name not in self.absent]
        tables = [pq.read_table(shard, columns=present) for shard in self.corpus.shards]
        nullable = {pa.bool_(): pd.BooleanDtype()}
        frame = pa.concat_tables(tables).to_pandas(types_mapper=nullable.get)
        for name in wanted:
            if name not in frame:
                frame[name] = None
            elif name in self._labels:
                frame[name] = frame[name].map(dict(enumerate(self._labels[name]))).astype(object)
                frame[name] = frame[name].where(frame[name].notna(), None)
        return frame[wanted]

    def __len__(self) -> int:
        return len(self.facts)

    def survey(self, *, threads: int = 2) -> Survey:
        """Decode every picture once and keep a few numbers of each.

        Args:
            threads: That decode; changes nothing but the time.
        """
        sizes = np.empty((len(self), 2), np.int32)
        light = np.empty((len(self), 2), np.float32)
        patterns = np.empty((len(self), 256), np.float32)
        # 4 kB a picture are too much for memory where there are 100,000; the file has no name
        with TemporaryFile() as file:
            greys = np.memmap(file, np.uint8, "w+", shape=(len(self), _SIDE, _SIDE))
        with ThreadPoolExecutor(threads) as pool:
            encoded = iter(track(self._encoded(), label="inspect", total=len(self)))
            start = 0
            while batch := list(islice(encoded, _BATCH)):
                # handing single pictures to a single thread takes longer than they do
                seen = list((pool.map if threads > 1 else map)(_measure, batch))
                rows = slice(start, start + len(seen))
                sizes[rows] = [size for size, _, _ in seen]
                light[rows] = [figures for _, figures, _ in seen]
                small = np.stack([grey for _, _, grey in seen])
                patterns[rows] = describe(small[:, None])
                greys[rows] = small
                start = rows.stop
        assert start == len(self), f"{start} pictures beside {len(self)} rows"
        return Survey(sizes[:, 0], sizes[:, 1], light[:, 0], light[:, 1], patterns, greys)

    def _encoded(self) -> Iterator[bytes]:
        for shard in self.corpus.shards:
            for batch in pq.ParquetFile(shard).iter_batches(batch_size=_BATCH, columns=["image"]):
                yield from batch.column(0).field("bytes").to_pylist()

    def pictures(self, rows: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (row, (H, W, 3) uint8 RGB) of some rows in order; only their row groups are read.

        Args:
            rows: Places of rows in the corpus.
        """
        wanted = sorted(set(rows))
        at = 0
        start = 0
        for shard in self.corpus.shards:
            file = pq.ParquetFile(shard)
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                first = at
                while at < len(wanted) and wanted[at] < stop:
                    at += 1
                if first < at:
                    column: Any = file.read_row_group(group, columns=["image"]).column(0)
                    for row in wanted[first:at]:
                        yield row, decode_png(column[row - start]["bytes"].as_py())
                start = stop


def _measure(data: bytes) -> tuple[tuple[int, int], tuple[float, float], np.ndarray]:
    """Return size, mean and deviation of the grey level, and the picture at 64 px, grey."""
    grey = cv2.cvtColor(decode_png(data), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if (height, width) != (_SIDE, _SIDE):
        shrink = cv2.INTER_AREA if max(height, width) > _SIDE else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=shrink)
    mean, deviation = cv2.meanStdDev(grey)
    return (width, height), (mean[0, 0], deviation[0, 0]), grey
