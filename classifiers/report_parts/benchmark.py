"""A finished benchmark: what was compared on what, in which order a page lists it, and in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from curation.artifact import read_json
from curation.recipes import Recipe

ALL = "all"  # backbones of a claim, or databases of a split, together
# arms of the shipped protocols, in the order of a table
_ARMS = ("original", "geometric", "imported", "gan", "imported_gan", "no_gate", "random_drop")
_ARMS += ("real_gan", "synthetic")
_KEYS = ("split", "backbone", "database", "arm")
_PARTS = {
    "real": "real faces",
    "geometric": "their geometric copies",
    "imported": "third-party synthetic faces",
    "gan": "synthetic faces",
}
_GATES = {
    "passed": " that passed the gates",
    "none": ", whatever the gates said",
    "random": " drawn by lot, as many as passed the gates",
}
_SPLITS = {
    "external": "the databases' own split",
    "by_picture": "folds by picture, copies and people on both sides",
    "by_subject": "folds by subject, nobody on both sides",
    "by_database": "one database left out at a time",
}

Figure = Mapping[str, Any]
Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """What a benchmark folder holds.

    Attributes:
        summary: ``summary.json``: figures and claims.
        results: ``results.parquet``: a row a cell (one training) and test database.
        predictions: ``predictions.parquet``: a row a cell and test picture.
        recipes: What each arm is trained on, as far as it is known.
    """

    summary: Mapping[str, Any]
    results: pd.DataFrame
    predictions: pd.DataFrame
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @cached_property
    def emotions(self) -> list[str]:
        """The outputs, in order."""
        return list(self.summary["emotions"])

    @cached_property
    def arms(self) -> list[str]:
        """The arms, plain ones first."""
        known = [*self.recipes] or list(_ARMS)
        return sorted(set(self.results["arm"]), key=lambda arm: _place(arm, known))

    @cached_property
    def backbones(self) -> list[str]:
        """The backbones, in the order of the summary."""
        return list(dict.fromkeys([*self.summary.get("backbones", []), *self.results["backbone"]]))

    @cached_property
    def splits(self) -> list[str]:
        """The splits, in the order of the summary."""
        return list(dict.fromkeys([*self.summary.get("splits", []), *self.results["split"]]))

    @cached_property
    def databases(self) -> list[str]:
        """The test databases by name."""
        return sorted({str(name) for name in self.results["database"]} - {ALL})

    @cached_property
    def folded(self) -> set[str]:
        """The splits that test in several parts, as k folds do."""
        return set(self.results.loc[self.results["part"] > 0, "split"])

    @cached_property
    def figures(self) -> list[Figure]:
        """The summary's figures: split, database, backbone, arm.

        All databases together are listed for folds alone, which are taken out of one pool.
        """
        found = [
            figure
            for figure in self.summary["figures"]
            if figure["database"] != ALL or figure["split"] in self.folded
        ]
        return sorted(found, key=self._order)

    @cached_property
    def claims(self) -> list[Claim]:
        """The summary's claims in the same order, those over all backbones first."""
        return sorted(self.summary["claims"], key=self._order)

    @cached_property
    def overall(self) -> list[Claim]:
        """One claim for each split, database and arm: over all backbones, or the only one."""
        pooled = [claim for claim in self.claims if claim["backbone"] == ALL]
        return pooled or (self.claims if len(self.backbones) == 1 else [])

    @cached_property
    def cells(self) -> pd.DataFrame:
        """``results`` with one row a training."""
        return self.results.drop_duplicates("cell").reset_index(drop=True)

    @property
    def runs(self) -> int:
        """Trainings of each arm that are paired by seed."""
        return len(self.summary["seeds"])

    def figure(self, split: str, backbone: str, database: str, arm: str) -> Figure | None:
        """Return one figure, or None where there is none."""
        return self._by_key.get((split, backbone, database, arm))

    def claim(self, figure: Figure) -> Claim | None:
        """Return the claim about a figure, or None for a reference."""
        same = (claim for claim in self.claims if all(claim[key] == figure[key] for key in _KEYS))
        return next(same, None)

    def trained_on(self, arm: str) -> str:
        """Return the training pictures of an arm: ``4,410``, or a range over folds."""
        rows = self.cells.loc[self.cells["arm"] == arm, "train_rows"]
        if rows.empty:
            return ""
        low, high = int(rows.min()), int(rows.max())
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"

    def predictions_of(self, figure: Figure) -> pd.DataFrame:
        """Return the rows of ``predictions`` that a figure rests on."""
        table = self.predictions
        keep = np.ones(len(table), bool)
        for name in _KEYS:
            if figure[name] != ALL:
                keep &= (table[name] == figure[name]).to_numpy()
        # a database's figures are of its real faces
        return table[keep if figure["database"] == ALL else keep & (table["origin"] == "real")]

    def tested(self, figure: Figure) -> str:
        """Count what a figure was tested on: ``213 pictures of 10 people``."""
        same = self.results["split"].eq(figure["split"])
        same &= self.results["database"].eq(figure["database"])
        pictures = plural(figure["images"], "picture")
        if not self.results.loc[same, "subjects"].any():
            return f"{pictures}, people unknown"
        return f"{pictures} of {plural(figure['subjects'], 'person')}"

    def words(self, arm: str) -> str:
        """Say what an arm is trained on."""
        count = self.trained_on(arm)
        pictures = f"{count} training pictures" if count else ""
        made_of = describe(self.recipes[arm]) if arm in self.recipes else ""
        return ", ".join(filter(None, [made_of, pictures]))

    def place(self, entry: Mapping[str, Any], *, database: bool = True) -> str:
        """Name a figure or claim as shortly as the benchmark allows, without its arm."""
        name = "all test pictures" if entry["database"] == ALL else str(entry["database"])
        parts = [name] if database else []
        if len(self.backbones) > 1 and entry["backbone"] != ALL:
            parts.append(str(entry["backbone"]))
        if len(self.splits) > 1:
            parts.append(str(entry["split"]).replace("_", " "))
        return ", ".join(parts)

    @cached_property
    def _by_key(self) -> dict[tuple[str, ...], Figure]:
        return {tuple(figure[key] for key in _KEYS): figure for figure in self.figures}

    def _order(self, entry: Mapping[str, Any]) -> tuple[int, bool, str, int, int]:
        return (
            self.splits.index(entry["split"]),
            entry["database"] == ALL,
            str(entry["database"]),
            -1 if entry["backbone"] == ALL else self.backbones.index(entry["backbone"]),
            self.arms.index(entry["arm"]),
        )


