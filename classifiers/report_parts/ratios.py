"""How much synthetic data: accuracy and gain against the number of synthetic faces a real one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import Bench, Figure, describe
from classifiers.report_parts.scores import interval
from classifiers.report_parts.tables import Column, Table
from classifiers.report_parts.verdicts import estimate
from curation.recipes import Part, Recipe

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
        ``figures`` (``name``, ``charts``: with the spread over trainings and with the interval
        over people), ``keys`` (legend) and ``table``; None where no series has two amounts.
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
        name = bench.place(entry)
        lines: dict[str, list[charts.Curve]] = {"trainings": [], "people": []}
        for number, one in enumerate(series):
            found = [
                (ratio, figure)
                for ratio, arm in one.points
                if (figure := bench.figure(split, backbone, database, arm))
            ]
            if not found:
                continue
            people = [_over_people(figure) for _, figure in found]
            lines["trainings"].append(_curve(one.name, number, found, _over_trainings(found)))
            lines["people"].append(_curve(one.name, number, found, people))
            rows += [
                _row(bench, entry, one.name, *pair) for pair in zip(found, people, strict=True)
            ]
        drawn = [line for group in lines.values() for line in group]
        values = [v for line in drawn for part in (line.y, line.low, line.high) for v in part]
        finite = [value for value in values if np.isfinite(value)]
        figures.append(
            {
                "name": name,
                "charts": [
                    {
                        "name": words,
                        "chart": charts.curves(
                            lines[key],
                            title=f"Accuracy on {name} by amount, interval over {key}",
                            x="added pictures for each real face",
                            y="accuracy, per cent",
                            bounds=(min(finite) - 1, max(finite) + 1),
                            width=330,
                            height=200,
                        ),
                    }
                    for key, words in (
                        ("trainings", "band: standard deviation over trainings"),
                        ("people", "band: 95 % interval over trainings and people"),
                    )
                ],
            }
        )
    return {
        "figures": figures,
        "keys": [(charts.key(number), one.name) for number, one in enumerate(series)],
        "table": _table(bench, rows),
    }


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


def _over_trainings(found: Sequence[tuple[float, Figure]]) -> list[tuple[float, float]]:
    bands = []
    for _, figure in found:
        mean, std = figure["accuracy"]["mean"], figure["accuracy"].get("std")
        bands.append((np.nan, np.nan) if std is None else (mean - std, mean + std))
    return bands


def _over_people(figure: Figure) -> tuple[float, float]:
    low, high = interval(figure)
    return (np.nan, np.nan) if low is None or high is None else (low, high)


def _curve(
    name: str,
    number: int,
    found: Sequence[tuple[float, Figure]],
    band: Sequence[tuple[float, float]],
) -> charts.Curve:
    return charts.Curve(
        name,
        [ratio for ratio, _ in found],
        [100 * figure["accuracy"]["mean"] for _, figure in found],
        number % 8,
        [100 * low for low, _ in band],
        [100 * high for _, high in band],
    )


def _row(
    bench: Bench,
    entry: Mapping[str, str],
    series: str,
    found: tuple[float, Figure],
    people: tuple[float, float],
) -> list[Any]:
    ratio, figure = found
    claim = bench.claim(figure)
    gain = estimate(claim["both"]) if claim else None
    return [
        bench.place(entry),
        series,
        ratio,
        figure["arm"],
        None if figure.get("train_rows") is None else round(figure["train_rows"]),
        (figure["accuracy"]["mean"], figure["accuracy"].get("std")),
        people,
        gain.value if gain else None,
        (gain.low, gain.high) if gain else None,
        claim["verdict"] if claim else None,
    ]


def _table(bench: Bench, rows: Sequence[Sequence[Any]]) -> Table:
    references = ", ".join(sorted(set((bench.summary.get("references") or {}).values())))
    return Table(
        "ratios",
        f"Accuracy by amount, per cent, mean ± standard deviation over trainings; gain against "
        f"{references or 'the reference'} in percentage points; intervals: trainings and people",
        [
            Column("test database", tables.TEXT),
            Column("series", tables.TEXT),
            Column("for each real face", tables.decimals(2)),
            Column("arm", tables.TEXT),
            Column("trained on", tables.COUNT),
            Column("accuracy", tables.SPREAD),
            Column("95 % interval", tables.BOUNDS),
            Column("gain", tables.POINTS),
            Column("95 % of the gain", tables.GAIN),
            Column("verdict", tables.VERDICT),
        ],
        rows,
        merge=2,
    )
