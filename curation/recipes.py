"""Training corpora as recipes: which faces, and how many, a training set is made of.

A recipe is a configuration (``conf/recipe/``) with a part for each origin. Publishing and the
benchmark are given recipes by name and ask them for rows, so that a published corpus and a
benchmark's arm of one recipe are the same faces. The names there are those of protocol 1
(Randellini et al. 2022): ``geometric`` is its OL, ``imported`` PFA, ``gan`` Q, ``imported_gan``
PFA_Q.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from curation.corpus import ORIGINS

GENERATED = ("gan", "imported")
RANDOM = "random"
Gate = Literal["passed", "none", "random"]
Shortage = Literal["error", "take_all"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Faces of one origin in a training set: all there are, or as many of each emotion.

    Attributes:
        count: Faces in all, dealt evenly to the emotions.
        ratio: Faces in all, as a multiple of the corpus's real training faces. Without count and
            ratio the part is all there is, however many of each emotion.
        order: Which faces are taken first: ``random`` (by seed and id), or a column of the corpus,
            such as ``agreement``: its largest values. The faces of a smaller part are always
            among those of a larger one in the same order.
        gate: ``passed``: faces that `curation.gates.select` kept, and real ones that nothing holds
            back. ``none``: every face, judged or not. ``random``: of every face, a random choice
            of as many of each emotion as passed, to tell what the gates choose from how much
            they drop.

    Raises:
        ValueError: If a number is negative, both are given, or the gate is unknown.
    """

    count: int | None = None
    ratio: float | None = None
    order: str = RANDOM
    gate: Gate = "passed"

    def __post_init__(self) -> None:
        if self.count is not None and self.ratio is not None:
            raise ValueError(
                f"a part of a recipe has count {self.count} and ratio {self.ratio}; give one"
            )
        if (self.count or 0) < 0 or (self.ratio or 0) < 0:
            raise ValueError(
                f"a part of a recipe has {self.count if self.ratio is None else self.ratio} faces; "
                "count and ratio must be 0 or more"
            )
        if self.gate not in get_args(Gate):
            raise ValueError(
                f"gate {self.gate!r} of a recipe is unknown; it is one of {_listed(get_args(Gate))}"
            )

    @property
    def whole(self) -> bool:
        """Whether it takes all there is."""
        return self.count is None and self.ratio is None

    def size(self, real: int) -> int:
        """Return the faces in all, where the corpus has this many real training faces."""
        if self.count is not None:
            return self.count
        return round((self.ratio or 0) * real)


@dataclass(frozen=True)
class Choice:
    """The rows of a recipe.

    Attributes:
        corpus: One boolean a row of the corpus of real faces and their copies, (N,).
        synthetic: One boolean a row of the corpus of generated faces, (M,).
        short: Origin → emotion → faces that were asked for and are not there; empty if none.
    """

    corpus: np.ndarray
    synthetic: np.ndarray
    short: Mapping[str, Mapping[str, int]]

    def __len__(self) -> int:
        return int(self.corpus.sum() + self.synthetic.sum())


