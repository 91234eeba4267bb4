"""Standardise: find the face, turn and crop it, equalise it, and bring all faces to one size.

What decides how a face looks is one contract, recorded under a short name in the stage's facts: a
face cut in another way is another domain.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np

from curation.align import (
    Border,
    Fit,
    Frame,
    cut,
    eyes_of,
    fitted,
    inner_size,
    padded,
    share_outside,
    supposed_upright,
)
from curation.contract import contract_id
from curation.corpus import QUALITY, Corpus, content_id, decode_png, encode_png, write_corpus
from curation.detect import Detector, Face, choose_face
from curation.parallel import ordered_map
from curation.progress import track
from curation.quality import MEASURES, Limits, check_limits, measure, out_of_limits
from curation.skipped import Skipped

log = logging.getLogger(__name__)

EyesMissing = Literal["skip", "upright"]
NO_EYES = "eyes not found"
TWICE = "same face as another picture"


@dataclass(frozen=True)
class Clahe:
    """Contrast-limited adaptive histogram equalisation of the luminance (Zuiderveld 1994).

    Hue and saturation stay: it works on Y of Y'CrCb, which keeps grey pictures exactly grey.

    Attributes:
        clip_limit: How much steeper than even a histogram may get, over 0; OpenCV's example has 2,
            its default is 40.
        tiles: Tiles across and down.
        scope: ``face`` equalises the standard face; ``picture`` the whole picture before the face
            is cut out of it, as van der Weel 2019 does, so that tiles are larger than on a face.
    """

    clip_limit: float = 2.0
    tiles: int = 8
    scope: Literal["face", "picture"] = "face"

    def __post_init__(self) -> None:
        if self.clip_limit <= 0 or self.tiles < 1:
            raise ValueError(
                f"CLAHE needs a clip limit over 0 and 1 tile or more, got {self.clip_limit} and "
                f"{self.tiles} (standardise.clahe)"
            )
        if self.scope not in ("face", "picture"):
            raise ValueError(
                f"CLAHE works on the face or on the picture, not on {self.scope!r} "
                "(standardise.clahe.scope)"
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Equalise (H, W, 3) uint8 RGB."""
        # OpenCV's object cannot be pickled and costs microseconds
        equalise = cv2.createCLAHE(self.clip_limit, (self.tiles, self.tiles))
        separated = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        separated[..., 0] = equalise.apply(separated[..., 0])
        return cv2.cvtColor(separated, cv2.COLOR_YCrCb2RGB)


