"""The command ``affectory redraw``: is a published face what its row says that it is?

A row of a GAN names checkpoint, seed and truncation. With these the face is drawn again and
compared pixel by pixel with the one that is stored, so that a reader need not take it on trust.
"""

import argparse
import functools
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curation.corpus import content_id, decode_png
from curation.lineage import read_record
from curation.progress import track
from gan.checkpoint import generator_hash, load_generator
from gan.grids import GAP, side_by_side
from gan.networks import Generator
from gan.rows import find_rows
from gan.sample import draw

log = logging.getLogger(__name__)
WEIGHTS = "generator.safetensors"
PICTURED = 12


@dataclass(frozen=True)
class Comparison:
    """A stored face and the same face drawn again, both (H, W, 3) uint8 RGB.

    Attributes:
        stored: As it lies in the corpus.
        redrawn: As the row's checkpoint, seed and truncation give it.
        id: The row's: what the sampled picture hashed to.
    """

    stored: np.ndarray
    redrawn: np.ndarray
    id: str

    @property
    def distance(self) -> np.ndarray:
        """How far apart each pixel's farthest channel is: (H, W) int in 0–255."""
        return np.abs(self.stored.astype(int) - self.redrawn).max(2)

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return np.array_equal(self.stored, self.redrawn)

    def __str__(self) -> str:
        if self.identical:
            return "identical"
        apart = self.distance
        row, column = np.unravel_index(apart.argmax(), apart.shape)
        return (
            f"{(apart > 0).sum():,} of {apart.size:,} pixels differ, by {apart.max()} of 255 at "
            f"most (row {row}, column {column}): {self._reason()}"
        )

    def _reason(self) -> str:
        # an id is a hash of pixels, so it tells which of the two is the sampled picture
        if content_id(self.stored) == self.id:
            return (
                "the stored face is the one that was sampled; another processor or version of "
                "PyTorch may round a few pixels by 1, more than that is another network"
            )
        if content_id(self.redrawn) == self.id:
            return "the stored face was changed after it was sampled; the redrawn one has its id"
        return "neither has the pixels that the id stands for"


def redraw(row: dict[str, Any], generator: Generator) -> Comparison:
    """Draw the face of a row again.

    Args:
        row: Of a GAN, as `Corpus.rows` yields it.
        generator: The one that the row names.

    Raises:
        ValueError: If the generator draws another size than the stored face has.
    """
    stored = decode_png(row["image"])
    redrawn = draw(generator, row["seed"], row["truncation"])
    if stored.shape != redrawn.shape:
        raise ValueError(
            f"row {row['id']} holds a face of {stored.shape[0]} × {stored.shape[1]} px, its "
            f"generator draws {redrawn.shape[0]} × {redrawn.shape[1]}: the stored one was resized "
            "after it was sampled"
        )
    return Comparison(stored, redrawn, row["id"])


def find_generators(places: Iterable[Path]) -> dict[str, Path]:
    """Return the hash and the folder of every generator in some folders and below them."""
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.rglob(WEIGHTS)):
            if not any(part.startswith(".") for part in path.relative_to(place).parts):
                found.setdefault(generator_hash(path.parent), path.parent)
    return found


def generators_beside(folder: Path) -> Path:
    """Return the folder ``gans`` of the experiment that a folder lies in.

    Raises:
        FileNotFoundError: If it lies in none.
    """
    folder = folder.resolve()  # out/<experiment>/published is a link
    for place in (folder, *folder.parents):
        if (place / "gans").is_dir():
            return place / "gans"
    raise FileNotFoundError(
        f"there is no folder gans beside {folder} or above it; say where the generators are by "
        "--gans <folder>"
    )


def require_drawn(row: dict[str, Any]) -> None:
    """Raise a ValueError that says where a row came from unless a GAN of ours drew it."""
    if row["origin"] == "gan":
        if missing := [name for name in ("generator", "seed", "truncation") if row[name] is None]:
            raise ValueError(
                f"row {row['id']} came from a GAN but does not say its {' and '.join(missing)}, "
                "so it cannot be drawn again"
            )
        return
    facts = {
        "database": row["database"],
        "subject": row["subject"],
        "file": row["source"],
        "made from row": row["parent"],
    }
    known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    raise ValueError(
        f"row {row['id']} is {row['origin']}, not drawn by a GAN, so it cannot be drawn again; it "
        f"came from {known or 'somewhere that nobody noted'}"
    )


