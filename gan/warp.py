"""Moving the pixels of faces by a matrix each: exactly where that is possible, else well filtered.

Karras et al. 2020b (arXiv:2006.06676, "ADA"), appendix B.2. Coordinates are (x to the right,
y down) in pixels from the picture's centre; beyond the edge the picture is mirrored. Everything
is linear in the picture and can be differentiated twice, which the framework's own sampling
cannot, though the gradient penalty on augmented faces asks for it.
"""

from typing import Any

import torch
from torch.nn import functional as F

from gan import fir

# scaling filter of the symlet with 6 vanishing moments (Daubechies 1992, Ten Lectures on
# Wavelets, table 8.1): orthonormal, so that up and down again is the identity, and nearly symmetric
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
# its centre of mass: by how much it shifts low frequencies, where most of a picture is
DELAY = sum(place * tap for place, tap in enumerate(SYM6)) / sum(SYM6)
MARGIN = 10  # mirrored pixels around the picture
REACH = 6  # how far beyond the edge samples are taken there; further out they are folded back


def mirrored(index: torch.Tensor, size: int) -> torch.Tensor:
    """Fold coordinates into [0, size - 1] by reflection at the outermost pixels' centres."""
    last = size - 1
    return last - (index.remainder(2 * last) - last).abs()


def blit(x: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Move whole pixels: flips, quarter turns and shifts by whole pixels.

    Args:
        x: (N, C, S, S).
        inverse: (N, 3, 3) homogeneous, from places in the result to places in x.

    Returns:
        (N, C, S, S), of the very values of x.
    """
    size = x.shape[-1]
    middle = (size - 1) / 2
    line = torch.arange(size, dtype=torch.float32, device=x.device) - middle
    source = _sources(line, inverse.to(line)) + middle  # (N, S, S, 2)
    column, row = mirrored(source.round().long(), size).unbind(-1)
    index = (row * size + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)  # (N, C, S·S)
    return x.flatten(2).gather(2, index).view_as(x)


def resample(x: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Move pixels by any affine map, once, without aliasing at moderate scales.

    Doubled by an orthonormal wavelet, sampled bilinearly at double density, halved by the same
    wavelet: a still picture stays what it is, and a turned one keeps its spectrum.

    Args:
        x: (N, C, S, S).
        inverse: (N, 3, 3) homogeneous, from places in the result to places in x.

    Returns:
        (N, C, S, S).
    """
    size, channels = x.shape[-1], x.shape[1]
    dense = mirrored_pad(x, MARGIN)
    for taps, stride in _lines(channels, x, gain=2**0.5):
        dense = fir.transposed(dense, taps, stride=stride)
    # where the samples of the result before halving lie: sample k at place (k - DELAY) / 2
    precise = torch.promote_types(x.dtype, torch.float32)
    k = torch.arange(2 * (size - 1) + len(SYM6), dtype=precise, device=x.device)
    middle = (size - 1) / 2
    source = _sources((k - DELAY) / 2 - middle, inverse.to(k)) + middle  # (N, K, K, 2)
    # the wavelet is not quite symmetric, so near the edge a folded place would not do
    near = (source > -REACH) & (source < size - 1 + REACH)
    sample = (torch.where(near, source, mirrored(source, size)) + MARGIN) * 2 + DELAY
    grid = (sample * 2 + 1) / dense.shape[-1] - 1
    moved = _Sample.apply(dense, grid.to(dense.dtype))
    for taps, stride in _lines(channels, x, gain=0.5**0.5):
        moved = fir.correlate(moved, taps, stride=stride)  # pyright: ignore[reportArgumentType]
    return moved  # pyright: ignore[reportReturnType]


def mirrored_pad(x: torch.Tensor, margin: int) -> torch.Tensor:
    """Mirror a picture beyond its edges, (N, C, S, S) → S + 2·margin, however wide the margin."""
    size = x.shape[-1]
    index = mirrored(torch.arange(-margin, size + margin, device=x.device), size)
    return x[:, :, index][:, :, :, index]


def _sources(line: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Places (N, K, K, 2) in x of the places line × line in the result."""
    across = inverse[:, None, None, :2, 0] * line[None, None, :, None]
    down = inverse[:, None, None, :2, 1] * line[None, :, None, None]
    return across + down + inverse[:, None, None, :2, 2]


def _lines(channels: int, like: torch.Tensor, gain: float) -> list[tuple[torch.Tensor, fir.Pair]]:
    """The wavelet as a column and as a row filter, with strides."""
    taps = torch.tensor(SYM6, dtype=torch.float64) * gain
    taps = taps.to(like).expand(channels, 1, -1)
    return [(taps[..., None], (2, 1)), (taps[:, :, None], (1, 2))]


class _Sample(torch.autograd.Function):
    """Bilinear sampling of (N, C, H, W) at (N, K, L, 2)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return F.grid_sample(x, grid, align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Splat.apply(gradients[0], grid, ctx.shape), None  # pyright: ignore[reportReturnType]


class _Splat(torch.autograd.Function):
    """The transpose of `_Sample`."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, grid: torch.Tensor, shape: torch.Size
    ) -> torch.Tensor:
        ctx.save_for_backward(grid)
        anything = gradient.new_zeros(()).expand(shape)  # only its shape counts
        return torch.ops.aten.grid_sampler_2d_backward(
            gradient, anything, grid, 0, 0, False, [True, False]
        )[0]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid), None, None  # pyright: ignore[reportReturnType]
