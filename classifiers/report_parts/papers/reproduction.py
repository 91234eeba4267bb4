"""A benchmark seen as a reproduction of a paper: which of its rows answers which published one."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifiers.papers import Paper
from classifiers.report_parts.benchmark import Bench, Figure

Published = Mapping[str, Any]
PUBLISHED, HERE = "published", "here"


class Reproduction:
    """A benchmark seen as a reproduction of a paper.

    Attributes:
        paper: What was published.
        bench: What was measured here.
        agreement: Rows of the page's section on agreement: ``emotion``, ``synthetic``.
        number: Of the table, as the paper counts.
    """

    def __init__(self, paper: Paper, bench: Bench, agreement: Sequence[Mapping[str, Any]]) -> None:
        self.paper, self.bench, self.agreement = paper, bench, agreement

    @property
    def twin(self) -> bool:
        """Whether it was tested on none of the paper's databases."""
        return not set(self.bench.databases) & set(self.paper.databases)

    @property
    def external(self) -> list[Figure]:
        """Figures of tests on databases that no fold was taken out of."""
        return [figure for figure in self.bench.figures if figure["split"] not in self.bench.folded]

    def shown(self, database: str) -> str:
        """Return the paper's name of a database, or its own."""
        return self.paper.databases.get(database, database)

    def corpora(self) -> list[tuple[str, str | None]]:
        """Return the paper's training sets: its name, and the arm here if there is one."""
        arms = self.paper.arms.items()
        return [(name, arm if arm in self.bench.arms else None) for arm, name in arms]

    def models(self) -> list[tuple[str, str | None]]:
        """Return networks: the paper's name and the backbone here; others last."""
        here = {self.paper.model(backbone): backbone for backbone in self.bench.backbones}
        names = [*dict.fromkeys(self.paper.backbones.values())]
        others = [name for name in self.bench.backbones if self.paper.model(name) is None]
        return [(name, here.get(name)) for name in names] + [(name, name) for name in others]

    def best(self, figures: Sequence[Figure]) -> Figure | None:
        """Return the most accurate of some figures."""
        return max(figures, key=lambda figure: figure["accuracy"]["mean"], default=None)


def share(value: float | None) -> float | None:
    """Turn per cent into a share."""
    return None if value is None else value / 100


def pair(published: Sequence[float | None] | None) -> tuple[Any, Any] | None:
    """Turn a published (mean, standard deviation) in per cent into shares."""
    return None if published is None else (share(published[0]), share(published[1]))


def file_name(content: Published, what: str) -> str:
    """Name a table's files after its number in the paper."""
    mark = str(content["number"]).replace(" ", "-").replace("–", "-").replace(".", "-")
    return f"paper-{mark}-{what}"


def caption(content: Published, text: str) -> str:
    """Begin a caption with the table's number in the paper."""
    number = str(content["number"])
    head = f"Table {number}" if number[:1].isdigit() else number.capitalize()
    return f"{head} of the paper. {text}"
