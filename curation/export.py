"""The command ``affectory export``: whoever made a folder knows how to export what is in it."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

# a file that tells what a folder holds → a module with main(arguments) -> exit code
KINDS = {"recogniser.json": "classifiers.export.command", "networks.json": "gan.export"}
_USAGE = """\
usage: affectory export <folder> [options]

Write a trained recogniser or a generator as ONNX, compared with PyTorch.
`affectory export <folder> --help` lists the options for what the folder holds.
"""


def main(arguments: Sequence[str]) -> int:
    """Hand on to the part that made the folder.

    Args:
        arguments: What follows ``affectory export`` on the command line.

    Returns:
        That part's exit code; 2 for a folder that nobody made.
    """
    folders = [Path(word) for word in arguments if Path(word).is_dir()]
    for folder in folders:
        for file, module in KINDS.items():
            if (folder / file).is_file():
                return importlib.import_module(module).main(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")  # noqa: T201
        return 0 if arguments else 2
    print(  # noqa: T201
        f"affectory export: {' '.join(map(str, folders)) or arguments[0]} holds no trained "
        f"recogniser and no GAN (it has neither {' nor '.join(KINDS)}); name a folder below "
        "out/.../classifiers or out/.../gans",
        file=sys.stderr,
    )
    return 2