def read_bench(folders: Sequence[Path], recipes: Mapping[str, Recipe]) -> Bench | None:
    """Read a benchmark folder.

    Args:
        folders: None or one.
        recipes: Arm → what it is trained on.

    Raises:
        ValueError: If there are several, or one that an older version made.
    """
    if not folders:
        return None
    if len(folders) > 1:
        raise ValueError(
            f"report reads one benchmark, got {len(folders)} ({', '.join(map(str, folders))}); "
            "a benchmark holds all folds (stages.report.reads.results)"
        )
    folder = folders[0]
    results = pd.read_parquet(folder / "results.parquet")
    summary = read_json(folder / "summary.json")
    if missing := {"split", "backbone", "cell"} - set(results) or {"claims"} - set(summary):
        raise ValueError(
            f"{folder} was made by an older version of Affectory (no {', '.join(sorted(missing))} "
            "in it); run `affectory benchmark` again"
        )
    return Bench(summary, results, pd.read_parquet(folder / "predictions.parquet"), recipes)


def design(bench: Bench) -> str:
    """Say in a paragraph what was trained and tested."""
    tested = ", ".join(_tested(bench))
    text = (
        f"{len(bench.cells):,} trainings: {_listing(bench.backbones, 'backbone')}, "
        f"{_listing(bench.arms, 'arm')}, {plural(bench.runs, 'seed')} each. An arm is a training "
        f"set; all arms share the seeds and the test pictures: {tested}. "
    )
    if bench.splits != ["external"]:
        text += "Split: " + "; ".join(split_words(split) for split in bench.splits) + ". "
    if not bench.claims:
        return text
    return text + (
        "“Helps” and “hurts” need an interval of the gain that covers both the randomness of "
        "training and the people tested to lie on one side of zero, corrected for the number of "
        "claims. Neither covers the GANs, which were trained once."
    )


def _tested(bench: Bench) -> list[str]:
    found: dict[str, str] = {}
    for figure in bench.figures:
        if figure["database"] == ALL:
            continue
        found.setdefault(figure["database"], bench.tested(figure))
    return [f"{name} ({words})" for name, words in found.items()]


def _listing(names: Sequence[str], what: str) -> str:
    return plural(len(names), what) + (f" ({', '.join(names)})" if len(names) <= 6 else "")


def plural(count: int, word: str) -> str:
    """Count something: ``1 person``, ``12 people``."""
    several = {"person": "people"}.get(word, f"{word}s")
    return f"{count:,} {word if count == 1 else several}"


def split_words(split: str) -> str:
    """Say what a split is, where it is one that everybody knows."""
    return _SPLITS.get(split, split.replace("_", " "))


def describe(recipe: Recipe) -> str:
    """Say what a recipe takes: ``real faces, their geometric copies``."""
    words = []
    for origin, part in recipe.parts.items():
        text = _PARTS[origin] + (_GATES[part.gate] if origin in ("gan", "imported") else "")
        if part.ratio is not None:
            text += f", {part.ratio:g} for each real face"
        elif part.count is not None:
            text += f", {part.count:,} in all"
        words.append(text)
    return " and ".join(words) + (", alone" if set(recipe.parts) <= {"gan", "imported"} else "")


def _place(arm: str, known: Sequence[str]) -> tuple[int, str]:
    return (known.index(arm) if arm in known else len(known)), arm


def by_database(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group figures or claims by test database."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(str(entry["database"]), []).append(entry)
    return groups
