"""The face as a surface: a height field, its creases, and how light falls on it.

Relief lives on a fixed grid of 96 by 96 cells over the canvas, whatever the picture's
size; only the window that can hold a face is computed.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import EXTENT, LEFT, TOP, blurred
from .expression import ActionUnits
from .geometry import Geometry, by_number
from .identity import Identity

GRID = 96
CELL = EXTENT / GRID
# Rows and columns of the grid that can hold a face, even numbers so that half-cell
# multiples stay whole pixels.
ROWS = slice(6, 92)
COLUMNS = slice(16, 80)
WINDOW_LEFT = LEFT + COLUMNS.start * CELL
WINDOW_TOP = TOP + ROWS.start * CELL
_X = (LEFT + (np.arange(GRID) + 0.5) * CELL)[COLUMNS].astype(np.float32)
_Y = (TOP + (np.arange(GRID) + 0.5) * CELL)[ROWS].astype(np.float32)


@dataclass(frozen=True)
class Light:
    """One lamp and the room around it."""

    direction: tuple[float, float, float]  # towards the lamp: x right, y down, z viewer
    ambient: float
    diffuse: float
    specular: float


@dataclass(frozen=True)
class Relief:
    """Height above the skull and crease depth on the window of the grid."""

    height: np.ndarray  # (86, 64) float32, canonical units
    crease: np.ndarray  # (86, 64) float32, about 0 to 1


def relief(person: Identity, face: Geometry, action_units: ActionUnits) -> Relief:
    """Model the surface of `person`'s face with this geometry and these units."""
    a = by_number(action_units).tolist()
    crease = _creases(person, face, a)
    height = _bumps(person, face, a) - 0.085 * crease
    return Relief(height, crease)


def _gaussians(rows: list[tuple[float, float, float, float, float]]) -> np.ndarray:
    """Sum of Gaussians (x, y, sigma x, sigma y, amplitude): separable, so one product."""
    x, y, sx, sy, amplitude = np.array(rows, np.float32).T[:, :, None]
    across, down = (_X - x) / sx, (_Y - y) / sy
    return (np.exp(-0.5 * down * down) * amplitude).T @ np.exp(-0.5 * across * across)


def _bumps(person: Identity, face: Geometry, a: list[float]) -> np.ndarray:
    nh, nl, nw = person.nose_height, face.nose_tip_y, face.nose_half_width
    ex, my = person.eye_x, face.mouth_y
    brow = person.brow_y + 0.05 + 0.08 * a[4] - 0.05 * (a[1] + a[2]) / 2
    cheek = max(a[12], a[6])
    lip_y = float(face.lower_outer[12, 1])
    corner_depth = -0.045 - 0.01 * a[12] - 0.03 * a[15]
    # x, y, sigma x, sigma y, amplitude
    middle = [
        (0.0, 0.05, 0.10, 0.20, 0.40 * nh),
        (0.0, 0.26, 0.11, 0.18, 0.48 * nh),
        (0.0, nl - 0.13, 0.135, 0.12, 0.85 * nh),
        (0.0, my, 0.36, 0.24, 0.13 - 0.05 * a[26]),
        (0.0, lip_y - 0.06, 0.17, 0.055, 0.045),
        (0.0, lip_y + 0.085, 0.20, 0.055, -0.06 - 0.03 * a[17]),
        (0.0, face.chin_y - 0.2, 0.20, 0.13, 0.10 + 0.05 * a[17]),
        (0.0, (nl + float(face.upper_outer[12, 1])) / 2 + 0.04, 0.035, 0.06, -0.03),
    ]
    paired = [
        (0.8 * nw, nl - 0.08, 0.075, 0.085, 0.42 * nh),
        (ex, 0.0, 0.25, 0.15, -0.13),
        (ex, -0.02, 0.15, 0.10, 0.075),
        (0.2, -0.02, 0.07, 0.12, -0.05),
        (ex, 0.135, 0.16, 0.045, 0.02 * (1 + person.age) + 0.035 * a[6] + 0.02 * a[7]),
        (0.42, brow, 0.30, 0.10, 0.055 + 0.05 * person.masculinity + 0.05 * a[4]),
        (
            0.52,
            0.50 - 0.10 * cheek,
            0.24,
            0.20,
            0.10 + 0.10 * max(a[12], 0.7 * a[6]) + 0.04 * a[9],
        ),
        (0.75, -0.62, 0.14, 0.22, -0.05),
    ]
    rows = [*middle, *paired, *((-x, y, sx, sy, h) for x, y, sx, sy, h in paired)]
    for corner in face.corners.tolist():
        x = corner[0] + (0.06 if corner[0] > 0 else -0.06)
        rows.append((x, corner[1], 0.05, 0.06, corner_depth))
    return _gaussians(rows)


