"""Set-level distances: value, interval, floor and counts, for each emotion and extractor."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifiers.report_parts import charts, tables
from classifiers.report_parts.tables import Column, Table
from curation.artifact import read_json

DISTANCES = {"frechet": "Fréchet distance", "kernel": "Kernel distance"}
SHARES = {
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def read_metrics(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the content of each folder's ``metrics.json``, in order; folders without: none."""
    paths = [folder / "metrics.json" for folder in folders]
    return [read_json(path) for path in paths if path.is_file()]


def fidelity_section(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Arrange set-level distances by extractor.

    Args:
        metrics: What ``score`` wrote, one a fold.

    Returns:
        One dict an extractor: ``extractor``, ``resizer``, ``distances`` (``name``, ``rows``,
        ``chart``, ``table``; the classifier's score among them), ``judged`` (by whom that is),
        ``shares`` (table of the neighbour figures) and ``missing`` (why a set has no figures).
    """
    several = len(metrics) > 1
    grouped: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for number, content in enumerate(metrics):
        for line in content.get("fidelity", []):
            group = f"fold {number}" if several else ""
            grouped.setdefault(line["extractor"], []).append((group, line))
    return [
        _extractor(number, name, lines, several)
        for number, (name, lines) in enumerate(grouped.items())
    ]


def _extractor(
    number: int, name: str, lines: Sequence[tuple[str, Mapping[str, Any]]], several: bool
) -> dict[str, Any]:
    distances = []
    for key, title in {**DISTANCES, "classifier_score": "Classifier score"}.items():
        rows = [_row(group, line["emotion"], line[key]) for group, line in lines if key in line]
        if rows:
            table = _distance_table(f"{key}-{number}", f"{title}, {name}", rows, several)
            distances.append(
                {"name": title, "rows": rows, "chart": _chart(title, rows), "table": table}
            )
    measured = [(group, line) for group, line in lines if any(key in line for key in SHARES)]
    return {
        "extractor": name,
        "resizer": lines[0][1].get("resizer", ""),
        "distances": distances,
        "judged": [
            f"{judge['name']} ({judge['hash']}, {judge['classes']} classes, seed {line['seed']})"
            for _, line in lines
            if (judge := line.get("classifier"))
        ],
        "shares": _share_table(number, lines[0][1].get("k", "k"), measured, several),
        "missing": [
            f"{line['emotion']} {group}".strip() + f": {line['missing']}"
            for group, line in lines
            if line.get("missing")
        ],
    }


def _distance_table(
    name: str, title: str, rows: Sequence[Mapping[str, Any]], several: bool
) -> Table:
    fold = [Column("fold", tables.TEXT)] if several else []
    columns = [
        Column("emotion", tables.TEXT),
        *fold,
        *(Column(text) for text in ("value", "95 % interval", "n real", "n synthetic")),
        *(Column(text) for text in ("at floor's n", "floor", "n of floor")),
        Column("", tables.WARNING),
    ]
    keys = ("value", "interval", "n_real", "n_fake", "at_floor_n", "floor", "n_floor")
    lines = [
        [
            row["emotion"],
            *([row["group"]] if several else []),
            *(row[key] for key in keys),
            "small sample" if row["small"] else "",
        ]
        for row in rows
    ]
    return Table(
        f"distance-{name}",
        f"{title}; jackknife 95 % intervals over people and samples",
        columns,
        lines,
        totals=_sums(rows),
    )


def _share_table(
    number: int, k: object, measured: Sequence[tuple[str, Mapping[str, Any]]], several: bool
) -> Table | None:
    if not measured:
        return None
    fold = [Column("fold", tables.TEXT)] if several else []
    columns = [Column("emotion", tables.TEXT), *fold]
    for title in SHARES.values():
        columns += [Column(text, group=title) for text in ("value", "95 % interval", "floor")]
    columns += [Column("n real"), Column("n synthetic")]
    lines = []
    for group, line in measured:
        rows = [_row(group, line["emotion"], line.get(key) or {}) for key in SHARES]
        cells = [row[key] for row in rows for key in ("value", "interval", "floor")]
        counts = [rows[0]["n_real"], rows[0]["n_fake"]]
        lines.append([line["emotion"], *([group] if several else []), *cells, *counts])
    return Table(
        f"neighbours-{number}",
        f"Neighbour figures, k = {k}: value, 95 % interval and floor",
        columns,
        lines,
        totals=_sums([line for _, line in measured]),
    )


def _sums(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [number for number, row in enumerate(rows) if row["emotion"] == "all"]


def _row(group: str, emotion: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    interval = figure.get("interval")
    return {
        "group": group,
        "emotion": emotion,
        "figure": figure,
        "value": _number(figure.get("value")),
        "interval": f"{_number(interval[0])} to {_number(interval[1])}"
        if interval
        else charts.DASH,
        "n_real": figure.get("n_real", 0),
        "n_fake": figure.get("n_fake", 0),
        "at_floor_n": _number(figure.get("at_floor_n")),
        "floor": _number(figure.get("floor")),
        "n_floor": figure.get("n_floor") or charts.DASH,
        "small": bool(figure.get("small_sample")),
    }


def _chart(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        figure = row["figure"]
        low, high = figure.get("interval") or (math.nan, math.nan)
        label = f"{row['emotion']} {row['group']}".strip()
        points = [
            charts.Point(0, _real(figure.get("value")), low, high, f"{label}: {row['value']}"),
            charts.Point(1, _real(figure.get("at_floor_n")), note=f"{label}: {row['at_floor_n']}"),
            charts.Point(2, _real(figure.get("floor")), note=f"{label}, floor: {row['floor']}"),
        ]
        lines.append((label, points))
    return charts.intervals(
        lines,
        title=f"{name} of synthetic faces with interval and floor, for each emotion",
        unit=name,
        zero=True,
        width=330,
    )


def _real(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return charts.DASH
    digits = f"{value:#.3g}" if abs(value) < 100 else f"{value:.0f}"
    return digits.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else digits
