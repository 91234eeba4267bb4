"""How GANs trained, from their folders alone: curves, faces along the way, and what was kept.

A folder holds ``metrics.csv`` (a line a tick, empty cells where nothing was measured),
``samples/step-*.png`` (ten faces a row) and, once finished, ``interpolation.png`` and the record.
A training that still goes on has a hidden folder ``.<name>.partial`` without a record.
"""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.report_parts import pictures, tables
from classifiers.report_parts.charts import DASH, MOST_POINTS, Curve, Level, Moment, curves, key
from classifiers.report_parts.tables import Column, Table, duration
from curation.lineage import read_record

log = logging.getLogger(__name__)

METRICS = "metrics.csv"
FRAMES = 5  # of a film
PENALTIES = {"penalty_r1": "R1", "penalty_path_length": "path length"}
SPLITS = {"train": "training", "validation": "validation"}


@dataclass(frozen=True)
class Training:
    """What one GAN's folder says.

    Attributes:
        folder: The folder.
        name: What to call it.
        ticks: Lines of ``metrics.csv``, all columns float64, ascending by ``step``.
        record: What the pipeline noted when it was done; empty while it trains.
    """

    folder: Path
    name: str
    ticks: pd.DataFrame
    record: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage returned."""
        return self.record.get("facts") or {}

    @property
    def choice(self) -> Mapping[str, Any]:
        """Which networks were kept and by what; empty where nothing was measured."""
        return self.facts.get("choice") or {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The stage's settings."""
        return self.record.get("config") or {}

    @property
    def collapse(self) -> float:
        """Diversity in grey levels below which the generator counts as collapsed, or nan."""
        share = (self.config.get("watch") or {}).get("collapse")
        return _number(share) * _number(self.choice.get("real_diversity"))

    def column(self, name: str) -> list[float]:
        """Return a column of ``metrics.csv``; all nan where there is none."""
        if name in self.ticks:
            return self.ticks[name].tolist()
        return [math.nan] * len(self.ticks)

    def has(self, *names: str) -> bool:
        """Whether a column has a figure."""
        return any(np.isfinite(self.column(name)).any() for name in names)


def is_training(folder: Path) -> bool:
    """Whether a folder is that of a GAN that trained or trains."""
    return (folder / METRICS).is_file()


def read_training(folder: Path, name: str | None = None) -> Training:
    """Read a GAN's folder, finished or not.

    Args:
        folder: The folder; what it lacks is absent from what is read.
        name: What to call the GAN; its emotion, or its folder's name, where absent.
    """
    record = read_record(folder)
    if name is None:
        name = record.name if record else plain_name(folder)
    return Training(folder, name, _ticks(folder / METRICS), record.content if record else {})


def plain_name(folder: Path) -> str:
    """Return a folder's name without fingerprint, and without what hides it while it is made."""
    return re.sub(r"-[0-9a-f]{10}$", "", folder.name.removeprefix(".").removesuffix(".partial"))


def training_section(
    trainings: Sequence[Training], *, together: bool = False, faces: bool = True
) -> dict[str, Any]:
    """Arrange trainings for the page.

    Args:
        trainings: In the order in which they are shown.
        together: Whether several are drawn over each other too, to be compared.
        faces: Whether the faces along the way may be shown.

    Returns:
        What the template shows: the ``rows`` of its ``table``, ``notes`` below it, ``together``,
        and of each of ``gans`` the ``name``, ``sentences``, ``charts``, ``film`` and
        ``interpolation``.
    """
    rows = [_row(training) for training in trainings]
    return {
        "rows": rows,
        "table": _table(rows) if rows else None,
        "notes": _notes(trainings),
        "together": _together(trainings) if together and len(trainings) > 1 else None,
        "gans": [
            {
                "name": training.name,
                "sentences": _sentences(training),
                "charts": _charts(training) if len(training.ticks) > 1 else [],
                **(_faces(training) if faces else {"film": [], "interpolation": None}),
            }
            for training in trainings
        ],
    }


def collapse_warning(trainings: Sequence[Training]) -> str | None:
    """Name the GANs whose samples came to be too much alike, or None."""
    names = [training.name for training in trainings if training.choice.get("collapsed_at")]
    if not names:
        return None
    several = "s" if len(names) > 1 else ""
    return f"Samples of the GAN{several} of {', '.join(names)} collapsed on the way."


def _ticks(path: Path) -> pd.DataFrame:
    """Read ``metrics.csv``, whose last line may be half-written."""
    try:
        table = pd.read_csv(path, on_bad_lines="skip")
    except (FileNotFoundError, pd.errors.EmptyDataError):
        table = pd.DataFrame()
    if "step" not in table:
        return pd.DataFrame({"step": np.empty(0)})
    table = table.apply(pd.to_numeric, errors="coerce").astype(float)
    return table.dropna(subset="step").sort_values("step", kind="stable", ignore_index=True)


