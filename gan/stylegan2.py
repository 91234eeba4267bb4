"""StyleGAN2 networks for faces of any size that is 4 or 7 times a power of two.

Karras et al. 2020 (arXiv:1912.04958) with the mapping network, noise, style mixing and truncation
of Karras et al. 2019 (arXiv:1812.04948) and the conditional form of Karras et al. 2020b
(arXiv:2006.06676, "ADA"). Plain PyTorch for every device; the layers are `gan.stylegan2_layers`.
"""

import math
from typing import Any, Self

import torch
from torch import nn

from gan import fir, networks
from gan.stylegan2_layers import (
    Architecture,
    Conv,
    DiscriminatorLevel,
    GeneratorLevel,
    Linear,
    Mapping,
    batch_spread,
)


def resolutions(size: int) -> list[int]:
    """Return the sizes from 4 or 7 up to a size, doubling.

    Raises:
        ValueError: If the size is not 4 or 7 times a power of two, or under 8.
    """
    for base in (4, 7):
        steps = round(math.log2(size / base)) if size > 0 else 0
        if steps >= 1 and base << steps == size:
            return [base << step for step in range(steps + 1)]
    raise ValueError(
        f"size {size} does not fit StyleGAN2: it must be 4 or 7 times a power of two, from 8 up "
        "(32, 64, 128, 224, 256, 512, 1024, ...); set size"
    )


