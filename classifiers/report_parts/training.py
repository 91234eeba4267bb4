"""How GANs trained: tables, curves, faces along the way, and what was kept."""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.report_parts import pictures, tables
from classifiers.report_parts.charts import DASH
from classifiers.report_parts.tables import Column, Table, duration
from classifiers.report_parts.training_charts import SPLITS, charts, over_each_other
from classifiers.report_parts.training_folder import (
    METRICS,
    Training,
    number,
    plain_name,
    short,
    whole,
)

log = logging.getLogger(__name__)

FRAMES = 5  # of a film


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
        "together": over_each_other(trainings) if together and len(trainings) > 1 else None,
        "gans": [
            {
                "name": training.name,
                "sentences": _sentences(training),
                "charts": charts(training) if len(training.ticks) > 1 else [],
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


def _row(training: Training) -> dict[str, Any]:
    choice, facts = training.choice, training.facts
    figures = choice or _last_reading(training)
    return {
        "name": training.name,
        "faces": _faces_learned(facts),
        "steps": whole(training.last_step),
        "kept": _kept(training),
        "kernel": _with_interval(figures),
        "floor": short(choice.get("real_to_real")),
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
    return f"{whole(facts['images'] - extra)}{f' + {whole(extra)} extra' if extra else ''}"


def _kept(training: Training) -> str:
    choice = training.choice
    if not choice:
        # without a reading there is nothing to choose by
        return "last step" if training.record else DASH
    if choice["rule"] == "last step":
        return f"step {whole(choice['step'])}, the last"
    among = choice.get("chosen_from")
    readings = f"{among} reading{'s' if among != 1 else ''}"
    return f"step {whole(choice['step'])}: {choice['rule']} of {readings}"


def _events(training: Training) -> list[str]:
    facts, events = training.facts, []
    if not training.record:
        events.append("not finished")
    if count := len(facts.get("rollbacks") or []):
        events.append(f"{count} roll-back{'s' if count != 1 else ''}")
    if collapsed := training.choice.get("collapsed_at"):
        later = len(collapsed) - 1
        more = f" and {later} later reading{'s' if later > 1 else ''}" if later else ""
        events.append(f"collapse at step {whole(collapsed[0])}{more}")
    if stopped := facts.get("stopped"):
        events.append(f"stopped at step {whole(stopped['step'])}: {stopped['reason']}")
    return events


def _sentences(training: Training) -> list[str]:
    """Say what no curve shows."""
    sentences, ticks = [], training.ticks
    if not training.record:
        words = "It has no record: it still trains, or was stopped on the way."
        if len(ticks):
            last = time.localtime((training.folder / METRICS).stat().st_mtime)
            words += (
                f" Its last tick is step {whole(training.last_step)}, written at "
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
        f"{words} {short(value)}"
        for name, words in names.items()
        if math.isfinite(value := training.column(name)[0])
    ]
    return _sentence(f"At its end {', '.join(figures)}") if figures else ""


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
        frame | {"name": f"step {whole(step)}", "kept": step == kept}
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


def _last_reading(training: Training) -> dict[str, float]:
    measured = training.ticks.dropna(subset="kernel") if "kernel" in training.ticks else None
    if measured is None or measured.empty:
        return {}
    return {str(name): float(value) for name, value in measured.iloc[-1].items()}


def _with_interval(figures: Mapping[str, Any]) -> str:
    low, high = number(figures.get("low")), number(figures.get("high"))
    interval = f" [{short(low)}, {short(high)}]" if math.isfinite(low + high) else ""
    return short(figures.get("kernel")) + interval


def _share(part: Any, whole: Any) -> str:
    share = number(part) / (number(whole) or math.nan)
    return f"{100 * share:.0f} %" if math.isfinite(share) else DASH


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
