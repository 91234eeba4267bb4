"""Align: where the standard face lies in a picture, and how it is cut out of it.

A `Frame` turns a detected face into a `Region`, a rectangle that may be turned; `fitted` makes it
square; `cut` resamples it. Coordinates are continuous: the first pixel reaches from 0 to 1.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import cv2
import numpy as np
from PIL import Image

from curation.detect import Face

Fit = Literal["square", "stretch", "pad"]
Border = Literal["mirror", "edge", "black"]

_BORDERS = {
    "mirror": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
    "black": cv2.BORDER_CONSTANT,
}

# Five points on a square of side 1: the eye at the image's left, at its right, tip of the nose,
# corners of the mouth. The template of ArcFace (Deng et al. 2019), drawn there on 112 × 112.
TEMPLATE = (
    np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    )
    / 112
)
# eyes nearer to each other than this share of the box belong to a profile, or to no face at all
_NEAREST_EYES = 0.1
# Where eyes lie in a Haar cascade's box, as shares of its width from its centre: the median over
# photographs. Only for faces whose eyes nobody found.
_USUAL_EYES = np.array([[-0.22, -0.12], [0.22, -0.12]])


class Region(NamedTuple):
    """A rectangle in a picture.

    Attributes:
        x: Its centre, in pixels from the left edge.
        y: Its centre, in pixels from the top edge.
        width: In pixels of the picture.
        height: In pixels of the picture.
        angle_deg: How far it is turned, clockwise as one sees it.
    """

    x: float
    y: float
    width: float
    height: float
    angle_deg: float = 0.0


class Frame(Protocol):
    """Says which part of a picture becomes the standard face."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it is, in JSON values, as part of the contract."""
        ...

    @property
    def needs_eyes(self) -> bool:
        """Whether a face without eyes has no region; also whether regions are turned."""
        ...

    def __call__(self, face: Face) -> Region:
        """Return the region of a face, which has eyes (see `eyes_of`) if the frame needs them."""
        ...


@dataclass(frozen=True)
class BoxFrame:
    """The detector's box.

    Attributes:
        margin: Added on each side, as a share of the box's longer side; negative cuts closer.
        down: Shift, as a share of the box's longer side: Haar boxes end at the mouth's level on
            long faces, so a small shift keeps the chin.
        level: Whether to turn the picture about the box's centre until the eye line is level.
    """

    margin: float = 0.0
    down: float = 0.0
    level: bool = False

    def __post_init__(self) -> None:
        _require_margin(self.margin)

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes, named."""
        return {"frame": "box", **asdict(self)}

    @property
    def needs_eyes(self) -> bool:
        """Only to level them."""
        return self.level

    def __call__(self, face: Face) -> Region:
        """Return the box with its margin, turned about its centre."""
        box = face.box
        longer = max(box.width, box.height)
        angle = eye_angle_deg(face) if self.level else None
        offset = _turned(np.array([0.0, longer * self.down]), angle or 0.0)
        return Region(
            x=box.left + box.width / 2 + float(offset[0]),
            y=box.top + box.height / 2 + float(offset[1]),
            width=box.width + 2 * self.margin * longer,
            height=box.height + 2 * self.margin * longer,
            angle_deg=angle or 0.0,
        )


@dataclass(frozen=True)
class EyeFrame:
    """A rectangle about the eyes' midpoint, level with them, in inter-eye distances.

    The spatial normalisation of van der Weel 2019: 1.7 to each side, 1.3 above and 3.2 below,
    which is 3.4 wide and 4.5 high. Faces turned to the side have near eyes and come out too
    large; the quality column ``landmark_error`` tells them.

    Attributes:
        sides: From the midpoint to the left and to the right edge.
        above: From the eye line to the upper edge.
        below: From the eye line to the lower edge.
    """

    sides: float = 1.7
    above: float = 1.3
    below: float = 3.2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise ValueError(
                    f"{name} {value} must be over 0 inter-eye distances (standardise.frame.{name})"
                )

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes, named."""
        return {"frame": "eyes", **asdict(self)}

    @property
    def needs_eyes(self) -> bool:
        """Always."""
        return True

    def __call__(self, face: Face) -> Region:
        """Return the rectangle about the eyes."""
        eyes = eyes_of(face)
        assert eyes is not None
        distance = float(np.hypot(*(eyes[1] - eyes[0])))
        angle = _angle_deg(eyes)
        down = (self.below - self.above) / 2 * distance
        centre = eyes.mean(0) + _turned(np.array([0.0, down]), angle)
        return Region(
            x=float(centre[0]),
            y=float(centre[1]),
            width=2 * self.sides * distance,
            height=(self.above + self.below) * distance,
            angle_deg=angle,
        )


