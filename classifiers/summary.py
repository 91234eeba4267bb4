"""What a benchmark's predictions say: figures of each arm, and claims about their differences."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from classifiers.claims import claim, judge
from classifiers.predictions import (
    ALL,
    CELL,
    Answers,
    Tested,
    codes_of,
    groups,
    missing_cells,
    read,
    tested_by_arm,
)
from classifiers.statistics import (
    accuracy,
    balanced_accuracy,
    by_subject,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    macro_precision,
    macro_recall,
    mean_interval,
    precision_recall,
    two_way,
)
from curation.corpus import EMOTIONS

_SCORES = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "precision_macro": macro_precision,
    "recall_macro": macro_recall,
    "balanced_accuracy": balanced_accuracy,
}


def summarise(
    predictions: pd.DataFrame,
    references: Mapping[str, str],
    *,
    emotions: Sequence[str] = EMOTIONS,
    cells: pd.DataFrame | None = None,
    leaky: Collection[str] = (),
    resamples: int = 2000,
) -> dict[str, Any]:
    """Turn the predictions of a benchmark's cells into figures and claims.

    One value a seed: folds and parts of a split are put together first. In a k-fold by subject
    each person is tested once, so the value is an accuracy over all people; a test database that
    each fold is tested on enters with the mean over folds. Folds are therefore never mistaken for
    independent trainings.

    A figure is of one split, backbone, database and arm. A database's figures are of its real
    faces; the database ``all`` is every test picture of the split, generated and augmented ones
    included, and is there if that is more than one database's real faces. Scores are means over
    seeds with ``std``, and Student's t interval (95 %) over seeds: how far another training would
    fall. ``accuracy`` also has ``both``: trainings and people (`two_way`).

    A claim is the gain of an arm over its reference on one database (`classifiers.claims.claim`),
    for each backbone and, where there are several, for their mean (backbone ``all``). Its verdict
    covers trainings and people and is corrected for the number of claims. Neither covers the GAN,
    which was trained once. Leaky splits have figures and no claims: that a copy of a known face
    is recognised says nothing of other people.

    Args:
        predictions: A row for each cell and test picture: fold (null if the road has none), split,
            part, backbone, arm, seed, database, id, subject (null if unknown), origin, emotion,
            predicted, confidence and ``p_<emotion>`` for each output.
        references: Arm → the arm that it is compared with. An arm that is not named makes no claim.
        emotions: The outputs, in order.
        cells: A row for each cell that was planned: fold, split, part, backbone, arm, seed, and
            ``train_rows`` of those that are done. None plans every combination that occurs.
        leaky: Splits in which people or pictures are on both sides. Those that test pictures that
            are not real are leaky without being named.
        resamples: Bootstrap resamples.

    Returns:
        ``emotions``, ``seeds``, ``splits``, ``backbones``, ``references``, ``missing`` (cells that
        were planned and are not there; figures and claims go on with the seeds that are complete),
        ``figures`` and ``claims``. JSON values only, null for what cannot be computed. A claim is
        also under ``against`` in its arm's figure.

    Raises:
        ValueError: If columns are missing, an emotion is none of `emotions`, a reference is no arm,
            or cells of one split, fold and part were tested on different pictures. (Pictures that
            are not real may differ between arms.)
    """
    table, answers = read(predictions, emotions)
    arms = table["arm"].unique().tolist()
    planned = arms if cells is None else {*arms, *cells["arm"]}
    for arm, reference in references.items():
        if arm in arms and reference not in planned:
            raise ValueError(
                f"arm {arm!r} is to be compared with {reference!r}, which is no arm of the "
                f"predictions ({', '.join(arms)}); change protocol.references"
            )
    figures: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for name, part in table.groupby("split", sort=False):
        split, backbones = str(name), part["backbone"].unique().tolist()
        tested = tested_by_arm(split, part)
        silent = split in leaky or not part["real"].all()
        for database, _ in groups(part["database"], part["real"]):
            figures += _figures(split, database, backbones, tested, answers, emotions, cells)
            if database != ALL and not silent:
                claims += _claims(
                    split, database, backbones, tested, answers, references, emotions, resamples
                )
    judge(claims)
    by_place = {_place(entry): entry for entry in claims}
    for figure in figures:
        if found := by_place.get(_place(figure)):
            figure["against"] = found
    return {
        "emotions": list(emotions),
        "seeds": sorted({int(seed) for seed in table["seed"]}),
        "splits": table["split"].unique().tolist(),
        "backbones": table["backbone"].unique().tolist(),
        "references": {arm: name for arm, name in references.items() if arm in arms},
        "missing": missing_cells(table, cells),
        "figures": figures,
        "claims": claims,
    }


def results_of(
    predictions: pd.DataFrame,
    facts: Mapping[str, Mapping[str, Any]],
    emotions: Sequence[str] = EMOTIONS,
) -> pd.DataFrame:
    """Return the scores of each cell on each database, beside what is known of its training.

    Args:
        predictions: As in `summarise`, with a column ``cell``: the name of the cell's folder.
        facts: Cell → what its record says: any of ``train_rows``, ``steps``, ``epochs``,
            ``parameters``, ``trained_parameters`` (one number, or one a phase), ``seconds``,
            ``prefix`` (`classifiers.finetune.Fitted`), ``shared_subjects`` and ``device``.
        emotions: The outputs, in order.

    Returns:
        fold, split, part, backbone, arm, seed, database, n, subjects (how many are known by name),
        top1, top2, macro_f1, precision, recall (both macro), balanced_accuracy, ece, train_rows,
        steps, epochs, parameters, trained_parameters (of the last phase), seconds, prefix_cached,
        shared_subjects (all databases together), device, cell. Databases as in `summarise`.

    Raises:
        ValueError: If columns are missing or a cell has no facts.
    """
    if "cell" not in predictions:
        raise ValueError("the predictions lack the column cell")
    table, answers = read(predictions, emotions)
    right, rows = answers.right, []
    for key, part in table.groupby([*CELL, "cell"], sort=False, dropna=False):
        variables, cell = key[:-1], str(key[-1])
        if cell not in facts:
            raise ValueError(f"there are no facts of the cell {cell}; its record is missing")
        own = part.index.to_numpy()
        for database, mask in groups(part["database"], part["real"]):
            chosen = own[mask]
            confusion = _confusions(answers, chosen[None], len(emotions))[0]
            rows.append(
                dict(zip(CELL, variables, strict=True))
                | {
                    "database": database,
                    "n": len(chosen),
                    "subjects": int(part["subject"][mask].nunique()),
                    "top1": accuracy(confusion),
                    "top2": float(answers.second[chosen].mean()),
                    "macro_f1": macro_f1(confusion),
                    "precision": macro_precision(confusion),
                    "recall": macro_recall(confusion),
                    "balanced_accuracy": balanced_accuracy(confusion),
                    "ece": expected_calibration_error(answers.confidence[chosen], right[chosen]),
                }
                | _training_facts(facts[cell])
                | {"cell": cell}
            )
    return pd.DataFrame(rows).astype({"fold": "Int64"})


def _training_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    trained = facts.get("trained_parameters")
    cached = [bool(phase.get("cached")) for phase in facts.get("prefix") or []]
    return {
        "train_rows": facts.get("train_rows"),
        "steps": facts.get("steps"),
        "epochs": facts.get("epochs"),
        "parameters": facts.get("parameters"),
        "trained_parameters": trained[-1] if isinstance(trained, Sequence) else trained,
        "seconds": facts.get("seconds"),
        "prefix_cached": any(cached),
        "shared_subjects": facts.get("shared_subjects"),
        "device": facts.get("device"),
    }


def confusion_of(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Return the (C, C) confusion of a table with columns ``emotion`` and ``predicted``."""
    truth, predicted = (codes_of(predictions, name, emotions) for name in ("emotion", "predicted"))
    return confusion_matrix(truth, predicted, len(emotions))


