"""Who is trained on and who is tested on: the splits that protocols compare.

A splitter is given the rows of a corpus and says which split each is in. Two of them lay down
protocols of papers beside the honest ones: `ByPicture` lets a person, and copies of one picture,
fall on both sides, and says so.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd

from curation.corpus import fold_subjects
from curation.recipes import GENERATED


class Splitter(Protocol):
    """Assigns rows to splits.

    Attributes:
        leaky: Whether a tested person may also be trained on; else that stops a benchmark.
        tests: ``real`` or ``all``: which of the rows in split ``test`` are tested on.
    """

    leaky: ClassVar[bool]
    tests: ClassVar[str]

    def assign(self, facts: pd.DataFrame, part: int) -> pd.Series:
        """Return ``train``, ``validation``, ``test`` or None (left out) for each row.

        Args:
            facts: ``id``, ``subject``, ``parent``, ``database``, ``emotion``, ``origin`` and
                ``split`` of all pictures at hand (`curation.corpus.Corpus.facts`).
            part: Which of the parts is tested on, from 0.

        Raises:
            ValueError: If there is no such part.
        """
        ...


@dataclass(frozen=True)
class External:
    """The corpus's own split: trained on its training people, tested on what was set apart.

    That is the cross-database protocol where the test databases are others.
    """

    leaky: ClassVar[bool] = False
    tests: ClassVar[str] = "real"

    def assign(self, facts: pd.DataFrame, part: int) -> pd.Series:
        """See `Splitter`; there is one part."""
        _require_part(part, 1, "an external test set is one part")
        return facts["split"]


@dataclass(frozen=True)
class ByPicture:
    """k folds of all pictures, stratified by emotion, whoever is on them.

    Table 7 of Randellini et al. 2022: the union of all databases with all copies and synthetic
    faces. Copies of one photograph, and photographs of one person, fall on both sides, so the
    figure is no measure of how well new people are recognised. `BySubject` is.

    Attributes:
        parts: k.
        seed: Which random assignment.
    """

    parts: int = 5
    seed: int = 0
    leaky: ClassVar[bool] = True
    tests: ClassVar[str] = "all"

    def assign(self, facts: pd.DataFrame, part: int) -> pd.Series:
        """See `Splitter`."""
        _require_part(part, self.parts, f"there are {self.parts} folds (parts)")
        # by what a picture is: other rows change no picture's neighbours
        chance = [_chance(self.seed, name) for name in facts["id"]]
        order = pd.DataFrame({"emotion": facts["emotion"], "chance": chance}).sort_values("chance")
        place = order.groupby("emotion", observed=True).cumcount().reindex(facts.index)
        tested = (place % self.parts == part).to_numpy(bool)
        return pd.Series(np.where(tested, "test", "train"), facts.index, dtype=object)


@dataclass(frozen=True)
class BySubject:
    """k folds of people: everybody is tested once, by what learned from others.

    A copy follows its parent; a picture of nobody in particular is somebody of its own.
    Generated faces are left out, for their generator learned from people of every fold. (For
    arms with such faces take ``protocol=kfold``, which trains the generators anew in each fold.)

    Attributes:
        parts: k.
        seed: Which random assignment.
    """

    parts: int = 5
    seed: int = 0
    leaky: ClassVar[bool] = False
    tests: ClassVar[str] = "real"

    def assign(self, facts: pd.DataFrame, part: int) -> pd.Series:
        """See `Splitter`."""
        _require_part(part, self.parts, f"there are {self.parts} folds (parts)")
        person = people_of(facts)
        generated = facts["origin"].isin(GENERATED)
        sides = fold_subjects(person[~generated], folds=self.parts, fold=part, seed=self.seed)
        return person.map(sides).astype(object).mask(generated, None)


@dataclass(frozen=True)
class ByDatabase:
    """Leave one database out: each is tested once, by what learned from all others.

    Databases come in the order of their names. Generated faces are left out, for their generator
    may have learned from the database that is tested.
    """

    leaky: ClassVar[bool] = False
    tests: ClassVar[str] = "real"

    def assign(self, facts: pd.DataFrame, part: int) -> pd.Series:
        """See `Splitter`; there are as many parts as databases."""
        names = sorted(facts["database"].dropna().unique())
        if len(names) < 2:
            raise ValueError(
                f"leaving a database out takes two at least, the corpus has {', '.join(names)}; "
                "add some (test_databases)"
            )
        _require_part(part, len(names), f"there are {len(names)} databases: {', '.join(names)}")
        tested = facts["database"] == names[part]
        sides = pd.Series(np.where(tested, "test", "train"), facts.index, dtype=object)
        return sides.mask(facts["origin"].isin(GENERATED) | facts["database"].isna(), None)


def people_of(facts: pd.DataFrame) -> pd.Series:
    """Return whom each picture shows, a name a row.

    Nobody's picture is somebody of its own, and its copies are the same somebody.

    Args:
        facts: ``subject``, ``parent`` and ``id``.
    """
    return facts["subject"].fillna(facts["parent"]).fillna(facts["id"])


def _require_part(part: int, parts: int, said: str) -> None:
    if not 0 <= part < parts:
        raise ValueError(
            f"part {part} of a split does not exist; {said}: set protocol.parts={parts}"
        )


def _chance(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
