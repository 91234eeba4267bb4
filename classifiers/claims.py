"""A claim: what an arm gains over its reference, how sure that is, and what would settle it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from classifiers.statistics import (
    LEVEL,
    bootstrap_by_subject,
    chi_square,
    hedges_g,
    holm,
    mcnemar,
    paired_difference,
    two_way,
    verdict,
)


def claim(
    arm: np.ndarray,
    reference: np.ndarray,
    *,
    people: np.ndarray,
    ids: np.ndarray,
    truth: np.ndarray,
    emotions: Sequence[str],
    resamples: int = 2000,
) -> dict[str, Any]:
    """Return what predictions of two arms with the same seeds on the same pictures say.

    * ``seeds``: the difference of accuracies with Student's t interval, paired by seed. How far it
      would fall with other trainings, on these pictures.
    * ``subjects``: the same with a bootstrap over people. How far it would fall for other people,
      with these trainings.
    * ``both``: the same over trainings and people (`two_way`). The verdict rests on its p.
    * ``effect_size``: Hedges' g_av over seeds.
    * ``mcnemar``: pictures that more trainings have right with the arm (``gained``) or with the
      reference (``lost``), exact mid-p. Takes pictures as independent.
    * ``chi_square``: of both accuracies, as protocol 4 tests. Takes pictures as independent and
      unpaired.
    * ``gain_per_emotion``: the difference of each emotion's recall over trainings and people;
      not tested, and not corrected for their number.

    Args:
        arm: (S, N) correctness of the arm: 0 or 1, or the mean over backbones.
        reference: (S, N) the same for the reference.
        people: (N,) who is on the picture.
        ids: (N,) which picture it is; one can be tested in several folds.
        truth: (N,) codes of `emotions`.
        emotions: The outputs, in order.
        resamples: Bootstrap resamples.

    Returns:
        The above, ``difference`` and ``p``, as JSON values; `judge` adds the verdict. Until then
        ``both`` under a key of its own: ``model`` (`TwoWay`).
    """
    difference = np.asarray(arm, float) - reference
    over_both = two_way(difference, people)
    _, which = np.unique(ids.astype(str), return_inverse=True)
    change = np.bincount(which, weights=difference.sum(0)).round(9)
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    images = len(change)
    statistic, p = chi_square(arm.mean() * images, images, reference.mean() * images, images)
    effect = hedges_g(arm.mean(1), reference.mean(1))
    both = over_both.estimate()
    return {
        "difference": over_both.value,
        "seeds": paired_difference(arm.mean(1), reference.mean(1)).plain(),
        "subjects": bootstrap_by_subject(arm.mean(0), reference.mean(0), people, resamples).plain(),
        "both": both.plain(),
        "p": both.plain()["p"],
        "effect_size": None if np.isnan(effect) else effect,
        "mcnemar": {"gained": gained, "lost": lost, "p": mcnemar(gained, lost)},
        "chi_square": {"statistic": statistic, "p": p},
        "gain_per_emotion": {
            name: two_way(difference[:, own], people[own])
            .estimate()
            ._replace(p=float("nan"))
            .plain()
            for code, name in enumerate(emotions)
            if (own := truth == code).any()
        },
        "model": over_both,
    }


def judge(claims: Sequence[dict[str, Any]]) -> None:
    """Give each claim its verdict, corrected for how many there are.

    Adds ``p_adjusted`` (`holm` over all that could be tested) and ``verdict``; and where there is
    no evidence ``seeds_needed``, how many more seeds would decide a gain of this size with
    probability 0.8, at the level that Holm asks of the smallest p, or null and
    ``seeds_needed_reason``. Takes ``model`` away.

    Args:
        claims: Of one summary; changed in place.
    """
    adjusted = holm([np.nan if each["p"] is None else each["p"] for each in claims])
    tested = max(1, int((~np.isnan(adjusted)).sum()))
    for each, p in zip(claims, adjusted, strict=True):
        model = each.pop("model")
        each["p_adjusted"] = None if np.isnan(p) else float(p)
        each["verdict"] = verdict(each["difference"], float(p))
        each["seeds_needed"], each["seeds_needed_reason"] = None, ""
        if each["verdict"] == "no evidence":
            needed, why = model.seeds_needed(LEVEL / tested)
            each["seeds_needed"], each["seeds_needed_reason"] = needed, why
