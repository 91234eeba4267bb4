"""The command ``affectory doctor``: what is there, what is missing, and how to get it.

Each section yields facts, which are printed as they are found. Nothing is fetched, and nothing is
written but an unnamed file for a moment, to see whether a folder takes one. What a section needs
is imported by it alone, so that a broken package hides no other section.
"""

import argparse
import json
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from curation.doctor.databases import counts, databases, named_roots
from curation.doctor.devices import devices
from curation.doctor.facts import Fact
from curation.doctor.hubs import hub_weights
from curation.doctor.packages import extras, versions
from curation.doctor.places import folders
from curation.doctor.trained import trained_models
from curation.doctor.weights import model_files


def main(arguments: Sequence[str]) -> int:
    """Say what is there and what is missing.

    Args:
        arguments: ``database=root`` of databases to count, and ``--json``.

    Returns:
        0 if all is well; 1 if a database that is named is not complete, a model file is damaged, a
        trained model is not as its card says, or a required package is missing or out of its range.
    """
    parser = argparse.ArgumentParser(
        prog="affectory doctor",
        description="Say which packages, model files, folders, databases and devices are there, "
        "what is missing, and how to get it. Fetches nothing.",
    )
    parser.add_argument(
        "database",
        nargs="*",
        help="a database to count, and where it lies: kdef=/data/KDEF_and_AKDEF",
    )
    parser.add_argument("--json", action="store_true", help="for machines: one JSON object")
    options = parser.parse_args(list(arguments))
    try:
        roots = named_roots(options.database)
    except ValueError as error:
        parser.error(str(error))
    sections: dict[str, Callable[[], Iterator[Fact]]] = {
        "versions": versions,
        "optional packages": extras,
        "model files": model_files,
        "weights of the hubs": hub_weights,
        "trained models": trained_models,
        "folders": folders,
        "databases": partial(counts, roots) if roots else databases,
        "devices": devices,  # last: torch is the slowest to load, and the likeliest to be broken
    }
    answer: dict[str, list[dict[str, Any]]] = {}
    wrong = []
    for title, section in sections.items():
        if not options.json:
            _say(title)
        answer[title] = []
        for fact in _guarded(title, section):
            facts = fact._asdict()
            answer[title].append(facts.pop("figures") | facts)
            wrong += [fact.name] if fact.wrong else []
            if not options.json:
                _say(_shown(fact))
        if not options.json:
            _say("")
    if options.json:
        _say(json.dumps({"ok": not wrong, "wrong": wrong, "sections": answer}, indent=2))
    else:
        _say(f"wrong: {', '.join(wrong)}" if wrong else "all that must be there is there")
    return 1 if wrong else 0


def _guarded(title: str, section: Callable[[], Iterator[Fact]]) -> Iterator[Fact]:
    try:
        yield from section()
    except Exception as error:  # whatever is broken here, the other sections are wanted too
        yield Fact(title, "failed", f"{type(error).__name__}: {error}", wrong=True)


def _shown(fact: Fact) -> str:
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    # paths, commands and hashes are copied from here
    wrap = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
    head = f"  {fact.name:<15} " + (f"{fact.state:<13} " if fact.state else "")
    text = wrap(fact.detail, initial_indent=head, subsequent_indent=" " * 32) or head.rstrip()
    if fact.way_out:
        text += "\n" + wrap(fact.way_out, initial_indent="    → ", subsequent_indent=" " * 6)
    return text


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the command's own words go to standard output
