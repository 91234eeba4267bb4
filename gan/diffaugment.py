"""Differentiable augmentation of what the discriminator sees.

Zhao et al. 2020 (arXiv:2006.10738), section 3.2: the same random change is applied to real and
to generated faces, and gradients pass through it, so a discriminator cannot learn few faces by
heart and the generator does not learn the changes.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from gan.augmentation import Augmentation


def colour(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift brightness by ±0.5, scale saturation by 0–2 and contrast by 0.5–1.5, a face each."""
    shift, saturation, contrast = _uniform(x, 3, generator)
    x = x + (shift - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (saturation * 2)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (contrast + 0.5)


def translation(x: torch.Tensor, generator: torch.Generator, share: float = 0.125) -> torch.Tensor:
    """Shift by whole pixels, up to a share of the side in each direction; black comes in."""
    n, _, height, width = x.shape
    reach = round(max(height, width) * share)
    padded = F.pad(x, [reach] * 4)
    shifts = torch.randint(0, 2 * reach + 1, (n, 2), generator=generator).tolist()
    return torch.stack(
        [
            face[:, down : down + height, right : right + width]
            for face, (down, right) in zip(padded, shifts, strict=True)
        ]
    )


def cutout(x: torch.Tensor, generator: torch.Generator, share: float = 0.5) -> torch.Tensor:
    """Blank one square of half the side (grey 0), its centre anywhere in the picture."""
    n, _, height, width = x.shape
    down, right = torch.rand((2, n, 1), generator=generator).to(x.device)
    rows = torch.arange(height, device=x.device) - (down * height).floor()  # (N, H)
    columns = torch.arange(width, device=x.device) - (right * width).floor()  # (N, W)
    inside = rows.abs()[:, :, None].le(height * share / 2) & columns.abs()[:, None, :].le(
        width * share / 2
    )
    return x.masked_fill(inside[:, None], 0.0)


OPERATIONS: dict[str, Callable[[torch.Tensor, torch.Generator], torch.Tensor]] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
}


class DiffAugment(Augmentation):
    """The operations as an augmentation of fixed strength.

    Args:
        operations: Names of `OPERATIONS`, applied in this order to every face.

    Raises:
        ValueError: If an operation is unknown.
    """

    def __init__(self, operations: Sequence[str]) -> None:
        super().__init__()
        _require_known(operations)
        self.operations = list(operations)

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Apply the operations; see `diffaugment`."""
        return diffaugment(x, self.operations, generator)


def diffaugment(
    x: torch.Tensor, operations: Sequence[str], generator: torch.Generator
) -> torch.Tensor:
    """Apply operations in order.

    Args:
        x: (N, 3, H, W) in [-1, 1]; N independent random changes.
        operations: Names of `OPERATIONS`; none leaves x as it is.
        generator: Source of chance, on the CPU whatever the device of x.

    Returns:
        (N, 3, H, W); may leave [-1, 1].

    Raises:
        ValueError: If an operation is unknown.
    """
    _require_known(operations)
    for name in operations:
        x = OPERATIONS[name](x, generator)
    return x


def _require_known(operations: Sequence[str]) -> None:
    for name in operations:
        if name not in OPERATIONS:
            raise ValueError(
                f"augmentation {name!r} is unknown; choose from {', '.join(OPERATIONS)} "
                "(gan.augmentation.operations)"
            )


def _uniform(x: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw (count, N, 1, 1, 1) from [0, 1)."""
    return torch.rand((count, len(x), 1, 1, 1), generator=generator).to(x)