def _place(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry[name] for name in ("split", "backbone", "database", "arm"))


def _figures(
    split: str,
    database: str,
    backbones: Sequence[str],
    tested: Mapping[str, Tested],
    answers: Answers,
    emotions: Sequence[str],
    cells: pd.DataFrame | None,
) -> list[dict[str, Any]]:
    figures = []
    for backbone in backbones:
        for arm, own in tested.items():
            mask = own.mask(database)
            runs = own.complete(backbone, mask)
            if not runs or not mask.any():
                continue
            pictures = own.pictures[mask]
            people = pictures["person"].to_numpy()
            figures.append(
                {
                    "split": split,
                    "backbone": backbone,
                    "database": database,
                    "arm": arm,
                    "images": int(pictures["id"].nunique()),
                    "subjects": len(set(people)),
                    "folds": len(pictures[["fold", "part"]].drop_duplicates()),
                    "seeds": len(runs),
                    "train_rows": _train_rows(cells, split, backbone, arm),
                    **_scores(answers, np.stack(list(runs.values())), people, emotions),
                }
            )
    return figures


def _train_rows(cells: pd.DataFrame | None, split: str, backbone: str, arm: str) -> int | None:
    """Return how many pictures were trained on, the mean over folds, parts and seeds."""
    if cells is None or "train_rows" not in cells:
        return None
    own = (cells["split"] == split) & (cells["backbone"] == backbone) & (cells["arm"] == arm)
    mean = cells.loc[own, "train_rows"].astype(float).mean()
    return None if np.isnan(mean) else round(mean)


