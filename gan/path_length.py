"""Path length regularisation: Karras et al. 2020 (arXiv:1912.04958), section 3.2."""

import math

import torch

from gan import networks
from gan.regularisers import Regulariser, Turn
from gan.stylegan2 import Generator


class PathLength(Regulariser):
    """Penalty on styles whose small steps change the face by other than the usual amount.

    E (‖Jᵀy‖ − a)², J the derivative of the face by its styles, y white noise as large as the
    face, a the moving average of ‖Jᵀy‖ (eq. 4). Jᵀy = ∇ (face · y), so J is never made.

    Args:
        weight: Of the penalty.
        every: Steps between two penalties.
        decay: Share of the newest lengths in the average.
        shrink: The penalty is taken on one of so many faces of a batch, to save time.
    """

    name, player = "path_length", "generator"
    mean: torch.Tensor

    def __init__(
        self, *, weight: float = 2.0, every: int = 4, decay: float = 0.01, shrink: int = 2
    ) -> None:
        super().__init__()
        self.weight, self.every, self.decay, self.shrink = weight, every, decay, shrink
        self.register_buffer("mean", torch.zeros(()))

    def check(self, generator: networks.Generator, discriminator: networks.Discriminator) -> None:
        """Refuse generators that have no styles."""
        del discriminator
        if not isinstance(generator, Generator):
            raise ValueError(
                f"{type(generator).__name__} of {type(generator).__module__} has no styles: leave "
                "gan.path_length.PathLength out of gan.regularisers, or take gan.stylegan2"
            )

    def forward(self, turn: Turn) -> torch.Tensor:
        """Return the weighted penalty on new faces, and move the average on."""
        generator, chance = turn.generator, turn.chance
        assert isinstance(generator, Generator)
        count = math.ceil(len(turn.real) / self.shrink)
        label = None if turn.label is None else turn.label[:count]
        z = torch.randn(count, generator.z_dim, generator=chance).to(turn.real)
        w = generator.styles(z, label, chance)
        lengths = path_lengths(generator.synthesis(w, chance), w, chance)
        with torch.no_grad():
            mean = lengths.mean().to(self.mean)
            if torch.distributed.is_initialized():  # as all devices' average must stay one
                torch.distributed.all_reduce(mean)
                mean /= torch.distributed.get_world_size()
            self.mean.lerp_(mean, self.decay)
        return (lengths - self.mean).square().mean() * self.weight


def path_lengths(faces: torch.Tensor, w: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Return ‖Jᵀy‖ for a random y.

    Args:
        faces: (N, 3, H, W), with a graph back to w.
        w: (N, layers, w_dim). Over layers the mean of the squares is taken.
        chance: A CPU generator for y.

    Returns:
        (N,), to be differentiated again.
    """
    y = torch.randn(faces.shape, generator=chance).to(faces) / math.sqrt(faces[0, 0].numel())
    (gradient,) = torch.autograd.grad((faces * y).sum(), w, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
