"""Train a GAN: a trunk on all emotions, or one emotion's own, from scratch or from the trunk."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch

from curation.corpus import Corpus
from gan.augmentation import Augmentation
from gan.checkpoint import generator_hash, load_network, save_networks, trunk_emotions
from gan.losses import Loss
from gan.networks import Discriminator, Generator, Network
from gan.regularisers import Regulariser
from gan.watch import Faces, Observer, Watch

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)

# fewer validation faces than this cannot tell one generator from another
FEWEST_VALIDATION = 16
Built = TypeVar("Built", Generator, Discriminator)


def train(
    *,
    corpus: Path,
    emotions: Sequence[str],
    generator: Callable[..., Generator],
    discriminator: Callable[..., Discriminator],
    loss: Loss,
    regularisers: Sequence[Regulariser],
    augmentation: Augmentation,
    out: Path,
    alternating: bool,
    passes: bool,
    warm_steps: int | str,
    steps: int | str,
    head_start: int,
    decay: bool,
    batch_size: int,
    learning_rate: float,
    betas: Sequence[float],
    lazy_adam: bool,
    mirror: bool,
    ema_decay: float,
    tick_steps: int | str,
    keep_from: int | str | None,
    watch: Watch | None,
    rollbacks: int,
    min_images: int,
    precision: str,
    seed: int,
    trunk: Path | None = None,
    freeze: int = 0,
    extra: Path | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    loggers: Mapping[str, Callable[..., "Logger"]] | None = None,
) -> dict[str, Any]:
    """Train one GAN on the real training faces of a standardised corpus.

    With several emotions the networks are conditional. With one they are plain, and may start
    from a trunk, which is specialised to that emotion without loss (see `gan.dcgan`).

    Lengths (`warm_steps`, `steps`, `tick_steps`, `keep_from`, `watch.first`) are steps, or passes
    over the training faces of ⌈faces / batch_size⌉ steps each: ``"2000 epochs"``.

    Args:
        corpus: The standardised corpus; of its rows only real faces of split ``train`` are
            learned, and those of ``validation`` looked at by `watch`.
        emotions: What to learn.
        generator: Builds the generator, given ``labels``.
        discriminator: Builds the discriminator, given ``labels``.
        loss: Of both players; see `gan.losses`.
        regularisers: Penalties beside the loss; see `gan.regularisers`.
        augmentation: What the discriminator sees changed.
        out: Folder to fill. If a killed training left its state there, it goes on from that.
        alternating: See `gan.module.GanModule`, as for all not named here.
        passes: Whether each face is seen once an epoch, not drawn at random.
        warm_steps: Before the adversarial steps.
        steps: Adversarial steps.
        head_start: Of the discriminator, in steps.
        decay: Whether the learning rates go down in the second half.
        batch_size: Faces a step, on all devices together.
        learning_rate: Of both networks.
        betas: Of Adam.
        lazy_adam: Whether these are corrected for lazy regularisers.
        mirror: Whether to mirror real faces; not for emotions that look different mirrored.
        ema_decay: Of the moving average.
        tick_steps: Between two sample grids, lines of ``metrics.csv`` and saved states.
        keep_from: Where the generators of every tick begin to be kept; None for never.
        watch: Measures samples at the ticks, and chooses the networks by that; see `gan.watch`.
        rollbacks: How often a divergence may send training back to the last good tick, with
            half the learning rate.
        min_images: Fewer training faces than this for an emotion are refused.
        precision: Lightning's: ``32-true``, ``bf16-mixed``, or ``auto``: bfloat16 where the
            device computes with it, else float32.
        seed: Which random training.
        trunk: Folder of a GAN to start from: a conditional one that knows the emotion, or one
            without classes, such as an imported checkpoint.
        freeze: How many of the trunk's first discriminator layers stay as they are
            (`gan.networks.Discriminator.freeze`).
        extra: Another standardised corpus, cut as the first, whose training faces join. They
            are learned from, and otherwise go nowhere.
        accelerator: Lightning's.
        devices: Lightning's. Each device draws its own share of every batch.
        loggers: Name → builder of a Lightning logger, beside ``metrics.csv``.

    Returns:
        Faces by emotion and how many of them are extra, steps, the generator's hash, the last
        losses, roll-backs, an early end, and what the choice of networks rests on.

    Raises:
        ValueError: If an emotion has too few faces, the parts do not fit each other or the
            faces, or training diverged.
    """
    # Lightning takes seconds to import, and most commands never train
    from gan.loop import STATE, fit
    from gan.module import GanModule

    source = Corpus(corpus)
    source.require_emotions(emotions, minimum=min_images, key="gan.min_images")
    order = [emotion for emotion in source.emotions if emotion in emotions]
    conditional = len(order) > 1
    faces, counts = _faces(source, order, "train")
    added: dict[str, int] = {}
    if extra is not None:
        faces, added = _with_extra(faces, source, Corpus(extra), order)
    networks = _networks(generator, discriminator, order, trunk, seed)
    if freeze and trunk is None:
        raise ValueError(
            f"gan.freeze is {freeze}, but layers that start from chance would stay chance; name a "
            "trunk (gan.from_trunk), or set gan.freeze=0"
        )
    networks["discriminator"].freeze(freeze)
    for name, network in networks.items():
        if network.size != faces.images.shape[-1]:
            raise ValueError(
                f"the faces of {corpus} are {faces.images.shape[-1]} px, the {name} is made for "
                f"{network.size}; set both by size"
            )

    def length(amount: int | str, key: str) -> int:
        return in_steps(amount, faces=len(faces.images), batch_size=batch_size, key=f"gan.{key}")

    module = GanModule(
        networks["generator"],
        networks["discriminator"],
        faces.images,
        faces.labels,
        loss=loss,
        regularisers=regularisers,
        augmentation=augmentation,
        alternating=alternating,
        passes=passes,
        warm_steps=length(warm_steps, "warm_steps"),
        steps=length(steps, "steps"),
        head_start=head_start,
        decay=decay,
        tick_steps=length(tick_steps, "tick_steps"),
        batch_size=batch_size,
        learning_rate=learning_rate,
        betas=betas,
        lazy_adam=lazy_adam,
        mirror=mirror,
        ema_decay=ema_decay,
        seed=seed,
    )
    observer = None
    if watch is not None:
        observer = Observer(
            watch,
            _to_measure(source, order, faces),
            mirror=mirror,
            first=length(watch.first, "watch.first"),
            seed=seed,
        )
    facts = fit(
        module,
        out,
        label="trunk" if conditional else order[0],
        precision=precision,
        accelerator=accelerator,
        devices=devices,
        observer=observer,
        rollbacks=rollbacks,
        keep_from=None if keep_from is None else length(keep_from, "keep_from"),
        loggers=loggers or {},
    )
    save_networks(
        out,
        {"generator": module.ema, "discriminator": module.discriminator},
        emotions=order,
    )
    (out / STATE).unlink()
    return {
        "emotions": order,
        "images": len(faces.images),
        "images_by_emotion": counts,
        "extra": added,
        "steps": module.steps,
        "generator": generator_hash(out),
        **facts,
    }


def in_steps(amount: int | str, *, faces: int, batch_size: int, key: str) -> int:
    """Return a length of training in steps.

    Args:
        amount: Steps, or ``"<n> epochs"``: passes over the training faces, each of
            ⌈faces / batch_size⌉ steps.
        faces: Number of training faces.
        batch_size: Faces a step.
        key: What to call the amount in an error.

    Raises:
        ValueError: If the amount is negative or no such length.
    """
    if isinstance(amount, int) and amount >= 0:
        return amount
    number, _, unit = str(amount).strip().partition(" ")
    if not number.isdigit() or unit != "epochs":
        raise ValueError(f"{key} is {amount!r}; give steps (1000) or passes ('500 epochs')")
    return int(number) * -(-faces // batch_size)


def _faces(source: Corpus, order: list[str], split: str) -> tuple[Faces, dict[str, int]]:
    """Return the real faces of a split, and how many there are of each emotion."""
    facts = source.facts
    chosen = (facts["split"] == split) & (facts["origin"] == "real") & facts["emotion"].isin(order)
    # a face whose label is doubted teaches no emotion (curation.labels)
    chosen &= facts["keep"].fillna(True).astype(bool)
    images = torch.from_numpy(source.images(chosen.to_numpy()).copy())
    rows = facts[chosen]
    labels = None
    if len(order) > 1:
        labels = torch.tensor([order.index(name) for name in rows["emotion"]])
    people = rows["subject"].where(rows["subject"].notna(), rows["id"]).to_numpy(dtype=str)
    counts = {emotion: int((rows["emotion"] == emotion).sum()) for emotion in order}
    return Faces(images, labels, people, split), counts


def _with_extra(
    faces: Faces, source: Corpus, extra: Corpus, order: list[str]
) -> tuple[Faces, dict[str, int]]:
    """Append the training faces of a second corpus, none of which may be a test face's."""
    tested = source.facts.query("split != 'train'")
    for column in ("id", "subject"):
        if same := set(tested[column].dropna()) & set(extra.facts[column].dropna()):
            raise ValueError(
                f"{column} {min(same)!r} of the extra faces in {extra.path} is also among those "
                f"held out in {source.path}; take it away (gan.extra)"
            )
    known = [emotion for emotion in order if (extra.facts["emotion"] == emotion).any()]
    if not known:
        log.warning("%s has no extra face of %s (gan.extra)", extra.path, ", ".join(order))
        return faces, dict.fromkeys(order, 0)
    more, counts = _faces(extra, order, "train")
    if more.images.shape[1:] != faces.images.shape[1:]:
        raise ValueError(
            f"the extra faces of {extra.path} are {more.images.shape[-1]} px, those of "
            f"{source.path} {faces.images.shape[-1]} px; standardise both alike (gan.extra)"
        )
    labels = None
    if faces.labels is not None and more.labels is not None:
        labels = torch.cat([faces.labels, more.labels])
    people = np.concatenate([faces.subjects, more.subjects])
    return Faces(torch.cat([faces.images, more.images]), labels, people, "train"), counts


