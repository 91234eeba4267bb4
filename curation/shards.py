"""Writing configurations: rows of corpora, still encoded, into Parquet files that the hub likes.

The same rows give the same bytes. A file holds no more than `FILE_ROWS` rows and about
`FILE_BYTES` bytes, a row group no more than `GROUP_ROWS` and about `GROUP_BYTES`: so a viewer pages
through a corpus of any size, and one group of each configuration is in memory here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.corpus import ORIGINS
from curation.disclosure import disclosed

FILE_ROWS, FILE_BYTES = 5000, 500_000_000
GROUP_ROWS, GROUP_BYTES = 500, 64_000_000
# a file named after a split swallows other splits' files wherever Hugging Face has to guess
STEMS = {"train": "data", "validation": "held"}

Key = tuple[str, str]
"""A configuration and a split of it."""
Masks = Mapping[Key, tuple[np.ndarray, ...]]
"""What a configuration's split holds: for each source one boolean a row, (N,)."""


@dataclass(frozen=True)
class Written:
    """What was written of one configuration and split: files, rows, and bytes in memory."""

    files: tuple[Path, ...]
    rows: int
    bytes: int


def write_configurations(
    sources: Sequence[Sequence[Path]],
    masks: Masks,
    out: Path,
    schema: pa.Schema,
    *,
    layout: tuple[int, int],
) -> dict[Key, Written]:
    """Write every configuration in one pass over the sources; synthetic pictures get their note.

    Args:
        sources: Parquet files with the columns of a corpus; rows keep their order.
        masks: Which rows each configuration's split holds.
        out: Folder to fill: ``<configuration>/<stem>-00000-of-00001.parquet``.
        schema: Of the files to write, with Hugging Face features in its metadata.
        layout: Rows a group and rows a file, as `layout_of` gives them.
    """
    group_rows, file_rows = layout
    writers = {
        key: _Writer(out / key[0], STEMS[key[1]], _total(masks[key]), schema, group_rows, file_rows)
        for key in masks
    }
    for index, files in enumerate(sources):
        start = 0
        for table in _tables(files, schema, group_rows):
            for key, pair in masks.items():
                part = pair[index][start : start + len(table)]
                if part.any():
                    writers[key].add(table.filter(pa.array(part)))
            start += len(table)
    return {key: writer.close() for key, writer in writers.items()}


def _total(pair: tuple[np.ndarray, ...]) -> int:
    return sum(int(mask.sum()) for mask in pair)


def layout_of(sources: Sequence[Sequence[Path]]) -> tuple[int, int]:
    """Return rows a group and rows a file, the second a multiple of the first."""
    groups = [
        (group.num_rows, group.total_byte_size)
        for files in sources
        for metadata in map(pq.read_metadata, files)
        for group in map(metadata.row_group, range(metadata.num_row_groups))
    ]
    each = max(1, sum(size for _, size in groups) // max(1, sum(rows for rows, _ in groups)))
    group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // each))
    return group_rows, group_rows * max(1, min(FILE_ROWS, FILE_BYTES // each) // group_rows)


def _tables(files: Sequence[Path], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    for path in files:
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_size=rows):
            yield _with_notes(pa.Table.from_batches([batch]).cast(schema))


def _with_notes(table: pa.Table) -> pa.Table:
    made = [code == ORIGINS.index("gan") for code in table["origin"].to_pylist()]
    if not any(made):
        return table
    pictures = table["image"].to_pylist()
    for picture, is_made in zip(pictures, made, strict=True):
        if is_made:
            picture["bytes"] = disclosed(picture["bytes"])
    place = table.schema.get_field_index("image")
    field = table.schema.field(place)
    return table.set_column(place, field, pa.array(pictures, type=field.type))


class _Writer:
    """The files of one configuration and split, a row group in memory at a time."""

    def __init__(
        self, folder: Path, stem: str, rows: int, schema: pa.Schema, group_rows: int, file_rows: int
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._stem, self._schema = folder, stem, schema
        self._group_rows, self._file_rows = group_rows, file_rows
        self._count = -(-rows // file_rows)
        self._pending = schema.empty_table()
        self._files: list[Path] = []
        self._open: pq.ParquetWriter | None = None
        self._written = self._bytes = 0

    def add(self, table: pa.Table) -> None:
        self._pending = pa.concat_tables([self._pending, table])
        while len(self._pending) >= self._group_rows:
            self._write(self._pending.slice(0, self._group_rows))
            self._pending = self._pending.slice(self._group_rows)

    def close(self) -> Written:
        if len(self._pending):
            self._write(self._pending)
        if self._open is not None:
            self._open.close()
        return Written(tuple(self._files), self._written, self._bytes)

    def _write(self, group: pa.Table) -> None:
        if self._written % self._file_rows == 0:
            if self._open is not None:
                self._open.close()
            name = f"{self._stem}-{len(self._files):05d}-of-{self._count:05d}.parquet"
            self._files.append(self._folder / name)
            self._open = pq.ParquetWriter(self._files[-1], self._schema)
        assert self._open is not None
        self._open.write_table(group.combine_chunks())
        self._written += len(group)
        self._bytes += group.nbytes
