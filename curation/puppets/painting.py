"""The features of a face: what is painted on the skin before light falls on it."""

import numpy as np

from .canvas import BOTH, Canvas, Sheet, ellipses, mix, scaled
from .expression import ActionUnits
from .geometry import Geometry, by_number, open_spline
from .identity import Colour, Identity

_TOOTH: Colour = (240, 234, 224)
_MOUTH: Colour = (62, 22, 24)
_TONGUE: Colour = (176, 84, 84)
_EYEBALL: Colour = (236, 231, 226)
_LASH: Colour = (34, 24, 22)
# What features can reach, canonical units; twelfths are whole pixels at every size.
_LEFT, _RIGHT, _TOP, _BOTTOM = -13 / 12, 13 / 12, -10 / 12, 22 / 12
_SOFTNESS = 0.012  # of the edges of features, canonical units
_ALONG = np.linspace(0, 4, 17)  # a brow, between its five points
_LIP = 0.85  # opacity
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
    if person.makeup > 0.5:
        _eye_shadow(canvas, person, face)
    height, width = (round(r * canvas.unit) for r in (_BOTTOM - _TOP, _RIGHT - _LEFT))
    sheet = Sheet(height, width, canvas.unit, _LEFT, _TOP)
    _nostrils(sheet, person, face)
    _mouth(sheet, person, face, a, white)
    _eyes(sheet, person, face, white)
    _brows(sheet, person, face)
    canvas.lay(sheet, _SOFTNESS)


def _beard(canvas: Canvas, person: Identity, face: Geometry) -> None:
    colour = mix(person.hair, person.skin, 0.12)
    corner = face.mouth_half_width
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


def _nostrils(sheet: Sheet, person: Identity, face: Geometry) -> None:
    dark = scaled(person.skin, 0.36, 0.26, 0.25)
    w, y = face.nose_half_width, face.nose_tip_y
    wing = np.array([(0.86 * w, y - 0.13), (1.02 * w, y - 0.05), (0.90 * w, y + 0.015)])
    sheet.stroke(wing * BOTH, scaled(person.skin, 0.60, 0.48, 0.46), 0.03, 0.40)
    holes = [(-0.46 * w, y + 0.012), (0.46 * w, y + 0.012)]
    sheet.fill(ellipses(holes, 0.052, 0.026), dark, 0.80)


def _mouth(sheet: Sheet, person: Identity, face: Geometry, a: list[float], white: float) -> None:
    natural = mix(scaled(person.skin, 0.84, 0.58, 0.58), (150, 70, 70), 0.15)
    lip = mix(natural, (178, 44, 58), 0.75 * person.lipstick)
    upper_lip = scaled(lip, 0.84, 0.82, 0.82)
    upper = np.concatenate([face.upper_outer, face.upper_inner[::-1]])
    lower = np.concatenate([face.lower_inner, face.lower_outer[::-1]])
    sheet.fill(ellipses(face.corners, 0.036, 0.026), scaled(lip, 0.38, 0.28, 0.28), 0.5)
    sheet.fill(upper[None], upper_lip, _LIP)
    sheet.fill(lower[None], lip, _LIP)
    shine = (face.lower_inner[8:17] + face.lower_outer[8:17]) / 2
    bright = mix(lip, (255, 236, 230), 0.28 + 0.15 * person.lipstick)
    sheet.stroke(shine[None], bright, 0.025, _LIP)
    seam = scaled(lip, 0.38, 0.28, 0.28)
    if face.gap > 0.015:
        _mouth_interior(sheet, face, a, white)
        sheet.stroke(face.upper_inner[None], mix(upper_lip, seam, 0.5), 0.022, _LIP)
    else:
        sheet.stroke(face.upper_inner[None], seam, 0.026, _LIP)


