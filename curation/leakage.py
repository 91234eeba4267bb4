"""Leaks: a person to be tested on, anywhere upstream of what is trained, chosen or published.

Subjects are kept to one side of a split when a corpus is made. What comes later can undo that: a
second corpus joined in, a corpus of another experiment read by mistake, a child that lost its
split. So every stage's inputs are followed to their origins, and all corpora there compared.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from curation.corpus import Corpus
from curation.lineage import Record, lineage

_COLUMNS = ["id", "subject", "parent", "split", "origin", "generator"]
_GENERATED = ("gan", "imported")


class LeakError(ValueError):
    """A test person's picture, or what descends from one, would be learned from."""


def refuse_leaks(folders: Iterable[Path]) -> None:
    """Raise unless the test people of all corpora upstream stay out of everything else there.

    A picture leaks if it stands in a split other than ``test`` and shows a person who is in a test
    split, is one of the test pictures itself, or descends from one.

    Args:
        folders: Finished folders: what a stage is about to read.

    Raises:
        LeakError: Names the person, the picture, the corpus that it leaks in, what was made from
            that, and the corpus whose test split it belongs to.
    """
    given = [Path(folder) for folder in folders]
    records = lineage(given)
    corpora = _corpora([*given, *(record.folder for record in records)])
    if not corpora:
        return
    rows = pd.concat([facts.assign(corpus=str(path)) for path, facts in corpora], ignore_index=True)
    tested = (rows["split"] == "test").to_numpy(bool)
    if not tested.any():
        return
    people = set(rows.loc[tested, "subject"].dropna())
    known = rows["subject"].notna()
    ids = _descendants(rows, set(rows.loc[tested, "id"]))
    leaks = ~tested & ((known & rows["subject"].isin(people)) | rows["id"].isin(ids)).to_numpy(bool)
    if not leaks.any():
        return
    first = rows[leaks].iloc[0]
    person = first["subject"] if pd.notna(first["subject"]) else "of unknown name"
    theirs = rows[tested & ((rows["subject"] == first["subject"]) | rows["id"].isin(ids))]
    source = theirs["corpus"].iloc[0]
    made = _made_from(Path(first["corpus"]), records)
    child = f", a child of {first['parent']}" if pd.notna(first["parent"]) else ""
    raise LeakError(
        f"test subject {person} is in split {first['split']} of {first['corpus']} (picture "
        f"{first['id']}{child}; {int(leaks.sum())} such pictures in all), and is tested on in "
        f"{source}. {f'Made from it: {made}. ' if made else ''}"
        "Leave the person out of one of them (forget=[...]) or give stages inputs of one split "
        "(stages.*.reads)"
    )


def refuse_taught_by_generated(classifier: Path) -> None:
    """Raise if a corpus that a classifier learned from holds a generated face to train on.

    Args:
        classifier: A finished folder; one without a record cannot be followed.

    Raises:
        LeakError: Names the corpus and the picture.
    """
    for path, facts in _corpora([record.folder for record in lineage([classifier])]):
        drawn = facts["origin"].isin(_GENERATED) | facts["generator"].notna()
        lost = set(facts.loc[drawn, "id"])
        bad = facts[(facts["split"] != "test") & facts["id"].isin(_descendants(facts, lost) | lost)]
        if len(bad):
            first = bad.iloc[0]
            raise LeakError(
                f"the classifier {classifier} learned from {path}, which holds {len(bad)} "
                f"generated pictures or copies of them (first: {first['id']}, origin "
                f"{first['origin']}); a gate must not have seen what it judges, so train it on "
                "real faces (stages.train_classifier.reads)"
            )


def _corpora(folders: Sequence[Path]) -> list[tuple[Path, pd.DataFrame]]:
    found = {}
    for folder in dict.fromkeys(path.resolve() for path in folders):
        if any(folder.glob("shard-*.parquet")):
            found[folder] = Corpus(folder).facts[_COLUMNS]
    return list(found.items())


def _descendants(rows: pd.DataFrame, ids: set[str]) -> set[str]:
    """Return these ids and those of everything that descends from them."""
    parents, own = rows["parent"].to_numpy(object), rows["id"].to_numpy(object)
    while True:
        grown = ids | set(own[np.isin(parents.astype(str), list(ids))])
        if grown == ids:
            return ids
        ids = grown


def _made_from(corpus: Path, records: Sequence[Record]) -> str:
    """Name the trained things that were given a corpus."""
    names = [
        f"{record.stage} {record.name}"
        for record in records
        if record.stage.startswith("train")
        and any(
            Path(entry.get("path", "")).name == corpus.name
            for entries in record.inputs.values()
            for entry in entries
        )
    ]
    return ", ".join(dict.fromkeys(names))
