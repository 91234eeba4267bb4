"""Tables: one description, from which the page, a CSV file and a LaTeX file are written.

The page and LaTeX show rounded figures as people print them; CSV has every figure in a column of
its own, in the same unit, unrounded.
"""

import base64
import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from classifiers.report_parts.charts import DASH

MINUS = "\N{MINUS SIGN}"
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "±": r"$\pm$", MINUS: "$-$", "×": r"$\times$", "→": r"$\rightarrow$",
    "–": "--", "—": "---", "…": r"\dots{}", "≥": r"$\geq$", "≤": r"$\leq$", "·": r"$\cdot$",
    "“": "``", "”": "''", "’": "'", "\N{NARROW NO-BREAK SPACE}": r"\,", "\N{NO-BREAK SPACE}": "~",
    "ψ": r"$\psi$", "σ": r"$\sigma$", "é": r"\'e",
}  # fmt: skip


class Kind(NamedTuple):
    """How the values of a column are written; None is a dash, and nothing in CSV.

    Attributes:
        show: Value → text on the page and in LaTeX.
        plain: Value → one entry for each of `parts`.
        parts: What follows the column's title in CSV where it needs several columns there.
        left: Whether it is aligned to the left.
        css: Value → class of its cell.
    """

    show: Callable[[Any], str] = str
    plain: Callable[[Any], Sequence[Any]] = lambda value: (value,)
    parts: Sequence[str] = ("",)
    left: bool = False
    css: Callable[[Any], str] = lambda _: ""


def points(value: float) -> str:
    """Write a difference of shares as signed percentage points: ``+2.1``."""
    if not math.isfinite(value):
        return DASH
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def percent(value: float, digits: int = 1) -> str:
    """Write a share in per cent: ``85.1``."""
    return f"{100 * value:.{digits}f}".replace("-", MINUS) if math.isfinite(value) else DASH


def p_value(value: float) -> str:
    """Write a p-value with two digits: ``0.034``, ``<0.001``."""
    return DASH if math.isnan(value) else f"{value:.2g}" if value >= 0.001 else "<0.001"


def _between(value: Sequence[float | None], write: Callable[[float], str]) -> str:
    low, high = value
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return DASH
    return f"{write(low)} to {write(high)}"


def _with_std(value: Sequence[float | None], digits: int) -> str:
    mean, std = value
    if mean is None:
        return DASH
    spread = "" if std is None else f" ± {percent(std, digits)}"
    return percent(mean, digits) + spread


def _hundredfold(value: Sequence[float | None]) -> list[float | None]:
    return [None if number is None else 100 * number for number in value]


TEXT = Kind(left=True)
PLAIN = Kind()  # a text aligned to the right
COUNT = Kind(lambda value: f"{value:,}")
PERCENT = Kind(percent, lambda value: (100 * value,))
WHOLE_PERCENT = Kind(lambda value: percent(value, 0), lambda value: (100 * value,))
POINTS = Kind(points, lambda value: (100 * value,))
BOUNDS = Kind(lambda value: _between(value, percent), _hundredfold, ("low", "high"))  # shares
GAIN = Kind(lambda value: _between(value, points), _hundredfold, ("low", "high"))  # differences
PAIR = Kind(
    lambda value: " / ".join(DASH if v is None else f"{100 * v:.0f}" for v in value),
    _hundredfold,
    ("precision", "recall"),
)
P_VALUE = Kind(p_value)
WARNING = Kind(left=True, css=lambda value: "flag" if value else "")
VERDICT = Kind(left=True, css=lambda value: str(value).replace(" ", "-"))


def duration(seconds: float) -> str:
    """Put seconds into words: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


SECONDS = Kind(duration, parts=("in s",))
CODE = Kind(lambda value: str(value), left=True, css=lambda _: "code")


def spread_of(digits: int) -> Kind:
    """Return the kind of shares (mean, standard deviation or None) with so many decimals."""
    return Kind(lambda value: _with_std(value, digits), _hundredfold, ("mean", "std"))


SPREAD = spread_of(1)


def decimals(digits: int) -> Kind:
    """Return the kind of plain numbers with so many decimals."""
    return Kind(lambda value: f"{value:,.{digits}f}".replace("-", MINUS))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        kind: How its values are written.
        group: Written above it and its neighbours of the same group.
    """

    title: str
    kind: Kind = PLAIN
    group: str = ""


