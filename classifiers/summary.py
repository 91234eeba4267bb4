"""What a benchmark's predictions say: figures of each arm, and differences to a reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from classifiers.statistics import (
    accuracy,
    balanced_accuracy,
    bootstrap_by_subject,
    confusion_matrix,
    macro_f1,
    mean_interval,
    paired_difference,
    precision_recall,
    verdict,
)
from curation.corpus import EMOTIONS


def summarise(
    frames: Sequence[pd.DataFrame],
    reference: str,
    *,
    emotions: Sequence[str] = EMOTIONS,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Pool the predictions of one benchmark, or of the folds of one, into figures.

    One value a seed: the folds' test pictures of that seed are put together first. In a k-fold
    by subject each person is tested once, so the value is an accuracy over all people; a test
    database that each fold is tested on enters with the mean over folds. Folds are therefore
    never mistaken for independent runs.

    What the intervals (95 %) cover:

    * ``accuracy``, ``macro_f1``, ``balanced_accuracy``: Student's t over seeds. How far another
      training would fall from these, on these test pictures.
    * ``against.seeds``: the same for the difference to the reference, paired by seed.
    * ``against.subjects``: bootstrap over test subjects of the difference of seed-averaged
      correctness. How far it would fall for other people, with these trainings.
    * ``against.verdict``: ``helps`` or ``hurts`` only if both intervals lie on that side of 0;
      with one seed or one subject there is ``no evidence``. Nothing is corrected for the number
      of ``comparisons``: at 95 %, one in twenty that are nothing looks like something.

    Neither covers the GAN, which was trained once.

    Args:
        frames: ``predictions.parquet`` tables of one benchmark each; several are its folds.
        reference: The arm that the others are compared with.
        emotions: The outputs, in order.
        resamples: Bootstrap resamples.

    Returns:
        ``reference``, ``emotions``, ``seeds``, ``comparisons`` and ``figures``: an entry for each
        arm and database, JSON values only, null for what cannot be computed.

    Raises:
        ValueError: If a cell is missing, or cells of a fold were tested on different pictures.
    """
    table = pd.concat(
        [frame.assign(fold=frame["fold"].fillna(-1).astype(int)) for frame in frames],
        ignore_index=True,
    )
    # nobody's picture is somebody of its own
    table["person"] = table["subject"].fillna(table["id"])
    table["correct"] = table["emotion"] == table["predicted"]
    arms, seeds = list(dict.fromkeys(table["arm"])), sorted(set(table["seed"]))
    if reference not in arms:
        raise ValueError(f"no prediction of the reference {reference!r}; arms: {', '.join(arms)}")
    figures: list[dict[str, Any]] = []
    for database, part in table.groupby("database"):
        correct = _aligned(part, arms, seeds, str(database))
        first = part[(part["arm"] == arms[0]) & (part["seed"] == seeds[0])]
        people = first.sort_values("fold", kind="stable")["person"].to_numpy()
        for arm in arms:
            entry = {
                "arm": arm,
                "database": database,
                "images": int(first["id"].nunique()),
                "subjects": int(first["person"].nunique()),
                "folds": int(first["fold"].nunique()),
                "seeds": len(seeds),
                **_scores(part[part["arm"] == arm], seeds, emotions),
            }
            if arm != reference:
                entry["against"] = _against(correct[arm], correct[reference], people, resamples)
            figures.append(entry)
    return {
        "reference": reference,
        "emotions": list(emotions),
        "seeds": [int(seed) for seed in seeds],
        "comparisons": sum("against" in entry for entry in figures),
        "figures": figures,
    }


def _aligned(
    part: pd.DataFrame, arms: Sequence[str], seeds: Sequence[int], database: str
) -> dict[str, np.ndarray]:
    """Return arm → (seeds, pictures) correctness, pictures in the same order everywhere."""
    ordered = part.sort_values("fold", kind="stable")
    cells = dict(list(ordered.groupby(["arm", "seed"])))
    expected: pd.DataFrame | None = None
    for arm in arms:
        for seed in seeds:
            cell = cells.get((arm, seed))
            if cell is None:
                raise ValueError(f"no prediction of arm {arm!r} with seed {seed} on {database}")
            tested = cell[["fold", "id"]].reset_index(drop=True)
            expected = tested if expected is None else expected
            if not tested.equals(expected):
                raise ValueError(
                    f"arm {arm!r} with seed {seed} was tested on other pictures of {database} "
                    f"({len(tested)}) than {arms[0]!r} with seed {seeds[0]} ({len(expected)}); "
                    "finish every fold with the same arms and seeds"
                )
    return {
        arm: np.stack([cells[arm, seed]["correct"].to_numpy(float) for seed in seeds])
        for arm in arms
    }


def _scores(part: pd.DataFrame, seeds: Sequence[int], emotions: Sequence[str]) -> dict[str, Any]:
    confusions = [confusion_of(part[part["seed"] == seed], emotions) for seed in seeds]
    scores: dict[str, Any] = {}
    for score in (accuracy, macro_f1, balanced_accuracy):
        values = np.array([score(confusion) for confusion in confusions])
        plain = mean_interval(values).plain()
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        scores[score.__name__] = {
            "mean": plain["value"],
            "std": spread,
            "low": plain["low"],
            "high": plain["high"],
        }
    pooled = np.sum(confusions, axis=0)
    precision, recall = precision_recall(pooled)
    for name, values in (("precision", precision), ("recall", recall)):
        scores[name] = {
            emotion: None if np.isnan(value) else float(value)
            for emotion, value in zip(emotions, values, strict=True)
        }
    return {**scores, "confusion": pooled.tolist()}


def _against(
    arm: np.ndarray, reference: np.ndarray, people: np.ndarray, resamples: int
) -> dict[str, Any]:
    over_seeds = paired_difference(arm.mean(1), reference.mean(1))
    over_subjects = bootstrap_by_subject(arm.mean(0), reference.mean(0), people, resamples)
    verdicts = {verdict(over_seeds), verdict(over_subjects)}
    return {
        "difference": over_seeds.value,
        "seeds": over_seeds.plain(),
        "subjects": over_subjects.plain(),
        "verdict": verdicts.pop() if len(verdicts) == 1 else "no evidence",
    }


def confusion_of(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Return the (C, C) confusion of a table with columns ``emotion`` and ``predicted``."""
    codes = {name: code for code, name in enumerate(emotions)}
    return confusion_matrix(
        predictions["emotion"].map(codes).to_numpy(np.int64),
        predictions["predicted"].map(codes).to_numpy(np.int64),
        len(emotions),
    )
