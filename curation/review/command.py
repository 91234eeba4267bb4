"""The command ``affectory review``: a page on which a person keeps and rejects faces."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from curation.inspection.command import find_corpora, target, write_page


def main(arguments: Sequence[str]) -> int:
    """Write the review page of a corpus, or one of each corpus of an experiment.

    Args:
        arguments: What follows ``affectory review`` on the command line.

    Returns:
        0, or 2 if the arguments or the corpus are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory review",
        description="Write one self-contained HTML page on which you keep and reject generated "
        "faces by key. What you decide is saved from the page as a small file, which "
        "`affectory select gate.decisions=<file>` applies.",
    )
    parser.add_argument(
        "corpus",
        help="folder of a corpus that score or select wrote, or an experiment (its folder, or its "
        "name below out/)",
    )
    parser.add_argument(
        "--training",
        type=Path,
        metavar="CORPUS",
        help="a corpus with the training faces, the nearest of which is shown beside a face; the "
        "page then holds these pictures, so mind the terms of their database",
    )
    parser.add_argument("--to", type=Path, help="an .html file to write, or a folder to write into")
    parser.add_argument(
        "--stage", default="select", help="of an experiment, only corpora of this stage (select)"
    )
    parser.add_argument(
        "--side", type=int, help="longer side of a face on the page in pixels; 128 unless given"
    )
    given = parser.parse_args(arguments)
    try:
        corpora = find_corpora(given.corpus, given.stage)
        several = len(corpora) > 1
        targets = [target(corpus, given.to, page="review", several=several) for corpus in corpora]
        # it takes a while to import, and a wrong name is told at once
        from curation.review.page import LONGEST, render

        side = LONGEST if given.side is None else given.side
        for corpus, path in zip(corpora, targets, strict=True):
            write_page(path, render(corpus, training=given.training, longest=side))
    except (ValueError, OSError) as error:
        print(f"affectory review: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0
