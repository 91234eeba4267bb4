"""A person's decisions about the faces of one corpus: a small file that `select` applies.

They are about what `score` wrote, so that they stand while the limits of the gates are swept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.artifact import folder_hash
from curation.lineage import read_record

VERSION = 1
VERDICTS = ("keep", "reject")
PERSON = "person"  # the first word of reasons, as a gate's name is


@dataclass(frozen=True)
class Decision:
    """What a person said of one face: keep or reject, and why."""

    verdict: str
    note: str = ""

    @property
    def reason(self) -> str:
        """The reason that a rejected face gets, on one line."""
        return f"{PERSON}: {' '.join(self.note.split()) or 'rejected'}"


@dataclass(frozen=True)
class Decisions:
    """What a file says.

    Attributes:
        by_id: Row id → decision.
        reviewer: Who decided; empty where the file does not say.
    """

    by_id: Mapping[str, Decision] = field(default_factory=dict)
    reviewer: str = ""

    def places(self, ids: Sequence[str], verdict: str) -> dict[int, Decision]:
        """Return place → decision of the rows that are to be kept, or rejected.

        Args:
            ids: Of all rows, in order.
            verdict: ``keep`` or ``reject``.

        Raises:
            ValueError: If a decision is about a row that is not there.
        """
        if unknown := sorted(set(self.by_id) - set(ids)):
            raise ValueError(
                f"{len(unknown)} of {len(self.by_id)} decisions are about no row of this corpus, "
                f"such as {unknown[0]} (gate.decisions)"
            )
        said = ((place, self.by_id.get(name)) for place, name in enumerate(ids))
        return {place: one for place, one in said if one and one.verdict == verdict}


def read(path: Path, corpus_hash: str) -> Decisions:
    """Read a file of decisions.

    Args:
        path: A JSON object with ``version``, ``corpus`` (`reviewed_hash`), ``decisions`` (row id
            → object with ``verdict`` and an optional ``note``) and an optional ``reviewer``.
        corpus_hash: Of the corpus that the decisions are to be applied to.

    Raises:
        ValueError: If the file is of another version, for another corpus, or malformed.
        FileNotFoundError: If there is no such file.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the encoding as well
        raise ValueError(f"{path} is no JSON: {error} (gate.decisions)") from error
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds a {_kind(said)}, not an object (gate.decisions)")
    if said.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {said.get('version')}, this program reads version {VERSION}; "
            "save it again from a new page of `affectory review` (gate.decisions)"
        )
    if said.get("corpus") != corpus_hash:
        raise ValueError(
            f"{path} was made for corpus {said.get('corpus')}, this one is {corpus_hash}; "
            "review this corpus, or set gate.decisions=null"
        )
    entries = said.get("decisions")
    if not isinstance(entries, dict):
        raise ValueError(
            f"{path} needs an object `decisions` (row id → verdict); it has "
            f"{_kind(entries) if 'decisions' in said else 'none'} (gate.decisions)"
        )
    found = {name: _decision(path, name, entries[name]) for name in sorted(entries)}
    return Decisions(found, _string(path, "reviewer", said.get("reviewer")))


def _decision(path: Path, name: str, entry: Any) -> Decision:
    if not isinstance(entry, dict):
        raise ValueError(
            f"{path} holds a {_kind(entry)} for {name}; "
            'write {"verdict": "keep"} or {"verdict": "reject"} (gate.decisions)'
        )
    if entry.get("verdict") not in VERDICTS:
        raise ValueError(
            f"{path} says {entry.get('verdict')!r} of {name}; use {' or '.join(VERDICTS)} "
            "(gate.decisions)"
        )
    return Decision(entry["verdict"], _string(path, f"the note on {name}", entry.get("note")))


def _string(path: Path, what: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: {what} is a {_kind(value)}, not a text (gate.decisions)")
    return value or ""


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def reviewed_hash(corpus: Path) -> str:
    """Return the content hash that decisions about a corpus name: that of the scored faces.

    What `select` wrote is reviewed as what it read, whose rows it holds: decisions then stand
    for all limits of the gates, and for the corpus that they themselves change.

    Args:
        corpus: What `score` or `select` wrote.
    """
    record = read_record(corpus)
    if record is None:
        return folder_hash(corpus, without="")
    if record.stage == "select" and (scored := record.inputs.get("scored")):
        return str(scored[0]["content"])
    return str(record.content["content"])
