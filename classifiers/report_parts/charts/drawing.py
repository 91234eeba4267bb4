"""Primitives of a drawing: the SVG element, text, lines and markers."""

from collections.abc import Sequence

from markupsafe import Markup, escape

DASH = "\N{EN DASH}"  # stands where there is no figure
TEXT = 12  # px, the height of all text in a drawing


def svg(
    width: float, height: float, title: str, parts: Sequence[Markup], *, words: str = ""
) -> Markup:
    """Wrap parts into a drawing that names itself; `words` say in a sentence what it shows."""
    return (
        Markup(
            '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:.0f} {:.0f}" '
            'width="{:.0f}" height="{:.0f}">'
        ).format(title, width, height, width, height)
        + (Markup("<title>{}</title><desc>{}</desc>").format(title, words) if words else "")
        + Markup("").join(parts)
        + Markup("</svg>")
    )


def write(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> Markup:
    """Write a text at its baseline; `anchor` is start, middle or end."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, escape(text)
    )


def stroke(x1: float, y1: float, x2: float, y2: float, *, css: str) -> Markup:
    """Draw a straight line; its CSS class gives colour and dashes."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        css, x1, y1, x2, y2
    )


def marker(x: float, y: float, series: int) -> Markup:
    """Draw a point of a series."""
    # form as well as colour tells series apart: in print, and for eyes that see no hue
    if series % 2 == 0:
        return Markup('<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(
            series, x, y
        )
    return Markup('<rect class="mark s{}" x="{:.1f}" y="{:.1f}" width="8" height="8"/>').format(
        series, x - 4, y - 4
    )


def label_width(labels: Sequence[str]) -> int:
    """Return the room that the longest label needs, in px."""
    return round(max((len(label) for label in labels), default=0) * TEXT * 0.56) + 14
