"""A GAN's training as its folder tells it, finished or not.

A folder holds ``metrics.csv`` (a line a tick, empty cells where nothing was measured),
``samples/step-*.png`` (ten faces a row) and, once finished, ``interpolation.png`` and the record.
A training that still goes on has a hidden folder ``.<name>.partial`` without a record.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.report_parts.charts import DASH
from curation.lineage import read_record

METRICS = "metrics.csv"


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
        return number(share) * number(self.choice.get("real_diversity"))

    @property
    def last_step(self) -> float:
        """The last step that left figures, or nan."""
        return self.ticks["step"].max() if len(self.ticks) else math.nan

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


def number(value: Any) -> float:
    """Return a noted figure, nan for none."""
    return math.nan if value is None else float(value)


def short(value: Any) -> str:
    """Write a figure in two digits, or a dash."""
    figure = number(value)
    if not math.isfinite(figure):
        return DASH
    return f"{figure:#.2g}".replace("-", "\N{MINUS SIGN}") if abs(figure) < 10 else f"{figure:.1f}"


def whole(value: float) -> str:
    """Write a whole number, or a dash."""
    return f"{value:,.0f}" if math.isfinite(value) else DASH