@dataclass(frozen=True)
class TemplateFrame:
    """The square on which the landmarks come nearest to a template of five points.

    The similarity (turn, scale, shift; no mirroring) of least squares over the landmarks that the
    detector knows, to the template of ArcFace. Eyes alone suffice.

    Attributes:
        margin: Added on each side, as a share of the template's side; the template itself ends
            close under the mouth.
        down: Shift, as a share of the template's side.
    """

    margin: float = 0.0
    down: float = 0.0

    def __post_init__(self) -> None:
        _require_margin(self.margin)

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes, named, and the template."""
        return {"frame": "template", **asdict(self), "template": "ArcFace, five points"}

    @property
    def needs_eyes(self) -> bool:
        """Always."""
        return True

    def __call__(self, face: Face) -> Region:
        """Return the template's square."""
        assert face.landmarks is not None
        factor, shift, _ = _similarity(face.landmarks)
        centre = (complex(0.5, 0.5 + self.down) - shift) / factor
        side = (1 + 2 * self.margin) / abs(factor)
        angle = -float(np.degrees(np.angle(factor)))
        return Region(centre.real, centre.imag, side, side, angle)


def eyes_of(face: Face) -> np.ndarray | None:
    """Return both eyes, (2, 2) float64 pixels, image left first; None if they are not known.

    Eyes that all but coincide (a profile) count as not known: no angle and no scale is in them.
    """
    if face.landmarks is None:
        return None
    eyes = np.asarray(face.landmarks[:2], dtype=float)
    side = max(face.box.width, face.box.height)
    if not np.isfinite(eyes).all() or np.hypot(*(eyes[1] - eyes[0])) < _NEAREST_EYES * side:
        return None
    return eyes


def eye_angle_deg(face: Face) -> float | None:
    """Return how far the eye line is turned, clockwise in degrees; None without eyes."""
    eyes = eyes_of(face)
    return None if eyes is None else _angle_deg(eyes)


def _require_margin(margin: float) -> None:
    if margin <= -0.5:
        raise ValueError(
            f"margin {margin} leaves nothing of a face; it must be over -0.5 "
            "(standardise.frame.margin)"
        )


def supposed_upright(face: Face) -> Face:
    """Return the face with eyes where they usually lie in an upright face's box."""
    box = face.box
    centre = np.array([box.left + box.width / 2, box.top + box.height / 2])
    landmarks = np.full((5, 2), np.nan, np.float32)
    landmarks[:2] = centre + _USUAL_EYES * box.width
    return face._replace(landmarks=landmarks)


def landmark_error(face: Face) -> float | None:
    """Return how far the landmarks lie from the template after alignment.

    Root mean square over the five points of their distance from `TEMPLATE` after the similarity of
    least squares, in the template's inter-eye distances. On press photographs of faces the median
    is 0.07 and one face in twenty has over 0.12; heads turned to the side and points set on no
    face lie above. Does not depend on the frame.

    Returns:
        Distance ≥ 0; None unless all five landmarks are known.
    """
    if face.landmarks is None or not np.isfinite(face.landmarks).all():
        return None
    if np.ptp(face.landmarks, axis=0).max() == 0:
        return None
    *_, error = _similarity(face.landmarks)
    return error


