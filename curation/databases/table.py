"""Tables of databases, read line by line, so that damage costs a line and not the rest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_LINE = 100_000  # characters; a picture of FER2013 takes under 9,300


def cells(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each line that is not blank, without their blanks and quotation marks.

    Quoted commas and line breaks are not supported: the databases' own tables have none, and a
    quotation mark that is never closed would swallow all lines after it.

    Args:
        table: A text file of comma-separated values; bytes that are no UTF-8 are replaced.

    Yields:
        The line's number, counted from 1, and its cells. A line of more than `LONGEST_LINE`
        characters, as in a file that is no table at all, is cut.
    """
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            rest = line
            while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
                rest = file.readline(LONGEST_LINE)
            if line.strip():
                yield number, [cell.strip(' \t\r\n"') for cell in line.split(",")]


def problem_row(source: str, problem: str, detail: str = "") -> dict[str, Any]:
    """Return an adapter's row that names a problem of a picture, or of a line, by its source."""
    return {"source": source, "problem": problem, "detail": detail}
