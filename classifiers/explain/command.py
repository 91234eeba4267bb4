"""The command ``affectory explain``: what a recogniser sees, on one page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from curation.artifact import write_text
from curation.licences import RECORDS, read_licences
from curation.lineage import require_outside

TITLE = "What the recogniser sees"


def main(arguments: Sequence[str]) -> int:
    """Write one self-contained page about a recogniser.

    Args:
        arguments: What follows ``affectory explain`` on the command line.

    Returns:
        0, or 2 if the arguments or the folders are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory explain",
        description="Write one self-contained HTML page about a recogniser: the input that it "
        "likes best for each emotion, mean faces that it reads right and wrong, and maps of what "
        "it judges by (Grad-CAM, integrated gradients).",
    )
    parser.add_argument("recogniser", type=Path, help="folder with a recogniser.json")
    parser.add_argument("corpus", type=Path, help="folder of a corpus of its size")
    parser.add_argument(
        "--out", type=Path, default=Path("explain.html"), help="the page (explain.html)"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        help="predictions.parquet of one training, where the recogniser's folder holds none: the "
        "page is about those faces",
    )
    parser.add_argument("--member", type=int, default=0, help="which network of an ensemble (0)")
    parser.add_argument("--starts", type=int, default=3, help="optimal inputs an emotion (3)")
    parser.add_argument(
        "--steps", type=int, default=192, help="of each optimal input; 0 leaves them out (192)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of starts and drawn faces (0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (auto)")
    parser.add_argument(
        "--licences", type=Path, help="folder of further licence records, for databases of your own"
    )
    parser.add_argument(
        "--show-restricted",
        action="store_true",
        help="show faces of databases whose licence does not allow to pass them on: such a page "
        "must stay private",
    )
    given = parser.parse_args(arguments)
    try:
        require_outside(given.out, "--out")
        write_page(given)
    except (ValueError, OSError) as error:
        print(f"affectory explain: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def write_page(given: argparse.Namespace) -> None:
    """Write the page that parsed arguments ask for, whole or not at all, and say where it is."""
    # they take seconds to import, and a wrong word is told at once
    import pandas as pd

    from classifiers.predict import Predictor
    from classifiers.report import environment
    from classifiers.report_parts.explain import explain_section

    judge = Predictor.load(given.recogniser, device="cpu")
    predictions = None if given.predictions is None else pd.read_parquet(given.predictions)
    section = explain_section(
        given.recogniser,
        given.corpus,
        predictions,
        judge.emotions,
        member=given.member,
        starts=given.starts,
        steps=given.steps,
        seed=given.seed,
        terms=read_licences([RECORDS, *([given.licences] if given.licences else [])]),
        show_restricted=given.show_restricted,
        device=given.device,
    )
    page = (
        environment()
        .get_template("explain_page.html.jinja")
        .render(
            title=TITLE,
            recogniser=given.recogniser.resolve().name,
            corpus=given.corpus.resolve().name,
            restricted=section["restricted"] if section and given.show_restricted else [],
            explain=section,
        )
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, page)
    print(given.out.absolute())  # noqa: T201  the command's result
