"""What the trainings of a benchmark cost, and what accuracy that buys."""

import math
from typing import Any

import pandas as pd

from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import Bench, plural
from classifiers.report_parts.scores import interval
from classifiers.report_parts.tables import SECONDS, Column, Table, duration


def cost_section(bench: Bench) -> dict[str, Any] | None:
    """Arrange time, size and device of the cells.

    Returns:
        ``table``, ``total`` (time in words), ``charts`` (accuracy over time, one for each split
        and test database) and ``backbones`` (their legend); None where no cell tells its time.
    """
    cells = bench.cells
    if "seconds" not in cells or cells["seconds"].isna().all():
        return None
    return {
        "table": _table(bench, cells),
        "total": duration(float(cells["seconds"].sum())),
        "charts": _charts(bench, cells),
        "backbones": bench.backbones,
    }


def seconds_per_epoch(cells: pd.DataFrame) -> float:
    """Return the mean seconds an epoch of some cells; nan where they count no epochs."""
    epochs = pd.to_numeric(cells["epochs"], errors="coerce") if "epochs" in cells else None
    if epochs is None or not (epochs > 0).any():
        return math.nan
    known = cells[epochs > 0]
    return float(known["seconds"].sum() / epochs[epochs > 0].sum())


def _table(bench: Bench, cells: pd.DataFrame) -> Table:
    rows = []
    for (backbone, arm), part in cells.groupby(["backbone", "arm"], sort=False):
        per_epoch = seconds_per_epoch(part)
        rows.append(
            [
                str(backbone),
                str(arm),
                len(part),
                round(float(part["train_rows"].mean())),
                _rounded(part, "parameters"),
                _rounded(part, "trained_parameters"),
                _mean(part, "epochs"),
                float(part["seconds"].mean()),
                None if math.isnan(per_epoch) else per_epoch,
                f"{int(part['prefix_cached'].fillna(False).sum())} of {len(part)}"
                if "prefix_cached" in part
                else None,
                ", ".join(sorted({str(device) for device in part["device"].dropna()}))
                if "device" in part
                else None,
            ]
        )
    rows.sort(key=lambda row: (bench.backbones.index(row[0]), bench.arms.index(row[1])))
    columns = [
        Column("backbone", tables.TEXT),
        Column("arm", tables.TEXT),
        Column("trainings", tables.COUNT),
        Column("trained on", tables.COUNT),
        Column("parameters", tables.COUNT),
        Column("of them trained", tables.COUNT),
        Column("epochs", tables.decimals(1)),
        Column("a training", SECONDS),
        Column("an epoch", SECONDS),
        Column("frozen part cached"),
        Column("device", tables.TEXT),
    ]
    return Table(
        "costs",
        f"Mean wall-clock time of a training; {plural(len(cells), 'training')} in all. Trained: in "
        "the last phase",
        columns,
        rows,
        merge=1,
    )


def _rounded(part: pd.DataFrame, column: str) -> int | None:
    value = _mean(part, column)
    return None if value is None else round(value)


def _mean(part: pd.DataFrame, column: str) -> float | None:
    if column not in part or part[column].isna().all():
        return None
    return float(part[column].astype(float).mean())


def _charts(bench: Bench, cells: pd.DataFrame) -> list[dict[str, Any]]:
    spent = cells.groupby(["split", "backbone", "arm"])["seconds"].mean()
    drawings = []
    for split in bench.splits:
        for database in bench.databases:
            figures = [f for f in bench.figures if (f["split"], f["database"]) == (split, database)]
            best: dict[str, float] = {}
            for figure in figures:
                value = figure["accuracy"]["mean"]
                best[figure["backbone"]] = max(value, best.get(figure["backbone"], value))
            spots = [
                charts.Spot(
                    float(spent[split, figure["backbone"], figure["arm"]]),
                    100 * value["mean"],
                    bench.backbones.index(figure["backbone"]) % 8,
                    figure["arm"] if value["mean"] == best[figure["backbone"]] else "",
                    *(math.nan if end is None else 100 * end for end in interval(figure)),
                    note=f"{figure['backbone']}, {figure['arm']}: {100 * value['mean']:.1f} %",
                )
                for figure in figures
                for value in [figure["accuracy"]]
            ]  # fmt: skip
            if len(spots) > 1:
                name = bench.place({"split": split, "database": database, "backbone": "all"})
                chart = charts.scatter(
                    spots,
                    title=f"Accuracy on {name} against the time of a training",
                    x="seconds a training",
                    y="accuracy, per cent",
                    width=330,
                    height=200,
                )
                drawings.append({"name": name, "chart": chart})
    return drawings
