"""Charts as inline SVG: small, sharp at any size, coloured by the page's style sheet.

Colours are CSS classes (``s0`` … ``s7`` for series), so that one drawing reads in a light and in
a dark page. Every drawing names itself for a screen reader, and every text is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

DASH = "\N{EN DASH}"  # stands where there is no figure
TEXT = 12  # px, the height of all text in a drawing


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
    left, width, line = _label_width([label for label, _ in rows]), 520, 26
    top = max((sum(values) for _, values in rows), default=0) or 1
    parts = []
    for index, (label, values) in enumerate(rows):
        y = index * line
        parts.append(_text(left - 8, y + 17, label, anchor="end"))
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
                parts.append(_text(x + wide / 2, y + 17, f"{value:g}", anchor="middle", css="on"))
            x += wide
    return _svg(left + width + 8, len(rows) * line, title, parts)


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
    left, step = _label_width([label for label, _ in rows]) + 6, 16
    finite = [
        value
        for _, points in rows
        for point in points
        for value in (point.value, point.low, point.high)
        if math.isfinite(value)
    ]
    if bounds is None:
        bounds = _padded([*finite, 0.0] if zero or not finite else finite)
    ticks = _ticks(*bounds)
    low, high = min(bounds[0], ticks[0]), max(bounds[1], ticks[-1])

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / ((high - low) or 1) * width

    heights = [max(len(points), 1) * step + 10 for _, points in rows]
    bottom = sum(heights)
    parts = [_axis_x(ticks, at, bottom, unit, left + width / 2)]
    if zero:
        parts.append(_line(at(0), 0, at(0), bottom, css="zero"))
    y = 0
    for (label, points), height in zip(rows, heights, strict=True):
        parts.append(_text(left - 14, y + height / 2 + 4, label, anchor="end"))
        for index, point in enumerate(points):
            if not math.isfinite(point.value):
                continue
            middle = y + 5 + step * (index + 0.5)
            css = f"s{point.series}"
            mark = Markup("<g><title>{}</title>").format(point.note or f"{label}: {point.value:g}")
            if math.isfinite(point.low) and math.isfinite(point.high):
                mark += _line(at(point.low), middle, at(point.high), middle, css=f"bar {css}")
                for end in (point.low, point.high):
                    mark += _line(at(end), middle - 4, at(end), middle + 4, css=f"bar {css}")
            mark += _marker(at(point.value), middle, point.series)
            parts.append(mark + Markup("</g>"))
        y += height
    return _svg(left + width + 24, bottom + 40, title, parts)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, x: str, y: str
) -> Markup:
    """Draw lines over one axis.

    Args:
        series: Name → x values and y values; gaps (nan) are skipped.
        title: What is shown, for a screen reader.
        x: What the horizontal axis counts.
        y: What the vertical axis measures.
    """
    left, top, width, height = 58, 26, 360, 170
    points = {
        name: [(a, b) for a, b in zip(*both, strict=True) if math.isfinite(a) and math.isfinite(b)]
        for name, both in series.items()
    }
    every = [point for line in points.values() for point in line]
    if not every:
        return Markup("")
    x_low, x_high = min(a for a, _ in every), max(a for a, _ in every)
    ticks = _ticks(*_padded([b for _, b in every]))

    def at_x(value: float) -> float:
        return left + (value - x_low) / ((x_high - x_low) or 1) * width

    def at_y(value: float) -> float:
        return top + height - (value - ticks[0]) / ((ticks[-1] - ticks[0]) or 1) * height

    x_ticks = [tick for tick in _ticks(x_low, x_high, 5) if x_low <= tick <= x_high] or [x_low]
    parts = [_line(left, at_y(tick), left + width, at_y(tick), css="grid") for tick in ticks]
    parts += [_text(left - 6, at_y(tick) + 4, _number(tick), anchor="end") for tick in ticks]
    parts += [_text(at_x(t), top + height + 18, _number(t), anchor="middle") for t in x_ticks]
    parts.append(_text(left + width / 2, top + height + 36, x, anchor="middle", css="dim"))
    parts.append(_text(left - 44, 12, y, css="dim"))
    for index, (name, line) in enumerate(points.items()):
        if len(line) == 1:
            parts.append(_marker(at_x(line[0][0]), at_y(line[0][1]), index % 8))
        path = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in _thinned(line))
        parts.append(
            Markup('<polyline class="curve s{}" points="{}"><title>{}</title></polyline>').format(
                index % 8, path, name
            )
        )
    return _svg(left + width + 16, top + height + 44, title, parts)


def confusion(matrix: np.ndarray, labels: Sequence[str], *, title: str) -> Markup:
    """Draw a confusion matrix: rows the truth, shaded by the share of the row.

    Args:
        matrix: (C, C) counts.
        labels: C names.
        title: What is shown, for a screen reader.
    """
    cell, left, top = 28, _label_width(labels) + 4, 56
    totals = matrix.sum(axis=1)
    parts = []
    for column, label in enumerate(labels):
        x = left + cell * (column + 0.5)
        turned = Markup('<g transform="rotate(-40 {:.1f} {})">').format(x, top - 6)
        parts.append(turned + _text(x, top - 6, label) + Markup("</g>"))
    for row, label in enumerate(labels):
        y = top + row * cell
        parts.append(_text(left - 8, y + cell / 2 + 4, label, anchor="end"))
        for column, predicted in enumerate(labels):
            share = matrix[row, column] / totals[row] if totals[row] else 0.0
            tip = f"{label} named {predicted}: {matrix[row, column]:g} of {totals[row]:g}"
            x = left + column * cell
            parts.append(
                Markup(
                    '<g><title>{}</title><rect class="cell{}" x="{}" y="{}" width="{}" '
                    'height="{}"/><rect class="heat" fill-opacity="{:.3f}" x="{}" y="{}" '
                    'width="{}" height="{}"/>'
                ).format(
                    tip, " hit" if row == column else "", x, y, cell - 2, cell - 2, share,
                    x, y, cell - 2, cell - 2,
                )
                + _text(
                    x + cell / 2 - 1,
                    y + cell / 2 + 3,
                    f"{100 * share:.0f}" if share >= 0.005 else "·",
                    anchor="middle",
                    css="on" if share > 0.72 else "",
                )
                + Markup("</g>")
            )  # fmt: skip
    return _svg(left + cell * len(labels) + 34, top + cell * len(labels), title, parts)


def _svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return (
        Markup(
            '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" '
            'width="{:.0f}" height="{:.0f}">'
        ).format(title, width, height, width, height)
        + Markup("").join(parts)
        + Markup("</svg>")
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, escape(text)
    )


def _line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        css, x1, y1, x2, y2
    )


def _marker(x: float, y: float, series: int) -> Markup:
    # form as well as colour tells series apart: in print, and for eyes that see no hue
    if series % 2 == 0:
        return Markup('<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(
            series, x, y
        )
    return Markup('<rect class="mark s{}" x="{:.1f}" y="{:.1f}" width="8" height="8"/>').format(
        series, x - 4, y - 4
    )


def _axis_x(ticks: Sequence[float], at, bottom: float, unit: str, middle: float) -> Markup:  # noqa: ANN001
    parts = [_line(at(tick), 0, at(tick), bottom, css="grid") for tick in ticks]
    parts += [_text(at(tick), bottom + 16, _number(tick), anchor="middle") for tick in ticks]
    parts.append(_text(middle, bottom + 34, unit, anchor="middle", css="dim"))
    return Markup("").join(parts)


def _label_width(labels: Sequence[str]) -> int:
    return round(max((len(label) for label in labels), default=0) * TEXT * 0.56) + 14


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    # an axis of something that is never negative starts at 0 and not below
    return (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers that enclose [low, high]."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if span / (power * k) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")


def _thinned(line: Sequence[tuple[float, float]], most: int = 300) -> Sequence[tuple[float, float]]:
    """Average runs of neighbours, so that a long training draws a short path."""
    if len(line) <= most:
        return line
    groups = np.array_split(np.asarray(line, dtype=float), most)
    return [(float(group[:, 0].mean()), float(group[:, 1].mean())) for group in groups]
