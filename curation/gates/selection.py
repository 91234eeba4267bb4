"""Stage `select`: keep what passes the gates. Cheap, for it only compares stored scores."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from curation.artifact import read_json, write_json
from curation.corpus import Corpus, copy_corpus
from curation.gates.manifold import FIGURES
from curation.gates.rules import Gate, Scored, tally
from curation.gates.scoring import EVIDENCE, METRICS
from curation.review.decisions import PERSON, Decisions, read, reviewed_hash

_log = logging.getLogger(__name__)
_NEEDED = ("predicted", "agreement", "nearest_distance")


def select(
    scored: Path, out: Path, *, gates: Sequence[Gate], decisions: Path | None = None
) -> dict[str, Any]:
    """Set ``keep`` and ``reason`` from stored scores; rejected rows stay, with all their scores.

    The gates judge one after the other, each what those before it let pass; the first that
    refuses a face gives the reason. What each one removed, and what that did to precision, recall,
    density and coverage of the set, is in ``metrics.json`` under ``gates``, beside what `score`
    wrote there.

    A person's word comes before the gates: what they reject is out, and what they keep is asked
    of the safety gates alone (`Gate.safety`), whatever the others say.

    Args:
        scored: A corpus that `score` wrote, with ``metrics.json`` and ``evidence.safetensors``.
        out: An existing empty folder.
        gates: In order.
        decisions: What a person decided on a page of ``affectory review``
            (`curation.review.decisions`).

    Returns:
        Per emotion and overall: how many were made, kept, and rejected by each gate; with
        decisions, under ``person``, how many faces these keep, how many of those keeps a safety
        gate did not follow, and how many they reject.

    Raises:
        ValueError: If a row lacks its scores, or the decisions are about other faces.
        FileNotFoundError: If a file of `score` is missing.
    """
    corpus = Corpus(scored)
    facts = corpus.facts
    unscored = np.logical_or.reduce([pd.isna(facts[name]) for name in _NEEDED])
    if unscored.any():
        raise ValueError(f"{unscored.sum()} rows of {scored} have no scores; run score first")
    for name in (METRICS, EVIDENCE):
        if not (scored / name).is_file():
            raise FileNotFoundError(f"{scored / name} is missing; run score first")
    metrics = read_json(scored / METRICS)
    said = read(decisions, reviewed_hash(scored)) if decisions else Decisions()
    ids = facts["id"].tolist()
    insisted = said.places(ids, "keep")
    known = Scored(
        facts, load_file(scored / EVIDENCE), int(metrics["neighbours"]), frozenset(insisted)
    )

    reasons: list[str | None] = [None] * len(facts)
    standing = np.arange(len(facts))
    costs: list[dict[str, Any]] = []

    def take(name: str, refused: Mapping[int, str]) -> None:
        nonlocal standing, costs
        for place, reason in refused.items():
            reasons[place] = reason
        left = np.setdiff1d(standing, list(refused))
        costs += _costs(name, known, standing, left)
        standing = left

    turned_down = said.places(ids, "reject")
    take(PERSON, {place: decision.reason for place, decision in turned_down.items()})
    for gate in gates:
        refused = gate.refuse(known, standing)
        if not gate.safety:
            refused = {place: why for place, why in refused.items() if place not in insisted}
        take(gate.name, refused)
    keep = [reason is None for reason in reasons]
    copy_corpus(corpus, out, {"keep": keep, "reason": reasons})

    named = known.column("emotion")
    result = {
        **_counted(reasons),
        "emotions": {
            emotion: _counted([reasons[place] for place in np.flatnonzero(named == emotion)])
            for emotion in corpus.emotions
            if emotion in named
        },
    }
    if decisions:
        unheeded = sum(reasons[place] is not None for place in insisted)
        result["person"] = {
            "kept": len(insisted),
            "not_followed": unheeded,
            "rejected": len(turned_down),
        }
        if unheeded:
            _log.warning(
                "select: %d of %d faces that a person keeps stay out, refused by a safety gate",
                unheeded,
                len(insisted),
            )
    settings = {
        gate.name: asdict(gate) if is_dataclass(gate) and not isinstance(gate, type) else {}
        for gate in gates
    }
    gated = {
        "settings": settings,
        "safety": [gate.name for gate in gates if gate.safety],
        "reviewer": said.reviewer or None,
        **result,
        "costs": costs,
    }
    write_json(out / METRICS, {**metrics, "gates": gated})
    for emotion, counts in result["emotions"].items():
        if not counts["kept"]:
            _log.warning("select: no face of %s passed, of %d made", emotion, counts["made"])
    _log.info("select: kept %d of %d faces", result["kept"], result["made"])
    return result


def _costs(
    name: str, scored: Scored, before: np.ndarray, after: np.ndarray
) -> list[dict[str, Any]]:
    """Return a line for each emotion that a gate took faces of, then one for all emotions.

    Every face is held against the real faces of its own emotion; the line for all is the mean
    over faces for precision and density, over real faces for recall and coverage.
    """
    if len(before) == len(after):
        return []
    lines, everything = [], []
    for emotion, (places, manifold) in scored.manifolds.items():
        sides = [
            np.flatnonzero(np.isin(places, standing, assume_unique=True))
            for standing in (before, after)
        ]
        line = {
            "gate": name,
            "emotion": emotion,
            "removed": len(sides[0]) - len(sides[1]),
            "n_real": len(manifold.real),
            "n_before": len(sides[0]),
            "n_after": len(sides[1]),
            "before": manifold.figures(sides[0]),
            "after": manifold.figures(sides[1]),
            "coverage_by_lot": manifold.coverage_by_lot(sides[0], len(sides[1])),
        }
        everything.append(line)
        if line["removed"]:
            lines.append(line)
    if everything:
        lines.append(_overall(everything))
    return lines


def _overall(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    sums = {
        key: sum(line[key] for line in lines)
        for key in ("removed", "n_real", "n_before", "n_after")
    }

    def mean(values: Sequence[float | None], counts: Sequence[int]) -> float | None:
        pairs = [(v, n) for v, n in zip(values, counts, strict=True) if n]
        if not pairs or any(value is None for value, _ in pairs):
            return None
        return float(np.average([v for v, _ in pairs], weights=[n for _, n in pairs]))  # type: ignore[arg-type]

    found: dict[str, Any] = {"gate": lines[0]["gate"], "emotion": "all", **sums}
    for side in ("before", "after"):
        found[side] = {
            figure: mean(
                [line[side][figure] for line in lines],
                [
                    line[f"n_{side}" if figure in ("precision", "density") else "n_real"]
                    for line in lines
                ],
            )
            for figure in FIGURES
        }
    found["coverage_by_lot"] = mean(
        [line["coverage_by_lot"] for line in lines], [line["n_real"] for line in lines]
    )
    return found


def _counted(reasons: Sequence[str | None]) -> dict[str, Any]:
    return {"made": len(reasons), "kept": reasons.count(None), "rejected": tally(reasons)}
