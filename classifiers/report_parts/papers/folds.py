"""Tables of folds of one database."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from classifiers.report_parts import tables
from classifiers.report_parts.benchmark import ALL, Bench
from classifiers.report_parts.papers.reproduction import (
    HERE,
    PUBLISHED,
    Published,
    Reproduction,
    caption,
    file_name,
    pair,
    share,
)
from classifiers.report_parts.tables import Column, Table


def fold_accuracies(bench: Bench) -> pd.DataFrame:
    """Return the accuracy of each fold: seeds averaged, databases put together.

    Returns:
        Indexed by split, backbone, arm and part: ``accuracy``, ``n`` (test pictures of the fold),
        ``shared`` (those of a person who was trained on).
    """
    results = bench.results[bench.results["split"].isin(bench.folded)]
    # all databases together where a split has them, since each is among them
    together = set(results.loc[results["database"] == ALL, "split"])
    chosen = results[(results["database"] == ALL) | ~results["split"].isin(together)]
    known = "shared_subjects" in chosen
    counted = chosen.assign(
        hits=chosen["top1"] * chosen["n"],
        shared=chosen["shared_subjects"].fillna(0) if known else 0,
    )
    keys = ["split", "backbone", "arm", "part"]
    cells = counted.groupby([*keys, "seed"])[["hits", "n", "shared"]].sum()
    folds = cells.groupby(keys).mean()
    return folds.assign(accuracy=folds["hits"] / folds["n"])[["accuracy", "n", "shared"]]


def intra_database(whole: Reproduction, content: Published) -> Table | None:
    """Lay out k folds of one database, by picture and by subject (protocol 1, table 7)."""
    folds = fold_accuracies(whole.bench)
    splits = [split for split in whole.bench.splits if split in whole.bench.folded]
    if not splits:
        return None
    names = {"by_picture": "here, folds by picture", "by_subject": "here, folds by subject"}
    columns = [
        Column("model", tables.TEXT),
        Column("arm here", tables.TEXT),
        Column("accuracy", tables.spread_of(2), f"{PUBLISHED}, by picture"),
    ]
    for split in splits:
        group = names.get(split, f"here, {split.replace('_', ' ')}")
        columns.append(Column("accuracy", tables.spread_of(2), group))
        columns.append(Column("folds", tables.COUNT, group))
        columns.append(Column("of known people", tables.Kind(), group))
    arms = sorted(set(folds.index.get_level_values("arm")), key=whole.bench.arms.index)
    rows = []
    for model, backbone in whole.models():
        printed = pair(content["rows"].get(model))
        last = len(arms) - 1
        for number, arm in enumerate(arms):
            cells: list[Any] = []
            for split in splits:
                part = folds[
                    (folds.index.get_level_values("split") == split)
                    & (folds.index.get_level_values("backbone") == backbone)
                    & (folds.index.get_level_values("arm") == arm)
                ]
                cells += _fold_cells(part)
            if any(cell is not None for cell in cells) or (printed and number == last):
                known = any(cell is not None for cell in cells)
                rows.append([model, arm if known else None, printed, *cells])
                printed = None  # once is enough
    text = (
        f"One database: published on {content['images']:,} pictures in five folds by picture. "
        "Accuracy in per cent, mean ± standard deviation over folds; of known people: test "
        "pictures whose person, or a copy, was trained on"
    )
    note = (
        "Folds by picture let copies of one photograph and pictures of one person fall on both "
        "sides. What is left by subject is what a new person can expect."
    )
    return Table(file_name(content, "folds"), caption(content, text), columns, rows, 1, note=note)


def _fold_cells(part: pd.DataFrame) -> list[Any]:
    if part.empty:
        return [None, None, None]
    values = part["accuracy"].to_numpy()
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    shared, n = round(part["shared"].sum()), round(part["n"].sum())
    return [(float(values.mean()), std), len(values), f"{shared:,} of {n:,}"]


def folds(whole: Reproduction, content: Published) -> Table | None:
    """Lay out the accuracy of each fold (protocol 2, tables 1 to 3)."""
    folds = fold_accuracies(whole.bench)
    if folds.empty:
        return None
    grouped = list(folds.groupby(level=["split", "backbone", "arm"], sort=False))
    most = max([5, *(len(part) for _, part in grouped)])
    rows: list[list[Any]] = [
        [PUBLISHED, model, f"{pictures}, {epochs} epochs",
         *_filled([share(value) for value in values], most), (share(mean), None)]
        for model, pictures, epochs, values, mean in content["rows"]
    ]  # fmt: skip
    for (split, backbone, arm), part in grouped:
        values = part["accuracy"].to_numpy()
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        model = whole.paper.model(str(backbone)) or str(backbone)
        pictures = whole.paper.arms.get(str(arm), str(arm))
        words = f"{pictures}, {str(split).replace('_', ' ')}"
        mean = (float(values.mean()), std)
        rows.append([HERE, model, words, *_filled([float(v) for v in values], most), mean])
    columns = [
        Column("source", tables.TEXT),
        Column("model", tables.TEXT),
        Column("pictures", tables.TEXT),
        *(Column(f"fold {number + 1}", tables.PERCENT) for number in range(most)),
        Column("mean", tables.spread_of(2)),
    ]
    text = "Accuracy of each fold in per cent"
    return Table(file_name(content, "folds"), caption(content, text), columns, rows, merge=1)


def _filled(values: Sequence[Any], length: int) -> list[Any]:
    return [*values, *[None] * (length - len(values))]
