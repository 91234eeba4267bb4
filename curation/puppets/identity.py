"""Who a puppet is: everything about a person that no expression changes.

Canonical face units are used throughout the package: half a face width is 1,
y points down, and the pupils of the average face lie on y = 0.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

STYLES = ("studio", "lab", "ten")
UNITS = 44  # action units are numbered up to 43

Colour = tuple[float, float, float]

# Light to dark skin under neutral light, RGB.
_SKIN = np.array(
    [
        (236, 201, 178),
        (226, 182, 152),
        (203, 155, 122),
        (167, 119, 89),
        (128, 86, 62),
        (94, 60, 44),
    ],
    dtype=np.float64,
)
_HAIR: dict[str, Colour] = {
    "black": (38, 33, 32),
    "dark brown": (66, 46, 36),
    "brown": (102, 70, 48),
    "auburn": (134, 76, 44),
    "blond": (190, 150, 96),
    "grey": (150, 147, 144),
}
_HAIR_ODDS = {
    "studio": (0.16, 0.28, 0.24, 0.10, 0.18, 0.04),
    "lab": (0.36, 0.26, 0.16, 0.05, 0.10, 0.07),
    "ten": (0.86, 0.14, 0.0, 0.0, 0.0, 0.0),
}
_IRIS: tuple[Colour, ...] = ((78, 52, 36), (84, 118, 146), (96, 110, 74))
_IRIS_ODDS = {"studio": (0.45, 0.35, 0.20), "lab": (0.65, 0.20, 0.15), "ten": (1.0, 0.0, 0.0)}
_SHORT = ("crop", "parted", "swept", "receding")
_LONG = ("bob", "medium", "long", "tied")
# How far people differ in shape: the standard deviations below are human; widened, a
# face-recognition network tells the puppets apart about as it tells people apart.
_SPREAD = 1.7


@dataclass(frozen=True)
class Identity:
    """One person: proportions in canonical units, colours in RGB, 0 to 255."""

    key: tuple[int, int, int]
    masculinity: float
    age: float
    dark: float
    skin: Colour
    hair: Colour
    iris: Colour
    hair_style: str
    fringe: bool
    parting: float
    hair_volume: float
    wave: float
    beard: float
    moustache: bool
    glasses: str
    freckles: bool
    lipstick: float
    makeup: float
    face_half_width: float
    jaw: float
    chin_half_width: float
    chin_y: float
    top_y: float
    hairline_y: float
    eye_x: float
    eye_half_width: float
    eye_open: float
    eye_cant: float
    lid_fold: float
    brow_y: float
    brow_half_thickness: float
    brow_arch: float
    brow_opacity: float
    nose_half_width: float
    nose_tip_y: float
    nose_height: float
    mouth_y: float
    mouth_half_width: float
    upper_lip: float
    lower_lip: float
    nasolabial: float
    expressivity: float
    gains: tuple[float, ...]  # personal strength of each action unit, by number
    wardrobe: int
    asymmetry: float


@lru_cache(maxsize=256)
def identity(style: str, subject: int, seed: int = 0) -> Identity:
    """Return the person with this number in this style's population.

    Args:
        style: One of `STYLES`; each has a population of its own.
        subject: Number of the person, from 1.
        seed: Another seed gives another population.

    Returns:
        The person, the same in every process.
    """
    key = (STYLES.index(style), subject, seed)
    rng = np.random.default_rng([17, *key])

    def shape(mean: float, sd: float) -> float:
        # Beyond two deviations features collide (brows in the hair, eyes outside the face).
        return mean + _SPREAD * sd * float(np.clip(rng.standard_normal(), -2, 2))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    woman = style == "ten" or chance(0.5)
    g = float(np.clip((0.0 if woman else 1.0) + rng.normal(0, 0.22), -0.3, 1.3))
    if style == "studio":
        tone = float(np.clip(rng.normal(0.16, 0.12), 0.0, 0.6))
        if chance(0.12):
            tone = float(rng.uniform(0.45, 0.95))
    elif style == "lab":
        low, high = ((0.02, 0.25), (0.30, 0.55), (0.65, 0.95))[rng.choice(3, p=(0.7, 0.15, 0.15))]
        tone = float(rng.uniform(low, high))
    else:
        tone = float(rng.uniform(0.08, 0.25))
    dark = float(np.clip((tone - 0.3) / 0.5, 0, 1))
    age = float(rng.uniform(0, 0.65 if style == "lab" else 0.45))
    if style != "ten" and chance(0.12):
        age = float(rng.uniform(0.65, 1.0))
    hair_name = str(rng.choice(list(_HAIR), p=_HAIR_ODDS[style]))
    if tone > 0.35 and hair_name in ("brown", "auburn", "blond"):
        hair_name = "black"
    if age > 0.75 and chance(0.7):
        hair_name = "grey"
    hair_style = str(rng.choice(_LONG if woman else _SHORT))
    if style != "ten" and dark > 0.5 and chance(0.5):
        hair_style = "curly"
    elif woman and style != "ten" and chance(0.12):
        hair_style = "swept"
    elif not woman and chance(0.08):
        hair_style = "medium"
    iris = int(rng.choice(3, p=_IRIS_ODDS[style])) if dark < 0.3 else 0
    bearded = not woman and chance(0.32)
    ten = style == "ten"
    return Identity(
        key=key,
        masculinity=g,
        age=age,
        dark=dark,
        skin=_skin(tone, rng),
        hair=_jittered(_HAIR[hair_name], rng, 0.12),
        iris=_jittered(_IRIS[iris], rng, 0.15),
        hair_style=hair_style,
        fringe=woman and hair_style not in ("tied", "curly", "swept") and chance(0.35),
        parting=float(rng.choice((-0.34, -0.2, 0.0, 0.2, 0.34)) + rng.normal(0, 0.03)),
        hair_volume=float(rng.uniform(0.0, 1.0)),
        wave=float(max(0.0, rng.normal(0.25, 0.45))) if not ten else float(rng.uniform(0, 0.15)),
        beard=float(rng.choice((0.3, 0.55, 0.9))) if bearded else 0.0,
        moustache=bearded and chance(0.25),
        glasses=str(rng.choice(("dark", "metal"))) if chance(0.12 if not ten else 0.06) else "",
        freckles=tone < 0.2 and chance(0.15),
        lipstick=float(rng.uniform(0.3, 1.0)) if woman and chance(0.45) else 0.0,
        makeup=float(rng.uniform(0.3, 1.0)) if woman else 0.0,
        face_half_width=shape(1.0, 0.03),
        jaw=shape(0.715 + 0.085 * g, 0.030),
        chin_half_width=shape(0.255 + 0.085 * g, 0.030),
        chin_y=shape(1.53 + 0.06 * g, 0.04),
        top_y=shape(-1.40, 0.03),
        hairline_y=shape(-0.90 - 0.05 * g, 0.05),
        eye_x=shape(0.450, 0.012),
        eye_half_width=shape(0.220, 0.009),
        eye_open=max(0.06, shape(0.102 - 0.016 * g, 0.010) * (0.88 if ten else 1.0)),
        eye_cant=shape(-0.014, 0.009),
        lid_fold=float(rng.uniform(0.0, 0.5)) if ten else float(rng.uniform(0.45, 1.0)),
        brow_y=shape(-0.295 + 0.03 * g, 0.018),
        brow_half_thickness=max(0.022, shape(0.036 + 0.020 * g, 0.006)),
        brow_arch=max(0.0, shape(0.055 - 0.028 * g, 0.014)),
        brow_opacity=float(rng.uniform(0.6, 0.95)),
        nose_half_width=shape(0.205 + 0.02 * g + 0.05 * dark, 0.016),
        nose_tip_y=shape(0.57, 0.025),
        nose_height=max(0.16, shape(0.29 + 0.05 * g, 0.035) * (0.8 if ten else 1.0)),
        mouth_y=shape(0.935, 0.02),
        mouth_half_width=shape(0.355 + 0.02 * g, 0.019),
        upper_lip=max(0.045, shape(0.086 - 0.017 * g + 0.025 * dark, 0.011)),
        lower_lip=max(0.07, shape(0.122 - 0.017 * g + 0.025 * dark, 0.013)),
        nasolabial=float(np.clip(rng.normal(0.4 + 0.9 * age, 0.25), 0, 1.5)),
        expressivity=float(np.clip(rng.normal(0.95, 0.13), 0.65, 1.2)),
        gains=tuple(rng.normal(1, 0.15, UNITS).tolist()),
        wardrobe=int(rng.integers(2**31)),
        asymmetry=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
    )


def _skin(tone: float, rng: np.random.Generator) -> Colour:
    """Colour at `tone` (0 light … 1 dark) on the ramp, with a warm or cool undertone."""
    place = np.linspace(0, 1, len(_SKIN))
    red, green, blue = (float(np.interp(tone, place, _SKIN[:, c])) for c in range(3))
    warmth, lightness = rng.normal(0, 0.03), 1 + rng.normal(0, 0.02)
    return red * lightness, green * lightness * (1 - 0.4 * warmth), blue * lightness * (1 - warmth)


def _jittered(colour: Colour, rng: np.random.Generator, amount: float) -> Colour:
    red, green, blue = colour
    light = 1 + rng.normal(0, amount)
    warm = rng.normal(0, amount * 0.3) if red > 1.2 * blue else 0.0  # grey hair has no hue
    return red * light * (1 + warm), green * light, blue * light * (1 - warm)
