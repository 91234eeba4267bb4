"""Filtering and resampling by constant filters, a channel at a time.

A transposed convolution of stride 2 multiplies only what is there, so nothing is stuffed with
zeros before it is filtered. Each operation is the other's derivative: gradients of any order (the
gradient penalty and the path length need two) are again one depthwise convolution. The framework's
own second derivative of one takes about ten times as long on a CPU, and looks for the gradient of
a filter that never changes.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

# binomial: the low-pass filter of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958; Zhang 2019)
BINOMIAL = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
Pair = tuple[int, int]


@functools.lru_cache(maxsize=256)
def kernel(
    taps: Sequence[float], channels: int, dtype: torch.dtype, device: torch.device, gain: float = 1
) -> torch.Tensor:
    """Return the outer square of a filter for each of some channels: (channels, 1, K, K)."""
    with torch.inference_mode(False):  # a tensor made in inference could not be trained with later
        line = torch.tensor(taps, dtype=torch.float64)
        square = torch.outer(line, line) * gain
        square = square.to(device=device, dtype=dtype).expand(channels, 1, -1, -1)
        return square.contiguous(memory_format=torch.channels_last)


class _Correlate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: torch.Tensor, stride: Pair, padding: Pair):  # noqa: ANN205
        ctx.save_for_backward(kernel)
        ctx.geometry = stride, padding, x.shape[2:]
        with torch.autocast(x.device.type, enabled=False):  # a picture must not be rounded to bf16
            return F.conv2d(x, kernel.to(x.dtype), None, stride, padding, groups=len(kernel))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (kernel,) = ctx.saved_tensors
        stride, padding, size = ctx.geometry
        return _Transposed.apply(gradients[0], kernel, stride, padding, size), None, None, None  # pyright: ignore[reportReturnType]


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: ANN205
        ctx: Any, x: torch.Tensor, kernel: torch.Tensor, stride: Pair, padding: Pair, size: Pair
    ):
        ctx.save_for_backward(kernel)
        ctx.geometry = stride, padding
        rest = [
            outer - ((inner - 1) * step - 2 * pad + taps)
            for outer, inner, step, pad, taps in zip(
                size, x.shape[2:], stride, padding, kernel.shape[2:], strict=True
            )
        ]
        with torch.autocast(x.device.type, enabled=False):
            return F.conv_transpose2d(
                x, kernel.to(x.dtype), None, stride, padding, rest, groups=len(kernel)
            )

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (kernel,) = ctx.saved_tensors
        return _Correlate.apply(gradients[0], kernel, *ctx.geometry), None, None, None, None  # pyright: ignore[reportReturnType]


def correlate(
    x: torch.Tensor, kernel: torch.Tensor, *, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> torch.Tensor:
    """Correlate each channel with its own constant filter and keep every stride-th value.

    Args:
        x: (N, C, H, W).
        kernel: (C, 1, K, L), not differentiated.
        stride: Down and to the right.
        padding: Zeros above and below, left and right.

    Returns:
        (N, C, ⌊(H + 2·padding - K) / stride⌋ + 1, ...).
    """
    return _Correlate.apply(x, kernel, stride, padding)  # pyright: ignore[reportReturnType]


def transposed(
    x: torch.Tensor, kernel: torch.Tensor, *, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> torch.Tensor:
    """Spread each value by its channel's filter, stride apart: the transpose of `correlate`.

    Args:
        x: (N, C, H, W).
        kernel: (C, 1, K, L), not differentiated.
        stride: Down and to the right.
        padding: Rows and columns to leave out at each side of the result.

    Returns:
        (N, C, (H - 1)·stride + K - 2·padding, ...).
    """
    size = tuple(
        (inner - 1) * step - 2 * pad + taps
        for inner, step, pad, taps in zip(
            x.shape[2:], stride, padding, kernel.shape[2:], strict=True
        )
    )
    return _Transposed.apply(x, kernel, stride, padding, size)  # pyright: ignore[reportReturnType]


def blur(x: torch.Tensor, *, padding: int, gain: float = 1.0) -> torch.Tensor:
    """Filter by [1, 3, 3, 1] / 8 both ways: (N, C, H, W) → (N, C, H + 2·padding - 3, ...)."""
    taps = kernel(BINOMIAL, x.shape[1], x.dtype, x.device, gain)
    return correlate(x, taps, padding=(padding, padding))


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Double height and width by [1, 3, 3, 1] / 4 both ways; zeros lie beyond the edge."""
    taps = kernel(BINOMIAL, x.shape[1], x.dtype, x.device, 4.0)
    return transposed(x, taps, stride=(2, 2), padding=(1, 1))


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Halve height and width by [1, 3, 3, 1] / 8 both ways; zeros lie beyond the edge."""
    taps = kernel(BINOMIAL, x.shape[1], x.dtype, x.device)
    return correlate(x, taps, stride=(2, 2), padding=(1, 1))