def _creases(person: Identity, face: Geometry, a: list[float]) -> np.ndarray:
    """Folds of the skin, drawn as lines on the grid and softened."""
    nl, nw, ex = face.nose_tip_y, face.nose_half_width, person.eye_x
    age = person.age
    corner_x, corner_y = face.mouth_half_width, sum(face.corners[:, 1].tolist()) / 2
    bow = 0.10 + 0.04 * a[12]
    fold = 0.22 * person.nasolabial + 0.75 * max(a[12], 0.9 * a[9], 0.6 * a[10])
    fold += 0.15 * a[15] + 0.2 * a[20]
    bag = 0.45 * a[6] + 0.3 * a[7] + 0.35 * age + 0.2 * a[9]
    droop = 0.5 * max(a[15], 0.6 * a[17]) + 0.25 * max(0.0, age - 0.5)
    (left_x, left_y), (right_x, right_y) = face.brows[:, 0].tolist()
    inner_x, inner_y = (right_x - left_x) / 2, (left_y + right_y) / 2
    # strength and three points, all on the right half; the left is their mirror image
    nasolabial = (0.5 * (nw + corner_x) + bow, 0.45 * nl + 0.55 * corner_y - 0.05)
    lines = [
        (0.8 * min(fold, 1.1), (nw + 0.04, nl - 0.10 - 0.03 * a[9]), nasolabial,
         (corner_x + bow + 0.01, corner_y - 0.02)),
        (0.85 * a[4] * (1 - 0.45 * min(1.0, a[1])), (0.55 * inner_x, inner_y - 0.16),
         (0.42 * inner_x, inner_y - 0.04), (0.55 * inner_x, inner_y + 0.07)),
        (0.7 * a[9], (0.14, 0.08), (0.20, 0.20), (nw + 0.03, 0.34)),
        (0.7 * bag, (ex - 0.17, 0.10), (ex - 0.02, 0.155), (ex + 0.17, 0.10)),
        (droop, (corner_x + 0.03, corner_y + 0.03), (corner_x + 0.06, corner_y + 0.13),
         (corner_x + 0.03, corner_y + 0.22)),
    ]  # fmt: skip
    brow_y = float(face.brows[:, :, 1].min())
    furrow = 0.50 * max(a[1], a[2]) + 0.25 * max(0.0, age - 0.3)
    reach = 0.28 + 0.25 * min(1.0, a[2])
    space = min(0.13, max(0.05, (brow_y - person.hairline_y) / 4.2))
    tilt = 0.05 * max(0.0, a[1] - a[2])
    crow = 0.7 * a[6] * (0.5 + 0.5 * age) + 0.25 * max(0.0, age - 0.4)
    outer = ex + person.eye_half_width + 0.04
    for i, (rise, run) in enumerate(((-0.06, 0.13), (0.01, 0.14), (0.08, 0.12))):
        y = brow_y - 0.10 - space * i  # across the forehead
        lines.append(
            (furrow * (0.8 - 0.15 * i), (0.0, y - tilt), (0.5 * reach, y), (reach, y + tilt))
        )
        y = -0.02 + 0.085 * i  # across the bridge of the nose
        lines.append((1.1 * a[9], (0.0, y - 0.02), (0.07, y), (0.13, y + 0.045)))
        start, end = (outer, -0.01 + 0.025 * i), (outer + run, rise)  # crow's feet
        lines.append((crow, start, end, end))
    # weak first: a strong fold must not be cut by a weak one
    lines = sorted(line for line in lines if line[0] >= 0.03)
    canvas = np.zeros((len(_Y), len(_X)), np.uint8)
    if lines:
        right = np.array([line[1:] for line in lines])  # (n, 3, 2)
        both = np.stack([right, right * (-1, 1)], axis=1)
        both = ((both - (WINDOW_LEFT, WINDOW_TOP)) / CELL - 0.5) * 16
        for line, pair in zip(lines, np.rint(both).astype(np.int32), strict=True):
            level = min(255.0, 255 * line[0])
            cv2.polylines(canvas, list(pair), False, level, 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(canvas.astype(np.float32), (5, 5), 0.9) * np.float32(1.6 / 255)


def window(pixels: int) -> tuple[slice, slice]:
    """Rows and columns of a `pixels`² canvas that the window of the grid covers."""
    scale = pixels / GRID  # a multiple of one half

    def stretched(cells: slice) -> slice:
        return slice(int(cells.start * scale), int(cells.stop * scale))

    return stretched(ROWS), stretched(COLUMNS)


def _skull(face: Geometry) -> np.ndarray:
    """Height of the bare skull on the window of the grid, canonical units."""
    half = len(face.outline) // 2 + 1
    right = face.outline[:half]  # from the forehead down to the chin
    chin = float(right[-1, 1])
    width = np.interp(_Y, np.maximum.accumulate(right[:, 1]), right[:, 0])
    # a face turns away later than its outline narrows: widen the ends, then smooth
    width = np.maximum(width, 0.62) + 0.13
    column = width.astype(np.float32)[:, None]
    column = cv2.GaussianBlur(column, (1, 13), 2.6, borderType=cv2.BORDER_REPLICATE)
    across = _X / column
    across *= across
    down = ((_Y - 0.05) / (chin + 0.24)) ** 2
    rest = 1 - across - down[:, None]
    # beyond the horizon the surface keeps falling: a flat rim would catch the light
    horizon = np.float32(0.08)
    falling = math.sqrt(0.08) + (rest - horizon) * np.float32(0.5 / math.sqrt(0.08))
    return 0.85 * np.where(rest > horizon, np.sqrt(np.maximum(rest, horizon)), falling)


def shade(
    person: Identity, face: Geometry, surface: Relief, light: Light
) -> tuple[np.ndarray, np.ndarray]:
    """Light the surface.

    Returns:
        Diffuse shade and specular highlight, both (86, 64) float32 on the window.
    """
    z = _skull(face) + surface.height
    slope = 1 / (8 * CELL)
    zx = cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=slope, borderType=cv2.BORDER_REPLICATE)
    zy = cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=slope, borderType=cv2.BORDER_REPLICATE)
    lx, ly, lz = _unit(*light.direction)
    length = 1 / np.sqrt(1 + zx * zx + zy * zy)
    lambert = np.maximum((lz - lx * zx - ly * zy) * length, 0)
    h = surface.height
    hollow = h - blurred(h, 3.2)  # stands in for ambient occlusion
    out = light.ambient + light.diffuse * lambert + 1.3 * hollow - 0.20 * surface.crease
    out += _shadows(person, face)
    # Blinn: half-way vector between the lamp and the viewer
    hx, hy, hz = _unit(lx, ly, lz + 1)
    facing = np.maximum((hz - hx * zx - hy * zy) * length, 0)
    facing = facing * facing * facing
    facing *= facing
    facing *= facing
    facing *= facing  # to the power of 24
    return np.clip(out, 0.12, 1.5), light.specular * facing


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def _shadows(person: Identity, face: Geometry) -> np.ndarray:
    nl, lip = face.nose_tip_y, float(face.lower_outer[12, 1])
    ex = person.eye_x
    rows = [
        (0.0, nl + 0.055, 0.16, 0.05, -0.16),
        (0.0, lip + 0.05, 0.17, 0.045, -0.10),
        (0.22, -0.04, 0.08, 0.09, -0.10),
        (-0.22, -0.04, 0.08, 0.09, -0.10),
        (ex, -0.13, 0.19, 0.045, -0.07),
        (-ex, -0.13, 0.19, 0.045, -0.07),
        (0.98, -0.5, 0.16, 0.45, -0.08),
        (-0.98, -0.5, 0.16, 0.45, -0.08),
    ]
    return _gaussians(rows)
