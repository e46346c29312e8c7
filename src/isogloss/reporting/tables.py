"""Tables of scores (Table 2): mean over seeds with interval, and only marks that a test carries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from isogloss.gathering.grid import Gathered
from isogloss.reporting.comparisons import (
    AVERAGE,
    Column,
    Comparison,
    Line,
    compared,
    ranking,
    wanted,
)
from isogloss.reporting.layout import Layout, connected
from isogloss.statistics import Estimate, Parts, estimates

State = Literal["done", "failed", "not run", "incomplete"]
Published = Mapping[tuple[str, str, str, str, str], float]
"""Published numbers in percent by (group, row, task, language or "average", metric)."""
NO_NUMBERS: Published = {}


@final
@dataclass(frozen=True)
class Cell:
    """One number of a table, or why there is none.

    `rank` is "first" only where the row is better than every other row of its group, and "second"
    only below such a one and better than all the rest; each by tests that Holm's correction
    leaves standing. `reasons` say of each seed that failed why. An average is incomplete where a
    language is missing, or the languages' seeds differ.
    """

    state: State
    estimate: Estimate | None = None
    published: float | None = None
    rank: Literal["first", "second"] | None = None
    baseline: Comparison | None = None
    best_baseline: Comparison | None = None
    reasons: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Table:
    """Rows are systems by group, columns are tasks, languages and metrics."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    cells: Mapping[tuple[Line, Column], Cell]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def groups(self) -> dict[str, list[Line]]:
        """The rows of each group, in order."""
        found: dict[str, list[Line]] = defaultdict(list)
        for line in self.lines:
            found[line.group].append(line)
        return found


def score_tables(
    gathered: Gathered, *, baseline: str | None, published: Published, seed: int
) -> tuple[list[Table], list[Table]]:
    """The tables of the tasks' own metrics, and of others: one for each connected part."""
    parts = connected(gathered)
    made: tuple[list[Table], list[Table]] = ([], [])
    for main, tables in zip((True, False), made, strict=True):
        for part in parts:
            table = score_table(part, main=main, baseline=baseline, published=published, seed=seed)
            if table:
                tasks = ", ".join(dict.fromkeys(column.task for column in table.columns))
                name = f"{table.name}-{len(tables) + 1}" if tables else table.name
                title = f"{table.title}: {tasks}" if len(parts) > 1 else table.title
                tables.append(replace(table, name=name, title=title))
    return made


def score_table(
    gathered: Gathered,
    *,
    main: bool = True,
    baseline: str | None = None,
    published: Published = NO_NUMBERS,
    seed: int = 0,
) -> Table | None:
    """The table of the tasks' own metrics, or (`main` false) of their others; None without any.

    `baseline` is the row or method that all others are tested against ("mtl" if none is named);
    a group without it says so in the table's notes.
    """
    layout = Layout(gathered)
    columns = layout.columns(main=main)
    if not columns:
        return None
    systems = {column: layout.systems(column) for column in columns}
    found = _estimated(systems, seed)
    bases, notes = layout.baselines(baseline)
    means = {
        column: {line: found[line, column].value for line in systems[column]} for column in columns
    }
    asked = [each for c in columns for each in wanted(c, means[c], layout.own, bases)]
    comparisons = compared(asked, systems, seed=seed)
    cells = _cells(layout, columns, found, _ranks(means, comparisons), comparisons)
    for (line, column), cell in cells.items():
        key = (line.group, line.row, column.task, column.language, column.metric)
        cells[line, column] = replace(cell, published=published.get(key))
    name, title = ("scores", "Scores") if main else ("other-metrics", "Other metrics")
    return Table(name, title, columns, layout.lines, cells, tuple(comparisons), tuple(notes))


def _cells(
    layout: Layout,
    columns: Sequence[Column],
    found: Mapping[tuple[Line, Column], Estimate],
    ranks: Mapping[tuple[Line, Column], Literal["first", "second"]],
    comparisons: Sequence[Comparison],
) -> dict[tuple[Line, Column], Cell]:
    tested = {(c.line, c.column, c.question): c for c in comparisons}
    made = {}
    for line in layout.lines:
        for column in columns:
            reasons = layout.reasons(line, column)
            if (line, column) not in found:
                state: State = "failed" if reasons else "not run"
                started = column.language == AVERAGE and layout.started(line, column.task)
                made[line, column] = Cell("incomplete" if started else state, reasons=reasons)
                continue
            made[line, column] = Cell(
                "done",
                found[line, column],
                rank=ranks.get((line, column)),
                baseline=tested.get((line, column, "baseline")),
                best_baseline=tested.get((line, column, "best baseline")),
                reasons=reasons,
            )
    return made


def _estimated(
    systems: Mapping[Column, Mapping[Line, Parts]], seed: int
) -> dict[tuple[Line, Column], Estimate]:
    return {
        (line, column): estimate
        for column, each in systems.items()
        for line, estimate in zip(each, estimates(list(each.values()), seed=seed), strict=True)
    }


def _ranks(
    means: Mapping[Column, Mapping[Line, float]], comparisons: Iterable[Comparison]
) -> dict[tuple[Line, Column], Literal["first", "second"]]:
    """First and second by column and group, where every comparison with a lower row is carried."""
    better = {
        (c.column, c.line, c.against) for c in comparisons if c.question == "rank" and c.better
    }
    ranks: dict[tuple[Line, Column], Literal["first", "second"]] = {}
    for column, each in means.items():
        for group in dict.fromkeys(line.group for line in each):
            first, *rest = ranking(each, [line for line in each if line.group == group])
            if not rest or not all((column, first, line) in better for line in rest):
                continue
            ranks[first, column] = "first"
            second, *below = rest
            if below and all((column, second, line) in better for line in below):
                ranks[second, column] = "second"
    return ranks
