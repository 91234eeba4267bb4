"""Penalties beside the adversarial loss, computed every few steps.

A regulariser that is due at every step shares the optimizer step of its player's loss. A rarer one
(lazy regularisation, Karras et al. 2020, arXiv:1912.04958, section 3.1) has a step of its own,
multiplied by its period, after both players have moved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.networks import Discriminator, Generator


@dataclass(frozen=True)
class Turn:
    """What a regulariser may look at.

    Attributes:
        generator: The network in training.
        discriminator: The network in training.
        real: (N, 3, H, W) real faces of this step in [-1, 1], not augmented.
        fake: (N, 3, H, W) generated faces that the discriminator saw in this step, detached.
        label: (N,) int64 of both, or None.
        augment: What the discriminator's input goes through.
        chance: Source of all randomness, on the CPU.
    """

    generator: Generator
    discriminator: Discriminator
    real: torch.Tensor
    fake: torch.Tensor
    label: torch.Tensor | None
    augment: Callable[[torch.Tensor], torch.Tensor]
    chance: torch.Generator


class Regulariser(nn.Module):
    """A penalty; its buffers (a moving mean, say) are saved and restored with the training.

    Attributes:
        name: Column ``penalty_<name>`` of the metrics.
        player: Whose weights it trains.
        every: Steps between two penalties.
    """

    name: str
    player: Literal["generator", "discriminator"]
    every: int

    def check(self, generator: Generator, discriminator: Discriminator) -> None:
        """Raise a ValueError if the penalty means nothing for these networks."""

    def forward(self, turn: Turn) -> torch.Tensor:
        """Return the weighted penalty, a scalar, as if it were due at every step."""
        raise ValueError(f"{type(self).__name__} must say what it penalises")


class R1(Regulariser):
    """Squared gradient norm on real faces (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).

    Args:
        gamma: Weight; the penalty is γ/2 · E‖∇D(x)‖². What suits 256 px is far too strong at 64.
        every: Steps between two penalties.
    """

    name, player = "r1", "discriminator"

    def __init__(self, *, gamma: float, every: int) -> None:
        super().__init__()
        self.gamma, self.every = gamma, every

    def forward(self, turn: Turn) -> torch.Tensor:
        """Return γ/2 · E‖∇D(x)‖² of the real faces, augmented anew."""
        real = turn.real.detach().requires_grad_()
        judged = turn.discriminator(turn.augment(real), turn.label)
        return r1_penalty(judged, real) * (self.gamma / 2)


class GradientPenalty(Regulariser):
    """Two-sided penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3).

    Args:
        weight: λ; the penalty is λ · E(‖∇D(x̂)‖ − 1)² at random points x̂ between a real and a
            generated face.
        every: Steps between two penalties.
    """

    name, player = "gradient", "discriminator"

    def __init__(self, *, weight: float = 10.0, every: int = 1) -> None:
        super().__init__()
        self.weight, self.every = weight, every

    def check(self, generator: Generator, discriminator: Discriminator) -> None:
        """Refuse batch normalisation, under which a face has no gradient norm of its own."""
        if any(isinstance(layer, _BatchNorm) for layer in discriminator.modules()):
            raise ValueError(
                f"the gradient penalty of WGAN-GP is undefined for {type(discriminator).__name__} "
                "with batch normalisation (Gulrajani et al. 2017, section 4): take a discriminator "
                "without it (gan.discriminator), or another loss (gan.loss)"
            )

    def forward(self, turn: Turn) -> torch.Tensor:
        """Return λ · E(‖∇D(x̂)‖ − 1)²."""
        share = torch.rand(len(turn.real), 1, 1, 1, generator=turn.chance).to(turn.real)
        between = turn.augment(torch.lerp(turn.real.detach(), turn.fake, share))
        between = between.detach().requires_grad_()
        judged = turn.discriminator(between, turn.label)
        (gradient,) = torch.autograd.grad(judged.sum(), between, create_graph=True)
        # the root has no slope at 0, where a saturated discriminator can be
        norm = gradient.float().square().sum((1, 2, 3)).add(1e-12).sqrt()
        return (norm - 1).square().mean() * self.weight


def r1_penalty(logits: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the mean squared gradient norm on real faces.

    Args:
        logits: (N,) of the real faces, with a graph back to them.
        real: (N, 3, H, W), requires grad.

    Returns:
        Scalar E‖∇D(x)‖², without the factor γ/2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