def require_generator(mark: str, known: dict[str, Path], places: Sequence[Path]) -> None:
    """Raise a ValueError that says what was searched unless a generator is known by its hash."""
    if mark in known:
        return
    for actual, folder in known.items():
        record = read_record(folder)
        if record and (record.content.get("facts") or {}).get("generator") == mark:
            raise ValueError(
                f"the weights in {folder / WEIGHTS} were altered: they were {mark} when they were "
                f"trained, as the row says, and are {actual} now. Train it again, or give an "
                "untouched copy by --gans <folder>"
            )
    there = ", ".join(f"{actual} ({folder.name})" for actual, folder in known.items())
    raise ValueError(
        f"generator {mark} is not in {', '.join(map(str, places))}; found there: "
        f"{there or 'no generator'}. Say where it is by --gans <folder>"
    )


def picture(comparisons: Sequence[Comparison]) -> np.ndarray:
    """Draw each row's stored face, redrawn face and difference side by side, a line each.

    The difference is stretched: white is the most that any channel of that face differs by.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    lines = []
    for each in comparisons:
        apart = np.abs(each.stored.astype(int) - each.redrawn)
        stretched = (apart * 255 // max(1, apart.max())).astype(np.uint8)
        lines.append(side_by_side([[each.stored, each.redrawn, stretched]]))
    width = max(line.shape[1] for line in lines)  # generators can differ in size
    edges = [((0, GAP), (0, width - line.shape[1]), (0, 0)) for line in lines]
    sheet = [
        np.pad(line, edge, constant_values=255) for line, edge in zip(lines, edges, strict=True)
    ]
    return np.vstack(sheet)[:-GAP]


def main(arguments: Sequence[str]) -> int:
    """Draw published rows again and compare them.

    Args:
        arguments: What follows ``affectory redraw`` on the command line.

    Returns:
        0 if all are identical, 1 if one differs, 2 if that could not be found out.
    """
    parser = argparse.ArgumentParser(
        prog="affectory redraw",
        description="Draw rows of a GAN again from checkpoint, seed and truncation, and compare "
        "them pixel by pixel with what is stored.",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="of rows, or the beginning of an id")
    parser.add_argument("--all", action="store_true", help="every row that a GAN drew")
    parser.add_argument(
        "--in",
        dest="folder",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a published folder, a corpus, or an experiment (out/<experiment>)",
    )
    parser.add_argument(
        "--gans",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="where generators are (default: gans in the experiment that FOLDER lies in)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png",
        help=f"a picture of stored face, redrawn face and difference, of {PICTURED} rows at most, "
        "those that differ first",
    )
    given = parser.parse_args(arguments)
    if given.all == bool(given.ids):
        parser.error("give ids of rows, or --all")
    try:
        rows = find_rows(given.folder, None if given.all else given.ids)
        facts = rows.facts
        for row in facts:  # all that is missing is told before anything is drawn
            require_drawn(row)
        places = given.gans or [generators_beside(given.folder)]
        known = find_generators(places)
        for mark in dict.fromkeys(row["generator"] for row in facts):
            require_generator(mark, known, places)
        load = functools.lru_cache(maxsize=4)(load_generator)  # rows of one follow each other
        counts = {True: 0, False: 0}
        shown: dict[bool, list[Comparison]] = {True: [], False: []}
        for place, row in track(rows, label="redraw", unit="face", total=rows.count):
            folder = known[row["generator"]]
            result = redraw(row, load(folder))
            counts[result.identical] += 1
            shown[result.identical] = [*shown[result.identical], result][:PICTURED]
            if not given.all or not result.identical:
                _say(
                    f"{row['id']} {row['emotion']} in {place} ({known[row['generator']].name}, "
                    f"seed {row['seed']}, truncation {row['truncation']:g}): {result}"
                )
        if given.all:
            _say(f"{counts[True]:,} faces identical, {counts[False]:,} not")
        if given.out is not None:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            pictured = [*shown[False], *shown[True]][:PICTURED]
            Image.fromarray(picture(pictured)).save(given.out)
            log.info("%s: stored, redrawn, difference of %d rows", given.out, len(pictured))
    except (ValueError, OSError) as error:
        print(f"affectory redraw: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 1 if counts[False] else 0


def _say(line: str) -> None:
    print(line)  # noqa: T201  the command's own words go to standard output
