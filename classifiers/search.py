"""How many of the last layers to tune, found by people held out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from classifiers.finetune import Fitted, fit
from classifiers.networks import Network
from classifiers.prefix import PrefixCache
from classifiers.splits import people_of
from classifiers.training import Training
from curation.corpus import Corpus
from curation.decoded import decoded
from curation.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """How many layers to tune.

    Attributes:
        best: The number with the highest figure on the people held out; the smallest of equals.
        table: A line for each number: ``trains``, ``trained`` (weights of the last phase),
            ``validation_accuracy`` (or ``validation_ccc``), ``validation_loss`` and ``seconds``.
        validation_rows: Pictures that judged.
    """

    best: int
    table: list[dict[str, Any]]
    validation_rows: int


def search_k(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    candidates: Sequence[int],
    training: Training,
    label: str = "search",
    **options: Any,
) -> Search:
    """Find how many of the last layers to tune by people held out (Randellini et al. 2022).

    Each number is tried as ``trains`` of the last phase, with the same seed: the same people held
    out, initial weights and batches.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        labels: See `fit`.
        candidates: Numbers of layers.
        training: How; the paper holds out ``validation`` 0.2.
        label: What progress lines call it.
        **options: The others of `fit`. With `prefix`, what candidates share is computed once.

    Raises:
        ValueError: If nobody is held out, or there are no candidates.
    """
    if not training.validation or not candidates:
        raise ValueError(
            f"a search over {list(candidates)} layers with training.validation="
            f"{training.validation} has nothing to choose (by); the paper holds 0.2 of people out"
        )
    *_, last = training.phases
    table: list[dict[str, Any]] = []
    held = 0
    for number in sorted(set(candidates)):
        phases = {**training.phases, last: replace(training.phases[last], trains=number)}
        tried = replace(training, phases=phases)
        fitted = fit(images, labels, training=tried, label=f"{label}, last {number}", **options)
        held = fitted.validation_rows
        judged = _standing(fitted)
        table.append(
            {"trains": number, "trained": fitted.trained[-1], **judged, "seconds": fitted.seconds}
        )
        logger.info("%s: last %d layers: %s", label, number, judged)
    figure = "validation_accuracy" if "validation_accuracy" in table[0] else "validation_ccc"
    best = max(table, key=lambda line: line[figure])
    return Search(best["trains"], table, held)


def _standing(fitted: Fitted) -> dict[str, float]:
    """Return the validation figures of the weights that were kept."""
    lines = [line for line in fitted.history if line["phase"] == fitted.history[-1]["phase"]]
    line = lines[-1]
    if fitted.training.phases[line["phase"]].stop_after is not None:
        line = min(lines, key=lambda line: line["validation_loss"])
    return {key: value for key, value in line.items() if key.startswith("validation_")}


def search_layers(
    corpus: Path,
    out: Path,
    *,
    emotions: Sequence[str],
    network: Network,
    training: Training,
    recipe: Recipe,
    candidates: Sequence[int],
    validation: float,
    seed: int,
    cache: Path | str | None = None,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Stage ``search_layers``: `search_k` on a corpus's training people. No test face is read.

    Args:
        corpus: The augmented corpus.
        out: An empty folder; receives ``layers.csv``, the table of `Search`.
        emotions: The outputs, in order; other rows are left out.
        network: Builds the network for a number of classes.
        training: How; the last phase's ``trains`` is what is searched.
        recipe: Which real faces and copies are trained on, as an arm of the benchmark.
        candidates: Numbers of last layers to try.
        validation: Share of the training people held out, in (0, 1).
        seed: Of people held out and trainings.
        cache: See `classifiers.cells.train_cell`.
        accelerator: Lightning's: ``auto``, ``cpu``, ``gpu``, …

    Returns:
        ``best``, ``table``, ``validation_rows`` and ``train_rows``.

    Raises:
        ValueError: If there are no candidates, or nobody is held out.
    """
    data = Corpus(corpus)
    facts = data.facts
    rows = np.flatnonzero(recipe.choose(facts, facts.iloc[:0], emotions, label="search").corpus)
    codes = facts["emotion"].map({name: code for code, name in enumerate(emotions)})
    found = search_k(
        decoded([data], Path(cache, "pictures") if cache else out),
        codes.fillna(0).to_numpy(np.int64),
        candidates=list(candidates),
        training=replace(training, validation=validation),
        classes=len(emotions),
        network=network,
        seed=seed,
        rows=rows,
        subjects=people_of(facts).to_numpy(object),
        ids=facts["id"].to_numpy(object),
        prefix=PrefixCache(Path(cache, "prefix") if cache else None),
        accelerator=accelerator,
    )
    pd.DataFrame(found.table).to_csv(out / "layers.csv", index=False)
    logger.info("the last %d layers are best on %d pictures", found.best, found.validation_rows)
    return {
        "best": found.best,
        "table": found.table,
        "validation_rows": found.validation_rows,
        "train_rows": len(rows),
    }
