"""How long one call takes, measured so that other work on the machine matters least."""

import time
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from classifiers.networks import Recogniser
from classifiers.runtime import MODELS, OnnxPredictor

WARM = 10
IN_A_ROW = 4
TORCH = "torch"
"""What a network in PyTorch is called beside the precisions of its files."""
Name = TypeVar("Name", bound=Hashable)


def least_milliseconds(
    runners: Mapping[Name, Callable[[], object]], *, rounds: int = 200
) -> dict[Name, float]:
    """Return the milliseconds of a call of each runner: the least of many.

    The runners take turns, so that what else the machine does falls on all of them; in its turn
    each is called four times, so that what another one left in the processor's caches does not
    count; and the least is taken, since other work only adds.

    Args:
        runners: Name → what is called.
        rounds: Calls of each that count, rounded up to whole turns; ten more come before them.
    """
    took = dict.fromkeys(runners, float("inf"))
    for run in runners.values():
        for _ in range(WARM):
            run()
    for _ in range(-(-rounds // IN_A_ROW)):
        for name, run in runners.items():
            for _ in range(IN_A_ROW):
                started = time.perf_counter()
                run()
                took[name] = min(took[name], 1000 * (time.perf_counter() - started))
    return took


def runners_of(
    exported: Path, face: np.ndarray, in_torch: Callable[[], object] | None = None
) -> dict[str, Callable[[], object]]:
    """Return what judges a face by each file of an exported recogniser, on one core.

    Args:
        exported: What ``affectory export`` wrote.
        face: (1, 3, H, W) uint8 RGB.
        in_torch: Judges the same face in PyTorch, whose number of threads is the caller's; it is
            called `TORCH`. None leaves it out.
    """
    runners: dict[str, Callable[[], object]] = {TORCH: in_torch} if in_torch else {}
    for precision in MODELS:
        predictor = OnnxPredictor.load(exported, precision=precision, threads=1)
        runners[precision] = partial(predictor.probabilities, face)
    return runners


def eager(network: Recogniser, face: np.ndarray) -> Callable[[], object]:
    """Return what judges a face, (1, 3, H, W) uint8 RGB, by a network as PyTorch runs it best."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given = torch.from_numpy(face)

    def judge() -> object:
        with torch.inference_mode():
            return network(given).softmax(1)

    return judge
