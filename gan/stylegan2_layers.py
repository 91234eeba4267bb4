"""The layers of StyleGAN2: equalised learning rates, and convolutions that a style modulates.

Karras et al. 2020 (arXiv:1912.04958), section 2.2, with Karras et al. 2018 (arXiv:1710.10196),
section 4.1: weights are kept at unit variance and scaled by He's constant when they are used, so
that Adam moves all of them at one rate.

What the published weights fix is kept (shapes, the order of filter and convolution). What is ours
is the arithmetic: a style scales activations before and after one shared convolution instead of
making a filter bank for each face, the gain √2 of the leaky rectifier goes into weights and biases
(√2·φ(x) = φ(√2·x)), and nothing is stuffed with zeros.
"""

import itertools
import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from gan import fir

SLOPE = 0.2
GAIN = math.sqrt(2)
HALF = math.sqrt(0.5)
EPSILON = 1e-8
Architecture = Literal["plain", "skip", "residual"]


def clamped(x: torch.Tensor, limit: float | None) -> torch.Tensor:
    """Cut activations at ±limit (ADA, arXiv:2006.06676, appendix D.1), if there is one."""
    return x if limit is None else x.clamp(-limit, limit)


class Linear(nn.Module):
    """Dense layer with an equalised learning rate, in full precision also under autocast.

    Args:
        inputs: Width of what comes in.
        outputs: Width of what goes out.
        bias: Initial value of the biases.
        rate: Multiplier of the learning rate (0.01 in the mapping network).
        activate: Whether a leaky rectifier of gain √2 follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: float = 0.0,
        rate: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.rate, self.activate = rate, activate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs) → (N, outputs)."""
        gain = self.rate * (GAIN if self.activate else 1.0)
        weight = self.weight * (gain / math.sqrt(self.weight.shape[1]))
        with torch.autocast(x.device.type, enabled=False):
            x = F.linear(x.to(weight.dtype), weight, self.bias * gain)
        return F.leaky_relu_(x, SLOPE) if self.activate else x


class Conv(nn.Module):
    """Convolution with an equalised learning rate, that can change the size by two.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        taps: Side of the filter, 1 or 3.
        resize: "up" or "down" by two, with the binomial filter, or None.
        bias: Whether there are biases.
        activate: Whether a leaky rectifier of gain √2 follows.
        clamp: Limit of what goes out, or None.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int,
        *,
        resize: str | None = None,
        bias: bool = True,
        activate: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.resize, self.activate, self.clamp = resize, activate, clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, taps, taps))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, H, W), doubled or halved, times gain."""
        taps = self.weight.shape[2]
        scale = gain * (GAIN if self.activate else 1.0)
        weight = self.weight * (scale / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * scale
        if self.resize == "down" and taps == 1:
            x = F.conv2d(fir.downsample(x), weight, bias)
        elif self.resize == "down":
            x = F.conv2d(fir.blur(x, padding=2), weight, bias, stride=2)
        elif self.resize == "up":  # a 1 × 1 convolution is cheaper before than after
            x = fir.upsample(F.conv2d(x, weight, bias))
        else:
            x = F.conv2d(x, weight, bias, padding=taps // 2)
        if self.activate:
            x = F.leaky_relu_(x, SLOPE)
        return clamped(x, None if self.clamp is None else self.clamp * gain)


def modulated_conv(
    x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, *, up: bool = False, gain: float = 1
) -> torch.Tensor:
    """Convolve each face with the shared filters, modulated and demodulated by its style.

    Karras et al. 2020, eqs. 1 to 3: face n meets w[o, i]·s[n, i] / ‖w[o]·s[n]‖. Scaling inputs by s
    and outputs by 1 / ‖·‖ is the same (their section 2.2) and needs no filter bank a face: on a
    CPU up to 4 times as fast, forwards and backwards, for 8 faces of 8 to 64 px, and no slower
    for one.

    Args:
        x: (N, I, H, W).
        weight: (O, I, K, K).
        style: (N, I).
        up: Whether to double the size (transposed convolution, then the binomial filter).
        gain: Factor of the result.

    Returns:
        (N, O, H, W), or (N, O, 2H, 2W).
    """
    with torch.autocast(x.device.type, enabled=False):
        # demodulation undoes any scale of either; unscaled, half precision overflows (ADA, D.1)
        wide = torch.promote_types(style.dtype, torch.float32)
        style, weight = style.to(wide), weight.to(wide)
        style = style / style.detach().abs().amax(1, keepdim=True).clamp(min=EPSILON)
        weight = weight / weight.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=EPSILON)
        energy = weight.square().sum((2, 3))  # (O, I)
        norm = (style.square() @ energy.T + EPSILON).rsqrt() * gain  # (N, O)
    x, weight = x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype)
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (N, O, 2H + 1, 2W + 1)
        x = fir.blur(x, padding=1, gain=4.0)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
    return x * norm.to(x.dtype)[:, :, None, None]


class StyledConv(nn.Module):
    """Modulated 3 × 3 convolution, noise, bias and leaky rectifier.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        w_dim: Width of the intermediate latent.
        size: Height and width of what goes out.
        up: Whether that is twice what comes in.
        clamp: Limit of what goes out, or None.
    """

    noise: torch.Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        size: int,
        *,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(size, size))

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, chance: torch.Generator | None, gain: float = 1.0
    ) -> torch.Tensor:
        """Draw one layer.

        Args:
            x: (N, inputs, H, W).
            w: (N, w_dim).
            chance: Where noise comes from, on x's device; None for the layer's constant noise.
            gain: Factor of the result.

        Returns:
            (N, outputs, size, size).
        """
        scale = GAIN * gain
        x = modulated_conv(x, self.weight, self.affine(w), up=self.up, gain=scale)
        noise = self.noise
        if chance is not None:
            shape = (len(x), 1, *noise.shape)
            noise = torch.randn(shape, generator=chance, device=x.device)
        x = x + (noise * (self.strength * scale)).to(x.dtype)
        x = F.leaky_relu_(x.add_((self.bias * scale).to(x.dtype)[:, None, None]), SLOPE)
        return clamped(x, None if self.clamp is None else self.clamp * gain)


