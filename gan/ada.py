"""Adaptive discriminator augmentation: what the discriminator sees, changed ever so much.

Karras et al. 2020b (arXiv:2006.06676). Every change happens with probability p, the same to real
and to generated faces; while p < 0.8 or so, the generator cannot gain by drawing the changes
themselves. p rises while the discriminator is surer of its training faces than it should be.
"""

import functools
import math
from collections.abc import Sequence

import torch

from gan import fir
from gan.augmentation import Augmentation
from gan.warp import blit, mirrored_pad, resample

GROUPS = ("blit", "geometry", "colour", "filter", "noise", "cutout")
# scaling filter of the symlet with 2 vanishing moments (Daubechies 1992, table 8.1)
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
# expected power of the four bands in pictures, whose spectra fall as 1/f (appendix B.4)
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
GREY = (1 / math.sqrt(3),) * 3


class Ada(Augmentation):
    """The augmentations of ADA's appendix B with the strength of its section 3.1.

    Args:
        groups: Of `GROUPS`; the paper's "bgc" is the default.
        p: Probability of each change, at the start.
        target: Of r = E[sign(D(real))], above which p rises and below which it falls; None to
            leave p as it is.
        kimg: Thousands of real faces in which p could rise from 0 to 1.
        every: Batches between two changes of p.
        p_max: Where p stops.

    Raises:
        ValueError: If a group is unknown or p is no probability.
    """

    signs: torch.Tensor

    def __init__(
        self,
        *,
        groups: Sequence[str] = ("blit", "geometry", "colour"),
        p: float = 0.0,
        target: float | None = 0.6,
        kimg: float = 500.0,
        every: int = 4,
        p_max: float = 1.0,
    ) -> None:
        super().__init__()
        for group in groups:
            if group not in GROUPS:
                raise ValueError(
                    f"augmentation group {group!r} is unknown; choose from {', '.join(GROUPS)} "
                    "(gan.augmentation.groups)"
                )
        if not 0 <= p <= p_max <= 1:
            raise ValueError(f"p is {p} and p_max {p_max}; 0 ≤ p ≤ p_max ≤ 1 (gan.augmentation)")
        self.groups, self.target = tuple(groups), target
        self.kimg, self.every, self.p_max = kimg, every, p_max
        # on the host: what is read at every step must not wait for the device
        self.p, self.r, self.batches = p, math.nan, 0
        self.register_buffer("signs", torch.zeros(2))  # sum of signs, number of logits

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change faces; at p = 0 exactly the identity. See `Augmentation.forward`."""
        if self.p == 0:
            return x
        with torch.autocast(x.device.type, enabled=False):  # a face must not be rounded to bf16
            return self._changed(x, generator)

    def _changed(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        n, size = len(x), x.shape[-1]
        dice = Dice(n, self.p, generator)
        if "blit" in self.groups or "geometry" in self.groups:
            still = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
            whole = blits(dice, size) if "blit" in self.groups else still
            affine = geometry(dice, size) if "geometry" in self.groups else still
            x = moved(x, whole, affine)
        if "colour" in self.groups:
            matrix = colours(dice).to(x)
            x = torch.baddbmm(matrix[:, :3, 3:], matrix[:, :3, :3], x.flatten(2)).view_as(x)
        if "filter" in self.groups:
            x = filtered(x, band_gains(dice))
        if "noise" in self.groups:
            sigma = dice.maybe(dice.normal().abs() * 0.1, 0.0)
            noise = torch.randn(x.shape, generator=generator)
            x = x + (noise * sigma[:, None, None, None]).to(x)
        if "cutout" in self.groups:
            x = cut(x, dice.maybe(dice.uniform(2) + 1, 0.0) - 1)
        return x

    def observe(self, real_logits: torch.Tensor) -> None:
        """Note how sure the discriminator is of real faces, and adapt p every few batches."""
        if self.target is None:
            return
        with torch.no_grad():
            signs = real_logits.detach().float().sign()
            self.signs += torch.stack([signs.sum(), signs.new_tensor(float(signs.numel()))])
        self.batches += 1
        if self.batches % self.every == 0:
            total, count = self.signs.tolist()
            self.signs.zero_()
            self.r = total / count
            step = math.copysign(count / (self.kimg * 1000), self.r - self.target)
            self.p = min(max(self.p + step * (self.r != self.target), 0.0), self.p_max)

    def figures(self) -> dict[str, float]:
        """p, and the latest r = E[sign(D(real))]."""
        return {"ada_p": self.p, "ada_r": self.r}

    def get_extra_state(self) -> torch.Tensor:
        """p, r and the number of batches, to be saved."""
        return torch.tensor([self.p, self.r, self.batches], dtype=torch.float64)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Go on from what `get_extra_state` returned."""
        self.p, self.r, batches = state.tolist()
        self.batches = int(batches)


