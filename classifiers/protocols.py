"""The benchmark: recognisers trained on each arm's faces, tested on people they never saw.

An arm is a recipe of training pictures (`curation.recipes`). All arms share the test pictures,
the optimiser steps and the seeds, so that they differ in their training pictures alone.
"""

import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from classifiers.finetune import fit
from classifiers.networks import Network
from classifiers.statistics import accuracy, balanced_accuracy, macro_f1
from classifiers.summary import confusion_of, summarise
from classifiers.training import Training
from curation.artifact import write_json
from curation.corpus import Corpus
from curation.recipes import Choice, Recipe

logger = logging.getLogger(__name__)

_NEEDED = ["id", "emotion", "database", "subject", "parent", "split", "origin", "keep"]
_PREDICTION = ["arm", "seed", "fold", "database", "id", "subject", "emotion"]
_PREDICTION += ["predicted", "confidence"]


@dataclass(frozen=True)
class _Bench:
    """What all cells share: one pool of pictures, each arm's rows of it, the test rows."""

    facts: pd.DataFrame
    images: np.ndarray  # (N, 3, H, W) uint8
    labels: np.ndarray  # (N,)
    arms: Mapping[str, np.ndarray]  # arm → rows
    test: np.ndarray  # rows


@dataclass(frozen=True)
class _Work:
    """All that a cell needs besides its arm and seed."""

    bench: _Bench
    emotions: tuple[str, ...]
    network: Network
    fold: int | None
    training: Training
    accelerator: str


