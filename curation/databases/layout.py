"""What adapters of databases on disk share: finding the root, listing files, errors about both.

A corpus must hold what lies in the database's folder and nothing else, so links that lead out of
it are named as problems and not followed. The root itself may be a link.
"""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

PICTURES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".gif"}
)
ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
LINK_OUTSIDE = "link out of the database's folder"
LINK_WITHIN = "link to another folder of the database"
UNREADABLE_FOLDER = "folder that may not be read"


class Entry(NamedTuple):
    """A file found, or a place that was not looked into and why.

    Attributes:
        path: Below the root as it was given, not resolved.
        source: The same relative to the root, posix, always storable as UTF-8.
        problem: None for a file; otherwise one of the reasons of this module.
        detail: What is particular to the problem, such as where a link leads.
    """

    path: Path
    source: str
    problem: str | None = None
    detail: str = ""

    def row(self, problem: str | None = None, detail: str = "") -> dict[str, Any]:
        """Return an adapter's row that names a problem: the entry's own, unless one is given."""
        if problem is None:
            return {"source": self.source, "problem": self.problem, "detail": self.detail}
        return {"source": self.source, "problem": problem, "detail": detail}


def locate(
    root: Path | str,
    *,
    database: str,
    holds: Callable[[Path], bool],
    example: str,
    up: int = 1,
    down: int = 2,
) -> Path:
    """Find the database's root at, below or just above the folder that the user names.

    Archives unpack into a folder of their own, and users name a class folder or the folder above:
    all of that should work.

    Args:
        root: What the user names.
        database: Name for errors.
        holds: Whether a folder is the database's root; must be cheap.
        example: A path relative to the root that the complete database has.
        up: How many folders above the named one are tried, after those below it.
        down: How many levels below it are tried, the nearest first.

    Returns:
        The root.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If nothing there is a root, with what is there instead (an archive that was
            never unpacked by its name), or if several folders at one depth are.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        archive = f"; {_unpack([root.name])}" if root.name.lower().endswith(ARCHIVES) else ""
        raise FileNotFoundError(
            f"{root} {what} (database.root); it should be the folder of {database}, with for "
            f"example {example} in it{archive}"
        )
    level = [root]
    for depth in range(down + 1):
        if found := [folder for folder in level if holds(folder)]:
            if len(found) > 1:
                raise ValueError(
                    f"{root} holds {database} {len(found)} times, in "
                    f"{' and in '.join(str(folder) for folder in found[:3])}; "
                    "name one of them (database.root)"
                )
            return _told(root, found[0])
        if depth < down:
            level = [inner for folder in level for inner in subfolders(folder)]
    absolute = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a linked root
    for above in absolute.parents[:up]:
        if holds(above):
            return _told(root, above)
    raise layout_error(root, database=database, example=example)


def entries(
    root: Path, folder: Path | None = None, *, suffixes: Collection[str] = PICTURES
) -> Iterator[Entry]:
    """List files below a folder in the order of their paths, without leaving the root.

    Hidden files and macOS's copies (``._x``, ``__MACOSX``) are passed over in silence.

    Args:
        root: The database's root; links that lead out of it are problems.
        folder: Where to start; the root if None.
        suffixes: In lower case with the dot; files of any case match.

    Yields:
        Files, and problems where something was not looked into.
    """
    inside = root.resolve()
    folder = folder or root
    if folder != root and not folder.resolve().is_relative_to(inside):
        yield Entry(folder, source_of(root, folder), LINK_OUTSIDE, str(folder.resolve()))
        return
    yield from _entries(root, inside, folder, suffixes)


def _entries(root: Path, inside: Path, folder: Path, suffixes: Collection[str]) -> Iterator[Entry]:
    try:
        listed = sorted(os.scandir(folder), key=lambda item: item.name)
    except PermissionError:
        yield Entry(folder, source_of(root, folder), UNREADABLE_FOLDER)
        return
    for item in listed:
        if _hidden(item.name):
            continue
        path = folder / item.name
        wanted = path.suffix.lower() in suffixes
        if item.is_symlink():
            target = path.resolve()
            is_folder = target.is_dir()
            if not is_folder and not wanted:
                continue
            if not target.is_relative_to(inside):
                yield Entry(path, source_of(root, path), LINK_OUTSIDE, str(target))
            elif is_folder:  # its pictures are listed where they lie; following could go in circles
                yield Entry(path, source_of(root, path), LINK_WITHIN, source_of(inside, target))
            else:
                yield Entry(path, source_of(root, path))
        elif item.is_dir():
            yield from _entries(root, inside, path, suffixes)
        elif wanted:
            yield Entry(path, source_of(root, path))


def child(folder: Path, *names: str) -> Path | None:
    """Return the first subfolder with one of the names in any case, or None."""
    inner = {path.name.lower(): path for path in subfolders(folder)}
    return next((inner[name.lower()] for name in names if name.lower() in inner), None)


def contains(
    folder: Path, name: re.Pattern[str], *, folders: re.Pattern[str] | None = None
) -> bool:
    """Return whether pictures with such full names lie in a folder, or spread over folders in it.

    A single folder with pictures in it does not count, since then the root is that one, unless
    its own full name is one of `folders`.
    """
    if _has_file(folder, name):
        return True
    spread = 0
    for inner in subfolders(folder):
        if _has_file(inner, name):
            spread += 1
            if spread > 1 or (folders is not None and folders.fullmatch(inner.name)):
                return True
    return False


def _has_file(folder: Path, name: re.Pattern[str]) -> bool:
    try:
        with os.scandir(folder) as items:
            return any(name.fullmatch(item.name) and not item.is_dir() for item in items)
    except PermissionError:
        return False


def absent(root: Path, path: Path) -> Entry | None:
    """Return the entry of a picture that the database has and `entries` did not list.

    Returns:
        Its entry, to be reported as not found; None if a link leads to something at that path,
        which `entries` has named already and ingest must not open.
    """
    return None if path.exists() else Entry(path, source_of(root, path))


def source_of(root: Path, path: Path) -> str:
    """Return a path relative to the root: posix, with undecodable bytes replaced."""
    # old archives hold names in other encodings, which neither Parquet nor CSV can store
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def layout_error(root: Path, *, database: str, example: str) -> ValueError:
    """Describe a folder in which something is missing.

    Args:
        root: The folder.
        database: What was not found, such as "KDEF" or "the emotion labels of CK+".
        example: A path relative to the root that was expected.

    Returns:
        The error, to be raised: what was expected, what is there, and archives by name.
    """
    items = [path for path in sorted(root.iterdir()) if not _hidden(path.name)]
    shown = [_shown(path) for path in items[:8]]
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    found = f"{', '.join(shown)}{more}" if shown else "nothing"
    nested = [inner for folder in subfolders(root) for inner in _listed(folder)]
    packed = [
        source_of(root, path)
        for path in islice(
            (path for path in [*items, *nested] if path.name.lower().endswith(ARCHIVES)), 5
        )
    ]
    hint = f"; {_unpack(packed)}" if packed else ""
    return ValueError(
        f"{root} does not hold {database} (database.root); expected for example {example}, "
        f"found {found}{hint}"
    )


def _unpack(names: list[str]) -> str:
    was = "is an archive that was" if len(names) == 1 else "are archives that were"
    return f"{', '.join(names)} {was} never unpacked"


def _shown(path: Path) -> str:
    if path.is_symlink():
        return f"{path.name} (a link to {path.resolve()}, not followed)"
    return f"{path.name}/" if path.is_dir() else path.name


def _told(root: Path, found: Path) -> Path:
    if found != root:
        log.info("the database of %s lies in %s", root, found)
    return found


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and links."""
    try:
        with os.scandir(folder) as items:
            names = [
                item.name
                for item in items
                if item.is_dir(follow_symlinks=False) and not _hidden(item.name)
            ]
    except PermissionError:
        return []
    return [folder / name for name in sorted(names)]
