"""Standardise: find the face, turn and crop it, equalise it, and bring all faces to one size.

What decides how a face looks is one contract, recorded under a short name in the stage's facts: a
face cut in another way is another domain.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from curation.align import Border, Fit, Frame
from curation.contract import contract_id
from curation.corpus import QUALITY, Corpus, content_id, decode_png, encode_png, write_corpus
from curation.detect import Detector, Face
from curation.parallel import ordered_map
from curation.progress import track
from curation.quality import MEASURES, Limits, check_limits, out_of_limits
from curation.skipped import Skipped
from curation.standard import Clahe, EyesMissing, Standard, UnusableFaceError

__all__ = ["Clahe", "Standard", "UnusableFaceError", "standardise"]

log = logging.getLogger(__name__)

TWICE = "same face as another picture"


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