class Dice:
    """Draws for each of n faces, some of which are spared.

    Args:
        n: Number of faces.
        p: Probability of a change.
        generator: Source of chance, on the CPU.
    """

    def __init__(self, n: int, p: float, generator: torch.Generator) -> None:
        self.n, self.p, self.generator = n, p, generator

    def uniform(self, *shape: int) -> torch.Tensor:
        """(n, ...) float64 in [0, 1)."""
        return torch.rand(self.n, *shape, generator=self.generator, dtype=torch.float64)

    def normal(self, *shape: int) -> torch.Tensor:
        """(n, ...) float64, standard normal."""
        return torch.randn(self.n, *shape, generator=self.generator, dtype=torch.float64)

    def maybe(self, value: torch.Tensor, neutral: float, p: float | None = None) -> torch.Tensor:
        """Each face's value with probability p, else the neutral one; (n,) or (n, k)."""
        chosen = self.uniform() < (self.p if p is None else p)
        return torch.where(chosen if value.ndim == 1 else chosen[:, None], value, neutral)


def blits(dice: Dice, size: int) -> torch.Tensor:
    """Mirror, turn by quarters, shift by up to an eighth: (N, 3, 3) of whole numbers."""
    flip = dice.maybe((dice.uniform() * 2).floor(), 0.0)
    turns = dice.maybe((dice.uniform() * 4).floor(), 0.0)
    shift = dice.maybe(((dice.uniform(2) - 0.5) / 4 * size).round(), 0.0)
    matrix = shifting(shift) @ turning(turns * (-math.pi / 2)) @ scaling(1 - 2 * flip, 1 + 0 * flip)
    return matrix.round()


def geometry(dice: Dice, size: int) -> torch.Tensor:
    """Scale, turn, stretch, turn, shift by fractions: (N, 3, 3)."""
    both = dice.maybe(torch.exp2(dice.normal() * 0.2), 1.0)
    # turned before or after with probability p altogether
    p_turn = 1 - math.sqrt(1 - dice.p)
    before = dice.maybe((dice.uniform() * 2 - 1) * math.pi, 0.0, p_turn)
    stretch = dice.maybe(torch.exp2(dice.normal() * 0.2), 1.0)
    after = dice.maybe((dice.uniform() * 2 - 1) * math.pi, 0.0, p_turn)
    shift = dice.maybe(dice.normal(2) * (size / 8), 0.0)
    matrix = turning(before) @ scaling(both, both)
    return shifting(shift) @ turning(after) @ scaling(stretch, 1 / stretch) @ matrix


def colours(dice: Dice) -> torch.Tensor:
    """Brightness, contrast, luma flip, hue, saturation: (N, 4, 4) on (R, G, B, 1) in [-1, 1]."""
    grey = torch.tensor([*GREY, 0.0], dtype=torch.float64)
    along = torch.outer(grey, grey)  # projection on the grey axis
    across = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)) - along
    last = torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    eye = torch.eye(4, dtype=torch.float64)

    def each(values: torch.Tensor) -> torch.Tensor:
        return values[:, None, None]

    brightness = eye.repeat(dice.n, 1, 1)
    brightness[:, :3, 3] = dice.maybe(dice.normal() * 0.2, 0.0)[:, None]
    contrast = each(dice.maybe(torch.exp2(dice.normal() * 0.5), 1.0)) * (along + across) + last
    luma = eye - 2 * each(dice.maybe((dice.uniform() * 2).floor(), 0.0)) * along
    angle = each(dice.maybe((dice.uniform() * 2 - 1) * math.pi, 0.0))
    crossed = torch.zeros(4, 4, dtype=torch.float64)  # v ↦ grey × v
    crossed[:3, :3] = torch.linalg.cross(grey[:3].expand(3, 3), torch.eye(3).double()).T
    hue = along + across * angle.cos() + crossed * angle.sin() + last
    saturation = along + across * each(dice.maybe(torch.exp2(dice.normal()), 1.0)) + last
    return saturation @ hue @ luma @ contrast @ brightness


