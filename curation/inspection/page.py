"""Puts the inspection page together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from curation.detect import Detector
from curation.inspection import counts, measures, pictures, twins
from curation.inspection.again import MOST, look_again
from curation.inspection.pictures import Shown, name, rows_of, strips, thumbnail, words
from curation.inspection.provenance import NAMED, Provenance, provenance
from curation.inspection.reading import Reader
from curation.inspection.templates import environment

log = logging.getLogger(__name__)

SECTIONS = {
    "counts": "What is in it",
    "faces": "Faces",
    "quality": "Quality",
    "twins": "Duplicates",
    "skipped": "Left out",
    "provenance": "Where it came from",
}
MOST_BYTES = 15_000_000
MOST_PAIRS = 24
TABLES = ("sex", "pose", "origin")


@dataclass(frozen=True)
class TwinShown:
    """Two pictures side by side."""

    first: Shown
    second: Shown
    note: str


def render(
    corpus: Path,
    *,
    columns: int = pictures.COLUMNS,
    alike: float = twins.ALIKE,
    seed: int = 0,
    threads: int = 2,
    again: Detector | None = None,
) -> str:
    """Return the page of a corpus; the same corpus gives the same bytes.

    Args:
        corpus: Its folder.
        columns: Pictures in a strip of faces; half as many of the worst crops.
        alike: Correlation from which two pictures count as near-duplicates (`twins.find_twins`).
        seed: Which faces the grid shows.
        threads: That decode pictures.
        again: Looks for faces in the real pictures once more, to tell how level their eyes are.

    Raises:
        FileNotFoundError: If the folder holds no corpus.
        ValueError: If the corpus is damaged, empty, or a setting is out of range.
    """
    if columns < 1:
        raise ValueError(f"--columns {columns} must be 1 or more")
    reader = Reader(corpus)
    if not len(reader):
        raise ValueError(f"{corpus} has no rows, so there is nothing to look at")
    facts, emotions = reader.facts, reader.emotions
    survey = reader.survey(threads=threads)
    found = twins.find_twins(survey.patterns, survey.greys, facts, alike=alike, most=MOST_PAIRS)
    pairs = {kind: [_pair(facts, pair) for pair in each] for kind, each in found.pairs.items()}
    origin = provenance(corpus)
    looked = None
    if again is not None:
        real = np.flatnonzero(facts["origin"] == "real")
        chosen = np.random.default_rng(seed).permutation(real)[:MOST]
        looked = look_again(
            reader.pictures(set(chosen.tolist())), again, n=len(chosen), of=len(real)
        )
    quality = measures.distributions(facts, survey, columns=(columns + 1) // 2)
    grid = strips(facts, emotions, columns=columns, seed=seed)
    everything = [
        *(picture for each in grid.values() for strip in each for picture in strip.pictures),
        *(picture for group in quality.values() for each in group for picture in each.worst),
        *(side for each in pairs.values() for pair in each for side in (pair.first, pair.second)),
    ]
    thumbnails = {row: thumbnail(image) for row, image in reader.pictures(rows_of(everything))}
    tables = [counts.by_column(facts, column) for column in TABLES]
    own = origin.stages[-1] if origin.stages else None
    page = (
        environment(Path(__file__).parent)
        .get_template("page.html.jinja")
        .render(
            title=f"{own.stage if own else 'corpus'}: {corpus.name}",
            content=own.content if own else "",
            sections=SECTIONS,
            summary=_summary(facts),
            warnings=_warnings(facts, emotions, found, origin),
            by_class=counts.by_class(facts, emotions),
            shares=counts.shares(facts, emotions),
            tables=[table for table in (counts.subjects(facts), *tables) if table],
            gates=counts.gates(facts, emotions),
            grid=grid,
            seed=seed,
            quality=quality,
            bad_end=measures.bad_end,
            again=looked,
            unmeasured=measures.missing(facts, reader.absent),
            twins=found,
            kinds=twins.KINDS,
            pairs=pairs,
            exact=[
                [name(facts.iloc[row].to_dict()) for row in group]
                for group in twins.exact(facts["id"].tolist())
            ],
            expected=[table for record in origin.ingests for table in counts.expected(record)],
            provenance=origin,
            named=NAMED,
            thumbnails=thumbnails,
            absent=reader.absent,
        )
    )
    if (size := len(page.encode())) > MOST_BYTES:
        log.warning(
            "the page of %s has %.0f MB, which browsers are slow with; --columns %d would do",
            corpus,
            size / 1e6,
            max(1, columns * MOST_BYTES // size),
        )
    return page


def _summary(facts: pd.DataFrame) -> dict[str, str]:
    real = facts[facts["origin"] == "real"]
    return {
        "pictures": f"{len(facts):,}",
        "real": f"{len(real):,}",
        "known people": f"{facts['subject'].nunique():,}",
        "databases": f"{facts['database'].nunique():,}",
        "classes with pictures": f"{facts['emotion'].nunique():,}",
    }


def _pair(facts: pd.DataFrame, pair: twins.Pair) -> TwinShown:
    one, other = (facts.iloc[row].to_dict() for row in (pair.first, pair.second))
    same = one["id"] == other["id"]
    likeness = "the same pixels" if same else f"correlation of detail {pair.detail:.2f}"
    sides = [
        Shown(row, words(fact), f"{name(fact)} · {words(fact)}")
        for row, fact in ((pair.first, one), (pair.second, other))
    ]
    also = [twins.KINDS[kind] for kind in pair.kinds]
    return TwinShown(sides[0], sides[1], f"{likeness}; {', '.join(also)}")


def _warnings(
    facts: pd.DataFrame, emotions: Sequence[str], found: twins.Twins, origin: Provenance
) -> list[str]:
    told = []
    if crossing := counts.two_sided(facts):
        subject, sides = next(iter(crossing.items()))
        told.append(
            f"{_many(len(crossing), 'person is', 'people are')} on two sides of a split, the "
            f"first {subject} in {' and '.join(sides)}: whatever is trained here has seen people "
            "it is tested on."
        )
    if across := found.counts["split"]:
        told.append(
            f"{_many(across, 'pair of pictures looks', 'pairs of pictures look')} alike across a "
            "split: look at them below; if they are one picture, the test is not fair."
        )
    if labels := found.counts["label"]:
        told.append(
            f"{_many(labels, 'pair of pictures looks', 'pairs of pictures look')} alike and "
            "carries two labels, of which one must be wrong if they are one picture."
        )
    if absent := [name for name in emotions if not (facts["emotion"] == name).any()]:
        told.append(f"No picture of {', '.join(absent)}.")
    sizes = facts.loc[facts["split"] == "train", "emotion"].value_counts()
    if len(sizes) > 1 and sizes.max() >= 5 * sizes.min():
        told.append(
            f"The largest training class, {sizes.index[0]} ({sizes.max():,}), is "
            f"{sizes.max() / sizes.min():.0f} times as large as the smallest, {sizes.index[-1]} "
            f"({sizes.min():,})."
        )
    for stage in origin.stages:
        taken = len(facts) + stage.left_out
        if stage.stage == "standardise" and stage.left_out > 0.05 * taken:
            told.append(f"{stage.stage} left out {stage.left_out:,} pictures; see below.")
    for facts_of_ingest in origin.ingests:
        for database, short in (facts_of_ingest.get("missing") or {}).items():
            if lacking := sum(count for count in short.values() if count > 0):
                told.append(f"{database} is not complete: {lacking:,} pictures are missing.")
    if origin.unresolved:
        told.append(f"The record names inputs that are not here: {'; '.join(origin.unresolved)}.")
    return told


def _many(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
