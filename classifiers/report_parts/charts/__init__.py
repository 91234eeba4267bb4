"""Charts as inline SVG: small, sharp at any size, coloured by the page's style sheet.

Colours are CSS classes (``s0`` … ``s7`` for series), so that one drawing reads in a light and in
a dark page. Every drawing names itself for a screen reader, and every text is escaped.
"""

from classifiers.report_parts.charts.drawing import DASH
from classifiers.report_parts.charts.lines import MOST_POINTS, Curve, Level, Moment, curves, key
from classifiers.report_parts.charts.matrix import confusion
from classifiers.report_parts.charts.rows import Point, intervals, stacked_bars
from classifiers.report_parts.charts.scatter import Spot, scatter

__all__ = [
    "DASH",
    "MOST_POINTS",
    "Curve",
    "Level",
    "Moment",
    "Point",
    "Spot",
    "confusion",
    "curves",
    "intervals",
    "key",
    "scatter",
    "stacked_bars",
]
