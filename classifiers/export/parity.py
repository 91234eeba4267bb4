"""Parity: does an exported file say what PyTorch says?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from classifiers.statistics import wilson

LARGEST = 1e-4
"""How far a probability of the float32 file may lie from PyTorch's."""


@dataclass(frozen=True)
class Parity:
    """An exported file beside PyTorch, on the same faces.

    Attributes:
        n: Faces.
        largest: Greatest difference of a probability.
        mean: Mean difference of a probability.
        agreement: Faces with the same first choice, of n.
        right: Faces whose first choice is their label, of n; None where the recogniser learned from
            these faces or from the people whom they show.
    """

    n: int
    largest: float
    mean: float
    agreement: int
    right: int | None

    def plain(self) -> dict[str, Any]:
        """Return JSON values; shares with their 95 % interval."""
        values = asdict(self)
        values["agreement"] = wilson(self.agreement, self.n).plain()
        if self.right is not None:
            values["right"] = wilson(self.right, self.n).plain()
        return values


def compare(said: np.ndarray, torch_said: np.ndarray, labels: np.ndarray | None) -> Parity:
    """Compare the probabilities of a file with PyTorch's.

    Args:
        said: (N, C), of the file.
        torch_said: (N, C).
        labels: (N,) integers, of faces that the recogniser did not learn from; None for others.
    """
    apart = np.abs(said.astype(np.float64) - torch_said)
    first = said.argmax(1)
    return Parity(
        n=len(said),
        largest=float(apart.max()),
        mean=float(apart.mean()),
        agreement=int((first == torch_said.argmax(1)).sum()),
        right=None if labels is None else int((first == labels).sum()),
    )


def require_equal(parity: Parity, file: str) -> None:
    """Raise ValueError if the float32 file differs from PyTorch by more than `LARGEST`."""
    if not parity.largest <= LARGEST:  # also where it is no number
        raise ValueError(
            f"{file} differs from PyTorch by {parity.largest:.2g} in a probability on "
            f"{parity.n} faces, {LARGEST:g} is allowed: this network cannot be exported faithfully"
        )
