"""A benchmark's predictions as arrays: read, checked, and the cells of each arm put together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from classifiers.statistics import top_k_hits

CELL = ("fold", "split", "part", "backbone", "arm", "seed")
ALL = "all"
_NEEDED = (*CELL, "database", "id", "subject", "origin", "emotion", "predicted", "confidence")


@dataclass(frozen=True)
class Answers:
    """A table of predictions as arrays, one value a row.

    Attributes:
        truth: Codes of the emotions, in the order of the outputs.
        predicted: Codes of the likeliest output.
        confidence: Its probability.
        second: Whether the truth is one of the two likeliest.
    """

    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    second: np.ndarray

    @cached_property
    def right(self) -> np.ndarray:
        """Whether the likeliest is the truth."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class Tested:
    """An arm's test pictures in one split, folds and parts put together, and its answers.

    The real ones are those of every other arm, in the same order.

    Attributes:
        pictures: A row each: fold, part, database, id, person, real.
        runs: Backbone and seed → (N,) rows of the predictions; −1 where there is no cell.
    """

    pictures: pd.DataFrame
    runs: Mapping[tuple[str, int], np.ndarray]

    def mask(self, database: str) -> np.ndarray:
        """Return which pictures are real ones of a database; all of them for `ALL`."""
        own = (self.pictures["database"] == database) & self.pictures["real"]
        return np.ones(len(own), bool) if database == ALL else own.to_numpy(bool)

    def complete(self, backbone: str, mask: np.ndarray) -> dict[int, np.ndarray]:
        """Return seed → rows of the chosen pictures, for the seeds that answered all of them."""
        return {
            seed: rows[mask]
            for (name, seed), rows in self.runs.items()
            if name == backbone and (rows[mask] >= 0).all()
        }


def read(predictions: pd.DataFrame, emotions: Sequence[str]) -> tuple[pd.DataFrame, Answers]:
    """Return what each prediction is about, and what it says.

    Args:
        predictions: As `classifiers.summary.summarise` takes them.
        emotions: The outputs, in order.

    Returns:
        The cell's variables (and ``cell`` if there), ``database``, ``id``, ``subject``, ``person``
        (the subject, or the picture's own id) and ``real``, numbered from 0; and the answers in
        the same order.

    Raises:
        ValueError: If there are none, columns are missing, or an emotion is none of `emotions`.
    """
    outputs = [f"p_{name}" for name in emotions]
    if lacking := [name for name in (*_NEEDED, *outputs) if name not in predictions]:
        raise ValueError(f"the predictions lack the columns {', '.join(lacking)}")
    if predictions.empty:
        raise ValueError("there are no predictions: no cell is finished")
    table = predictions.assign(fold=predictions["fold"].astype("Int64"))
    table = table.sort_values(["split", "fold", "part"], kind="stable", ignore_index=True)
    truth = codes_of(table, "emotion", emotions)
    answers = Answers(
        truth,
        codes_of(table, "predicted", emotions),
        table["confidence"].to_numpy(float),
        top_k_hits(table[outputs].to_numpy(np.float32), truth, 2),
    )
    # nobody's picture is somebody of its own
    table["person"] = table["subject"].fillna(table["id"])
    table["database"] = table["database"].fillna("unknown")
    table["real"] = table["origin"] == "real"
    kept = [name for name in (*CELL, "cell") if name in table]
    return table[[*kept, "database", "id", "subject", "person", "real"]], answers


def codes_of(table: pd.DataFrame, column: str, emotions: Sequence[str]) -> np.ndarray:
    """Return a column of emotions as codes, (N,) int64; ValueError for an unknown one."""
    codes = pd.Index(list(emotions)).get_indexer(pd.Index(table[column])).astype(np.int64)
    if (codes < 0).any():
        wrong = table[column][codes < 0].iloc[0]
        raise ValueError(
            f"column {column!r} of the predictions holds {wrong!r}, none of {', '.join(emotions)}"
        )
    return codes