def _row(training: Training) -> dict[str, Any]:
    choice, facts = training.choice, training.facts
    figures = choice or _last_reading(training)
    return {
        "name": training.name,
        "faces": _faces_learned(facts),
        "steps": _whole(_trained_steps(training)),
        "kept": _kept(training),
        "kernel": _with_interval(figures),
        "floor": _short(choice.get("real_to_real")),
        "diversity": _share(figures.get("diversity"), choice.get("real_diversity")),
        "time": duration(float(training.record["seconds"]))
        if training.record.get("seconds") is not None
        else DASH,
        "events": _events(training),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = {
        "GAN": tables.TEXT, "faces": tables.PLAIN, "steps": tables.PLAIN,
        "networks kept": tables.TEXT, "kernel distance [95 % interval]": tables.PLAIN,
        "real to real": tables.PLAIN, "diversity, of real": tables.PLAIN, "time": tables.PLAIN,
    }  # fmt: skip
    keys = ("name", "faces", "steps", "kept", "kernel", "floor", "diversity", "time")
    return Table(
        "gan-trainings",
        "What was trained and what was kept; of an unfinished training, the last reading",
        [*(Column(*pair) for pair in names.items()), Column("on the way", tables.WARNING)],
        [[*(row[key] for key in keys), "; ".join(row["events"])] for row in rows],
        loose=True,
    )


def _notes(trainings: Sequence[Training]) -> list[str]:
    """Say what readings rest on, one sentence for all GANs that share it."""
    names: dict[str, list[str]] = {}
    for training in trainings:
        if against := training.choice.get("against"):
            measured = f"measured on the {SPLITS.get(against, against)} faces"
            names.setdefault(training.choice.get("caveat") or measured, []).append(training.name)
    return [
        f"{'All of them' if len(who) == len(trainings) > 1 else ', '.join(who)}: {words}."
        for words, who in names.items()
    ]


def _faces_learned(facts: Mapping[str, Any]) -> str:
    if "images" not in facts:
        return DASH
    extra = sum((facts.get("extra") or {}).values())
    return f"{_whole(facts['images'] - extra)}{f' + {_whole(extra)} extra' if extra else ''}"


def _trained_steps(training: Training) -> float:
    return training.ticks["step"].max() if len(training.ticks) else math.nan


def _kept(training: Training) -> str:
    choice = training.choice
    if not choice:
        # without a reading there is nothing to choose by
        return "last step" if training.record else DASH
    if choice["rule"] == "last step":
        return f"step {_whole(choice['step'])}, the last"
    among = choice.get("chosen_from")
    readings = f"{among} reading{'s' if among != 1 else ''}"
    return f"step {_whole(choice['step'])}: {choice['rule']} of {readings}"


def _events(training: Training) -> list[str]:
    facts, events = training.facts, []
    if not training.record:
        events.append("not finished")
    if count := len(facts.get("rollbacks") or []):
        events.append(f"{count} roll-back{'s' if count != 1 else ''}")
    if collapsed := training.choice.get("collapsed_at"):
        later = len(collapsed) - 1
        more = f" and {later} later reading{'s' if later > 1 else ''}" if later else ""
        events.append(f"collapse at step {_whole(collapsed[0])}{more}")
    if stopped := facts.get("stopped"):
        events.append(f"stopped at step {_whole(stopped['step'])}: {stopped['reason']}")
    return events


def _sentences(training: Training) -> list[str]:
    """Say what no curve shows."""
    sentences, ticks = [], training.ticks
    if not training.record:
        words = "It has no record: it still trains, or was stopped on the way."
        if len(ticks):
            last = time.localtime((training.folder / METRICS).stat().st_mtime)
            words += (
                f" Its last tick is step {_whole(_trained_steps(training))}, written at "
                f"{time.strftime('%H:%M on %d %B', last)}. The real faces' own figures come with "
                "the record."
            )
        sentences.append(words)
    if not len(ticks):
        sentences.append("No tick has left figures here.")
    elif len(ticks) == 1:
        sentences.append(f"One tick, so no curves. {_single(training)}")
    if len(ticks) and not training.has("kernel", "diversity"):
        known = "kernel" in ticks
        sentences.append(
            "No reading yet: kernel distance and diversity are measured every few ticks."
            if known
            else "Kernel distance and diversity were not measured (gan.watch=null)."
        )
    return sentences


def _single(training: Training) -> str:
    names = {
        "loss_discriminator": "the discriminator's loss",
        "loss_generator": "the generator's",
        "logit_real": "the mean logit of real faces",
        "logit_fake": "of generated ones",
    }
    figures = [
        f"{words} {_short(value)}"
        for name, words in names.items()
        if math.isfinite(value := training.column(name)[0])
    ]
    return _sentence(f"At its end {', '.join(figures)}") if figures else ""


def _charts(training: Training) -> list[dict[str, Any]]:
    name, choice = training.name, training.choice
    steps, last = training.column("step"), _trained_steps(training)

    def line(column: str, words: str, series: int = 0, **bounds: Sequence[float]) -> Curve:
        return Curve(words, steps, training.column(column), series, **bounds)

    kept = [Moment(f"kept: step {_whole(choice['step'])}", choice["step"])] if choice else []
    bad = [
        Moment(f"roll-back from step {_whole(each['from'])}", each["from"], bad=True)
        for each in training.facts.get("rollbacks") or []
    ]
    collapses = [
        Moment(f"collapse at step {_whole(step)}", step, bad=True)
        for step in choice.get("collapsed_at") or []
    ]
    penalties = [str(column) for column in training.ticks if str(column).startswith("penalty_")]
    real = _number(choice.get("real_diversity"))
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
                "levels": [Level("real to real", _number(choice.get("real_to_real")))],
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
                    Level(f"real faces {_short(real)}", real),
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
                line(column, PENALTIES.get(column, _penalty(column)), number)
                for number, column in enumerate(penalties)
            ],
            {"moments": bad},
        ),
    ]
    return [
        _figure(f"{name}: {label} over training", label, lines, x_end=last, **settings)
        for label, lines, settings in specifications
        if _drawable(lines)
    ]


