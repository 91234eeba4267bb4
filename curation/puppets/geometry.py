"""From action units to the curves of a face: outline, brows, lids and lips."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .expression import ActionUnits
from .identity import UNITS, Identity

SIDES = np.array([-1.0, 1.0])  # image left, image right

_BROW_STEPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_BROW_ARCH = np.array([0.0, -0.4, -0.85, -1.0, -0.1])
_BROW_REST = np.array([0.02, 0.0, 0.0, 0.0, 0.03])
_BROW_TAPER = np.array([0.85, 1.05, 1.0, 0.7, 0.25])
_BROW_LIFT_INNER = np.array([0.17, 0.12, 0.05, 0.0, -0.01])
_BROW_LIFT_OUTER = np.array([0.04, 0.09, 0.14, 0.15, 0.10])
_BROW_LOWER = np.array([0.155, 0.13, 0.10, 0.06, 0.0])
_BROW_WRINKLE = np.array([0.055, 0.055, 0.045, 0.02, 0.0])
_BROW_DRAW = np.array([0.07, 0.055, 0.03, 0.01, 0.0])
_LID = np.linspace(-1, 1, 15)  # nose side → temple side
# the upper lid is highest a little towards the nose, the lower lowest towards the temple
_UPPER_DOME = (1 - np.abs(_LID + 0.10 * (1 - _LID**2)) ** 2.3) ** 0.9
_LOWER_DOME = (1 - np.abs(_LID - 0.12 * (1 - _LID**2)) ** 2.2) ** 0.9
_LIP = np.linspace(-1, 1, 25)  # image left → image right


@dataclass(frozen=True)
class Geometry:
    """Curves of one face in canonical units; the first axis of pairs is `SIDES`."""

    outline: np.ndarray  # (n, 2), closed
    brows: np.ndarray  # (2, 5, 2), inner → outer
    brow_half_thickness: np.ndarray  # (5,)
    upper_lids: np.ndarray  # (2, 15, 2), nose → temple
    lower_lids: np.ndarray  # (2, 15, 2)
    pupils: np.ndarray  # (2, 2)
    upper_outer: np.ndarray  # (25, 2) lips, image left → right
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    gap: float  # mouth opening at the centre
    teeth: float  # visible height of the upper teeth
    mouth_y: float
    nose_tip_y: float
    nose_half_width: float
    chin_y: float
    eye_open: float

    @property
    def corners(self) -> np.ndarray:
        """Mouth corners, (2, 2)."""
        return self.upper_outer[[0, -1]]

    @property
    def mouth_half_width(self) -> float:
        """Half the distance between the mouth corners."""
        left, right = self.upper_outer[[0, -1], 0].tolist()
        return (right - left) / 2


def by_number(action_units: ActionUnits) -> np.ndarray:
    """Return intensities as an array indexed by action-unit number."""
    units = np.zeros(UNITS)
    for number, intensity in action_units.items():
        units[number] = intensity
    return units


def geometry(
    person: Identity, action_units: ActionUnits, gaze: tuple[float, float] = (0.0, 0.0)
) -> Geometry:
    """Return the curves of `person` performing `action_units`.

    Args:
        person: Proportions at rest.
        action_units: Intensities by unit number.
        gaze: Displacement of both irises, canonical units.

    Returns:
        The curves.
    """
    units = by_number(action_units)
    # (2, 44): people are a little stronger on one side, always the same one
    sides = units * (1 + person.asymmetry * SIDES[:, None])
    a = units.tolist()
    s = sides.T[:, :, None]  # s[unit] is (2, 1)

    chin_y = person.chin_y + 0.20 * a[26] - 0.03 * a[17]
    nose_tip_y = person.nose_tip_y - 0.6 * (0.05 * a[9] + 0.02 * a[10])
    nose_half_width = person.nose_half_width * (1 + 0.12 * a[9] + 0.10 * a[12])

    rise = person.brow_arch * _BROW_ARCH + _BROW_REST
    lift = 1.18 * s[1] * _BROW_LIFT_INNER + 1.07 * s[2] * _BROW_LIFT_OUTER
    drop = 1.3 * s[4] * _BROW_LOWER + s[9] * _BROW_WRINKLE
    # a brow cannot sink into the eye, however much pulls at it
    brow_y = np.minimum(person.brow_y + rise - lift + drop, -0.115 + 0.02 * _BROW_STEPS)
    brow_x = 0.17 + (person.eye_x + 0.305 - 0.17) * _BROW_STEPS - s[4] * _BROW_DRAW
    brows = _points(brow_x * SIDES[:, None], brow_y)

    upper_lids, lower_lids, pupils, eye_open = _eyes(person, s, gaze)
    lips, gap, mouth_y = _lips(person, a, sides)
    exposed = 0.9 * min(0.75 * gap + 0.015, 0.125)
    # a dropped jaw leaves the teeth behind the lip; so does a lip that sadness or fear stretches
    teeth = exposed * (1 - 0.55 * min(1.0, a[26])) * (1 - 0.25 * min(1.0, a[1]))
    return Geometry(
        outline=_outline(person, chin_y, a),
        brows=brows,
        brow_half_thickness=person.brow_half_thickness * _BROW_TAPER,
        upper_lids=upper_lids,
        lower_lids=lower_lids,
        pupils=pupils,
        upper_outer=lips[0],
        upper_inner=lips[1],
        lower_inner=lips[2],
        lower_outer=lips[3],
        gap=gap,
        teeth=teeth,
        mouth_y=mouth_y,
        nose_tip_y=nose_tip_y,
        nose_half_width=nose_half_width,
        chin_y=chin_y,
        eye_open=eye_open,
    )


def _eyes(
    person: Identity, s: np.ndarray, gaze: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    upper = person.eye_open + 0.075 * s[5] - 0.028 * s[7] - 0.03 * s[43]
    upper = upper - 0.018 * s[12] * s[6] - 0.02 * s[9] + 0.012 * s[2]
    upper = np.maximum(upper, 0.042 - 0.02 * s[43])  # (2, 1)
    lower = 0.058 + 0.012 * s[5] - 0.034 * s[7] - 0.036 * s[6] - 0.02 * s[9] - 0.01 * s[12]
    lower = np.maximum(lower, 0.010)
    slope = 0.018 + person.eye_cant * 2.2 * (_LID + 1) / 2 - 0.018 * (_LID + 1) / 2
    x = (person.eye_x + person.eye_half_width * _LID) * SIDES[:, None]
    upper_lids = _points(x, slope - upper * _UPPER_DOME)
    lower_lids = _points(x, slope + lower * _LOWER_DOME)
    height = float(slope[len(slope) // 2]) - 0.022
    pupil_x, pupil_y = person.eye_x + 0.012, height + gaze[1]
    pupils = np.array([(gaze[0] - pupil_x, pupil_y), (gaze[0] + pupil_x, pupil_y)])
    return upper_lids, lower_lids, pupils, float((upper + lower).mean())


def _lips(
    person: Identity, a: list[float], sides: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float, float]:
    """Lip edges: each runs as a power curve from its centre to the shared corner."""
    mouth_y = person.mouth_y - 0.03 * a[17] - 0.01 * a[23]
    s = sides.T  # s[unit] is (2,)
    corner_x = person.mouth_half_width + 0.1215 * s[12] + 0.13 * s[20] - 0.105 * s[26]
    corner_x = corner_x - 0.045 * s[23] - 0.03 * s[17] - 0.02 * s[24] + 0.03 * s[10]
    corner_y = 0.016 - 0.135 * s[12] + 0.1125 * s[15] + 0.05 * s[20] + 0.185 * s[26]
    corner_y = corner_y + 0.03 * s[16] + 0.02 * s[25] * np.maximum(1 - s[12], 0) + 0.02 * s[23]
    corner_y = mouth_y + corner_y
    gap = 1.1 * (0.05 * a[25] + 0.40 * a[26] + 0.04 * a[12] * a[25] + 0.06 * a[16] * a[25])
    upper_shift = -0.035 * a[12] * a[25] - 0.085 * a[10] - 0.05 * a[9] - 0.02 * a[26]
    upper_shift -= 0.02 * a[20] * a[25]
    thickness = max(
        0.35,
        1 - 0.25 * a[12] - 0.45 * a[23] - 0.2 * a[24] - 0.22 * a[20] - 0.1 * a[17],
    )
    upper_inner = mouth_y + upper_shift * 0.9 - 0.10 * gap
    upper_outer = upper_inner - person.upper_lip * thickness
    lower_inner = mouth_y + 0.25 * upper_shift + 0.82 * gap + 0.03 * a[16]
    lower_inner = max(lower_inner, upper_inner)
    if gap < 0.02:  # lips that do not part move together, and less far
        upper_inner = lower_inner = mouth_y + 0.45 * upper_shift
        upper_outer = upper_inner - person.upper_lip * thickness + 0.35 * upper_shift
        corner_y = corner_y + 0.2 * upper_shift
    lower_outer = lower_inner + person.lower_lip * thickness * (1 + 0.10 * a[17] + 0.12 * a[16])

    left = _LIP < 0
    reach = np.abs(_LIP)
    x = _LIP * np.where(left, corner_x[0], corner_x[1])
    end = np.where(left, corner_y[0], corner_y[1])
    # cupid's bow: a dip at the centre between two peaks
    bow = 0.14 * person.upper_lip * thickness * np.exp(-((reach / 0.13) ** 2))

    def edge(centre: float, power: float) -> np.ndarray:
        return centre + (end - centre) * reach**power

    squared = 2 + 1.4 * a[10] + 1.5 * a[20] + 0.8 * a[26]
    # the levators pull beside the nose: a snarl is square, not pointed
    snarl = (0.03 * a[10] + 0.012 * a[9]) * np.exp(-(((reach - 0.45) / 0.30) ** 2))
    curves = (
        edge(upper_outer, 0.9 * min(squared, 5)) + bow - snarl,
        edge(upper_inner, squared) - 0.8 * snarl,
        edge(lower_inner, 2.2 + a[20] + a[16]),
        edge(lower_outer, 2.4),
    )
    upper_o, upper_i, lower_i, lower_o = (_points(x, y) for y in curves)
    # curves of different power may cross near the corners
    lower_i[:, 1] = np.maximum(lower_i[:, 1], upper_i[:, 1])
    upper_o[:, 1] = np.minimum(upper_o[:, 1], upper_i[:, 1])
    lower_o[:, 1] = np.maximum(lower_o[:, 1], lower_i[:, 1])
    return (upper_o, upper_i, lower_i, lower_o), gap, mouth_y


def _points(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return coordinates as points, (*y.shape, 2)."""
    points = np.empty((*y.shape, 2))
    points[..., 0], points[..., 1] = x, y
    return points