class ToRgb(nn.Module):
    """Modulated 1 × 1 convolution to three channels, without demodulation.

    Args:
        inputs: Channels that come in.
        w_dim: Width of the intermediate latent.
        clamp: Limit of what goes out, or None.
    """

    def __init__(self, inputs: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W), (N, w_dim) → (N, 3, H, W)."""
        style = self.affine(w) * (1 / math.sqrt(self.weight.shape[1]))
        # three channels go out, so here the filter bank a face is the smaller thing
        bank = self.weight[:, :, 0, 0] * style[:, None]  # (N, 3, inputs)
        n, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, -1)  # no copy, channels last
        rgb = (pixels @ bank.to(pixels.dtype).transpose(1, 2)).to(bank.dtype)  # (N, H·W, 3)
        rgb = (rgb + self.bias).unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return clamped(rgb, self.clamp)


class Mapping(nn.Module):
    """Latent and label → intermediate latent, by dense layers that learn slowly.

    Args:
        z_dim: Width of the latent, or 0 for none.
        w_dim: Width of all layers and of what comes out.
        layers: How many (8 in the papers, 2 in ADA's automatic configuration).
        labels: Number of classes, or 0.
    """

    centre: torch.Tensor

    def __init__(self, z_dim: int, w_dim: int, layers: int, labels: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.embedding = Linear(labels, w_dim) if labels else None
        widths = [z_dim + (w_dim if labels else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            Linear(inner, outer, rate=0.01, activate=True)
            for inner, outer in itertools.pairwise(widths)
        )

    def embedded(self, label: torch.Tensor) -> torch.Tensor:
        """(N,) int64 → (N, w_dim) of unit second moment."""
        assert self.embedding is not None
        classes = self.embedding.weight.shape[1]
        return _normalised(self.embedding(F.one_hot(label, classes).to(self.embedding.weight)))

    def forward(self, z: torch.Tensor | None, label: torch.Tensor | None) -> torch.Tensor:
        """(N, z_dim) standard normal, (N,) int64 → (N, w_dim)."""
        parts = [_normalised(z)] if z is not None else []
        if self.embedding is not None:
            parts.append(self.embedded(_required(label)))
        w = torch.cat(parts, 1)
        for layer in self.layers:
            w = layer(w)
        return w


class GeneratorLevel(nn.Module):
    """All layers of the generator at one resolution."""

    def __init__(
        self,
        inputs: int | None,
        outputs: int,
        w_dim: int,
        size: int,
        architecture: Architecture,
        *,
        last: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.conv0 = self.skip = self.to_rgb = None
        if inputs is not None:
            self.conv0 = StyledConv(inputs, outputs, w_dim, size, up=True, clamp=clamp)
            if architecture == "residual":
                self.skip = Conv(inputs, outputs, 1, resize="up", bias=False, activate=False)
        self.conv1 = StyledConv(outputs, outputs, w_dim, size, clamp=clamp)
        if last or architecture == "skip":
            self.to_rgb = ToRgb(outputs, w_dim, clamp=clamp)

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, chance: torch.Generator | None
    ) -> torch.Tensor:
        """(N, inputs, H, W), (N, 2 or 3, w_dim) → (N, outputs, 2H, 2W)."""
        if self.conv0 is None:
            return self.conv1(x, w[:, 0], chance)
        if self.skip is None:
            return self.conv1(self.conv0(x, w[:, 0], chance), w[:, 1], chance)
        detail = self.conv1(self.conv0(x, w[:, 0], chance), w[:, 1], chance, HALF)
        return self.skip(x, HALF) + detail


class DiscriminatorLevel(nn.Module):
    """All layers of the discriminator at one resolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        architecture: Architecture,
        *,
        first: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.from_rgb = self.skip = None
        if first or architecture == "skip":
            self.from_rgb = Conv(3, inputs, 1, clamp=clamp)
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, resize="down", clamp=clamp)
        if architecture == "residual":
            self.skip = Conv(inputs, outputs, 1, resize="down", bias=False, activate=False)

    def forward(self, x: torch.Tensor | None, faces: torch.Tensor | None) -> torch.Tensor:
        """(N, inputs, H, W), faces of H × W → (N, outputs, H / 2, W / 2)."""
        if self.from_rgb is not None:
            seen = self.from_rgb(faces)
            x = seen if x is None else x + seen
        assert x is not None
        if self.skip is None:
            return self.conv1(self.conv0(x))
        return self.skip(x, HALF) + self.conv1(self.conv0(x), HALF)


def batch_spread(x: torch.Tensor, group: int) -> torch.Tensor:
    """Mean standard deviation within groups of rows, as one constant channel: (N, 1, H, W)."""
    group = math.gcd(len(x), group)
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (group, -1))
    deviation = (grouped.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3)).repeat(group)
    return deviation.to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])


def _normalised(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def _required(label: torch.Tensor | None) -> torch.Tensor:
    if label is None:
        raise ValueError("labels=0 takes no label, any other number takes one for each row")
    return label
