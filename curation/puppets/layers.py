"""The parts of a person that no expression moves, painted once and kept."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import hair
from .canvas import (
    BOTH,
    EXTENT,
    LEFT,
    TOP,
    Canvas,
    Sheet,
    blurred,
    ellipses,
    mix,
    planes_of,
    scaled,
)
from .geometry import closed_spline, open_spline
from .identity import Colour, Identity
from .relief import WINDOW_LEFT, WINDOW_TOP, window

_SOFTNESS = 0.012  # of the lens, canonical units
_TONES = (0.55, 0.78, 0.95, 1.1, 1.28)
_TONE_ODDS = (0.18, 0.25, 0.27, 0.2, 0.1)


@dataclass(frozen=True)
class Layers:
    """Planes (C, P, P) of the whole canvas and (C, h, w) of the window of the face.

    With a wall of brightness b, the picture without the face is `picture + b * wall`;
    inside the window, what the face covers is `base + b * base_wall`, and `bare` says
    where no hair or glasses lie before it.
    """

    picture: np.ndarray
    wall: np.ndarray
    base: np.ndarray
    base_wall: np.ndarray
    bare: np.ndarray  # (h, w), 0 to 1
    skin: np.ndarray  # (C, h, w)


@lru_cache(maxsize=8)
def layers(
    person: Identity, pixels: int, planes: int, clothing: Colour, wall_colour: Colour
) -> Layers:
    """Paint the fixed layers of a person at `pixels` squared, in 1 or 3 planes."""
    rng = np.random.default_rng([29, *person.key])
    unit = pixels / EXTENT
    behind, before = Sheet(pixels, pixels, unit), Sheet(pixels, pixels, unit)
    back, front = hair.ribbons(person)
    _comb(behind, back, scaled(person.hair, 0.62, 0.62, 0.62), person.wave, rng)
    _body(behind, person, clothing)
    if person.hair_style == "curly":
        _curl(before, front, person.hair, rng)
    else:
        _comb(before, front, person.hair, person.wave, rng)
    if person.glasses:
        _glasses(before, person)
    under, under_alpha = behind.planes(planes, _SOFTNESS)
    _shadows(under, under_alpha, person, clothing)
    over, over_alpha = before.planes(planes, _SOFTNESS)
    over *= _gloss(person, pixels)

    keep = 1 - over_alpha
    wall = (1 - under_alpha) * (_wall(pixels) * planes_of(wall_colour, planes))
    rows, columns = window(pixels)
    above = slice(rows.start - round(0.05 * unit), rows.stop - round(0.05 * unit))
    cast = blurred((255 * over_alpha[above, columns]).astype(np.uint8), 0.05 * unit)
    skin = _texture(person, cast.shape, rng) * planes_of(person.skin, planes)
    _complexion(Canvas(skin, unit, WINDOW_LEFT, WINDOW_TOP), person)
    skin *= 1 - cast * np.float32(0.30 / 255)
    return Layers(
        picture=over + keep * under,
        wall=keep * wall,
        base=under[:, rows, columns].copy(),
        base_wall=wall[:, rows, columns].copy(),
        bare=keep[rows, columns].copy(),
        skin=skin,
    )


def _comb(
    sheet: Sheet,
    ribbons: list[hair.Ribbon],
    colour: Colour,
    wave: float,
    rng: np.random.Generator,
) -> None:
    """Fill ribbons and draw their strands."""
    for ribbon in ribbons:
        # strands alone make the hairline, so that it frays
        inner = ribbon.inner + (0.16 if ribbon.across else 0) * (ribbon.outer - ribbon.inner)
        edge = np.concatenate([inner, ribbon.outer[::-1]])
        sheet.fill(edge[None], scaled(colour, 0.72, 0.72, 0.72))
    width = max(0.016, 1 / sheet.unit)  # a thinner strand would let the head show
    for ribbon in ribbons:
        strands = hair.strands(ribbon, wave, rng)
        tones = rng.choice(len(_TONES), len(strands), p=_TONE_ODDS)
        for i, tone in enumerate(_TONES):
            sheet.stroke(strands[tones == i], scaled(colour, tone, tone, tone), width)


def _curl(
    sheet: Sheet, ribbons: list[hair.Ribbon], colour: Colour, rng: np.random.Generator
) -> None:
    """Fill ribbons and cover them with curls."""
    for ribbon in ribbons:
        edge = np.concatenate([ribbon.inner, ribbon.outer[::-1]])
        sheet.fill(edge[None], scaled(colour, 0.7, 0.7, 0.7))
    for tone in (0.6, 0.85, 1.05, 1.3, 0.75):
        rings = [hair.curls(ribbon, 28, rng) for ribbon in ribbons]
        sheet.stroke(np.concatenate(rings), scaled(colour, tone, tone, tone), 0.03)


@lru_cache(maxsize=8)
def _axes(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Canonical coordinates of pixel centres: x (1, P) and y (P, 1)."""
    steps = (np.arange(pixels, dtype=np.float32) + 0.5) * np.float32(EXTENT / pixels)
    return (steps + np.float32(LEFT))[None, :], (steps + np.float32(TOP))[:, None]


