"""Folders that are written to."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from curation.doctor.facts import Fact


def folders() -> Iterator[Fact]:
    """Yield the folders that are written to: whether they can be, and the space left."""
    from curation.weights import cache_folder

    try:
        yield _folder("cache", cache_folder(), "another folder: AFFECTORY_CACHE=/path")
    except (FileNotFoundError, RuntimeError) as error:  # no home
        yield Fact("cache", "unknown", str(error), "AFFECTORY_CACHE=/path")
    yield _folder("out", Path("out").absolute(), "another folder: out=/path")


def _folder(name: str, folder: Path, way_out: str) -> Fact:
    """Try the folder, or the nearest one above it that is there."""
    nearest = folder
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        reason = error.strerror or error
        return Fact(
            name, "not writable", f"{folder} ({reason})", way_out, figures={"path": str(folder)}
        )
    return Fact(
        name,
        "writable",
        f"{folder}, {free / 2**30:,.1f} GiB free",
        figures={"path": str(folder), "free_bytes": free},
    )
