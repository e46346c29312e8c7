"""Tables as Markdown, LaTeX, CSV and plain rows."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from isogloss.reporting.comparisons import LEVEL, Column, Comparison
from isogloss.reporting.tables import Cell, Table

STATES = {"failed": "failed", "not run": "not run", "incomplete": "–"}
LEGEND = (
    "Mean over seeds in percent, with its 95% interval (hierarchical bootstrap over seeds and "
    "items).",
    "* above and ° below the row '{baseline}'; † above and ‡ below the best other row, for CL-ICP; "
    f"each by a paired test with p < {LEVEL} after Holm's correction over the table.",
    "Bold: better than every other row of the group by such tests. Underlined: second to a bold "
    "one, and better than all below.",
)


def legend(table: Table) -> list[str]:
    """What the marks of a table mean, and what else is to be known of it."""
    rows = dict.fromkeys(c.against.row for c in table.comparisons if c.question == "baseline")
    lines = [text.format(baseline=", ".join(rows)) for text in LEGEND if rows or "{" not in text]
    if not rows and any(c.question == "best baseline" for c in table.comparisons):
        lines.insert(1, LEGEND[1].split("; ", 1)[1].replace("each ", ""))
    if any(cell.published is not None for cell in table.cells.values()):
        lines.append("In round brackets: the published number.")
    if any(cell.state == "incomplete" for cell in table.cells.values()):
        lines.append("–: an average needs every language, with the same seeds.")
    return [*lines, *table.notes]


def footnotes(table: Table) -> list[str]:
    """The reasons of failed cells, each once; a cell refers to their places in this list."""
    return list(dict.fromkeys(r for cell in table.cells.values() for r in cell.reasons))


def marks(cell: Cell) -> str:
    """The signs of what tests carry of a cell.

    >>> marks(Cell("not run"))
    ''
    """
    return _mark(cell.baseline, "*", "°") + _mark(cell.best_baseline, "†", "‡")


def _mark(comparison: Comparison | None, above: str, below: str) -> str:
    if comparison is None:
        return ""
    return above if comparison.better else below if comparison.worse else ""


def percent(value: float) -> str:
    """A share in percent, with one digit.

    >>> percent(0.6134)
    '61.3'
    """
    return f"{100 * value:.1f}"


def heads(table: Table) -> list[tuple[str, list[Column]]]:
    """The columns by task, in order."""
    pieces = itertools.groupby(table.columns, key=lambda column: column.task)
    return [(task, list(columns)) for task, columns in pieces]


# ---- Markdown --------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The table in Markdown, with its legend."""
    head = [f"{c.task} {c.language}, {c.metric}" for c in table.columns]
    several = len(table.groups()) > 1
    lines = [
        f"# {_md(table.title)}",
        "",
        _md_row([*(["Model"] if several else []), "System", *map(_md, head)]),
        _md_row([*(["---"] if several else []), "---", *("---:" for _ in head)]),
    ]
    notes = footnotes(table)
    for line in table.lines:
        cells = [_md_cell(table.cells[line, column], notes) for column in table.columns]
        lines.append(_md_row([*([_md(line.group)] if several else []), _md(line.row), *cells]))
    lines += ["", *(f"- {_md(text)}" for text in legend(table))]
    lines += [f"- <sup>{number}</sup> {_md(text)}" for number, text in enumerate(notes, 1)]
    return "\n".join(lines) + "\n"


def _md_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _md_cell(cell: Cell, notes: Sequence[str]) -> str:
    numbers = ",".join(str(notes.index(reason) + 1) for reason in cell.reasons)
    note = f"<sup>{numbers}</sup>" if numbers else ""
    published = "" if cell.published is None else f" ({cell.published:.1f})"
    if cell.estimate is None:
        return f"{STATES[cell.state]}{note}{published}"
    value = percent(cell.estimate.value)
    value = {"first": f"**{value}**", "second": f"<u>{value}</u>", None: value}[cell.rank]
    span = f"[{percent(cell.estimate.low)}, {percent(cell.estimate.high)}]"
    return f"{value}{_md(marks(cell))} {span}{published}{note}"


def _md(text: str) -> str:
    return re.sub(r"([\\|*_`\[\]<>#])", r"\\\1", " ".join(text.split()))


# ---- LaTeX -----------------------------------------------------------------------------------

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "–": "--"},
    **{"*": r"\textsuperscript{*}", "°": r"\textdegree{}", "†": r"\dag{}", "‡": r"\ddag{}"},
}