@dataclass(frozen=True)
class Recipe:
    """What a training set is made of.

    Attributes:
        parts: Origin (of `ORIGINS`) → part.
        seed: Of what is taken at random.
        shortage: What to do where a part asks for more faces of an emotion than there are: an
            error, or all there are (the others are not cut to match); either names the numbers.

    Raises:
        ValueError: If there is no part, or an origin is unknown.
    """

    parts: Mapping[str, Part]
    seed: int = 0
    shortage: Shortage = "error"

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set(ORIGINS):
            raise ValueError(
                f"a recipe has the parts {_listed(self.parts) or 'none'}; they are of "
                f"{_listed(ORIGINS)}"
            )
        if self.shortage not in get_args(Shortage):
            raise ValueError(
                f"shortage {self.shortage!r} of a recipe is unknown; it is one of "
                f"{_listed(get_args(Shortage))}"
            )

    @property
    def gated(self) -> bool:
        """Whether every generated face in it has passed the gates."""
        return all(self.parts[name].gate == "passed" for name in GENERATED if name in self.parts)

    @property
    def whole(self) -> bool:
        """Whether all of `candidates` are in it."""
        return all(part.whole and part.gate != "random" for part in self.parts.values())

    def candidates(self, facts: pd.DataFrame, emotions: Sequence[str]) -> np.ndarray:
        """Mark the rows that it takes its faces from, (N,) bool.

        Args:
            facts: ``split``, ``origin``, ``emotion`` and ``keep`` of a corpus (`Corpus.facts`).
            emotions: The emotions of the experiment.
        """
        masks = [_pool(facts, name, part.gate, emotions) for name, part in self.parts.items()]
        return np.logical_or.reduce(masks)

    def choose(
        self,
        corpus: pd.DataFrame,
        synthetic: pd.DataFrame,
        emotions: Sequence[str],
        *,
        label: str = "recipe",
    ) -> Choice:
        """Choose training faces.

        Real faces and geometric copies come from `corpus` alone and generated faces from
        `synthetic` alone, so that a corpus which carries both along feeds nothing twice. Where the
        real faces are a part of those there are, copies of the others are left out.

        Args:
            corpus: Facts of the augmented corpus (`Corpus.facts`).
            synthetic: Facts of the selected corpus.
            emotions: The emotions of the experiment; other rows are left out.
            label: What to call the recipe in the log and in errors.

        Raises:
            ValueError: If there are fewer faces than it asks for, unless `shortage` allows that,
                or some of those to choose from lack the score that orders them.
        """
        real = int(_pool(corpus, "real", "passed", emotions).sum())
        from_corpus, from_synthetic = np.zeros(len(corpus), bool), np.zeros(len(synthetic), bool)
        short: dict[str, dict[str, int]] = {}
        for origin in [origin for origin in ORIGINS if origin in self.parts]:
            part = self.parts[origin]
            made = origin in GENERATED
            facts, taken = (synthetic, from_synthetic) if made else (corpus, from_corpus)
            pool = _pool(facts, origin, part.gate, emotions)
            if part.gate == "random":
                passed = _pool(facts, origin, "passed", emotions)
                quota = _counts(facts.loc[passed, "emotion"])
                pool = self._first(facts, pool, quota, RANDOM, label)
            if origin == "geometric" and "real" in self.parts:
                left = facts.loc[(facts["origin"] == "real") & ~taken, "id"]
                pool = pool & ~facts["parent"].isin(left).to_numpy(bool)
            if not part.whole:
                quota = _dealt(part.size(real), emotions)
                if missing := _missing(facts.loc[pool, "emotion"], quota):
                    self._tell(label, origin, part, real, missing)
                    short[origin] = missing
                pool = self._first(facts, pool, quota, part.order, label)
            taken |= pool
        return Choice(from_corpus, from_synthetic, short)

    def _first(
        self, facts: pd.DataFrame, pool: np.ndarray, quota: Mapping[str, int], by: str, label: str
    ) -> np.ndarray:
        """Mark the first faces of a pool, for each emotion as many as its quota."""
        rows = facts.loc[pool, ["id", "emotion"]].assign(place=np.flatnonzero(pool))
        rows["chance"] = [_chance(self.seed, name) for name in rows["id"]]
        order = ["chance", "place"]
        if by != RANDOM:
            rows["rank"] = -_scores(facts[pool], by, label)
            order = ["rank", *order]
        rows = rows.sort_values(order)
        first = rows.groupby("emotion").cumcount() < rows["emotion"].map(quota).fillna(0)
        chosen = np.zeros(len(facts), bool)
        chosen[rows.loc[first, "place"]] = True
        return chosen

    def _tell(
        self, label: str, origin: str, part: Part, real: int, missing: Mapping[str, int]
    ) -> None:
        why = "" if part.ratio is None else f" ({part.ratio:g} × {real:,} real ones)"
        said = (
            f"{label} asks for {part.size(real):,} faces of origin {origin}{why}; "
            f"{sum(missing.values()):,} are not there: "
            f"{_listed(f'{count:,} of {emotion}' for emotion, count in missing.items())}"
        )
        if self.shortage == "take_all":
            _log.warning("%s; it takes all there are", said)
            return
        raise ValueError(
            f"{said}. {_MORE[origin]}, ask for fewer (parts.{origin}), or take what there is "
            "(shortage: take_all)"
        )

    def describe(self) -> str:
        """Say in words what it is made of."""
        words = [
            _words(origin, self.parts[origin], "real" in self.parts)
            for origin in ORIGINS
            if origin in self.parts
        ]
        if len(words) == 1:
            return words[0] + ("" if "real" in self.parts else ", alone")
        return f"{', '.join(words[:-1])} and {words[-1]}"