def _together(trainings: Sequence[Training]) -> dict[str, Any]:
    """Draw several trainings over each other."""
    last = max((_trained_steps(each) for each in trainings if len(each.ticks)), default=1.0)

    def lines(column: str) -> list[Curve]:
        return [
            Curve(each.name, each.column("step"), each.column(column), series)
            for series, each in enumerate(trainings)
        ]

    def levels(words: str, fact: str) -> list[Level]:
        found = [_number(each.choice.get(fact)) for each in trainings]
        if np.ptp(found) <= 1e-3 * abs(found[0]):  # also false for nan
            return [Level(words, found[0])]
        return [
            Level(f"{words}, {each.name}", height, series)
            for series, (each, height) in enumerate(zip(trainings, found, strict=True))
        ]

    kept = [
        Moment(f"{each.name}, kept: step {_whole(step)}", step, series=series)
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


def _faces(training: Training) -> dict[str, Any]:
    """Choose sheets from the first to the last, and the kept step's; cut a row of each."""
    sheets = {
        int(found[1]): path
        for path in sorted((training.folder / "samples").glob("*.png"))
        if (found := re.search(r"(\d+)$", path.stem))
    }
    steps = sorted(sheets)
    chosen = {
        steps[int(i)] for i in np.linspace(0, len(steps) - 1, min(len(steps), FRAMES)).round()
    }
    kept = training.choice.get("step")
    chosen |= {step for step in steps if step == kept}
    classes = training.facts.get("emotions") or []
    conditional = len(classes) > 1 if training.record else plain_name(training.folder) == "trunk"
    film = [
        frame | {"name": f"step {_whole(step)}", "kept": step == kept}
        for step in sorted(chosen)
        if (frame := _row_of_faces(training, sheets[step], first_of_each=conditional))
    ]
    way = training.folder / "interpolation.png"
    return {
        "film": film,
        "classes": ", ".join(classes) if len(classes) > 1 else "",
        "interpolation": _row_of_faces(training, way, first_of_each=False)
        if way.is_file()
        else None,
    }


def _row_of_faces(training: Training, path: Path, *, first_of_each: bool) -> dict[str, Any] | None:
    side = (training.config.get("generator") or {}).get("size")
    try:
        uri, width = pictures.row_of_faces(path, side=side, first_of_each=first_of_each)
    except ValueError as error:
        if training.record:
            raise
        log.warning("%s; left out, since the training may be writing it", error)
        return None
    return {"uri": uri, "width": width}


def _target(training: Training) -> float:
    return _number((training.config.get("augmentation") or {}).get("target"))


def _penalty(column: str) -> str:
    return column.removeprefix("penalty_").replace("_", " ")


def _last_reading(training: Training) -> dict[str, float]:
    measured = training.ticks.dropna(subset="kernel") if "kernel" in training.ticks else None
    if measured is None or measured.empty:
        return {}
    return {str(name): float(value) for name, value in measured.iloc[-1].items()}


def _with_interval(figures: Mapping[str, Any]) -> str:
    low, high = _number(figures.get("low")), _number(figures.get("high"))
    interval = f" [{_short(low)}, {_short(high)}]" if math.isfinite(low + high) else ""
    return _short(figures.get("kernel")) + interval


def _share(part: Any, whole: Any) -> str:
    share = _number(part) / (_number(whole) or math.nan)
    return f"{100 * share:.0f} %" if math.isfinite(share) else DASH


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _short(value: Any) -> str:
    number = _number(value)
    if not math.isfinite(number):
        return DASH
    return f"{number:#.2g}".replace("-", "\N{MINUS SIGN}") if abs(number) < 10 else f"{number:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else DASH


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
