"""Traces of a person: which finished folders hold, learned from, or were measured with them.

Records and rows are all that is asked. A row belongs to a person by its ``subject``, by its
``parent``, or, if a generator drew it, because that generator learned from the person; what a
network learned from is the rows of its input, found by content hash, that its record's settings
choose. Where a record names an input that is not there, the folder could not be checked, and says
so.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features

from curation.corpus import ORIGINS
from curation.lineage import Record, read_record
from curation.recipes import Part, Recipe, trainable

HOLDS = "holds"
TRAINED = "trained"
MEASURED = "measured"
RETIRED = "retired"
_COLUMNS = ("id", "subject", "parent", "generator", "split", "origin", "emotion", "keep")
_EARLIER = {  # what the recipes were when a benchmark's record had their names alone
    "original": ("real",),
    "geometric": ("real", "geometric"),
    "gan": ("real", "geometric", "gan"),
    "synthetic": ("gan",),
}
_ORIGINS = {"real": "real", "geometric": "geometric copies", "gan": "generated"}

Masks = Mapping[tuple[str, str], pd.Series]  # (how, in words) → rows


@dataclass(frozen=True)
class Artifact:
    """A finished folder: one with a record, or a corpus without.

    Attributes:
        folder: Where it lies.
        root: The experiment's folder.
        record: What made it; None if nobody noted that.
    """

    folder: Path
    root: Path
    record: Record | None

    @property
    def place(self) -> str:
        """Its path within the experiment."""
        return self.folder.relative_to(self.root).as_posix()

    @property
    def stage(self) -> str:
        """What made it, with the emotion where there is one for each."""
        if self.record is None:
            return "unknown"
        emotion = self.record.content.get("emotion")
        return f"{self.record.stage} {emotion}" if emotion else self.record.stage

    @property
    def content(self) -> str:
        """The hash of what it holds; empty without a record."""
        return str(self.record.content.get("content", "")) if self.record else ""

    @property
    def target(self) -> str:
        """Import path of the function that made it; empty where unknown."""
        return str(self.config.get("_target_", ""))

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of that function."""
        return (self.record.content.get("config") or {}) if self.record else {}

    @property
    def generator(self) -> str | None:
        """The hash by which sampled rows name this checkpoint, if it is a GAN's."""
        found = (self.record.content.get("facts") or {}).get("generator") if self.record else None
        return found if isinstance(found, str) else None

    @cached_property
    def tables(self) -> list[tuple[str, pd.DataFrame]]:
        """Name and facts of each set of rows in it that knows subjects.

        The shards of a corpus are one set, called ``.``; so are the files of each sub-folder with
        pictures, and all files together that hold rows about pictures and no pictures.
        """
        groups: dict[str, list[pd.DataFrame]] = {}
        for path in sorted(self.folder.rglob("*.parquet")):
            frame = _read_rows(path)
            if frame is not None:
                place = path.parent.relative_to(self.folder).as_posix()
                groups.setdefault(place if frame.attrs["pictures"] else "", []).append(frame)
        return [(name, _joined(frames)) for name, frames in groups.items()]

    @property
    def rows(self) -> pd.DataFrame | None:
        """The rows of a corpus; None if it is none."""
        return dict(self.tables).get(".")


@dataclass(frozen=True)
class Touch:
    """How a folder has to do with a person: `HOLDS`, `TRAINED` or `MEASURED`, and in words."""

    how: str
    words: str


@dataclass
class Trace:
    """What was found about one folder.

    Attributes:
        artifact: The folder.
        touches: How it has to do with the person; none if it has not.
        unchecked: Why that could not be found out, or not altogether.
        passed: Inputs that hold the person, of which it used other rows.
        ids: Of the pictures in it that are theirs, or were drawn from them.
    """

    artifact: Artifact
    touches: list[Touch] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    @property
    def holds_or_learned(self) -> bool:
        """Whether the person's pictures, or what was learned from them, are inside."""
        return any(touch.how in (HOLDS, TRAINED) for touch in self.touches)


