"""Where a corpus came from: its contract, the stages upstream, and what they left out."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation import skipped
from curation.contract import contract_id
from curation.lineage import Record, lineage

NAMED = 200  # skipped pictures that are named for each reason
_LONG = 25  # figures of one stage; what is longer is counts by class and shown elsewhere


@dataclass
class Reason:
    """Pictures that a stage left out for one reason; the first `NAMED` of them by name."""

    reason: str
    count: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """One stage upstream, or the one that wrote the corpus itself."""

    stage: str
    name: str
    content: str
    facts: dict[str, str]
    settings: dict[str, str]
    versions: dict[str, str]
    skipped: Sequence[Reason]
    took_note: bool

    @property
    def left_out(self) -> int:
        """How many pictures it left out."""
        return sum(reason.count for reason in self.skipped)


@dataclass(frozen=True)
class Provenance:
    """What the records say."""

    stages: Sequence[Stage]
    contract: dict[str, str]
    ingests: Sequence[Mapping[str, Any]]
    unresolved: Sequence[str]


def provenance(corpus: Path) -> Provenance:
    """Read the records of a corpus and of everything upstream of it."""
    records = lineage([corpus])
    contract: dict[str, str] = {}
    for record in records:
        # older records have it among the facts alone
        found = record.contract or (record.content.get("facts") or {}).get("contract")
        if isinstance(found, Mapping):
            contract = {"name": contract_id(found), **dict(_flat(found))}
    contents = {str(record.content.get("content")) for record in records}
    unresolved = sorted(
        {
            f"{key} of {record.stage} ({entry.get('path')})"
            for record in records
            for key, entries in record.inputs.items()
            for entry in entries
            # a single file is no stage's result and has no record
            if str(entry.get("content")) not in contents
            and not Path(str(entry.get("path"))).is_file()
        }
    )
    return Provenance(
        [_stage(record) for record in records],
        contract,
        [record.content.get("facts") or {} for record in records if record.stage == "ingest"],
        unresolved,
    )


def _stage(record: Record) -> Stage:
    facts = {key: text for key, text in _flat(record.content.get("facts") or {}) if "." not in key}
    path = record.folder / skipped.FILE
    return Stage(
        stage=record.stage,
        name=record.name if record.fold is None else f"{record.name}, fold {record.fold}",
        content=str(record.content.get("content", "")),
        facts=dict(list(facts.items())[:_LONG]),
        settings={key: _text(value) for key, value in record.settings.items()},
        versions={key: str(value) for key, value in (record.content.get("versions") or {}).items()},
        skipped=read_skipped(path) if path.exists() else [],
        took_note=path.exists(),
    )


def read_skipped(path: Path) -> list[Reason]:
    """Read a ``skipped.csv``, the most frequent reason first; a line at a time.

    Raises:
        ValueError: If the file has not the columns that `curation.skipped.Skipped` writes.
    """
    reasons: dict[str, Reason] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"source", "reason", "detail"} <= set(reader.fieldnames or ()):
            raise ValueError(
                f"{path} has the columns {reader.fieldnames}, not source, reason, detail"
            )
        for line in reader:
            reason = reasons.setdefault(line["reason"], Reason(line["reason"]))
            reason.count += 1
            if len(reason.named) < NAMED:
                reason.named.append((line["source"], line["detail"] or ""))
    return sorted(reasons.values(), key=lambda reason: -reason.count)


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            lines += _flat(inner, f"{name}.")
        elif isinstance(inner, str | int | float | bool) or inner is None:
            lines.append((name, _text(inner)))
        elif isinstance(inner, list | tuple) and all(
            isinstance(item, str | int | float) for item in inner
        ):
            lines.append((name, ", ".join(map(_text, inner))))
    return lines


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