def trainable(facts: pd.DataFrame, origins: Sequence[str]) -> pd.Series:
    """Mark the training rows of some origins that nothing has refused, one boolean a row.

    Args:
        facts: Columns ``split``, ``origin`` and ``keep`` of a corpus (`Corpus.facts`). An unjudged
            face (``keep`` null) is held back by nothing if it is real or a copy; a generated one
            has passed no gate.
        origins: Of `ORIGINS`.
    """
    kept = facts["keep"].astype(object)
    kept = kept.where(kept.notna(), ~facts["origin"].isin(GENERATED)).astype(bool)
    return (facts["split"] == "train") & facts["origin"].isin(list(origins)) & kept


def _pool(facts: pd.DataFrame, origin: str, gate: Gate, emotions: Sequence[str]) -> np.ndarray:
    if gate == "passed":
        mask = trainable(facts, [origin])
    else:
        mask = (facts["split"] == "train") & (facts["origin"] == origin)
    return (mask & facts["emotion"].isin(list(emotions))).to_numpy(bool)


def _dealt(total: int, emotions: Sequence[str]) -> dict[str, int]:
    """Deal a number evenly; what is left over goes to the first emotions, one each."""
    each, over = divmod(total, len(emotions))
    return {emotion: each + (place < over) for place, emotion in enumerate(emotions)}


def _missing(found: pd.Series, quota: Mapping[str, int]) -> dict[str, int]:
    there = _counts(found)
    return {
        emotion: asked - there.get(emotion, 0)
        for emotion, asked in quota.items()
        if asked > there.get(emotion, 0)
    }


def _counts(emotions: pd.Series) -> dict[str, int]:
    return {str(emotion): int(count) for emotion, count in emotions.value_counts().items()}


def _chance(seed: int, name: str) -> int:
    # by what the face is, not by where it stands: further faces change no others' order
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest())


def _scores(facts: pd.DataFrame, by: str, label: str) -> np.ndarray:
    known = [name for name in facts if pd.api.types.is_float_dtype(facts[name])]
    if by not in known:
        raise ValueError(
            f"{label} orders faces by {by!r}, which is no score; it is one of "
            f"{_listed([RANDOM, *known])} (parts.*.order)"
        )
    scores = facts[by].to_numpy(np.float64)
    if lacking := int(np.isnan(scores).sum()):
        raise ValueError(
            f"{label} orders faces by {by!r}, which {lacking:,} of {len(scores):,} faces lack; "
            f"choose another score, or {RANDOM} (parts.*.order)"
        )
    return scores


_MORE = {
    "real": "Bring more pictures",
    "geometric": "Make more copies (augment.copies)",
    "gan": "Draw more (per_emotion), loosen the gates (gate)",
    "imported": "Bring more pictures, loosen the gates (gate)",
}
_NOUNS = {
    "real": "real faces",
    "geometric": "geometric copies",
    "gan": "synthetic faces",
    "imported": "imported synthetic faces",
}


def _words(origin: str, part: Part, with_real: bool) -> str:
    noun = _NOUNS[origin]
    if origin == "geometric":
        noun = f"their {noun}" if with_real else f"{noun} of real faces"
    elif origin in GENERATED:
        noun = {
            "passed": f"the {noun} that passed the gates",
            "none": f"all {noun} that were made, whatever the gates say",
            "random": f"as many {noun} as passed the gates, drawn from all at random",
        }[part.gate]
    if part.whole:
        return noun
    way = "at random" if part.order == RANDOM else f"by {part.order}, the largest first"
    many = f"{part.count:,}" if part.ratio is None else f"{part.ratio:g} for each real face"
    return f"{noun} ({many}, as many of each emotion, {way})"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