def benchmark(
    corpus: Path,
    synthetic: Path,
    out: Path,
    *,
    emotions: Sequence[str],
    network: Network,
    arms: Mapping[str, Recipe],
    reference: str,
    seeds: Sequence[int],
    fold: int | None = None,
    training: Training,
    jobs: int = 1,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Train on each arm with each seed, test on the real test faces of each database.

    Each finished cell (an arm with a seed) is kept in ``out/cells``; called again with the same
    `out` after a break, only missing cells are trained. All arms of a seed come before the next
    seed, the arm with the fewest pictures first, so a break leaves comparable cells.

    Args:
        corpus: The augmented corpus; real faces with split ``test`` are the test set.
        synthetic: The selected corpus; its generated faces feed the arms that name them.
        out: A folder; receives ``results.parquet`` (a row for each cell and database),
            ``predictions.parquet`` (a row for each cell and test picture) and ``summary.json``
            (`summarise`).
        emotions: The outputs, in order; other rows are left out.
        network: Builds the network for a number of classes.
        arms: Name → recipe of the training pictures.
        reference: The arm that the others are compared with.
        seeds: Seeds of training, the same for each arm.
        fold: Which fold of a k-fold by subject the corpus's split is; only recorded.
        training: How each cell is trained; for a number of steps, the same for each arm.
        jobs: Cells trained at the same time, each in a process with its share of the cores. Small
            networks gain almost in proportion; nothing else changes but rounding.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        Counts of training and test pictures, of pictures that an arm is short of, steps, seconds
        and the summary's figures.

    Raises:
        ValueError: If there is nothing to test on, a test subject, picture or its copy would be
            trained on, an arm lacks an emotion or asks for more pictures than there are, or the
            arms do not hold the reference.
    """
    _require_distinct(list(arms), reference, seeds)
    steps = sum(phase.steps(1) for phase in training.phases.values())
    started = time.monotonic()
    bench, short = _prepare(corpus, synthetic, emotions, arms)
    databases = bench.facts["database"].iloc[bench.test].value_counts().sort_index()
    logger.info(
        "benchmark: %d cells of %d steps; trained on %s; tested on %s",
        len(arms) * len(seeds),
        steps,
        ", ".join(f"{arm} {len(rows)}" for arm, rows in bench.arms.items()),
        ", ".join(f"{name} {count}" for name, count in databases.items()),
    )
    (out / "cells").mkdir(exist_ok=True)
    plan = [
        (seed, arm) for seed in seeds for arm in sorted(arms, key=lambda arm: len(bench.arms[arm]))
    ]
    paths = {cell: out / "cells" / f"{cell[1]}-{cell[0]}.parquet" for cell in plan}
    todo = [cell for cell in plan if not paths[cell].exists()]
    for seed, arm in set(plan) - set(todo):
        _read_cell(paths[seed, arm], bench, arm, steps)
    begun = time.monotonic()
    work = _Work(bench, tuple(emotions), network, fold, training, accelerator)
    for number, (seed, arm, cell) in enumerate(_trained(work, todo, jobs), 1):
        _write_whole(cell, paths[seed, arm])
        left = (len(todo) - number) * (time.monotonic() - begun) / number
        logger.info(
            "cell %d of %d: %s, seed %d: %s, %.0f s; %.0f s left",
            len(plan) - len(todo) + number,
            len(plan),
            arm,
            seed,
            ", ".join(
                f"{name} {(part['emotion'] == part['predicted']).mean():.1%}"
                for name, part in cell.groupby("database")
            ),
            cell["seconds"].iloc[0],
            left,
        )
    cells = [_read_cell(paths[cell], bench, cell[1], steps) for cell in plan]
    table = pd.concat(cells, ignore_index=True)
    _write_whole(_results(table, emotions), out / "results.parquet")
    _write_whole(table[_PREDICTION], out / "predictions.parquet")
    summary = summarise([table], reference, emotions=emotions)
    write_json(out / "summary.json", summary)
    return {
        "train_rows": {arm: len(rows) for arm, rows in bench.arms.items()},
        "short": short,
        "test_rows": {str(name): int(count) for name, count in databases.items()},
        "steps": steps,
        "cells_resumed": len(plan) - len(todo),
        "seconds": round(time.monotonic() - started, 1),
        **summary,
    }


def _require_distinct(arms: Sequence[str], reference: str, seeds: Sequence[int]) -> None:
    if reference not in arms:
        raise ValueError(f"reference {reference!r} is not among the arms {', '.join(arms)}")
    for name, values in (("arms", arms), ("seeds", seeds)):
        if len(values) == 0 or len(set(values)) < len(values):
            raise ValueError(f"{name} must be given, each once, got {list(values)}")


def _prepare(
    corpus: Path, synthetic: Path, emotions: Sequence[str], arms: Mapping[str, Recipe]
) -> tuple[_Bench, dict[str, Any]]:
    """Return the pictures, and what each arm is short of (`Choice.short`)."""
    real, drawn = Corpus(corpus), Corpus(synthetic)
    test = (real.facts["split"] == "test") & (real.facts["origin"] == "real")
    test &= real.facts["emotion"].isin(emotions)
    if not test.any():
        raise ValueError(
            f"{corpus} has no real face with split 'test' and one of the emotions "
            f"{', '.join(emotions)}; ingest a test database or split off test subjects"
        )
    chosen: dict[str, Choice] = {
        arm: recipe.choose(real.facts, drawn.facts, emotions, label=f"arm {arm!r}")
        for arm, recipe in arms.items()
    }
    masks = {arm: (choice.corpus, choice.synthetic) for arm, choice in chosen.items()}
    used_real = np.logical_or.reduce([test, *(mask for mask, _ in masks.values())])
    used_drawn = np.logical_or.reduce([mask for _, mask in masks.values()])
    facts = pd.concat(
        [real.facts.loc[used_real, _NEEDED], drawn.facts.loc[used_drawn, _NEEDED]],
        ignore_index=True,
    )
    facts["database"] = facts["database"].fillna("unknown")
    rows = {
        arm: np.flatnonzero(np.r_[mask[used_real], other[used_drawn]])
        for arm, (mask, other) in masks.items()
    }
    tested = np.flatnonzero(np.r_[test[used_real], np.zeros(used_drawn.sum(), bool)])
    for arm in arms:
        _refuse_leaks(arm, facts.iloc[rows[arm]], facts.iloc[tested])
        _require_all(arm, facts.iloc[rows[arm]], emotions)
    images = real.images(used_real)
    if used_drawn.any():
        sampled = drawn.images(used_drawn)
        if sampled.shape[2:] != images.shape[2:]:
            raise ValueError(
                f"pictures of {synthetic} are {sampled.shape[2:]}, those of {corpus} "
                f"{images.shape[2:]}; sample at the size that was standardised to"
            )
        images = np.concatenate([images, sampled])
    codes = facts["emotion"].map({name: code for code, name in enumerate(emotions)})
    short = {arm: choice.short for arm, choice in chosen.items() if choice.short}
    return _Bench(facts, images, codes.to_numpy(np.int64), rows, tested), short


def _refuse_leaks(arm: str, train: pd.DataFrame, test: pd.DataFrame) -> None:
    for column, against, what in (
        ("subject", "subject", "subject"),
        ("parent", "id", "test picture (as the parent of a copy)"),
        ("id", "id", "test picture"),
    ):
        if shared := sorted(set(train[column].dropna()) & set(test[against].dropna())):
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise ValueError(
                f"arm {arm!r} would train on the {what} {shared[0]!r}{more}, which it is tested "
                "on; split by subject before augmentation"
            )


def _require_all(arm: str, train: pd.DataFrame, emotions: Sequence[str]) -> None:
    if missing := [name for name in emotions if not (train["emotion"] == name).any()]:
        raise ValueError(
            f"arm {arm!r} has no training picture of {', '.join(missing)} (of {len(train)} in "
            "all); loosen the gates, or take the arm or the emotion out"
        )


def _trained(
    work: _Work, todo: Sequence[tuple[int, str]], jobs: int
) -> Iterator[tuple[int, str, pd.DataFrame]]:
    """Yield (seed, arm, predictions) as cells are done."""
    jobs = min(jobs, len(todo))
    if jobs <= 1:
        for seed, arm in todo:
            yield seed, arm, _run_cell(work, arm, seed)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    # a forked process would inherit locks of torch's threads that nobody releases
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _Worker.begin, (work, threads)) as pool:
        cells = {pool.submit(_Worker.cell, arm, seed): (seed, arm) for seed, arm in todo}
        for done in as_completed(cells):
            yield *cells[done], done.result()


class _Worker:
    """What a process of its own keeps from one cell to the next."""

    work: ClassVar[_Work]

    @classmethod
    def begin(cls, work: _Work, threads: int) -> None:
        torch.set_num_threads(threads)
        cls.work = work

    @classmethod
    def cell(cls, arm: str, seed: int) -> pd.DataFrame:
        return _run_cell(cls.work, arm, seed)


def _run_cell(work: _Work, arm: str, seed: int) -> pd.DataFrame:
    bench, emotions, training = work.bench, work.emotions, work.training
    started = time.monotonic()
    fitted = fit(
        bench.images,
        bench.labels,
        classes=len(emotions),
        network=work.network,
        seed=seed,
        rows=bench.arms[arm],
        training=training,
        label=f"{arm}, seed {seed}",
        accelerator=work.accelerator,
    )
    probabilities = fitted.predict(bench.images[bench.test])
    cell = bench.facts.iloc[bench.test][["database", "id", "subject", "emotion"]]
    cell = cell.reset_index(drop=True)
    cell["predicted"] = np.array(emotions, object)[probabilities.argmax(1)]
    cell["confidence"] = probabilities.max(1)
    cell["arm"], cell["seed"] = arm, seed
    cell["fold"] = pd.array([work.fold] * len(cell), dtype="Int64")
    cell["steps"], cell["train_rows"] = fitted.steps, len(bench.arms[arm])
    cell["seconds"] = round(time.monotonic() - started, 2)
    return cell


def _read_cell(path: Path, bench: _Bench, arm: str, steps: int) -> pd.DataFrame:
    cell = pd.read_parquet(path)
    same = (
        list(cell["id"]) == list(bench.facts["id"].iloc[bench.test])
        and (cell["steps"] == steps).all()
        and (cell["train_rows"] == len(bench.arms[arm])).all()
    )
    if not same:
        raise ValueError(
            f"{path} comes from another benchmark (other test pictures, steps or training rows); "
            "delete the folder"
        )
    return cell


def _write_whole(table: pd.DataFrame, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    table.to_parquet(partial, index=False)
    partial.replace(path)


def _results(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for (arm, seed, database), part in table.groupby(["arm", "seed", "database"], sort=False):
        confusion = confusion_of(part, emotions)
        first = part.iloc[0]
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "fold": first["fold"],
                "database": database,
                "n": len(part),
                "accuracy": accuracy(confusion),
                "macro_f1": macro_f1(confusion),
                "balanced_accuracy": balanced_accuracy(confusion),
                "steps": first["steps"],
                "train_rows": first["train_rows"],
                "seconds": first["seconds"],
            }
        )
    return pd.DataFrame(rows).astype({"fold": "Int64"})
