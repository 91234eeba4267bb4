"""Curves of GAN trainings: one training for itself, and several over each other."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from classifiers.report_parts.charts import MOST_POINTS, Curve, Level, Moment, curves, key
from classifiers.report_parts.training_folder import Training, number, short, whole

PENALTIES = {"penalty_r1": "R1", "penalty_path_length": "path length"}
SPLITS = {"train": "training", "validation": "validation"}


def charts(training: Training) -> list[dict[str, Any]]:
    """Draw one training: distance, diversity, ADA, losses, logits, penalties, where known."""
    name, choice = training.name, training.choice
    steps, last = training.column("step"), training.last_step

    def line(column: str, words: str, series: int = 0, **bounds: Sequence[float]) -> Curve:
        return Curve(words, steps, training.column(column), series, **bounds)

    kept = [Moment(f"kept: step {whole(choice['step'])}", choice["step"])] if choice else []
    bad = [
        Moment(f"roll-back from step {whole(each['from'])}", each["from"], bad=True)
        for each in training.facts.get("rollbacks") or []
    ]
    collapses = [
        Moment(f"collapse at step {whole(step)}", step, bad=True)
        for step in choice.get("collapsed_at") or []
    ]
    penalties = [str(column) for column in training.ticks if str(column).startswith("penalty_")]
    real = number(choice.get("real_diversity"))
    against = (
        f" to the {SPLITS[choice['against']]} faces" if choice.get("against") in SPLITS else ""
    )
    band = ", 95 % band" if training.has("low", "high") else ""
    specifications: list[tuple[str, list[Curve], dict[str, Any]]] = [
        (
            "kernel distance",
            [
                line(
                    "kernel",
                    f"distance{against}{band}",
                    low=training.column("low"),
                    high=training.column("high"),
                )
            ],
            {
                "levels": [Level("real to real", number(choice.get("real_to_real")))],
                "moments": kept,
                "bounds": (0.0, 0.0),
                "log": True,
            },
        ),
        (
            "diversity in grey levels",
            [line("diversity", "diversity of the samples")],
            {
                "levels": [
                    Level(f"real faces {short(real)}", real),
                    Level("collapse below this", training.collapse),
                ],
                "moments": [*kept, *collapses],
                "bounds": (0.0, 0.0),
            },
        ),
        (
            "p and r of ADA",
            [
                line("ada_p", "p, chance of each augmentation"),
                line("ada_r", "r, mean sign of the real faces' logits", 1),
            ],
            {"levels": [Level("target of r", _target(training))], "bounds": (0.0, 1.0)},
        ),
        (
            "losses",
            [
                line("loss_discriminator", "discriminator"),
                line("loss_generator", "generator", 1),
                line("loss_codes", "generator, drawing faces from their codes", 2),
            ],
            {"moments": bad},
        ),
        (
            "mean logits",
            [line("logit_real", "real faces"), line("logit_fake", "generated faces", 1)],
            {"levels": [Level("", 0.0)], "moments": bad},
        ),
        (
            "penalties",
            [
                line(column, PENALTIES.get(column, _penalty(column)), place)
                for place, column in enumerate(penalties)
            ],
            {"moments": bad},
        ),
    ]
    return [
        _figure(f"{name}: {label} over training", label, lines, x_end=last, **settings)
        for label, lines, settings in specifications
        if _drawable(lines)
    ]


def over_each_other(trainings: Sequence[Training]) -> dict[str, Any]:
    """Draw several trainings over each other."""
    last = max((each.last_step for each in trainings if len(each.ticks)), default=1.0)

    def lines(column: str) -> list[Curve]:
        return [
            Curve(each.name, each.column("step"), each.column(column), series)
            for series, each in enumerate(trainings)
        ]

    def levels(words: str, fact: str) -> list[Level]:
        found = [number(each.choice.get(fact)) for each in trainings]
        if np.ptp(found) <= 1e-3 * abs(found[0]):  # also false for nan
            return [Level(words, found[0])]
        return [
            Level(f"{words}, {each.name}", height, series)
            for series, (each, height) in enumerate(zip(trainings, found, strict=True))
        ]

    kept = [
        Moment(f"{each.name}, kept: step {whole(step)}", step, series=series)
        for series, each in enumerate(trainings)
        if (step := each.choice.get("step")) is not None
    ]
    specifications: list[tuple[str, str, dict[str, Any]]] = [
        (
            "kernel distance",
            "kernel",
            {
                "levels": levels("real to real", "real_to_real"),
                "moments": kept,
                "bounds": (0.0, 0.0),
                "log": True,
            },
        ),
        (
            "diversity in grey levels",
            "diversity",
            {
                "levels": levels("real faces", "real_diversity"),
                "moments": kept,
                "bounds": (0.0, 0.0),
            },
        ),
        ("p of ADA", "ada_p", {"bounds": (0.0, 1.0)}),
    ]
    batches = {each.config["batch_size"] for each in trainings if "batch_size" in each.config}
    return {
        "note": f"Their steps are of different batch sizes: {', '.join(map(str, sorted(batches)))}."
        if len(batches) > 1
        else "",
        "charts": [
            _figure(f"{label} of {len(trainings)} trainings", label, drawn, x_end=last, **settings)
            for label, column, settings in specifications
            if _drawable(drawn := lines(column))
        ],
    }


def _figure(title: str, label: str, lines: Sequence[Curve], **settings: Any) -> dict[str, Any]:
    present = [line for line in lines if _drawable([line])]
    of_each = {
        level.name.split(",")[0]
        for level in settings.get("levels", ())
        if level.series is not None and math.isfinite(level.value)
    }

    def long(line: Curve) -> bool:
        return not line.low and int(np.isfinite(line.y).sum()) > MOST_POINTS

    bad = {moment.name.split(" ")[0] for moment in settings.get("moments", ()) if moment.bad}
    return {
        "chart": curves(present, title=title, x="step", y=label, **settings),
        "keys": [(key(line.series), line.name) for line in present],
        "notes": [f"dotted, in each one's colour: {name}" for name in sorted(of_each)]
        + (["shade: lowest to highest of several ticks"] if any(map(long, present)) else []),
        "bad": sorted(bad),
    }  # fmt: skip


def _drawable(lines: Sequence[Curve]) -> bool:
    return any(np.isfinite(line.y).any() for line in lines)


def _target(training: Training) -> float:
    return number((training.config.get("augmentation") or {}).get("target"))


def _penalty(column: str) -> str:
    return column.removeprefix("penalty_").replace("_", " ")
