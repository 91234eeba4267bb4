"""Quality of the crops: the distribution of each measure, and the rows at its bad end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from curation.inspection.pictures import Shown, name, words
from curation.inspection.reading import Survey


@dataclass(frozen=True)
class Measure:
    """A figure that every picture may have.

    Attributes:
        column: Its name.
        title: Its name in words.
        unit: Its unit; empty for none.
        bad: Which end is doubtful: ``low``, ``high``, ``far`` from 0, or ``both``.
        note: What it says, in a sentence.
    """

    column: str
    title: str
    unit: str
    bad: str
    note: str


RECORDED = (
    Measure("detector_score", "detector's confidence", "", "low", "low: perhaps no face"),
    Measure("landmark_error", "landmark error in inter-eye distances", "", "high",
            "high: the landmarks do not fit a face seen from the front"),
    Measure("sharpness", "sharpness", "", "low", "low: blurred"),
    Measure("exposure", "exposure", "", "both", "either end: too dark, too light"),
    Measure("angle_deg", "tilt before alignment", "°", "far", "large: a tilted head, or no eye"),
    Measure("face_px", "face in the original", "px", "low", "small: enlarged to the standard size"),
)  # fmt: skip
MEASURED = (
    Measure("shorter_px", "shorter side", "px", "low", "small: little detail"),
    Measure("brightness", "grey level, 0 to 255", "", "both", "either end: too dark, too light"),
    Measure("contrast", "contrast in grey levels", "", "low", "low: blank or veiled"),
)


@dataclass(frozen=True)
class Distribution:
    """What the page shows of one measure."""

    measure: Measure
    n: int
    unknown: int
    quantiles: dict[str, str]
    chart: Markup
    worst: Sequence[Shown]


def distributions(
    facts: pd.DataFrame, survey: Survey, *, columns: int
) -> dict[str, list[Distribution]]:
    """Describe every measure that the corpus has: ``recorded`` and ``measured`` here.

    Geometric copies carry their parent's figures and are left out.

    Args:
        facts: The corpus.
        survey: What the pass over its pictures measured.
        columns: Rows to show at the bad end of each measure.
    """
    rows = np.flatnonzero((facts["origin"] != "geometric").to_numpy())
    seen = {
        "shorter_px": np.minimum(survey.width, survey.height).astype(np.float64),
        "brightness": survey.brightness.astype(np.float64),
        "contrast": survey.contrast.astype(np.float64),
    }
    recorded = [
        _describe(
            measure,
            facts[measure.column].to_numpy(np.float64, na_value=np.nan),
            rows,
            facts,
            columns,
        )
        for measure in RECORDED
        if measure.column in facts and facts[measure.column].notna().any()
    ]
    # what was recorded from the middle of the face says more than the whole picture's mean
    known = {each.measure.column for each in recorded}
    measured = [
        _describe(measure, seen[measure.column], rows, facts, columns)
        for measure in MEASURED
        if measure.column != "brightness" or "exposure" not in known
    ]
    # standardised faces have one size, which says nothing
    measured = [each for each in measured if each.quantiles["least"] != each.quantiles["most"]]
    return {"recorded": recorded, "measured": measured}


def _describe(
    measure: Measure, values: np.ndarray, rows: np.ndarray, facts: pd.DataFrame, columns: int
) -> Distribution:
    known = rows[np.isfinite(values[rows])]
    figures = values[known]
    spread = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
    quantiles = {
        name: number(float(np.quantile(figures, share)) if len(figures) else math.nan)
        for name, share in spread.items()
    }
    badness = {
        "low": -figures,
        "high": figures,
        "far": np.abs(figures),
        "both": np.abs(figures - np.median(figures)) if len(figures) else figures,
    }[measure.bad]
    order = np.argsort(-badness, kind="stable")[:columns]
    worst = []
    for at in order:
        fact = facts.iloc[known[at]].to_dict()
        figure = f"{number(float(figures[at]))} {measure.unit}".strip()
        worst.append(
            Shown(
                int(known[at]),
                f"{words(fact)}: {measure.title} {figure}",
                f"{figure} · {name(fact)}",
            )
        )
    return Distribution(
        measure, len(known), len(rows) - len(known), quantiles, histogram(figures, measure), worst
    )


def histogram(values: np.ndarray, measure: Measure, *, bins: int = 32) -> Markup:
    """Draw a histogram as inline SVG with its range below and its largest bin at the side.

    Args:
        values: Finite figures, (N,).
        measure: What they are.
        bins: Bars over the range from the 0.1 % to the 99.9 % quantile; the outermost bars hold
            what lies beyond.
    """
    if not len(values):
        return Markup("")
    low, high = (float(np.quantile(values, share)) for share in (0.001, 0.999))
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values.clip(low, high), bins=bins, range=(low, high))
    width, height, top = 300, 90, 14
    bar = width / bins
    unit = f" {measure.unit}" if measure.unit else ""
    parts = [
        Markup('<text class="dim" x="0" y="10">{} a bar at most, n = {}</text>').format(
            f"{counts.max():,}", f"{len(values):,}"
        )
    ]
    for index, count in enumerate(counts):
        if not count:
            continue
        tall = max(count / counts.max() * height, 0.75)
        begin, end = (number(low + (high - low) * (index + step) / bins) for step in (0, 1))
        parts.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{} to {}{}: {}</title></rect>"
            ).format(
                index * bar, top + height - tall, bar - 1, tall, begin, end, unit, f"{count:,}"
            )
        )
    y = top + height
    parts.append(Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(width, y, y))
    for x, anchor, value in ((0, "start", low), (width, "end", high)):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}{}</text>').format(
                x, y + 15, anchor, number(value), unit
            )
        )
    label = f"Histogram of {measure.title}, from {number(low)} to {number(high)}{unit}"
    return (
        Markup(
            '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}">'
        ).format(label, width, y + 20, width)
        + Markup("").join(parts)
        + Markup("</svg>")
    )


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", "−")


def missing(facts: pd.DataFrame, absent: Sequence[str]) -> list[str]:
    """Name the recorded measures that this corpus lacks altogether."""
    return [
        measure.title
        for measure in RECORDED
        if measure.column in absent or facts[measure.column].isna().all()
    ]


def bad_end(measure: Measure) -> str:
    """Say which rows the strip shows."""
    ends: Mapping[str, str] = {
        "low": "lowest",
        "high": "highest",
        "far": "farthest from 0",
        "both": "farthest from the median",
    }
    return ends[measure.bad]
