"""How much synthetic data: accuracy and gain against the number of synthetic faces a real one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import Bench, Figure, describe
from classifiers.report_parts.scores import interval
from classifiers.report_parts.tables import Column, Table
from classifiers.report_parts.verdicts import estimate
from classifiers.statistics import Estimate
from curation.recipes import Part, Recipe

SPREAD = "band: standard deviation over trainings"
INTERVAL = "band: 95 % interval over trainings and people"
ADDED = ("gan", "imported", "geometric")  # the part that a series varies, the first that it has


class Series(NamedTuple):
    """Arms that differ in the amount of one part alone.

    Attributes:
        name: In words.
        points: Ascending: pictures of that part for each real face, and the arm.
    """

    name: str
    points: Sequence[tuple[float, str]]


def ratio_section(bench: Bench) -> dict[str, Any] | None:
    """Arrange the arms that form series.

    Returns:
        ``figures`` (``name``, ``charts``: accuracy and its spread over trainings, gain and its
        interval), ``keys`` (legend) and ``table``; None where no series has two amounts.
    """
    series = find_series(bench)
    if not series:
        return None
    groups: dict[tuple[str, str, str], None] = {}
    for figure in bench.figures:
        groups[figure["split"], figure["backbone"], str(figure["database"])] = None
    figures, rows = [], []
    for split, backbone, database in groups:
        entry = {"split": split, "backbone": backbone, "database": database}
        scores, gains = [], []
        for number, one in enumerate(series):
            found = [
                (ratio, figure)
                for ratio, arm in one.points
                if (figure := bench.figure(split, backbone, database, arm))
            ]
            if found:
                scores.append(_scores(one.name, number % 8, found))
                gains.append(_gains(bench, one.name, number % 8, found))
                rows += [_row(bench, entry, one.name, *pair) for pair in found]
        name = bench.place(entry)
        figures.append(
            {
                "name": name,
                "charts": [
                    _drawing(f"Accuracy on {name}", "accuracy, per cent", SPREAD, scores),
                    _drawing(f"Gain on {name}", "gain, percentage points", INTERVAL, gains),
                ],
            }
        )
    return {
        "figures": figures,
        "keys": [(charts.key(number % 8), one.name) for number, one in enumerate(series)],
        "table": _table(rows),
    }


def _drawing(title: str, y: str, band: str, lines: Sequence[charts.Curve]) -> dict[str, str]:
    values = [v for line in lines for part in (line.y, line.low, line.high) for v in part]
    finite = [value for value in values if np.isfinite(value)]
    chart = charts.curves(
        lines,
        title=f"{title} by amount",
        x="added pictures for each real face",
        y=y,
        levels=[charts.Level("", 0.0)] if min(finite) < 0 < max(finite) else [],
        bounds=(min(finite) - 1, max(finite) + 1),
        width=330,
        height=200,
    )
    return {"name": band, "chart": chart}


def find_series(bench: Bench) -> list[Series]:
    """Find the arms whose recipes differ in the amount of one part alone.

    Returns:
        Series of two amounts and more, beside them the single arms that vary the same; none where
        no series has two amounts, since one point makes no line.
    """
    grouped: dict[str, list[tuple[float, str]]] = {}
    for arm in bench.arms:
        recipe = bench.recipes.get(arm)
        varied = next((part for part in ADDED if recipe and part in recipe.parts), None)
        if recipe is None or varied is None:
            continue
        part = recipe.parts[varied]
        others = {name: other for name, other in recipe.parts.items() if name != varied}
        base = _arm_of(bench, others)
        amount = part.ratio if part.ratio is not None else _counted(bench, arm, others, base)
        if amount is not None:
            name = describe(Recipe({**recipe.parts, varied: Part(gate=part.gate)}))
            grouped.setdefault(name, [(0.0, base)] if base else []).append((amount, arm))
    if all(len([arm for ratio, arm in points if ratio]) < 2 for points in grouped.values()):
        return []
    return [Series(name, sorted(points)) for name, points in grouped.items()]


def _arm_of(bench: Bench, parts: Mapping[str, Part]) -> str | None:
    """Return the arm that has exactly these parts."""
    recipes = bench.recipes
    same = (arm for arm in bench.arms if arm in recipes and dict(recipes[arm].parts) == parts)
    return next(same, None)


def _counted(bench: Bench, arm: str, others: Mapping[str, Part], base: str | None) -> float | None:
    """Count an arm's pictures beyond those of its other parts, for each real face."""
    rows = bench.cells.groupby("arm")["train_rows"].mean()
    real = _arm_of(bench, {"real": Part()})
    if real is None or (others and base is None):
        return None
    return float((rows[arm] - (rows[base] if base else 0)) / rows[real])


def _scores(name: str, number: int, found: Sequence[tuple[float, Figure]]) -> charts.Curve:
    spreads = [figure["accuracy"].get("std") for _, figure in found]
    means = [100 * figure["accuracy"]["mean"] for _, figure in found]
    half = [np.nan if std is None else 100 * std for std in spreads]
    return charts.Curve(
        name,
        [ratio for ratio, _ in found],
        means,
        number,
        [mean - std for mean, std in zip(means, half, strict=True)],
        [mean + std for mean, std in zip(means, half, strict=True)],
    )


def _gains(
    bench: Bench, name: str, number: int, found: Sequence[tuple[float, Figure]]
) -> charts.Curve:
    x, gains = [], []
    for ratio, figure in found:
        claim = bench.claim(figure)
        if claim or figure["arm"] in bench.summary["references"].values():
            x.append(ratio)
            # the first point adds nothing, to whatever it is held against
            gains.append(estimate(claim["both"]) if claim else Estimate(0.0, 0.0, 0.0, 0))
    return charts.Curve(
        name, x, [100 * gain.value for gain in gains], number,
        [100 * gain.low for gain in gains], [100 * gain.high for gain in gains],
    )  # fmt: skip


def _row(
    bench: Bench,
    entry: Mapping[str, str],
    series: str,
    ratio: float,
    figure: Figure,
) -> list[Any]:
    claim = bench.claim(figure)
    gain = estimate(claim["both"]) if claim else None
    return [
        bench.place(entry),
        series,
        ratio,
        figure["arm"],
        None if figure.get("train_rows") is None else round(figure["train_rows"]),
        (figure["accuracy"]["mean"], figure["accuracy"].get("std")),
        interval(figure),
        claim["reference"] if claim else None,
        gain.value if gain else None,
        (gain.low, gain.high) if gain else None,
        claim["verdict"] if claim else None,
    ]


def _table(rows: Sequence[Sequence[Any]]) -> Table:
    return Table(
        "ratios",
        "Accuracy by ratio (added pictures for each real face), per cent, mean ± standard "
        "deviation over trainings; gain in percentage points, each against the arm that is named; "
        "intervals over trainings and people",
        [
            Column("test database", tables.TEXT),
            Column("series", tables.TEXT),
            Column("ratio", tables.decimals(2)),
            Column("arm", tables.TEXT),
            Column("trained on", tables.COUNT),
            Column("accuracy", tables.SPREAD),
            Column("95 % interval", tables.BOUNDS),
            Column("against", tables.TEXT),
            Column("gain", tables.POINTS),
            Column("95 % of the gain", tables.GAIN),
            Column("verdict", tables.VERDICT),
        ],
        rows,
        merge=2,
    )
