"""DCGAN networks for faces of any size that is 4 or 7 times a power of two.

Radford et al. 2016 (arXiv:1511.06434) with the freedoms that few hundred faces ask for: no batch
normalisation by default, leaky rectifiers on both sides, and an optional class label that can be
folded away, so that a trunk trained on all emotions becomes one plain network for each.
"""

import math
from typing import Any, Self, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from gan import networks

SLOPE = 0.2
Dcgan = TypeVar("Dcgan", "Generator", "Discriminator")
Present = TypeVar("Present")


def ladder(size: int) -> tuple[int, int]:
    """Return (base, doublings) with size = base · 2^doublings and base 4 or 7.

    Raises:
        ValueError: If there is no such pair with at least two doublings.
    """
    for base in (4, 7):
        doublings = round(math.log2(size / base)) if size > 0 else 0
        if doublings >= 2 and base << doublings == size:
            return base, doublings
    raise ValueError(
        f"size {size} does not fit a DCGAN: it must be 4 or 7 times a power of two, from 16 or 28 "
        "up (16, 28, 32, 56, 64, 112, 128, 224, 256, ...); set size"
    )


def _widths(doublings: int, filters: int, max_filters: int) -> list[int]:
    """Channels from the finest level inwards: filters, 2·filters, ... up to max_filters."""
    return [min(filters << level, max_filters) for level in range(doublings)]


