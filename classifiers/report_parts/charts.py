"""Charts as inline SVG: small, sharp at any size, coloured by the page's style sheet.

Colours are CSS classes (``s0`` … ``s7`` for series), so that one drawing reads in a light and in
a dark page. Every drawing names itself for a screen reader, and every text is escaped.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

DASH = "\N{EN DASH}"  # stands where there is no figure
TEXT = 12  # px, the height of all text in a drawing
LOG_FROM = 30  # between the largest and the smallest value
MOST_POINTS = 300  # of a line: more than a pixel each would not be seen
FEW_POINTS = 24  # so few show each as a dot, since lines hide how rarely something was measured


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


class Curve(NamedTuple):
    """A line of `curves`.

    Attributes:
        name: What it is, in words.
        x: Ascending.
        y: As many; gaps (nan) are skipped.
        series: Colour and dashes.
        low: Lower bounds of a band around it, as many, or none at all; nan where there is none.
        high: Upper bounds.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    series: int = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Level(NamedTuple):
    """A height to hold lines against, such as a floor; nan draws nothing."""

    name: str
    value: float
    series: int | None = None  # whose it is, where there are several


class Moment(NamedTuple):
    """A place on the horizontal axis: what was kept there, or what went wrong."""

    name: str
    x: float
    bad: bool = False
    series: int | None = None  # on whose line it lies, where there are several


def curves(
    lines: Sequence[Curve],
    *,
    title: str,
    x: str,
    y: str,
    levels: Sequence[Level] = (),
    moments: Sequence[Moment] = (),
    x_end: float | None = None,
    bounds: tuple[float, float] | None = None,
    log: bool = False,
) -> Markup:
    """Draw lines over one axis that starts at zero, small enough for three side by side.

    Args:
        lines: What to draw; a long one is thinned, its extremes stay.
        title: What is shown, for a screen reader, which also gets the figures in a sentence.
        x: What the horizontal axis counts.
        y: What the vertical axis measures.
        levels: Horizontal lines with their names.
        moments: Vertical lines with their names; bad ones are short and red.
        x_end: Where the horizontal axis ends; the last point where absent.
        bounds: What the vertical axis shows at least.
        log: Whether the vertical axis is logarithmic where all that it shows is above zero and
            spans more than a decade and a half.

    Returns:
        The drawing, empty if no line has a point.
    """
    left, top, width, height = 50, 34, 232, 120
    drawn = [(line, points) for line in lines if len((points := _finite(line))[0])]
    if not drawn:
        return Markup("")
    levels = [level for level in levels if math.isfinite(level.value)]
    values = np.concatenate([points[1] for _, points in drawn])
    shown = [*values, *(level.value for level in levels)]
    log = log and min(shown) > 0 and max(shown) / min(shown) > LOG_FROM
    # a band may leave a logarithmic picture, which has no room for bounds at or below zero
    edges = [points[row] for _, points in drawn for row in (2, 3)]
    inside = [value for edge in edges for value in edge[np.isfinite(edge)] if value > 0 or not log]
    scale = _log_scale(shown) if log else _linear_scale([*shown, *inside, *(bounds or ())], bounds)
    last = x_end or max(points[0].max() for _, points in drawn) or 1.0

    def at_x(value: float) -> float:
        return left + value / last * width

    def at_y(value: float) -> float:
        return top + (1 - min(max(scale.share(value), 0.0), 1.0)) * height

    x_ticks = [tick for tick in _ticks(0, last, 4) if tick <= last]
    parts = [_line(left, at_y(tick), left + width, at_y(tick), css="grid") for tick in scale.ticks]
    parts += [_text(left - 6, at_y(tick) + 4, _number(tick), anchor="end") for tick in scale.ticks]
    parts += [_text(at_x(t), top + height + 16, _number(t), anchor="middle") for t in x_ticks]
    parts.append(_text(left + width / 2, top + height + 32, x, anchor="middle", css="dim"))
    parts.append(_text(2, 12, f"{y} (log scale)" if log else y, css="dim"))
    for line, points in drawn:
        parts += _drawn(line, _summed_up(points), at_x, at_y)
    for level in levels:
        css = "level" if level.series is None else f"level s{level.series % 8}"
        height_of = at_y(level.value)
        parts.append(_line(left, height_of, left + width, height_of, css=css))
        if level.series is None:
            frame = (left, left + width, top, top + height)
            parts.append(_beside(level.name, height_of, frame, drawn, at_x, at_y))
    for moment in moments:
        parts.append(_moment(moment, drawn, at_x, at_y, (left, left + width, top, top + height)))
    return _svg(
        left + width + 22, top + height + 40, title, parts, words=_in_words(drawn, levels, moments)
    )


def key(series: int) -> Markup:
    """Return the sample of a line for a legend: colour and dashes as in `curves`."""
    return Markup('<svg class="sample" aria-hidden="true" width="26" height="10">{}</svg>').format(
        _line(1, 5, 25, 5, css=f"curve s{series % 8}")
    )


def _finite(line: Curve) -> np.ndarray:
    """Return (4, n): x, y, low, high of the points that a curve has."""
    nothing = [math.nan] * len(line.x)
    rows = (line.x, line.y, line.low or nothing, line.high or nothing)
    points = np.asarray([[float(value) for value in row] for row in rows]).reshape(4, -1)
    return points[:, np.isfinite(points[:2]).all(axis=0)]


