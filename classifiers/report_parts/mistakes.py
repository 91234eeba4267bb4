"""The mistakes that a recogniser was surest of, with the pictures where their licence allows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.report_parts import tables
from classifiers.report_parts.benchmark import Bench, Figure, plural
from classifiers.report_parts.pictures import Picture, Showing, read_pictures
from classifiers.report_parts.tables import Column, Table
from curation.corpus import Corpus

DOZEN = 12


@dataclass(frozen=True)
class Mistake:
    """A test picture that most trainings got wrong in the same way.

    Attributes:
        id: Of the picture.
        emotion: What it is labelled.
        predicted: What most trainings named it.
        confidence: Mean probability of that name over all trainings.
        agree: Trainings that named it so.
        of: Trainings that were tested on it.
        picture: None where it may not be shown or is not there.
        note: Why there is no picture.
    """

    id: str
    emotion: str
    predicted: str
    confidence: float
    agree: int
    of: int
    picture: Picture | None = None
    note: str = ""


def mistake_section(
    bench: Bench, corpora: Sequence[Path], showing: Showing
) -> list[dict[str, Any]]:
    """Find the surest mistakes of the most accurate recogniser of each split and test database.

    Args:
        bench: The benchmark.
        corpora: Corpora that hold the test pictures.
        showing: Which may be shown.

    Returns:
        For each: ``name``, ``who`` (which recogniser, in words), ``mistakes``, ``seen`` (whether
        any has a picture), ``wrong`` (how many pictures most trainings got wrong, in words) and
        ``table``.
    """
    best: dict[tuple[str, str], Figure] = {}
    for figure in bench.figures:
        key = (figure["split"], str(figure["database"]))
        if key not in best or figure["accuracy"]["mean"] > best[key]["accuracy"]["mean"]:
            best[key] = figure
    chosen = {key: surest(bench, figure) for key, figure in best.items()}
    wanted = {mistake.id for found, _ in chosen.values() for mistake in found}
    places = _places(corpora, wanted, showing)
    pictures = read_pictures({place for place in places.values() if isinstance(place, tuple)})
    sections = []
    for (split, database), (found, judged) in chosen.items():
        if not found:
            continue
        figure = best[split, database]
        shown = [_illustrated(mistake, places, pictures) for mistake in found]
        mark = f"{split}-{database}" if len(bench.splits) > 1 else database
        sections.append(
            {
                "name": bench.place({**figure, "backbone": "all"}),
                "who": f"{figure['backbone']} trained on {figure['arm']}, the most accurate here "
                f"({100 * figure['accuracy']['mean']:.1f} %)",
                "mistakes": shown,
                "seen": any(each.picture for each in shown),
                "wrong": f"{judged['wrong']:,} of {plural(judged['pictures'], 'picture')}",
                "table": _table(mark, database, found),
            }
        )
    return sections


def surest(bench: Bench, figure: Figure) -> tuple[list[Mistake], dict[str, int]]:
    """Find the mistakes of one recogniser's trainings, the surest first.

    A picture counts as mistaken if most of the trainings that were tested on it name it wrongly in
    the same way; of equally many, the name with the higher mean probability counts.

    Args:
        bench: The benchmark.
        figure: Which recogniser, arm and database.

    Returns:
        At most a dozen, and ``pictures`` and ``wrong``, counted over all.
    """
    table = bench.predictions_of(figure)
    columns = [f"p_{emotion}" for emotion in bench.emotions]
    codes = {emotion: code for code, emotion in enumerate(bench.emotions)}
    # two ways of cutting a picture give it one id and two sets of pixels
    names = table["picture" if "picture" in table else "id"]
    ids, member = np.unique(names.to_numpy(str), return_inverse=True)
    size = (len(ids), len(codes))
    votes, mass = np.zeros(size), np.zeros(size)
    named = table["predicted"].map(codes).to_numpy(int)
    np.add.at(votes, (member, named), 1)
    np.add.at(mass, member, table[columns].to_numpy(float))
    tested = votes.sum(axis=1)
    mean = mass / tested[:, None]
    truth = np.zeros(len(ids), int)
    truth[member] = table["emotion"].map(codes).to_numpy(int)
    # a mean probability is at most 1, so that it only decides between equally many votes
    first = (votes + mean / 2).argmax(axis=1)
    rows = np.arange(len(ids))
    wrong = (first != truth) & (2 * votes[rows, first] > tested)
    order = sorted(np.flatnonzero(wrong), key=lambda row: (-mean[row, first[row]], ids[row]))
    found = [
        Mistake(
            str(ids[row]),
            bench.emotions[truth[row]],
            bench.emotions[first[row]],
            float(mean[row, first[row]]),
            int(votes[row, first[row]]),
            int(tested[row]),
        )
        for row in order[:DOZEN]
    ]
    return found, {"pictures": len(ids), "wrong": int(wrong.sum())}


def _places(
    corpora: Sequence[Path], wanted: set[str], showing: Showing
) -> dict[str, tuple[Path, int] | str]:
    """Return where each picture is, or whose licence keeps it away."""
    places: dict[str, tuple[Path, int] | str] = {}
    for folder in corpora:
        facts: pd.DataFrame = Corpus(folder).facts
        allowed = showing.allowed(facts)
        for row in np.flatnonzero(facts["id"].isin(wanted)):
            line = facts.iloc[row]
            places[str(line["id"])] = (
                (folder, int(row)) if allowed[row] else str(line["database"] or "an unnamed one")
            )
    return places


def _illustrated(
    mistake: Mistake,
    places: dict[str, tuple[Path, int] | str],
    pictures: dict[tuple[Path, int], Picture],
) -> Mistake:
    place = places.get(mistake.id)
    if isinstance(place, tuple):
        return replace(mistake, picture=pictures[place])
    if place is None:
        return replace(mistake, note="not in the corpora of this page")
    return replace(mistake, note=f"not shown: licence of {place}")


def _table(mark: str, database: str, found: Sequence[Mistake]) -> Table:
    return Table(
        f"mistakes-{mark}",
        f"The surest mistakes on {database}; confidence is the mean probability of the wrong name",
        [
            Column("picture", tables.TEXT),
            Column("labelled", tables.TEXT),
            Column("named", tables.TEXT),
            Column("confidence, %", tables.PERCENT),
            Column("trainings that say so", tables.COUNT),
            Column("of", tables.COUNT),
        ],
        [
            [each.id, each.emotion, each.predicted, each.confidence, each.agree, each.of]
            for each in found
        ],
    )
