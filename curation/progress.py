"""Progress with rate and time left, for a terminal and for a log file."""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def track(
    items: Iterable[Item] | None, *, label: str, unit: str = "image", total: int | None = None
) -> "tqdm[Item]":
    """Return an iterator over `items` that shows how many are done, how fast, and time left.

    Args:
        items: What to iterate over; None for a bar that is moved by ``update``.
        label: What is being done.
        unit: What one item is.
        total: Number of items, where ``len(items)`` is not known.

    Returns:
        The iterator; ``set_postfix_str`` adds a word to the line.
    """
    # a log file gets a line now and then; a terminal is redrawn, and cleaned when all is done
    terminal = sys.stderr.isatty()
    return tqdm(
        items,  # pyright: ignore[reportReturnType]  its stubs forbid a bar without items
        desc=label,
        unit=unit,
        total=total,
        mininterval=0.2 if terminal else 15,
        delay=1,
        leave=False,
        dynamic_ncols=terminal,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banners and tips inside the block."""
    # its banners and tips speak to somebody who watches one training, not forty in a row
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # a note from Lightning to itself about torch's pytrees, of no use to a reader
            warnings.filterwarnings("ignore", ".*LeafSpec", module=r"lightning\.")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
