"""The command ``affectory walk``: a film of faces that change into each other.

A generator that has learned what faces are changes them gradually; one that has learned some
faces by heart jumps between them. The way is closed, so that the film can be looped.

It leads where faces change most evenly. For StyleGAN2 that is W, not z: the mapping network
unfolds z, which it had to bend into the shape of the training data (Karras et al. 2019,
arXiv:1812.04948, section 4.1, where paths in W are the shorter ones, measured by eye), so that
even steps in z are uneven ones in what is seen; and truncation is a straight pull in W. A DCGAN has
only z. Latents of many dimensions have nearly one length, so there the way stays on the sphere.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.interpolate import CubicSpline

from curation.progress import track
from gan.checkpoint import load_generator, trunk_emotions
from gan.grids import PLAIN_ROWS
from gan.networks import Generator
from gan.pixels import to_pixels

log = logging.getLogger(__name__)
COLUMNS = 4
ENLARGED = 128  # pixels that a face gets at least in an mp4, which halves the resolution of colours
GIF_FPS = 50  # viewers slow down what asks for more


def closed_way(stops: np.ndarray, count: int, *, spherical: bool) -> np.ndarray:
    """Return points of a smooth closed way through some latents, evenly spaced in time.

    A periodic cubic spline: position, velocity and acceleration are continuous, also from the
    last point to the first.

    Args:
        stops: (S, N, d) latents to pass, S ≥ 2, of N ways.
        count: Number of points. With a multiple of S the stops are among them.
        spherical: Whether to turn from stop to stop at a length between theirs instead of cutting
            through the inside of the sphere.

    Returns:
        (count, N, d) float32; the first point is the first stop.

    Raises:
        ValueError: If there are fewer than two stops, or fewer points than stops.
    """
    if not 2 <= len(stops) <= count:
        raise ValueError(
            f"a way through {len(stops)} stops in {count} frames is impossible; give 2 stops or "
            "more (--stops), and no fewer frames than stops (--seconds, --fps)"
        )
    times = np.arange(count) * len(stops) / count

    def spline(values: np.ndarray) -> np.ndarray:
        ring = np.concatenate([values, values[:1]]).astype(np.float64)
        return CubicSpline(np.arange(len(ring)), ring, bc_type="periodic")(times)

    if not spherical:
        return spline(stops).astype(np.float32)
    lengths = np.linalg.norm(stops, axis=2, keepdims=True)
    directions = spline(stops / lengths)
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    return (directions * spline(lengths)).astype(np.float32)


def walk(
    generator: Generator,
    *,
    frames: int,
    rows: int = PLAIN_ROWS,
    columns: int = COLUMNS,
    stops: int = 6,
    truncation: float = 1.0,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Draw a closed walk, one grid of faces after the other.

    Args:
        generator: In evaluation mode, on any device.
        frames: How many grids.
        rows: Of a plain network. One with labels has a row for each, all of them on the same way.
        columns: Faces in a row, each on a way of its own.
        stops: Latents that each way passes, drawn as `gan.sample` draws them.
        truncation: In (0, 1]; see `Generator.truncated`.
        seed: Which walk.

    Yields:
        (rows · H, columns · W, 3) uint8 RGB.

    Raises:
        ValueError: If a number is impossible.
    """
    if not 0 < truncation <= 1:
        raise ValueError(f"truncation is {truncation}; it must lie in (0, 1] (--truncation)")
    if min(rows, columns) < 1:
        raise ValueError(f"a grid of {rows} × {columns} faces is impossible (--rows, --columns)")
    labels = generator.arguments.get("labels", 0)
    lines = [generator.specialised(label).eval() for label in range(labels)] or [generator] * rows
    z = np.stack(
        [
            # the rows of a network with labels show the same people
            [_latent([seed, stop, 0 if labels else row, column], generator.z_dim)]
            for stop in range(stops)
            for row in range(len(lines))
            for column in range(columns)
        ]
    ).reshape(stops, len(lines), columns, -1)
    device = next(generator.parameters()).device
    ways = []
    for row, line in enumerate(lines):
        with torch.no_grad():
            flat = torch.from_numpy(z[:, row]).flatten(0, 1).to(device)
            known = line.to(device).embedded(flat, truncation).cpu().numpy()
        known = known.reshape(stops, columns, -1)
        ways.append(closed_way(known, frames, spherical=line.spherical))

    def drawn() -> Iterator[np.ndarray]:
        for frame in range(frames):
            strips = []
            for line, way in zip(lines, ways, strict=True):
                with torch.no_grad():
                    faces = to_pixels(line.decoded(torch.from_numpy(way[frame]).to(device)))
                strips.append(np.hstack(list(faces.permute(0, 2, 3, 1).cpu().numpy())))
            yield np.vstack(strips)

    return drawn()