def _wall(pixels: int) -> np.ndarray:
    x, y = _axes(pixels)
    return 1 - 0.025 * (y - TOP) - 0.015 * x * x


def _gloss(person: Identity, pixels: int) -> np.ndarray:
    """Light from above on hair: a band over the crown, dark towards rim and ends."""
    x, y = _axes(pixels)
    band = np.exp(-0.5 * ((y + 0.35 * x * x - person.top_y - 0.16) / 0.10) ** 2)
    fair = sum(person.hair) / 765  # fair hair has no room for a bright band
    rim = np.minimum((x / 1.25) ** 4, 1)
    gloss = 0.90 + (0.50 - 0.55 * fair) * band - 0.22 * rim - 0.10 * np.clip(y, -0.3, 1.2)
    return gloss.astype(np.float32)


def _texture(person: Identity, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Grain of the skin around 1, (h, w): pores, and blotches that grow with age."""
    coarse = rng.standard_normal((22, 16), dtype=np.float32)
    blotch = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    pores = rng.standard_normal(shape, dtype=np.float32)
    return 1 + (0.011 + 0.008 * person.age) * pores + (0.016 + 0.012 * person.age) * blotch


def _complexion(canvas: Canvas, person: Identity) -> None:
    skin, x = person.skin, person.eye_x
    blush = scaled(skin, 1.0, 0.78, 0.76)
    cheeks = ellipses([(-0.56, 0.38), (0.56, 0.38)], 0.26, 0.17)
    canvas.fill(cheeks, blush, 0.40 + 0.25 * person.makeup, 0.12)
    canvas.fill(ellipses([(0, person.nose_tip_y - 0.06)], 0.15, 0.10), blush, 0.45, 0.07)
    # thin skin around the eyes is a little darker and redder
    lids = ellipses([(-x, -0.02), (x, -0.02)], 0.25, 0.13)
    canvas.fill(lids, scaled(skin, 0.84, 0.74, 0.72), 0.45 + 0.25 * person.age, 0.07)
    if person.beard < 0.3 and person.masculinity > 0.7:  # shaven, not beardless
        jaw = ellipses([(0, 1.12)], 0.62, 0.36)
        canvas.fill(jaw, mix(scaled(skin, 0.86, 0.86, 0.90), person.hair, 0.06), 0.18, 0.12)
    if person.freckles:
        rng = np.random.default_rng([31, *person.key])
        dots = rng.normal((0, 0.28), (0.34, 0.11), (46, 2))
        canvas.fill(ellipses(dots, 0.012, 0.012), scaled(skin, 0.78, 0.66, 0.58), 0.5)


def _body(sheet: Sheet, person: Identity, clothing: Colour) -> None:
    w, neck, skin = person.face_half_width, _neck(person), person.skin
    half = open_spline(
        np.array([(neck, 0.7), (neck, 1.5), (neck + 0.05, 1.8), (neck + 0.35, 2.3)]), 5
    )
    sheet.fill(np.concatenate([half, half[::-1] * (-1, 1)])[None], scaled(skin, 0.90, 0.85, 0.83))
    edge = [(neck + 0.02, 1.86), (neck + 0.30, 1.96), (1.25, 2.06), (1.75, 2.35)]
    half = open_spline(np.array(edge), 5)
    collar = open_spline(np.array([(-neck - 0.02, 1.86), (0.0, 2.08), (neck + 0.02, 1.86)]), 6)
    shirt = np.concatenate([collar[:-1], half, half[::-1] * (-1, 1)])
    sheet.fill(shirt[None], clothing)
    sheet.stroke(collar[None] + (0, 0.03), scaled(clothing, 0.78, 0.78, 0.78), 0.02)
    if person.hair_style in hair.LONG:
        return  # hair hides the ears
    rim = [(0.93 * w, -0.16), (1.06 * w, -0.20), (1.115 * w, -0.06), (1.08 * w, 0.22)]
    ear = closed_spline(np.array([*rim, (1.00 * w, 0.40), (0.93 * w, 0.36)]), 5)
    hollow = (ear - (w, 0.06)) * (0.45, 0.55) + (1.035 * w, 0.06)
    sheet.fill(ear * BOTH, scaled(skin, 0.90, 0.82, 0.79))
    sheet.fill(hollow * BOTH, scaled(skin, 0.76, 0.64, 0.60))


def _neck(person: Identity) -> float:
    return 0.50 + 0.10 * person.masculinity


def _shadows(planes: np.ndarray, alpha: np.ndarray, person: Identity, clothing: Colour) -> None:
    """Darken what the jaw shades and what turns away, in place on premultiplied planes."""
    canvas = Canvas(planes, planes.shape[1] / EXTENT)
    dark, neck = scaled(person.skin, 0.42, 0.34, 0.32), _neck(person)
    jaw = ellipses([(0, person.chin_y - 0.30)], 0.78, 0.52)
    column = np.array([(neck - 0.10, 0.8), (neck + 0.2, 0.8), (neck + 0.2, 1.9), (neck, 1.9)])
    shoulder = np.array([(1.25, 2.0), (2.1, 2.0), (2.1, 2.3), (1.1, 2.3)])
    for shapes, colour, opacity, blur in (
        (jaw, dark, 0.60, 0.10),
        (column * BOTH, dark, 0.45, 0.09),
        (shoulder * BOTH, scaled(clothing, 0.62, 0.62, 0.62), 0.6, 0.12),
    ):
        where, coverage = canvas.mask(shapes, blur)
        box = planes[:, where[0], where[1]]
        weight = coverage * np.float32(opacity / 255)
        box += weight * (alpha[where] * planes_of(colour, len(planes)) - box)


def _glasses(sheet: Sheet, person: Identity) -> None:
    dark = person.glasses == "dark"
    colour, width = ((36.0, 30.0, 30.0), 0.04) if dark else ((112.0, 100.0, 86.0), 0.024)
    ex = person.eye_x
    turn = np.linspace(0, 2 * np.pi, 33)
    cos, sin = np.cos(turn), np.sin(turn)
    # a superellipse: between round and rectangular
    x = 0.33 * np.sign(cos) * np.abs(cos) ** 0.7
    y = 0.21 * np.sign(sin) * np.abs(sin) ** 0.75 + 0.03
    rim = np.stack([x, y], axis=-1)
    outer, edge = ex + 0.35, person.face_half_width
    arm = np.array([(outer, -0.04), (edge + 0.02, -0.08)])
    sheet.stroke(rim * BOTH + [[(-ex - 0.02, 0)], [(ex + 0.02, 0)]], colour, width)
    sheet.stroke(np.array([[(-ex + 0.31, -0.02), (0.0, -0.06), (ex - 0.31, -0.02)]]), colour, width)
    sheet.stroke(arm * BOTH, colour, width)