def groups(databases: pd.Series, real: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each database with the mask of its real pictures, then ``all`` if that is more."""
    names = sorted(set(databases[real]))
    for name in names:
        yield name, ((databases == name) & real).to_numpy(bool)
    if len(names) != 1 or not real.all():
        yield ALL, np.ones(len(real), bool)


def tested_by_arm(split: str, table: pd.DataFrame) -> dict[str, Tested]:
    """Put the cells of a split together, arm by arm.

    Args:
        split: Its name, for errors.
        table: Its rows, as `read` gives them.

    Returns:
        Arm → its test pictures and answers.

    Raises:
        ValueError: If cells of one fold and part were tested on different real pictures, or those
            of one arm on different pictures of any kind.
    """
    arms = table["arm"].unique().tolist()
    pictures: dict[str, list[pd.DataFrame]] = {arm: [] for arm in arms}
    runs: dict[str, list[dict[tuple[str, int], np.ndarray]]] = {arm: [] for arm in arms}
    for _, part in table.groupby(["fold", "part"], dropna=False):
        stand_in: pd.DataFrame | None = None  # the real pictures, for who has no cell here
        for arm in arms:
            runs[arm].append({})
            own: pd.DataFrame | None = None
            cells = part[part["arm"] == arm].groupby(["backbone", "seed"], sort=False)
            for (backbone, seed), cell in cells:
                cell = cell.sort_values("id", kind="stable")
                own = cell if own is None else own
                stand_in = own[own["real"]] if stand_in is None else stand_in
                _require_same(own, cell, split)
                _require_same(stand_in, cell[cell["real"]], split)
                runs[arm][-1][backbone, seed] = cell.index.to_numpy()
            pictures[arm].append(own if own is not None else pd.DataFrame())
        assert stand_in is not None
        for arm in arms:
            if pictures[arm][-1].empty:
                pictures[arm][-1] = stand_in
    tested = {}
    for arm in arms:
        keys = sorted({key for part in runs[arm] for key in part}, key=lambda key: key[1])
        tested[arm] = Tested(
            pd.concat(pictures[arm], ignore_index=True),
            {
                key: np.concatenate(
                    [
                        part.get(key, np.full(len(them), -1))
                        for part, them in zip(runs[arm], pictures[arm], strict=True)
                    ]
                )
                for key in keys
            },
        )
    return tested


def _require_same(one: pd.DataFrame, other: pd.DataFrame, split: str) -> None:
    if not np.array_equal(one["id"].to_numpy(), other["id"].to_numpy()):
        raise ValueError(
            f"the cells {_words(one)} and {_words(other)} of split {split!r} were tested on "
            f"different pictures ({len(one)} and {len(other)}); delete the older one"
        )


def _words(cell: pd.DataFrame) -> str:
    return "/".join(str(cell[name].iloc[0]) for name in ("fold", "part", "backbone", "arm", "seed"))


def missing_cells(table: pd.DataFrame, cells: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return the cells that were planned and have no row, as dicts of their variables.

    Args:
        table: As `read` gives it.
        cells: The plan, a row a cell; None for every combination that occurs in a split.
    """
    done = table[list(CELL)].drop_duplicates()
    if cells is None:
        planned = pd.concat(
            [
                part[["fold", "split", "part"]]
                .drop_duplicates()
                .merge(part[["backbone"]].drop_duplicates(), how="cross")
                .merge(part[["arm"]].drop_duplicates(), how="cross")
                .merge(part[["seed"]].drop_duplicates(), how="cross")
                for _, part in done.groupby("split", sort=False)
            ]
        )
    else:
        planned = cells[list(CELL)].astype({"fold": "Int64"}).drop_duplicates()
    found = planned.merge(done, how="left", on=list(CELL), indicator=True)
    absent = found.loc[found["_merge"] == "left_only", list(CELL)].astype(object)
    rows = absent.where(absent.notna(), None).itertuples(index=False)
    return [dict(zip(CELL, row, strict=True)) for row in rows]
