"""The benchmark's figures, arranged for the page: gains with intervals, scores, confusions."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.report_parts import charts
from classifiers.statistics import Estimate
from classifiers.summary import summarise
from curation.artifact import read_json

SCORES = ("accuracy", "macro_f1", "balanced_accuracy")
WORDS = {
    "original": "real faces",
    "geometric": "real faces and their geometric copies",
    "gan": "real faces, their geometric copies and the synthetic faces that passed the gates",
    "synthetic": "the synthetic faces that passed the gates, alone",
}
# the arm that answers the question of the page: the same training set, with and without GAN faces
HEADLINE = "gan"


def benchmark_section(folders: Sequence[Path], emotions: Sequence[str]) -> dict[str, Any] | None:
    """Read benchmark folders; several are the folds of one benchmark.

    Args:
        folders: Folders with ``summary.json``, ``results.parquet`` and ``predictions.parquet``.
        emotions: The outputs, in order.

    Returns:
        What the page's template shows, or None without folders.
    """
    if not folders:
        return None
    summary = _summary(folders, emotions)
    reference, figures = summary["reference"], summary["figures"]
    against = [entry for entry in figures if "against" in entry]
    trained_on = _training_rows(folders)
    return {
        "reference": reference,
        "arms": {entry["arm"]: _words(entry["arm"], trained_on) for entry in _by_arm(figures)},
        "runs": len(summary["seeds"]),
        "comparisons": summary["comparisons"],
        "people": {entry["database"]: entry["subjects"] for entry in figures},
        "design": _design(summary, figures),
        "verdicts": [_plain_verdict(entry) for entry in against],
        "headline": _headline(figures, reference),
        "differences": [_difference(entry) for entry in _ordered(against)],
        "chart": _gains(against, reference),
        "scores": [_score_row(entry) for entry in _ordered(figures)],
        "recalls": _recalls(figures, summary["emotions"]),
        "emotions": summary["emotions"],
        "confusions": [
            {
                "name": f"{entry['database']}, {entry['arm']}",
                "n": f"{entry['images']} images × {entry['seeds']} trainings",
                "chart": charts.confusion(
                    np.asarray(entry["confusion"]),
                    summary["emotions"],
                    title=f"Confusion matrix of arm {entry['arm']} on {entry['database']}",
                ),
            }
            for entry in _ordered(figures)
        ],
    }


def _summary(folders: Sequence[Path], emotions: Sequence[str]) -> Mapping[str, Any]:
    first = read_json(folders[0] / "summary.json")
    if len(folders) == 1:
        return first
    frames = [pd.read_parquet(folder / "predictions.parquet") for folder in folders]
    return summarise(frames, first["reference"], emotions=first.get("emotions", emotions))


def _training_rows(folders: Sequence[Path]) -> dict[str, str]:
    results = pd.concat([pd.read_parquet(folder / "results.parquet") for folder in folders])
    found = results.groupby("arm")["train_rows"].agg(["min", "max"])
    return {
        str(arm): f"{low:,}" if low == high else f"{low:,} to {high:,}"
        for arm, low, high in found.itertuples()
    }


def _design(summary: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> str:
    runs, folds = len(summary["seeds"]), max(entry["folds"] for entry in figures)
    databases = dict.fromkeys(entry["database"] for entry in figures)
    tested = ", ".join(
        f"{name} ({entry['images']} images of {entry['subjects']} people)"
        for name in databases
        for entry in [next(entry for entry in figures if entry["database"] == name)]
    )
    text = (
        f"Each arm is a training set; a recogniser is trained on it for the same number of steps "
        f"with {runs} seed{'s' if runs != 1 else ''} and tested on real faces of people in no "
        f"training set: {tested}. "
    )
    if folds > 1:
        text += f"The people are dealt to {folds} folds, put together before scoring. "
    return text + (
        "“Helps” or “hurts” needs both intervals of the gain, over trainings and over people, "
        "on one side of zero. Neither covers the GANs, which were trained once."
    )


def _ordered(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(figures, key=lambda entry: (entry["database"], _rank(entry["arm"])))


def _by_arm(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(figures, key=lambda entry: _rank(entry["arm"]))


def _rank(arm: str) -> int:
    return list(WORDS).index(arm) if arm in WORDS else len(WORDS)


def _words(arm: str, trained_on: Mapping[str, str]) -> str:
    count = f"{trained_on[arm]} training pictures" if arm in trained_on else ""
    return ", ".join(filter(None, [WORDS.get(arm, ""), count]))


def _estimate(plain: Mapping[str, Any]) -> Estimate:
    def number(key: str) -> float:
        return math.nan if plain.get(key) is None else float(plain[key])

    return Estimate(
        number("value"), number("low"), number("high"), int(plain.get("n") or 0), number("p")
    )


def _difference(entry: Mapping[str, Any]) -> dict[str, Any]:
    against = entry["against"]
    runs = _estimate(against["seeds"])
    return {
        "database": entry["database"],
        "arm": entry["arm"],
        "runs": runs,
        "people": _estimate(against["subjects"]),
        "p": charts.DASH
        if math.isnan(runs.p)
        else f"{runs.p:.2g}"
        if runs.p >= 0.001
        else "<0.001",
        "images": entry["images"],
        "verdict": against["verdict"],
    }


def _plain_verdict(entry: Mapping[str, Any]) -> dict[str, Any]:
    against = entry["against"]
    return {
        "database": entry["database"],
        "arm": entry["arm"],
        "verdict": against["verdict"],
        "gain": against["difference"],
        "over_seeds": against["seeds"],
        "over_subjects": against["subjects"],
    }


def _headline(figures: Sequence[Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    plain = {entry["database"]: entry for entry in figures if entry["arm"] == reference}
    lines = []
    for entry in figures:
        if entry["arm"] != HEADLINE or "against" not in entry:
            continue
        row, without = _difference(entry), plain[entry["database"]]
        covered = " and ".join(
            f"{_range(estimate)} over {estimate.n} {unit}"
            for estimate, unit in ((row["runs"], "paired trainings"), (row["people"], "people"))
            if not math.isnan(estimate.low)
        )
        interval = f" (95 % interval {covered})" if covered else " (one run: no interval)"
        lines.append(
            {
                "database": entry["database"],
                "word": row["verdict"],
                "sentence": (
                    f"{points(row['runs'].value)} points of accuracy{interval}: "
                    f"{100 * entry['accuracy']['mean']:.1f} % with and "
                    f"{100 * without['accuracy']['mean']:.1f} % without, "
                    f"{entry['images']} test images."
                ),
            }
        )
    return lines


def points(value: float) -> str:
    """Write a difference of shares as signed percentage points: ``+2.1``."""
    if not math.isfinite(value):
        return charts.DASH
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")


def _range(estimate: Estimate) -> str:
    return f"{points(estimate.low)} to {points(estimate.high)}"


def _gains(entries: Sequence[Mapping[str, Any]], reference: str) -> str:
    lines = []
    for entry in _ordered(entries):
        row = _difference(entry)
        label = f"{entry['arm']} on {entry['database']}"
        pair = [
            charts.Point(
                series,
                *(100 * bound for bound in estimate[:3]),
                note=(
                    f"{label}: {points(estimate.value)} ({_range(estimate)}), "
                    f"n = {estimate.n} {unit}"
                ),
            )
            for series, estimate, unit in (
                (0, row["runs"], "trainings"),
                (1, row["people"], "people"),
            )
        ]
        lines.append((label, pair))
    return charts.intervals(
        lines,
        title=f"Gain in accuracy of each arm against {reference}, with 95 % intervals",
        unit=f"percentage points against {reference}",
        zero=True,
    )


def _score_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "database": entry["database"],
        "arm": entry["arm"],
        "runs": entry["seeds"],
        "images": entry["images"],
        "people": entry["subjects"],
    }
    for score in SCORES:
        figure = entry[score]
        std = figure.get("std")
        row[score] = {
            "mean": f"{100 * figure['mean']:.1f}",
            "std": charts.DASH if std is None else f"{100 * std:.1f}",
            "interval": _estimate({**figure, "value": figure["mean"], "n": entry["seeds"]}),
        }
    return row


def _recalls(figures: Sequence[Mapping[str, Any]], emotions: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for entry in _ordered(figures):
        counts = np.asarray(entry["confusion"]).sum(axis=1)
        pairs = [
            (entry["precision"].get(emotion), entry["recall"].get(emotion)) for emotion in emotions
        ]
        rows.append(
            {
                "database": entry["database"],
                "arm": entry["arm"],
                "cells": [
                    " / ".join(
                        charts.DASH if value is None else f"{100 * value:.0f}" for value in pair
                    )
                    for pair in pairs
                ],
                "counts": [round(count / entry["seeds"]) for count in counts],
            }
        )
    return rows
