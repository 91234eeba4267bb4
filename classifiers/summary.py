"""What a benchmark's predictions say: figures of each arm, and claims about their differences."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from classifiers.claims import claim, judge
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
    top_k_hits,
    two_way,
)
from curation.corpus import EMOTIONS

CELL = ("fold", "split", "part", "backbone", "arm", "seed")
ALL = "all"
_NEEDED = (*CELL, "database", "id", "subject", "origin", "emotion", "predicted", "confidence")
_SCORES = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "precision_macro": macro_precision,
    "recall_macro": macro_recall,
    "balanced_accuracy": balanced_accuracy,
}


@dataclass(frozen=True)
class _Answers:
    """A table of predictions as arrays, one value a row."""

    truth: np.ndarray  # codes
    predicted: np.ndarray  # codes
    confidence: np.ndarray
    second: np.ndarray  # whether the truth is one of the two likeliest

    @property
    def right(self) -> np.ndarray:
        return self.truth == self.predicted


@dataclass(frozen=True)
class _Split:
    """The test pictures of one split, its folds and parts put together, and who answered them."""

    name: str
    pictures: pd.DataFrame  # (N,) fold, part, database, id, person, real
    runs: Mapping[tuple[str, str], Mapping[int, np.ndarray]]  # backbone, arm → seed → (N,) rows
    backbones: Sequence[str]
    arms: Sequence[str]

    def groups(self) -> Iterator[tuple[str, np.ndarray]]:
        return _groups(self.pictures["database"], self.pictures["real"])

    def complete(self, backbone: str, arm: str, mask: np.ndarray) -> dict[int, np.ndarray]:
        """Return seed → rows of the chosen pictures, for the seeds that answered all of them."""
        runs = self.runs.get((backbone, arm), {})
        return {seed: rows[mask] for seed, rows in runs.items() if (rows[mask] >= 0).all()}


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
            or cells of one split, fold and part were tested on different pictures.
    """
    table, answers = _read(predictions, emotions)
    arms = list(dict.fromkeys(table["arm"]))
    planned = arms if cells is None else {*arms, *cells["arm"]}
    for arm, reference in references.items():
        if arm in arms and reference not in planned:
            raise ValueError(
                f"arm {arm!r} is to be compared with {reference!r}, which is no arm of the "
                f"predictions ({', '.join(arms)}); change protocol.references"
            )
    splits = [
        each
        for name, part in table.groupby("split", sort=False)
        for each in _splits(name, part, leaky)
    ]
    figures: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    for split in splits:
        silent = split.name in leaky or not bool(split.pictures["real"].all())
        for database, mask in split.groups():
            mine = _figures(split, database, mask, answers, emotions, cells)
            figures += mine
            if not silent and database != ALL:
                claims += _claims(split, database, mask, answers, references, emotions, resamples)
    judge(claims)
    by_place = {_place(entry): entry for entry in claims}
    for figure in figures:
        if found := by_place.get(_place(figure)):
            figure["against"] = found
    return {
        "emotions": list(emotions),
        "seeds": sorted({int(seed) for seed in table["seed"]}),
        "splits": list(dict.fromkeys(split.name for split in splits)),
        "backbones": list(dict.fromkeys(table["backbone"])),
        "references": {arm: name for arm, name in references.items() if arm in arms},
        "missing": _missing(table, cells),
        "figures": figures,
        "claims": claims,
    }


def results(
    predictions: pd.DataFrame, facts: pd.DataFrame, *, emotions: Sequence[str] = EMOTIONS
) -> pd.DataFrame:
    """Return the scores of each cell on each database, beside what is known of the cell.

    Args:
        predictions: As in `summarise`.
        facts: What to put beside the scores, a row a cell (fold, split, part, backbone, arm,
            seed); or a row a cell and database, with a column ``database``.
        emotions: The outputs, in order.

    Returns:
        fold, split, part, backbone, arm, seed, database, n, subjects (how many are known by name),
        top1, top2, macro_f1, precision, recall (both macro), balanced_accuracy, ece, then the
        columns of `facts`. Databases as in `summarise`.

    Raises:
        ValueError: If columns are missing or a cell has no facts.
    """
    table, answers = _read(predictions, emotions)
    rows: list[dict[str, Any]] = []
    for key, part in table.groupby(list(CELL), sort=False, dropna=False):
        own = part.index.to_numpy()
        for database, mask in _groups(part["database"], part["real"]):
            chosen = own[mask]
            confusion = _confusions(answers, chosen[None], len(emotions))[0]
            rows.append(
                dict(zip(CELL, key, strict=True))
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
                    "ece": expected_calibration_error(
                        answers.confidence[chosen], answers.right[chosen]
                    ),
                }
            )
    scores = pd.DataFrame(rows).astype({"fold": "Int64"})
    keys = [*CELL, *(["database"] if "database" in facts else [])]
    known = facts.astype({"fold": "Int64"})
    merged = scores.merge(known, how="left", on=keys, validate="many_to_one", indicator=True)
    if (merged["_merge"] == "left_only").any():
        first = merged.loc[merged["_merge"] == "left_only", keys].iloc[0].to_dict()
        raise ValueError(f"no facts of the cell {first}; its record is missing")
    return merged.drop(columns="_merge")


