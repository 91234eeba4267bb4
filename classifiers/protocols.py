"""Stage ``benchmark``: what all cells say together, in tables that anybody can read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from classifiers.cells import AFFECT
from classifiers.objectives import ccc, rmse
from classifiers.predictions import CELL
from classifiers.summary import results_of, summarise
from curation.artifact import Folders, leaves, write_json
from curation.lineage import read_record

logger = logging.getLogger(__name__)

_CLAIM = ("split", "backbone", "database", "arm", "reference")


def benchmark(
    cells: Folders,
    out: Path,
    *,
    emotions: Sequence[str],
    reference: str,
    references: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Put the predictions of all cells together and compare the arms.

    All arms of a comparison are tested on the same pictures. Where arms are cut in several ways,
    a picture in which one way found no face is left out for all of them, and counted.

    Args:
        cells: Folders that `classifiers.cells.train_cell` wrote, in lists and dicts.
        out: An empty folder; receives ``predictions.parquet`` (a row for each cell and test
            picture), ``results.parquet`` (a row for each cell and test database) and
            ``summary.json`` (`classifiers.summary.summarise`). Of networks that tell valence and
            arousal (`classifiers.training.Training.target`): concordance and error of each cell
            in ``results.parquet``, and no claims.
        emotions: The outputs, in order.
        reference: The arm that the others are compared with,
        references: but for these: arm → its own reference.

    Returns:
        Counts of cells, of training and test pictures, of pictures that an arm is short of or
        that not all arms were tested on; the trainings' seconds; the verdicts.

    Raises:
        ValueError: If an arm is to be compared with one that has no cells.
    """
    folders = [Path(cell) for cell in leaves(cells)]
    facts = {folder.name: _facts(folder) for folder in folders}
    known = pd.DataFrame(facts.values())
    predictions = pd.concat(
        [
            pd.read_parquet(folder / "predictions.parquet").assign(cell=folder.name)
            for folder in folders
        ],
        ignore_index=True,
    )
    predictions, unmatched = _common(predictions)
    if "predicted" not in predictions:
        return _affect(predictions, facts, out)
    arms = list(dict.fromkeys(predictions["arm"]))
    against = {arm: reference for arm in arms if arm != reference} | dict(references or {})
    if unknown := {*against, *against.values()} - set(arms):
        raise ValueError(
            f"arms that are compared have no cells: {', '.join(sorted(unknown))}; there are "
            f"{', '.join(arms)} (protocol.reference, protocol.references)"
        )
    leaky = set(known.loc[known["leaky"], "split"])
    summary = summarise(predictions, against, emotions=emotions, cells=known, leaky=leaky)
    predictions.to_parquet(out / "predictions.parquet", index=False)
    results_of(predictions, facts, emotions).to_parquet(out / "results.parquet", index=False)
    write_json(out / "summary.json", summary)
    for claim in summary["claims"]:
        logger.info("%s", _sentence(claim))
    tested = predictions.drop_duplicates(["database", "id"])["database"]
    return {
        "cells": len(folders),
        "train_rows": {arm: _span(part["train_rows"]) for arm, part in known.groupby("arm")},
        "short": {
            arm: short for arm, short in zip(known["arm"], known["short"], strict=True) if short
        },
        "test_rows": tested.value_counts().sort_index().to_dict(),
        "unmatched": unmatched,
        "seconds": round(float(known["seconds"].sum()), 1),
        "verdicts": [
            {name: claim[name] for name in (*_CLAIM, "difference", "verdict")}
            for claim in summary["claims"]
        ],
    }


def _affect(
    predictions: pd.DataFrame, facts: Mapping[str, Mapping[str, Any]], out: Path
) -> dict[str, Any]:
    """Write what cells of valence and arousal say: concordance and error, without claims."""
    rows: list[dict[str, Any]] = []
    for key, part in predictions.groupby([*CELL, "database", "cell"], sort=False, dropna=False):
        row = dict(zip((*CELL, "database", "cell"), key, strict=True))
        row |= {"n": len(part), "subjects": part["subject"].nunique()}
        for name in AFFECT:
            pair = part[name].to_numpy(), part[f"p_{name}"].to_numpy()
            row |= {f"ccc_{name}": ccc(*pair), f"rmse_{name}": rmse(*pair)}
        known = facts[str(row["cell"])]
        rows.append(row | {name: known[name] for name in ("train_rows", "steps", "seconds")})
    table = pd.DataFrame(rows).astype({"fold": "Int64"})
    predictions.to_parquet(out / "predictions.parquet", index=False)
    table.to_parquet(out / "results.parquet", index=False)
    figures = [f"{figure}_{name}" for figure in ("ccc", "rmse") for name in AFFECT]
    means = table.groupby(["backbone", "arm", "database"])[figures].agg(["mean", "std"])
    logger.info("valence and arousal over seeds:\n%s", means.round(3).to_string())
    return {"cells": len(facts), "test_rows": len(predictions), "verdicts": []}


def _facts(folder: Path) -> dict[str, Any]:
    """What the results say of a cell beside its scores."""
    record = read_record(folder)
    if record is None:
        raise ValueError(f"{folder} holds no finished cell (no record); run train_cell again")
    config = record.content["config"]
    return {
        **record.content["facts"],
        **{name: config.get(name) for name in CELL},
        "seconds": record.content["seconds"],
    }


def _common(predictions: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Keep the test pictures that every arm of a comparison was tested on.

    An arm of generated faces has, in folds by picture, test pictures of its own; what they are
    compared on is what they share.
    """
    group = ["fold", "split", "part", "database", "id"]
    every = predictions.groupby(["fold", "split", "part"], dropna=False)["arm"].transform("nunique")
    found = predictions.groupby(group, dropna=False)["arm"].transform("nunique")
    kept = found == every
    lost = predictions[~kept & (predictions["origin"] == "real")]
    unmatched = {str(name): part["id"].nunique() for name, part in lost.groupby("database")}
    for database, count in unmatched.items():
        logger.warning(
            "%d pictures of %s are left out: not every arm was tested on them", count, database
        )
    return predictions[kept | (predictions["origin"] != "real")], unmatched


def _span(rows: pd.Series) -> int | list[int]:
    low, high = int(rows.min()), int(rows.max())
    return low if low == high else [low, high]


def _sentence(claim: Mapping[str, Any]) -> str:
    interval = claim["both"]
    return (
        f"{claim['arm']} against {claim['reference']} on {claim['database']} "
        f"({claim['backbone']}, {claim['split']}): {100 * claim['difference']:+.1f} points "
        f"[{_points(interval['low'])}, {_points(interval['high'])}]: {claim['verdict']}"
    )


def _points(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:+.1f}"
