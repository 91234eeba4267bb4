"""The command ``affectory project``: how near does a generator come to a given face?

A latent is sought whose face is like the one that is given: in W for StyleGAN2, as Karras et al.
2020 do it (arXiv:1912.04958, section 5 and appendix D: from the mean latent, with noise that fades,
Adam with a learning rate that rises and falls), in z near its sphere for a DCGAN. Two things are
left out of the paper's way. Noise maps stay as they are: optimised, they would carry part of the
picture that the latent does not. And its perceptual distance needs a network's weights; here it is
the mean absolute difference over a Laplacian pyramid (Ling and Okada 2006, as in Bojanowski et al.
2018, arXiv:1707.05776): colours and edges at every scale. It knows nothing of faces, so it says how
alike two pictures are, not how alike two people.

For looking into memorisation: a generator that reaches its training faces as well as its own
samples, and held-out faces much worse, has learned them by heart. One face alone proves nothing
(Webster et al. 2019, arXiv:1901.03396): compare training with held-out faces, several of each.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors.torch import save_file
from torch.nn import functional as F

from curation.artifact import write_json
from curation.corpus import decode_png
from curation.progress import track
from gan.checkpoint import generator_hash, load_generator, trunk_emotions
from gan.grids import side_by_side, write_grid
from gan.networks import Generator
from gan.pixels import to_network, to_pixels
from gan.rows import find_rows

log = logging.getLogger(__name__)

STEPS = 500
DRAWS = 2000  # to know where latents lie
SMALLEST = 8  # pixels of the pyramid's coarsest picture
NOISE, NOISE_UNTIL = 0.05, 0.75  # Karras et al. 2020, appendix D
RATE, RISE, FALL = 0.1, 0.05, 0.25
SHELL = 0.01  # weight of the prior on a latent's length


@dataclass(frozen=True)
class Projection:
    """What was found for some faces.

    Attributes:
        latents: (N, d) float32, what `Generator.decoded` takes.
        faces: (N, 3, H, W) uint8 RGB, drawn from them.
        distances: (N,) `pyramid_distance` to the given ones.
    """

    latents: torch.Tensor
    faces: torch.Tensor
    distances: torch.Tensor


def pyramid_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference over a Laplacian pyramid, each level counting alike.

    Args:
        one: (N, 3, S, S) in [-1, 1].
        other: The same.

    Returns:
        (N,): 0 for equal pictures; a difference of c everywhere gives c over the number of levels.
    """
    difference, levels = one - other, []
    while difference.shape[-1] >= 2 * SMALLEST and difference.shape[-1] % 2 == 0:
        coarse = F.avg_pool2d(difference, 2)
        fine = difference - F.interpolate(coarse, scale_factor=2, mode="nearest")
        levels.append(fine.abs().mean((1, 2, 3)))
        difference = coarse
    levels.append(difference.abs().mean((1, 2, 3)))
    return torch.stack(levels).mean(0)


def project(
    generator: Generator, faces: torch.Tensor, *, steps: int = STEPS, seed: int = 0, label: str = ""
) -> Projection:
    """Find latents whose faces are like the given ones; each by itself, whatever the others are.

    Args:
        generator: A plain one, in evaluation mode, on any device.
        faces: (N, 3, size, size) uint8 RGB.
        steps: Of Adam.
        seed: Of the start and the noise.
        label: Of the progress line.

    Raises:
        ValueError: If the faces are of another size, or there are no steps.
    """
    if faces.shape[1:] != (3, generator.size, generator.size):
        raise ValueError(
            f"faces of shape {tuple(faces.shape[1:])} were given to a generator of "
            f"(3, {generator.size}, {generator.size}); resize them"
        )
    if steps < 1:
        raise ValueError(f"{steps} steps are none; give 1 or more (--steps)")
    device = next(generator.parameters()).device
    target = to_network(faces).to(device)
    with torch.no_grad():
        chance = torch.Generator().manual_seed(seed)
        drawn = generator.embedded(torch.randn(DRAWS, generator.z_dim, generator=chance).to(device))
        mean = drawn.mean(0)
        sigma = float((drawn - mean).square().sum(1).mean().sqrt())
        start = (
            _nearest(generator, drawn, target)
            if generator.spherical
            else mean.expand(len(faces), -1)
        )
    latent = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], lr=RATE)
    radius = math.sqrt(latent.shape[1])
    for step in track(range(steps), label=label or "project", unit="step"):
        done = step / steps
        # one noise for every face: who else is projected changes nothing
        faded = max(0.0, 1 - done / NOISE_UNTIL) ** 2
        noise = torch.randn(latent.shape[1], generator=chance).to(device) * (NOISE * sigma * faded)
        optimizer.param_groups[0]["lr"] = RATE * _schedule(done)
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = pyramid_distance(generator.decoded(latent + noise), target)
            if generator.spherical:
                # −log density of a normal latent's length, up to a constant; 0 at its mode
                length = latent.norm(dim=1) / radius
                loss = loss + SHELL * (length.square() / 2 - length.log() - 0.5)
            (latent.grad,) = torch.autograd.grad(loss.sum(), latent)
        optimizer.step()
    with torch.no_grad():
        found = torch.cat([generator.decoded(row[None]).clamp(-1, 1) for row in latent.detach()])
        return Projection(
            latent.detach().cpu(), to_pixels(found).cpu(), pyramid_distance(found, target).cpu()
        )


def own_samples(generator: Generator, count: int, seed: int = 0) -> torch.Tensor:
    """Draw faces whose projections say what is near for this generator: (count, 3, H, W) uint8."""
    device = next(generator.parameters()).device
    chance = torch.Generator().manual_seed(seed + 1)
    z = torch.randn(count, generator.z_dim, generator=chance).to(device)
    with torch.no_grad():
        return to_pixels(generator(z)).cpu()