class Generator(networks.Generator):
    """Latent → face by a dense layer and stride-2 transposed convolutions.

    Args:
        size: Height and width of the picture in pixels (see `ladder`).
        z_dim: Width of the standard normal latent.
        filters: Channels at the finest level but one; doubled at every coarser one.
        max_filters: Upper bound of the channels.
        final_conv: Protocol 1's form: a last stride-1 convolution at full size after the
            transposed ones. Otherwise the last transposed convolution draws the picture, as in
            Radford et al., which costs a fraction.
        batch_norm: After how many of the transposed convolutions, from the coarsest on, batch
            normalisation follows (2 in protocol 1's second stable form).
        labels: Number of classes, or 0 for an unconditional network. A label adds a learned
            vector to the coarsest level, place by place.
    """

    def __init__(
        self,
        *,
        size: int = 64,
        z_dim: int = 100,
        filters: int = 32,
        max_filters: int = 256,
        final_conv: bool = False,
        batch_norm: int = 0,
        labels: int = 0,
    ) -> None:
        super().__init__()
        self.arguments = {
            "size": size,
            "z_dim": z_dim,
            "filters": filters,
            "max_filters": max_filters,
            "final_conv": final_conv,
            "batch_norm": batch_norm,
            "labels": labels,
        }
        base, doublings = ladder(size)
        self.size, self.z_dim, self.base = size, z_dim, base
        widths = _widths(doublings, filters, max_filters)[::-1]  # coarse → fine
        outputs = [*widths[1:], filters if final_conv else 3]
        self.dense = nn.Linear(z_dim, widths[0] * base * base)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1)
            for inner, outer in zip(widths, outputs, strict=True)
        )
        most = doublings if final_conv else doublings - 1  # a picture is not normalised
        if not 0 <= batch_norm <= most:
            raise ValueError(
                f"batch_norm is {batch_norm}; a generator of {size} px can have it after 0 to "
                f"{most} transposed convolutions (gan.generator.batch_norm)"
            )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in outputs[:batch_norm])
        self.final = nn.Conv2d(filters, 3, 3, padding=1) if final_conv else None
        self.classes = nn.Embedding(labels, self.dense.out_features) if labels else None
        self.apply(_initialise)

    def forward(
        self,
        z: torch.Tensor,
        label: torch.Tensor | None = None,
        chance: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw faces.

        Args:
            z: (N, z_dim) standard normal.
            label: (N,) int64, for a network with labels.
            chance: Not used: z decides everything.

        Returns:
            (N, 3, size, size) in [-1, 1].
        """
        del chance
        x = self.dense(z)
        if self.classes is not None:
            x = x + self.classes(_required(label))
        x = x.unflatten(1, (-1, self.base, self.base))  # (N, C, base, base)
        x = x.contiguous(memory_format=torch.channels_last)
        for level, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            if level < len(self.norms):
                x = self.norms[level](x)
        if self.final is not None:
            x = self.final(F.leaky_relu(x, SLOPE))
        return torch.tanh(x)

    def specialised(self, label: int) -> Self:
        """Return the plain network that this one is for one label, exactly.

        A label only shifts the first layer's output, so it disappears into that layer's bias.
        """
        plain = _unlabelled(self)
        with torch.no_grad():
            plain.dense.bias.add_(_required(self.classes).weight[label])
        return plain


class Discriminator(networks.Discriminator):
    """Face → logit by stride-2 convolutions.

    Args:
        size: Height and width of the picture in pixels (see `ladder`).
        filters: Channels at the finest level; doubled at every coarser one.
        max_filters: Upper bound of the channels.
        stem: Protocol 1's form: a first stride-1 convolution at full size.
        pool: Global average pooling before the dense layer instead of flattening
            (protocol 1's second stable form).
        spread: Append the batch's standard deviation as one channel before the dense layer
            (Karras et al. 2018, section 3), so that a generator that repeats itself is seen.
        labels: Number of classes, or 0. With labels the logit is the projection discriminator's
            (Miyato and Koyama 2018, eq. 3).
    """

    def __init__(
        self,
        *,
        size: int = 64,
        filters: int = 32,
        max_filters: int = 256,
        stem: bool = False,
        pool: bool = False,
        spread: bool = True,
        labels: int = 0,
    ) -> None:
        super().__init__()
        self.arguments = {
            "size": size,
            "filters": filters,
            "max_filters": max_filters,
            "stem": stem,
            "pool": pool,
            "spread": spread,
            "labels": labels,
        }
        base, doublings = ladder(size)
        self.size, self.pool, self.spread = size, pool, spread
        self.independent = not spread
        widths = _widths(doublings, filters, max_filters)
        self.stem = nn.Conv2d(3, filters, 3, padding=1) if stem else None
        inputs = [filters if stem else 3, *widths[:-1]]
        self.downs = nn.ModuleList(
            nn.Conv2d(inner, outer, 4, stride=2, padding=1)
            for inner, outer in zip(inputs, widths, strict=True)
        )
        features = (widths[-1] + spread) * (1 if pool else base * base)
        self.dense = nn.Linear(features, 1)
        self.classes = nn.Embedding(labels, features) if labels else None
        self.apply(_initialise)
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Judge faces.

        Args:
            x: (N, 3, size, size) in [-1, 1].
            label: (N,) int64, for a network with labels.

        Returns:
            (N,) logits, high for real.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        if self.stem is not None:
            x = F.leaky_relu(self.stem(x), SLOPE)
        for down in self.downs:
            x = F.leaky_relu(down(x), SLOPE)
        if self.spread:
            x = torch.cat([x, _batch_spread(x)], dim=1)
        features = x.mean((2, 3)) if self.pool else x.flatten(1)
        logits = self.dense(features).squeeze(1)
        if self.classes is not None:
            logits = logits + (features * self.classes(_required(label))).sum(1)
        return logits

    def inwards(self) -> list[nn.Module]:
        """Return the stem, if there is one, and the stride-2 convolutions but the last."""
        stem = [] if self.stem is None else [self.stem]
        return [*stem, *list(self.downs)[:-1]]

    def specialised(self, label: int) -> Self:
        """Return the plain network that this one is for one label, exactly."""
        plain = _unlabelled(self)
        with torch.no_grad():
            plain.dense.weight.add_(_required(self.classes).weight[label])
        return plain


def _required(label: Present | None) -> Present:
    if label is None:
        raise ValueError("labels=0 takes no label, any other number takes one for each row")
    return label


def _unlabelled(network: Dcgan) -> Dcgan:
    arguments: dict[str, Any] = network.arguments | {"labels": 0}
    plain = type(network)(**arguments)
    own = plain.state_dict()
    plain.load_state_dict({name: network.state_dict()[name] for name in own})
    return plain


def _batch_spread(x: torch.Tensor, group: int = 4) -> torch.Tensor:
    """Mean standard deviation within groups of rows, as one constant channel: (N, 1, H, W)."""
    group = math.gcd(len(x), group)
    spread = x.unflatten(0, (group, -1)).var(0, unbiased=False).add(1e-8).sqrt()
    spread = spread.mean((1, 2, 3)).repeat(group)  # (N,)
    return spread[:, None, None, None].expand(-1, 1, *x.shape[2:])


def _initialise(module: nn.Module) -> None:
    # He et al. 2015 for leaky rectifiers; an output of a stride-2 transposed convolution
    # sees a quarter of the kernel
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        fan_in = module.weight[0].numel()
        if isinstance(module, nn.ConvTranspose2d):
            fan_in = module.in_channels * module.weight[0, 0].numel() // math.prod(module.stride)
        nn.init.normal_(module.weight, std=math.sqrt(2 / (1 + SLOPE**2) / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.5)