def find_artifacts(root: Path) -> tuple[list[Artifact], list[Path]]:
    """Find the finished folders of an experiment, and those that a killed run left unfinished.

    Args:
        root: Folder of the experiment; what lies below its ``retired`` is left out.
    """
    root = root.resolve()
    finished: list[Artifact] = []
    unfinished: list[Path] = []
    for place, folders, files in os.walk(root):
        folder = Path(place)
        for name in [name for name in folders if name.startswith(".")]:
            folders.remove(name)
            if name.endswith(".partial"):
                unfinished.append(folder / name)
        if folder == root and RETIRED in folders:
            folders.remove(RETIRED)
        folders.sort()
        record = read_record(folder) if folder != root else None
        if record or any(name.startswith("shard-") and name.endswith(".parquet") for name in files):
            finished.append(Artifact(folder, root, record))
            folders.clear()
    return finished, unfinished


def subjects_of(artifacts: Sequence[Artifact]) -> set[str]:
    """Return the names of all people in the corpora among some folders."""
    names: set[str] = set()
    for artifact in artifacts:
        for _, rows in artifact.tables:
            names |= set(rows["subject"].dropna())
    return names


def trace(artifacts: Sequence[Artifact], subjects: Sequence[str]) -> list[Trace]:
    """Find out about every folder what it has to do with some people.

    Args:
        artifacts: All finished folders that may be each other's inputs.
        subjects: Names as the ``subject`` column has them.

    Returns:
        One trace for each folder, in an order in which each follows all of its inputs.
    """
    search = _Search(artifacts, subjects)
    for artifact in artifacts:
        search.visit(artifact)
    return list(search.traces.values())


class _Search:
    def __init__(self, artifacts: Sequence[Artifact], subjects: Sequence[str]) -> None:
        self.subjects = set(subjects)
        self.traces: dict[Path, Trace] = {}
        self._asked: set[Path] = set()
        self._by_content: dict[str, list[Artifact]] = {}
        for artifact in artifacts:
            if artifact.content:
                self._by_content.setdefault(artifact.content, []).append(artifact)
        self._generators = {
            artifact.generator: artifact for artifact in artifacts if artifact.generator
        }
        self._ids = _descendants(artifacts, self.subjects)

    def visit(self, artifact: Artifact) -> Trace | None:
        """Look at a folder after its inputs; None for a folder that is its own input."""
        if artifact.folder in self._asked:
            return self.traces.get(artifact.folder)
        self._asked.add(artifact.folder)
        found = Trace(artifact)
        self._look_inside(found)
        for argument, entries in (artifact.record.inputs if artifact.record else {}).items():
            for entry in entries:
                self._look_at_input(found, argument, entry)
        self.traces[artifact.folder] = found
        return found

    def _look_inside(self, found: Trace) -> None:
        for name, rows in found.artifact.tables:
            mask = self._theirs(rows, found)
            if not mask.any():
                continue
            found.ids |= set(rows.loc[mask, "id"].dropna())
            inside = "" if name == "." else f" in {name}"
            if rows.attrs["pictures"]:
                words = f"holds {_many(int(mask.sum()), 'picture')}{inside}: {_broken(rows[mask])}"
                found.touches.append(Touch(HOLDS, words))
            else:
                words = f"holds {_many(int(mask.sum()), 'judgement')} of their pictures"
                found.touches.append(Touch(MEASURED, words))

    def _theirs(self, rows: pd.DataFrame, found: Trace | None = None) -> pd.Series:
        """Mark the rows of these people: their own, copies, and faces drawn from them."""
        mask = rows["subject"].isin(self.subjects) | rows["id"].isin(self._ids)
        for mark, count in rows["generator"].value_counts().sort_index().items():
            maker = self._generators.get(str(mark))
            known = self.visit(maker) if maker else None
            if known is None or (known.unchecked and not known.holds_or_learned):
                if found:
                    why = "could not be checked" if known else "is not here"
                    found.unchecked.append(
                        f"{_many(int(count), 'face')} of generator {mark}, which {why}"
                    )
            elif known.holds_or_learned:
                mask |= rows["generator"] == mark
        return mask

    def _look_at_input(self, found: Trace, argument: str, entry: Mapping[str, Any]) -> None:
        source = self._located(entry, found.artifact)
        above = self.visit(source) if source else None
        use = _use(found.artifact, argument)
        if use is None:
            return  # what it took over from there, its own rows tell
        if source is None:
            found.unchecked.append(
                f"its input {argument} ({entry.get('path')}, content {entry.get('content')}) is "
                "not here"
            )
            return
        if above is None or (above.unchecked and not above.touches):
            found.unchecked.append(f"its input {argument} ({source.place}) could not be checked")
            return
        if not above.touches:
            return
        rows = source.rows
        if rows is None or use.rows is None:
            found.touches.append(Touch(use.how, f"{use.verb} {source.place}, which is touched"))
            return
        theirs = self._theirs(rows)
        told = False
        for (how, verb), mask in use.rows(rows, found.artifact.config).items():
            if count := int((mask & theirs).sum()):
                told = True
                kinds = _broken(rows[mask & theirs])
                found.touches.append(Touch(how, f"{verb} {_many(count, 'picture')}: {kinds}"))
        if not told:
            found.passed.append(source.place)

    def _located(self, entry: Mapping[str, Any], artifact: Artifact) -> Artifact | None:
        """Find an input by what it holds; by its path only if that holds the same."""
        content = str(entry.get("content", ""))
        path = (artifact.root / str(entry.get("path", ""))).resolve()
        if same := self._by_content.get(content):
            # equal folders are equal, but the one that it read is upstream of it for certain
            return next((each for each in same if each.folder == path), same[0])
        if path.is_dir() and (record := read_record(path)):
            outside = Artifact(path, path.parent, record)
            if outside.content == content:
                return outside
        return None


