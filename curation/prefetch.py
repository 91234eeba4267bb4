"""The command ``affectory prefetch``: which model files are there, and how the others are got."""

import argparse
import sys
from collections.abc import Sequence

from curation import hub
from curation.artifact import file_hash
from curation.weights import KNOWN, Weights, cache_folder, cached, fetch


def main(arguments: Sequence[str]) -> int:
    """List the model files, or fetch those that are named.

    Args:
        arguments: Names to fetch; empty to list, which touches no network.

    Returns:
        0; 1 if a file could not be fetched.
    """
    names = sorted({weights.name for weights in KNOWN} | set(hub.BACKBONES))
    parser = argparse.ArgumentParser(
        prog="affectory prefetch",
        description="Fetch model files into the cache, once. Without a name: list what is there "
        "and what is missing. AFFECTORY_CACHE names another folder than the default; weights of "
        "classifiers lie where HF_HOME and TORCH_HOME say.",
    )
    parser.add_argument("name", nargs="*", help=f"what to fetch: {', '.join(names)}")
    wanted = parser.parse_args(list(arguments)).name
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"no model files called {', '.join(unknown)}; known are {', '.join(names)}")
    try:
        if not wanted:
            _list()
        for weights in KNOWN:
            if weights.name in wanted:
                print(f"{weights.name}: {fetch(weights)}")  # noqa: T201
        for name, model in hub.BACKBONES.items():
            if name in wanted:
                print(f"{name}: {hub.fetch(model)}")  # noqa: T201
    except (OSError, ValueError) as error:
        print(f"affectory prefetch: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _list() -> None:
    print(f"cache: {cache_folder()}")  # noqa: T201
    for weights in KNOWN:
        print(  # noqa: T201
            f"\n{weights.name}: {weights.file}\n"
            f"  {_state(weights)}\n"
            f"  {weights.size:,} bytes, {weights.licence}\n"
            f"  SHA-256 {weights.sha256}\n"
            f"  {weights.url}"
        )

    print("\nImageNet weights for classifiers, in the caches of the hub and of torch")  # noqa: T201
    for name, model in hub.BACKBONES.items():
        path = hub.find(model)
        state = f"there: {path}" if path else f"missing: affectory prefetch {name}"
        licence = hub.settings(model).get("license") or "no licence stated"
        print(f"\n{name}: {state}\n  {licence}, {hub.address(model)}")  # noqa: T201


def _state(weights: Weights) -> str:
    path = cached(weights)
    if not path.is_file():
        return f"missing: affectory prefetch {weights.name}, or copy the file to {path}"
    if (found := file_hash(path)) != weights.sha256:
        return f"damaged (SHA-256 {found}): affectory prefetch {weights.name}"
    return f"there: {path}"
