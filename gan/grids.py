"""Pictures of a generator for people to look at while it trains."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from gan.networks import Generator
from gan.pixels import to_pixels

COLUMNS = 10
PLAIN_ROWS = 3
GAP = 4  # white pixels between two pictures
ENLARGED = 192  # pixels that a face gets at least, to be seen


def sample_grid(generator: Generator, classes: int) -> np.ndarray:
    """Draw the same latents at every call: one row for each class, three for a plain network.

    Args:
        generator: In evaluation mode.
        classes: Number of its labels, or 0.

    Returns:
        (rows · H, 10 · W, 3) uint8 RGB.
    """
    rows = classes or PLAIN_ROWS
    chance = torch.Generator().manual_seed(0)
    z = torch.randn(rows * COLUMNS, generator.z_dim, generator=chance)
    return _grid(generator, z, classes, rows)


def interpolation_grid(generator: Generator, classes: int) -> np.ndarray:
    """Draw the way from one face to another, a row for each class, three for a plain network.

    Faces that change smoothly are made, faces that flip from one to the next are remembered.
    The way is along the sphere, since latents in high dimensions have all nearly one length.

    Args:
        generator: In evaluation mode.
        classes: Number of its labels, or 0.

    Returns:
        (rows · H, 10 · W, 3) uint8 RGB.
    """
    rows = classes or PLAIN_ROWS
    chance = torch.Generator().manual_seed(1)
    start, end = torch.randn(2, rows, 1, generator.z_dim, generator=chance)
    share = torch.linspace(0, 1, COLUMNS)[:, None]
    angle = torch.arccos(torch.cosine_similarity(start, end, dim=2))[..., None]  # (rows, 1, 1)
    z = (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / angle.sin()
    return _grid(generator, z.flatten(0, 1), classes, rows)


def side_by_side(lines: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Lay pictures out in lines, white between them, small ones enlarged by a whole factor.

    Args:
        lines: Of as many pictures each, all (H, W, 3) uint8 RGB of one size.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    tiles = np.stack([np.stack(line) for line in lines])  # (rows, columns, H, W, 3)
    larger = max(1, ENLARGED // tiles.shape[3])
    tiles = tiles.repeat(larger, axis=2).repeat(larger, axis=3)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    rows, columns, height, width, _ = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return sheet[:-GAP, :-GAP]


def write_grid(grid: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 RGB as a picture file."""
    path.parent.mkdir(exist_ok=True)
    if not cv2.imwrite(str(path), grid[..., ::-1]):
        raise OSError(f"could not write {path}")


@torch.no_grad()
def _grid(generator: Generator, z: torch.Tensor, classes: int, rows: int) -> np.ndarray:
    device = next(generator.parameters()).device
    label = torch.arange(rows, device=device).repeat_interleave(COLUMNS) if classes else None
    faces = to_pixels(generator(z.to(device), label)).cpu().numpy()
    height, width = faces.shape[2:]
    grid = faces.reshape(rows, COLUMNS, 3, height, width).transpose(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, COLUMNS * width, 3)
