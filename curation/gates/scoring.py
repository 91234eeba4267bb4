"""Stage `score`: look at generated faces and say what the gates need to know about each."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from curation.artifact import write_json
from curation.corpus import Corpus, copy_corpus
from curation.duplicates import (
    Calibration,
    calibrate,
    close_pairs,
    describe,
    lower_limit,
    nearest,
    own_distances,
    people_of,
)
from curation.features import Cached, ClassifierFeatures, Extractor, FeaturePredictor
from curation.gates.figures import agreement_lines, fidelity_lines
from curation.gates.identity import identity_distances
from curation.gates.manifold import ball_ratios, evenly, held_out_ratios
from curation.gates.memorisation import memorisation
from curation.gates.rules import PAIRS_SHARE
from curation.leakage import refuse_taught_by_generated
from curation.quality import exposure, middle, sharpness

METRICS = "metrics.json"
EVIDENCE = "evidence.safetensors"
_SYNTHETIC = ("gan", "imported")
_log = logging.getLogger(__name__)


class Predictor(FeaturePredictor, Protocol):
    """A trained classifier as the gates use it."""

    emotions: Sequence[str]
    calibration: Mapping[str, Any] | None

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return (N, C) calibrated probabilities of (N, 3, H, W) uint8 RGB pictures."""
        ...


@dataclass(frozen=True)
class _Faces:
    """Some faces of a corpus: pictures (N, 3, H, W), and (N,) each."""

    pictures: np.ndarray
    ids: np.ndarray
    named: np.ndarray
    people: np.ndarray
    subjects: list[str | None]


