"""Markdown, LaTeX, CSV and plain rows: the same numbers, and names that spoil nothing."""

from __future__ import annotations

import csv
import io
import re

import pytest

from isogloss.gathering.folders import gather
from isogloss.reporting.rendering import (
    cell_rows,
    comparison_rows,
    csv_text,
    footnotes,
    latex,
    legend,
    markdown,
    plain_rows,
)
from isogloss.reporting.tables import Table, score_table
from report_runs import first_of, write_grid, write_run

ODD = r"100% of $x_1$ & {a|b} #~^\ *bold* <i>`c`[d]"


@pytest.fixture
def table(tmp_path) -> Table:
    """A bold, an underlined, a failed and an unrun cell, two groups, and a name full of signs."""
    cells = []
    for row, method, right in (("CL-ICP", "cl-icp", 58), ("MTL", "mtl", 40), (ODD, "ft", 8)):
        run = write_run(tmp_path / "runs", method, right=first_of(right))
        cells.append(({"row": row}, {"state": "done", "run": f"../runs/{run.name}"}))
    cells += [
        ({"row": "MTL", "model": "other"}, {"state": "failed", "error": "no | room_left {1}\n2"}),
        ({"row": "TL", "model": "other"}, None),
    ]
    grid = write_grid(tmp_path / "grid", cells)
    published = {("tiny", "MTL", "parity", "tr", "accuracy"): 65.4}
    found = score_table(gather([grid]), published=published)
    assert found is not None
    return found


def test_markdown_has_a_row_a_system_and_whole_columns(table):
    text = markdown(table)
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len(rows) == 2 + 5
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "| tiny | CL-ICP | **96.7**\\*† [91.7, 100.0] |" in rows
    assert "<u>66.7</u> [" in text
    assert "(65.4) |" in text
    assert "| other | MTL | failed<sup>1</sup> |" in rows
    assert "| other | TL | not run |" in rows
    assert "- <sup>1</sup> tr, seed 42: no \\| room\\_left {1} 2" in text
    assert r"\*bold\* \<i\>\`c\`\[d\]" in text


def test_latex_escapes_and_marks(table):
    text = latex(table)
    assert r"CL-ICP & \textbf{96.7}\textsuperscript{*}\dag{} {\scriptsize [91.7, 100.0]} \\" in text
    assert r"\underline{66.7} {\scriptsize" in text
    odd = (
        r"100\% of \$x\_1\$ \& \{a|b\} \#\textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"\textsuperscript{*}bold\textsuperscript{*} \textless{}i\textgreater{}`c`[d] & "
    )
    assert odd in text
    body = [line for line in text.split("\n") if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body if "multicolumn" not in line} == {1}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    comments = text[text.index(r"\end{tabular}") :].split("\n")[1:-1]
    assert all(line.startswith("%") for line in comments)


def test_csv_has_a_line_a_cell_with_all_digits(table):
    rows = list(csv.DictReader(io.StringIO(csv_text(cell_rows(table)))))
    assert len(rows) == 5
    assert rows[2]["system"] == ODD
    assert float(rows[0]["mean"]) == 58 / 60
    assert (rows[0]["rank"], rows[0]["marks"], rows[0]["seeds"]) == ("first", "*†", "1")
    assert float(rows[1]["published"]) == pytest.approx(0.654)
    assert (rows[3]["state"], rows[3]["mean"]) == ("failed", "")
    tests = list(csv.DictReader(io.StringIO(csv_text(comparison_rows(table)))))
    assert len(tests) == len(table.comparisons) == 2 + 1 + 3
    assert csv_text([]) == "\n"


def test_plain_rows_are_text(table):
    rows = plain_rows(table)
    assert rows[0]["parity tr accuracy"] == "96.7*† [91.7, 100.0]"
    assert rows[3]["parity tr accuracy"] == "failed"


def test_the_legend_says_what_is_there_and_no_more(table, tmp_path):
    assert "the row 'MTL'" in " ".join(legend(table))
    assert "published" in " ".join(legend(table))
    assert footnotes(table) == ["tr, seed 42: no | room_left {1}\n2"]
    write_run(tmp_path / "one", "cl-icp")
    alone = score_table(gather([tmp_path / "one"]))
    assert alone is not None
    text = " ".join(legend(alone))
    assert "published" not in text
    assert "†" not in text
    assert "no row 'mtl'" in text
