"""Antialiased soft shapes on a float picture, placed in canonical face units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .identity import Colour

# The canvas shows x in [-2, 2] and y in [-1.8, 2.2].
LEFT, TOP, EXTENT = -2.0, -1.8, 4.0
_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel
_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=-1)
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass
class Canvas:
    """A picture that shapes are blended into, in place.

    Every shape is rasterised and blended inside its own bounding box, since blending
    whole pictures costs ten times as much.

    Attributes:
        planes: The picture, (C, H, W) float32: one plane for styles that end up grey,
            three for colour.
        unit: Pixels per canonical unit.
        left: Canonical x of the left edge.
        top: Canonical y of the upper edge.
    """

    planes: np.ndarray
    unit: float
    left: float = LEFT
    top: float = TOP

    def fill(
        self,
        polygons: np.ndarray,
        colour: Colour,
        opacity: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Blend filled polygons (k, n, 2); `blur` is a standard deviation in canonical units."""
        self._blend(self.mask(polygons, blur), colour, opacity)

    def stroke(
        self,
        lines: np.ndarray,
        colour: Colour,
        width: float,
        opacity: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Blend open lines (k, n, 2) of one `width`; thinner than a pixel turns into opacity."""
        pixels = width * self.unit
        masked = self.mask(lines, blur, max(1, round(pixels)))
        self._blend(masked, colour, opacity * min(1.0, pixels))

    def discs(self, centres: np.ndarray, radii: Sequence[float], colours: Sequence[Colour]) -> None:
        """Paint round discs whose colour runs through `colours` from the centre out.

        Args:
            centres: Where, (k, 2); no two discs may overlap.
            radii: Where each colour is reached; one more, the last, is where nothing is left.
            colours: As many as radii but one.
        """
        height, width = self.planes.shape[1:]
        x = self.left + (np.arange(width) + 0.5) / self.unit
        y = self.top + (np.arange(height) + 0.5) / self.unit
        across, down = x - centres[:, :1], y - centres[:, 1:]
        distance = np.sqrt((across[:, None] ** 2 + down[..., None] ** 2).min(axis=0))
        alpha = np.clip((radii[-1] - distance) / (radii[-1] - radii[-2]), 0, 1)
        levels = np.array([planes_of(c, len(self.planes)).ravel() for c in colours])
        for plane, level in zip(self.planes, levels.T, strict=True):
            plane += alpha * (np.interp(distance, radii[:-1], level) - plane)

    def mask(
        self, shapes: np.ndarray, blur: float = 0.0, thickness: int = 0
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Rasterise polygons, or with a `thickness` in pixels lines, inside their bounding box.

        Args:
            shapes: Corners, (k, n, 2) canonical units.
            blur: Standard deviation, canonical units.
            thickness: Of lines; 0 fills polygons.

        Returns:
            Rows and columns of the box, and its coverage (h, w) uint8.
        """
        sigma = blur * self.unit
        scale = self.unit * (1 << _SHIFT)
        # pixel centres are whole numbers, hence the half
        offset = (-self.left * scale - 8, -self.top * scale - 8)
        fixed = np.rint(shapes * scale + offset).astype(np.int32)
        x, y, width, height = cv2.boundingRect(fixed.reshape(-1, 2))
        margin = int(2.5 * sigma) + thickness + 2
        x0, y0 = max((x >> _SHIFT) - margin, 0), max((y >> _SHIFT) - margin, 0)
        x1 = max(x0 + 1, min(((x + width) >> _SHIFT) + margin + 1, self.planes.shape[2]))
        y1 = max(y0 + 1, min(((y + height) >> _SHIFT) + margin + 1, self.planes.shape[1]))
        coverage = np.zeros((y1 - y0, x1 - x0), np.uint8)
        if thickness:
            fixed -= np.array((x0 << _SHIFT, y0 << _SHIFT), np.int32)
            cv2.polylines(coverage, list(fixed), False, 255, thickness, cv2.LINE_AA, _SHIFT)
        else:
            corner = (-(x0 << _SHIFT), -(y0 << _SHIFT))
            for polygon in fixed:  # one by one: together, overlaps would cancel
                cv2.fillPoly(coverage, [polygon], 255, cv2.LINE_AA, _SHIFT, corner)
        if sigma > 0.25:
            coverage = blurred(coverage, sigma)
        return (slice(y0, y1), slice(x0, x1)), coverage

    def paint(self, colour: Colour) -> None:
        """Cover everything with one colour."""
        self.planes[:] = planes_of(colour, len(self.planes))

    def part(self, where: tuple[slice, slice]) -> "Canvas":
        """Return a new, unpainted canvas over one box of this one."""
        rows, columns = where
        return Canvas(
            np.empty_like(self.planes[:, rows, columns]),
            self.unit,
            self.left + columns.start / self.unit,
            self.top + rows.start / self.unit,
        )

    def lay(self, part: "Canvas", where: tuple[slice, slice], coverage: np.ndarray) -> None:
        """Blend a `part` over its box through a mask (h, w) uint8."""
        box = self.planes[:, where[0], where[1]]
        difference = part.planes - box
        difference *= coverage * np.float32(1 / 255)
        box += difference

    def _blend(
        self, masked: tuple[tuple[slice, slice], np.ndarray], colour: Colour, opacity: float
    ) -> None:
        if opacity <= 0.004:
            return
        (rows, columns), coverage = masked
        box = self.planes[:, rows, columns]
        difference = planes_of(colour, len(self.planes)) - box
        difference *= coverage * np.float32(opacity / 255)
        box += difference


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur bytes by a standard deviation in pixels, fast at any width."""
    # not stackBlur, whose rounding depends on the number of threads
    if sigma < 2.5:
        reach = 2 * int(2.2 * sigma + 0.7) + 1
        return cv2.GaussianBlur(picture, (reach, reach), sigma)
    # two boxes of width w have variance (w² - 1) / 6
    width = 2 * round((math.sqrt(6 * sigma * sigma + 1) - 1) / 2) + 1
    return cv2.blur(cv2.blur(picture, (width, width)), (width, width))


def planes_of(colour: Colour, count: int) -> np.ndarray:
    """Return a colour as (count, 1, 1) float32: RGB for 3, its luminance for 1."""
    rgb = np.array(colour, np.float32)
    if count == 1:
        return (rgb @ _LUMINANCE).reshape(1, 1, 1)
    return rgb[:, None, None]


def planar(rgb: np.ndarray, count: int) -> np.ndarray:
    """Return an (H, W, 3) picture as (count, H, W) float32 planes."""
    if count == 1:
        return cv2.transform(rgb.astype(np.float32), _LUMINANCE[None])[None]
    return np.array(cv2.split(rgb), np.float32)


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """Return the colour `amount` (0 to 1) of the way from `first` to `second`."""
    r, g, b = (p + (q - p) * amount for p, q in zip(first, second, strict=True))
    return r, g, b


def scaled(colour: Colour, red: float, green: float, blue: float) -> Colour:
    """Return the colour with each channel multiplied."""
    return colour[0] * red, colour[1] * green, colour[2] * blue


def ellipses(
    centres: np.ndarray | Sequence[tuple[float, float]], rx: float, ry: float
) -> np.ndarray:
    """Return a closed ellipse around each of the centres (k, 2), (k, 16, 2)."""
    return _CIRCLE * (rx, ry) + np.asarray(centres)[:, None]
