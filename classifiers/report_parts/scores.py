"""Scores of every arm: accuracies, each emotion's precision and recall, confusions, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from classifiers.calibration import reliability
from classifiers.report_parts import charts, tables
from classifiers.report_parts.benchmark import Bench, Figure, plural
from classifiers.report_parts.tables import Column, Table

SCORES = {
    "accuracy": "accuracy",
    "top2": "top-2 accuracy",
    "macro_f1": "macro-F1",
    "precision_macro": "macro-precision",
    "balanced_accuracy": "macro-recall",  # over the classes that occur
    "ece": "ECE",
}
FEW = 9  # drawings that are shown without being asked for


def score_section(bench: Bench) -> dict[str, Any]:
    """Arrange the figures of every arm.

    Returns:
        ``groups``, one for each split and test database: ``name``, ``scores``, ``emotions`` and
        ``people`` (tables), ``confusions`` and ``reliability`` (``name``, ``chart``), ``open``
        (whether they are few enough to be shown at once).
    """
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in bench.figures:
        groups.setdefault((figure["split"], str(figure["database"])), []).append(figure)
    return {"groups": [_group(bench, figures) for figures in groups.values()]}


def _group(bench: Bench, figures: Sequence[Figure]) -> dict[str, Any]:
    first = figures[0]
    name = bench.place({**first, "backbone": "all"})
    mark = "-".join(
        filter(None, [first["split"] if len(bench.splits) > 1 else "", first["database"]])
    )
    several = len(bench.backbones) > 1
    return {
        "name": name,
        "scores": _scores(bench, figures, mark, name),
        "emotions": _per_emotion(bench, figures, mark, name),
        "people": _people(bench, figures, mark, name),
        "confusions": [
            {
                "name": f"{figure['backbone']}, {figure['arm']}" if several else figure["arm"],
                "n": f"{figure['images']} pictures × {plural(figure['seeds'], 'training')}",
                "chart": charts.confusion(
                    np.asarray(figure["confusion"]),
                    bench.emotions,
                    title=f"Confusion matrix of {figure['backbone']}, {figure['arm']}, on {name}",
                ),
            }
            for figure in figures
        ],
        "reliability": _reliability(bench, figures, name),
        "open": len(figures) < FEW,
    }


def spread(figure: Figure, score: str) -> tuple[float | None, float | None]:
    """Return (mean, standard deviation over trainings) of a score, None where there is none."""
    value = figure.get(score) or {}
    return value.get("mean"), value.get("std")


def interval(figure: Figure) -> tuple[float | None, float | None]:
    """Return the bounds of an accuracy over trainings and people, cut at 0 and 1."""
    both = figure["accuracy"].get("both") or {}
    low, high = both.get("low"), both.get("high")
    return (low if low is None else max(low, 0.0)), (high if high is None else min(high, 1.0))


def _scores(bench: Bench, figures: Sequence[Figure], mark: str, name: str) -> Table:
    backbone = [Column("backbone", tables.TEXT)] if len(bench.backbones) > 1 else []
    columns = [
        *backbone,
        Column("arm", tables.TEXT),
        Column("trained on", tables.COUNT),
        Column("accuracy", tables.SPREAD),
        Column("95 % interval", tables.BOUNDS),
        *(Column(words, tables.SPREAD) for key, words in SCORES.items() if key != "accuracy"),
    ]
    rows = [
        [
            *([figure["backbone"]] if backbone else []),
            figure["arm"],
            None if figure.get("train_rows") is None else round(figure["train_rows"]),
            spread(figure, "accuracy"),
            interval(figure),
            *(spread(figure, score) for score in SCORES if score != "accuracy"),
        ]
        for figure in figures
    ]
    return Table(
        f"scores-{mark}",
        f"{name}: per cent, mean ± standard deviation over {_trainings(figures)}; 95 % interval "
        f"over trainings and people; n = {bench.tested(figures[0])}",
        columns,
        rows,
        merge=len(backbone),
    )


def _trainings(figures: Sequence[Figure]) -> str:
    counts = sorted({figure["seeds"] for figure in figures})
    if len(counts) == 1:
        return plural(counts[0], "training")
    return f"{counts[0]} to {plural(counts[-1], 'training')}"


def _per_emotion(bench: Bench, figures: Sequence[Figure], mark: str, name: str) -> Table:
    backbone = [Column("backbone", tables.TEXT)] if len(bench.backbones) > 1 else []
    confusion = np.asarray(figures[0]["confusion"])
    counts = np.rint(confusion.sum(axis=1) / max(figures[0]["seeds"], 1)).astype(int)
    columns = [
        *backbone,
        Column("arm", tables.TEXT),
        *(Column(f"{emotion} ({n})", tables.PAIR) for emotion, n in zip(bench.emotions, counts,
                                                                       strict=True)),
    ]  # fmt: skip
    rows = [
        [
            *([figure["backbone"]] if backbone else []),
            figure["arm"],
            *(
                (figure["precision"].get(emotion), figure["recall"].get(emotion))
                for emotion in bench.emotions
            ),
        ]
        for figure in figures
    ]
    return Table(
        f"emotions-{mark}",
        f"{name}: precision / recall of each emotion in per cent, trainings pooled; behind each "
        "name, n of its test pictures",
        columns,
        rows,
        merge=len(backbone),
    )


def _people(bench: Bench, figures: Sequence[Figure], mark: str, name: str) -> Table | None:
    backbone = [Column("backbone", tables.TEXT)] if len(bench.backbones) > 1 else []
    ranks = ("lowest", "lower_quartile", "median", "upper_quartile", "highest", "std")
    rows = [
        [
            *([figure["backbone"]] if backbone else []),
            figure["arm"],
            *(figure["per_subject"].get(rank) for rank in ranks),
        ]
        for figure in figures
        if figure.get("per_subject")
    ]
    if not rows:
        return None
    columns = [*backbone, Column("arm", tables.TEXT)]
    columns += [Column(rank.replace("_", " "), tables.PERCENT) for rank in ranks]
    caption = (
        f"{name}: how accuracy spreads over {plural(figures[0]['subjects'], 'person')}, trainings "
        "averaged, per cent"
    )
    return Table(f"people-{mark}", caption, columns, rows, merge=len(backbone))


def _reliability(bench: Bench, figures: Sequence[Figure], name: str) -> list[dict[str, Any]]:
    """Draw how often a recogniser is right by how sure it is: one drawing a backbone."""
    columns = [f"p_{emotion}" for emotion in bench.emotions]
    if not set(columns) <= set(bench.predictions):
        return []
    drawings = []
    for backbone in dict.fromkeys(figure["backbone"] for figure in figures):
        lines = [
            _reliability_curve(bench, figure, columns)
            for figure in figures
            if figure["backbone"] == backbone
        ]
        low = min((min(line.x) for line in lines if len(line.x)), default=0.0)
        lines.append(charts.Curve("perfect", [low, 100.0], [low, 100.0], 7))
        drawings.append(
            {
                "name": backbone if len(bench.backbones) > 1 else "",
                "chart": charts.curves(
                    lines,
                    title=f"Reliability of {backbone} on {name}",
                    x="its probability, per cent",
                    y="right, per cent",
                ),
                "keys": [(charts.key(line.series), line.name) for line in lines],
            }
        )
    return drawings


def _reliability_curve(bench: Bench, figure: Figure, columns: Sequence[str]) -> charts.Curve:
    table = bench.predictions_of(figure)
    codes = {emotion: code for code, emotion in enumerate(bench.emotions)}
    found = reliability(
        table[list(columns)].to_numpy(np.float64), table["emotion"].map(codes).to_numpy(np.int64)
    )
    bins: Sequence[Mapping[str, Any]] = found["bins"]
    return charts.Curve(
        str(figure["arm"]),
        [100 * each["confidence"] for each in bins],
        [100 * each["accuracy"] for each in bins],
        bench.arms.index(figure["arm"]) % 7,
    )
