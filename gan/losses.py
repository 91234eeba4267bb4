"""Adversarial losses: logits in, numbers out.

A loss has a side for each player. Where every face meets both sides through its one logit f, the
gradients of the two sides by the face's pixels are the same but for a factor a face, the ratio of
their slopes at f. One pass backwards through the discriminator then serves both players
(`generator_gradient`). A loss whose discriminator side goes flat, or crosses a slope of zero, has
no such ratio and needs the two passes.
"""

from typing import Protocol

import torch
from torch.nn import functional as F


class Loss(Protocol):
    """What a loss offers; logits are (N,), high for real."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return the discriminator's loss, a scalar mean over faces."""
        ...

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Return the generator's loss, a scalar mean over faces."""
        ...

    def ratio(self, fake: torch.Tensor) -> torch.Tensor | None:
        """Return (N,) slope of the generator's over that of the discriminator's loss at f.

        None if the latter can be zero.
        """
        ...


class NonSaturating:
    """Logistic loss, the generator's in its non-saturating form (Goodfellow et al. 2014, eq. 1).

    The same as binary cross-entropy on the sigmoid of the logits.
    """

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return E softplus(−f(real)) + E softplus(f(fake))."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Return E softplus(−f(fake))."""
        return F.softplus(-fake).mean()

    def ratio(self, fake: torch.Tensor) -> torch.Tensor:
        """Return −σ(−f) / σ(f) = −exp(−f)."""
        # σ(f) underflows long before f = -60; what is lost there is no longer training
        return -torch.exp(-fake.clamp(-60, 60))


class Hinge:
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894, section 3)."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return E max(0, 1 − f(real)) + E max(0, 1 + f(fake))."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Return −E f(fake)."""
        return -fake.mean()

    def ratio(self, fake: torch.Tensor) -> None:
        """None: the discriminator's side is flat below f = −1."""
        return


class LeastSquares:
    """Least squares with targets 0 and 1 (Mao et al. 2017, arXiv:1611.04076, eq. 9)."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return ½ E (f(real) − 1)² + ½ E f(fake)²."""
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Return ½ E (f(fake) − 1)²."""
        return (fake - 1).square().mean() / 2

    def ratio(self, fake: torch.Tensor) -> None:
        """None: the discriminator drives f to 0, where (f − 1) / f has no value."""
        return


class Wasserstein:
    """Difference of means (Arjovsky et al. 2017); with `GradientPenalty` beside it, WGAN-GP."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return E f(fake) − E f(real)."""
        return fake.mean() - real.mean()

    def generator(self, fake: torch.Tensor) -> torch.Tensor:
        """Return −E f(fake)."""
        return -fake.mean()

    def ratio(self, fake: torch.Tensor) -> torch.Tensor:
        """Return −1 for every face."""
        return torch.full_like(fake, -1.0)


def generator_gradient(discriminator_gradient: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """Turn the discriminator's gradient on generated faces into the generator's.

    Exact only if a face's logit depends on that face alone.

    Args:
        discriminator_gradient: (N, 3, H, W), of the discriminator's loss by the faces.
        ratio: (N,) of the slopes at their logits, from the same loss.

    Returns:
        (N, 3, H, W), the gradient of the generator's loss by the faces.
    """
    return discriminator_gradient * ratio[:, None, None, None]
