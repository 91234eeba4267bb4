"""One GAN as a Lightning module with manual optimisation."""

import copy
from collections.abc import Sequence

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.nn import functional as F

from gan.diffaugment import diffaugment
from gan.eigenfaces import eigenface_codes
from gan.losses import discriminator_loss, generator_gradient, r1_penalty
from gan.networks import Discriminator, Generator
from gan.pixels import to_network


class GanModule(L.LightningModule):
    """Generator, discriminator, and the generator's moving average, on faces kept in memory.

    An epoch is a tick of `tick_steps` steps; what a data loader yields does not matter. All
    chance of a step comes from one generator seeded by (seed, step), so a run that goes on after
    a stop draws what it would have drawn.

    Args:
        generator: Latent (and label) → faces; see `gan.dcgan.Generator`.
        discriminator: Faces (and label) → logits.
        images: (N, 3, H, W) uint8 RGB training faces.
        labels: (N,) int64 classes for networks with labels, or None.
        warm_steps: Steps before the adversarial ones in which the generator learns to draw the
            training faces from their eigenface codes.
        steps: Adversarial steps.
        head_start: The first of them, in which only the discriminator learns; the generator's
            learning rate then rises for as long. Keeps an untrained discriminator from spoiling
            what the warm steps taught.
        decay: Whether the learning rates go down over the second half of the adversarial steps.
        tick_steps: Steps in an epoch.
        batch_size: Faces a step, real and generated each.
        learning_rate: Of both networks' Adam.
        betas: Of both networks' Adam.
        r1_gamma: Weight of the gradient penalty on real faces, or 0.
        r1_every: Steps between penalties (lazy regularisation, Karras et al. 2020, section 3.1).
        augmentations: Names of `gan.diffaugment.OPERATIONS`.
        mirror: Whether real faces are mirrored half of the time.
        ema_decay: Of the generator's moving average, a step.
        seed: Which random training.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    codes: torch.Tensor | None

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        images: torch.Tensor,
        labels: torch.Tensor | None,
        *,
        warm_steps: int,
        steps: int,
        head_start: int,
        decay: bool,
        tick_steps: int,
        batch_size: int,
        learning_rate: float,
        betas: Sequence[float],
        r1_gamma: float,
        r1_every: int,
        augmentations: Sequence[str],
        mirror: bool,
        ema_decay: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator.to(memory_format=torch.channels_last)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(generator).requires_grad_(False)
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("codes", None, persistent=False)
        self.warm_steps, self.steps, self.tick_steps = warm_steps, steps, tick_steps
        self.head_start, self.decay = head_start, decay
        self.batch_size, self.seed = batch_size, seed
        self.learning_rate, self.betas = learning_rate, (betas[0], betas[1])
        self.r1_gamma, self.r1_every = r1_gamma, r1_every
        self.augmentations, self.mirror, self.ema_decay = list(augmentations), mirror, ema_decay
        self.losses: dict[str, torch.Tensor] = {}

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.warm_steps + self.steps

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Adam for the generator and for the discriminator."""
        networks = (self.generator, self.discriminator)
        first, second = (
            torch.optim.Adam(
                network.parameters(), lr=self.learning_rate, betas=self.betas, fused=True
            )
            for network in networks
        )
        return first, second

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Update the networks once, and the moving average."""
        del batch
        step = self.current_epoch * self.tick_steps + batch_idx
        if step >= self.total_steps:  # the last tick may be a short one
            return
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        self._set_learning_rate(step)
        if step < self.warm_steps:
            self._learn_codes(chance)
        else:
            self._play(chance, regularise=(step - self.warm_steps) % self.r1_every == 0)
        # short memory at first, or the average would long hold the untrained start
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = zip(self.ema.parameters(), self.generator.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1 - decay)

    def _pair(self) -> list[LightningOptimizer]:
        """The optimizers of generator and discriminator."""
        pair = self.optimizers()
        assert isinstance(pair, list)
        return pair

    def _learn_codes(self, chance: torch.Generator) -> None:
        if self.codes is None:
            images = torch.cat([self.images, self.images.flip(3)]).cpu()
            labels = None if self.labels is None else self.labels.repeat(2).cpu()
            self.codes = eigenface_codes(images, labels, self.generator.z_dim).to(self.device)
        for_generator, _ = self._pair()
        rows, flipped = self._choice(chance)
        real, label = self._faces(rows, flipped)
        z = self.codes[rows + len(self.images) * flipped]
        loss = F.l1_loss(self.generator(z, label), real)
        for_generator.zero_grad()
        self.manual_backward(loss)
        for_generator.step()
        self.losses = {"loss_codes": loss.detach()}

    def _play(self, chance: torch.Generator, *, regularise: bool) -> None:
        for_generator, for_discriminator = self._pair()
        real, label = self._faces(*self._choice(chance))
        z = torch.randn(self.batch_size, self.generator.z_dim, generator=chance).to(real)
        fake = self.generator(z, label)
        # one pass forwards and backwards through the discriminator serves both networks
        seen = fake.detach().requires_grad_()
        logits = self.discriminator(diffaugment(seen, self.augmentations, chance), label)
        real_logits = self.discriminator(diffaugment(real, self.augmentations, chance), label)
        loss = discriminator_loss(real_logits, logits)
        for_discriminator.zero_grad()
        self.manual_backward(loss)
        for_discriminator.step()
        for_generator.zero_grad()
        assert seen.grad is not None
        fake.backward(generator_gradient(seen.grad, logits.detach()))
        for_generator.step()
        self.losses = {
            "loss_discriminator": loss.detach(),
            "logit_real": real_logits.detach().mean(),
            "logit_fake": logits.detach().mean(),
        }
        if self.r1_gamma and regularise:
            real.requires_grad_()
            judged = self.discriminator(diffaugment(real, self.augmentations, chance), label)
            penalty = r1_penalty(judged, real)
            for_discriminator.zero_grad()
            self.manual_backward(penalty * (self.r1_gamma / 2 * self.r1_every))
            for_discriminator.step()

    def _choice(self, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of this step's real faces, and which of them are mirrored (0 or 1)."""
        rows = torch.randint(len(self.images), (self.batch_size,), generator=chance)
        flipped = torch.randint(2, (self.batch_size,), generator=chance) * self.mirror
        return rows.to(self.device), flipped.to(self.device)

    def _faces(
        self, rows: torch.Tensor, flipped: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        real = to_network(self.images[rows])
        real = torch.where(flipped.bool()[:, None, None, None], real.flip(3), real)
        return real, None if self.labels is None else self.labels[rows]

    def _set_learning_rate(self, step: int) -> None:
        played = step - self.warm_steps
        rate = rise = 1.0
        if played >= 0:
            if self.decay:  # full for half of the game, then down to a twentieth
                rate = min(1.0, 2 * (1 - played / self.steps) + 0.05)
            if self.head_start:
                rise = min(1.0, max(0.0, played / self.head_start - 1))
        for_generator, for_discriminator = self._pair()
        for_discriminator.param_groups[0]["lr"] = self.learning_rate * rate
        for_generator.param_groups[0]["lr"] = self.learning_rate * rate * rise
