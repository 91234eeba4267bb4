"""The command ``affectory page``: exported recognisers as a page that opens from any server."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from classifiers.page.build import build
from classifiers.page.runtime_web import PACKAGE, VERSION


def main(arguments: Sequence[str]) -> int:
    """Build the page.

    Args:
        arguments: What follows ``affectory page`` on the command line.

    Returns:
        0, or 2 if it could not be built.
    """
    parser = argparse.ArgumentParser(
        prog="affectory page",
        description="Write a static page that judges faces in the browser, by ONNX Runtime Web: "
        "pictures never leave it. Open it from any static server, as `python -m http.server -d "
        "<folder>`.",
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="exported",
        help="what `affectory export` wrote; of several the page offers a choice",
    )
    parser.add_argument("--to", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--yunet",
        type=Path,
        metavar="FILE",
        help="YuNet's model file, to find faces for recognisers that did not learn from the faces "
        "of Haar cascades (default: that of `affectory prefetch yunet`; without one, cascades)",
    )
    parser.add_argument(
        "--ort",
        type=Path,
        metavar="PACKAGE",
        help=f"tarball or folder of npm's {PACKAGE} {VERSION} (default: npm fetches it)",
    )
    given = parser.parse_args(list(arguments))
    try:
        build(given.folders, given.to, yunet=given.yunet, ort=given.ort)
    except (ValueError, OSError, ImportError) as error:
        print(f"affectory page: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(given.to)  # noqa: T201  the command's result
    return 0
