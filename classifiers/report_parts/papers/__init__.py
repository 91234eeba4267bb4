"""The tables of the paper that a protocol reproduces, in its layout, with the figures from here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from classifiers.papers import read_paper
from classifiers.report_parts.benchmark import Bench
from classifiers.report_parts.papers import accuracies, folds, resources
from classifiers.report_parts.papers.reproduction import Published, Reproduction
from classifiers.report_parts.tables import Table

Builder: TypeAlias = Callable[[Reproduction, Published], Table | None]
_BUILDERS: dict[str, Sequence[Builder]] = {
    "agreement": (resources.agreement,),
    "cross_database": (accuracies.cross_database, accuracies.gains),
    "epoch_seconds": (resources.epoch_seconds,),
    "folds": (folds.folds,),
    "intra_database": (folds.intra_database,),
    "parameters": (resources.parameters,),
    "peers": (accuracies.peers,),
    "per_emotion": (accuracies.per_emotion,),
    "scores": (accuracies.scores,),
}


def paper_section(
    name: str | None,
    bench: Bench,
    agreement: Sequence[Mapping[str, Any]],
    trained_on: Sequence[str],
) -> dict[str, Any] | None:
    """Lay out a paper's tables.

    Args:
        name: Which paper (`classifiers.papers`), or None.
        bench: The benchmark.
        agreement: Rows of the section on agreement.
        trained_on: Databases of the real training faces.

    Returns:
        ``title``, ``source``, ``note`` (what is comparable), ``twin`` and ``tables``.

    Raises:
        ValueError: If the paper is unknown.
    """
    if not name:
        return None
    paper = read_paper(name)
    whole = Reproduction(paper, bench, agreement)
    found = [
        build(whole, content) for content in paper.tables for build in _BUILDERS[content["kind"]]
    ]
    return {
        "title": paper.title,
        "source": paper.source,
        "note": _note(whole, trained_on),
        "twin": whole.twin,
        "tables": [table for table in found if table],
    }


def _note(whole: Reproduction, trained_on: Sequence[str]) -> str:
    paper, here = whole.paper, whole.bench.databases
    own = (
        f"Published figures are the paper's: trained on {paper.trained_on}, tested on "
        f"{', '.join(paper.databases.values())}."
    )
    if whole.twin:
        return (
            f"{own} The figures from here are of another experiment: trained on "
            f"{', '.join(trained_on) or 'other faces'}, tested on {', '.join(here)}. The layout is "
            "the same; a difference between the two says nothing about either."
        )
    return f"{own} Differences are here minus published, in percentage points."