def band_gains(dice: Dice) -> torch.Tensor:
    """Gains of the four frequency bands, each changed in turn at equal total power: (N, 4)."""
    power = torch.tensor(BAND_POWER, dtype=torch.float64)
    gains = torch.ones(dice.n, 4, dtype=torch.float64)
    for band in range(4):
        change = torch.ones_like(gains)
        change[:, band] = dice.maybe(torch.exp2(dice.normal()), 1.0)
        gains = gains * change / (change.square() @ power).sqrt()[:, None]
    return gains


@functools.cache
def bands() -> torch.Tensor:
    """Zero-phase filters of [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π]: (4, 43), sum an impulse."""
    with torch.inference_mode(False):
        scaling_filter = torch.tensor(SYM2, dtype=torch.float64)
        # H(z)·H(1/z) / 2 and its mirror in frequency add up to 1, as the wavelet is orthonormal
        low = _product(scaling_filter, scaling_filter.flip(0)) / 2
        high = low * (-1.0) ** (torch.arange(7) - 3)
        first, second = low, _product(low, _stretched(low, 2))
        found = [
            _product(second, _stretched(low, 4)),
            _product(second, _stretched(high, 4)),
            _product(first, _stretched(high, 2)),
            high,
        ]
        width = len(found[0])
        padded = [torch.nn.functional.pad(x, [(width - len(x)) // 2] * 2) for x in found]
        return torch.stack(padded)


def filtered(x: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Weigh the frequency bands of each face, (N, C, S, S), by (N, 4); edges are mirrored."""
    rows = (gains != 1).any(1).nonzero()[:, 0]
    if not len(rows):
        return x
    taps = (gains[rows] @ bands()).to(x)  # (M, 43)
    chosen = x[rows.to(x.device)]
    taps = taps.repeat_interleave(x.shape[1], 0)[:, None]  # (M·C, 1, 43)
    wide = mirrored_pad(chosen, taps.shape[2] // 2).flatten(0, 1)[None]  # (1, M·C, ...)
    wide = fir.correlate(fir.correlate(wide, taps[:, :, None]), taps[..., None])
    return x.index_copy(0, rows.to(x.device), wide[0].view_as(chosen))


def cut(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Blank a square of half the side about (N, 2) centres in [0, 1]; a centre of -1 spares."""
    size = x.shape[-1]
    low = ((centres - 0.25) * size).round().to(x.device)[:, :, None]  # (N, 2, 1)
    high = ((centres + 0.25) * size).round().to(x.device)[:, :, None]
    place = torch.arange(size, device=x.device)
    within = (place >= low) & (place < high)  # (N, 2, S)
    return x.masked_fill((within[:, 1, :, None] & within[:, 0, None, :])[:, None], 0.0)


def moved(x: torch.Tensor, whole: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Move faces by whole pixels and then by an affine map, in one go.

    A face that the second leaves alone keeps its very pixel values, and one that both leave alone
    is not touched; the result's distribution is that of resampling all.

    Args:
        x: (N, C, S, S).
        whole: (N, 3, 3), flips, quarter turns and shifts by whole pixels.
        affine: (N, 3, 3).
    """
    eye = torch.eye(3, dtype=whole.dtype)
    still = (affine == eye).all(2).all(1)
    inverse = torch.linalg.inv(affine @ whole)
    for way, rows in (
        (blit, still & (whole != eye).any(2).any(1)),
        (resample, ~still),
    ):
        index = rows.nonzero()[:, 0]
        if len(index):
            place = index.to(x.device)
            x = x.index_copy(0, place, way(x[place], inverse[index]))
    return x


def scaling(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(N,), (N,) → (N, 3, 3) that scales by x to the right and y down."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def turning(angle: torch.Tensor) -> torch.Tensor:
    """(N,) radians → (N, 3, 3) that turns the right towards down."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return torch.stack(rows, 1).view(-1, 3, 3)


def shifting(shift: torch.Tensor) -> torch.Tensor:
    """(N, 2) pixels to the right and down → (N, 3, 3)."""
    matrix = torch.eye(3, dtype=shift.dtype).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix


def _product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Coefficients of the product of two polynomials."""
    wide = torch.nn.functional.pad(first, [len(second) - 1] * 2)
    return wide.unfold(0, len(second), 1) @ second.flip(0)


def _stretched(filter_: torch.Tensor, factor: int) -> torch.Tensor:
    """Coefficients of h(zᶠ)."""
    wide = filter_.new_zeros((len(filter_) - 1) * factor + 1)
    wide[::factor] = filter_
    return wide
