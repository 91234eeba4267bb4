"""Augment: geometric and colour copies of the training faces, written once (offline).

The recipe is protocol 1's (Randellini et al. 2022): six Keras preprocessing layers, five copies.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curation.corpus import Corpus, content_id, decode_png, write_corpus
from curation.progress import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KerasLayers:
    """RandomRotation, RandomZoom, RandomFlip, RandomHeight, RandomWidth and RandomContrast.

    The ranges have the meaning that Keras gives them. The five geometric layers are one affine
    map, so that a face is resampled once and not five times. RandomHeight and RandomWidth change
    the picture's size in Keras; here, where all faces keep one size, they stretch the face about
    the centre of the same canvas. What comes in from outside is mirrored (Keras ``reflect``,
    d c b a | a b c d | d c b a), between pixels bilinear, as Keras does by default.

    Attributes:
        rotation: Up to this share of a full turn to either side.
        zoom: Height and width grow or shrink together by up to this share. Keras counts zooming
            out as positive; the range is symmetric.
        flip: Whether half of the faces are mirrored, left to right.
        height: Height grows or shrinks by up to this share.
        width: Width grows or shrinks by up to this share.
        contrast: Distance from each channel's mean is scaled by 1 ± up to this share.
    """

    rotation: float = 0.1
    zoom: float = 0.1
    flip: bool = True
    height: float = 0.2
    width: float = 0.2
    contrast: float = 0.2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1 or (name in ("zoom", "height", "width") and value == 1):
                raise ValueError(f"augment.operators.{name} is {value}; it must lie in [0, 1)")

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw the parameters of one copy, uniformly within the ranges.

        Returns:
            ``angle_deg`` (counter-clockwise), ``scale_x``, ``scale_y`` (over 1 enlarges the
            face; negative ``scale_x`` mirrors it), ``contrast`` (factor).
        """

        def within(reach: float) -> float:
            return float(rng.uniform(-reach, reach))

        angle = 360 * within(self.rotation)
        # Keras samples an output that is (1 + zoom) times as large: the face shrinks by that
        zoomed = 1 / (1 + within(self.zoom))
        mirrored = -1.0 if self.flip and rng.random() < 0.5 else 1.0
        scale_y = zoomed * (1 + within(self.height))
        scale_x = zoomed * (1 + within(self.width)) * mirrored
        return {
            "angle_deg": angle,
            "scale_x": scale_x,
            "scale_y": scale_y,
            "contrast": 1 + within(self.contrast),
        }

    def apply(self, image: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        """Change one face by drawn parameters.

        Args:
            image: (H, W, 3) uint8 RGB.
            drawn: As `draw` returns it.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        height, width = image.shape[:2]
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        angle = np.deg2rad(drawn["angle_deg"])
        # output → input: undo the stretch, then the rotation, about the centre; y points down
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([1 / drawn["scale_x"], 1 / drawn["scale_y"]])
        matrix = np.column_stack([linear, centre - linear @ centre])
        warped = cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ).astype(np.float32)
        mean = warped.mean((0, 1), keepdims=True)
        contrasted = mean + (warped - mean) * drawn["contrast"]
        return contrasted.round().clip(0, 255).astype(np.uint8)


def augment(
    *, corpus: Path, operators: KerasLayers, copies: int, seed: int, out: Path
) -> dict[str, Any]:
    """Pass all rows on and add copies of the training faces after each.

    Args:
        corpus: The standardised corpus.
        operators: What changes a copy.
        copies: Copies of each training face.
        seed: Which random copies; each depends on (seed, parent's id, number of the copy) only.
        out: Empty folder to fill.

    Returns:
        Counts of rows by origin.
    """
    if copies < 0:
        raise ValueError(f"augment.copies is {copies}; it must be 0 or more")
    source = Corpus(corpus)
    counts = {"real": 0, "geometric": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for row in track(source.rows(), label="augment", total=len(source)):
            counts[row["origin"]] = counts.get(row["origin"], 0) + 1
            yield row
            if row["split"] != "train" or row["origin"] != "real":
                continue
            face = decode_png(row["image"])
            for number in range(copies):
                rng = np.random.default_rng([seed, int(row["id"], 16), number])
                copy = operators.apply(face, operators.draw(rng))
                counts["geometric"] += 1
                changed = {"image": copy, "id": content_id(copy), "parent": row["id"]}
                yield {**row, **changed, "origin": "geometric"}

    total = write_corpus(rows(), out)
    return {"rows": total, "origins": counts, "operators": asdict(operators), "copies": copies}