def _outline(person: Identity, chin_y: float, a: list[float]) -> np.ndarray:
    """Closed face contour from the top of the forehead clockwise, (n, 2)."""
    w, top, drop = person.face_half_width, person.top_y, chin_y - person.chin_y
    cheek = 0.02 * max(a[12], a[6])
    jaw_y = 0.98 + 0.3 * (person.chin_y - 1.55) + 0.45 * drop
    right = np.array(
        [
            (0.0, top),
            (0.46 * w, top + 0.09),
            (0.80 * w, top + 0.39),
            (0.965 * w, -0.52),
            (1.0 * w, -0.08),
            (0.965 * w + cheek, 0.42),
            (0.5 * (0.93 * w + person.jaw) + cheek, 0.75 + 0.15 * drop),
            (person.jaw, jaw_y + 0.06),
            (0.5 * (person.jaw + person.chin_half_width) + 0.02, 0.5 * (jaw_y + chin_y) + 0.09),
            (person.chin_half_width, chin_y - 0.055),
        ]
    )
    bottom = np.array([(0.0, chin_y)])
    return closed_spline(np.concatenate([right, bottom, right[:0:-1] * (-1, 1)]), 5)


@lru_cache(maxsize=32)
def _closed_basis(count: int, steps: int) -> np.ndarray:
    """Catmull-Rom basis of a closed curve, (count · steps, count)."""
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ],
        axis=-1,
    )
    basis = np.zeros((count, steps, count))
    for i in range(count):
        for k in range(4):
            basis[i, :, (i + k - 1) % count] += weights[:, k]
    return basis.reshape(count * steps, count)


def closed_spline(points: np.ndarray, steps: int) -> np.ndarray:
    """Return the closed Catmull-Rom curve through `points`, (count · steps, 2)."""
    return _closed_basis(len(points), steps) @ points


@lru_cache(maxsize=32)
def _open_basis(count: int, steps: int) -> np.ndarray:
    """Catmull-Rom basis of an open curve with its ends reflected."""
    ends = np.zeros((count + 2, count))
    ends[1:-1] = np.eye(count)
    ends[0, :2] = 2, -1
    ends[-1, -2:] = -1, 2
    closed = _closed_basis(count + 2, steps)[steps : steps * count]
    return np.concatenate([closed @ ends, np.eye(count)[-1:]])


def open_spline(points: np.ndarray, steps: int) -> np.ndarray:
    """Return the open Catmull-Rom curve through `points` (..., count, 2)."""
    return _open_basis(points.shape[-2], steps) @ points
