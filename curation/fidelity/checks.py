"""What features must be like before anything is measured on them."""

from collections.abc import Sequence

import numpy as np


def checked_pair(
    real: np.ndarray, fake: np.ndarray, *, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets as float64.

    Raises:
        ValueError: If they are not (rows, d) of one width, have fewer than `least` rows, or hold
            a value that is not finite.
    """
    check_pair(real, fake, least=least)
    return _whole(real), _whole(fake)


def check_pair(real: np.ndarray, fake: np.ndarray, *, least: int) -> None:
    """Raise as `checked_pair`, and convert nothing."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real has features of shape {real.shape}, fake of {fake.shape}; "
            "both must be (rows, d) from the same extractor"
        )
    _check(real, "real", least)
    _check(fake, "fake", least)


def checked(rows: np.ndarray, name: str, *, least: int) -> np.ndarray:
    """Return one set as float64, (rows, d); raise as `checked_pair`."""
    if rows.ndim != 2:
        raise ValueError(f"{name} has features of shape {rows.shape}; they must be (rows, d)")
    _check(rows, name, least)
    return _whole(rows)


def _check(rows: np.ndarray, name: str, least: int) -> None:
    if len(rows) < least:
        raise ValueError(f"{name} has {len(rows)} rows; this figure needs {least}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} has features that are not finite; check the extractor")


def _whole(rows: np.ndarray) -> np.ndarray:
    # third powers and differences of near-equal traces lose too many digits in float32
    return rows.astype(np.float64)


def checked_people(subjects: Sequence[str] | np.ndarray | None, count: int) -> np.ndarray:
    """Return who is on each real row, (count,); without names, every row is a person of its own."""
    people = np.arange(count) if subjects is None else np.asarray(subjects)
    if len(people) != count:
        raise ValueError(f"{len(people)} subjects were given for {count} real rows")
    return people
