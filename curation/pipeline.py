"""The pipeline: runs named stages, each once, and knows by fingerprint what is already there.

A stage is a node of the configuration (``conf/stage/<name>.yaml``):

- ``call``: the function and its settings, what decides the result besides its inputs;
- ``reads``: argument → the stage whose result it takes (or a path, or null), or a stage with
  some of its variables: ``{stage: train_cell, backbone: vgg16}``, nothing where one is null. A
  stage may so read results of its own;
- ``runtime``: arguments that change only how fast the result comes;
- ``each``: over which variables (`VARIABLES`) the stage is repeated;
- ``folder``, ``record``: where the result goes, and the name of the file that says what made it;
- ``jobs``: how many of its tasks run at a time (1), and ``cost``: which of them come first;
- ``mixes_contracts``: whether its inputs may be of faces that were cut in several ways;
- ``resumes``: whether the function goes on from a folder that a killed run left behind;
- ``version``: raised when the code changes what the same settings give.

A stage that lacks a variable of the stage it reads gets all results: a list by fold, a dict by
any other.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from curation.artifact import (
    building,
    file_hash,
    fingerprint,
    folder_hash,
    leaves,
    locked,
    read_json,
    tree_state,
    versions,
    write_json,
)
from curation.contract import contract_id, describe_difference
from curation.leakage import refuse_leaks
from curation.lineage import read_record
from curation.schedule import run_tasks

log = logging.getLogger(__name__)

# variable → the values that a configuration gives it, the outermost first
VARIABLES: dict[str, Callable[[DictConfig], Iterable[Any]]] = {
    "fold": lambda cfg: range(cfg.folds),
    "emotion": lambda cfg: cfg.emotions,
    "split": lambda cfg: [name for name, node in cfg.protocol.splits.items() if node],
    "part": lambda cfg: range(cfg.protocol.parts),
    "trial": lambda cfg: cfg.protocol.seeds,
    "backbone": lambda cfg: cfg.backbones or [_name_of(cfg.classifier.network)],
    "arm": lambda cfg: cfg.protocol.arms,
}


def _name_of(network: DictConfig) -> str:
    return network.get("name") or network._target_.rsplit(".", 1)[-1]


class MissingStageError(Exception):
    """A stage needs the result of another that has not run with this configuration."""


@dataclass(frozen=True)
class Task:
    """One run of one stage: a stage's name and a value for each of its variables."""

    plan: "Plan"
    stage: str
    variables: tuple[tuple[str, Any], ...] = ()

    @property
    def cfg(self) -> DictConfig:
        """The whole configuration."""
        return self.plan.cfg

    @property
    def node(self) -> DictConfig:
        """The stage's configuration with the task's variables filled in, until the next one's."""
        return self.plan.filled(dict(self.variables)).stages[self.stage]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the result besides the inputs, as plain values."""
        call = OmegaConf.to_container(self.node.call, resolve=True, throw_on_missing=True)
        assert isinstance(call, dict)
        return {str(key): value for key, value in call.items()}

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Argument → task, path, None, or a list or dict of tasks."""
        # read off first: looking at another task fills the configuration in with its variables
        given = OmegaConf.to_container(self.node.reads, resolve=True)
        assert isinstance(given, dict)
        return {str(argument): self._source(source) for argument, source in given.items()}

    def _source(self, source: Any) -> Any:
        if source is None:
            return None
        if isinstance(source, str) and source not in self.cfg.stages:
            return Path(source)
        stage, fixed = _stage_read(source)
        if None in fixed.values():
            return None
        for name, value in fixed.items():
            if value not in self.plan.choices(name):
                known = ", ".join(map(str, self.plan.choices(name)))
                raise ValueError(
                    f"{self.label} reads {stage} of {name} {value!r}, which is none; there are "
                    f"{known}"
                )
        return self.plan.gather(stage, {**dict(self.variables), **fixed})

    @cached_property
    def round(self) -> int:
        """How many tasks of its own stage wait for each other before it can start.

        Raises:
            ValueError: If it waits for itself.
        """
        if self in self.plan.waiting:
            raise ValueError(f"{self.label} reads itself; name another (stages.*.reads)")
        self.plan.waiting.append(self)
        own = [task for task in leaves(self.inputs) if isinstance(task, Task)]
        before = [task.round for task in own if task.stage == self.stage]
        self.plan.waiting.remove(self)
        return 1 + max(before, default=-1)

    @cached_property
    def contents(self) -> dict[str, Any]:
        """Argument → path and content hash of each input, which must be finished."""
        return {name: _walk(source, self._identity) for name, source in self.inputs.items()}

    def _identity(self, source: "Task | Path") -> dict[str, str]:
        if isinstance(source, Path):
            if source.is_file():
                return {"path": str(source), "content": file_hash(source)}
            if not source.is_dir():
                raise MissingStageError(f"no file or folder {source} to read from (stages.*.reads)")
            return {"path": str(source), "content": folder_hash(source, without="")}
        if not source.done:
            raise MissingStageError(
                f"{source.label} has not run with this configuration; run "
                f"`affectory {source.stage}` with the same settings first, or `affectory run` "
                "for all stages"
            )
        # relative to `out`: an experiment can move, and a record can be published
        place = source.folder.relative_to(self.cfg.out).as_posix()
        return {"path": place, "content": read_json(source.record_path)["content"]}

    @cached_property
    def folder(self) -> Path:
        """Where the result is, or will be."""
        watched = {root: tree_state(Path(root)) for root in _roots(self.settings)}
        mark = fingerprint(
            stage=self.stage,
            version=self.node.version,
            settings=self.settings,
            inputs=_walk(self.contents, lambda entry: entry["content"]),
            watched=watched,
        )
        return Path(self.cfg.out, f"{self.node.folder}-{mark}")

    @property
    def record_path(self) -> Path:
        """The file beside the result that says what made it."""
        return self.folder / self.node.record

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.record_path.exists()

    @property
    def label(self) -> str:
        """The task in words, for the log."""
        words = [
            f"{name} {value}"
            for name, value in self.variables
            if name == "emotion" or len(self.plan.choices(name)) > 1
        ]
        return " ".join([self.stage, *words])

    @property
    def cost(self) -> float:
        """What it costs beside other tasks of its stage; 0 where the configuration says nothing."""
        return float(self.node.get("cost") or 0)

    def run(self, *, wait: bool = True) -> bool:
        """Make the result, unless it is there.

        Args:
            wait: Wait for another process that is making it; else leave it to that one.

        Returns:
            Whether the result is there.
        """
        if self.done:
            log.info("%s: already done (%s)", self.label, self.folder)
            return True
        with locked(self.folder, wait=wait) as ours:
            if ours and not self.done:
                self._make()
        return self.done

    def _make(self) -> None:
        log.info("%s: starts", self.label)
        # build first, call after: a wrong setting is told apart from an error inside the stage
        # plain lists and dicts: OmegaConf would turn adapters, which are dataclasses, into its own
        function = instantiate(self.node.call, _partial_=True, _convert_="all")
        runtime = instantiate(self.node.get("runtime") or {})
        sources = {name: _walk(source, _path) for name, source in self.inputs.items()}
        contract = self._contract(sources)
        refuse_leaks(leaves(sources))
        started = time.time()
        with building(self.folder, resume=bool(self.node.get("resumes"))) as out:
            facts = function(**sources, **runtime, out=out)
            seconds = time.time() - started
            record = {
                "stage": self.stage,
                **dict(self.variables),
                "version": self.node.version,
                "config": self.settings,
                "inputs": self.contents,
                "seed": self.cfg.seed,
                "versions": versions(),
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
                "seconds": round(seconds, 1),
                "facts": facts,
                "contract": facts.get("contract", contract),
                "content": folder_hash(out, without=self.node.record),
            }
            write_json(out / self.node.record, record)
        log.info("%s: done in %.0f s (%s)", self.label, seconds, self.folder)

    def _contract(self, sources: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The standardisation contract of the inputs; None before faces are standardised.

        Raises:
            ValueError: If two inputs come from faces that were cut differently.
        """
        if self.node.get("mixes_contracts"):
            return None
        known: tuple[Path, Mapping[str, Any]] | None = None
        for folder in leaves(sources):
            record = read_record(folder)
            contract = record.contract if record else None
            if not contract:
                continue
            if known and contract_id(known[1]) != contract_id(contract):
                raise ValueError(
                    f"{self.label} would mix faces cut in two ways: {known[0]} has contract "
                    f"{contract_id(known[1])} ({json.dumps(known[1])}), {folder} has "
                    f"{contract_id(contract)} ({json.dumps(contract)}). They differ in "
                    f"{describe_difference(known[1], contract)}. Standardise both in one way, or "
                    "read another input (stages.*.reads)"
                )
            known = known or (folder, contract)
        return known[1] if known else None


class Plan:
    """All tasks of a configuration, each made once, so that no folder is looked at twice."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._filled = cfg.copy()
        self._known: dict[tuple[Any, ...], Task] = {}
        self._values: dict[str, list[Any]] = {}
        self.waiting: list[Task] = []  # whose `round` is being asked for

    def filled(self, variables: Mapping[str, Any]) -> DictConfig:
        """The configuration with values for some variables; one, changed with every call.

        A copy for each of a hundred tasks would take longer than many of them.
        """
        for name in VARIABLES:
            if name in self.cfg:
                self._filled[name] = variables.get(name, self.cfg[name])
        return self._filled

    def task(self, stage: str, variables: Mapping[str, Any]) -> Task:
        """The task of a stage for the values of its variables."""
        key = tuple((name, variables[name]) for name in self._variables(stage))
        return self._known.setdefault((stage, key), Task(self, stage, key))

    def wanted(self, stage: str) -> list[Task]:
        """A stage's tasks: one for each value of its variables that the configuration asks for.

        Raises:
            ValueError: If the configuration names an unknown stage, or value of a variable.
        """
        if stage not in self.cfg.stages:
            known = ", ".join(self.cfg.stages)
            raise ValueError(f"stage {stage!r} is unknown; choose from {known}")
        names = self._variables(stage)
        return [
            self.task(stage, dict(zip(names, values, strict=True)))
            for values in product(*(self._asked(name) for name in names))
        ]

    def gather(self, stage: str, given: Mapping[str, Any]) -> Any:
        """The task of a stage under given variables; a list or dict over those not given."""
        for name in self._variables(stage):
            if name not in given:
                found = {
                    value: self.gather(stage, {**given, name: value})
                    for value in self.choices(name)
                }
                return list(found.values()) if name == "fold" else found
        return self.task(stage, given)

    def _variables(self, stage: str) -> list[str]:
        return [name for name in VARIABLES if name in self.cfg.stages[stage].each]

    def choices(self, name: str) -> list[Any]:
        """The values that the configuration gives a variable."""
        if name not in self._values:
            self._values[name] = list(VARIABLES[name](self.cfg))
        return self._values[name]

    def _asked(self, name: str) -> list[Any]:
        choices = self.choices(name)
        if self.cfg[name] == "all":
            return choices
        if self.cfg[name] not in choices:
            known = ", ".join(map(str, choices))
            raise ValueError(f"{name} {self.cfg[name]!r} is unknown; it is one of {known}, or all")
        return [self.cfg[name]]


def run(cfg: DictConfig) -> list[Task]:
    """Run one stage, or with ``command: run`` all those of ``cfg.run`` and what they read.

    Returns:
        The tasks, all of them done.
    """
    plan = Plan(cfg)
    finished: list[Task] = []
    for name in in_order(cfg, plan) if cfg.command == "run" else [cfg.command]:
        tasks = plan.wanted(name)
        for number in sorted({task.round for task in tasks}):
            ready = [task for task in tasks if task.round == number]
            run_tasks(ready, cfg.stages[name].get("jobs", 1))
        finished += tasks
    return finished


def in_order(cfg: DictConfig, plan: Plan | None = None) -> list[str]:
    """Return the stages of ``cfg.run``, each after the stages that it reads, named there or not.

    So a stage that is put between two others need not be known to every experiment's list.
    """
    plan = plan or Plan(cfg)
    order: list[str] = []
    asked: set[str] = set()

    def add(stage: str) -> None:
        if stage in asked:
            return
        asked.add(stage)
        # which stage is read may hang on the variables
        tasks = plan.wanted(stage) if stage in cfg.stages else []
        read = [node for task in tasks for node in task.node.reads.values()]
        for source in dict.fromkeys(_stage_read(node)[0] for node in read):
            if source in cfg.stages:
                add(source)
        order.append(stage)

    for stage in cfg.run:
        add(stage)
    return order


def _stage_read(source: Any) -> tuple[Any, dict[str, Any]]:
    """Return the stage (or path, or None) that an entry of ``reads`` names, and its variables."""
    if not isinstance(source, Mapping):
        return source, {}
    fixed = {str(name): value for name, value in source.items()}
    return fixed.pop("stage"), fixed


def _walk(tree: Any, leaf: Any) -> Any:
    """Apply a function to the leaves of nested lists and dicts; an entry with content is a leaf."""
    if tree is None:
        return None
    if isinstance(tree, list):
        return [_walk(item, leaf) for item in tree]
    if isinstance(tree, dict) and "content" not in tree:
        return {key: _walk(item, leaf) for key, item in tree.items()}
    return leaf(tree)


def _path(source: Task | Path) -> Path:
    return source.folder if isinstance(source, Task) else source


def _roots(settings: Any) -> Iterator[str]:
    """Yield every folder of the user's that the settings name as ``root``."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key == "root" and isinstance(value, str) and Path(value).is_dir():
                yield value
            else:
                yield from _roots(value)


def outcome(cfg: DictConfig, finished: list[Task]) -> list[str]:
    """Give what users look for a plain name under ``out``, and say where it is.

    Returns:
        Lines for the end of a run: the paths of the report and of the published folder, as far
        as these stages ran; otherwise the folders that were made.
    """
    plain = {"report": "report.html", "publish": "published", "benchmark": "results.parquet"}
    lines = []
    for task in finished:
        if task.stage not in plain or dict(task.variables).get("fold", 0) != 0:
            continue
        target = task.folder / plain[task.stage] if task.stage != "publish" else task.folder
        name = Path(cfg.out, plain[task.stage])
        fresh = name.with_name(f".{name.name}.link")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.relative_to(cfg.out))
        fresh.replace(name)
        if task.stage != "benchmark":
            lines.append(f"{task.stage}: {name.absolute()}")
    return lines or [str(task.folder) for task in finished]
