"""Tasks of one stage, cheapest first, several at a time, beside other commands like this one."""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from curation.artifact import read_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from curation.pipeline import Plan, Task

logger = logging.getLogger(__name__)


def run_tasks(tasks: Sequence["Task"], jobs: int = 1) -> None:
    """Run tasks of one stage that do not read each other, and say how far it is.

    The cheapest come first (``cost`` of the stage's configuration), otherwise the given order is
    kept, so that a break leaves whole rows of a table rather than a few expensive cells. A task
    that another process is making is left to it, and waited for at the end: the same command,
    given on several machines with one file system, shares the work.

    Args:
        tasks: Of one stage; finished ones are passed over.
        jobs: Tasks at a time, each in a process with its share of the cores, and of the GPUs
            where there are several. It changes nothing but the time.

    Raises:
        ValueError: If `jobs` is under 1.
        Exception: Whatever a task raises; what is done until then stays.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be 1 or more (jobs)")
    todo = [task for task in tasks if not task.done]
    if len(tasks) == 1 or not todo:
        for task in tasks:
            task.run()
        return
    todo.sort(key=lambda task: task.cost)
    progress = _Progress(todo, len(tasks))
    elsewhere: list[Task] = []
    for task, made in _each(todo, min(jobs, len(todo)), wait=False):
        if made:
            progress.tell(task)
        else:
            elsewhere.append(task)
    # what is still missing then was left by a process that died, or takes it longest
    for task, _ in _each(elsewhere, min(jobs, len(elsewhere)), wait=True):
        progress.tell(task)


def _each(tasks: Sequence["Task"], jobs: int, *, wait: bool) -> Iterator[tuple["Task", bool]]:
    """Yield each task as it ends, and whether its result is there."""
    if jobs <= 1:
        for task in tasks:
            yield task, task.run(wait=wait)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, (cores or 1) // jobs)
    # a forked process would inherit locks of torch's threads that nobody releases
    context = multiprocessing.get_context("spawn")
    turn = context.Value("i", 0)
    start = (tasks[0].cfg, threads, turn, os.getpid())
    with ProcessPoolExecutor(jobs, context, _begin, start) as pool:
        running = {pool.submit(_run, task.stage, task.variables, wait): task for task in tasks}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_plan: "Plan"  # of this process, where it is a worker


def _begin(cfg: "DictConfig", threads: int, turn: Any, parent: int) -> None:
    global _plan
    # before torch is imported, which reads them once
    os.environ["OMP_NUM_THREADS"] = str(min(threads, _asked_threads() or threads))
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1
    _take_gpu(number)
    logging.basicConfig(level="WARNING", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from curation.pipeline import Plan

    _plan = Plan(cfg)


def _asked_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else 0


def _take_gpu(number: int) -> None:
    """Show a worker one of the GPUs, in turn."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name for name in visible.split(",") if name]
    else:
        from torch import cuda

        names = [str(place) for place in range(cuda.device_count())]
    if len(names) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]


def _end_with(parent: int) -> None:
    """Leave when the command is gone: killed, it cannot tell its workers."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(stage: str, variables: tuple[tuple[str, Any], ...], wait: bool) -> bool:
    return _plan.task(stage, dict(variables)).run(wait=wait)


class _Progress:
    def __init__(self, todo: Sequence["Task"], of: int) -> None:
        self.of, self.done = of, of - len(todo)
        self.started = time.monotonic()
        # a task of no stated cost counts as much as any other
        self.weights = {id(task): task.cost or 1.0 for task in todo}
        self.total, self.behind = sum(self.weights.values()), 0.0
        if self.done:
            logger.info("%s: %d of %d are there already", todo[0].stage, self.done, of)

    def tell(self, task: "Task") -> None:
        self.done += 1
        self.behind += self.weights[id(task)]
        spent = time.monotonic() - self.started
        record = read_json(task.record_path)
        said = record["facts"].get("headline")
        logger.info(
            "%d of %d: %s%s, %.0f s; %.0f s left",
            self.done,
            self.of,
            task.label,
            f": {said}" if said else "",
            record["seconds"],
            spent * (self.total - self.behind) / self.behind,
        )
