"""What the discriminator sees changed at random, of real and of generated faces alike."""

import torch
from torch import nn


class Augmentation(nn.Module):
    """A differentiable random change; the identity unless a subclass says otherwise.

    Its buffers (a probability that adapts, say) are saved and restored with the training, and
    are equal on all devices.
    """

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change faces.

        Args:
            x: (N, 3, H, W) in [-1, 1]; N independent random changes.
            generator: Source of chance, on the CPU whatever the device of x.

        Returns:
            (N, 3, H, W); may leave [-1, 1].
        """
        del generator
        return x

    def observe(self, real_logits: torch.Tensor) -> None:
        """See the logits (N,) that a step's real faces got, those of all devices."""

    def figures(self) -> dict[str, float]:
        """Return what to note in ``metrics.csv`` at every tick, always under the same names."""
        return {}
