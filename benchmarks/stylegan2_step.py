"""How fast StyleGAN2 learns on one core: ``python benchmarks/stylegan2_step.py [size]``.

A step is one update of the discriminator and one of the generator. Beside ours, the same networks
with the same weights written down as the paper's formulas read: a filter bank for each face by
grouped convolution, pictures stuffed with zeros before they are filtered, bias, rectifier and gain
one after the other, channels first. Both take turns, and both must come to the same losses. R1 and
the path length are timed by themselves.
"""

import contextlib
import copy
import sys
import time
from collections.abc import Iterator
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gan import fir, stylegan2_layers
from gan.path_length import PathLength
from gan.regularisers import Turn, r1_penalty
from gan.stylegan2 import Discriminator, Generator

BATCH, ROUNDS = 8, 7
SETTINGS = {"channel_base": 4096, "channel_max": 128}


def stuffed(x: torch.Tensor, up: int, down: int, padding: tuple[int, int], gain: float):  # noqa: ANN201
    """Stuff with zeros, pad, filter, drop."""
    n, c, height, width = x.shape
    x = x.reshape(n, c, height, 1, width, 1)
    x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(n, c, height * up, width * up)
    x = F.pad(x, [*padding, *padding])
    line = torch.tensor(fir.BINOMIAL)
    taps = (torch.outer(line, line) * gain).expand(c, 1, 4, 4)
    return F.conv2d(x, taps, groups=c)[:, :, ::down, ::down]


def grouped(
    x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor, *, up: bool = False, gain: float = 1
) -> torch.Tensor:
    """Modulate the filters of each face: Karras et al. 2020, eqs. 1 to 3, as they stand."""
    n, inputs, height, width = x.shape
    bank = weight * style[:, None, :, None, None]  # (N, O, I, K, K)
    bank = bank * (bank.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * inputs, height, width)
    if up:
        bank = bank.transpose(1, 2).flatten(0, 1)
        x = F.conv_transpose2d(x, bank, stride=2, groups=n)
        x = stuffed(x.reshape(n, -1, *x.shape[2:]), 1, 1, (1, 1), 4.0)
    else:
        x = F.conv2d(x, bank.flatten(0, 1), padding=1, groups=n).reshape(n, -1, height, width)
    return x * gain if gain != 1 else x


