"""What each gate did to the set, how far the classifier can be believed, and what was copied."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifiers.report_parts import charts, tables
from classifiers.report_parts.tables import Column, Table

Metrics = Mapping[str, Any]
_SHOWN = ("precision", "recall", "coverage")


def gate_section(metrics: Sequence[Metrics]) -> dict[str, Any]:
    """Arrange what `score` and `select` found out about gates.

    Args:
        metrics: The ``metrics.json`` of selected corpora, one a fold. Those of before a figure
            was invented say nothing about it.

    Returns:
        ``costs`` (two tables, of all emotions and of each, or none), ``space``, ``k``, ``notes``
        (sentences) and ``reliability`` (one a fold: ``name``, ``chart``, ``table``).
    """
    several = len(metrics) > 1
    costs, notes, reliability = [], [], []
    for number, content in enumerate(metrics):
        group = f"fold {number}" if several else ""
        costs += [_cost(group, line) for line in (content.get("gates") or {}).get("costs", [])]
        notes += [f"{group}: {note}" if group else note for note in _notes(content)]
        calibration = (content.get("classifier") or {}).get("calibration")
        if calibration:
            reliability.append(_reliability(group, calibration))
    first = metrics[0] if metrics else {}
    return {
        "costs": _cost_tables(costs, several) if costs else [],
        "space": (first.get("space") or {}).get("extractor", ""),
        "k": first.get("neighbours", "k"),
        "notes": notes,
        "reliability": reliability,
    }


def _cost_tables(costs: Sequence[Mapping[str, Any]], several: bool) -> list[Table]:
    columns = [
        Column("gate", tables.TEXT),
        *([Column("fold", tables.TEXT)] if several else []),
        Column("emotion"),
        *(Column(name, tables.COUNT) for name in ("removed", "left", "n real")),
        *(Column(f"{name}, %") for name in _SHOWN),
        Column("coverage by lot, %"),
    ]

    def table(name: str, caption: str, chosen: Sequence[Mapping[str, Any]]) -> Table:
        rows = [
            [
                row["gate"],
                *([row["group"]] if several else []),
                *(row[key] for key in ("emotion", "removed", "left", "n_real")),
                *row["cells"],
                row["by_lot"],
            ]
            for row in chosen
        ]
        return Table(name, caption, columns, rows)

    every = [row for row in costs if row["emotion"] == "all"]
    each = [row for row in costs if row["emotion"] != "all"]
    return [
        table("gate-costs", "What each gate cost, all emotions", every),
        table(
            "gate-costs-per-emotion",
            "What each gate cost, for each emotion that it took faces of",
            each,
        ),
    ]


def _cost(group: str, line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group": group,
        "gate": line["gate"],
        "emotion": line["emotion"],
        "removed": line["removed"],
        "left": line["n_after"],
        "n_real": line["n_real"],
        "cells": [_change(line["before"][name], line["after"][name]) for name in _SHOWN],
        "by_lot": _share(line["coverage_by_lot"]),
    }


def _change(before: float | None, after: float | None) -> str:
    return f"{_share(before)} → {_share(after)}"


def _share(value: float | None) -> str:
    return charts.DASH if value is None else f"{100 * value:.1f}"


def _notes(content: Metrics) -> list[str]:
    notes = []
    if found := content.get("memorisation"):
        spread = found["distances"]
        parts = [
            f"{name} {spread[key]['q50']:.2f} (5 % below {spread[key]['q05']:.2f}, n = "
            f"{spread[key]['n']:,})"
            for key, name in (
                ("generated", "a synthetic face and its nearest training face"),
                ("same_person", "two pictures of one person"),
                ("strangers", "a training face and its nearest stranger"),
            )
            if spread[key]["n"]
        ]
        notes.append(f"Median distance between {'; '.join(parts)}.")
        authentic = found["authentic"]
        sentence = (
            f"Of {authentic['n']:,} synthetic faces, {100 * authentic['value']:.1f} % are farther "
            "from their nearest training face than that is from another (AuthPct)"
        )
        closest = found["nearer_to_training"]
        if "value" in closest:
            low, high = closest["interval"]
            sentence += (
                f"; {100 * closest['value']:.1f} % ({100 * low:.1f} to {100 * high:.1f}, jackknife "
                f"over people and faces) lie nearer to training faces than to faces of split "
                f"{closest['holdout']}, {closest['people']} people each: 50 % where nothing is "
                "memorised."
            )
        else:
            sentence += f". Not held against held-out faces: {closest['missing']}."
        notes.append(sentence)
    if identity := content.get("identity"):
        notes.append(
            f"Identity was {identity['missing']}."
            if "missing" in identity
            else f"Identity was checked by {identity['extractor']}, with a limit of "
            f"{identity['threshold']:.3f} from {identity['n_faces']:,} real faces of "
            f"{identity['n_subjects']:,} people."
        )
    return notes


def _reliability(group: str, calibration: Mapping[str, Any]) -> dict[str, Any]:
    lines = {
        name: (
            [100 * each["confidence"] for each in calibration[side]["bins"]],
            [100 * each["accuracy"] for each in calibration[side]["bins"]],
        )
        for side, name in (("before", "as trained"), ("after", "calibrated"))
    }
    low = min(min(x) for x, _ in lines.values())
    lines["perfect"] = ([low, 100.0], [low, 100.0])
    rows = []
    for side, name in (("before", "as trained"), ("after", "calibrated")):
        found = calibration[side]
        bounds = found["interval"]
        rows.append(
            {
                "name": name,
                "error": _share(found["ece"]),
                "interval": f"{_share(bounds[0])} to {_share(bounds[1])}",
                "loss": f"{found['loss']:.3f}",
                "n": found["n"],
            }
        )
    title = f"Reliability of the gate's classifier {group}".strip()
    return {
        "name": group,
        "temperature": f"{calibration['temperature']:.2f}",
        "names": list(lines),
        "chart": charts.curves(
            [
                charts.Curve(name, *line, number)
                for number, (name, line) in enumerate(lines.items())
            ],
            title=title,
            x="its probability, per cent",
            y="right, per cent",
        ),
        "table": Table(
            f"reliability-{group}".replace(" ", "-").rstrip("-"),
            "Expected calibration error over 15 bins, and mean negative log-likelihood",
            [
                Column("probabilities", tables.TEXT),
                *(Column(name) for name in ("error, points", "95 % interval")),
                Column("log-likelihood loss"),
                Column("n", tables.COUNT),
            ],
            [[row[key] for key in ("name", "error", "interval", "loss", "n")] for row in rows],
        ),
    }
