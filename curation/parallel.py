"""Work spread over processes, lazily and in order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 200  # items that are not worth a process
_HEAVY = 256 << 20  # bytes of waiting items, from which on no more are drawn


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    chunk: int = 16,
    ahead: int = 3,
    weigh: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order; the results do not depend on `workers`.

    Memory stays bounded: items are drawn only a few chunks ahead of the results.

    Args:
        function: Any callable; with several workers it must be picklable.
        items: Drawn lazily, in the calling process.
        workers: Processes; 1 works in the calling process. For few items none is started, since
            starting takes longer than they would.
        chunk: Items sent to a process at a time.
        ahead: Chunks waiting for each worker. More keep it busy while the results are written.
        weigh: Bytes of an item; fewer of heavy ones are drawn ahead.

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
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(function,)
    ) as pool:
        waiting: deque[tuple[Future[list[Result]], int]] = deque()
        load = 0
        try:
            while True:
                while len(waiting) < ahead * workers and (load < _HEAVY or not waiting):
                    if not (part := list(islice(items, chunk))):
                        break
                    weight = sum(map(weigh, part))
                    waiting.append((pool.submit(_each, part), weight))
                    load += weight
                if not waiting:
                    return
                future, weight = waiting.popleft()
                load -= weight
                yield from future.result()
        finally:
            for future, _ in waiting:
                future.cancel()


_function: Callable[[Any], Any]  # of this process, where it is a worker


def _start(function: Callable[[Any], Any]) -> None:
    """Take the function once: sent with every chunk, it would load its models every time."""
    global _function
    _function = function
    # processes must not fight over cores, each with a pool of threads of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)


def _each(items: list[Any]) -> list[Any]:
    return [_function(item) for item in items]
