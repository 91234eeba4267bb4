"""Licence records: what may be done with a database's pictures, and with what learned from them.

A record is a YAML file in ``datasets_cards/licences/``, or in a folder of one's own, with the
fields of `Licence`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import datasets_cards

RECORDS = Path(datasets_cards.__file__).parent / "licences"


@dataclass(frozen=True)
class Licence:
    """The terms of one or more databases.

    Attributes:
        name: What people call it.
        databases: Names that corpora know it by.
        redistribute: Whether its pictures, and changed copies of them, may be passed on.
        terms: In words.
        redistribute_synthetic: Whether faces that a generator drew after learning from its
            pictures may be passed on.
        hub_licence: As the hub spells it.
        url: Where the terms are.
        contact: Who may be asked.
        citation: BibTeX.
    """

    name: str
    databases: tuple[str, ...]
    redistribute: bool
    terms: str
    redistribute_synthetic: bool = True
    hub_licence: str = "other"
    url: str = ""
    contact: str = ""
    citation: str = ""


def read_licences(folders: Sequence[Path]) -> dict[str, Licence]:
    """Read licence records: database → licence. A later folder's record wins.

    Args:
        folders: Folders of YAML files with the fields of `Licence`.

    Raises:
        ValueError: If a record lacks a field, has an unknown one, or does not say in so many
            words (``true`` or ``false``) what may be passed on.
    """
    found: dict[str, Licence] = {}
    for path in [path for folder in folders for path in sorted(folder.glob("*.yaml"))]:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            licence = Licence(**{**content, "databases": tuple(content["databases"])})
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"{path} is no licence record ({error}); it needs name, databases, "
                "redistribute and terms"
            ) from error
        for key in ("redistribute", "redistribute_synthetic"):
            if not isinstance(value := getattr(licence, key), bool):
                raise ValueError(f"{path}: {key} is {value!r}; write true or false")
        found |= dict.fromkeys(licence.databases, licence)
    return found


def unknown_licence(database: str) -> Licence:
    """Return the record of a database that has none: nothing of it may be passed on."""
    return Licence(
        name=database,
        databases=(database,),
        redistribute=False,
        terms="No licence record, so the pictures are not passed on.",
    )


def hub_licence(licences: Iterable[Licence]) -> str:
    """Return one licence as the hub spells it: that of all of them, else ``other``."""
    spelled = {licence.hub_licence for licence in licences}
    return spelled.pop() if len(spelled) == 1 else "other"


def permitted(
    facts: pd.DataFrame, terms: Mapping[str, Licence], trained_on: set[str]
) -> np.ndarray:
    """Return one boolean a row: may this picture be passed on?

    A real face, a changed copy and a picture that somebody else made stand under the record of
    the database in their row. A generated face may hold something of every database that its
    generator could learn from, so the strictest of their records decides.

    Args:
        facts: Columns ``origin`` and ``database`` of a corpus (`Corpus.facts`).
        terms: Database → licence; a database that is not in it allows nothing.
        trained_on: The databases of the training faces.
    """
    named = facts["database"].fillna("unnamed").astype(str)
    free = [database for database, licence in terms.items() if licence.redistribute]
    own = named.isin(free)
    learned = all(
        database in terms and terms[database].redistribute_synthetic for database in trained_on
    )
    return np.where(facts["origin"] == "gan", learned, own).astype(bool)
