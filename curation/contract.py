"""The standardisation contract: what decides how a standard face looks, under one short name.

A face cut in another way is another domain: networks trained under one contract say little about
faces cut under another, so later stages compare contracts and refuse.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = "(absent)"


def contract_id(contract: Mapping[str, Any]) -> str:
    """Return the name of a contract: 12 hexadecimal digits of SHA-256 of its canonical JSON.

    Keys may stand in any order, and 1 is 1.0: neither changes how a face is cut.

    Args:
        contract: JSON values, nested as deeply as wanted.

    Raises:
        ValueError: If a value is not a JSON value; infinities and NaN are none.
    """
    try:
        text = json.dumps(_plain(contract), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a contract holds JSON values only: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return what differs between two contracts, each key with both values; empty if nothing.

    >>> describe_difference({"size": 64, "frame": {"margin": 0}}, {"size": 128, "frame": {}})
    'frame.margin: 0 against (absent); size: 64 against 128'
    """
    one, two = dict(_leaves(_plain(first))), dict(_leaves(_plain(second)))
    return "; ".join(
        f"{key}: {one.get(key, _ABSENT)} against {two.get(key, _ABSENT)}"
        for key in sorted(one.keys() | two.keys())
        if one.get(key, _ABSENT) != two.get(key, _ABSENT)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, json.dumps(value, ensure_ascii=False, sort_keys=True)