class UnusableFaceError(Exception):
    """A picture that gives no standard face; the text is the reason to report.

    Attributes:
        detail: What is particular to this picture.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class StandardFace(NamedTuple):
    """A face brought to the standard, with what was measured on the way."""

    image: np.ndarray
    """(size, size, 3) uint8 RGB."""
    measures: dict[str, float | None]
    """A value for each of `curation.quality.MEASURES`."""


@dataclass(frozen=True)
class Standard:
    """The standard that faces are brought to: picture in, standard face out.

    Attributes:
        detector: Finds faces.
        frame: Says which part of the picture is cut out, and whether it is turned.
        size: Side of the standard face in pixels, 16 or more.
        fit: What happens to a region that is no square: ``square`` shows more of the picture on
            the shorter side, ``stretch`` squeezes it, ``pad`` adds black bars.
        border: What is seen beyond the picture's border: ``mirror``, ``edge`` or ``black``; see
            `cut`.
        grey: Whether to take the colour away (three equal channels).
        clahe: Equalises the luminance; None leaves it.
        eyes: Adds eyes to a face whose detector knows none; None for no search.
        eyes_missing: What to do where the frame needs eyes and none are known: ``skip`` the
            picture, or take the face to be ``upright`` with eyes at the usual place in its box.
        several: What to do with several faces; see `choose_face`.
        min_face: Smallest face; see `choose_face`.
    """

    detector: Detector
    frame: Frame
    size: int
    fit: Fit = "square"
    border: Border = "mirror"
    grey: bool = False
    clahe: Clahe | None = None
    eyes: Callable[[np.ndarray, Face], Face] | None = None
    eyes_missing: EyesMissing = "skip"
    several: Literal["choose", "skip"] = "choose"
    min_face: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(
                f"size {self.size} is too small for a face; use 16 pixels or more (size)"
            )
        for name, value, choices in (
            ("fit", self.fit, get_args(Fit)),
            ("border", self.border, get_args(Border)),
            ("eyes_missing", self.eyes_missing, get_args(EyesMissing)),
            ("several", self.several, ("choose", "skip")),
        ):
            if value not in choices:
                raise ValueError(
                    f"{name} {value!r} is unknown; use one of {', '.join(choices)} "
                    f"(standardise.{name})"
                )
        if self.min_face < 0:
            raise ValueError(f"min_face {self.min_face} must be 0 or more (standardise.min_face)")

    @property
    def contract(self) -> dict[str, Any]:
        """All that decides how a face looks, in JSON values; not which pictures give one."""
        turned = self.frame.needs_eyes
        return {
            "detector": self.detector.settings,
            "frame": self.frame.settings,
            "fit": self.fit,
            "border": self.border,
            "size": self.size,
            "colour": "grey" if self.grey else "RGB",
            "clahe": None if self.clahe is None else asdict(self.clahe),
            "eyes": None if self.eyes is None else getattr(self.eyes, "settings", {}),
            "eyes_missing": self.eyes_missing if turned else None,
            "resample": "halved, bilinear at twice the size, mean" if turned else "Pillow bicubic",
        }

    def __call__(self, image: np.ndarray) -> StandardFace:
        """Bring the face of a picture, (H, W, 3) uint8 RGB, to the standard.

        Raises:
            UnusableFaceError: If there is no face, several, a small one or one without eyes, as
                far as the settings refuse these.
        """
        return self.cut(image, self.find(image))

    def find(self, image: np.ndarray) -> Face:
        """Return the face that a picture, (H, W, 3) uint8 RGB, is of, with eyes if needed.

        Raises:
            UnusableFaceError: As `__call__`.
        """
        face = choose_face(
            self.detector(image), image, several=self.several, min_face=self.min_face
        )
        if isinstance(face, str):
            raise UnusableFaceError(face)
        if self.eyes is not None and eyes_of(face) is None:
            face = self.eyes(image, face)
        if self.frame.needs_eyes and self.eyes_missing == "skip" and eyes_of(face) is None:
            raise UnusableFaceError(NO_EYES)
        return face

    def cut(self, image: np.ndarray, face: Face) -> StandardFace:
        """Cut a known face out of its picture, (H, W, 3) uint8 RGB, and measure it."""
        missing = self.frame.needs_eyes and eyes_of(face) is None
        region = fitted(self.frame(supposed_upright(face) if missing else face), self.fit)
        width, height = inner_size(region, self.size, self.fit)

        def part(of: np.ndarray) -> np.ndarray:
            return cut(
                of,
                region,
                width=width,
                height=height,
                turned=self.frame.needs_eyes,
                border=self.border,
            )

        if self.clahe is not None and self.clahe.scope == "picture":
            pixels = part(self.clahe(image))
            plain = part(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        else:
            pixels = plain = part(image)
        measures = measure(plain, face, outside=share_outside(region, image))
        if self.grey:
            pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if self.clahe is not None and self.clahe.scope == "face":
            pixels = self.clahe(pixels)
        if self.fit == "pad":  # last, or the equalisation would lift the bars
            pixels = padded(pixels, self.size)
        return StandardFace(pixels, measures)


class _Left(NamedTuple):
    """A picture that gave no face."""

    id: str
    source: str
    reason: str
    detail: str


class _Made(NamedTuple):
    """A row of the new corpus, and what was measured."""

    row: dict[str, Any]
    measures: dict[str, float | None]


@dataclass(frozen=True)
class _Work:
    """Row in, row out: what one process does with one picture, from PNG to PNG."""

    standard: Standard

    def __call__(self, row: dict[str, Any]) -> _Made | _Left:
        try:
            image, measures = self.standard(decode_png(row["image"]))
        except UnusableFaceError as error:
            return _Left(row["id"], row["source"], str(error), error.detail)
        columns = {name: measures[name] for name in QUALITY}
        made = {"image": encode_png(image), "id": content_id(image), **columns}
        return _Made({**row, **made}, measures)


def standardise(
    *,
    corpus: Path,
    detector: Detector,
    frame: Frame,
    size: int,
    out: Path,
    fit: Fit = "square",
    border: Border = "mirror",
    grey: bool = False,
    clahe: Clahe | None = None,
    eyes: Callable[[np.ndarray, Face], Face] | None = None,
    eyes_missing: EyesMissing = "skip",
    several: Literal["choose", "skip"] = "choose",
    min_face: float = 0.0,
    limits: Limits | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Bring every face of a corpus to one standard.

    Rows stream: pictures in work are held, never the corpus.

    Args:
        corpus: The ingested corpus.
        detector: See `Standard`, as for all that follows to `min_face`.
        frame: See `Standard`.
        size: See `Standard`.
        out: Empty folder to fill.
        fit: See `Standard`.
        border: See `Standard`.
        grey: See `Standard`.
        clahe: See `Standard`.
        eyes: See `Standard`.
        eyes_missing: See `Standard`.
        several: See `Standard`.
        min_face: See `Standard`.
        limits: Measure → [lowest, highest], None for no limit; a face outside is left out with the
            measure as the reason. See `curation.quality` for the measures.
        workers: Processes; changes nothing but the time.

    Returns:
        Counts; the contract (everything that decides how a face looks) and its id; quantiles of
        each measure over the faces kept.

    Raises:
        ValueError: If a setting is impossible, or no picture gave a face.
    """
    standard = Standard(
        detector=detector,
        frame=frame,
        size=size,
        fit=fit,
        border=border,
        grey=grey,
        clahe=clahe,
        eyes=eyes,
        eyes_missing=eyes_missing,
        several=several,
        min_face=min_face,
    )
    limits = limits or {}
    check_limits(limits)
    contract = standard.contract  # looks up model files: a missing one is told before the work
    source = Corpus(corpus)
    skipped = Skipped()
    measured: dict[str, list[float]] = {name: [] for name in MEASURES}

    def faces() -> Iterator[dict[str, Any]]:
        seen: dict[str, str] = {}
        # few rows at a time: an ingested picture can have a hundred million pixels
        results = ordered_map(
            _Work(standard), source.rows(), workers=workers, chunk=4, ahead=8, weigh=_bytes_of
        )
        for result in track(results, label="standardise", total=len(source)):
            if isinstance(result, _Left):
                skipped.add(result.source, result.reason, result.detail or result.id)
                continue
            row, measures = result
            if outside := out_of_limits(measures, limits):
                skipped.add(row["source"], *outside)
            elif row["id"] in seen:
                skipped.add(row["source"], TWICE, seen[row["id"]])
            else:
                seen[row["id"]] = row["source"]
                for name, value in measures.items():
                    if value is not None:
                        measured[name].append(value)
                yield row

    total = write_corpus(faces(), out, source.emotions)
    skipped.write(out)
    if total == 0:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in skipped.counts().items())
        raise ValueError(
            f"not one of {len(source)} pictures of {corpus} gave a face ({reasons}); for pictures "
            "that are faces already use standardise=none"
        )
    return {
        "rows": total,
        "skipped": skipped.counts(),
        "contract": contract,
        "contract_id": contract_id(contract),
        "quality": {name: _quantiles(values) for name, values in measured.items() if values},
    }


def _bytes_of(row: Mapping[str, Any]) -> int:
    return len(row["image"])


def _quantiles(values: list[float]) -> dict[str, float]:
    five, half, most = np.percentile(values, (5, 50, 95))
    return {"n": len(values), "p5": float(five), "median": float(half), "p95": float(most)}
