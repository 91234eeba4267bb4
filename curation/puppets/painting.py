"""The features of a face: what is painted on the skin before light falls on it."""

import numpy as np

from .canvas import Canvas, ellipses, mix, scaled
from .expression import ActionUnits
from .geometry import Geometry, by_number, open_spline
from .identity import Colour, Identity

_TOOTH: Colour = (240, 234, 224)
_MOUTH: Colour = (62, 22, 24)
_TONGUE: Colour = (176, 84, 84)
_EYEBALL: Colour = (236, 231, 226)
_LASH: Colour = (34, 24, 22)
_BOTH = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])  # mirrors (n, 2) into (2, n, 2)
_ARCH = 1 - 0.45 * np.abs(np.linspace(-1, 1, 21)) ** 2.5


def paint_face(
    canvas: Canvas,
    person: Identity,
    face: Geometry,
    action_units: ActionUnits,
    exposure: float,
) -> None:
    """Paint every feature of a face.

    Args:
        canvas: Already filled with skin.
        person: Whose colours are used.
        face: Where features lie.
        action_units: Intensities by unit number.
        exposure: What the picture will be multiplied by; teeth and eyes, white on
            everybody, are kept from burning out.
    """
    a = by_number(action_units).tolist()
    white = 1 / exposure
    if person.beard:
        _beard(canvas, person, face)
    _nostrils(canvas, person, face)
    _mouth(canvas, person, face, a, white)
    _eyes(canvas, person, face, white)
    _brows(canvas, person, face)


def _beard(canvas: Canvas, person: Identity, face: Geometry) -> None:
    colour = mix(person.hair, person.skin, 0.12)
    corner = float(np.abs(face.corners[:, 0]).mean())
    if not person.moustache:
        low = float(face.lower_outer[12, 1])
        w, jaw = person.face_half_width, person.jaw
        half = [(0.0, low + 0.10), (corner * 0.75, low + 0.10), (corner + 0.12, face.mouth_y)]
        half += [(0.74 * w, 0.66), (0.90 * w, 0.20), (1.02 * w, 0.15), (1.02 * w, 0.6)]
        half += [(jaw + 0.14, 1.15), (person.chin_half_width + 0.15, face.chin_y + 0.05)]
        right = np.array([*half, (0.0, face.chin_y + 0.12)])
        outline = np.concatenate([right, right[::-1] * (-1, 1)])
        canvas.fill(outline[None], colour, 0.85 * person.beard, 0.05)
    top = face.upper_outer[[0, 5, 9, 12, 15, 19, 24]]
    spread = top + np.array([-0.07, -0.03, 0, 0, 0, 0.03, 0.07])[:, None] * (1, 0)
    upper = spread - np.array([0.02, 0.10, 0.13, 0.09, 0.13, 0.10, 0.02])[:, None] * (0, 1)
    lower = spread + np.array([0.10, 0.02, 0, 0, 0, 0.02, 0.10])[:, None] * (0, 1)
    canvas.fill(np.concatenate([upper, lower[::-1]])[None], colour, 0.85 * person.beard, 0.028)


def _nostrils(canvas: Canvas, person: Identity, face: Geometry) -> None:
    dark = scaled(person.skin, 0.36, 0.26, 0.25)
    w, y = face.nose_half_width, face.nose_tip_y
    holes = [(-0.46 * w, y + 0.012), (0.46 * w, y + 0.012)]
    canvas.fill(ellipses(holes, 0.052, 0.026), dark, 0.80, 0.014)
    wing = np.array([(0.86 * w, y - 0.13), (1.02 * w, y - 0.05), (0.90 * w, y + 0.015)])
    soft = scaled(person.skin, 0.60, 0.48, 0.46)
    canvas.stroke(wing * _BOTH, soft, 0.028, 0.45, 0.018)


def _mouth(canvas: Canvas, person: Identity, face: Geometry, a: list[float], white: float) -> None:
    natural = mix(scaled(person.skin, 0.84, 0.58, 0.58), (150, 70, 70), 0.15)
    lip = mix(natural, (178, 44, 58), 0.75 * person.lipstick)
    soft = 0.014 if person.lipstick else 0.022
    upper = np.concatenate([face.upper_outer, face.upper_inner[::-1]])
    lower = np.concatenate([face.lower_inner, face.lower_outer[::-1]])
    canvas.fill(upper[None], scaled(lip, 0.84, 0.82, 0.82), 0.88, soft)
    canvas.fill(lower[None], lip, 0.82, soft)
    shine = (face.lower_inner[8:17] + face.lower_outer[8:17]) / 2
    bright = mix(lip, (255, 236, 230), 0.7)
    canvas.stroke(shine[None], bright, 0.025, 0.35 + 0.2 * person.lipstick, 0.02)
    seam = scaled(lip, 0.38, 0.28, 0.28)
    if face.gap > 0.015:
        _mouth_interior(canvas, face, a, white)
        canvas.stroke(face.upper_inner[None], seam, 0.02, 0.5, 0.008)
    else:
        canvas.stroke(face.upper_inner[None], seam, 0.026, 0.85, 0.008)
    canvas.fill(ellipses(face.corners, 0.034, 0.024), seam, 0.6, 0.016)