def write_film(frames: Iterable[np.ndarray], path: Path, *, fps: float, count: int) -> None:
    """Write pictures as a film and read it back to be sure.

    Args:
        frames: (H, W, 3) uint8 RGB, H and W even.
        path: ``.mp4`` (MPEG-4, by OpenCV) or ``.gif`` (one palette for all frames, looped).
        fps: Frames a second.
        count: How many frames there are.

    Raises:
        ValueError: If the suffix is another, or a GIF cannot show so many frames a second.
        OSError: If the film cannot be written, or is not whole.
    """
    writers = {".mp4": _write_mp4, ".gif": _write_gif}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path} is no film; call it .mp4 or .gif (--out)")
    if not fps > 0 or (path.suffix.lower() == ".gif" and fps > GIF_FPS):
        raise ValueError(
            f"{path} at {fps:g} frames a second: give 1 or more, {GIF_FPS} at most in a GIF (--fps)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")  # the suffix tells the format
    try:
        writers[path.suffix.lower()](frames, partial, fps, count)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_mp4(frames: Iterable[np.ndarray], path: Path, fps: float, count: int) -> None:
    writer = None
    try:
        for frame in frames:
            if writer is None:
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(path), code, fps, frame.shape[1::-1])
                if not writer.isOpened():
                    raise OSError(
                        f"OpenCV cannot write MPEG-4 of {frame.shape[1]} × {frame.shape[0]} px to "
                        f"{path.parent}; write a .gif instead"
                    )
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        if writer is not None:
            writer.release()
    film = cv2.VideoCapture(str(path))  # writing says nothing when it fails
    readable = 0
    while film.read()[0]:
        readable += 1
    film.release()
    if readable != count:
        raise OSError(f"OpenCV wrote {readable} of {count} frames; write a .gif instead")


def _write_gif(frames: Iterable[np.ndarray], path: Path, fps: float, count: int) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    # a palette for each frame would shimmer
    seen = np.vstack([np.asarray(each) for each in pictures[:: max(1, count // 16)]])
    palette = Image.fromarray(seen).quantize(256, Image.Quantize.MEDIANCUT)
    pictures = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures]
    # a GIF counts hundredths of a second: each frame ends at the one nearest to its time
    ends = np.round(np.arange(count + 1) * 100 / fps).astype(int)
    durations = [int(each) * 10 for each in np.diff(ends)]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False
    )
    with Image.open(path) as film:
        shown = 0
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            shown += film.info["duration"]
    if shown != sum(durations):  # equal frames become one that is shown longer
        raise OSError(f"the GIF lasts {shown} ms, not {sum(durations)} ms")


def enlarged(frame: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a grid of faces of some size by a whole factor, to be seen."""
    larger = max(1, ENLARGED // size)
    return frame.repeat(larger, axis=0).repeat(larger, axis=1)


def _latent(key: Sequence[int], z_dim: int) -> np.ndarray:
    return np.random.default_rng(key).standard_normal(z_dim, dtype=np.float32)


def main(arguments: Sequence[str]) -> int:
    """Write a film of a walk.

    Args:
        arguments: What follows ``affectory walk`` on the command line.

    Returns:
        0, or 2 if the arguments or the generator are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory walk",
        description="Write a film of faces that change into each other and back: a closed way "
        "through the latents of a generator, in W for StyleGAN2, on the sphere for a DCGAN.",
    )
    parser.add_argument("gan", type=Path, help="folder of a trained GAN (out/.../gans/...)")
    parser.add_argument("--out", type=Path, required=True, help="a .mp4 or .gif to write")
    parser.add_argument("--seconds", type=float, default=12, help="how long it lasts (12)")
    parser.add_argument("--fps", type=float, default=25, help="frames a second (25)")
    parser.add_argument("--stops", type=int, default=6, help="faces that a way passes (6)")
    parser.add_argument(
        "--rows", type=int, help=f"of faces ({PLAIN_ROWS}; with labels one row an emotion)"
    )
    parser.add_argument("--columns", type=int, default=COLUMNS, help=f"of faces ({COLUMNS})")
    parser.add_argument("--truncation", type=float, default=1.0, help="in (0, 1] (1)")
    parser.add_argument("--seed", type=int, default=0, help="which walk (0)")
    parser.add_argument("--device", default="cpu", help="where to compute, as cuda (cpu)")
    given = parser.parse_args(arguments)
    try:
        generator = load_generator(given.gan).to(given.device)
        emotions = trunk_emotions(given.gan) if generator.arguments.get("labels") else []
        if emotions and given.rows is not None:
            raise ValueError(
                f"{given.gan} has labels: it gets one row each for {', '.join(emotions)}; leave "
                "--rows out"
            )
        count = round(given.seconds * given.fps)
        grids = walk(
            generator,
            frames=count,
            rows=PLAIN_ROWS if given.rows is None else given.rows,
            columns=given.columns,
            stops=given.stops,
            truncation=given.truncation,
            seed=given.seed,
        )
        shown = track(grids, label="walk", unit="frame", total=count)
        is_gif = given.out.suffix.lower() == ".gif"  # its bytes would grow with its pixels
        write_film(
            shown if is_gif else (enlarged(grid, generator.size) for grid in shown),
            given.out,
            fps=given.fps,
            count=count,
        )
        log.info(
            "%s: %d frames, %g s%s",
            given.out,
            count,
            count / given.fps,
            f", rows from above: {', '.join(emotions)}" if emotions else "",
        )
        print(given.out.absolute())  # noqa: T201  the command's result
    except (ValueError, OSError, RuntimeError) as error:  # the last: of a device that is not there
        print(f"affectory walk: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0