@dataclass(frozen=True)
class _Use:
    """What a stage does with an input: `how`, in words, and of a corpus with which rows."""

    how: str
    verb: str
    rows: Callable[[pd.DataFrame, Mapping[str, Any]], Masks] | None


def _use(artifact: Artifact, argument: str) -> _Use | None:
    """Say what a stage does with an input; None if its own rows tell all that it took over."""
    uses = _USES.get(artifact.target)
    if uses is None:
        # a stage that nobody described here may have used all that it was given
        trains = artifact.stage.startswith("train")
        return _Use(TRAINED if trains else MEASURED, "was made from", None)
    return uses.get(argument)


def _of_emotions(rows: pd.DataFrame, config: Mapping[str, Any]) -> pd.Series:
    emotions = config.get("emotions")
    return rows["emotion"].isin(list(emotions)) if emotions else pd.Series(True, rows.index)


def _training(rows: pd.DataFrame, origins: Sequence[str], config: Mapping[str, Any]) -> pd.Series:
    return trainable(rows, origins) & _of_emotions(rows, config)


def _train_gan(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    return {(TRAINED, "was trained on"): _training(rows, ["real"], config)}


def _train_gate(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    return {(TRAINED, "was trained on"): _training(rows, ["real", "geometric"], config)}


def _score(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    # those held back, too: nothing may copy them either
    splits = ["train", config.get("holdout", "train")]
    against = rows["split"].isin(splits) & (rows["origin"] == "real") & _of_emotions(rows, config)
    return {(MEASURED, "was measured against"): against}


def _benchmark(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    found: dict[tuple[str, str], pd.Series] = {}
    for arm, recipe in _arms(config["arms"]).items():
        # which of them a part of them is depends on the other corpus, too
        verb = f"has cells of arm {arm} trained on{'' if recipe.whole else ' some of'}"
        found[TRAINED, verb] = pd.Series(recipe.candidates(rows, config["emotions"]), rows.index)
    tested = (rows["split"] == "test") & (rows["origin"] == "real") & _of_emotions(rows, config)
    return {**found, (MEASURED, "has all cells tested on"): tested}


def _cell(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    recipe = _recipe(config["recipe"])
    own = str(config["splitter"].get("_target_", "")).endswith(".External")
    # another split deals out training and test people alike
    dealt = rows if own else rows.assign(split="train")
    # which of them a part of them is depends on the split, and on the other corpus
    verb = f"was trained{'' if own and recipe.whole else ' or tested'} on"
    trained = pd.Series(recipe.candidates(dealt, config["emotions"]), rows.index)
    tested = (rows["split"] == "test") & (rows["origin"] == "real") & _of_emotions(rows, config)
    return {(TRAINED, verb): trained, (MEASURED, "was tested on"): tested}


def _search(rows: pd.DataFrame, config: Mapping[str, Any]) -> Masks:
    tried = _recipe(config["recipe"]).candidates(rows, config["emotions"])
    return {(TRAINED, "tried numbers of layers on"): pd.Series(tried, rows.index)}


def _arms(recorded: Mapping[str, Mapping[str, Any]] | Sequence[str]) -> dict[str, Recipe]:
    """Return the recipes of a benchmark's arms; records of version 1 have names alone."""
    if isinstance(recorded, Mapping):
        return {arm: _recipe(node) for arm, node in recorded.items()}
    # of a name that nobody knows any more, it may be some of everything
    some = {origin: Part(ratio=1.0, gate="none") for origin in ORIGINS}
    return {
        arm: Recipe({origin: Part() for origin in _EARLIER[arm]} if arm in _EARLIER else some)
        for arm in recorded
    }


def _recipe(node: Mapping[str, Any]) -> Recipe:
    """Build a recorded recipe; Hydra would call whatever function the record names."""
    parts = {origin: Part(**_plain(part)) for origin, part in node["parts"].items()}
    return Recipe(**{**_plain(node), "parts": parts})


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "_target_"}


# function → argument → what it does with that; an argument that is not here leaves no trace but
# the rows that were taken over
_USES: dict[str, dict[str, _Use]] = {
    "curation.ingest.ingest": {},
    "curation.standardise.standardise": {},
    "curation.imported.import_faces": {},
    "curation.imported.gather": {},
    "curation.labels.check_labels": {
        "classifier": _Use(MEASURED, "was judged by", None),
    },
    "curation.augment.augment": {},
    "gan.train.train": {
        "corpus": _Use(TRAINED, "was trained on", _train_gan),
        "trunk": _Use(TRAINED, "goes on from", None),
    },
    "gan.sample.sample": {},
    "classifiers.train.train_gate": {"corpus": _Use(TRAINED, "was trained on", _train_gate)},
    "curation.gates.score": {
        "corpus": _Use(MEASURED, "was measured against", _score),
        "classifier": _Use(MEASURED, "was judged by", None),
    },
    "curation.gates.select": {"scored": _Use(MEASURED, "has the scores of", None)},
    "curation.publish.publish": {},
    "classifiers.search.search_layers": {
        "corpus": _Use(TRAINED, "tried numbers of layers on", _search),
    },
    "classifiers.cells.train_cell": {
        "corpus": _Use(TRAINED, "was trained on", _cell),
        "synthetic": _Use(TRAINED, "was trained on", _cell),
        "teacher": _Use(TRAINED, "was taught by", None),
    },
    "classifiers.export.export_cell": {
        "recogniser": _Use(TRAINED, "is an export of", None),
    },
    "classifiers.frontier.frontier": {
        "exported": _Use(MEASURED, "has measured", None),
    },
    # a benchmark of before there were cells trained them itself
    "classifiers.protocols.benchmark": {
        "cells": _Use(MEASURED, "has the predictions of", None),
        "corpus": _Use(TRAINED, "was trained on", _benchmark),
        "synthetic": _Use(TRAINED, "was trained on", _benchmark),
    },
}


def _descendants(artifacts: Sequence[Artifact], subjects: set[str]) -> set[str]:
    """Return the ids of these people's pictures and of everything that descends from one."""
    ids: set[str] = set()
    tables = [rows for artifact in artifacts for _, rows in artifact.tables]
    grew = True
    while grew:
        before = len(ids)
        for rows in tables:
            mask = rows["subject"].isin(subjects) | rows["parent"].isin(ids)
            ids |= set(rows.loc[mask, "id"].dropna())
        grew = len(ids) > before
    return ids


def _read_rows(path: Path) -> pd.DataFrame | None:
    """Read what a Parquet file says about each row; None if it knows no subjects."""
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is no readable Parquet file: {error}") from error
    if "subject" not in schema.names:
        return None
    present = [name for name in _COLUMNS if name in schema.names]
    frame = pq.read_table(path, columns=present).to_pandas()
    for name in _COLUMNS:
        if name not in frame:
            frame[name] = None
    if b"huggingface" in (schema.metadata or {}):
        for name, kind in Features.from_arrow_schema(schema).items():
            if isinstance(kind, ClassLabel) and name in present:
                frame[name] = frame[name].map(dict(enumerate(kind.names)))
    frame = frame[list(_COLUMNS)].astype(object)
    frame = frame.where(frame.notna(), None)
    frame.attrs["pictures"] = "image" in schema.names
    return frame


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(frames, ignore_index=True)
    joined.attrs["pictures"] = frames[0].attrs["pictures"]
    return joined


def _broken(rows: pd.DataFrame) -> str:
    counts = rows.groupby([rows["origin"].fillna(""), rows["split"].fillna("")]).size()
    return ", ".join(
        f"{count} {_ORIGINS.get(str(origin), origin)} ({split})"
        for (origin, split), count in counts.items()  # pyright: ignore[reportGeneralTypeIssues]
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
