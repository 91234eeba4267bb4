"""From arguments to pixels: scene, lighting, pose and the style of a database."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .canvas import EXTENT, LEFT, TOP, Canvas
from .expression import PROTOTYPES, STRONGEST, action_units
from .geometry import geometry
from .identity import STYLES, UNITS, Colour, Identity, identity
from .layers import layers
from .painting import paint_face
from .relief import (
    COLUMNS,
    GRID,
    ROWS,
    WINDOW_LEFT,
    WINDOW_TOP,
    Light,
    Relief,
    relief,
    shade,
    window,
)

_SMALLEST = 32
_POSE_GRID = 48


@dataclass(frozen=True)
class _Look:
    """What makes a database recognisable; pairs are (low, high) of a uniform draw."""

    colour: bool
    light: tuple[float, float, float]  # as Light.direction; the lamp changes sides
    ambient: tuple[float, float]
    diffuse: tuple[float, float]
    specular: float
    clothing: tuple[Colour, ...]
    wall: Colour
    wall_brightness: tuple[float, float]  # factor on `wall`
    noise: float  # standard deviation, grey levels
    blur: tuple[float, float] = (0.0, 0.0)  # standard deviation, pixels at 128
    gamma: tuple[float, float] = (1.0, 1.0)
    contrast: tuple[float, float] = (1.0, 1.0)
    steady: bool = False  # every picture is exposed to a middle grey
    intensity: float = 1.0  # of expressions


_LOOKS = {
    "studio": _Look(
        colour=True,
        light=(0.25, -0.55, 0.85),
        ambient=(0.50, 0.58),
        diffuse=(0.50, 0.58),
        specular=0.10,
        clothing=((104, 106, 110),),
        wall=(186, 179, 170),
        wall_brightness=(0.96, 1.06),
        noise=1.6,
    ),
    "lab": _Look(
        colour=False,
        light=(0.45, -0.55, 0.80),
        ambient=(0.44, 0.54),
        diffuse=(0.54, 0.64),
        specular=0.13,
        clothing=((70, 70, 72), (120, 120, 122), (176, 176, 176), (40, 40, 42)),
        wall=(120, 120, 120),
        wall_brightness=(0.5, 1.45),
        noise=3.2,
        blur=(0.35, 0.70),
        gamma=(0.85, 1.25),
        contrast=(1.05, 1.25),
    ),
    "ten": _Look(
        colour=False,
        light=(0.35, -0.35, 0.90),
        ambient=(0.52, 0.60),
        diffuse=(0.42, 0.50),
        specular=0.06,
        clothing=((110, 110, 110), (82, 82, 82)),
        wall=(172, 172, 172),
        wall_brightness=(0.97, 1.03),
        noise=2.2,
        blur=(0.50, 0.80),
        contrast=(0.60, 0.80),
        steady=True,
        intensity=0.92,
    ),
}


@dataclass(frozen=True)
class _Scene:
    """Everything about one shot that is neither the person nor the expression."""

    light: Light
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    gaze: tuple[float, float] = (0.0, 0.0)
    wall: float = 1.0  # brightness of the wall behind


def render(
    style: str,
    subject: int,
    session: int,
    emotion: str,
    *,
    size: int = 128,
    difficulty: float = 0.6,
    seed: int = 0,
) -> np.ndarray:
    """Draw one photograph.

    Args:
        style: "studio" (colour, like KDEF), "lab" (grey, varied light, like CK+) or
            "ten" (grey, low contrast, women, like JAFFE).
        subject: Number of the person, from 1; people of different styles differ.
        session: Number of the sitting, from 1.
        emotion: A key of `expression.PROTOTYPES`.
        size: Height and width in pixels, at least 32.
        difficulty: 0 (posed, full intensity) to 1 (weak, incomplete, mixed).
        seed: Another seed gives other people and other shots.

    Returns:
        (size, size, 3) uint8 RGB; the same arguments give the same bytes.

    Raises:
        ValueError: If an argument is outside what is said above.
    """
    check(
        style=style,
        size=size,
        emotions=(emotion,),
        difficulty=difficulty,
        subjects=subject,
        sessions=session,
    )
    person = identity(style, subject, seed)
    shot = [*person.key, session, list(PROTOTYPES).index(emotion)]
    rng, look = np.random.default_rng([41, *shot]), _LOOKS[style]
    scene = _scene(look, rng)  # drawn first: difficulty changes the expression alone
    units = action_units(emotion, person, difficulty, rng)
    units = {unit: value * look.intensity for unit, value in units.items()}
    return _photograph(style, person, units, scene, size, rng)


def render_action_units(
    style: str,
    subject: int,
    action_units: Mapping[int, float],
    *,
    size: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """Draw a person showing exactly these action units, frontal, under the style's mean light.

    Args:
        style: One of `STYLES`.
        subject: Number of the person, from 1.
        action_units: FACS intensities by unit number, each in [0, 1.3].
        size: Height and width in pixels, at least 32.
        seed: Another seed gives other people.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        ValueError: If an argument is outside what is said above.
    """
    check(style=style, size=size, subjects=subject)
    for unit, value in action_units.items():
        if not (1 <= unit < UNITS and 0 <= value <= STRONGEST):
            raise ValueError(
                f"puppets: action unit {unit} at {value} is out of range; units are 1 to "
                f"{UNITS - 1}, intensities 0 to {STRONGEST}"
            )
    look = _LOOKS[style]
    mean_light = Light(
        look.light,
        sum(look.ambient) / 2,
        sum(look.diffuse) / 2,
        look.specular,
    )
    person = identity(style, subject, seed)
    rng = np.random.default_rng([47, *person.key])
    return _photograph(style, person, action_units, _Scene(mean_light), size, rng)


def check(
    *,
    style: str,
    size: int,
    emotions: Sequence[str] = (),
    difficulty: float = 0.0,
    subjects: int = 1,
    sessions: int = 1,
) -> None:
    """Raise ValueError naming the first argument that puppets cannot be drawn with."""
    if style not in STYLES:
        raise ValueError(
            f"puppets: style {style!r} is unknown; choose one of {', '.join(STYLES)} "
            "(database.style)"
        )
    for emotion in emotions:
        if emotion not in PROTOTYPES:
            raise ValueError(
                f"puppets: emotion {emotion!r} is unknown; choose from {', '.join(PROTOTYPES)} "
                "(database.emotions)"
            )
    if not 0 <= difficulty <= 1:
        raise ValueError(
            f"puppets: difficulty {difficulty} is outside [0, 1] (database.difficulty)"
        )
    counts = {"size": (size, _SMALLEST), "subjects": (subjects, 1), "sessions": (sessions, 1)}
    for name, (value, smallest) in counts.items():
        if value < smallest:
            raise ValueError(
                f"puppets: {name} {value} is too small; give at least {smallest} (database.{name})"
            )


def _scene(look: _Look, rng: np.random.Generator) -> _Scene:
    side = 1.0 if rng.random() < 0.5 else -1.0
    light = Light(
        (side * look.light[0], *look.light[1:]),
        rng.uniform(*look.ambient),
        rng.uniform(*look.diffuse),
        look.specular,
    )
    yaw, pitch, roll, dx, dy = np.clip(rng.standard_normal(5), -2.5, 2.5).tolist()
    return _Scene(
        light,
        yaw=0.07 * yaw,
        pitch=0.03 * pitch,
        roll=0.03 * roll,
        shift=(0.04 * dx, 0.04 * dy),
        zoom=rng.uniform(0.94, 1.04),
        gaze=(rng.normal(0, 0.010), rng.normal(0, 0.006)),
        wall=rng.uniform(*look.wall_brightness),
    )


def _photograph(
    style: str,
    person: Identity,
    units: Mapping[int, float],
    scene: _Scene,
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    look = _LOOKS[style]
    # Small pictures are drawn larger and averaged down: bilinear sampling alone aliases.
    factor = max(1, 128 // size)
    drawn = size * factor
    pixels = 48 * math.ceil(1.5 * max(size, 96) / 48)
    clothing = look.clothing[person.wardrobe % len(look.clothing)]
    fixed = layers(person, pixels, 3 if look.colour else 1, clothing, look.wall)

    face = geometry(person, units, scene.gaze)
    red, green, blue = person.skin
    exposure = min(1.7, (175 / (0.299 * red + 0.587 * green + 0.114 * blue)) ** 0.35)
    skin = fixed.skin.copy()
    canvas = Canvas(skin, pixels / EXTENT, WINDOW_LEFT, WINDOW_TOP)
    paint_face(canvas, person, face, units, exposure)
    surface = relief(person, face, units)
    _illuminate(skin, exposure, *shade(person, face, surface, scene.light))

    flat = (-1, pixels)
    picture = cv2.scaleAdd(fixed.wall.reshape(flat), scene.wall, fixed.picture.reshape(flat))
    picture = picture.reshape(fixed.picture.shape)
    rows, columns = window(pixels)
    where, outline = canvas.mask(face.outline[None], 0.012)
    seen = (slice(None), *where)
    covered = fixed.bare[where] * (outline * np.float32(1 / 255))
    base = fixed.base[seen] + scene.wall * fixed.base_wall[seen]
    picture[:, rows, columns][seen] += covered * (skin[seen] - base)

    across, down = _pose(surface, scene, drawn, pixels)
    posed = [
        cv2.remap(plane, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in picture
    ]
    if factor > 1:
        posed = [cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in posed]
    # the side that the lamp stands on is brighter, wall and clothes too
    ramp = 1 + 0.06 * scene.light.direction[0] * _across(size)
    return _develop(look, [plane * ramp for plane in posed], rng)


@lru_cache(maxsize=2)
def _across(size: int) -> np.ndarray:
    """From -1 at the left edge of a picture to 1 at the right."""
    return np.linspace(-1, 1, size, dtype=np.float32)


def _illuminate(
    skin: np.ndarray, exposure: float, diffuse: np.ndarray, specular: np.ndarray
) -> None:
    """Multiply painted skin by its shade, in place."""
    extent = (skin.shape[2], skin.shape[1])
    shade_map = cv2.resize(diffuse * np.float32(exposure), extent)
    highlight = cv2.resize(specular * np.float32(255), extent)
    if len(skin) == 1:
        skin[0] *= shade_map
    else:
        # light scattered under the skin turns shadows red
        for plane, bleed in zip(skin, (0.06, 0.0, -0.03), strict=True):
            plane *= shade_map * np.float32(1 - bleed) + np.float32(bleed)
    skin += highlight


@lru_cache(maxsize=1)
def _head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical x (1, n) and y (n, 1) of the cells of the pose grid, and the dome of a head."""
    steps = (np.arange(_POSE_GRID, dtype=np.float32) + 0.5) * np.float32(EXTENT / _POSE_GRID)
    x, y = (steps + np.float32(LEFT))[None, :], (steps + np.float32(TOP))[:, None]
    return x, y, np.maximum(1 - (x / 1.25) ** 2 - ((y - 0.05) / 1.85) ** 2, 0)


