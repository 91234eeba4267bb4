"""One GAN as a Lightning module with manual optimisation."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.nn import functional as F

from gan.augmentation import Augmentation
from gan.eigenfaces import eigenface_codes
from gan.losses import Loss, Wasserstein, generator_gradient
from gan.networks import Discriminator, Generator
from gan.pixels import to_network
from gan.regularisers import GradientPenalty, Regulariser, Turn


class GanModule(L.LightningModule):
    """Generator, discriminator, and the generator's moving average, on faces kept in memory.

    An epoch of Lightning's is a tick of `tick_steps` steps; what a data loader yields does not
    matter. The module counts its own steps (`step`), and all chance of a step comes from one
    generator seeded by it (`step_chance`), so a run that goes on after a stop draws what it would
    have drawn.

    Args:
        generator: Latent (and label) → faces; see `gan.networks`.
        discriminator: Faces (and label) → logits.
        images: (N, 3, H, W) uint8 RGB training faces.
        labels: (N,) int64 classes for networks with labels, or None.
        loss: Of both players; see `gan.losses`.
        regularisers: Penalties beside it; see `gan.regularisers`.
        augmentation: What the discriminator's input goes through.
        alternating: Whether the generator is always judged by the discriminator as it is after
            its own step, on faces from new latents (protocol 1). Otherwise both learn from one
            pass where loss and discriminator allow that, which saves a quarter of the arithmetic.
        passes: Whether real faces are taken in passes, each face once in a random order;
            otherwise drawn with replacement.
        warm_steps: Steps before the adversarial ones in which the generator learns to draw the
            training faces from their eigenface codes.
        steps: Adversarial steps.
        head_start: The first of them, in which only the discriminator learns; the generator's
            learning rate then rises for as long. Keeps an untrained discriminator from spoiling
            what the warm steps taught.
        decay: Whether the learning rates go down over the second half of the adversarial steps.
        tick_steps: Steps in an epoch.
        batch_size: Faces a step, real and generated each, on all devices together.
        learning_rate: Of both networks' Adam.
        betas: Of both networks' Adam.
        lazy_adam: Whether learning rate and betas of a network are corrected for the additional
            updates that a lazy regulariser makes (Karras et al. 2020, appendix B).
        mirror: Whether real faces are mirrored half of the time.
        ema_decay: Of the generator's moving average, a step; 0 for no averaging. Running
            statistics (buffers) are copied, not averaged.
        seed: Which random training.

    Raises:
        ValueError: If the parts do not fit each other.
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
        loss: Loss,
        regularisers: Sequence[Regulariser],
        augmentation: Augmentation,
        alternating: bool,
        passes: bool,
        warm_steps: int,
        steps: int,
        head_start: int,
        decay: bool,
        tick_steps: int,
        batch_size: int,
        learning_rate: float,
        betas: Sequence[float],
        lazy_adam: bool,
        mirror: bool,
        ema_decay: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        for regulariser in regularisers:
            regulariser.check(generator, discriminator)
        if isinstance(loss, Wasserstein) and not any(
            isinstance(regulariser, GradientPenalty) for regulariser in regularisers
        ):
            raise ValueError(
                "the Wasserstein loss bounds nothing by itself: put a "
                "gan.regularisers.GradientPenalty among gan.regularisers (as gan=wgan_gp does)"
            )
        # a network that comes from a file is in evaluation mode
        self.generator = generator.train().to(memory_format=torch.channels_last)
        self.discriminator = discriminator.train().to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(generator).requires_grad_(False)
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("codes", None, persistent=False)
        self.loss, self.augmentation = loss, augmentation
        self.regularisers = nn.ModuleList(regularisers)
        self.shares_a_pass = (
            not alternating and discriminator.independent and loss.ratio(torch.zeros(1)) is not None
        )
        self.warm_steps, self.steps, self.tick_steps = warm_steps, steps, tick_steps
        self.head_start, self.decay, self.passes = head_start, decay, passes
        self.batch_size, self.seed = batch_size, seed
        self.settings = {
            player: adam_settings(learning_rate, betas, self._periods(player) if lazy_adam else [])
            for player in ("generator", "discriminator")
        }
        self.mirror, self.ema_decay = mirror, ema_decay
        self.step = 0
        self.rollbacks: list[dict[str, int]] = []  # each halves the learning rate
        self.losses: dict[str, torch.Tensor] = {}

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.warm_steps + self.steps

    @property
    def classes(self) -> int:
        """Labels of the networks, or 0."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def on_train_start(self) -> None:
        """Let the moving average draw with the running statistics that it was given."""
        self.ema.eval()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Adam for the generator and for the discriminator."""
        networks = (self.generator, self.discriminator)
        first, second = (
            torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=True)
            for network, (rate, betas) in zip(networks, self.settings.values(), strict=True)
        )
        return first, second

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Update the networks once, and the moving average."""
        del batch, batch_idx
        step = self.step
        if step >= self.total_steps:  # the last tick may be a short one
            return
        chance = step_chance(self.seed, step, rank=self.global_rank, attempt=len(self.rollbacks))
        self._set_learning_rate(step)
        if step < self.warm_steps:
            self._learn_codes(chance)
        else:
            self._play(chance)
        # short memory at first, or the average would long hold the untrained start
        decay = min(self.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = zip(self.ema.parameters(), self.generator.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1 - decay)
            buffers = zip(self.ema.buffers(), self.generator.buffers(), strict=True)
            for copied, buffer in buffers:
                copied.copy_(buffer)
        self.step = step + 1

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, as tensors and plain values."""
        return {
            "step": self.step,
            "rollbacks": copy.deepcopy(self.rollbacks),
            "parts": {name: part.state_dict() for name, part in self._parts().items()},
            "optimizers": [optimizer.optimizer.state_dict() for optimizer in self._pair()],
            # a penalty that is rarer than a tick is noted at every tick all the same
            "losses": dict(self.losses),
        }

    def restore(self, state: dict[str, Any], *, optimizers: bool = True) -> None:
        """Go back to what `state` returned.

        Args:
            state: The state, on any device.
            optimizers: Whether training goes on; False where only the networks are wanted.

        Raises:
            ValueError: If it is the state of other networks.
        """
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state["parts"][name])
            if optimizers:
                for optimizer, saved in zip(self._pair(), state["optimizers"], strict=True):
                    optimizer.optimizer.load_state_dict(saved)
            self.step, self.rollbacks = int(state["step"]), list(state["rollbacks"])
            self.losses = dict(state["losses"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"the state is that of another architecture: {reason}") from error

    def _parts(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "augmentation": self.augmentation,
            "regularisers": self.regularisers,
        }

    def _pair(self) -> list[LightningOptimizer]:
        """The optimizers of generator and discriminator."""
        pair = self.optimizers()
        assert isinstance(pair, list)
        return pair

    def _update(self, optimizer: LightningOptimizer) -> None:
        """One step of an optimizer, by the mean gradient over all devices."""
        if self.trainer.world_size > 1:
            for group in optimizer.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        torch.distributed.all_reduce(parameter.grad)
                        parameter.grad /= self.trainer.world_size
        optimizer.step()

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
        self._update(for_generator)
        self.losses = {"loss_codes": loss.detach()}

    def _play(self, chance: torch.Generator) -> None:
        real, label = self._faces(*self._choice(chance))
        turns = self._one_pass if self.shares_a_pass else self._two_passes
        turn = turns(real, label, chance)
        optimizers = dict(zip(self.settings, self._pair(), strict=True))
        played = self.step - self.warm_steps
        for regulariser in self._due(every_step=False):
            if played % regulariser.every == 0:
                optimizer = optimizers[regulariser.player]
                optimizer.zero_grad()
                self._penalise(regulariser, turn)
                self._update(optimizer)

    def _one_pass(
        self, real: torch.Tensor, label: torch.Tensor | None, chance: torch.Generator
    ) -> Turn:
        """One pass forwards and backwards through the discriminator serves both networks."""
        for_generator, for_discriminator = self._pair()
        fake = self.generator(self._latents(real, chance), label, chance)
        seen = fake.detach().requires_grad_()
        logits = self.discriminator(self.augmentation(seen, chance), label)
        real_logits = self.discriminator(self.augmentation(real, chance), label)
        turn = self._turn(real, seen.detach(), label, chance)
        loss = self.loss.discriminator(real_logits, logits)
        for_discriminator.zero_grad()
        self.manual_backward(loss)
        self._penalise_each_step("discriminator", turn)
        self._update(for_discriminator)
        for_generator.zero_grad()
        ratio = self.loss.ratio(logits.detach())
        assert seen.grad is not None
        assert ratio is not None
        fake.backward(generator_gradient(seen.grad, ratio))
        self._penalise_each_step("generator", turn)
        self._update(for_generator)
        self._note(loss, self.loss.generator(logits.detach()), real_logits, logits)
        return turn

    def _two_passes(
        self, real: torch.Tensor, label: torch.Tensor | None, chance: torch.Generator
    ) -> Turn:
        """The discriminator learns; then the generator, judged by the frozen discriminator."""
        for_generator, for_discriminator = self._pair()
        with torch.no_grad():
            fake = self.generator(self._latents(real, chance), label, chance)
        logits = self.discriminator(self.augmentation(fake, chance), label)
        real_logits = self.discriminator(self.augmentation(real, chance), label)
        turn = self._turn(real, fake, label, chance)
        loss = self.loss.discriminator(real_logits, logits)
        for_discriminator.zero_grad()
        self.manual_backward(loss)
        self._penalise_each_step("discriminator", turn)
        self._update(for_discriminator)
        with _frozen(self.discriminator):
            faces = self.generator(self._latents(real, chance), label, chance)
            judged = self.discriminator(self.augmentation(faces, chance), label)
            for_generator_loss = self.loss.generator(judged)
            for_generator.zero_grad()
            self.manual_backward(for_generator_loss)
            self._penalise_each_step("generator", turn)
        self._update(for_generator)
        self._note(loss, for_generator_loss, real_logits, logits)
        return turn

    def _turn(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        label: torch.Tensor | None,
        chance: torch.Generator,
    ) -> Turn:
        return Turn(
            generator=self.generator,
            discriminator=self.discriminator,
            real=real,
            fake=fake,
            label=label,
            augment=lambda x: self.augmentation(x, chance),
            chance=chance,
        )

    def _latents(self, like: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
        return torch.randn(len(like), self.generator.z_dim, generator=chance).to(like)

    def _due(self, *, every_step: bool) -> Iterator[Regulariser]:
        for regulariser in self.regularisers:
            assert isinstance(regulariser, Regulariser)
            if (regulariser.every == 1) == every_step:
                yield regulariser

    def _penalise_each_step(self, player: str, turn: Turn) -> None:
        for regulariser in self._due(every_step=True):
            if regulariser.player == player:
                self._penalise(regulariser, turn)

    def _penalise(self, regulariser: Regulariser, turn: Turn) -> None:
        penalty = regulariser(turn)
        self.manual_backward(penalty * regulariser.every)
        self.losses[f"penalty_{regulariser.name}"] = penalty.detach()

    def _note(
        self,
        loss: torch.Tensor,
        generator_loss: torch.Tensor,
        real_logits: torch.Tensor,
        logits: torch.Tensor,
    ) -> None:
        self.losses.pop("loss_codes", None)
        self.losses |= {
            "loss_discriminator": loss.detach(),
            "loss_generator": generator_loss.detach(),
            "logit_real": real_logits.detach().mean(),
            "logit_fake": logits.detach().mean(),
        }
        seen = real_logits.detach()
        if self.trainer.world_size > 1:
            gathered = [torch.empty_like(seen) for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather(gathered, seen)
            seen = torch.cat(gathered)
        self.augmentation.observe(seen)

    def _choice(self, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of this step's real faces, and which of them are mirrored (0 or 1)."""
        size = self.batch_size // self.trainer.world_size
        if self.passes:
            rows = self._next_of_pass()[self.global_rank * size : (self.global_rank + 1) * size]
        else:
            rows = torch.randint(len(self.images), (size,), generator=chance)
        flipped = torch.randint(2, (size,), generator=chance) * self.mirror
        return rows.to(self.device), flipped.to(self.device)

    def _next_of_pass(self) -> torch.Tensor:
        """This step's (batch_size,) rows; the last batch of a pass is filled from its start."""
        count = len(self.images)
        number, place = divmod(self.step, -(-count // self.batch_size))
        order = np.random.default_rng([self.seed, number]).permutation(count)
        places = np.arange(place * self.batch_size, (place + 1) * self.batch_size) % count
        return torch.from_numpy(order[places])

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
        rate *= 0.5 ** len(self.rollbacks)
        for_generator, for_discriminator = self._pair()
        for_discriminator.param_groups[0]["lr"] = self.settings["discriminator"][0] * rate
        for_generator.param_groups[0]["lr"] = self.settings["generator"][0] * rate * rise

    def _periods(self, player: str) -> list[int]:
        """Periods of the regularisers of a player that have steps of their own."""
        return [each.every for each in self._due(every_step=False) if each.player == player]


def adam_settings(
    learning_rate: float, betas: Sequence[float], periods: Sequence[int]
) -> tuple[float, tuple[float, float]]:
    """Return Adam's learning rate and betas for a network with lazy regularisers.

    Each of them adds an update every `period` steps. With c = steps / (steps + added updates),
    c·λ and βᶜ keep what Adam does over that time (Karras et al. 2020, appendix B).
    """
    c = 1 / (1 + sum(1 / period for period in periods))
    return learning_rate * c, (betas[0] ** c, betas[1] ** c)


def step_chance(seed: int, step: int, *, rank: int = 0, attempt: int = 0) -> torch.Generator:
    """Return the source of a step's chance.

    Args:
        seed: Of the training.
        step: From 0 on.
        rank: Which device: each draws its own faces and latents.
        attempt: How often training was rolled back before: the same draws would lead to the
            same end.
    """
    key = seed * 1_000_003 + step
    if rank or attempt:
        # torch's generator looks at the lower 32 bits of a seed only
        key = int(np.random.SeedSequence([seed, step, rank, attempt]).generate_state(1)[0])
    return torch.Generator().manual_seed(key)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network, without computing those of its weights."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
