"""Train a GAN: a trunk on all emotions, or one emotion's own, from scratch or from the trunk."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from curation.corpus import Corpus
from gan.checkpoint import generator_hash, load_network, save_networks, trunk_emotions
from gan.networks import Discriminator, Generator

log = logging.getLogger(__name__)


def train(
    *,
    corpus: Path,
    emotions: Sequence[str],
    generator: Callable[..., Generator],
    discriminator: Callable[..., Discriminator],
    out: Path,
    warm_steps: int,
    steps: int,
    head_start: int,
    decay: bool,
    batch_size: int,
    learning_rate: float,
    betas: Sequence[float],
    r1_gamma: float,
    r1_every: int,
    augmentations: Sequence[str],
    mirror: bool,
    ema_decay: float,
    tick_steps: int,
    min_images: int,
    precision: str,
    seed: int,
    trunk: Path | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
) -> dict[str, Any]:
    """Train one GAN on the real training faces of a standardised corpus.

    With several emotions the networks are conditional. With one they are plain, and may start
    from a trunk, which is specialised to that emotion without loss (see `gan.dcgan`).

    Args:
        corpus: The standardised corpus; only its rows of split ``train`` are read.
        emotions: What to learn.
        generator: Builds the generator, given ``labels``.
        discriminator: Builds the discriminator, given ``labels``.
        out: Folder to fill. If a killed training left its state there, it goes on from that.
        warm_steps: See `gan.module.GanModule`, as for all not named here.
        steps: Adversarial steps.
        head_start: Of the discriminator, in steps.
        decay: Whether the learning rates go down in the second half.
        batch_size: Faces a step.
        learning_rate: Of both networks.
        betas: Of Adam.
        r1_gamma: Weight of the gradient penalty.
        r1_every: Steps between penalties.
        augmentations: What the discriminator sees changed.
        mirror: Whether to mirror real faces; not for emotions that look different mirrored.
        ema_decay: Of the moving average.
        tick_steps: Steps between two sample grids, lines of ``metrics.csv`` and saved states.
        min_images: Fewer training faces than this for an emotion are refused.
        precision: Lightning's: ``32-true``, ``bf16-mixed``, or ``auto``: bfloat16 where the
            device computes with it, else float32.
        seed: Which random training.
        trunk: Folder of a trunk to start from.
        accelerator: Lightning's.
        devices: Lightning's.

    Returns:
        Faces, steps, the generator's hash, and the last losses.

    Raises:
        ValueError: If an emotion has too few faces, the size does not fit, or training diverged.
    """
    # Lightning takes seconds to import, and most commands never train
    from gan.loop import fit
    from gan.module import GanModule

    source = Corpus(corpus)
    source.require_emotions(emotions, minimum=min_images, key="gan.min_images")
    facts = source.facts
    chosen = (
        (facts["split"] == "train") & (facts["origin"] == "real") & facts["emotion"].isin(emotions)
    )
    images = torch.from_numpy(source.images(chosen.to_numpy()).copy())
    order = [emotion for emotion in source.emotions if emotion in emotions]
    conditional = len(order) > 1
    labels = None
    if conditional:
        labels = torch.tensor([order.index(name) for name in facts.loc[chosen, "emotion"]])
    networks = _networks(generator, discriminator, order, trunk, seed)
    if networks["generator"].size != images.shape[-1]:
        raise ValueError(
            f"the faces of {corpus} are {images.shape[-1]} px, the networks made for "
            f"{networks['generator'].size}; set both by size"
        )

    module = GanModule(
        networks["generator"],
        networks["discriminator"],
        images,
        labels,
        warm_steps=warm_steps,
        steps=steps,
        head_start=head_start,
        decay=decay,
        tick_steps=tick_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        betas=betas,
        r1_gamma=r1_gamma,
        r1_every=r1_every,
        augmentations=augmentations,
        mirror=mirror,
        ema_decay=ema_decay,
        seed=seed,
    )
    losses = fit(
        module,
        out,
        label="trunk" if conditional else order[0],
        precision=precision,
        accelerator=accelerator,
        devices=devices,
    )
    save_networks(
        out,
        {"generator": module.ema, "discriminator": module.discriminator},
        emotions=order,
    )
    return {
        "emotions": order,
        "images": len(images),
        "steps": steps,
        "generator": generator_hash(out),
        "losses": losses,
    }


def _networks(
    generator: Callable[..., Generator],
    discriminator: Callable[..., Discriminator],
    emotions: list[str],
    trunk: Path | None,
    seed: int,
) -> dict[str, Any]:
    if trunk is None:
        labels = len(emotions) if len(emotions) > 1 else 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return {
                "generator": generator(labels=labels),
                "discriminator": discriminator(labels=labels),
            }
    (emotion,) = emotions
    known = trunk_emotions(trunk)
    if emotion not in known:
        raise ValueError(
            f"trunk {trunk} learned {', '.join(known)}, not {emotion!r}; "
            "train a trunk with it among emotions"
        )
    label = known.index(emotion)
    return {
        name: load_network(trunk, name).specialised(label)
        for name in ("generator", "discriminator")
    }
