"""Work spread over processes, lazily and in order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 200  # items that are not worth a process
_AHEAD = 3  # chunks waiting for each worker


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, chunk: int = 16
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order; the results do not depend on `workers`.

    Memory stays bounded: items are drawn only a few chunks ahead of the results.

    Args:
        function: Any callable; with several workers it must be picklable.
        items: Drawn lazily, in the calling process.
        workers: Processes; 1 works in the calling process. For few items none is started, since
            starting takes longer than they would.
        chunk: Items sent to a process at a time.

    Raises:
        ValueError: If `workers` is under 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be 1 or more (workers)")
    items = iter(items)
    first = [] if workers == 1 else list(islice(items, _FEW))
    items = chain(first, items)
    if len(first) < _FEW:
        yield from map(function, items)
        return
    # a forked process would inherit locks of our threads; a spawned one starts clean everywhere
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            while True:
                while len(waiting) < _AHEAD * workers and (part := list(islice(items, chunk))):
                    waiting.append(pool.submit(_each, function, part))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _each(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]


def _one_thread() -> None:
    """Keep the processes from fighting over cores, each with a pool of threads of its own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
