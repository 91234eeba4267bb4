"""Antialiased soft shapes on a float picture, placed in canonical face units."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .identity import Colour

# The canvas shows x in [-2, 2] and y in [-1.8, 2.2].
LEFT, TOP, EXTENT = -2.0, -1.8, 4.0
_SHARP = 0.5  # pixels; antialiasing blurs as much by itself
SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel
BOTH = np.array([[[-1.0, 1.0]], [[1.0, 1.0]]])  # mirrors (n, 2) into (2, n, 2)
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

    def mask(
        self, polygons: np.ndarray, blur: float = 0.0
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Rasterise polygons inside their bounding box.

        Args:
            polygons: Corners, (k, n, 2) canonical units.
            blur: Standard deviation, canonical units.

        Returns:
            Rows and columns of the box, and its coverage (h, w) uint8.
        """
        sigma = blur * self.unit
        fixed = fixed_point(polygons, self.unit, self.left, self.top)
        margin = int(2.5 * sigma) + 2
        rows, columns = box_of(fixed, margin, self.planes.shape[1:])
        coverage = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        corner = (-(columns.start << SHIFT), -(rows.start << SHIFT))
        for polygon in fixed:  # one by one: together, overlaps would cancel
            cv2.fillPoly(coverage, [polygon], 255, cv2.LINE_AA, SHIFT, corner)
        if sigma > _SHARP:
            coverage = blurred(coverage, sigma)
        return (rows, columns), coverage

    def lay(self, sheet: "Sheet", softness: float) -> None:
        """Blend a sheet over this picture, seen through a blur of `softness` canonical units."""
        colours, alpha = sheet.planes(len(self.planes), softness)
        x = round((sheet.left - self.left) * self.unit)
        y = round((sheet.top - self.top) * self.unit)
        height, width = alpha.shape
        box = self.planes[:, y : y + height, x : x + width]
        box *= 1 - alpha
        box += colours

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


