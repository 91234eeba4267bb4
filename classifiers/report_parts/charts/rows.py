"""Charts with a label a row: stacked bars, and points with intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from classifiers.report_parts.charts.axes import axis_x, padded, round_ticks
from classifiers.report_parts.charts.drawing import label_width, marker, stroke, svg, write


class Point(NamedTuple):
    """A figure with its interval in one line of `intervals`; nan bounds draw no bar."""

    series: int
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[float]]], series: Sequence[tuple[str, str]], *, title: str
) -> Markup:
    """Draw one horizontal bar a row, made of parts.

    Args:
        rows: Label and one value ≥ 0 for each part.
        series: Name and CSS class of each part.
        title: What is shown, for a screen reader.
    """
    left, width, line = label_width([label for label, _ in rows]), 520, 26
    top = max((sum(values) for _, values in rows), default=0) or 1
    parts = []
    for index, (label, values) in enumerate(rows):
        y = index * line
        parts.append(write(left - 8, y + 17, label, anchor="end"))
        x = float(left)
        for (name, css), value in zip(series, values, strict=True):
            if not value:
                continue
            wide = value / top * width
            tip = f"{label}: {value:g} {name}"
            parts.append(
                Markup(
                    '<rect class="fill {}" x="{:.1f}" y="{}" width="{:.1f}" height="{}">'
                ).format(css, x, y + 4, max(wide - 1, 0.5), line - 8)
                + Markup("<title>{}</title></rect>").format(tip)
            )
            if wide > 9 * len(f"{value:g}") + 4:
                parts.append(write(x + wide / 2, y + 17, f"{value:g}", anchor="middle", css="on"))
            x += wide
    return svg(left + width + 8, len(rows) * line, title, parts)


def intervals(
    rows: Sequence[tuple[str, Sequence[Point]]],
    *,
    title: str,
    unit: str,
    zero: bool = False,
    bounds: tuple[float, float] | None = None,
    width: int = 480,
) -> Markup:
    """Draw points with intervals, one line a row; several series in a row lie below each other.

    Args:
        rows: Label and points.
        title: What is shown, for a screen reader.
        unit: Written under the axis.
        zero: Draw the line of no difference, and keep it in view.
        bounds: Limits of the axis; taken from the data where absent.
        width: Of the plotted part, in px.
    """
    left, step = label_width([label for label, _ in rows]) + 6, 16
    finite = [
        value
        for _, points in rows
        for point in points
        for value in (point.value, point.low, point.high)
        if math.isfinite(value)
    ]
    if bounds is None:
        bounds = padded([*finite, 0.0] if zero or not finite else finite)
    ticks = round_ticks(*bounds)
    low, high = min(bounds[0], ticks[0]), max(bounds[1], ticks[-1])

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / ((high - low) or 1) * width

    heights = [max(len(points), 1) * step + 10 for _, points in rows]
    bottom = sum(heights)
    parts = [axis_x(ticks, at, bottom, unit, left + width / 2)]
    if zero:
        parts.append(stroke(at(0), 0, at(0), bottom, css="zero"))
    y = 0
    for (label, points), height in zip(rows, heights, strict=True):
        parts.append(write(left - 14, y + height / 2 + 4, label, anchor="end"))
        for index, point in enumerate(points):
            if not math.isfinite(point.value):
                continue
            middle = y + 5 + step * (index + 0.5)
            css = f"s{point.series}"
            mark = Markup("<g><title>{}</title>").format(point.note or f"{label}: {point.value:g}")
            if math.isfinite(point.low) and math.isfinite(point.high):
                mark += stroke(at(point.low), middle, at(point.high), middle, css=f"bar {css}")
                for end in (point.low, point.high):
                    mark += stroke(at(end), middle - 4, at(end), middle + 4, css=f"bar {css}")
            mark += marker(at(point.value), middle, point.series)
            parts.append(mark + Markup("</g>"))
        y += height
    return svg(left + width + 24, bottom + 40, title, parts)