def read_face(path: Path, size: int) -> torch.Tensor:
    """Read a picture as a square face, (3, size, size) uint8 RGB.

    Args:
        path: A picture file, cut as the training faces were; or ``<folder>/<row id>``, a row of a
            corpus, a published folder or an experiment.
        size: Side of the face; another size is resized with antialiasing.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a row.
        ValueError: If the file is no picture, or is not square.
    """
    if path.is_file():
        try:
            with Image.open(path) as picture:
                image = ImageOps.exif_transpose(picture).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{path} is no readable picture ({error})") from error
    elif path.parent.is_dir():
        matches = find_rows(path.parent, [path.name])
        _, row = next(iter(matches))
        image = Image.fromarray(decode_png(row["image"]))
    else:
        raise FileNotFoundError(f"there is no picture {path}, nor a folder {path.parent} of faces")
    if image.width != image.height:
        raise ValueError(
            f"{path} has {image.width} × {image.height} px; a face is square: standardise it as "
            "the training faces were"
        )
    if image.width != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def _nearest(generator: Generator, drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the drawn latent whose face is nearest to each target, (N, d)."""
    best = torch.full((len(target),), math.inf, device=target.device)
    chosen = drawn[:1].repeat(len(target), 1)
    for part in drawn.split(100):
        faces = generator.decoded(part)
        for place, wanted in enumerate(target):
            distances = pyramid_distance(faces, wanted.expand_as(faces))
            nearest = int(distances.argmin())
            if distances[nearest] < best[place]:
                best[place], chosen[place] = distances[nearest], part[nearest]
    return chosen


def _schedule(done: float) -> float:
    """Share of the learning rate: up in the first twentieth, down by a cosine in the last part."""
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / FALL))
    return falling * min(1.0, (done + 1e-3) / RISE)


def main(arguments: Sequence[str]) -> int:
    """Project a face and write what was found.

    Args:
        arguments: What follows ``affectory project`` on the command line.

    Returns:
        0, or 2 if the arguments, the generator or the picture are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory project",
        description="Find the latent whose face is most like a given one, and say how near a "
        "generator comes to it, beside how near it comes to faces that it drew itself.",
    )
    parser.add_argument("gan", type=Path, help="folder of a trained GAN (out/.../gans/...)")
    parser.add_argument("faces", type=Path, nargs="+", help="pictures, or <corpus folder>/<row id>")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--emotion", help="whose network, of a GAN with labels")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the search ({STEPS})")
    parser.add_argument("--own", type=int, default=8, help="own samples to compare with (8)")
    parser.add_argument("--seed", type=int, default=0, help="of the search (0)")
    parser.add_argument("--device", default="cpu", help="where to compute, as cuda (cpu)")
    given = parser.parse_args(arguments)
    try:
        if given.out.exists():
            raise ValueError(f"{given.out} exists; name another folder (--out)")
        if given.own < 2:
            raise ValueError(f"--own is {given.own}; two samples at least make a comparison")
        generator = _plain(given.gan, given.emotion).to(given.device)
        faces = torch.stack([read_face(path, generator.size) for path in given.faces])
        own = own_samples(generator, given.own, given.seed)
        settings = {"steps": given.steps, "seed": given.seed}
        found = project(generator, faces, label="project", **settings)
        usual = project(generator, own, label="project own samples", **settings).distances
        _write(given.out, given.gan, given.faces, faces, found, usual, settings)
    except (ValueError, OSError, RuntimeError) as error:  # the last: of a device that is not there
        print(f"affectory project: {error}", file=sys.stderr)  # noqa: T201
        return 2
    mean, most = float(usual.mean()), float(usual.max())
    for path, distance in zip(given.faces, found.distances.tolist(), strict=True):
        print(f"{path}: {distance:.4f}")  # noqa: T201
    print(  # noqa: T201
        f"own samples: {mean:.4f} in the mean, {most:.4f} at most (n = {given.own})\n"
        f"{given.out.absolute()}"
    )
    return 0


def _plain(folder: Path, emotion: str | None) -> Generator:
    generator = load_generator(folder)
    if not generator.arguments.get("labels"):
        return generator
    emotions = trunk_emotions(folder)
    if emotion not in emotions:
        raise ValueError(
            f"{folder} has labels: say whose network with --emotion, one of {', '.join(emotions)}"
        )
    return generator.specialised(emotions.index(emotion)).eval()


def _write(
    out: Path,
    gan: Path,
    paths: Sequence[Path],
    faces: torch.Tensor,
    found: Projection,
    usual: torch.Tensor,
    settings: dict[str, int],
) -> None:
    out.mkdir(parents=True)
    save_file({"latents": found.latents.contiguous()}, out / "latents.safetensors")
    lines = [
        [picture.permute(1, 2, 0).numpy() for picture in pair]
        for pair in zip(faces, found.faces, strict=True)
    ]
    write_grid(side_by_side(lines), out / "projections.png")
    write_json(
        out / "projections.json",
        {
            "generator": generator_hash(gan),
            **settings,
            "distance": "mean absolute difference over a Laplacian pyramid, of faces in [-1, 1]",
            "faces": [
                {"face": str(path), "distance": distance}
                for path, distance in zip(paths, found.distances.tolist(), strict=True)
            ],
            "own_samples": {
                "n": len(usual),
                "mean": float(usual.mean()),
                "lowest": float(usual.min()),
                "highest": float(usual.max()),
            },
        },
    )
