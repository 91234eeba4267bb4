"""The command ``affectory curves``: how GANs trained, or train, on one page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from classifiers.report import environment
from classifiers.report_parts.training import training_section
from classifiers.report_parts.training_folder import is_training, plain_name, read_training
from curation.artifact import write_text
from curation.lineage import read_record, require_outside

TITLE = "How the GANs trained"


def main(arguments: Sequence[str]) -> int:
    """Write one self-contained page about GAN folders, finished or not.

    Args:
        arguments: What follows ``affectory curves`` on the command line.

    Returns:
        0, or 2 if the arguments or the folders are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory curves",
        description="Write one self-contained HTML page with the curves, the faces along the way "
        "and the choice of networks of GANs. Several are drawn over each other too.",
    )
    parser.add_argument(
        "gan",
        nargs="+",
        type=Path,
        help="folder of a GAN, also a hidden one (.<name>.partial) that still trains, or an "
        "experiment with GANs below gans/",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("curves.html"), help="the page (curves.html)"
    )
    given = parser.parse_args(arguments)
    try:
        folders = find_gans(given.gan)
        require_outside(given.out, "--out")
        names = _names(folders)
        trainings = [read_training(*pair) for pair in zip(folders, names, strict=True)]
        section = training_section(trainings, together=True)
        page = environment().get_template("curves.html.jinja").render(title=TITLE, training=section)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(given.out, page)
        print(given.out.absolute())  # noqa: T201  the command's result
    except (ValueError, OSError) as error:
        print(f"affectory curves: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def find_gans(places: Sequence[Path]) -> list[Path]:
    """Find the GAN folders that words of the command line mean.

    Args:
        places: GAN folders, experiments with some below ``gans/``, or such a ``gans`` folder.

    Raises:
        FileNotFoundError: If one is neither.
    """
    found = []
    for place in places:
        below = place / "gans" if (place / "gans").is_dir() else place
        gans = [place]
        if not is_training(place):
            gans = sorted(filter(is_training, below.glob("*")), key=_order)
        if not gans:
            raise FileNotFoundError(
                f"{place} is no GAN's folder (no metrics.csv in it) and holds none below gans/"
            )
        found += gans
    return list(dict.fromkeys(path.resolve() for path in found))


def _order(folder: Path) -> tuple[bool, str]:
    name = plain_name(folder)
    return name != "trunk", name


def _names(folders: Sequence[Path]) -> list[str]:
    """Return for each folder the shortest name that no other has."""
    records = [read_record(folder) for folder in folders]
    pairs = list(zip(folders, records, strict=True))
    plain = [record.name if record else plain_name(folder) for folder, record in pairs]
    whole = [folder.name.removeprefix(".").removesuffix(".partial") for folder in folders]
    levels = [
        plain,
        [f"{name} of {path.parent.parent.name}" for name, path in zip(plain, folders, strict=True)],
        whole,
        [str(folder) for folder in folders],
    ]
    return [
        next(names[index] for names in levels if names.count(names[index]) == 1)
        for index in range(len(folders))
    ]