def plain_conv(self: stylegan2_layers.Conv, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """`gan.stylegan2_layers.Conv.forward`, a thing at a time."""
    taps = self.weight.shape[2]
    weight = self.weight * self.weight[0].numel() ** -0.5
    if self.resize == "down" and taps == 1:
        x = F.conv2d(stuffed(x, 1, 2, (1, 1), 1.0), weight)
    elif self.resize == "down":
        x = F.conv2d(stuffed(x, 1, 1, (2, 2), 1.0), weight, stride=2)
    else:
        x = F.conv2d(x, weight, padding=taps // 2)
    if self.bias is not None:
        x = x + self.bias[:, None, None]
    return F.leaky_relu(x, 0.2) * (gain * 2**0.5) if self.activate else x * gain


def plain_styled(  # noqa: ANN201
    self: stylegan2_layers.StyledConv,
    x: torch.Tensor,
    w: torch.Tensor,
    chance: torch.Generator,
    gain=1.0,  # noqa: ANN001
):
    """`gan.stylegan2_layers.StyledConv.forward`, a thing at a time."""
    x = grouped(x, self.weight, self.affine(w), up=self.up)
    x = x + torch.randn(len(x), 1, *self.noise.shape, generator=chance) * self.strength
    return F.leaky_relu(x + self.bias[:, None, None], 0.2) * (gain * 2**0.5)


@contextlib.contextmanager
def written_plainly() -> Iterator[None]:
    """Exchange the arithmetic of the layers."""
    with (
        mock.patch.object(stylegan2_layers.Conv, "forward", plain_conv),
        mock.patch.object(stylegan2_layers.StyledConv, "forward", plain_styled),
        mock.patch.object(fir, "upsample", lambda x: stuffed(x, 2, 1, (2, 1), 4.0)),
    ):
        yield


def channels_first(network: nn.Module) -> nn.Module:
    """Have all levels compute in torch's usual layout."""
    for module in network.modules():
        if isinstance(
            module, stylegan2_layers.GeneratorLevel | stylegan2_layers.DiscriminatorLevel
        ):
            module.register_forward_pre_hook(
                lambda _, tensors: tuple(
                    x.contiguous() if isinstance(x, torch.Tensor) else x for x in tensors
                )
            )
    return network


class Player:
    """Both networks and their optimizers."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=0.0025, betas=(0.0, 0.99), fused=True)
            for network in (discriminator, generator)
        ]

    def step(self, number: int, real: torch.Tensor) -> tuple[float, float]:
        """Update both networks; return (loss, seconds)."""
        chance = torch.Generator().manual_seed(number)
        z = torch.randn(2, BATCH, 512, generator=chance)
        started = time.perf_counter()
        with torch.no_grad():
            fake = self.generator(z[0], None, chance)
        judged = self.discriminator(real), self.discriminator(fake)
        loss = F.softplus(-judged[0]).mean() + F.softplus(judged[1]).mean()
        self.optimizers[0].zero_grad()
        loss.backward()
        self.optimizers[0].step()
        self.discriminator.requires_grad_(False)
        judged = self.discriminator(self.generator(z[1], None, chance))
        self.optimizers[1].zero_grad()
        F.softplus(-judged).mean().backward()
        self.optimizers[1].step()
        self.discriminator.requires_grad_(True)
        return loss.item(), time.perf_counter() - started


def regularisers(player: Player, real: torch.Tensor) -> tuple[float, float]:
    """Seconds of R1 and of the path length, forwards and backwards."""
    chance = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    real = real.clone().requires_grad_()
    r1_penalty(player.discriminator(real), real).backward()
    middle = time.perf_counter()
    PathLength()(
        Turn(
            generator=player.generator,
            discriminator=player.discriminator,
            real=real.detach(),
            fake=real.detach(),
            label=None,
            augment=lambda x: x,
            chance=chance,
        )
    ).backward()
    return middle - started, time.perf_counter() - middle


def main(size: int) -> None:
    """Print the medians, and the medians of the ratios of neighbours."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = Generator(size=size, mapping_layers=2, **SETTINGS)
    discriminator = Discriminator(size=size, **SETTINGS)
    plain = Player(*(channels_first(copy.deepcopy(x)) for x in (generator, discriminator)))
    last = torch.channels_last
    ours = Player(*(x.to(memory_format=last) for x in (generator, discriminator)))
    real = torch.rand(BATCH, 3, size, size) * 2 - 1
    seconds = []  # of (step, R1, path length) × (plain, ours)
    for turn in range(ROUNDS + 1):
        with written_plainly():
            expected, slow = plain.step(turn, real)
        loss, fast = ours.step(turn, real)
        if turn < 2:  # later, rounding grows
            np.testing.assert_allclose(loss, expected, rtol=2e-3)
        with written_plainly():
            slow_lazy = regularisers(plain, real)
        if turn:
            seconds.append(((slow, *slow_lazy), (fast, *regularisers(ours, real))))
    slow, fast = np.moveaxis(np.array(seconds), 1, 0)  # (rounds, 3) each
    every = np.array([1, 1 / 16, 1 / 4])
    for name, before, after in (
        ("step without regularisers", slow[:, 0], fast[:, 0]),
        ("R1", slow[:, 1], fast[:, 1]),
        ("path length", slow[:, 2], fast[:, 2]),
        ("step with R1 every 16th and path length every 4th", slow @ every, fast @ every),
    ):
        ratios = before / after
        print(
            f"{size} px, {BATCH} faces, {name}: plain {np.median(before):.2f} s, ours "
            f"{np.median(after):.2f} s, ratio {np.median(ratios):.2f} ({ratios.min():.2f} to "
            f"{ratios.max():.2f}, {ROUNDS} pairs)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
