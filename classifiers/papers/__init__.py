"""What the reproduced papers published: their tables, word by word, with the source.

One YAML file a paper. A protocol that reproduces one names it (``protocol.paper``), and the report
prints its tables with the figures measured here beside the published ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Paper:
    """A paper and its tables.

    Attributes:
        title: Authors and year, as one refers to it.
        source: The whole reference.
        trained_on: The database that its recognisers learned from.
        databases: Name here → the paper's name.
        arms: Arm of a benchmark here → the paper's name of that training set.
        backbones: Backbone here → the paper's name of that network.
        tables: Its tables: ``kind`` (which builder lays it out), ``number`` and ``rows``, and what
            else that kind needs.
    """

    title: str
    source: str
    trained_on: str
    databases: Mapping[str, str]
    arms: Mapping[str, str]
    backbones: Mapping[str, str]
    tables: Sequence[Mapping[str, Any]]

    def model(self, backbone: str) -> str | None:
        """Return the paper's name of a backbone, however the name here is spelled."""
        names = {_plain(key): name for key, name in self.backbones.items()}
        return names.get(_plain(backbone))


def read_paper(name: str) -> Paper:
    """Return a paper's tables.

    Args:
        name: Such as ``randellini2022``.

    Raises:
        ValueError: If there is none of that name.
    """
    path = _FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
        raise ValueError(f"paper {name!r} is unknown (protocol.paper); it is one of {known}")
    return Paper(**yaml.safe_load(path.read_text(encoding="utf-8")))


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
