"""Rows by their id, wherever they lie: in a corpus, a published folder or an experiment."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curation.artifact import fingerprint
from curation.corpus import REQUIRED, Corpus

# what lies beside them in an experiment holds no rows, or was put away by `affectory forget`
ROOMS = ("corpora", "publications")


class Table(Corpus):
    """Any folder of Parquet files that hold rows of a corpus, whatever the files are called."""

    @property
    def shards(self) -> list[Path]:
        """The files with rows, in order."""
        files = sorted(self.path.glob("*.parquet"))
        return [file for file in files if {"id", *REQUIRED} <= set(pq.read_schema(file).names)]


@dataclass(frozen=True)
class Matches:
    """Rows that were asked for, not read yet.

    Attributes:
        tables: Where they are, and one boolean for each row there.
        count: How many there are; one that lies in several tables counts in each.
    """

    tables: list[tuple[Table, np.ndarray]]
    count: int

    @property
    def facts(self) -> list[dict[str, Any]]:
        """All columns but ``image`` of each row, None where nothing is known."""
        frames = [table.facts[mask].astype(object) for table, mask in self.tables]
        return [
            {str(name): value for name, value in row.items()}
            for frame in frames
            for row in frame.where(frame.notna(), None).to_dict("records")
        ]

    def __iter__(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield folder and row (as `Corpus.rows`), each once, however many tables it is in."""
        seen = set()
        for table, mask in self.tables:
            for row in table.rows(mask):
                drawn = {name: row[name] for name in ("id", "generator", "seed", "truncation")}
                # a copy of a row whose picture was changed is another row
                mark = fingerprint(**drawn, image=row["image"].hex())
                if mark not in seen:
                    seen.add(mark)
                    yield table.path, row


def find_rows(folder: Path, ids: Sequence[str] | None) -> Matches:
    """Find rows in a corpus, a published folder, or an experiment's corpora and publications.

    Args:
        folder: Where to look, sub-folders included.
        ids: Ids or beginnings of ids; None for every row that a GAN drew.

    Raises:
        FileNotFoundError: If the folder is not there or holds no rows.
        ValueError: If no row has an id, or rows of several ids begin as it does.
    """
    tables = list(_tables(folder))
    if not tables:
        raise FileNotFoundError(
            f"{folder} holds no rows: it is no corpus, no published folder and no experiment"
            if folder.is_dir()
            else f"there is no folder {folder}"
        )
    known = [table.facts["id"].astype(str).to_numpy(dtype=str) for table in tables]
    drawn = [(table.facts["origin"] == "gan").to_numpy(bool) for table in tables]
    looked = f"{sum(map(len, known)):,} rows of {folder}, {sum(map(np.sum, drawn)):,} of them drawn"
    if ids is None:
        masks = drawn
        if not any(mask.any() for mask in masks):
            raise ValueError(f"none of the {looked} by a GAN")
    else:
        masks = [np.zeros(len(names), bool) for names in known]
        for begin in ids:
            hits = [np.char.startswith(names, begin) for names in known]
            found = sorted(
                {str(name) for n, hit in zip(known, hits, strict=True) for name in n[hit]}
            )
            if not begin or not found:
                raise ValueError(f"no row has the id {begin!r}; looked through {looked} by a GAN")
            if len(found) > 1:
                more = ", ..." if len(found) > 4 else ""
                raise ValueError(
                    f"{len(found)} ids begin with {begin!r} ({', '.join(found[:4])}{more}); "
                    "give more of it"
                )
            masks = [mask | hit for mask, hit in zip(masks, hits, strict=True)]
    chosen = [(table, mask) for table, mask in zip(tables, masks, strict=True) if mask.any()]
    return Matches(chosen, sum(int(mask.sum()) for _, mask in chosen))


def _tables(folder: Path) -> Iterator[Table]:
    rooms = [folder / name for name in ROOMS if (folder / name).is_dir()]
    for room in rooms or [folder]:
        for place, folders, files in os.walk(room):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if any(name.endswith(".parquet") for name in files):
                try:
                    yield Table(Path(place))
                except FileNotFoundError:
                    continue  # its files hold something else
