"""How long one call takes, measured so that other work on the machine matters least."""

import time
from collections.abc import Callable, Mapping

WARM = 10


def least_milliseconds(
    runners: Mapping[str, Callable[[], object]], *, rounds: int = 200
) -> dict[str, float]:
    """Return the milliseconds of a call of each runner: the least of many.

    The runners take turns, so that what else the machine does falls on all of them; and the least
    is taken, since other work only adds.

    Args:
        runners: Name → what is called.
        rounds: Calls of each that count; ten more come before them.
    """
    took = dict.fromkeys(runners, float("inf"))
    for number in range(WARM + rounds):
        for name, run in runners.items():
            started = time.perf_counter()
            run()
            if number >= WARM:
                took[name] = min(took[name], 1000 * (time.perf_counter() - started))
    return took
