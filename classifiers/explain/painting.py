"""Attribution maps laid over faces, in colours that colour-blind people tell apart too."""

import cv2
import numpy as np

from classifiers.explain.optimal import luminance

_GREY = 200.0  # ground of a map whose face may not be shown
_FOR, _AGAINST = np.array([213.0, 94.0, 0.0]), np.array([0.0, 114.0, 178.0])  # orange, blue


def paint_heat(face: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Lay a map over a face: dark where it is 0, yellow at its largest value.

    Args:
        face: (3, H, W) in 0 … 255; None for an even ground.
        values: (H, W) ≥ 0, scaled to its own maximum.

    Returns:
        (3, H, W) uint8 RGB.
    """
    share = values / max(float(values.max()), 1e-12)
    heat = cv2.applyColorMap((255 * share).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    colour = heat[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    if face is None:
        return colour.astype(np.uint8)
    return (0.5 * luminance(face) + 0.5 * colour).round().astype(np.uint8)


def paint_signed(face: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Lay a map over a face: orange where it is above 0, blue below.

    Args:
        face: (3, H, W) in 0 … 255; None for an even ground.
        values: (H, W), scaled to the 99th percentile of its absolute values.

    Returns:
        (3, H, W) uint8 RGB.
    """
    share = np.abs(values) / max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    opacity = 0.9 * np.minimum(share, 1)
    colour = np.where(values[None] > 0, _FOR[:, None, None], _AGAINST[:, None, None])
    ground = _GREY if face is None else 0.55 * luminance(face) + 0.45 * _GREY
    return (ground * (1 - opacity) + colour * opacity).round().astype(np.uint8)
