"""Hair styles: ribbons between a hairline and a silhouette, combed into strands."""

from dataclasses import dataclass

import numpy as np

from .geometry import open_spline
from .identity import Identity

LONG = ("bob", "medium", "long")
# how high a style stands over the skull, and how far out over the ears
_HEIGHT = {"crop": 0.05, "parted": 0.11, "swept": 0.17, "receding": 0.03, "tied": 0.05}
_WIDTH = {"crop": 0.03, "tied": 0.04, "curly": 0.14}
_END = {"bob": 0.95, "medium": 1.55, "long": 2.3}


@dataclass(frozen=True)
class Ribbon:
    """A sheet of hair between two curves that run from root or parting to tip."""

    inner: np.ndarray  # (n, 2)
    outer: np.ndarray  # (n, 2)
    across: bool = False  # strands cross from inner to outer instead of running along
    strands: int = 110


def ribbons(person: Identity) -> tuple[list[Ribbon], list[Ribbon]]:
    """Return a person's hair: ribbons behind the head, ribbons before the face."""
    long = person.hair_style in LONG
    before = [
        _long_side(person, side) if long else _short_side(person, side) for side in (-1.0, 1.0)
    ]
    if person.fringe:
        before.append(_fringe(person))
    w, volume, top = person.face_half_width, person.hair_volume, person.top_y
    if long:
        end = _END[person.hair_style] + 0.15 * (volume - 0.5)
        out = w + 0.16 + 0.10 * volume
        half = [(0.0, -1.45), (0.8 * w, -1.2), (out, -0.5), (out + 0.04, 0.3)]
        half += [(out + 0.02, 0.6 * end), (out - 0.10, end)]
    elif person.hair_style == "tied":
        half = [(0.0, top - 0.30), (0.20, top - 0.25), (0.29, top - 0.12), (0.26, top + 0.02)]
    else:
        return [], before
    return [Ribbon(_curve(half, -1.0), _curve(half, 1.0))], before


def strands(ribbon: Ribbon, wave: float, rng: np.random.Generator) -> np.ndarray:
    """Comb a ribbon: return its strands, (ribbon.strands, 8, 2)."""
    count, last = ribbon.strands, len(ribbon.inner) - 1
    steps = np.linspace(0, 1, 8)
    if ribbon.across:
        along = rng.uniform(0, last, (count, 1)) + rng.normal(0.5, 1.2, (count, 1)) * steps
        root, tip = rng.uniform(-0.05, 0.45, (count, 1)), rng.uniform(0.6, 1.03, (count, 1))
        over = root + (tip - root) * steps
    else:
        # beyond 0 and 1 lies the fly-away hair that breaks the silhouette
        over = np.broadcast_to(rng.uniform(-0.02, 1.03, (count, 1)), (count, 8))
        start = rng.uniform(0, 0.45, (count, 1)) * last
        stop = rng.uniform(0.94, 1.0, (count, 1)) * last
        along = start + (stop - start) * steps
    along = np.clip(along, 0, last - 1e-6)
    index = along.astype(int)
    rest = (along - index)[..., None]
    inner = ribbon.inner[index] * (1 - rest) + ribbon.inner[index + 1] * rest
    outer = ribbon.outer[index] * (1 - rest) + ribbon.outer[index + 1] * rest
    lines = inner + (outer - inner) * over[..., None]
    if not ribbon.across:
        lines[..., 0] += 0.05 * wave * (along / last) * np.sin(0.35 * along + 3 * over)
    return lines


def curls(ribbon: Ribbon, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` open rings of hair inside a ribbon, (count, 9, 2)."""
    index = rng.integers(0, len(ribbon.inner), count)
    over = rng.uniform(0.0, 1.0, (count, 1))
    centre = ribbon.inner[index] * (1 - over) + ribbon.outer[index] * over
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 4.4, 9)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    return centre[:, None] + ring * rng.uniform(0.03, 0.06, (count, 1, 1))


def _curve(points: list[tuple[float, float]], side: float) -> np.ndarray:
    return open_spline(np.array(points) * (side, 1), 5)


def _short_side(person: Identity, side: float) -> Ribbon:
    w, top, hairline = person.face_half_width, person.top_y, person.hairline_y
    style, volume = person.hair_style, person.hair_volume
    height = _HEIGHT.get(style, 0.15) + 0.06 * volume
    width = _WIDTH.get(style, 0.06) + 0.03 * volume
    start = person.parting * side if style == "parted" else 0.0
    temple, peak = hairline + 0.16, hairline
    if style == "receding":
        temple, peak = hairline + 0.02, hairline - 0.12
    low = -0.15 if style == "tied" else 0.06
    inner = [
        (start, peak),
        (0.5 * (start + 0.56 * w), peak),
        (0.56 * w, peak + 0.02),
        (0.80 * w, temple + 0.10),
        (0.85 * w, -0.52),
        (0.94 * w, -0.34),
        (0.955 * w, low),
    ]
    outer = [
        (start, top - height),
        (0.5 * (start + 0.56 * w), top - height + 0.02),
        (0.56 * w, top - height + 0.10),
        (0.86 * w, top + 0.24 - 0.5 * height),
        (w + width, top + 0.68),
        (w + width + 0.02, -0.35),
        (w + 0.02, low - 0.06),
    ]
    across = style in ("crop", "swept", "receding", "tied")
    return Ribbon(_curve(inner, side), _curve(outer, side), across, 180 if across else 100)


def _long_side(person: Identity, side: float) -> Ribbon:
    w, top, hairline = person.face_half_width, person.top_y, person.hairline_y
    volume = person.hair_volume
    end = _END[person.hair_style] + 0.05 + 0.15 * (volume - 0.5)
    start = person.parting * side
    out = w + 0.15 + 0.10 * volume
    cheek = 1.02 * w - 0.02 - 0.10 * (1 - volume)  # a curtain hides part of the cheek
    inner = [
        (start, hairline - 0.10),
        (0.5 * (start + 0.62 * w), hairline - 0.02),
        (0.70 * w, hairline + 0.18),
        (0.93 * w, -0.45),
        (cheek, 0.05),
        (cheek + 0.01, 0.45 * end + 0.15),
        (cheek - 0.05 + 0.02 * end, end),
    ]
    outer = [
        (start, top - 0.10 - 0.05 * volume),
        (0.5 * (start + 0.62 * w), top - 0.11 - 0.05 * volume),
        (0.78 * w, top + 0.08),
        (out - 0.05, -0.75),
        (out + 0.03, 0.0),
        (out + 0.06, 0.45 * end + 0.15),
        (out - (0.10 if person.hair_style == "bob" else 0.0), end + 0.02),
    ]
    return Ribbon(_curve(inner, side), _curve(outer, side), strands=115)


def _fringe(person: Identity) -> Ribbon:
    """Hair from the crown over the forehead; it ends above the brows, which must be seen."""
    w, top = person.face_half_width, person.top_y
    low = max(person.brow_y - 0.32, person.hairline_y + 0.12)
    x = np.linspace(-0.86 * w, 0.86 * w, 26)
    crown = np.stack([0.8 * x, top + 0.06 + 0.22 * (x / w) ** 2], axis=-1)
    sweep = 0.35 * person.parting * (x / w)
    ends = np.stack([x, low + sweep + 0.16 * np.abs(x / w) ** 3], axis=-1)
    return Ribbon(ends, crown, across=True, strands=190)
