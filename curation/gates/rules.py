"""The gates: each a few settings that say which of the standing faces it refuses, and why.

A gate looks at stored scores only. Its name is the first word of its reasons. A setting of None
turns it off. Gates that say "share" take their limit from real faces: about that share of honest
faces is refused too (`curation.duplicates.lower_limit`). Where real faces are too few for the
share, gates of nearness take the nearest of them, for copies are the greater harm; others refuse
nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from curation.duplicates import lower_limit
from curation.gates.manifold import Manifold, evenly

PAIRS_SHARE = 0.05  # close pairs are stored up to this share


@dataclass(frozen=True)
class Scored:
    """What `score` found out.

    Attributes:
        facts: The generated faces with their scores, one line a face.
        evidence: What the real faces say, as arrays: see `curation.gates.scoring`.
        neighbours: k of the balls around real faces.
        insisted: Places of the faces that a person keeps: of all gates, only those of safety have
            a say in them.
    """

    facts: pd.DataFrame
    evidence: Mapping[str, np.ndarray]
    neighbours: int
    insisted: Collection[int] = frozenset()

    def column(self, name: str) -> np.ndarray:
        """Return one column of the facts, (N,)."""
        return np.asarray(self.facts[name])

    @cached_property
    def manifolds(self) -> dict[str, tuple[np.ndarray, Manifold]]:
        """Emotion → places of its generated faces, and their manifold; too few real ones: none."""
        found = {}
        named, real_named = self.column("emotion"), self.evidence["real_emotion"]
        for code, emotion in enumerate(self.emotions):
            places = np.flatnonzero(named == emotion)
            real = self.evidence["real_space"][real_named == code]
            if len(places) and len(real) > self.neighbours:
                real = real[evenly(len(real))]
                made = self.evidence["space"][places]
                found[emotion] = places, Manifold(real, made, self.neighbours)
        return found

    @property
    def emotions(self) -> list[str]:
        """Names of the emotions, in the order of the codes in the evidence."""
        return bytes(self.evidence["emotions"]).decode().split("\n")


class Gate(Protocol):
    """What refuses faces."""

    @property
    def name(self) -> str:
        """The first word of its reasons."""
        ...

    @property
    def safety(self) -> bool:
        """Whether what it refuses stays out, though a person would keep it."""
        ...

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """Return the reasons against some faces.

        Args:
            scored: All faces.
            standing: Places of those that no gate before refused, (n,), in order.

        Returns:
            Place → reason, for those of the standing faces that are refused.
        """
        ...


@dataclass(frozen=True)
class Agreement:
    """Refuses what a classifier does not read as it is named, or not surely enough.

    Attributes:
        minimum: Smallest calibrated probability of the named emotion, in [0, 1].
        as_named: Whether the named emotion must also be the most probable one.
    """

    minimum: float | None
    as_named: bool
    name: ClassVar[str] = "agreement"
    safety: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_probability("agreement", self.minimum)

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        values, read, named = (scored.column(n) for n in ("agreement", "predicted", "emotion"))
        least = -1.0 if self.minimum is None else self.minimum
        right = read == named
        refused = (values < least) | (~right & self.as_named)
        reasons = {}
        for place in standing[refused[standing]]:
            reading = f"read {'as named' if right[place] else f'as {read[place]}'}"
            shown = (
                _below(values[place], least) if values[place] < least else f"{values[place]:.2f}"
            )
            reasons[int(place)] = f"{self.name}: {reading}, {shown}"
        return reasons


@dataclass(frozen=True)
class Confidence:
    """Refuses what the classifier is not sure about, whatever it reads.

    Attributes:
        minimum: Smallest calibrated probability of its own first choice, in [0, 1].
    """

    minimum: float | None
    name: ClassVar[str] = "confidence"
    safety: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_probability("confidence", self.minimum)

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        if self.minimum is None:
            return {}
        values, read = scored.column("confidence"), scored.column("predicted")
        return {
            int(place): f"{self.name}: {read[place]} at most, {_below(values[place], self.minimum)}"
            for place in standing[values[standing] < self.minimum]
        }


@dataclass(frozen=True)
class Quality:
    """Refuses crops that are blurred, rough, dark or bright beyond the real faces.

    Attributes:
        share: Of real faces that lie outside the four limits (sharpness and exposure, either
            side) together.
    """

    share: float | None
    name: ClassVar[str] = "quality"
    safety: ClassVar[bool] = False

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        reasons: dict[int, str] = {}
        if self.share is None:
            return reasons
        for measure in ("sharpness", "exposure"):
            values, real = scored.column(measure), scored.evidence[f"real_{measure}"]
            low, high = lower_limit(real, self.share / 4), -lower_limit(-real, self.share / 4)
            for place in standing:
                value = values[place]
                if value < low:
                    reasons.setdefault(int(place), f"{self.name}: {measure} {_less(value, low)}")
                elif value > high:
                    reasons.setdefault(int(place), f"{self.name}: {measure} {_more(value, high)}")
        return reasons


@dataclass(frozen=True)
class Realism:
    """Refuses what lies where no real face of its emotion does, in feature space.

    Attributes:
        share: Of real faces of held-out people that lie as far from the balls of the others.
    """

    share: float | None
    name: ClassVar[str] = "realism"
    safety: ClassVar[bool] = False

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        if self.share is None:
            return {}
        real = scored.evidence["real_off_manifold"]
        real = real[np.isfinite(real)]
        if not len(real):
            return {}  # too few real faces for a ball, which metrics.json says
        limit = -lower_limit(-real, self.share)
        values = scored.column("off_manifold")
        return {
            int(place): f"{self.name}: radii to the nearest real face of its emotion "
            f"{_more(values[place], limit)}"
            for place in standing[values[standing] > limit]
        }


@dataclass(frozen=True)
class Copies:
    """Refuses copies of training faces.

    Attributes:
        share: Of real faces that have a stranger's face as near.
    """

    share: float | None
    name: ClassVar[str] = "copy"
    safety: ClassVar[bool] = True

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        if self.share is None:
            return {}
        return _too_near(self.name, scored, standing, "nearest", "copy_strangers", self.share)


@dataclass(frozen=True)
class Identity:
    """Refuses faces of a person that the generator learned from, by a face embedding.

    Does nothing where `score` was given no embedding: then nobody looked.

    Attributes:
        share: Of real faces that have a stranger's face as near.
    """

    share: float | None
    name: ClassVar[str] = "identity"
    safety: ClassVar[bool] = True

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        if self.share is None or not len(scored.evidence["identity_strangers"]):
            return {}
        return _too_near(self.name, scored, standing, "identity", "identity_strangers", self.share)


@dataclass(frozen=True)
class Repeats:
    """Of generated faces that nearly repeat each other, keeps the first that still stands.

    Attributes:
        share: As for `Copies`: the same distance makes a repeat. At most 0.05.
    """

    share: float | None
    name: ClassVar[str] = "repeat"
    safety: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 <= self.share <= PAIRS_SHARE:
            raise ValueError(
                f"gate.repeats is {self.share}; it is a share in [0, {PAIRS_SHARE}], since pairs "
                "farther apart are not stored, or null"
            )

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        if self.share is None:
            return {}
        limit = lower_limit(scored.evidence["copy_strangers"], self.share, least=1)
        kept = np.zeros(len(scored.facts), bool)
        kept[standing] = True
        ids = scored.column("id")
        reasons: dict[int, str] = {}
        pairs = (scored.evidence[f"pair_{name}"] for name in ("first", "second", "distance"))
        # sorted by the later face: whether an earlier one is kept is settled when it is asked
        for first, second, distance in zip(*pairs, strict=True):
            if second in scored.insisted:
                continue
            if distance < limit and kept[first] and kept[second]:
                kept[second] = False
                reasons[int(second)] = f"{self.name}: of generated face {ids[first]}"
        return reasons


@dataclass(frozen=True)
class Budget:
    """Keeps so many faces of each emotion: first those that cover the real ones, then the best.

    A gate that keeps the best alone turns 150 faces into 150 of the safest one. Here the face
    that lies in most balls of real faces not yet covered comes first (of equals the better one;
    Nemhauser et al. 1978: at least 63 % of the best possible coverage); when no face adds a ball,
    the best of the others follow. What a budget keeps, a larger one keeps too. Faces that a person
    keeps come first of all.

    Attributes:
        per_emotion: Faces to keep of each emotion.
        score: The column that says which face is better.
    """

    per_emotion: int | None
    score: str = "agreement"
    name: ClassVar[str] = "budget"
    safety: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_emotion is not None and self.per_emotion < 1:
            raise ValueError(f"gate.budget is {self.per_emotion}; it is 1 or more, or null")

    def refuse(self, scored: Scored, standing: np.ndarray) -> dict[int, str]:
        """See `Gate`."""
        reasons: dict[int, str] = {}
        if self.per_emotion is None:
            return reasons
        values, named = scored.column(self.score), scored.column("emotion")
        for emotion in dict.fromkeys(named[standing]):
            own = standing[named[standing] == emotion]
            chosen = np.isin(own, list(scored.insisted))
            best = own[np.lexsort((-values[own], ~chosen))]
            if emotion in scored.manifolds:
                places, manifold = scored.manifolds[emotion]
                inside = manifold.inside[:, np.searchsorted(places, best)]
                order = best[_covering(inside, self.per_emotion, chosen.sum())]
            else:
                order = best
            for place in np.sort(order[max(self.per_emotion, chosen.sum()) :]):
                reasons[int(place)] = (
                    f"{self.name}: not among the {self.per_emotion} of {emotion}, "
                    f"{self.score} {values[place]:.2f}"
                )
        return reasons


def _covering(inside: np.ndarray, most: int, given: int = 0) -> np.ndarray:
    """Order faces: while it adds to the real balls (M, N) covered the largest gain, then as given.

    Args:
        inside: Which face lies in which ball.
        most: Faces to choose for what they add.
        given: So many come first in any case.

    Returns:
        All N places.
    """
    open_balls = inside & ~inside[:, :given].any(axis=1, keepdims=True)
    chosen = list(range(given))
    while len(chosen) < min(most, inside.shape[1]):
        gains = open_balls.sum(axis=0)
        place = int(gains.argmax())  # the first, and so the better, of equals
        if not gains[place]:
            break
        chosen.append(place)
        open_balls &= ~inside[:, [place]]
    others = np.setdiff1d(np.arange(inside.shape[1]), chosen)
    return np.concatenate([np.array(chosen, dtype=np.intp), others])


def _too_near(
    name: str, scored: Scored, standing: np.ndarray, score: str, strangers: str, share: float
) -> dict[int, str]:
    limit = lower_limit(scored.evidence[strangers], share, least=1)
    distances, faces = scored.column(f"{score}_distance"), scored.column(f"{score}_id")
    return {
        int(place): f"{name}: {distances[place]:.3f} from training face {faces[place]}, "
        f"under {limit:.3f}"
        for place in standing[distances[standing] < limit]
    }


def _require_probability(key: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"gate.{key} is {value}; it is a probability in [0, 1] or null")


def _below(value: Any, limit: float) -> str:
    # more digits where two would read as 0.50 < 0.50
    shown = f"{value:.2f}" if float(f"{value:.2f}") < limit else f"{value:.4f}"
    return f"{shown} < {limit:.2f}"


def _less(value: Any, limit: float) -> str:
    return f"{value:.3g} < {limit:.3g}"


def _more(value: Any, limit: float) -> str:
    return f"{value:.3g} > {limit:.3g}"


def tally(reasons: Sequence[str | None]) -> dict[str, int]:
    """Count reasons by their first word."""
    words = (reason.split(":")[0] for reason in reasons if reason is not None)
    return dict(sorted(Counter(words).items()))
