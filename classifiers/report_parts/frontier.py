"""Accuracy against latency and size: which network, in which file, is worth having."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.predictions import ALL
from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import plural
from classifiers.report_parts.scores import interval
from classifiers.report_parts.tables import Column, Table
from curation.artifact import read_json
from curation.lineage import read_record

FILES = {"torch": "PyTorch", "fp32": "float32", "fp16": "float16", "int8": "int8"}
# share by which costs may differ and count as equal: files of one architecture differ by some
# bytes, and timings of one network by some per cent
_EQUAL = {"bytes": 0.01, "milliseconds": 0.1}
_UNBEATEN = {
    (): None,
    ("milliseconds",): "latency",
    ("bytes",): "size",
    ("milliseconds", "bytes"): "both",
}


def frontier_section(folder: Path | None) -> dict[str, Any] | None:
    """Arrange what stage ``frontier`` measured.

    Returns:
        ``figures`` (``name``, ``charts``: accuracy against milliseconds and against megabytes, the
        frontier drawn in), ``networks`` (legend), ``tables``, and for the text ``reference``,
        ``margin``, ``machine``, ``equal`` (per cent of a cost), ``seeds`` and ``sentence`` (the
        smallest file that is worth as much as the reference); None without a folder.
    """
    if folder is None:
        return None
    summary = read_json(folder / "summary.json")
    record = read_record(folder)
    measured = pd.read_parquet(folder / "frontier.parquet")
    networks = measured["backbone"].drop_duplicates().tolist()
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for figure in summary["figures"]:
        if figure["database"] != ALL:
            key = (figure["split"], figure["database"], figure["backbone"])
            groups.setdefault(key, []).append(figure)
    several = {place: len({key[place] for key in groups}) > 1 for place in (0, 2)}
    figures, shown = [], []
    for (split, database, corpus), own in groups.items():
        words = [database, *([split] if several[0] else []), *([corpus] if several[2] else [])]
        name = ", ".join(words)
        spots = _spots(own, measured, corpus)
        figures.append({"name": name, "charts": _charts(name, spots, networks)})
        shown.append(_table(name, "-".join(words), spots, summary))
    facts = record.content["facts"] if record else {}
    return {
        "figures": figures,
        "networks": networks,
        "tables": shown,
        "reference": summary["reference"],
        "margin": f"{100 * summary['margin']:g}",
        "machine": facts.get("machine", {}),
        "equal": {cost: f"{100 * share:g}" for cost, share in _EQUAL.items()},
        "seeds": plural(len(summary["seeds"]), "training"),
        "sentence": _sentence(summary, measured),
    }


def _sentence(summary: Mapping[str, Any], measured: pd.DataFrame) -> str:
    """Name the smallest file whose mean accuracy is within the margin on every test database."""
    sizes = measured.groupby(["backbone", "precision"])["bytes"].mean()
    below: dict[str, list[Mapping[str, Any]]] = {}
    for claim in summary["claims"]:
        if claim["backbone"] != ALL:
            below.setdefault(claim["arm"], []).append(claim)
    enough = [
        (sizes[tuple(name.rsplit("/", 1))], name)
        for name, claims in below.items()
        if all(claim["difference"] >= -summary["margin"] for claim in claims)
    ]
    if not enough:
        return ""
    size, name = min(enough)
    network, file = name.rsplit("/", 1)
    gaps = []
    for claim in below[name]:
        gap, low, high = claim["difference"], claim["both"]["low"], claim["both"]["high"]
        # a single training has no interval
        span = "" if low is None else f" ({tables.points(low)} to {tables.points(high)})"
        gaps.append(f"{claim['database']} {tables.points(gap)}{span}")
    return (
        f"The smallest file at most {100 * summary['margin']:g} points below "
        f"{summary['reference']} on every test database is {network} in {FILES[file]}, "
        f"{size / 1e6:.2f} MB: {', '.join(gaps)} points."
    )


def _spots(
    figures: Sequence[Mapping[str, Any]], measured: pd.DataFrame, corpus: str
) -> list[dict[str, Any]]:
    """Join accuracies with costs, and say which no other beats in both, for each cost."""
    spots = []
    for figure in figures:
        network, file = figure["arm"].rsplit("/", 1)
        rows = measured[
            (measured["backbone"] == network)
            & (measured["precision"] == file)
            & (measured["arm"] == corpus)
        ]
        costs = rows[["bytes", "milliseconds", "parameters", "multiply_adds"]].mean()
        spots.append(
            {
                "network": network,
                "file": file,
                "figure": figure,
                "accuracy": figure["accuracy"]["mean"],
                **{str(name): float(value) for name, value in costs.items()},
            }
        )
    for cost in ("milliseconds", "bytes"):
        for spot in _steps(spots, cost):
            spot.setdefault("best", []).append(cost)
    return spots


def _steps(spots: Sequence[dict[str, Any]], cost: str) -> list[dict[str, Any]]:
    """Return the points that none beats in both accuracy and cost (see `_EQUAL`), by cost."""

    def beats(other: Mapping[str, Any], spot: Mapping[str, Any]) -> bool:
        if other["accuracy"] == spot["accuracy"]:
            return other[cost] < spot[cost]
        return (
            other["accuracy"] > spot["accuracy"] and other[cost] <= (1 + _EQUAL[cost]) * spot[cost]
        )

    best = [spot for spot in spots if not any(beats(other, spot) for other in spots)]
    return sorted(best, key=lambda spot: spot[cost])


def _charts(
    name: str, spots: Sequence[dict[str, Any]], networks: Sequence[str]
) -> list[dict[str, Any]]:
    drawn = []
    for cost, words, unit in (
        ("milliseconds", "latency", "milliseconds a face, one core"),
        ("bytes", "size", "megabytes"),
    ):
        points = {id(spot): _point(spot, cost, networks) for spot in spots}
        chart = charts.scatter(
            list(points.values()),
            title=f"Accuracy on {name} against {words}",
            x=unit,
            y="accuracy, per cent",
            width=330,
            height=220,
            steps=[points[id(spot)] for spot in _steps(spots, cost)],
        )
        drawn.append({"name": f"{name}: accuracy against {words}", "chart": chart})
    return drawn


def _point(spot: Mapping[str, Any], cost: str, networks: Sequence[str]) -> charts.Spot:
    low, high = interval(spot["figure"])
    return charts.Spot(
        spot[cost] / (1e6 if cost == "bytes" else 1),
        100 * spot["accuracy"],
        networks.index(spot["network"]) % 8,
        FILES[spot["file"]] if cost in spot.get("best", []) else "",
        np.nan if low is None else 100 * low,
        np.nan if high is None else 100 * high,
        note=f"{spot['network']}, {FILES[spot['file']]}: {100 * spot['accuracy']:.1f} %, "
        f"{spot['milliseconds']:.2f} ms, {spot['bytes'] / 1e6:.2f} MB",
    )


def _table(
    name: str, mark: str, spots: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> Table:
    rows = []
    for spot in spots:
        figure, claim = spot["figure"], spot["figure"].get("against")
        spread = (figure["accuracy"]["mean"], figure["accuracy"]["std"])
        rows.append(
            [
                spot["network"],
                FILES[spot["file"]],
                spot["parameters"] / 1e6,
                spot["multiply_adds"] / 1e6,
                spot["bytes"] / 1e6,
                spot["milliseconds"],
                spread,
                interval(figure),
                claim["difference"] if claim else None,
                (claim["both"]["low"], claim["both"]["high"]) if claim else None,
                ("yes" if claim["within"] else "not shown") if claim else None,
                _UNBEATEN[tuple(spot.get("best", ()))],
            ]
        )
    first = spots[0]["figure"]
    people, trainings = plural(first["subjects"], "person"), plural(first["seeds"], "training")
    return Table(
        f"frontier-{mark}",
        f"{name}: {first['images']:,} pictures of {people}. Accuracy in per cent, mean ± standard "
        f"deviation over {trainings}; intervals of 95 % over trainings and people; difference to "
        f"{summary['reference']} in PyTorch in percentage points, paired by seed",
        [
            Column("network", tables.TEXT),
            Column("file", tables.TEXT),
            Column("parameters", tables.decimals(2), "millions"),
            Column("multiply-adds", tables.decimals(1), "millions"),
            Column("MB", tables.decimals(2)),
            Column("ms a face", tables.decimals(2)),
            Column("mean", tables.SPREAD, "accuracy"),
            Column("95 %", tables.BOUNDS, "accuracy"),
            Column("mean", tables.POINTS, "difference"),
            Column("95 %", tables.GAIN, "difference"),
            Column(f"> −{100 * summary['margin']:g}", tables.TEXT, "difference"),
            Column("unbeaten in", tables.TEXT),
        ],
        rows,
        merge=1,
    )