def fitted(region: Region, fit: Fit) -> Region:
    """Return the region that fills the standard face under a fit.

    Args:
        region: What the frame asks for.
        fit: ``square`` grows the shorter side, so that more of the picture is seen; ``stretch`` and
            ``pad`` keep the region.

    Raises:
        ValueError: If the fit is none of the three.
    """
    if fit not in get_args(Fit):
        raise ValueError(
            f"fit {fit!r} is unknown; use one of {', '.join(get_args(Fit))} (standardise.fit)"
        )
    if fit == "square":
        side = max(region.width, region.height)
        return region._replace(width=side, height=side)
    return region


def inner_size(region: Region, size: int, fit: Fit) -> tuple[int, int]:
    """Return width and height in pixels that a fitted region takes of a face of side `size`."""
    if fit != "pad":
        return size, size
    scale = size / max(region.width, region.height)
    return max(1, round(region.width * scale)), max(1, round(region.height * scale))


def share_outside(region: Region, image: np.ndarray) -> float:
    """Return the share of a region's area that lies beyond the picture, (H, W, ...), in [0, 1]."""
    height, width = image.shape[:2]
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    corners = _corners(region).astype(np.float32)
    common, _ = cv2.intersectConvexConvex(corners, frame)
    return min(1.0, max(0.0, 1 - common / (region.width * region.height)))


def padded(image: np.ndarray, size: int) -> np.ndarray:
    """Return a picture in the middle of a black square of side `size`."""
    height, width = image.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    return cv2.copyMakeBorder(
        image,
        top,
        size - height - top,
        left,
        size - width - left,
        cv2.BORDER_CONSTANT,
        value=(0, 0, 0),
    )


def cut(
    image: np.ndarray,
    region: Region,
    *,
    width: int,
    height: int,
    turned: bool | None = None,
    border: Border = "mirror",
) -> np.ndarray:
    """Cut a region out and resize it with antialiasing.

    An upright region is resized by Pillow, whose bicubic filter widens as pictures shrink. For a
    turned one the picture is halved (2 × 2 means) while two of its pixels or more would become one,
    then warped once onto a grid twice as fine as the result, whose points are averaged; to grow, it
    is warped bicubically.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        region: In pixels of `image`.
        width: Of the result in pixels.
        height: Of the result in pixels.
        turned: Which of the two ways; by default the region's angle decides. Faces of one kind
            should all go the same way.
        border: What is seen beyond the picture: its ``mirror`` image, its ``edge`` drawn out, or
            ``black``. Where a picture is tight, a mirror shows a second mouth.

    Returns:
        (height, width, 3) or (height, width) uint8.
    """
    if region.angle_deg if turned is None else turned:
        return _warped(image, region, width, height, _BORDERS[border])
    return _resized(image, region, width, height, _BORDERS[border])


def _resized(image: np.ndarray, region: Region, width: int, height: int, border: int) -> np.ndarray:
    left, top = region.x - region.width / 2, region.y - region.height / 2
    # whole pixels of border on all sides, as far as the region reaches out
    beyond_x = max(-left, left + region.width - image.shape[1])
    beyond_y = max(-top, top + region.height - image.shape[0])
    reach = int(np.ceil(max(beyond_x, beyond_y, 0.0)))
    if reach:
        image = cv2.copyMakeBorder(image, reach, reach, reach, reach, border)
    left, top = left + reach, top + reach
    # Pillow widens its filter with the scale, as clean-fid shows it must be done
    done = Image.fromarray(image).resize(
        (width, height),
        Image.Resampling.BICUBIC,
        box=(left, top, left + region.width, top + region.height),
    )
    return np.array(done)


