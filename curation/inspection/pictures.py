"""Thumbnails for the inspection page: which rows are shown, and their pictures as data URIs."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd

LONGEST = 112  # px, the longer side of a thumbnail
_QUALITY = 82
COLUMNS = 24  # pictures in a strip
ORIGINS = {
    "real": "real face",
    "geometric": "geometric copy",
    "gan": "generated face",
    "imported": "imported synthetic face",
}


@dataclass(frozen=True)
class Shown:
    """One row of the corpus, to be shown.

    Attributes:
        row: Its place in the corpus.
        alt: What the picture shows, in words.
        caption: Written below it.
    """

    row: int
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures of one kind, drawn at random among `among`."""

    kind: str
    pictures: Sequence[Shown]
    among: int


def thumbnail(image: np.ndarray, longest: int = LONGEST) -> tuple[str, int, int]:
    """Return an (H, W, 3) uint8 RGB picture as a WebP data URI, with its width and height.

    Args:
        image: The picture.
        longest: Its longer side is brought down to so many pixels.
    """
    height, width = image.shape[:2]
    if (scale := longest / max(height, width)) < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(
        ".webp", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} as WebP")
    text = base64.b64encode(data.tobytes()).decode("ascii")
    return f"data:image/webp;base64,{text}", image.shape[1], image.shape[0]


def words(fact: Mapping[Any, Any]) -> str:
    """Say what a row shows, for somebody who does not see the picture."""
    text = f"{ORIGINS.get(str(fact['origin']), fact['origin'])}, {fact['emotion']}"
    who = fact["subject"] if _given(fact["subject"]) else fact["database"]
    if _given(who):
        text += f", {who}"
    return f"{text}, {fact['split']}"


def name(fact: Mapping[Any, Any]) -> str:
    """Name a row by its source, or by its id where that says more or is all there is."""
    # a generated face's source is its checkpoint and seed: long, and nothing to look up
    sourced = _given(fact["source"]) and not _given(fact["generator"])
    return str(fact["source"] if sourced else fact["id"])


def _given(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def draw(facts: pd.DataFrame, rows: np.ndarray, columns: int, seed: Sequence[int]) -> list[int]:
    """Draw rows at random, from each database in turn, so that a small one is seen too.

    Args:
        facts: The corpus.
        rows: Places to draw from.
        columns: How many.
        seed: Which random rows; non-negative integers.
    """
    order = np.random.default_rng([*seed, len(rows)]).permutation(len(rows))
    shuffled = facts["database"].iloc[rows[order]].fillna("")
    turn = shuffled.groupby(shuffled, sort=False).cumcount().to_numpy()
    chosen = rows[order][np.argsort(turn, kind="stable")[:columns]]
    return [int(row) for row in chosen]


def strips(
    facts: pd.DataFrame, emotions: Sequence[str], *, columns: int, seed: int
) -> dict[str, list[Strip]]:
    """Choose a grid of faces: emotion → a strip of each kind that the corpus has.

    Rows that a gate has judged are split into kept and rejected.
    """
    judged = facts["keep"].notna().to_numpy()
    keep = facts["keep"].fillna(True).to_numpy(bool)
    kinds = {
        named: (facts["origin"] == origin).to_numpy() & ~judged for origin, named in ORIGINS.items()
    }
    kinds |= {"kept": judged & keep, "rejected": judged & ~keep}
    grid: dict[str, list[Strip]] = {}
    for place, emotion in enumerate(emotions):
        own = (facts["emotion"] == emotion).to_numpy()
        found: list[Strip] = []
        for number, (kind, mask) in enumerate(kinds.items()):
            # where the gates judged, both outcomes are shown, an empty one as well
            if not mask.any():
                continue
            rows = np.flatnonzero(mask & own)
            drawn = draw(facts, rows, columns, [seed, place, number])
            found.append(Strip(kind, [_shown(facts, row) for row in drawn], len(rows)))
        grid[emotion] = found
    return grid


def _shown(facts: pd.DataFrame, row: int) -> Shown:
    fact = facts.iloc[row].to_dict()
    if pd.isna(fact["keep"]) or fact["keep"]:
        return Shown(row, words(fact))
    reason = str(fact["reason"] or "no reason given")
    return Shown(row, f"{words(fact)}, rejected: {reason}", reason)


def rows_of(shown: Iterable[Shown]) -> set[int]:
    """Return the rows that are shown."""
    return {picture.row for picture in shown}
