"""A person's decisions about the faces of one corpus, read from a file and applied to its gates."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VERSION = 1
VERDICTS = ("keep", "reject")


@dataclass(frozen=True)
class Decision:
    """What a person said of one face: keep or reject, and why."""

    verdict: str
    note: str = ""


def read(path: Path, corpus_hash: str) -> dict[str, Decision]:
    """Return row id → decision.

    Args:
        path: A JSON object with ``version``, ``corpus`` (content hash) and ``decisions``
            (row id → object with ``verdict`` and an optional ``note``).
        corpus_hash: Content hash of the corpus that the decisions are applied to.

    Raises:
        ValueError: If the file is of another version, for another corpus, or malformed.
    """
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or said.get("version") != VERSION:
        seen = said.get("version") if isinstance(said, dict) else type(said).__name__
        raise ValueError(f"{path} is of version {seen}, not {VERSION} (gate.decisions)")
    if said.get("corpus") != corpus_hash:
        raise ValueError(
            f"{path} was made for corpus {said.get('corpus')}, this one is {corpus_hash}; "
            "review this corpus, or set gate.decisions=null"
        )
    found = {}
    for name, one in sorted(said["decisions"].items()):
        if one.get("verdict") not in VERDICTS:
            raise ValueError(
                f"{path} says {one.get('verdict')!r} of {name}; "
                f"use {' or '.join(VERDICTS)} (gate.decisions)"
            )
        found[name] = Decision(one["verdict"], str(one.get("note") or ""))
    return found


def apply(
    ids: Sequence[str],
    reasons: Sequence[str | None],
    decisions: Mapping[str, Decision],
    *,
    guarded: Collection[int],
) -> tuple[list[str | None], int]:
    """Return the reasons after a person's word, and how many of their keeps were not followed.

    Args:
        ids: Of all rows, in order.
        reasons: Why the gates refused each row, None where they let it pass.
        decisions: Row id → decision.
        guarded: Places refused by a safety gate, which a person's keep does not override.

    Raises:
        ValueError: If a decision names a row that is not there.
    """
    if unknown := sorted(set(decisions) - set(ids)):
        raise ValueError(
            f"{len(unknown)} decisions name no row, such as {unknown[0]} (gate.decisions)"
        )
    after, unheeded = list(reasons), 0
    for place, name in enumerate(ids):
        if (decision := decisions.get(name)) is None:
            continue
        if decision.verdict == "reject":
            # a safety gate's word stands: what it found must stay on record
            if place not in guarded:
                after[place] = f"person: {decision.note or 'rejected'}"
        elif place in guarded:
            unheeded += 1
        else:
            after[place] = None
    return after, unheeded
