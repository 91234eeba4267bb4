"""Tables as page, CSV and LaTeX."""

import base64
import csv
import io

import pytest

from classifiers.report import environment
from classifiers.report_parts import tables
from classifiers.report_parts.tables import Column, Table, points, tables_in, tex, write_tables


def example(**changed):
    columns = [
        Column("set", tables.TEXT),
        Column("model", tables.TEXT),
        Column("here", tables.SPREAD, "CK+"),
        Column("gain", tables.GAIN, "CK+"),
        Column("verdict", tables.VERDICT),
    ]
    rows = [
        ["KDEF_Q", "A & B", (0.86154, 0.0354), (-0.01, 0.123), "no evidence"],
        ["KDEF_Q", "C", (0.5, None), (None, None), "helps"],
        ["KDEF", "C", None, (float("nan"), 0.2), None],
    ]
    given = {"name": "t", "caption": "5 % <of> it", "columns": columns, "rows": rows, "merge": 1}
    return Table(**given | changed)


def shown(table):
    return environment().from_string(
        '{% from "table.html.jinja" import show %}{{ show(table) }}'
    ).render(table=table)  # fmt: skip


def test_csv_has_every_figure_in_a_column_of_its_own_in_the_unit_of_the_page():
    header, *rows = list(csv.reader(io.StringIO(example().csv())))
    assert header == [
        "set", "model", "CK+ here mean", "CK+ here std", "CK+ gain low", "CK+ gain high", "verdict",
    ]  # fmt: skip
    assert rows[0] == ["KDEF_Q", "A & B", "86.154", "3.54", "-1", "12.3", "no evidence"]
    # what is not there is nothing, and what is merged on the page is not merged here
    assert rows[1] == ["KDEF_Q", "C", "50", "", "", "", "helps"]
    assert rows[2] == ["KDEF", "C", "", "", "", "20", ""]


def test_latex_is_booktabs_with_groups_and_escapes():
    lines = [line.strip() for line in example().latex().splitlines()]
    assert "\\begin{tabular}{llrrl}" in lines
    assert "\\caption{5 \\% $<$of$>$ it}" in lines
    assert "\\multicolumn{2}{c}{} & \\multicolumn{2}{c}{CK+} & \\multicolumn{1}{c}{} \\\\" in lines
    assert "\\cmidrule(lr){3-4}" in lines
    row = "KDEF\\_Q & A \\& B & 86.2 $\\pm$ 3.5 & $-$1.0 to +12.3 & no evidence \\\\"
    assert row in lines
    assert lines[lines.index(row) + 1].startswith("& C & 50.0 & --")
    assert lines[lines.index(row) + 2] == "\\addlinespace"
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert lines.count(rule) == 1


def test_tex_escapes_what_latex_would_read_as_its_own():
    assert tex(r"a_b & 5% {x} $y #1 ~ ^ \z") == (
        r"a\_b \& 5\% \{x\} \$y \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert tex("−1.5 ± 2 × 3 → “so” – é") == (
        r"$-$1.5 $\pm$ 2 $\times$ 3 $\rightarrow$ ``so'' -- \'e"
    )


def test_page_merges_escapes_and_marks_verdicts():
    page = shown(example())
    assert page.count("KDEF_Q</td>") == 1
    assert "A &amp; B" in page
    assert "5 % &lt;of&gt; it" in page
    assert '<td class="left no-evidence">no evidence</td>' in page
    assert '<th colspan="2">CK+</th>' in page
    assert page.count("<tr") == 5


def test_links_hold_the_files_themselves(tmp_path):
    table = example()
    page = shown(table)
    write_tables([table], tmp_path / "tables")
    for words, name, uri in table.links:
        content = base64.b64decode(uri.split(",", 1)[1]).decode()
        assert (tmp_path / "tables" / name).read_text(encoding="utf-8") == content
        assert f'<a download="{name}" href="{uri}">{words}</a>' in page
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"t.csv", "t.tex"}


def test_names_are_unique_and_rows_fit():
    with pytest.raises(AssertionError, match="two tables"):
        write_tables([example(), example()], None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        example(rows=[["one"]])


def test_tables_are_found_in_order_wherever_they_are():
    first, second = example(name="a"), example(name="b")
    assert [t.name for t in tables_in({"x": [{"y": first}], "z": (second,), "n": None})] == [
        "a", "b",
    ]  # fmt: skip


def test_points_are_signed():
    values = (0.021, -0.013, -0.0001, float("nan"))
    assert [points(value) for value in values] == ["+2.1", "−1.3", "0.0", "–"]


def test_p_values_and_durations():
    assert [tables.p_value(p) for p in (0.0341, 0.0004, 1.0, float("nan"))] == [
        "0.034", "<0.001", "1", "–",
    ]  # fmt: skip
    assert [tables.duration(s) for s in (0.42, 12, 185, 7800)] == [
        "0.4 s", "12 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip
