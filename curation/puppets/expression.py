"""What a puppet does: facial action units (FACS), from emotion prototypes.

Prototypes follow Ekman, Friesen & Hager, Facial Action Coding System, 2002. An
expression is a mapping from action-unit number to intensity, 0 (absent) to 1.3.
"""

from collections.abc import Mapping

import numpy as np

from .identity import UNITS, Identity

ActionUnits = Mapping[int, float]

PROTOTYPES: dict[str, dict[int, float]] = {
    "angry": {4: 1.3, 5: 0.8, 7: 0.3, 23: 1.2, 24: 0.5, 17: 0.5},
    "disgust": {4: 0.25, 9: 1.3, 10: 1.15, 6: 0.35, 7: 0.5, 16: 0.5, 25: 0.6},
    "fear": {1: 1.25, 2: 0.55, 4: 0.65, 5: 1.3, 20: 1.1, 25: 0.65, 26: 0.35},
    "happy": {6: 1.0, 12: 1.0, 25: 0.7},
    "neutral": {},
    "sad": {1: 1.25, 4: 0.6, 15: 1.15, 17: 0.9, 43: 0.45},
    "surprise": {1: 1.1, 2: 1.1, 5: 1.1, 25: 0.5, 26: 1.2},
}
# (probability, units that replace the prototype's; 0 removes one)
VARIANTS: dict[str, tuple[float, dict[int, float]]] = {
    "angry": (0.35, {25: 0.6, 10: 0.4, 16: 0.45, 23: 0.4, 24: 0.0}),
    "disgust": (0.35, {25: 0.0, 16: 0.0, 17: 0.55, 15: 0.45}),
    "fear": (0.25, {26: 0.0, 25: 0.8}),
    "happy": (0.20, {25: 0.0}),
}
_LEAKS = (1, 2, 4, 6, 7, 12, 15, 17, 20, 23, 25)
STRONGEST = 1.3


def action_units(
    emotion: str, person: Identity, difficulty: float, rng: np.random.Generator
) -> dict[int, float]:
    """Draw how one person shows an emotion once.

    With `difficulty` the intensity falls (down to 0.3 of the prototype at 1), units
    drop out, vary, and up to two units of other emotions leak in.

    Args:
        emotion: A key of `PROTOTYPES`.
        person: Whose expressivity and personal gains apply.
        difficulty: 0 (posed, full intensity) to 1.
        rng: Source of this shot's randomness.

    Returns:
        Intensities by unit number, in [0, 1.3]; empty for neutral at difficulty 0.
    """
    units = dict(PROTOTYPES[emotion])
    probability, replacement = VARIANTS.get(emotion, (0.0, {}))
    if rng.random() < probability:
        units.update(replacement)
    intensity = rng.uniform(1 - 0.7 * difficulty, 1.05) * person.expressivity
    jitter = rng.normal(1, 0.08 + 0.2 * difficulty, UNITS)
    kept = rng.random(UNITS) >= 0.15 * difficulty
    units = {
        unit: value * intensity * person.gains[unit] * jitter[unit]
        for unit, value in units.items()
        if kept[unit]
    }
    leaks = rng.choice(_LEAKS, size=2, replace=False)
    amounts = rng.uniform(0, 0.6 * difficulty, size=2) * (rng.random(2) < 0.8)
    for unit, amount in zip(leaks.tolist(), amounts.tolist(), strict=True):
        units[unit] = max(units.get(unit, 0.0), amount)
    return {u: float(min(v, STRONGEST)) for u, v in sorted(units.items()) if v > 0}
