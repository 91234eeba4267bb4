"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from classifiers.report_parts.charts.drawing import label_width, svg, write


def confusion(matrix: np.ndarray, labels: Sequence[str], *, title: str) -> Markup:
    """Draw a confusion matrix: rows the truth, shaded by the share of the row.

    Args:
        matrix: (C, C) counts.
        labels: C names.
        title: What is shown, for a screen reader.
    """
    cell, left, top = 28, label_width(labels) + 4, 56
    totals = matrix.sum(axis=1)
    parts = []
    for column, label in enumerate(labels):
        x = left + cell * (column + 0.5)
        turned = Markup('<g transform="rotate(-40 {:.1f} {})">').format(x, top - 6)
        parts.append(turned + write(x, top - 6, label) + Markup("</g>"))
    for row, label in enumerate(labels):
        y = top + row * cell
        parts.append(write(left - 8, y + cell / 2 + 4, label, anchor="end"))
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
                + write(
                    x + cell / 2 - 1,
                    y + cell / 2 + 3,
                    f"{100 * share:.0f}" if share >= 0.005 else "·",
                    anchor="middle",
                    css="on" if share > 0.72 else "",
                )
                + Markup("</g>")
            )  # fmt: skip
    return svg(left + cell * len(labels) + 34, top + cell * len(labels), title, parts)
