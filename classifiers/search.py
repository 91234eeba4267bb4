"""How many of the last layers to tune, found by people held out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from classifiers.finetune import Fitted, fit
from classifiers.training import Training

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