def latex(table: Table) -> str:
    """The table in LaTeX, for the package booktabs."""
    width = len(table.columns) + 1
    body = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        "\\toprule",
        *_latex_head(table),
    ]
    notes = footnotes(table)
    for group, lines in table.groups().items():
        body.append("\\midrule")
        if len(table.groups()) > 1:
            body.append(f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{_tex(group)}}}}} \\\\")
        for line in lines:
            cells = [_tex_cell(table.cells[line, column], notes) for column in table.columns]
            body.append(" & ".join([_tex(line.row), *cells]) + " \\\\")
    body += ["\\bottomrule", "\\end{tabular}"]
    body += [f"% {_tex(text)}" for text in legend(table)]
    body += [f"% ({number}) {_tex(text)}" for number, text in enumerate(notes, 1)]
    return "\n".join(body) + "\n"


def _latex_head(table: Table) -> list[str]:
    tasks, rules, start = [], [], 2
    for task, columns in heads(table):
        tasks.append(f"\\multicolumn{{{len(columns)}}}{{c}}{{{_tex(task)}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + len(columns) - 1}}}")
        start += len(columns)
    metrics = {
        c.task: {other.metric for other in table.columns if other.task == c.task}
        for c in table.columns
    }
    names = [
        _tex(c.language if len(metrics[c.task]) == 1 else f"{c.language} {c.metric}")
        for c in table.columns
    ]
    return [
        " & ".join(["", *tasks]) + " \\\\",
        "".join(rules),
        " & ".join(["System", *names]) + " \\\\",
    ]


def _tex_cell(cell: Cell, notes: Sequence[str]) -> str:
    numbers = ",".join(str(notes.index(reason) + 1) for reason in cell.reasons)
    note = f"\\textsuperscript{{({numbers})}}" if numbers else ""
    published = "" if cell.published is None else f" ({cell.published:.1f})"
    if cell.estimate is None:
        return f"{_tex(STATES[cell.state])}{note}{published}"
    value = percent(cell.estimate.value)
    wrap = {"first": "\\textbf{%s}", "second": "\\underline{%s}", None: "%s"}[cell.rank]
    span = f"{percent(cell.estimate.low)}, {percent(cell.estimate.high)}"
    return f"{wrap % value}{_tex(marks(cell))} {{\\scriptsize [{span}]}}{published}{note}"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


# ---- CSV and plain rows ----------------------------------------------------------------------


def cell_rows(table: Table) -> list[dict[str, Any]]:
    """One row a cell, with all numbers as shares of 1."""
    return [
        {
            "group": line.group,
            "system": line.row,
            "task": column.task,
            "language": column.language,
            "metric": column.metric,
            **_numbers(table.cells[line, column]),
        }
        for line in table.lines
        for column in table.columns
    ]


def _numbers(cell: Cell) -> dict[str, Any]:
    estimate = cell.estimate
    return {
        "state": cell.state,
        "mean": estimate and estimate.value,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "seeds": estimate and len(estimate.by_seed),
        "by_seed": estimate and {str(seed): mean for seed, mean in estimate.by_seed.items()},
        "items": estimate and estimate.items,
        "published": None if cell.published is None else cell.published / 100,
        "rank": cell.rank,
        "marks": marks(cell),
        "reasons": list(cell.reasons),
    }


def comparison_rows(table: Table) -> list[dict[str, Any]]:
    """One row a paired test, with all numbers as shares of 1."""
    return [
        {
            "question": c.question,
            "group": c.line.group,
            "system": c.line.row,
            "against": c.against.row,
            "task": c.column.task,
            "language": c.column.language,
            "metric": c.column.metric,
            "difference": c.test.difference,
            "low": c.test.low,
            "high": c.test.high,
            "p": c.test.p,
            "p_holm": c.adjusted,
            "test": c.test.test,
            "items": c.test.items,
        }
        for c in table.comparisons
    ]


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV, with a line of names."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _csv(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {each!r}" for name, each in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def plain_rows(table: Table) -> list[dict[str, str]]:
    """One row a system, for a terminal: means with marks; intervals where columns are few."""
    return [
        {"model": line.group, "system": line.row}
        | {
            f"{c.task} {c.language} {c.metric}": _plain(table.cells[line, c], len(table.columns))
            for c in table.columns
        }
        for line in table.lines
    ]


def _plain(cell: Cell, columns: int) -> str:
    if cell.estimate is None:
        return STATES[cell.state]
    span = f" [{percent(cell.estimate.low)}, {percent(cell.estimate.high)}]"
    printed = f" ({cell.published:.1f})" if cell.published is not None else ""
    return percent(cell.estimate.value) + marks(cell) + (span if columns <= 6 else "") + printed


RENDERERS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": lambda table: csv_text(cell_rows(table)),
}
