"""Puppets: an embedded face database, drawn by code from facial action units.

Faces come in three database styles and need numpy and OpenCV only.
"""

from .render import STYLES, check, render, render_action_units

__all__ = ["STYLES", "check", "render", "render_action_units"]
