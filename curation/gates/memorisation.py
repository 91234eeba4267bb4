"""Memorisation: how near generated faces come to the training faces, beside what is natural."""

from typing import Any

import numpy as np
from scipy.special import stdtrit

from curation.duplicates import describe, distance_matrix

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
_MOST = 2000
_BLOCKS = 10


def memorisation(
    pictures: np.ndarray,
    distances: np.ndarray,
    places: np.ndarray,
    real: np.ndarray,
    people: np.ndarray,
    *,
    strangers: np.ndarray,
    own: np.ndarray,
    held: tuple[np.ndarray, np.ndarray] | None,
    held_name: str,
    seed: int,
) -> dict[str, Any]:
    """Hold generated faces' distances against those among real faces.

    Args:
        pictures: Generated faces, (N, 3, H, W) uint8 RGB.
        distances: Of each to the nearest training face, (N,) (`curation.duplicates.nearest`).
        places: Which training face that is, (N,).
        real: Training faces, (M, 3, H, W) uint8 RGB.
        people: Who is on each, (M,).
        strangers: Distance of each training face to the nearest of somebody else, (M,).
        own: The same to the nearest other picture of the same person, (M,); infinite without one.
        held: Real faces that no generator learned from, and who is on each; None without any.
        held_name: The split that they are of.
        seed: Of the interval.

    Returns:
        ``distances``: n and quantiles for generated faces, for pictures of one person and of
        strangers. ``authentic``: the share of generated faces whose nearest training face lies
        nearer to another training face than to it, AuthPct (Alaa et al. 2022, arXiv:2102.08921,
        section 3.3). ``nearer_to_training``: the share of generated faces that lie nearer to the
        training faces than to as many held-out faces (distance to the closest record with a
        holdout), one half for a generator that memorises nothing, with its interval.
    """
    other = np.minimum(strangers, own)
    authentic = other[places] < distances
    return {
        "distances": {
            "generated": _quantiles(distances),
            "same_person": _quantiles(own[np.isfinite(own)]),
            "strangers": _quantiles(strangers),
        },
        "authentic": {"value": float(authentic.mean()), "n": len(authentic)},
        "nearer_to_training": _closest_record(pictures, real, people, held, held_name, seed),
    }


def _quantiles(values: np.ndarray) -> dict[str, Any]:
    if not len(values):
        return {"n": 0}
    found = np.quantile(values, _QUANTILES)
    return {"n": len(values)} | {
        f"q{100 * q:02.0f}": float(v) for q, v in zip(_QUANTILES, found, strict=True)
    }


def _closest_record(
    pictures: np.ndarray,
    real: np.ndarray,
    people: np.ndarray,
    held: tuple[np.ndarray, np.ndarray] | None,
    held_name: str,
    seed: int,
) -> dict[str, Any]:
    """Return the share with a delete-a-block jackknife interval over people and generated faces."""
    if held is None:
        return {
            "missing": f"no real face of the same database is in split {held_name}; hold people "
            "out (protocol.split) or name another split (gate.holdout)"
        }
    generator = np.random.default_rng([seed, len(pictures)])
    if len(pictures) > _MOST:
        pictures = pictures[generator.choice(len(pictures), _MOST, replace=False)]
    betweens = [distance_matrix(pictures, describe(faces)) for faces in (real, held[0])]
    names = [generator.permutation(np.unique(who)) for who in (people, held[1])]
    # the nearest of more faces is nearer: both sides get as many people
    count = min(map(len, names))
    own = [group[:count] for group in names]

    def share(training: np.ndarray, held_out: np.ndarray, made: np.ndarray) -> float:
        near = [
            between[np.ix_(made, np.flatnonzero(np.isin(who, chosen)))].min(axis=1)
            for between, who, chosen in zip(
                betweens, (people, held[1]), (training, held_out), strict=True
            )
        ]
        return float(((near[0] < near[1]) + 0.5 * (near[0] == near[1])).mean())

    everything = [*own, generator.permutation(len(pictures))]
    value = share(*everything)
    variance, fewest = 0.0, _BLOCKS
    for side, members in enumerate(everything):
        blocks = np.array_split(members, min(_BLOCKS, len(members)))
        fewest = min(fewest, len(blocks))
        if fewest < 2:
            break
        left_out = []
        for block in blocks:
            rest = list(everything)
            rest[side] = np.setdiff1d(members, block)
            left_out.append(share(*rest))
        deviations = np.array(left_out) - np.mean(left_out)
        variance += (len(blocks) - 1) / len(blocks) * (deviations**2).sum()
    half = stdtrit(fewest - 1, 0.975) * np.sqrt(variance) if fewest > 1 else 1.0
    return {
        "value": value,
        "interval": [max(0.0, value - half), min(1.0, value + half)],
        "n": len(pictures),
        "people": count,
        "holdout": held_name,
    }