def _confusions(answers: Answers, rows: np.ndarray, classes: int) -> np.ndarray:
    """Return (S, C, C) from (S, N) rows."""
    return np.stack(
        [confusion_matrix(answers.truth[own], answers.predicted[own], classes) for own in rows]
    )


def _scores(
    answers: Answers, rows: np.ndarray, people: np.ndarray, emotions: Sequence[str]
) -> dict[str, Any]:
    confusions = _confusions(answers, rows, len(emotions))
    right = answers.right[rows]
    values = {name: [score(each) for each in confusions] for name, score in _SCORES.items()}
    values["top2"] = answers.second[rows].mean(1)
    values["ece"] = [
        expected_calibration_error(answers.confidence[own], answers.right[own]) for own in rows
    ]
    scores: dict[str, Any] = {name: _over_seeds(each) for name, each in values.items()}
    scores["accuracy"]["both"] = two_way(right, people).estimate()._replace(p=float("nan")).plain()
    pooled = confusions.sum(0)
    for name, shares in zip(("precision", "recall"), precision_recall(pooled), strict=True):
        scores[name] = {
            emotion: None if np.isnan(share) else float(share)
            for emotion, share in zip(emotions, shares, strict=True)
        }
    return {**scores, "confusion": pooled.tolist(), "per_subject": _per_subject(right, people)}


def _over_seeds(values: Sequence[float] | np.ndarray) -> dict[str, float | None]:
    array = np.asarray(values, float)
    plain = mean_interval(array).plain()
    return {
        "mean": plain["value"],
        "std": float(array.std(ddof=1)) if len(array) > 1 else None,
        "low": plain["low"],
        "high": plain["high"],
    }


def _per_subject(right: np.ndarray, people: np.ndarray) -> dict[str, float] | None:
    """Return how accuracy, the mean over seeds, spreads over people; None if each has one face."""
    sums, pictures = by_subject(right.mean(0)[None], people)
    if pictures.max() == 1:
        return None
    shares = sums[0] / pictures
    low, lower, median, upper, high = np.quantile(shares, (0, 0.25, 0.5, 0.75, 1)).tolist()
    return {
        "lowest": low,
        "lower_quartile": lower,
        "median": median,
        "upper_quartile": upper,
        "highest": high,
        "std": float(shares.std(ddof=1)) if len(shares) > 1 else 0.0,
    }


def _claims(
    split: str,
    database: str,
    backbones: Sequence[str],
    tested: Mapping[str, Tested],
    answers: Answers,
    references: Mapping[str, str],
    emotions: Sequence[str],
    resamples: int,
) -> list[dict[str, Any]]:
    claims = []
    for arm, own in tested.items():
        other = tested.get(references.get(arm, ""))
        if other is None:
            continue
        mask = own.mask(database)
        pictures = own.pictures[mask]
        pairs: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}  # rows of both
        for backbone in backbones:
            ours, theirs = (side.complete(backbone, side.mask(database)) for side in (own, other))
            if shared := sorted(ours.keys() & theirs.keys()):
                pairs[backbone] = {seed: (ours[seed], theirs[seed]) for seed in shared}
        several = [list(pairs)] if len(pairs) > 1 else []
        for names in [[name] for name in pairs] + several:
            seeds = sorted(set.intersection(*(set(pairs[name]) for name in names)))
            if not seeds:
                continue
            rows = np.array([[pairs[name][seed] for seed in seeds] for name in names])
            right = answers.right[rows].mean(0)  # (S, 2, N), the mean over backbones
            place = {
                "split": split,
                "backbone": names[0] if len(names) == 1 else ALL,
                "database": database,
                "arm": arm,
                "reference": references[arm],
            }
            claims.append(
                place
                | claim(
                    right[:, 0],
                    right[:, 1],
                    people=pictures["person"].to_numpy(),
                    ids=pictures["id"].to_numpy(),
                    truth=answers.truth[rows[0, 0, 0]],
                    emotions=emotions,
                    resamples=resamples,
                )
            )
    return claims