class Sheet:
    """A transparent sheet of hard shapes, to be laid over a picture.

    Shapes are drawn straight into premultiplied bytes, which costs a fifth of blending
    each through a mask; a shape replaces what is under it, opacity and all.

    Args:
        height: Pixels.
        width: Pixels.
        unit: Pixels per canonical unit.
        left: Canonical x of the left edge.
        top: Canonical y of the upper edge.
    """

    def __init__(
        self, height: int, width: int, unit: float, left: float = LEFT, top: float = TOP
    ) -> None:
        self.unit, self.left, self.top = unit, left, top
        self._rgba = np.zeros((height, width, 4), np.uint8)

    def fill(self, polygons: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        """Fill polygons (k, n, 2); they must not overlap."""
        fixed = list(self._fixed(polygons))
        cv2.fillPoly(self._rgba, fixed, _premultiplied(colour, opacity), cv2.LINE_AA, SHIFT)

    def cover(self, colour: Colour) -> None:
        """Paint the whole sheet with one opaque colour."""
        self._rgba[:] = _premultiplied(colour, 1.0)

    def discs(self, centres: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill opaque discs around the centres (k, 2)."""
        paint, reach = _premultiplied(colour, 1.0), round(radius * self.unit * (1 << SHIFT))
        for x, y in self._fixed(centres).tolist():
            cv2.circle(self._rgba, (x, y), reach, paint, -1, cv2.LINE_AA, SHIFT)

    def stroke(self, lines: np.ndarray, colour: Colour, width: float, opacity: float = 1.0) -> None:
        """Draw open lines (k, n, 2) of one `width`; thinner than a pixel turns into opacity."""
        pixels = width * self.unit
        paint = _premultiplied(colour, opacity * min(1.0, pixels))
        fixed = list(self._fixed(lines))
        cv2.polylines(self._rgba, fixed, False, paint, max(1, round(pixels)), cv2.LINE_AA, SHIFT)

    def see_through(
        self,
        openings: np.ndarray,
        draw: Callable[["Sheet"], None],
        shade: float,
        drop: float,
        side: np.ndarray | None = None,
    ) -> None:
        """Draw what lies behind openings in this sheet, in the shade of their upper edge.

        Args:
            openings: Polygons, (k, n, 2), which must not overlap.
            draw: Covers the sheet it is given with opaque shapes.
            shade: How bright the shaded part stays, 0 to 1.
            drop: How far down the shade falls, canonical units.
            side: Brightness by canonical x, as rows (x, brightness); None for even light.
        """
        fixed = self._fixed(openings)
        rows, columns = box_of(fixed, 2, self._rgba.shape[:2])
        corner = (-(columns.start << SHIFT), -(rows.start << SHIFT))
        behind = Sheet(
            rows.stop - rows.start,
            columns.stop - columns.start,
            self.unit,
            self.left + columns.start / self.unit,
            self.top + rows.start / self.unit,
        )
        draw(behind)
        polygons = list(fixed)
        seen = np.zeros(behind._rgba.shape[:2], np.uint8)
        cv2.fillPoly(seen, polygons, 255, cv2.LINE_AA, SHIFT, corner)
        lower = np.zeros_like(seen)
        fallen = (corner[0], corner[1] + round(drop * self.unit * (1 << SHIFT)))
        cv2.fillPoly(lower, polygons, 255, cv2.LINE_AA, SHIFT, fallen)
        lower = blurred(lower, 0.5 * drop * self.unit)
        light = lower * np.float32((1 - shade) / 255) + np.float32(shade)
        if side is not None:
            x = behind.left + (np.arange(seen.shape[1]) + 0.5) / self.unit
            light *= np.interp(x, *side).astype(np.float32)
        picture = behind._rgba.astype(np.float32)
        picture[..., :3] *= light[..., None]
        box = self._rgba[rows, columns]
        through = (seen * np.float32(1 / 255))[..., None]
        box[:] = box + (picture - box) * through + np.float32(0.5)

    def planes(self, count: int, softness: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the premultiplied planes (count, H, W) and the coverage (H, W) in [0, 1]."""
        # what is drawn is harder than what a lens sees
        sigma = softness * self.unit
        reach = 3 if sigma < 1.2 else 5
        soft = cv2.GaussianBlur(self._rgba, (reach, reach), sigma)
        return planar(soft[..., :3], count), soft[..., 3] * np.float32(1 / 255)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return fixed_point(points, self.unit, self.left, self.top)


def fixed_point(points: np.ndarray, unit: float, left: float, top: float) -> np.ndarray:
    """Return canonical points as OpenCV's sixteenths of a pixel, int32 of the same shape."""
    scale = unit * (1 << SHIFT)
    # pixel centres are whole numbers, hence the half
    return np.rint(points * scale + (-left * scale - 8, -top * scale - 8)).astype(np.int32)


def box_of(fixed: np.ndarray, margin: int, extent: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns that hold fixed-point shapes and a margin, inside `extent`."""
    x, y, width, height = cv2.boundingRect(fixed.reshape(-1, 2))
    x0, y0 = max((x >> SHIFT) - margin, 0), max((y >> SHIFT) - margin, 0)
    x1 = max(x0 + 1, min(((x + width) >> SHIFT) + margin + 1, extent[1]))
    y1 = max(y0 + 1, min(((y + height) >> SHIFT) + margin + 1, extent[0]))
    return slice(y0, y1), slice(x0, x1)


def _premultiplied(colour: Colour, opacity: float) -> tuple[float, float, float, float]:
    r, g, b = (min(max(c, 0.0), 255.0) * opacity for c in colour)
    return r, g, b, 255.0 * opacity


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur one plane by a standard deviation in pixels, fast at any width."""
    # not stackBlur, whose rounding depends on the number of threads
    if sigma < 2.5:
        reach = 2 * int(2.2 * sigma + 0.7) + 1
        if reach < 7:
            return cv2.GaussianBlur(picture, (reach, reach), sigma)
        # OpenCV's own Gaussian on bytes takes twice as long for wide kernels
        kernel = cv2.getGaussianKernel(reach, sigma, cv2.CV_32F)
        return cv2.sepFilter2D(picture, -1, kernel, kernel)
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