def score(
    synthetic: Path,
    corpus: Path,
    classifier: Path,
    out: Path,
    *,
    predictor: Callable[[Path], Predictor],
    emotions: Sequence[str],
    space: Callable[[], Extractor],
    identity: Callable[[], Extractor] | None = None,
    extractors: Sequence[Callable[[], Extractor]] = (),
    holdout: str = "validation",
    share: float = 0.005,
    neighbours: int = 5,
    seed: int = 0,
    cache: Path | str | None = None,
) -> dict[str, Any]:
    """Judge every generated face by a classifier and against the training faces.

    Fills ``predicted``, ``agreement`` (the probability of the named emotion), ``confidence`` (the
    highest probability), ``sharpness``, ``exposure``, ``off_manifold``, ``nearest_id``,
    ``nearest_distance``, ``duplicate_of`` (of the same emotion: one person showing two emotions is
    wanted) and, with `identity`, ``identity_id`` and ``identity_distance``. Beside the corpus,
    ``metrics.json`` holds what is true of the set: agreement before any gate (Randellini et al.
    2022, Table 8), the classifier's calibration, copies, memorisation and fidelity; and
    ``evidence.safetensors`` what `select` takes its limits from, so that thresholds can be swept
    without looking at a picture again: the same measures of real faces, close pairs of generated
    ones, and both sides' features in `space`. Of `corpus`, only real faces of the training split
    are looked at, and those of `holdout` for one figure of memorisation.

    Args:
        synthetic: A sampled corpus: rows of origin gan or imported.
        corpus: A corpus that holds the training faces.
        classifier: Folder of a classifier that never saw a generated face.
        out: An existing empty folder.
        predictor: Loads `classifier`.
        emotions: Which emotions the experiment uses.
        space: Makes the features in which faces lie near each other or far. Not the classifier's:
            it chose the faces, and has learned the real ones by heart.
        identity: Makes a face embedding; None to leave identity unchecked.
        extractors: Make further feature extractors for fidelity, beside the classifier's own.
        holdout: Split of the real faces that no generator learned from, for the distance to the
            closest record.
        share: Share of honest faces at which copies and repeats are counted here; `select` may
            use another.
        neighbours: k of precision, recall, density and coverage, and of the balls of realism.
        seed: Seed of intervals, floors and planted copies.
        cache: Folder in which features are kept between calls (`curation.features.Cached`); None
            to compute all. Changes nothing but the time.

    Returns:
        Counts, the overall agreement and the copy threshold.

    Raises:
        ValueError: If rows, emotions or picture sizes do not fit together, or the classifier
            learned from generated faces.
    """
    started = time.perf_counter()
    refuse_taught_by_generated(classifier)
    made, known = Corpus(synthetic), Corpus(corpus)
    _require_judgeable(made, emotions)
    named, ids = _column(made, "emotion"), _column(made, "id")
    real = _real_faces(known, "train", emotions)
    if real is None:
        raise ValueError(f"{corpus} holds no real training face of {', '.join(emotions)}")
    _log.info("score: %d generated faces against %d training faces", len(made), len(real.ids))
    pictures = made.images()
    if pictures.shape[2:] != real.pictures.shape[2:]:
        raise ValueError(
            f"pictures of {synthetic} are {_size(pictures)}, those of {corpus} "
            f"{_size(real.pictures)}; train the generator on this corpus or standardise both alike"
        )

    def remembering(extractor: Extractor) -> Extractor:
        return extractor if cache is None else Cached(extractor, cache)

    judge = predictor(classifier)
    probabilities = _probabilities(judge, pictures, emotions)
    scores = _reading(judge, probabilities, named)
    evidence: dict[str, np.ndarray] = {
        "emotions": np.frombuffer("\n".join(emotions).encode(), np.uint8),
        "real_emotion": np.array([list(emotions).index(name) for name in real.named], np.int64),
    }
    for measure, function in (("sharpness", sharpness), ("exposure", exposure)):
        scores[measure] = _measured(pictures, function)
        evidence[f"real_{measure}"] = _measured(real.pictures, function)

    measured_in = remembering(space())
    evidence["space"] = np.asarray(measured_in(pictures), np.float32)
    evidence["real_space"] = np.asarray(measured_in(real.pictures), np.float32)
    scores["off_manifold"], evidence["real_off_manifold"] = _realism(
        evidence, named, real, emotions, neighbours, seed
    )

    calibration = calibrate(real.pictures, subjects=real.subjects, seed=seed)
    copies = calibration.summary(share)
    if copies["planted_caught"] < 0.95:
        _log.warning(
            "score: only %.0f %% of %d planted copies are nearer than the threshold %.3f; "
            "a larger gate.copies catches more",
            100 * copies["planted_caught"],
            copies["n_planted"],
            copies["threshold"],
        )
    scores["nearest_id"], scores["nearest_distance"] = nearest(
        pictures, describe(real.pictures), real.ids.tolist()
    )
    pairs = _pairs(pictures, named, emotions, calibration)
    evidence |= {"copy_strangers": calibration.strangers, "copy_planted": calibration.planted}
    evidence |= dict(zip(("pair_first", "pair_second", "pair_distance"), pairs, strict=True))
    scores["duplicate_of"] = _duplicates(pairs, ids, copies["threshold"])

    evidence["identity_strangers"] = np.empty(0, np.float32)
    identified: dict[str, Any] = {
        "missing": "not checked: no face embedding was given (gate.embedding)"
    }
    if identity is not None:
        embedding = remembering(identity())
        found, distances, strangers = identity_distances(
            embedding(pictures), embedding(real.pictures), real.people
        )
        scores["identity_id"], scores["identity_distance"] = real.ids[found], distances
        evidence["identity_strangers"] = strangers
        identified = {
            "extractor": embedding.name,
            "hash": embedding.hash,
            "threshold": lower_limit(strangers, share, least=1),
            "quantile": share,
            "n_faces": len(strangers),
            "n_subjects": calibration.n_subjects,
            "closest": float(strangers.min()),
            "median": float(np.median(strangers)),
        }

    agreement = agreement_lines(scores["predicted"], named, emotions)
    place_of = {name: place for place, name in enumerate(real.ids)}
    held = _real_faces(known, holdout, emotions, databases=set(_databases(known)))
    metrics = {
        "classifier": {
            "name": judge.name,
            "hash": judge.hash,
            "calibration": judge.calibration,
        },
        "seed": seed,
        "neighbours": neighbours,
        "space": {"extractor": measured_in.name, "hash": measured_in.hash},
        "agreement": agreement,
        "copies": copies,
        "identity": identified,
        "memorisation": memorisation(
            pictures,
            scores["nearest_distance"],
            np.array([place_of[name] for name in scores["nearest_id"]]),
            real.pictures,
            real.people,
            strangers=calibration.strangers,
            own=own_distances(real.pictures, real.people),
            held=None if held is None else (held.pictures, held.people),
            held_name=holdout,
            seed=seed,
        ),
        "fidelity": [
            line
            for extractor, answers in (
                (
                    ClassifierFeatures(judge, note="trained on the real faces"),
                    (_probabilities(judge, real.pictures, emotions), probabilities),
                ),
                *((make(), None) for make in extractors),
            )
            for line in fidelity_lines(
                remembering(extractor),
                fake=(pictures, named),
                real=(real.pictures, real.named),
                subjects=real.subjects,
                emotions=emotions,
                neighbours=neighbours,
                seed=seed,
                probabilities=answers,
                classifier={
                    "name": judge.name,
                    "hash": judge.hash,
                    "classes": len(judge.emotions),
                    "temperature": (judge.calibration or {}).get("temperature"),
                },
            )
        ],
    }
    write_json(out / METRICS, metrics)
    save_file({name: np.ascontiguousarray(rows) for name, rows in evidence.items()}, out / EVIDENCE)
    copy_corpus(made, out, scores)
    overall = agreement[-1]
    counted = {
        "copies": int((scores["nearest_distance"] < copies["threshold"]).sum()),
        "repeats": sum(original is not None for original in scores["duplicate_of"]),
    }
    _log.info(
        "score: %d of %d read as named, %d copies, %d repeats, %.1f s",
        overall["agreed"],
        overall["n"],
        counted["copies"],
        counted["repeats"],
        time.perf_counter() - started,
    )
    return {
        "faces": len(made),
        "training_faces": len(real.ids),
        "agreement": {name: overall[name] for name in ("value", "n", "interval")},
        "copy_threshold": copies["threshold"],
        **counted,
    }