def _mouth_interior(sheet: Sheet, face: Geometry, a: list[float], white: float) -> None:
    upper, lower = face.upper_inner, face.lower_inner
    half = face.mouth_half_width
    # lips that barely part show a dark line; teeth there would wash the mouth out
    shown = min(1.0, face.gap / 0.06) ** 2
    tooth = mix(_MOUTH, scaled(_TOOTH, white, white, white), shown)

    def inside(mouth: Sheet) -> None:
        mouth.cover(_MOUTH)
        if face.gap > 0.16:
            centre = (0.0, float(lower[12, 1]) - 0.02)
            tongue = ellipses([centre], 0.55 * half, 0.36 * face.gap)
            mouth.fill(tongue, mix(_MOUTH, _TONGUE, 0.85))
        if a[16] * a[25] > 0.1:
            rise = np.array([0, 0.06 * min(1.0, 2 * a[16] * a[25])])
            band = lower[3:22]
            row = np.concatenate([band - rise, band[::-1] + np.array((0, 0.05))])
            mouth.fill(row[None], scaled(tooth, 0.86, 0.84, 0.82))
        band = upper[2:23]
        edge = band + (face.teeth * _ARCH)[:, None] * (0, 1)  # teeth rise to the corners
        mouth.fill(np.concatenate([band - (0, 0.05), edge[::-1]])[None], tooth)

    opening = np.concatenate([upper, lower[::-1]])
    reach = face.corners[:, 0]
    corners = (reach[0], reach[0] + 0.24 * half, reach[1] - 0.24 * half, reach[1])
    side = np.array([corners, (0.2, 1.0, 1.0, 0.2)])
    sheet.see_through(opening[None], inside, shade=0.6, drop=0.025, side=side)


def _eye_shadow(canvas: Canvas, person: Identity, face: Geometry) -> None:
    shadow = mix(scaled(person.skin, 0.66, 0.52, 0.54), person.iris, 0.15)
    lids = np.concatenate([face.upper_lids - (0, 0.055), face.upper_lids[:, ::-1]], axis=1)
    canvas.fill(lids, shadow, 0.5 * person.makeup, 0.025)


def _eyes(sheet: Sheet, person: Identity, face: Geometry, white: float) -> None:
    skin, iris, pupils = person.skin, person.iris, face.pupils
    folds = face.upper_lids[:, 2:] - (0, 0.05 + 0.025 * face.eye_open)
    sheet.stroke(folds, scaled(skin, 0.52, 0.40, 0.38), 0.022, 0.5 * person.lid_fold)
    lower = face.lower_lids[:, 3:-1] + (0, 0.01)
    sheet.stroke(lower, scaled(skin, 0.50, 0.36, 0.34), 0.02, 0.55)

    def balls(eyes: Sheet) -> None:
        ball = scaled(_EYEBALL, white, white, white)
        eyes.cover(ball)
        eyes.fill(ellipses(face.upper_lids[:, 0], 0.04, 0.035), mix(ball, (196, 128, 118), 0.7))
        eyes.discs(pupils, 0.111, scaled(iris, 0.42, 0.42, 0.42))
        eyes.discs(pupils, 0.094, iris)
        glow = ellipses(pupils + np.array((0, 0.055)), 0.055, 0.028)
        eyes.fill(glow, scaled(iris, 1.28, 1.25, 1.2))
        eyes.discs(pupils, 0.046, (12, 10, 10))
        eyes.discs(pupils - 0.036, 0.022, (255, 255, 255))

    openings = np.concatenate([face.upper_lids, face.lower_lids[:, ::-1]], axis=1)
    sheet.see_through(openings, balls, shade=0.45, drop=0.04)
    wings = face.upper_lids[:, -1:] + person.makeup * np.array(
        [[(-0.03, -0.012)], [(0.03, -0.012)]]
    )
    lashes = np.concatenate([face.upper_lids[:, 1:], wings], axis=1)
    sheet.stroke(lashes, mix(_LASH, skin, 0.1), 0.024 + 0.016 * person.makeup)


def _brows(sheet: Sheet, person: Identity, face: Geometry) -> None:
    colour = scaled(person.hair, 0.62, 0.60, 0.60)
    if sum(person.hair) > 330:  # fair hair goes with darker brows
        colour = scaled(person.hair, 0.55, 0.50, 0.45)
    centre = open_spline(face.brows, 4)  # (2, 17, 2)
    half = np.interp(_ALONG, np.arange(5), face.brow_half_thickness)
    up = half[:, None] * (0.0, 1.0)
    shapes = np.concatenate([centre - up, (centre + 0.85 * up)[:, ::-1]], axis=1)
    sheet.fill(shapes, colour, person.brow_opacity)