def channels(resolution: int, base: int, most: int) -> int:
    """Return the width at a resolution, min(base / resolution, most); 7·2ⁿ counts as 8·2ⁿ."""
    return min(base // (1 << (resolution - 1).bit_length()), most)


class Generator(networks.Generator):
    """Latent → style → face.

    In training, what comes out is not confined to [-1, 1]: a clamp has no gradient.

    Args:
        size: Height and width of the picture in pixels (see `resolutions`).
        z_dim: Width of the standard normal latent.
        w_dim: Width of the intermediate latent.
        mapping_layers: Depth of the mapping network.
        channel_base: Channels times resolution.
        channel_max: Upper bound of the channels.
        architecture: "skip" sums pictures of all resolutions (the papers' choice), "residual"
            sums activations, "plain" does neither (Karras et al. 2020, figure 7).
        labels: Number of classes, or 0 for an unconditional network.
        mixing: Share of training faces drawn from two latents (Karras et al. 2019, section 3.1).
        centre_decay: Of the moving average of w that truncation pulls towards.
        clamp: Limit of the activations (256 in ADA, for half precision), or None.
    """

    centre: torch.Tensor
    spherical = False

    def __init__(
        self,
        *,
        size: int = 64,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 16384,
        channel_max: int = 512,
        architecture: Architecture = "skip",
        labels: int = 0,
        mixing: float = 0.9,
        centre_decay: float = 0.998,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.arguments = {
            "size": size,
            "z_dim": z_dim,
            "w_dim": w_dim,
            "mapping_layers": mapping_layers,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "architecture": architecture,
            "labels": labels,
            "mixing": mixing,
            "centre_decay": centre_decay,
            "clamp": clamp,
        }
        sizes = resolutions(size)
        widths = [channels(side, channel_base, channel_max) for side in sizes]
        self.size, self.z_dim, self.architecture = size, z_dim, _known(architecture)
        self.mixing, self.centre_decay = mixing, centre_decay
        self.mapping = Mapping(z_dim, w_dim, mapping_layers, labels)
        # one centre a class: a face truncated towards the mean of all would lose its emotion
        self.register_buffer("centre", torch.zeros(max(labels, 1), w_dim))
        self.constant = nn.Parameter(torch.randn(1, widths[0], sizes[0], sizes[0]))
        self.levels = nn.ModuleList(
            GeneratorLevel(inner, outer, w_dim, side, architecture, last=side == size, clamp=clamp)
            for inner, outer, side in zip([None, *widths], widths, sizes, strict=False)
        )
        self.layers = 2 * len(sizes)  # how many layers take a style of their own

    def forward(
        self,
        z: torch.Tensor,
        label: torch.Tensor | None = None,
        chance: torch.Generator | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> torch.Tensor:
        """Draw faces.

        Args:
            z: (N, z_dim) standard normal.
            label: (N,) int64, for a network with labels.
            chance: A CPU generator for random noise and, in training, mixed styles. None: the
                network's constant noise and one style a face.
            truncation: ψ in [0, 1]: how far w stays from the centre of its class.
            cutoff: Number of layers that are truncated; None for all.

        Returns:
            (N, 3, size, size) in [-1, 1].
        """
        w = self.styles(z, label, chance, truncation=truncation, cutoff=cutoff)
        faces = self.synthesis(w, chance)
        return faces if self.training else faces.clamp(-1, 1)

    def truncated(
        self, z: torch.Tensor, truncation: float, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Draw faces nearer to the centre of their class; z itself counts by direction alone."""
        return self(z, label, truncation=truncation)

    def embedded(self, z: torch.Tensor, truncation: float = 1.0) -> torch.Tensor:
        """(N, z_dim) → (N, w_dim): w, straighter than z (Karras et al. 2019, section 4.1)."""
        return self.styles(z, truncation=truncation)[:, 0]

    def decoded(self, latent: torch.Tensor) -> torch.Tensor:
        """One style for all layers, (N, w_dim) → (N, 3, size, size), not confined to [-1, 1]."""
        return self.synthesis(latent[:, None].expand(-1, self.layers, -1))

    def styles(
        self,
        z: torch.Tensor,
        label: torch.Tensor | None = None,
        chance: torch.Generator | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> torch.Tensor:
        """Return the style of each layer, (N, layers, w_dim); arguments as of `forward`.

        In training with `chance`, the centre moves on and styles are mixed.
        """
        w = self.mapping(z, label)
        learning = self.training and chance is not None
        if learning:
            self._follow(w.detach(), label)
        styles = w[:, None].expand(-1, self.layers, -1)
        if learning and self.mixing:
            assert chance is not None
            other = self.mapping(torch.randn(z.shape, generator=chance).to(z), label)
            crossover = torch.randint(1, self.layers, (len(z),), generator=chance)
            crossover[torch.rand(len(z), generator=chance) >= self.mixing] = self.layers
            first = torch.arange(self.layers) < crossover[:, None]  # (N, layers)
            styles = torch.where(first.to(z.device)[:, :, None], styles, other[:, None])
        if truncation != 1:
            centre = self.centre if label is None else self.centre[label]
            pulled = centre[:, None].lerp(styles, truncation)
            count = self.layers if cutoff is None else cutoff
            near = torch.arange(self.layers, device=z.device) < count
            styles = torch.where(near[:, None], pulled, styles)
        return styles

    def synthesis(self, w: torch.Tensor, chance: torch.Generator | None = None) -> torch.Tensor:
        """(N, layers, w_dim) → (N, 3, size, size), not confined to [-1, 1]."""
        if chance is not None:
            # a full-size draw on the CPU would wait for its copy to the device
            seed = int(torch.randint(2**62, (), generator=chance))
            chance = torch.Generator(w.device).manual_seed(seed)
        count = w.shape[
            0
        ]  # len() is one number for good where the network is traced (`gan.export`)
        x = self.constant.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        rgb, first = None, 0
        for level in self.levels:
            assert isinstance(level, GeneratorLevel)
            convolutions = 1 if level.conv0 is None else 2
            x = level(x, w[:, first : first + convolutions], chance)
            first += convolutions
            if level.to_rgb is not None:  # its style is that of the next level's first layer
                own = level.to_rgb(x, w[:, first])
                rgb = own if rgb is None else fir.upsample(rgb) + own
        assert rgb is not None
        return rgb

    @torch.no_grad()
    def _follow(self, w: torch.Tensor, label: torch.Tensor | None) -> None:
        if label is None:
            label = torch.zeros(len(w), dtype=torch.long, device=w.device)
        count = torch.bincount(label, minlength=len(self.centre))[:, None]
        mean = torch.zeros_like(self.centre).index_add_(0, label, w.to(self.centre)) / count
        self.centre.lerp_(torch.where(count > 0, mean, self.centre), 1 - self.centre_decay)

    def specialised(self, label: int) -> Self:
        """Return the plain network that this one is for one label, exactly.

        The mapped label enters the first dense layer only, so it disappears into that layer's bias.
        """
        if self.mapping.embedding is None:
            raise ValueError("labels=0: a network without labels is not specialised")
        plain, own = _unlabelled(self)
        first = self.mapping.layers[0]
        assert isinstance(first, Linear)
        device = self.centre.device
        with torch.no_grad():
            wide, narrow = first.weight.shape[1], self.z_dim
            embedded = self.mapping.embedded(torch.tensor([label], device=device))[0]
            shift = first.weight[:, narrow:] @ embedded / math.sqrt(wide)
            own["mapping.layers.0.weight"] = first.weight[:, :narrow] * math.sqrt(narrow / wide)
            own["mapping.layers.0.bias"] = first.bias + shift
            own["centre"] = self.centre[label : label + 1]
        plain.load_state_dict(own)
        return plain.train(self.training)


class Discriminator(networks.Discriminator):
    """Face → logit.

    Args:
        size: Height and width of the picture in pixels (see `resolutions`).
        channel_base: Channels times resolution.
        channel_max: Upper bound of the channels.
        architecture: "residual" (the papers' choice), "skip", or "plain" (Karras et al. 2020,
            figure 7).
        labels: Number of classes, or 0. With labels the logit is the projection of the features
            on the mapped label (Miyato and Koyama 2018; ADA, appendix D).
        mapping_layers: Depth of the label's mapping network.
        spread: Size of the groups whose standard deviation is appended as a channel before the
            last convolution (Karras et al. 2018, section 3), or 0. With it a face's logit depends
            on the other faces of its batch.
        clamp: Limit of the activations (256 in ADA, for half precision), or None.
    """

    def __init__(
        self,
        *,
        size: int = 64,
        channel_base: int = 16384,
        channel_max: int = 512,
        architecture: Architecture = "residual",
        labels: int = 0,
        mapping_layers: int = 8,
        spread: int = 4,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.arguments = {
            "size": size,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "architecture": architecture,
            "labels": labels,
            "mapping_layers": mapping_layers,
            "spread": spread,
            "clamp": clamp,
        }
        sizes = resolutions(size)[::-1]  # fine → coarse
        widths = [channels(side, channel_base, channel_max) for side in sizes]
        self.size, self.spread, self.architecture = size, spread, _known(architecture)
        self.independent = not spread
        self.levels = nn.ModuleList(
            DiscriminatorLevel(inner, outer, architecture, first=side == size, clamp=clamp)
            for inner, outer, side in zip(widths, widths[1:], sizes, strict=False)
        )
        width, features = widths[-1], widths[-1] if labels else 1
        self.from_rgb = Conv(3, width, 1) if architecture == "skip" else None
        self.conv = Conv(width + (spread > 0), width, 3, clamp=clamp)
        self.dense = Linear(width * sizes[-1] ** 2, width, activate=True)
        self.out = Linear(width, features)
        self.mapping = Mapping(0, features, mapping_layers, labels) if labels else None

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Judge faces.

        Args:
            x: (N, 3, size, size) in [-1, 1].
            label: (N,) int64, for a network with labels.

        Returns:
            (N,) logits, high for real.
        """
        faces = x.contiguous(memory_format=torch.channels_last)
        seen = None
        for level in self.levels:
            seen = level(seen, faces)
            if self.architecture == "skip":
                faces = fir.downsample(faces)
        assert seen is not None
        if self.from_rgb is not None:
            seen = seen + self.from_rgb(faces)
        if self.spread:
            seen = torch.cat([seen, batch_spread(seen, self.spread)], 1)
        features = self.out(self.dense(self.conv(seen).flatten(1)))
        if self.mapping is None:
            return features.squeeze(1)
        return (features * self.mapping(None, label)).sum(1) / math.sqrt(features.shape[1])

    def inwards(self) -> list[nn.Module]:
        """Return the convolution from RGB, then of each resolution the 3 × 3 ones and the skip.

        As ADA's ``freezed`` counts: 10 are the three finest resolutions of a residual network.
        """
        return [
            layer
            for level in self.levels
            for layer in (level.from_rgb, level.conv0, level.conv1, level.skip)
            if isinstance(layer, nn.Module)
        ]

    def specialised(self, label: int) -> Self:
        """Return the plain network that this one is for one label, exactly.

        Projecting on a fixed vector is linear, so it disappears into the last layer.
        """
        if self.mapping is None:
            raise ValueError("labels=0: a network without labels is not specialised")
        plain, own = _unlabelled(self)
        with torch.no_grad():
            mapped = self.mapping(None, torch.tensor([label], device=self.out.bias.device))[0]
            mapped = mapped / math.sqrt(len(mapped))
            own["out.weight"] = mapped[None] @ self.out.weight
            own["out.bias"] = (mapped @ self.out.bias)[None]
        plain.load_state_dict(own)
        return plain.train(self.training)


def automatic(size: int, devices: int = 1) -> dict[str, float | int]:
    """Return ADA's automatic configuration (``--cfg=auto`` of its program, 2020).

    A start for a new set of faces; r1_gamma is what is worth a search.

    Args:
        size: Height and width of the picture in pixels.
        devices: Accelerators.

    Returns:
        batch_size on all devices together, spread, channel_base, channel_max, mapping_layers of
        the generator, learning_rate, r1_gamma, ema_kimg (half-life of the moving average in
        thousands of faces) and ema_ramp (its upper bound as a share of the faces seen so far).
    """
    batch_size = max(min(devices * min(4096 // size, 32), 64), devices)
    return {
        "batch_size": batch_size,
        "spread": min(batch_size // devices, 4),
        "channel_base": 32768 if size >= 512 else 16384,
        "channel_max": 512,
        "mapping_layers": 2,
        "learning_rate": 0.002 if size >= 1024 else 0.0025,
        "r1_gamma": 0.0002 * size**2 / batch_size,
        "ema_kimg": batch_size * 10 / 32,
        "ema_ramp": 0.05,
    }


def _known(architecture: Architecture) -> Architecture:
    if architecture not in ("plain", "skip", "residual"):
        raise ValueError(f"architecture {architecture!r} is none of plain, skip, residual")
    return architecture


def _unlabelled(network: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The same network without labels, and the weights that both have."""
    plain = type(network)(**network.arguments | {"labels": 0})
    weights = network.state_dict()
    return plain, {name: weights[name] for name in plain.state_dict()}