class Cell(NamedTuple):
    """A cell on the page."""

    text: str
    css: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of its files; unique on a page.
        caption: What it shows, with unit, n and what intervals cover.
        columns: Columns.
        rows: One value for each column.
        merge: So many first columns repeat no value of the row above, except in CSV.
        totals: Rows that sum up.
        loose: Whether long texts may wrap.
        note: Below it.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    merge: int = 0
    totals: Sequence[int] = ()
    loose: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), (self.name, row)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The upper line of the heading: names and how many columns they span; [] without."""
        names = [column.group for column in self.columns]
        runs = [(name, len(list(run))) for name, run in groupby(names)]
        return runs if any(names) else []

    @property
    def cells(self) -> Iterator[tuple[str, list[Cell]]]:
        """Each row on the page: its class and its cells."""
        above: Sequence[Any] = ()
        for number, row in enumerate(self.rows):
            same = self._repeated(row, above)
            css = "total" if number in self.totals else "inner" if 0 < self.merge == same else ""
            yield (
                css,
                [
                    Cell("" if place < same else self._shown(place, value), self._css(place, value))
                    for place, value in enumerate(row)
                ],
            )
            above = row

    def _repeated(self, row: Sequence[Any], above: Sequence[Any]) -> int:
        same = 0
        while above and same < self.merge and row[same] == above[same]:
            same += 1
        return same

    def _shown(self, place: int, value: Any) -> str:
        return DASH if value is None else self.columns[place].kind.show(value)

    def _css(self, place: int, value: Any) -> str:
        kind = self.columns[place].kind
        own = "" if value is None else kind.css(value)
        return " ".join(filter(None, ["left" if kind.left else "", own]))

    def csv(self) -> str:
        """Return the table as CSV: figures unrounded, in the unit of the page."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            " ".join(filter(None, [column.group, column.title, part])).strip()
            for column in self.columns
            for part in column.kind.parts
        )
        for row in self.rows:
            writer.writerow(
                entry
                for column, value in zip(self.columns, row, strict=True)
                for entry in _entries(column.kind, value)
            )
        return stream.getvalue()

    def latex(self) -> str:
        """Return the table for LaTeX with the package booktabs."""
        form = "".join("l" if column.kind.left else "r" for column in self.columns)
        lines = [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "  \\centering",
            f"  \\caption{{{tex(self.caption)}}}",
            f"  \\label{{tab:{self.name}}}",
            f"  \\begin{{tabular}}{{{form}}}",
            "    \\toprule",
        ]
        if self.groups:
            lines += self._grouped_head()
        lines.append(self._tex_row(column.title for column in self.columns))
        lines.append("    \\midrule")
        for number, (css, cells) in enumerate(self.cells):
            if number and (css == "total" or (self.merge and css != "inner")):
                lines.append("    \\addlinespace")
            lines.append(self._tex_row(cell.text for cell in cells))
        lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""]
        return "\n".join(lines)

    def _grouped_head(self) -> list[str]:
        heads, rules, place = [], [], 1
        for name, span in self.groups:
            heads.append(f"\\multicolumn{{{span}}}{{c}}{{{tex(name)}}}")
            if name:
                rules.append(f"\\cmidrule(lr){{{place}-{place + span - 1}}}")
            place += span
        return [f"    {' & '.join(heads)} \\\\", f"    {' '.join(rules)}"]

    @staticmethod
    def _tex_row(texts: Iterator[str]) -> str:
        return f"    {' & '.join(tex(text) for text in texts)} \\\\"

    @property
    def files(self) -> dict[str, str]:
        """File name → content."""
        return {f"{self.name}.csv": self.csv(), f"{self.name}.tex": self.latex()}

    @property
    def links(self) -> list[tuple[str, str, str]]:
        """What it is, file name and content as a data URI, so that a page alone still has it."""
        kinds = {"csv": ("CSV", "text/csv"), "tex": ("LaTeX", "application/x-tex")}
        found = []
        for name, content in self.files.items():
            words, form = kinds[name.rsplit(".", 1)[1]]
            coded = base64.b64encode(content.encode()).decode("ascii")
            found.append((words, name, f"data:{form};charset=utf-8;base64,{coded}"))
        return found


def _entries(kind: Kind, value: Any) -> list[Any]:
    if value is None:
        return [""] * len(kind.parts)
    return [_exact(entry) for entry in kind.plain(value)]


def _exact(entry: Any) -> Any:
    if entry is None or (isinstance(entry, float) and not math.isfinite(entry)):
        return ""
    return f"{entry:.6g}" if isinstance(entry, float) else entry


def tex(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def tables_in(tree: Any) -> Iterator[Table]:
    """Yield the tables within nested lists and dicts, in order."""
    if isinstance(tree, Table):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tables_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tables_in(value)


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write every table as CSV and LaTeX.

    Args:
        tables: With distinct names.
        folder: Is made; receives ``<name>.csv`` and ``<name>.tex``.
    """
    names = [table.name for table in tables]
    assert len(set(names)) == len(names), f"two tables of one name among {names}"
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        for name, content in table.files.items():
            (folder / name).write_text(content, encoding="utf-8")
