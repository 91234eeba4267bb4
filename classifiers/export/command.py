"""The command ``affectory export`` for recognisers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from classifiers.export.folder import export_recogniser


def main(arguments: Sequence[str]) -> int:
    """Export a recogniser.

    Args:
        arguments: What follows ``affectory export`` on the command line.

    Returns:
        0, or 2 if it could not be exported faithfully.
    """
    parser = argparse.ArgumentParser(
        prog="affectory export",
        description="Write a trained recogniser as ONNX files in float32, float16 and int8, with "
        "how faces are cut for it, a model card, and a comparison with PyTorch.",
    )
    parser.add_argument("folder", type=Path, help="of a trained recogniser (out/.../classifiers/…)")
    parser.add_argument(
        "--out", type=Path, help="folder to make (default: exported/<name> in its experiment)"
    )
    parser.add_argument(
        "--corpus", type=Path, help="what it was trained on (default: as its record says)"
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="CORPUS",
        help="standardised faces to compare on that it never saw (default: the validation and "
        "test faces of its corpus)",
    )
    parser.add_argument(
        "--member",
        default="all",
        help="of an ensemble: the number of one network, from 0, or all for their mean (all)",
    )
    parser.add_argument(
        "--calibration", type=int, default=256, help="training faces for int8's ranges (256)"
    )
    given = parser.parse_args(list(arguments))
    if given.member != "all" and not given.member.isdecimal():
        parser.error(f"--member is a number from 0, or all, not {given.member!r}")
    place = given.folder.resolve()
    out = given.out or place.parent.parent / "exported" / place.name
    try:
        export_recogniser(
            given.folder,
            out,
            corpus=given.corpus,
            held_out=given.held_out,
            member=None if given.member == "all" else int(given.member),
            calibration=given.calibration,
        )
    except (ValueError, OSError, ImportError) as error:
        print(f"affectory export: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(out)  # noqa: T201  the command's result
    return 0
