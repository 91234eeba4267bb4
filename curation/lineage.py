"""Where a finished folder came from: the records of every stage upstream of it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.artifact import read_json

_DATA = ("shard-*.parquet", "recogniser.json", "metrics.csv")
"""Files of a corpus, a recogniser and a GAN, also of such as the pipeline did not make."""


@dataclass(frozen=True)
class Record:
    """One finished stage: the folder it wrote and what the pipeline noted beside the data."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The stage's name, such as ``train_gan``."""
        return str(self.content.get("stage", "unknown"))

    @property
    def name(self) -> str:
        """Which of the stage's results this is: its emotion, else its folder's name."""
        # a finished folder is called <name>-<fingerprint>
        return str(self.content.get("emotion") or re.sub(r"-[0-9a-f]{10}$", "", self.folder.name))

    @property
    def fold(self) -> int | None:
        """Which fold it belongs to; None for a stage that is not repeated over folds."""
        fold = self.content.get("fold")
        return None if fold is None else int(fold)

    @property
    def inputs(self) -> dict[str, list[dict[str, Any]]]:
        """Argument → the finished folders given for it, each with ``path`` and ``content``."""
        given = self.content.get("inputs") or {}
        return {key: list(_folders(value)) for key, value in given.items()}

    def given(self, argument: str) -> list[Path]:
        """Return the folders that an argument was given, where they are now (`located`)."""
        entries = self.inputs.get(argument, [])
        paths = [Path(entry["path"]) for entry in entries if entry.get("path")]
        return [located(path, self.folder.resolve()) for path in paths]

    @property
    def contract(self) -> Mapping[str, Any] | None:
        """How its faces were cut; None where that is not noted."""
        return self.content.get("contract")

    @property
    def settings(self) -> dict[str, Any]:
        """The stage's settings as ``{"a.b": scalar}``, classes by name, without folders."""
        return dict(_scalars(self.content.get("config") or {}))


def read_record(folder: Path) -> Record | None:
    """Return the record in a finished folder, or None where the pipeline wrote none."""
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        if isinstance(content, dict) and {"stage", "inputs"} <= content.keys():
            return Record(folder, content)
    return None


def require_outside(path: Path, option: str) -> None:
    """Refuse to write a file into a finished folder, which would no longer be what it is named for.

    Args:
        path: The file to be written.
        option: By which it was named, for the error: ``--out``.

    Raises:
        ValueError: If a folder above it has a record, or data or networks without one.
    """
    for parent in path.resolve().parents:
        if parent.is_dir() and (any(map(any, map(parent.glob, _DATA))) or read_record(parent)):
            raise ValueError(
                f"{option} {path} lies in the finished folder {parent}, whose content is hashed; "
                "write elsewhere"
            )


def lineage(folders: Iterable[Path]) -> list[Record]:
    """Return the records of these folders and of every folder upstream, inputs first.

    Args:
        folders: Finished folders. One without a record, or an input that has since been moved
            away, ends the search there.

    Returns:
        Each folder once, in an order in which a stage follows all of its inputs.
    """
    found: dict[Path, Record] = {}
    asked: set[Path] = set()

    def visit(folder: Path) -> None:
        folder = folder.resolve()
        if folder in asked:
            return
        asked.add(folder)
        record = read_record(folder)
        if record is None:
            return
        for argument in record.inputs:
            for path in record.given(argument):
                visit(path)
        found[folder] = record

    for folder in folders:
        visit(folder)
    return list(found.values())


def located(path: Path, beside: Path) -> Path:
    """Return an input where it was, or where it is now if the experiment was moved as a whole.

    Args:
        path: As a record has it.
        beside: The folder of that record.
    """
    if path.is_dir():
        return path
    # the most of its path first: what was made from a folder may bear the same last name
    for parts in range(min(len(path.parts), 4), 0, -1):
        for parent in beside.parents:
            if (place := parent.joinpath(*path.parts[-parts:])).is_dir():
                return place
    return path


def _folders(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, Mapping):
        if "path" in value:
            yield dict(value)
        else:
            for inner in value.values():
                yield from _folders(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _folders(inner)


def _scalars(value: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if prefix and "_target_" in value:
            yield prefix, str(value["_target_"]).rsplit(".", 1)[-1]
        for key, inner in value.items():
            if not str(key).startswith("_"):
                yield from _scalars(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        if all(isinstance(item, str | int | float | bool) for item in value):
            yield prefix, ", ".join(str(item) for item in value)
        else:
            for place, inner in enumerate(value):
                yield from _scalars(inner, f"{prefix}.{place}")
    elif isinstance(value, bool | int | float) or (
        # a folder says where someone keeps their data: no setting, and private
        isinstance(value, str) and "/" not in value and "\\" not in value
    ):
        yield prefix, value
