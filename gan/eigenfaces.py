"""Eigenface codes: latents for the training faces, to start a generator from.

A generator that first learns to draw the training faces from their own principal components
knows what a face is before it meets the discriminator; a standard normal latent then already
draws faces. On two processor cores that replaces the larger part of adversarial training.
"""

import torch


def eigenface_codes(images: torch.Tensor, labels: torch.Tensor | None, z_dim: int) -> torch.Tensor:
    """Return a latent for each face: its whitened principal components within its class.

    The mean face of a class is taken away first, so that the label alone carries the emotion and
    the latent what differs between faces of one emotion (Turk and Pentland 1991; whitening makes
    the codes as a set resemble draws from the standard normal that sampling uses).

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) classes, or None for a single class.
        z_dim: Number of components. Where the faces span fewer, the rest of a code is zero.

    Returns:
        (N, z_dim) float32; every spanned component has mean 0 and variance 1 over the faces.
    """
    flat = images.float().flatten(1) / 127.5 - 1
    classes = torch.zeros(len(flat), dtype=torch.long) if labels is None else labels
    for label in classes.unique():
        flat[classes == label] -= flat[classes == label].mean(0)
    # the N × N Gram matrix has the same components as the far larger covariance
    values, vectors = torch.linalg.eigh(flat.double() @ flat.double().T)
    count = min(z_dim, int((values > values[-1] * 1e-10).sum()))
    codes = torch.zeros(len(flat), z_dim)
    codes[:, :count] = vectors[:, -count:].flip(1).float() * len(flat) ** 0.5
    return codes
