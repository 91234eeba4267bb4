"""One line of what the doctor says."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Fact(NamedTuple):
    """One line of the answer.

    Attributes:
        name: Of what there is, or should be.
        state: In a word or two.
        detail: What is known of it.
        way_out: What to do about it.
        wrong: Whether something that was asked for, or that everything needs, is not as it must be.
        figures: The same for machines.
    """

    name: str
    state: str
    detail: str = ""
    way_out: str = ""
    wrong: bool = False
    figures: Mapping[str, Any] = {}
