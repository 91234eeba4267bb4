"""Finished folders: made in a hidden place, renamed when complete, recognised by fingerprint.

A folder that carries its final name is whole. A killed process leaves at most a hidden
``.<name>.partial`` beside it, which the next run resumes or clears away.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout

_RECORDED = ("affectory", "torch", "torchvision", "lightning", "timm", "datasets", "numpy")
_RECORDED += ("opencv-python", "pillow", "clean-fid")


Folders: TypeAlias = "Path | Sequence[Folders] | Mapping[Any, Folders] | None"
"""What the pipeline hands a stage: a finished folder, or lists and dicts of them by variable."""


def leaves(tree: Any) -> Iterator[Any]:
    """Yield what nested lists and dicts hold, in order, but for None: the folders of `Folders`."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for inner in tree:
            yield from leaves(inner)
    elif tree is not None:
        yield tree


def fingerprint(**parts: Any) -> str:
    """Return 10 hexadecimal digits that change when any part (JSON values) changes."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path, *, without: str) -> str:
    """Return a hash of the names and bytes of all files in a finished folder.

    Args:
        folder: The folder.
        without: A file name left out (the record, which holds times).
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != without)
    return fingerprint(
        files={path.relative_to(folder).as_posix(): file_hash(path) for path in files}
    )


def tree_state(root: Path) -> str:
    """Return a hash of what a user's folder holds, by name, size and time of change.

    Names and sizes instead of bytes: a database can hold 100 GB and is asked at every start.
    """
    state: dict[str, tuple[int, int]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            # a dangling link is an unreadable picture, which ingest reports
            info = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
            state[path.relative_to(root).as_posix()] = (info.st_size, info.st_mtime_ns)
    return fingerprint(state=state)


@contextmanager
def building(target: Path, *, resume: bool = False) -> Iterator[Path]:
    """Yield a hidden folder to fill, and rename it to `target` when the block ends well.

    Args:
        target: The final folder; must not exist yet.
        resume: Keep what an interrupted run left, for a builder that can go on from there.
            Otherwise leftovers are deleted first, and also when the block fails.

    Only one process at a time may build a target: hold `locked` around this.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    if not resume and partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(exist_ok=True)
    try:
        yield partial
    except BaseException:
        if not resume or not any(partial.iterdir()):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(target)


@contextmanager
def locked(target: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the right to build `target`: a second process waits here until the first is done.

    Args:
        target: The final folder.
        wait: False to go on at once without the right, where another process holds it.

    Yields:
        Whether the right is ours.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    # the file stays: if it were deleted, one process could hold the old and another the new one
    try:
        held = FileLock(lock).acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    with held:
        yield True


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
