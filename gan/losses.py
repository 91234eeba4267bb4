"""Adversarial losses: logits in, numbers out."""

import torch
from torch.nn import functional as F


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Non-saturating logistic loss of the discriminator (Goodfellow et al. 2014, eq. 1).

    Args:
        real: (N,) logits of real faces.
        fake: (N,) logits of generated faces.

    Returns:
        Scalar, mean over faces.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_gradient(discriminator_gradient: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Turn the discriminator's gradient on generated faces into the generator's.

    Both losses meet a face through its one logit f, so their gradients by the pixels are the same
    but for a factor a face: the discriminator's slope is σ(f), that of the generator's
    non-saturating loss softplus(-f) is -σ(-f), and -σ(-f) / σ(f) = -exp(-f). One pass backwards
    through the discriminator then serves both updates. Exact only if a face's logit depends on
    that face alone.

    Args:
        discriminator_gradient: (N, 3, H, W), of the mean of softplus(f) by the faces.
        fake: (N,) logits f of the same faces.

    Returns:
        (N, 3, H, W), the gradient of the mean of softplus(-f) by the faces.
    """
    # σ(f) underflows long before f = -60; what is lost there is no longer training
    factor = -torch.exp(-fake.clamp(-60, 60))
    return discriminator_gradient * factor[:, None, None, None]


def r1_penalty(logits: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the mean squared gradient norm on real faces (Mescheder et al. 2018, eq. 9).

    Args:
        logits: (N,) of the real faces, with a graph back to them.
        real: (N, 3, H, W), requires grad.

    Returns:
        Scalar E‖∇D(x)‖², without the factor γ/2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()
