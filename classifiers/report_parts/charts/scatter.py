"""Points in a plane: what something costs against what it is worth."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from classifiers.report_parts.charts.axes import (
    Scale,
    linear_scale,
    log_scale,
    number,
    round_ticks,
)
from classifiers.report_parts.charts.drawing import label_width, marker, stroke, svg, write

APART = 13  # px between the middles of two labels


class Spot(NamedTuple):
    """A point of `scatter`.

    Attributes:
        x: Over 0.
        y: Where it stands on the vertical axis.
        series: Colour and form.
        label: Written beside it; empty for none.
        low: Lower bound of a bar through it; nan draws none.
        high: Upper bound.
        note: Shown when pointed at.
    """

    x: float
    y: float
    series: int = 0
    label: str = ""
    low: float = math.nan
    high: float = math.nan
    note: str = ""


def scatter(
    spots: Sequence[Spot],
    *,
    title: str,
    x: str,
    y: str,
    width: int = 420,
    height: int = 230,
    steps: Sequence[Spot] = (),
) -> Markup:
    """Draw points over a logarithmic horizontal axis, or a linear one where they lie near.

    Args:
        spots: What to draw.
        title: What is shown, for a screen reader.
        x: What the horizontal axis measures.
        y: What the vertical axis measures.
        width: Of the plotted part, in px.
        height: The same.
        steps: Points that a line joins in steps, to the right and then up, and on to the edge.

    Returns:
        The drawing, empty without points.
    """
    if not spots:
        return Markup("")
    left, top = 50, 30
    along = [spot.x for spot in spots]
    across = [
        value
        for spot in spots
        for value in (spot.y, spot.low, spot.high)
        if math.isfinite(value)
    ]  # fmt: skip
    wide = max(along) > 3 * min(along) > 0
    ends = round_ticks(0, max(along), 4)
    horizontal = log_scale(along) if wide else Scale(ends, lambda value: value / (ends[-1] or 1))
    vertical = linear_scale(across, None)

    def at_x(value: float) -> float:
        return left + horizontal.share(value) * width

    def at_y(value: float) -> float:
        return top + (1 - vertical.share(value)) * height

    right, bottom = left + width, top + height
    parts = [stroke(left, at_y(t), right, at_y(t), css="grid") for t in vertical.ticks]
    parts += [stroke(at_x(t), top, at_x(t), bottom, css="grid") for t in horizontal.ticks]
    parts += [write(left - 6, at_y(t) + 4, number(t), anchor="end") for t in vertical.ticks]
    parts += [write(at_x(t), bottom + 16, number(t), anchor="middle") for t in horizontal.ticks]
    parts.append(
        write(left + width / 2, bottom + 34, f"{x} (log scale)" if wide else x, anchor="middle",
              css="dim")
    )  # fmt: skip
    parts.append(write(2, 12, y, css="dim"))
    for one, two in pairwise([*steps, *(steps[-1]._replace(x=math.inf) for _ in steps[:1])]):
        end = right if math.isinf(two.x) else at_x(two.x)
        parts.append(stroke(at_x(one.x), at_y(one.y), end, at_y(one.y), css="step"))
        parts.append(stroke(end, at_y(one.y), end, at_y(two.y), css="step"))
    for spot in spots:
        place = (at_x(spot.x), at_y(spot.y))
        mark = Markup("<g><title>{}</title>").format(spot.note or f"{spot.label}: {spot.y:.3g}")
        if math.isfinite(spot.low) and math.isfinite(spot.high):
            ends = (at_y(spot.low), at_y(spot.high))
            mark += stroke(place[0], ends[0], place[0], ends[1], css=f"bar s{spot.series % 8}")
        parts.append(mark + marker(*place, spot.series % 8) + Markup("</g>"))
    named = sorted((spot for spot in spots if spot.label), key=lambda spot: at_y(spot.y))
    taken: list[tuple[float, float, float]] = []
    for spot in named:
        # a label gives way downwards until it lies over no other
        room = label_width([spot.label])
        start = at_x(spot.x) + 9 if at_x(spot.x) + 9 + room <= right + 60 else at_x(spot.x) - room
        base = at_y(spot.y) + 4
        while any(
            abs(base - other) < APART and start < end and begin < start + room
            for begin, end, other in taken
        ):
            base += 2
        taken.append((start, start + room, base))
        parts.append(write(start, base, spot.label, css="dim halo"))
    lowest = max([bottom + 10, *(base for _, _, base in taken)])
    return svg(right + 64, max(bottom + 40, lowest + 6), title, parts)
