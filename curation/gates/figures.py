"""Figures of a whole set of generated faces: how many are read as named, how near to real ones."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from curation.features import Extractor
from curation.fidelity import compare


def agreement_lines(
    predicted: np.ndarray, named: np.ndarray, emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one line an emotion, then one over all: who was read as what.

    Args:
        predicted: Most probable emotion of each face, (N,).
        named: The emotion that each was drawn for, (N,).
        emotions: Which, in which order.

    Returns:
        ``emotion``, ``value`` (share, None of no faces), ``n``, ``agreed``, ``interval`` and
        ``read_as`` (emotion → faces).
    """
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


def fidelity_lines(
    extractor: Extractor,
    *,
    fake: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    subjects: Sequence[str | None],
    emotions: Sequence[str],
    neighbours: int,
    seed: int,
    probabilities: tuple[np.ndarray, np.ndarray] | None = None,
    classifier: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one line an emotion, then one over all, of how near generated faces are to real ones.

    Args:
        extractor: Makes the features.
        fake: Generated faces (M, 3, H, W) uint8 RGB, and their emotions (M,).
        real: Real faces (N, 3, H, W), and their emotions (N,).
        subjects: Who is on each real face, (N,); None for unknown people.
        emotions: Which, in which order.
        neighbours: k of the neighbour figures.
        seed: Of intervals and floors.
        probabilities: What a classifier says of the real (N, C) and generated (M, C) faces, for the
            classifier score. In the line over all emotions only: within one, answers that differ,
            which raise that score, are mistakes.
        classifier: Who that was, for that line.
    """
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
            answers = probabilities if emotion == "all" else None
            figures = compare(
                real_features[own_real],
                features[own],
                probabilities=answers,
                subjects=np.array(people)[own_real],
                k=neighbours,
                seed=seed,
            )
            line |= {"classifier": classifier} if answers else {}
            line |= {name: asdict(figure) for name, figure in figures.items()}
        yield line