def _mouth_interior(canvas: Canvas, face: Geometry, a: list[float], white: float) -> None:
    upper, lower = face.upper_inner, face.lower_inner
    where, opening = canvas.mask(np.concatenate([upper, lower[::-1]])[None])
    inside = canvas.part(where)
    inside.paint(_MOUTH)
    tooth = scaled(_TOOTH, white, white, white)
    half = float(np.abs(face.corners[:, 0]).mean())
    # lips that barely part show a dark line; teeth there would wash the mouth out
    shown = min(1.0, face.gap / 0.06) ** 2
    if face.gap > 0.16:
        centre = (0.0, float(lower[12, 1]) - 0.02)
        inside.fill(ellipses([centre], 0.55 * half, 0.36 * face.gap), _TONGUE, 0.85, 0.035)
    if a[16] * a[25] > 0.1:
        rise = np.array([0, 0.06 * min(1.0, 2 * a[16] * a[25])])
        band = lower[3:22]
        row = np.concatenate([band - rise, band[::-1] + np.array((0, 0.05))])
        inside.fill(row[None], scaled(tooth, 0.86, 0.84, 0.82), 0.95 * shown, 0.010)
    band = upper[2:23]
    edge = band + (face.teeth * _ARCH)[:, None] * (0, 1)  # teeth edges rise to the corners
    inside.fill(np.concatenate([band - (0, 0.05), edge[::-1]])[None], tooth, shown, 0.010)
    inside.fill(ellipses(face.corners, 0.17 * half, 0.16), _MOUTH, 0.9, 0.05)
    inside.stroke(upper[None], _MOUTH, 0.03, 0.55, 0.02)  # the lip shades the teeth
    canvas.lay(inside, where, opening)


def _eyes(canvas: Canvas, person: Identity, face: Geometry, white: float) -> None:
    skin = person.skin
    if person.makeup > 0.5:
        shadow = mix(scaled(skin, 0.66, 0.52, 0.54), person.iris, 0.15)
        lids = np.concatenate([face.upper_lids - (0, 0.055), face.upper_lids[:, ::-1]], axis=1)
        canvas.fill(lids, shadow, 0.5 * person.makeup, 0.025)
    _eyeballs(canvas, person, face, white)
    folds = face.upper_lids[:, 2:] - (0, 0.05 + 0.025 * face.eye_open)
    canvas.stroke(folds, scaled(skin, 0.52, 0.40, 0.38), 0.022, 0.55 * person.lid_fold, 0.01)
    wings = face.upper_lids[:, -1:] + person.makeup * np.array(
        [[(-0.03, -0.012)], [(0.03, -0.012)]]
    )
    lashes = np.concatenate([face.upper_lids[:, 1:], wings], axis=1)
    canvas.stroke(lashes, _LASH, 0.024 + 0.016 * person.makeup, 0.9, 0.006)
    lower = face.lower_lids[:, 3:-1] + (0, 0.006)
    canvas.stroke(lower, scaled(skin, 0.50, 0.36, 0.34), 0.018, 0.55, 0.008)


def _eyeballs(canvas: Canvas, person: Identity, face: Geometry, white: float) -> None:
    """Both eyes at once, on one strip of canvas seen through the lids."""
    lids = np.concatenate([face.upper_lids, face.lower_lids[:, ::-1]], axis=1)
    where, openings = canvas.mask(lids)
    balls = canvas.part(where)
    balls.paint(scaled(_EYEBALL, white, white, white))
    balls.fill(ellipses(face.upper_lids[:, 0], 0.04, 0.035), (196, 128, 118), 0.7, 0.02)
    iris, pupils = person.iris, face.pupils
    balls.discs(
        pupils,
        (0.038, 0.054, 0.086, 0.104, 0.118),
        ((12, 10, 10), scaled(iris, 1.15, 1.15, 1.1), iris, scaled(iris, 0.42, 0.42, 0.42)),
    )
    glow = ellipses(pupils + np.array((0, 0.055)), 0.05, 0.025)
    balls.fill(glow, scaled(iris, 1.55, 1.5, 1.4), 0.5, 0.018)
    balls.stroke(face.upper_lids, (40, 28, 26), 0.05, 0.55, 0.03)  # the lid's shadow
    balls.fill(ellipses(pupils - 0.036, 0.022, 0.022), (255, 255, 255), 0.95)
    canvas.lay(balls, where, openings)


def _brows(canvas: Canvas, person: Identity, face: Geometry) -> None:
    colour = scaled(person.hair, 0.62, 0.60, 0.60)
    if sum(person.hair) > 330:  # fair hair goes with darker brows
        colour = scaled(person.hair, 0.55, 0.50, 0.45)
    centre = open_spline(face.brows, 4)  # (2, 17, 2)
    half = np.interp(np.linspace(0, 4, 17), np.arange(5), face.brow_half_thickness)
    up = half[:, None] * (0.0, 1.0)
    shapes = np.concatenate([centre - up, (centre + 0.85 * up)[:, ::-1]], axis=1)
    canvas.fill(shapes, colour, person.brow_opacity, 0.013)
