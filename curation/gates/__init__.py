"""Gates: `score` judges generated faces, `select` keeps those that pass.

`score` is the expensive half: it looks at pictures. `select` is the cheap one: it only compares
stored scores with limits, so that these can be swept without scoring again.
"""

from curation.gates.figures import wilson_interval
from curation.gates.rules import (
    Agreement,
    Budget,
    Confidence,
    Copies,
    Gate,
    Identity,
    Quality,
    Realism,
    Repeats,
    Scored,
)
from curation.gates.scoring import EVIDENCE, METRICS, Predictor, score
from curation.gates.selection import select

__all__ = [
    "EVIDENCE",
    "METRICS",
    "Agreement",
    "Budget",
    "Confidence",
    "Copies",
    "Gate",
    "Identity",
    "Predictor",
    "Quality",
    "Realism",
    "Repeats",
    "Scored",
    "score",
    "select",
    "wilson_interval",
]