def _drawn(
    line: Curve, points: np.ndarray, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> list[Markup]:
    css, parts = f"s{line.series % 8}", []
    banded = points[:, np.isfinite(points[2:]).all(axis=0)]
    if banded.shape[1] > 1:
        around = [*zip(banded[0], banded[3], strict=True)]
        around += reversed([*zip(banded[0], banded[2], strict=True)])
        corners = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in around)
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(css, corners))
    elif banded.shape[1]:
        place, _, low, high = banded[:, 0]
        parts.append(_line(at_x(place), at_y(low), at_x(place), at_y(high), css=f"bar {css}"))
    path = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in points[:2].T)
    parts.append(
        Markup('<polyline class="curve {}" points="{}"><title>{}</title></polyline>').format(
            css, path, line.name
        )
    )
    if points.shape[1] <= FEW_POINTS:
        for a, b in points[:2].T:
            parts.append(
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.4">').format(
                    css, at_x(a), at_y(b)
                )
                + Markup("<title>{}, {}: {:.3g}</title></circle>").format(line.name, _number(a), b)
            )
    return parts


def _beside(
    words: str,
    height: float,
    frame: tuple[float, float, float, float],
    drawn: Sequence[tuple[Curve, np.ndarray]],
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
) -> Markup:
    """Write a level's name above or below it, at the end where the lines leave most room."""
    left, right, top, bottom = frame
    places = [(at_x(a), at_y(b)) for _, points in drawn for a, b in points[:2].T]
    wide = _label_width([words])

    def room(corner: tuple[str, int]) -> float:
        side, base = corner
        if not top + TEXT <= height + base <= bottom:
            return -1.0
        middle = height + base - 4
        ends = (right - wide, right) if side == "end" else (left, left + wide)
        near = [abs(y - middle) for x, y in places if ends[0] <= x <= ends[1]]
        return min(near, default=math.inf)

    side, base = max([("end", -4), ("start", -4), ("end", 13), ("start", 13)], key=room)
    return _text(
        right - 2 if side == "end" else left + 3, height + base, words, anchor=side, css="dim halo"
    )


def _moment(
    moment: Moment,
    drawn: Sequence[tuple[Curve, np.ndarray]],
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
    frame: tuple[float, float, float, float],
) -> Markup:
    left, right, top, bottom = frame
    place = at_x(moment.x)
    mark = Markup("<g><title>{}</title>").format(moment.name)
    if moment.bad:
        return mark + _line(place, bottom - 12, place, bottom, css="bad") + Markup("</g>")
    if moment.series is None:
        mark += _line(place, top, place, bottom, css="moment")
        middle = min(max(place, left + 3.2 * len(moment.name)), right - 3.2 * len(moment.name))
        mark += _text(middle, top - 6, moment.name, anchor="middle")
    for line, points in drawn:
        if moment.series in (None, line.series):
            for height in points[1][points[0] == moment.x]:
                mark += Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(
                    place, at_y(height)
                )
    return mark + Markup("</g>")


def _in_words(
    drawn: Sequence[tuple[Curve, np.ndarray]], levels: Sequence[Level], moments: Sequence[Moment]
) -> str:
    sentences = []
    for line, (x, y, _, _) in drawn:
        least, most = int(y.argmin()), int(y.argmax())
        sentences.append(
            f"{line.name}: {y[0]:.3g} at {_number(x[0])}"
            + (
                f", {y[-1]:.3g} at {_number(x[-1])}, lowest {y[least]:.3g} at "
                f"{_number(x[least])}, highest {y[most]:.3g} at {_number(x[most])}"
                if len(x) > 1
                else ""
            )
        )
    sentences += [level.name for level in levels] + [moment.name for moment in moments]
    return ". ".join(sentences) + "."


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


def _svg(
    width: float, height: float, title: str, parts: Sequence[Markup], *, words: str = ""
) -> Markup:
    return (
        Markup(
            '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" '
            'width="{:.0f}" height="{:.0f}">'
        ).format(title, width, height, width, height)
        + (Markup("<title>{}</title><desc>{}</desc>").format(title, words) if words else "")
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


class _Scale(NamedTuple):
    """A vertical axis: its ticks, and where between bottom (0) and top (1) a value lies."""

    ticks: Sequence[float]
    share: Callable[[float], float]


def _linear_scale(values: Sequence[float], bounds: tuple[float, float] | None) -> _Scale:
    low, high = _padded(values)
    if bounds is not None:  # a bound that nothing passes is the end of the axis
        low = bounds[0] if min(values) >= bounds[0] else low
        high = bounds[1] if max(values) <= bounds[1] else high
    ticks = [tick for tick in _ticks(low, high) if low <= tick <= high]
    return _Scale(ticks, lambda value: (value - low) / ((high - low) or 1))


def _log_scale(values: Sequence[float]) -> _Scale:
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = (1,) if high - low > 2.5 else (1, 3)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return _Scale(
        [tick for tick in ticks if low <= math.log10(tick) <= high],
        lambda value: (math.log10(value) - low) / (high - low) if value > 0 else 0.0,
    )


def _summed_up(points: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Thin a long line of (4, n) to at most `most` columns without losing an extreme.

    A line without a band becomes the mean of each run of neighbours, in a band from the lowest to
    the highest of them: a mean alone would hide the one bad tick that a reader looks for. Of a
    line with a band stay both ends, and of each run the lowest and the highest point.
    """
    n = points.shape[1]
    if n <= most:
        return points
    if np.isfinite(points[2:]).any():
        y, kept = points[1], {0, n - 1}
        for run in np.array_split(np.arange(n), most // 2 - 1):
            kept |= {int(run[y[run].argmin()]), int(run[y[run].argmax()])}
        return points[:, sorted(kept)]
    runs = np.array_split(points[:2], most // 3, axis=1)
    return np.array([[x.mean(), y.mean(), y.min(), y.max()] for x, y in runs]).T
