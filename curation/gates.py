"""Stages `score` and `select`: judge generated faces, then keep those that pass.

`score` is the expensive half: it looks at pictures. `select` is the cheap one: it only compares
stored scores with thresholds, so that thresholds can be swept without scoring again.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from curation.artifact import read_json, write_json
from curation.corpus import Corpus, write_corpus
from curation.duplicates import calibrate, describe, nearest
from curation.duplicates import repeats as find_repeats
from curation.features import ClassifierFeatures, Extractor, FeaturePredictor
from curation.fidelity import compare

METRICS = "metrics.json"
_SYNTHETIC = ("gan", "imported")
_log = logging.getLogger(__name__)


class Predictor(FeaturePredictor, Protocol):
    """A trained classifier as the gates use it."""

    emotions: Sequence[str]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return (N, C) probabilities of (N, 3, H, W) uint8 RGB pictures."""
        ...


def score(
    synthetic: Path,
    corpus: Path,
    classifier: Path,
    out: Path,
    *,
    predictor: Callable[[Path], Predictor],
    emotions: Sequence[str],
    extractors: Sequence[Callable[[], Extractor]] = (),
    quantile: float = 0.01,
    neighbours: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge every generated face by a classifier and against the training faces.

    Fills ``predicted``, ``agreement`` (the probability of the named emotion), ``confidence`` (the
    highest probability), ``nearest_id``, ``nearest_distance`` and ``duplicate_of`` (of the same
    emotion: one person showing two emotions is wanted). Beside the corpus, ``metrics.json`` holds
    the agreement before any gate (Randellini et al. 2022, Table 8), the copy threshold and the
    fidelity figures. Of `corpus`, only real faces of the training split are looked at.

    Args:
        synthetic: A sampled corpus: rows of origin gan or imported.
        corpus: A corpus that holds the training faces.
        classifier: Folder of a classifier that never saw a generated face.
        out: An existing empty folder.
        predictor: Loads `classifier`.
        emotions: Which emotions the experiment uses.
        extractors: Make further feature extractors, beside the classifier's own features.
        quantile: Share of honest faces that the copy threshold may refuse
            (`curation.duplicates.calibrate`).
        neighbours: k of precision, recall, density and coverage.
        seed: Seed of intervals, floors and planted copies.

    Returns:
        Counts, the overall agreement and the copy threshold.

    Raises:
        ValueError: If rows, emotions or picture sizes do not fit together.
    """
    started = time.perf_counter()
    made, known = Corpus(synthetic), Corpus(corpus)
    _require_judgeable(made, emotions)
    named, ids = _column(made, "emotion"), _column(made, "id")
    training = (_column(known, "origin") == "real") & (_column(known, "split") == "train")
    training &= np.isin(_column(known, "emotion").astype(str), list(emotions))
    if not training.any():
        raise ValueError(f"{corpus} holds no real training face of {', '.join(emotions)}")
    real_named = _column(known, "emotion")[training]
    subjects = [None if pd.isna(name) else name for name in _column(known, "subject")[training]]
    _log.info("score: %d generated faces against %d training faces", len(made), len(real_named))
    pictures, real_pictures = made.images(), known.images(training)
    if pictures.shape[2:] != real_pictures.shape[2:]:
        raise ValueError(
            f"pictures of {synthetic} are {_size(pictures)}, those of {corpus} "
            f"{_size(real_pictures)}; train the generator on this corpus or standardise both alike"
        )

    judge = predictor(classifier)
    scores = _reading(judge, pictures, named, emotions)
    calibration = calibrate(real_pictures, subjects=subjects, quantile=quantile, seed=seed)
    if calibration.planted_caught < 0.9:
        _log.warning(
            "score: only %.0f %% of %d planted copies are nearer than the threshold %.3f; "
            "a larger gate.quantile catches more",
            100 * calibration.planted_caught,
            calibration.n_planted,
            calibration.threshold,
        )
    scores["nearest_id"], scores["nearest_distance"] = nearest(
        pictures, describe(real_pictures), _column(known, "id")[training].tolist()
    )
    scores["duplicate_of"] = np.full(len(made), None, dtype=object)
    for emotion in emotions:
        own = named == emotion
        scores["duplicate_of"][own] = find_repeats(
            pictures[own], ids[own].tolist(), calibration.threshold
        )

    chosen: list[Extractor] = [
        ClassifierFeatures(judge, note="trained on the real faces"),
        *(make() for make in extractors),
    ]
    agreement = _agreement(scores["predicted"], named, emotions)
    metrics = {
        "classifier": {"name": judge.name, "hash": judge.hash},
        "seed": seed,
        "agreement": agreement,
        "copies": asdict(calibration),
        "fidelity": [
            line
            for extractor in chosen
            for line in _fidelity(
                extractor,
                fake=(pictures, named),
                real=(real_pictures, real_named),
                subjects=subjects,
                emotions=emotions,
                neighbours=neighbours,
                seed=seed,
            )
        ],
    }
    write_json(out / METRICS, metrics)
    write_corpus(_updated(made, scores), out, made.emotions)
    overall = agreement[-1]
    found = {
        "copies": int((scores["nearest_distance"] < calibration.threshold).sum()),
        "repeats": sum(original is not None for original in scores["duplicate_of"]),
    }
    _log.info(
        "score: %d of %d read as named, %d copies, %d repeats, %.1f s",
        overall["agreed"],
        overall["n"],
        found["copies"],
        found["repeats"],
        time.perf_counter() - started,
    )
    return {
        "faces": len(made),
        "training_faces": len(real_named),
        "agreement": {name: overall[name] for name in ("value", "n", "interval")},
        "copy_threshold": calibration.threshold,
        **found,
    }


def select(
    scored: Path,
    out: Path,
    *,
    agreement: float | None = 0.5,
    predicted_as_named: bool = True,
    copies: bool = True,
    repeats: bool = True,
) -> dict[str, Any]:
    """Set ``keep`` and ``reason`` from stored scores; rejected rows stay.

    Gates in this order, the first that fails gives the reason: agreement with the named emotion,
    copy of a training face, repeat of another generated face. Of faces that repeat each other,
    the first that passes the other gates is kept.

    Args:
        scored: A corpus that `score` wrote, with its ``metrics.json``.
        out: An existing empty folder.
        agreement: Smallest probability of the named emotion, in [0, 1]; None for no limit.
        predicted_as_named: Whether the named emotion must also be the most probable one.
        copies: Whether to refuse faces nearer to a training face than the calibrated threshold.
        repeats: Whether to refuse near-repeats within the generated set.

    Returns:
        Per emotion and overall: how many were made, kept, and rejected by category.

    Raises:
        ValueError: If `agreement` is outside [0, 1] or a row lacks its scores.
    """
    if agreement is not None and not 0 <= agreement <= 1:
        raise ValueError(f"gate.agreement is {agreement}; it is a probability in [0, 1] or null")
    corpus = Corpus(scored)
    unscored = pd.isna(_column(corpus, "predicted")) | pd.isna(_column(corpus, "nearest_distance"))
    if unscored.any():
        raise ValueError(f"{unscored.sum()} rows of {scored} have no scores; run score first")
    if not (scored / METRICS).is_file():
        raise FileNotFoundError(f"{scored / METRICS} is missing; run score first")
    metrics = read_json(scored / METRICS)
    threshold = float(metrics["copies"]["threshold"])

    rows = corpus.facts.to_dict("records")
    reasons = [_misread(row, agreement, predicted_as_named) for row in rows]
    if copies:
        reasons = [
            reason or _copied(row, threshold) for row, reason in zip(rows, reasons, strict=True)
        ]
    if repeats:
        reasons = _with_repeats(rows, reasons)
    keep = [reason is None for reason in reasons]
    write_corpus(_updated(corpus, {"keep": keep, "reason": reasons}), out, corpus.emotions)

    named = _column(corpus, "emotion")
    result = {
        **_counted(reasons),
        "emotions": {
            emotion: _counted([reasons[place] for place in np.flatnonzero(named == emotion)])
            for emotion in corpus.emotions
            if emotion in named
        },
    }
    settings = {
        "agreement": agreement,
        "predicted_as_named": predicted_as_named,
        "copies": copies,
        "repeats": repeats,
        "copy_threshold": threshold,
    }
    write_json(out / METRICS, {**metrics, "gates": {"settings": settings, **result}})
    for emotion, counts in result["emotions"].items():
        if not counts["kept"]:
            _log.warning("select: no face of %s passed, of %d made", emotion, counts["made"])
    _log.info("select: kept %d of %d faces", result["kept"], result["made"])
    return result


def _column(corpus: Corpus, name: str) -> np.ndarray:
    """Return one fact of every row, (N,) object."""
    return np.asarray(corpus.facts[name], dtype=object)


def _require_judgeable(made: Corpus, emotions: Sequence[str]) -> None:
    made.check_emotions(emotions)
    if foreign := [origin for origin in _column(made, "origin") if origin not in _SYNTHETIC]:
        raise ValueError(
            f"{made.path} holds {len(foreign)} rows of origin {foreign[0]}; "
            f"the gates judge generated faces ({', '.join(_SYNTHETIC)}) only"
        )
    if surplus := sorted(set(_column(made, "emotion")) - set(emotions)):
        raise ValueError(
            f"{made.path} holds faces of {', '.join(surplus)}, which are not among the "
            f"emotions {', '.join(emotions)}; name them in emotions or sample without them"
        )


def _reading(
    judge: Predictor, pictures: np.ndarray, named: np.ndarray, emotions: Sequence[str]
) -> dict[str, Any]:
    outputs = list(judge.emotions)
    if missing := [emotion for emotion in emotions if emotion not in outputs]:
        raise ValueError(
            f"{judge.name} knows {', '.join(outputs)} and not {', '.join(missing)}; "
            "train the classifier on the emotions of the experiment"
        )
    probabilities = np.asarray(judge.probabilities(pictures))
    expected = (len(pictures), len(outputs))
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ValueError(
            f"{judge.name} gave probabilities of shape {probabilities.shape}, expected "
            f"{expected}, all finite"
        )
    columns = [outputs.index(emotion) for emotion in named]
    return {
        "predicted": np.array(outputs, dtype=object)[probabilities.argmax(axis=1)],
        "agreement": probabilities[np.arange(len(pictures)), columns],
        "confidence": probabilities.max(axis=1),
    }


def _agreement(
    predicted: np.ndarray, named: np.ndarray, emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one line an emotion, then one over all: who was read as what."""
    lines = []
    for emotion in (*emotions, "all"):
        own = (named == emotion) | (emotion == "all")
        agreed, n = int((predicted == named)[own].sum()), int(own.sum())
        lines.append(
            {
                "emotion": emotion,
                "value": agreed / n if n else None,
                "n": n,
                "agreed": agreed,
                "interval": wilson_interval(agreed, n),
                "read_as": dict(Counter(predicted[own].tolist())),
            }
        )
    return lines


def wilson_interval(hits: int, n: int) -> tuple[float, float] | None:
    """Return the 95 % Wilson score interval of a share, None for no trials.

    Wilson 1927. Unlike the normal interval it stays in [0, 1] and holds near 0 and 1.

    Args:
        hits: Successes, 0 … n.
        n: Trials.
    """
    if n == 0:
        return None
    z = 1.959964
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _fidelity(
    extractor: Extractor,
    *,
    fake: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    subjects: Sequence[str | None],
    emotions: Sequence[str],
    neighbours: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield one line an emotion, then one over all; `fake` and `real` are (pictures, emotions)."""
    features, real_features = extractor(fake[0]), extractor(real[0])
    # a picture of an unknown person counts as a person of its own
    people = [f"?{place}" if name is None else name for place, name in enumerate(subjects)]
    about = {
        "extractor": extractor.name,
        "hash": extractor.hash,
        "resizer": extractor.resizer,
        "k": neighbours,
        "seed": seed,
    }
    for emotion in (*emotions, "all"):
        own = (fake[1] == emotion) | (emotion == "all")
        own_real = (real[1] == emotion) | (emotion == "all")
        line: dict[str, Any] = {"emotion": emotion, **about}
        if min(own.sum(), own_real.sum()) <= neighbours:
            line["missing"] = (
                f"{own.sum()} generated and {own_real.sum()} real faces; "
                f"more than {neighbours} of each are needed"
            )
        else:
            figures = compare(
                real_features[own_real],
                features[own],
                subjects=np.array(people)[own_real],
                k=neighbours,
                seed=seed,
            )
            line |= {name: asdict(figure) for name, figure in figures.items()}
        yield line


def _updated(corpus: Corpus, columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows with new values in some columns; pictures pass through undecoded."""
    for row, values in zip(corpus.rows(), zip(*columns.values(), strict=True), strict=True):
        yield {**row, **dict(zip(columns, values, strict=True))}


def _size(pictures: np.ndarray) -> str:
    return f"{pictures.shape[2]}x{pictures.shape[3]}"


def _misread(row: Mapping[Any, Any], agreement: float | None, as_named: bool) -> str | None:
    doubted = agreement is not None and row["agreement"] < agreement
    right = row["predicted"] == row["emotion"]
    if not doubted and (right or not as_named):
        return None
    reading = "as named" if right else f"as {row['predicted']}"
    shown = f"{row['agreement']:.2f}"
    if agreement is None or not doubted:
        return f"agreement: read {reading}, {shown}"
    # more digits where two would read as 0.50 < 0.50
    shown = shown if float(shown) < agreement else f"{row['agreement']:.4f}"
    return f"agreement: read {reading}, {shown} < {agreement:.2f}"


def _copied(row: Mapping[Any, Any], threshold: float) -> str | None:
    if not row["nearest_distance"] < threshold:
        return None
    return (
        f"copy: {row['nearest_distance']:.3f} from training face {row['nearest_id']}, "
        f"under {threshold:.3f}"
    )


def _with_repeats(
    rows: Sequence[Mapping[Any, Any]], reasons: Sequence[str | None]
) -> list[str | None]:
    """Refuse all of a group of repeats but the first that no other gate refused."""
    kept: dict[str, str] = {}
    result = list(reasons)
    for place, row in enumerate(rows):
        if reasons[place] is not None:
            continue
        group = row["id"] if pd.isna(row["duplicate_of"]) else row["duplicate_of"]
        if group in kept:
            result[place] = f"repeat: of generated face {kept[group]}"
        else:
            kept[group] = row["id"]
    return result


def _counted(reasons: Sequence[str | None]) -> dict[str, Any]:
    categories = Counter(reason.split(":")[0] for reason in reasons if reason is not None)
    return {
        "made": len(reasons),
        "kept": reasons.count(None),
        "rejected": dict(sorted(categories.items())),
    }
