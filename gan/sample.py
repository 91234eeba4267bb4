"""Sample: faces drawn from trained generators, each row of which can be drawn again."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.corpus import Corpus, content_id, write_corpus
from curation.progress import track
from gan.checkpoint import generator_hash, load_generator
from gan.networks import Generator
from gan.pixels import to_pixels

log = logging.getLogger(__name__)


@torch.no_grad()
def draw(generator: Generator, seed: int, truncation: float = 1.0) -> np.ndarray:
    """Draw one face.

    One face at a time, in float32: convolution sums in another order for another batch size, and
    a published face must come out the same whoever draws it again.

    Args:
        generator: On the CPU, in evaluation mode.
        seed: Of the latent.
        truncation: In (0, 1], under 1 for more typical faces (`Generator.truncated`).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    face = to_pixels(generator.truncated(z, truncation))[0]
    return face.permute(1, 2, 0).contiguous().numpy()


def face_seed(seed: int, emotion: str, number: int) -> int:
    """Return the 63-bit seed of one face of an emotion."""
    key = [seed, number, *emotion.encode()]
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sample(
    *,
    gans: Mapping[str, Path],
    corpus: Path,
    per_emotion: int,
    truncation: float,
    seed: int,
    out: Path,
) -> dict[str, Any]:
    """Draw faces of every emotion.

    Args:
        gans: Emotion → folder of its trained GAN.
        corpus: What they learned from; the faces are filed under its training database.
        per_emotion: Faces an emotion.
        truncation: See `draw`.
        seed: See `face_seed`.
        out: Empty folder to fill.

    Returns:
        Counts and the hash of each emotion's generator.
    """
    if per_emotion < 1:
        raise ValueError(f"per_emotion is {per_emotion}; it must be 1 or more")
    if not 0 < truncation <= 1:
        raise ValueError(f"gan.truncation is {truncation}; it must lie in (0, 1]")
    databases = Corpus(corpus).facts.query("split == 'train'")["database"].unique()
    hashes = {emotion: generator_hash(folder) for emotion, folder in gans.items()}

    def rows() -> Iterator[dict[str, Any]]:
        for emotion, folder in gans.items():
            generator = load_generator(folder)
            for number in range(per_emotion):
                chance = face_seed(seed, emotion, number)
                face = draw(generator, chance, truncation)
                yield {
                    "image": face,
                    "id": content_id(face),
                    "emotion": emotion,
                    "database": "+".join(databases),
                    "source": f"{hashes[emotion]}/{chance}",
                    "split": "train",
                    "origin": "gan",
                    "generator": hashes[emotion],
                    "seed": chance,
                    "truncation": truncation,
                }

    total = write_corpus(track(rows(), label="sample", total=len(gans) * per_emotion), out, [*gans])
    return {"rows": total, "generators": hashes}