def _real_faces(
    corpus: Corpus, split: str, emotions: Sequence[str], databases: set[str] | None = None
) -> _Faces | None:
    """Return the real faces of a split, None where there are none."""
    rows = (_column(corpus, "origin") == "real") & (_column(corpus, "split") == split)
    rows &= np.isin(_column(corpus, "emotion").astype(str), list(emotions))
    if databases is not None:
        rows &= np.isin(_column(corpus, "database").astype(str), list(databases))
    if not rows.any():
        return None
    subjects = [None if pd.isna(name) else name for name in _column(corpus, "subject")[rows]]
    return _Faces(
        pictures=corpus.images(rows),
        ids=_column(corpus, "id")[rows],
        named=_column(corpus, "emotion")[rows],
        people=people_of(subjects, len(subjects)),
        subjects=subjects,
    )


def _databases(corpus: Corpus) -> Iterator[str]:
    # faces of another database differ by more than by who learned from them
    facts = corpus.facts.query("split == 'train' and origin == 'real'")
    yield from facts["database"].astype(str).unique()


def _measured(pictures: np.ndarray, function: Callable[[np.ndarray], float]) -> np.ndarray:
    greys = (cv2.cvtColor(one.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY) for one in pictures)
    return np.array([function(middle(grey)) for grey in greys], np.float32)


def _realism(
    evidence: Mapping[str, np.ndarray],
    named: np.ndarray,
    real: _Faces,
    emotions: Sequence[str],
    neighbours: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `ball_ratios` of the generated faces and, held out by people, of the real ones."""
    ratios = np.full(len(named), np.nan, np.float32)
    held_out = np.full(len(real.ids), np.nan, np.float32)
    for code, emotion in enumerate(emotions):
        own = np.flatnonzero(real.named == emotion)
        if len(own) <= neighbours:
            continue
        own = own[evenly(len(own))]
        balls = evidence["real_space"][own]
        made = named == emotion
        ratios[made] = ball_ratios(balls, evidence["space"][made], neighbours)
        generator = np.random.default_rng([seed, code])
        held_out[own] = held_out_ratios(balls, real.people[own], neighbours, generator)
    return ratios, held_out


def _pairs(
    pictures: np.ndarray, named: np.ndarray, emotions: Sequence[str], calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return close pairs of one emotion: earlier place, later place, distance."""
    within = lower_limit(calibration.strangers, PAIRS_SHARE, least=1)
    found = []
    for emotion in emotions:
        own = np.flatnonzero(named == emotion)
        if len(own):
            first, second, distance = close_pairs(pictures[own], within)
            found.append((own[first], own[second], distance))
    first, second, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((distance, second))
    return first[order], second[order], distance[order]


def _duplicates(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], ids: np.ndarray, threshold: float
) -> np.ndarray:
    """Return for each face the nearest earlier one it repeats that repeats nothing, or None."""
    found = np.full(len(ids), None, dtype=object)
    # by the later face, and the nearest of its mates first
    for first, second, distance in zip(*pairs, strict=True):
        if distance < threshold and found[first] is None and found[second] is None:
            found[second] = ids[first]
    return found


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


def _probabilities(judge: Predictor, pictures: np.ndarray, emotions: Sequence[str]) -> np.ndarray:
    """Return calibrated probabilities (N, C), after a look at what the classifier knows."""
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
    return probabilities


def _reading(judge: Predictor, probabilities: np.ndarray, named: np.ndarray) -> dict[str, Any]:
    outputs = list(judge.emotions)
    columns = [outputs.index(emotion) for emotion in named]
    return {
        "predicted": np.array(outputs, dtype=object)[probabilities.argmax(axis=1)],
        "agreement": probabilities[np.arange(len(probabilities)), columns],
        "confidence": probabilities.max(axis=1),
    }


def _size(pictures: np.ndarray) -> str:
    return f"{pictures.shape[2]}x{pictures.shape[3]}"