def _to_measure(source: Corpus, order: list[str], trained: Faces) -> Faces:
    """Return validation faces if each emotion has enough of them, else those of training."""
    facts: pd.DataFrame = source.facts
    held = facts[(facts["split"] == "validation") & (facts["origin"] == "real")]
    counts = held["emotion"].value_counts()
    if min(int(counts.get(emotion, 0)) for emotion in order) < FEWEST_VALIDATION:
        return trained
    return _faces(source, order, "validation")[0]


def _networks(
    generator: Callable[..., Generator],
    discriminator: Callable[..., Discriminator],
    emotions: list[str],
    trunk: Path | None,
    seed: int,
) -> dict[str, Any]:
    """Build generator and discriminator, or take them from a trunk that fits the settings."""
    labels = len(emotions) if len(emotions) > 1 else 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = {
            "generator": generator(labels=labels),
            "discriminator": discriminator(labels=labels),
        }
    if trunk is None:
        return built
    (emotion,) = emotions
    known = trunk_emotions(trunk)
    if known and emotion not in known:
        raise ValueError(
            f"trunk {trunk} learned {', '.join(known)}, not {emotion!r}; "
            "train a trunk with it among emotions"
        )
    found = {name: load_network(trunk, name) for name in built}
    if found["generator"].arguments["labels"]:
        label = known.index(emotion)
        found = {name: network.specialised(label) for name, network in found.items()}
    for name, network in built.items():
        _require_alike(found[name], network, f"{name} of trunk {trunk}")
    return found


def _require_alike(found: Network, wanted: Network, name: str) -> None:
    """Raise a ValueError that says how a network differs from the settings, if it does."""
    if type(found) is not type(wanted):
        raise ValueError(
            f"the {name} is a {type(found).__module__}.{type(found).__name__}, the settings ask "
            f"for a {type(wanted).__module__}.{type(wanted).__name__}; take the settings that the "
            "trunk was trained with (gan=...)"
        )
    differ = [
        (key, _shown(found.arguments.get(key)), _shown(wanted.arguments.get(key)))
        for key in sorted(found.arguments.keys() | wanted.arguments.keys())
        if found.arguments.get(key) != wanted.arguments.get(key)
    ]
    if differ:
        told = ", ".join(f"{key} {theirs}, not {ours}" for key, theirs, ours in differ)
        kind = name.split()[0]
        # the size is everybody's
        keys = ("size" if key == "size" else f"gan.{kind}.{key}" for key, _, _ in differ)
        way = " ".join(f"{key}={theirs}" for key, (_, theirs, _) in zip(keys, differ, strict=True))
        raise ValueError(f"the {name} has {told} as the settings ask; set {way}")


def _shown(value: object) -> object:
    """Return a value as the command line takes it."""
    return "null" if value is None else value
