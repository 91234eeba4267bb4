"""Lines over one axis, with bands, levels and moments."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from classifiers.report_parts.charts.axes import linear_scale, log_scale, number, round_ticks
from classifiers.report_parts.charts.drawing import TEXT, label_width, stroke, svg, write

LOG_FROM = 30  # between the largest and the smallest value
MOST_POINTS = 300  # of a line: more than a pixel each would not be seen
FEW_POINTS = 24  # so few show each as a dot, since lines hide how rarely something was measured


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
    width: int = 232,
    height: int = 120,
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
        width: Of the plotted part, in px.
        height: The same.

    Returns:
        The drawing, empty if no line has a point.
    """
    left, top = 50, 34
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
    scale = log_scale(shown) if log else linear_scale([*shown, *inside, *(bounds or ())], bounds)
    last = x_end or max(points[0].max() for _, points in drawn) or 1.0

    def at_x(value: float) -> float:
        return left + value / last * width

    def at_y(value: float) -> float:
        return top + (1 - min(max(scale.share(value), 0.0), 1.0)) * height

    x_ticks = [tick for tick in round_ticks(0, last, 4) if tick <= last]
    parts = [stroke(left, at_y(tick), left + width, at_y(tick), css="grid") for tick in scale.ticks]
    parts += [write(left - 6, at_y(tick) + 4, number(tick), anchor="end") for tick in scale.ticks]
    parts += [write(at_x(t), top + height + 16, number(t), anchor="middle") for t in x_ticks]
    parts.append(write(left + width / 2, top + height + 32, x, anchor="middle", css="dim"))
    parts.append(write(2, 12, f"{y} (log scale)" if log else y, css="dim"))
    for line, points in drawn:
        parts += _drawn(line, summed_up(points), at_x, at_y)
    for level in levels:
        css = "level" if level.series is None else f"level s{level.series % 8}"
        height_of = at_y(level.value)
        parts.append(stroke(left, height_of, left + width, height_of, css=css))
        if level.series is None:
            frame = (left, left + width, top, top + height)
            parts.append(_beside(level.name, height_of, frame, drawn, at_x, at_y))
    for moment in moments:
        parts.append(_moment(moment, drawn, at_x, at_y, (left, left + width, top, top + height)))
    return svg(
        left + width + 22, top + height + 40, title, parts, words=_in_words(drawn, levels, moments)
    )


def key(series: int) -> Markup:
    """Return the sample of a line for a legend: colour and dashes as in `curves`."""
    return Markup('<svg class="sample" aria-hidden="true" width="26" height="10">{}</svg>').format(
        stroke(1, 5, 25, 5, css=f"curve s{series % 8}")
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
        parts.append(stroke(at_x(place), at_y(low), at_x(place), at_y(high), css=f"bar {css}"))
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
                + Markup("<title>{}, {}: {:.3g}</title></circle>").format(line.name, number(a), b)
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
    wide = label_width([words])

    def room(corner: tuple[str, int]) -> float:
        side, base = corner
        if not top + TEXT <= height + base <= bottom:
            return -1.0
        middle = height + base - 4
        ends = (right - wide, right) if side == "end" else (left, left + wide)
        near = [abs(y - middle) for x, y in places if ends[0] <= x <= ends[1]]
        return min(near, default=math.inf)

    side, base = max([("end", -4), ("start", -4), ("end", 13), ("start", 13)], key=room)
    return write(
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
        return mark + stroke(place, bottom - 12, place, bottom, css="bad") + Markup("</g>")
    if moment.series is None:
        mark += stroke(place, top, place, bottom, css="moment")
        middle = min(max(place, left + 3.2 * len(moment.name)), right - 3.2 * len(moment.name))
        mark += write(middle, top - 6, moment.name, anchor="middle")
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
            f"{line.name}: {y[0]:.3g} at {number(x[0])}"
            + (
                f", {y[-1]:.3g} at {number(x[-1])}, lowest {y[least]:.3g} at "
                f"{number(x[least])}, highest {y[most]:.3g} at {number(x[most])}"
                if len(x) > 1
                else ""
            )
        )
    sentences += [level.name for level in levels] + [moment.name for moment in moments]
    return ". ".join(sentences) + "."


def summed_up(points: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
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