def _pose(surface: Relief, scene: _Scene, drawn: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the inverse map: for every output pixel, where on the canvas to look."""
    x, y, dome = _head()
    height = np.zeros((GRID, GRID), np.float32)
    height[ROWS, COLUMNS] = surface.height
    height = cv2.resize(height, (_POSE_GRID, _POSE_GRID), interpolation=cv2.INTER_AREA)
    height = 0.80 * dome + 0.9 * height * np.minimum(1, 3 * dome)
    cos, sin = math.cos(scene.roll) / scene.zoom, math.sin(scene.roll) / scene.zoom
    u, v = x - scene.shift[0], y - 0.1 - scene.shift[1]
    # in cells of the grid from here on
    cells = _POSE_GRID / EXTENT
    x0 = (cos * u + sin * v) * (cells / math.cos(scene.yaw)) - (LEFT * cells + 0.5)
    y0 = (cos * v - sin * u) * cells + ((0.1 - TOP) * cells - 0.5)
    turn, nod = cells * math.sin(scene.yaw), cells * math.sin(scene.pitch)
    sx, sy = x0, y0
    for _ in range(2):  # the height that an output pixel sees depends on where it looks
        z = cv2.remap(height, sx, sy, cv2.INTER_LINEAR)
        sx, sy = x0 + z * turn, y0 + z * nod
    scale = pixels / _POSE_GRID
    across = cv2.resize(sx * scale + (0.5 * scale - 0.5), (drawn, drawn))
    down = cv2.resize(sy * scale + (0.5 * scale - 0.5), (drawn, drawn))
    return across, down


def _develop(look: _Look, planes: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Turn drawn planes (H, W) into the style's photograph, (H, W, 3) uint8 RGB."""
    size = len(planes[0])
    sigma = rng.uniform(*look.blur) * size / 128  # blur is that of a 128-pixel picture
    gamma, contrast = rng.uniform(*look.gamma), np.float32(rng.uniform(*look.contrast))
    mean = rng.uniform(124, 142)
    # the sum of two even draws is close enough to a normal one, and five times as fast
    first, second = rng.integers(0, 256, (2, size, size), np.uint8)
    strength = look.noise / 104.5
    grain = cv2.addWeighted(first, strength, second, strength, -255 * strength, dtype=cv2.CV_32F)
    photograph = []
    for plane in planes:
        if sigma > 0.2:
            plane = cv2.GaussianBlur(plane, (0, 0), sigma)
        if not look.colour:
            plane = 255 * cv2.pow(np.maximum(plane, 0) * np.float32(1 / 255), gamma)
            middle = plane.mean() if look.steady else 128
            plane = (plane - middle) * contrast + np.float32(mean if look.steady else 128)
        photograph.append(cv2.add(plane, grain, dtype=cv2.CV_8U))
    return cv2.merge(photograph * (3 // len(photograph)))