def confusion_of(predictions: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
    """Return the (C, C) confusion of a table with columns ``emotion`` and ``predicted``."""
    truth, predicted = (_codes(predictions, name, emotions) for name in ("emotion", "predicted"))
    return confusion_matrix(truth, predicted, len(emotions))


def _codes(table: pd.DataFrame, column: str, emotions: Sequence[str]) -> np.ndarray:
    codes = pd.Index(list(emotions)).get_indexer(pd.Index(table[column])).astype(np.int64)
    if (codes < 0).any():
        wrong = table[column][codes < 0].iloc[0]
        raise ValueError(
            f"column {column!r} of the predictions holds {wrong!r}, none of {', '.join(emotions)}"
        )
    return codes


def _read(predictions: pd.DataFrame, emotions: Sequence[str]) -> tuple[pd.DataFrame, _Answers]:
    outputs = [f"p_{name}" for name in emotions]
    if lacking := [name for name in (*_NEEDED, *outputs) if name not in predictions]:
        raise ValueError(f"the predictions lack the columns {', '.join(lacking)}")
    if predictions.empty:
        raise ValueError("there are no predictions: no cell is finished")
    table = predictions.assign(fold=predictions["fold"].astype("Int64"))
    table = table.sort_values(["split", "fold", "part"], kind="stable", ignore_index=True)
    truth = _codes(table, "emotion", emotions)
    answers = _Answers(
        truth,
        _codes(table, "predicted", emotions),
        table["confidence"].to_numpy(float),
        top_k_hits(table[outputs].to_numpy(np.float32), truth, 2),
    )
    # nobody's picture is somebody of its own
    table["person"] = table["subject"].fillna(table["id"])
    table["database"] = table["database"].fillna("unknown")
    table["real"] = table["origin"] == "real"
    return table[[*CELL, "database", "id", "subject", "person", "real"]], answers


def _groups(databases: pd.Series, real: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each database with the mask of its real pictures, then ``all`` if that is more."""
    names = sorted(set(databases[real]))
    for name in names:
        yield name, ((databases == name) & real).to_numpy(bool)
    if len(names) != 1 or not real.all():
        yield ALL, np.ones(len(real), bool)


def _splits(name: Any, table: pd.DataFrame, leaky: Collection[str]) -> list[_Split]:
    """Return a split; one for each arm where it makes no claims, for each tests its own faces."""
    if name not in leaky and bool(table["real"].all()):
        return [_split(str(name), table)]
    return [_split(str(name), part) for _, part in table.groupby("arm", sort=False)]


def _split(name: str, table: pd.DataFrame) -> _Split:
    pictures: list[pd.DataFrame] = []
    cells: dict[tuple[str, str, int], dict[int, np.ndarray]] = {}
    for place, part in table.groupby(["fold", "part"], sort=True, dropna=False):
        first: pd.DataFrame | None = None
        for key, cell in part.groupby(["backbone", "arm", "seed"], sort=False):
            cell = cell.sort_values("id", kind="stable")
            first = cell if first is None else first
            if not np.array_equal(cell["id"].to_numpy(), first["id"].to_numpy()):
                raise ValueError(
                    f"the cells {_words(first)} and {_words(cell)} of split {name!r} were tested "
                    f"on different pictures ({len(first)} and {len(cell)}); delete the older one"
                )
            backbone, arm, seed = key
            whose = (str(backbone), str(arm), int(seed))  # type: ignore[arg-type]
            cells.setdefault(whose, {})[len(pictures)] = cell.index.to_numpy()
        assert first is not None, place
        pictures.append(first)
    runs: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for (backbone, arm, seed), parts in sorted(cells.items(), key=lambda item: item[0][2]):
        rows = [parts.get(at, np.full(len(them), -1)) for at, them in enumerate(pictures)]
        runs.setdefault((backbone, arm), {})[seed] = np.concatenate(rows)
    return _Split(
        name,
        pd.concat(pictures, ignore_index=True),
        runs,
        list(dict.fromkeys(table["backbone"])),
        list(dict.fromkeys(table["arm"])),
    )


def _words(cell: pd.DataFrame) -> str:
    return "/".join(str(cell[name].iloc[0]) for name in ("fold", "part", "backbone", "arm", "seed"))


def _place(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry[name] for name in ("split", "backbone", "database", "arm"))


def _missing(table: pd.DataFrame, cells: pd.DataFrame | None) -> list[dict[str, Any]]:
    done = table[list(CELL)].drop_duplicates()
    if cells is None:
        planned = pd.concat(
            [
                part[["fold", "split", "part"]]
                .drop_duplicates()
                .merge(part[["backbone"]].drop_duplicates(), how="cross")
                .merge(part[["arm"]].drop_duplicates(), how="cross")
                .merge(part[["seed"]].drop_duplicates(), how="cross")
                for _, part in done.groupby("split", sort=False)
            ]
        )
    else:
        planned = cells[list(CELL)].astype({"fold": "Int64"}).drop_duplicates()
    found = planned.merge(done, how="left", on=list(CELL), indicator=True)
    absent = found.loc[found["_merge"] == "left_only", list(CELL)].astype(object)
    rows = absent.where(absent.notna(), None).itertuples(index=False)
    return [dict(zip(CELL, row, strict=True)) for row in rows]


def _figures(
    split: _Split,
    database: str,
    mask: np.ndarray,
    answers: _Answers,
    emotions: Sequence[str],
    cells: pd.DataFrame | None,
) -> list[dict[str, Any]]:
    pictures = split.pictures[mask]
    people = pictures["person"].to_numpy()
    figures = []
    for backbone in split.backbones:
        for arm in split.arms:
            runs = split.complete(backbone, arm, mask)
            if not runs:
                continue
            rows = np.stack(list(runs.values()))
            figures.append(
                {
                    "split": split.name,
                    "backbone": backbone,
                    "database": database,
                    "arm": arm,
                    "images": int(pictures["id"].nunique()),
                    "subjects": len(set(people)),
                    "folds": len(pictures[["fold", "part"]].drop_duplicates()),
                    "seeds": len(runs),
                    "train_rows": _train_rows(cells, split.name, backbone, arm),
                    **_scores(answers, rows, people, emotions),
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


def _confusions(answers: _Answers, rows: np.ndarray, classes: int) -> np.ndarray:
    """Return (S, C, C) from (S, N) rows."""
    return np.stack(
        [confusion_matrix(answers.truth[own], answers.predicted[own], classes) for own in rows]
    )


def _scores(
    answers: _Answers, rows: np.ndarray, people: np.ndarray, emotions: Sequence[str]
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
    split: _Split,
    database: str,
    mask: np.ndarray,
    answers: _Answers,
    references: Mapping[str, str],
    emotions: Sequence[str],
    resamples: int,
) -> list[dict[str, Any]]:
    pictures = split.pictures[mask]
    people, ids = pictures["person"].to_numpy(), pictures["id"].to_numpy()
    claims = []
    for arm in split.arms:
        if arm not in references:
            continue
        sides: dict[str, tuple[dict[int, np.ndarray], dict[int, np.ndarray]]] = {}
        for backbone in split.backbones:
            own, other = (split.complete(backbone, name, mask) for name in (arm, references[arm]))
            if shared := sorted(own.keys() & other.keys()):
                sides[backbone] = (
                    {seed: answers.right[own[seed]] for seed in shared},
                    {seed: answers.right[other[seed]] for seed in shared},
                )
        if not sides:
            continue
        truth = answers.truth[next(iter(split.complete(next(iter(sides)), arm, mask).values()))]
        pooled = [[*sides]] if len(sides) > 1 else []
        for names in [[name] for name in sides] + pooled:
            seeds = sorted(set.intersection(*({*sides[name][0]} for name in names)))
            if not seeds:
                continue
            ours, theirs = (
                np.mean([[sides[name][side][seed] for seed in seeds] for name in names], axis=0)
                for side in (0, 1)
            )
            place = {
                "split": split.name,
                "backbone": names[0] if len(names) == 1 else ALL,
                "database": database,
                "arm": arm,
                "reference": references[arm],
            }
            claims.append(place | claim(ours, theirs, people, ids, truth, emotions, resamples))
    return claims
