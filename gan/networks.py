"""What every generator and discriminator offers, whatever its architecture."""

from typing import Any, Self

import torch
from torch import nn


class Network(nn.Module):
    """A network for square faces that can be built again from its arguments.

    Attributes:
        arguments: Arguments of the constructor, as JSON values.
        size: Height and width of a face in pixels.
    """

    arguments: dict[str, Any]
    size: int

    def specialised(self, label: int) -> Self:
        """Return the plain network that a conditional one is for one label, exactly."""
        raise ValueError(f"{type(self).__name__} cannot be specialised to label {label}")


class Generator(Network):
    """Latent (and label) → faces.

    Attributes:
        z_dim: Width of the standard normal latent.
        spherical: Whether what `embedded` returns lies near a sphere around the origin.
    """

    z_dim: int
    spherical: bool = True

    def forward(
        self,
        z: torch.Tensor,
        label: torch.Tensor | None = None,
        chance: torch.Generator | None = None,
    ) -> torch.Tensor:
        """(N, z_dim), (N,) int64 or None → (N, 3, size, size) in [-1, 1].

        Args:
            z: Standard normal.
            label: For a network with labels.
            chance: A CPU generator, given in training only, for whatever the network draws beside
                z. Without it the same z is the same face.
        """
        raise ValueError("a generator must say how it draws")

    def truncated(
        self, z: torch.Tensor, truncation: float, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw more typical faces: (N, 3, size, size) in [-1, 1]; truncation 1 is `forward`."""
        return self(z * truncation, label)

    def embedded(self, z: torch.Tensor, truncation: float = 1.0) -> torch.Tensor:
        """(N, z_dim) → (N, d): the latent in which faces change most evenly; z itself by default.

        For a plain network; `specialised` makes one of a network with labels.
        """
        return z * truncation

    def decoded(self, latent: torch.Tensor) -> torch.Tensor:
        """What `embedded` returns → (N, 3, size, size), which may leave [-1, 1]."""
        return self(latent)


class Discriminator(Network):
    """Faces (and label) → logits.

    Attributes:
        independent: Whether a face's logit depends on that face alone, not on its batch: what
            `gan.losses.generator_gradient` rests on.
    """

    independent: bool = False

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """(N, 3, size, size) in [-1, 1], (N,) int64 or None → (N,) logits, high for real."""
        raise ValueError("a discriminator must say how it judges")

    def inwards(self) -> list[nn.Module]:
        """Return the convolutions before the last resolution, from the picture inwards."""
        return []

    def freeze(self, layers: int) -> None:
        """Stop the first convolutions from learning (FreezeD, Mo et al. 2020, arXiv:2002.10964).

        For transfer to few faces: what tells a texture is kept, what tells a face is learned.

        Args:
            layers: How many of `inwards`.

        Raises:
            ValueError: If there are not so many.
        """
        found = self.inwards()
        if not 0 <= layers <= len(found):
            raise ValueError(
                f"freeze is {layers}; this discriminator has {len(found)} such layers (gan.freeze)"
            )
        for layer in found[:layers]:
            layer.requires_grad_(False)
