"""Axes: round ticks, numbers in words, linear and logarithmic scales."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from classifiers.report_parts.charts.drawing import stroke, write


def axis_x(ticks: Sequence[float], at, bottom: float, unit: str, middle: float) -> Markup:  # noqa: ANN001
    """Draw a horizontal axis: grid, numbers and unit below `bottom`."""
    parts = [stroke(at(tick), 0, at(tick), bottom, css="grid") for tick in ticks]
    parts += [write(at(tick), bottom + 16, number(tick), anchor="middle") for tick in ticks]
    parts.append(write(middle, bottom + 34, unit, anchor="middle", css="dim"))
    return Markup("").join(parts)


def padded(values: Sequence[float]) -> tuple[float, float]:
    """Return bounds a twentieth beyond the values."""
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    # an axis of something that is never negative starts at 0 and not below
    return (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad


def round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers that enclose [low, high]."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if span / (power * k) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def number(value: float) -> str:
    """Write a number with thin spaces and a real minus."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")


class Scale(NamedTuple):
    """A vertical axis: its ticks, and where between bottom (0) and top (1) a value lies."""

    ticks: Sequence[float]
    share: Callable[[float], float]


def linear_scale(values: Sequence[float], bounds: tuple[float, float] | None) -> Scale:
    """Return a linear axis that holds the values."""
    low, high = padded(values)
    if bounds is not None:  # a bound that nothing passes is the end of the axis
        low = bounds[0] if min(values) >= bounds[0] else low
        high = bounds[1] if max(values) <= bounds[1] else high
    ticks = [tick for tick in round_ticks(low, high) if low <= tick <= high]
    return Scale(ticks, lambda value: (value - low) / ((high - low) or 1))


def log_scale(values: Sequence[float]) -> Scale:
    """Return a logarithmic axis that holds the values, all over 0."""
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = (1,) if high - low > 2.5 else (1, 3)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return Scale(
        [tick for tick in ticks if low <= math.log10(tick) <= high],
        lambda value: (math.log10(value) - low) / (high - low) if value > 0 else 0.0,
    )