def _warped(image: np.ndarray, region: Region, width: int, height: int, border: int) -> np.ndarray:
    image, region = _near(image, region, border)
    while min(region.width / width, region.height / height) > 2:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        x, y, across, down = (value / 2 for value in region[:4])
        region = Region(x, y, across, down, region.angle_deg)
    scale_x, scale_y = region.width / width, region.height / height
    grows = max(scale_x, scale_y) <= 1
    # points for each pixel of the result, across and down: two, or more where one side is halved
    # too seldom because the other is short
    points_x, points_y = (
        1 if grows else max(2, int(np.ceil(scale / 1.4))) for scale in (scale_x, scale_y)
    )
    steps = np.diag([scale_x / points_x, scale_y / points_y])
    linear = np.column_stack([_turned(column, region.angle_deg) for column in steps.T])
    corner = _turned(np.array([-region.width / 2, -region.height / 2]), region.angle_deg)
    # a pixel's number is half a pixel less than its centre, on either side of the map
    shift = np.array([region.x, region.y]) + corner + linear @ [0.5, 0.5] - 0.5
    fine = cv2.warpAffine(
        image,
        np.column_stack([linear, shift]),
        (width * points_x, height * points_y),
        flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_CUBIC if grows else cv2.INTER_LINEAR),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return fine if grows else cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _near(image: np.ndarray, region: Region, border: int) -> tuple[np.ndarray, Region]:
    """Return the picture about a region, with a border where it reaches out.

    To warp inside of a picture is twice as fast as across its border. The sides are multiples of a
    power of two as long as the region is halved at all, so that halving shifts nothing.
    """
    corners = _corners(region)
    step = 64 if min(region.width, region.height) > 64 else 4
    first = np.floor(corners.min(0)).astype(int) - 4
    last = first + step * np.ceil((corners.max(0) + 4 - first) / step).astype(int)
    height, width = image.shape[:2]
    left, top = (max(0, -int(value)) for value in first)
    right, bottom = max(0, int(last[0]) - width), max(0, int(last[1]) - height)
    if left or top or right or bottom:
        image = cv2.copyMakeBorder(image, top, bottom, left, right, border)
    (x, y), (x_end, y_end) = np.array([first, last]) + np.array([left, top])
    moved = region._replace(x=region.x - float(first[0]), y=region.y - float(first[1]))
    return image[y:y_end, x:x_end], moved


def _corners(region: Region) -> np.ndarray:
    """Return the corners, (4, 2), clockwise from the one at the region's left and top."""
    half = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (region.width / 2, region.height / 2)
    centre = np.array([region.x, region.y])
    return np.array([centre + _turned(corner, region.angle_deg) for corner in half])


def _turned(vector: np.ndarray, angle_deg: float) -> np.ndarray:
    """Turn a vector (x, y) clockwise as one sees it, y pointing down."""
    angle = np.deg2rad(angle_deg)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])


def _angle_deg(eyes: np.ndarray) -> float:
    across, down = eyes[1] - eyes[0]
    return float(np.degrees(np.arctan2(down, across)))


def _similarity(landmarks: np.ndarray) -> tuple[complex, complex, float]:
    """Fit ``template = factor · landmark + shift`` in the complex plane, by least squares.

    Returns:
        factor, shift, and the root mean square distance left in inter-eye distances.
    """
    known = np.isfinite(landmarks).all(1)
    points = np.asarray(landmarks[known], dtype=float) @ [1, 1j]
    wanted = TEMPLATE[known] @ [1, 1j]
    spread = points - points.mean()
    factor = complex(np.vdot(spread, wanted - wanted.mean()) / np.vdot(spread, spread).real)
    shift = complex(wanted.mean() - factor * points.mean())
    left = np.abs(factor * points + shift - wanted)
    eyes = float(np.hypot(*(TEMPLATE[1] - TEMPLATE[0])))
    return factor, shift, float(np.sqrt(np.mean(left**2))) / eyes
