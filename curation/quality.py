"""Quality of a standard face, measured as it is cut: for limits, for filters, for looking.

Pixels are measured on the standard face before grey, equalisation and padding, in its middle
(`middle`), so that hair, background and what was mirrored in count little.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from curation.align import eye_angle_deg, landmark_error
from curation.corpus import QUALITY
from curation.detect import Face

Limits = Mapping[str, Sequence[float | None]]

# the columns of a corpus, and what else limits may be set on
MEASURES = (*QUALITY, "clipped", "outside")
_DARKEST, _BRIGHTEST = 4, 251


def measure(image: np.ndarray, face: Face, *, outside: float = 0.0) -> dict[str, float | None]:
    """Measure a standard face.

    Args:
        image: The standard face, (H, W, 3) or (H, W) uint8, before it is equalised.
        face: What the detector said, in pixels of the original picture.
        outside: Share of the standard face that lies beyond the picture.

    Returns:
        A value for each of `MEASURES`; None where the detector does not tell.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    centre = middle(grey)
    return {
        "detector_score": face.score,
        "face_px": float(max(face.box.width, face.box.height)),
        "sharpness": sharpness(centre),
        "exposure": exposure(centre),
        "angle_deg": eye_angle_deg(face),
        "landmark_error": landmark_error(face),
        "clipped": clipped(centre),
        "outside": outside,
    }


def middle(grey: np.ndarray) -> np.ndarray:
    """Return the middle 70 % of a picture, across and down."""
    height, width = grey.shape[:2]
    y, x = round(0.15 * height), round(0.15 * width)
    return grey[y : height - y, x : width - x]


def sharpness(grey: np.ndarray) -> float:
    """Return the variance of the Laplacian over the variance of the luminance.

    Neither brightness nor contrast changes it: only how much of the contrast is in the finest
    detail that the picture could show. A face that was enlarged or out of focus is near 0, white
    noise has 20 (the kernel's sum of squares). Compare only faces of one size: the same photograph
    standardised to fewer pixels is sharper. Noise counts as detail.

    Args:
        grey: (H, W) uint8.

    Returns:
        Ratio ≥ 0; 0 for a flat picture.
    """
    values = grey.astype(np.float32)
    contrast = float(values.var())
    if contrast < 1e-3:
        return 0.0
    kernel_only_inside = cv2.Laplacian(values, cv2.CV_32F)[1:-1, 1:-1]
    return float(kernel_only_inside.var()) / contrast


def exposure(grey: np.ndarray) -> float:
    """Return the mean luminance of (H, W) uint8, from 0 (black) to 1 (white)."""
    return float(grey.mean()) / 255


def clipped(grey: np.ndarray) -> float:
    """Return the share of pixels that are black or white, of (H, W) uint8, in [0, 1].

    What the mean hides: half a face burnt out and half in the dark is well exposed on average.
    """
    return float(((grey <= _DARKEST) | (grey >= _BRIGHTEST)).mean())


def check_limits(limits: Limits) -> None:
    """Raise a ValueError unless limits name measures, each with a lowest and a highest value.

    Args:
        limits: Measure → [lowest, highest], None for no limit on that side.
    """
    for name, bounds in limits.items():
        if name not in MEASURES:
            raise ValueError(
                f"there is no quality {name!r} to limit; choose from {', '.join(MEASURES)} "
                f"(standardise.limits.{name})"
            )
        if isinstance(bounds, str) or len(bounds) != 2:
            raise ValueError(
                f"limits of {name} are {bounds!r}; write [lowest, highest], null for none "
                f"(standardise.limits.{name})"
            )
        low, high = bounds
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"limits of {name} leave nothing: {low} is over {high} (standardise.limits.{name})"
            )


def out_of_limits(measures: Mapping[str, float | None], limits: Limits) -> tuple[str, str] | None:
    """Return the first measure that is out of its limits: a reason, and a detail with the value.

    A measure that the detector does not tell is within any limits.
    """
    for name, (low, high) in limits.items():
        value = measures[name]
        if value is None:
            continue
        if (low is not None and value < low) or (high is not None and value > high):
            within = f"{'' if low is None else low}…{'' if high is None else high}"
            return f"{name} out of limits", f"{value:.4g}, not in {within}"
    return None
