"""The command ``affectory inspect``: a page that shows what a corpus holds."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from curation.artifact import write_text
from curation.inspection import twins
from curation.inspection.pictures import COLUMNS
from curation.lineage import read_record, require_outside

_NO_EXPERIMENT = (
    "is no corpus (no shard-*.parquet in it) and no experiment with corpora below corpora/"
)


def main(arguments: Sequence[str]) -> int:
    """Write the inspection page of a corpus, or one of each corpus of an experiment.

    Args:
        arguments: What follows ``affectory inspect`` on the command line.

    Returns:
        0, or 2 if the arguments or the corpus are not what they should be.
    """
    parser = argparse.ArgumentParser(
        prog="affectory inspect",
        description="Write one self-contained HTML page that shows what a corpus holds: counts, "
        "faces, the worst crops, duplicates, what was left out, and where it came from.",
    )
    parser.add_argument(
        "corpus",
        help="folder of a corpus, or an experiment (its folder, or its name below out/)",
    )
    parser.add_argument("--to", type=Path, help="an .html file to write, or a folder to write into")
    parser.add_argument("--stage", help="of an experiment, only the corpora of this stage")
    parser.add_argument(
        "--columns", type=int, default=COLUMNS, help=f"pictures in a strip ({COLUMNS})"
    )
    parser.add_argument(
        "--alike",
        type=float,
        default=twins.ALIKE,
        help="correlation of fine detail from which pictures count as near-duplicates "
        f"({twins.ALIKE})",
    )
    parser.add_argument("--seed", type=int, default=0, help="which faces the grid shows (0)")
    parser.add_argument("--threads", type=int, default=2, help="that decode pictures (2)")
    parser.add_argument(
        "--yunet",
        nargs="?",
        const="",
        metavar="MODEL",
        help="look for faces once more, to tell how level their eyes are, by this model file or "
        "the one that was prefetched",
    )
    given = parser.parse_args(arguments)
    try:
        corpora = find_corpora(given.corpus, given.stage)
        several = len(corpora) > 1
        targets = [target(corpus, given.to, page="inspect", several=several) for corpus in corpora]
        # it takes a while to import, and a wrong name is told at once
        from curation.detect import Detector, YuNet
        from curation.inspection.page import render

        again: Detector | None = None
        if given.yunet is not None:
            # the type checker takes no cached property for a property
            again = cast("Detector", YuNet(model=given.yunet or None))
            _ = again.settings  # a missing file is told before the work
        for corpus, path in zip(corpora, targets, strict=True):
            page = render(
                corpus,
                columns=given.columns,
                alike=given.alike,
                seed=given.seed,
                threads=given.threads,
                again=again,
            )
            write_page(path, page)
    except (ValueError, OSError) as error:
        print(f"affectory inspect: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def find_corpora(name: str, stage: str | None = None) -> list[Path]:
    """Find the corpora that a word of the command line means.

    Args:
        name: Folder of a corpus, folder of an experiment, or an experiment's name below ``out``.
        stage: Of an experiment, only the corpora that this stage wrote.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no corpus.
        ValueError: If no corpus of the experiment is of that stage.
    """
    folder = next((place for place in (Path(name), Path("out", name)) if place.is_dir()), None)
    if folder is None:
        known = sorted(path.parent.name for path in Path("out").glob("*/corpora"))
        hint = f"; experiments below out/: {', '.join(known)}" if known else ""
        raise FileNotFoundError(f"there is no folder {name} and no out/{name}{hint}")
    if _shards(folder):
        return [folder]
    places = folder if folder.name == "corpora" else folder / "corpora"
    corpora = sorted(path for path in places.glob("[!.]*") if path.is_dir() and _shards(path))
    if not corpora:
        raise FileNotFoundError(f"{folder} {_NO_EXPERIMENT}")
    if stage is None:
        return corpora
    stages = {path: record.stage if (record := read_record(path)) else "" for path in corpora}
    if not (chosen := [path for path in corpora if stages[path] == stage]):
        raise ValueError(
            f"no corpus below {places} was written by stage {stage!r}; there are those of "
            f"{', '.join(sorted(set(stages.values()) - {''})) or 'no recorded stage'}"
        )
    return chosen


def _shards(folder: Path) -> bool:
    return any(folder.glob("shard-*.parquet"))


def target(corpus: Path, to: Path | None, *, page: str, several: bool) -> Path:
    """Return where the page of a corpus goes: beside the experiment's other results, or `to`.

    Args:
        corpus: Its folder.
        to: An .html file, or a folder; None for the experiment's own.
        page: First word of the file's name.
        several: Whether pages of other corpora are written too.

    Raises:
        ValueError: If one file is to hold several pages, or it would lie in a finished folder.
    """
    corpus = corpus.resolve()
    name = f"{page}-{corpus.name}.html"
    if to is None:
        experiment = corpus.parent.parent if corpus.parent.name == "corpora" else corpus.parent
        return experiment / name
    path = to if to.suffix == ".html" else to / name
    if several and to.suffix == ".html":
        raise ValueError(f"--to {to} is one file, but there are several corpora; name a folder")
    require_outside(path, "--to")
    return path


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    print(path.absolute())  # noqa: T201  the command's result
