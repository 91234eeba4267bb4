"""Counts for the inspection page: who and what is in a corpus, as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from curation.corpus import ORIGINS, SPLITS

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Table:
    """Counts in rows and columns.

    Attributes:
        caption: What is counted.
        keys: Heading of each column that names a row.
        columns: Heading of each column of counts.
        rows: Names of the row, then its counts; None where nothing is known.
        total: Counts of the last line; empty for none.
    """

    caption: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], tuple[int | None, ...]]]
    total: tuple[int, ...] = ()

    @property
    def most(self) -> int:
        """The largest count, which has the longest bar."""
        return max((count or 0 for _, counts in self.rows for count in counts), default=0)


def by_class(facts: pd.DataFrame, emotions: Sequence[str]) -> Table:
    """Count pictures by database and split (rows) and class (columns)."""
    columns = (*emotions, "all")
    rows = []
    for database, part in _groups(facts, "database"):
        for split in SPLITS:
            own = part[part["split"] == split]
            if len(own):
                counts = own["emotion"].value_counts()
                line = (*(int(counts.get(name, 0)) for name in emotions), len(own))
                rows.append(((database, split), line))
    sums = facts["emotion"].value_counts()
    total = (*(int(sums.get(name, 0)) for name in emotions), len(facts))
    return Table("Pictures by class", ("database", "split"), columns, rows, total)


def shares(facts: pd.DataFrame, emotions: Sequence[str]) -> list[dict[str, Any]]:
    """Return a bar for each class: its pictures in each split, and the length of each part in %."""
    table = facts.groupby(["emotion", "split"]).size()
    longest = max((int((facts["emotion"] == name).sum()) for name in emotions), default=0) or 1
    bars = []
    for emotion in emotions:
        parts = [
            {"split": split, "count": count, "width": round(100 * count / longest, 2)}
            for split in SPLITS
            if (count := int(table.get((emotion, split), 0)))
        ]
        total = sum(part["count"] for part in parts)
        bars.append({"emotion": emotion, "parts": parts, "total": total})
    return bars


def subjects(facts: pd.DataFrame) -> Table | None:
    """Count people, and real pictures a person, by database and split; None without any."""
    columns = ("subjects", "pictures", "fewest", "median", "most", "of unknown subject")
    real = facts[facts["origin"] == "real"]
    rows = []
    for database, part in _groups(real, "database"):
        for split in SPLITS:
            own = part[part["split"] == split]
            if len(own):
                rows.append(((database, split), _people(own)))
    if not rows:
        return None
    return Table("People, and real pictures of each", ("database", "split"), columns, rows)


def _people(part: pd.DataFrame) -> tuple[int | None, ...]:
    each = part["subject"].value_counts()
    known = int(each.sum())
    spread: tuple[int | None, ...] = (None, None, None)
    if len(each):
        spread = (int(each.min()), int(each.median()), int(each.max()))
    return (len(each), len(part), *spread, len(part) - known)


def by_column(facts: pd.DataFrame, column: str) -> Table | None:
    """Count pictures by database (rows) and a column's values; None where nothing is known."""
    values = facts[column].dropna()
    if not len(values):
        return None
    names = sorted(values.unique())
    if column == "origin":
        names = [name for name in ORIGINS if name in names]
    unknown = len(values) < len(facts)
    rows = []
    for database, part in _groups(facts, "database"):
        counts = part[column].value_counts()
        line = [int(counts.get(name, 0)) for name in names]
        rows.append(((database,), (*line, *([int(part[column].isna().sum())] if unknown else []))))
    columns = (*map(str, names), *([UNKNOWN] if unknown else []))
    return Table(f"Pictures by {column}", ("database",), columns, rows)


def two_sided(facts: pd.DataFrame) -> dict[str, list[str]]:
    """Return the people who are in more than one split: subject → its splits."""
    sides = facts.dropna(subset=["subject"]).groupby("subject")["split"].unique()
    return {
        str(subject): [split for split in SPLITS if split in found]
        for subject, found in sides.items()
        if len(found) > 1
    }


def gates(facts: pd.DataFrame, emotions: Sequence[str]) -> Table | None:
    """Count what the gates kept and rejected, by class and reason; None where none has judged."""
    judged = facts[facts["keep"].notna()]
    if not len(judged):
        return None
    kept = judged["keep"].astype(bool)
    # a gate writes "category: figures", or the category alone
    category = judged["reason"].fillna("no reason given").astype(str).str.split(":").str[0]
    reason = category.where(~kept)
    reasons = list(reason.dropna().value_counts().index)
    rows = []
    for emotion in emotions:
        own = judged["emotion"] == emotion
        if own.any():
            counts = reason[own].value_counts()
            line = (int(own.sum()), int((own & kept).sum()))
            rows.append(((emotion,), (*line, *(int(counts.get(name, 0)) for name in reasons))))
    columns = ("made", "kept", *(f"rejected: {name}" for name in reasons))
    return Table("What the gates kept", ("class",), columns, rows)


def expected(facts: Mapping[str, Any]) -> list[Table]:
    """Compare what an ingest found with what the complete databases hold, as it recorded both.

    Args:
        facts: Of the ingest's record: ``expected`` and ``missing`` by database and label.
    """
    tables = []
    for database, labels in (facts.get("expected") or {}).items():
        short = (facts.get("missing") or {}).get(database) or {}
        lines = [
            (str(label), count, count - short.get(label, 0)) for label, count in labels.items()
        ]
        # a label of which the complete database has none at all was found all the same
        lines += [(str(label), 0, -short[label]) for label in short.keys() - labels.keys()]
        rows = [((label,), (want, found, found - want)) for label, want, found in sorted(lines)]
        columns = ("complete", "found", "difference")
        tables.append(Table(f"{database}, complete and found", ("label",), columns, rows))
    return tables


def _groups(facts: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    return [(str(key), part) for key, part in facts.groupby(facts[column].fillna(UNKNOWN))]
