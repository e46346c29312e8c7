"""Figures: scores side by side (Fig. 3), by share of D_t (Figs. 5 and 6), and training curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy
from matplotlib.axes import Axes

from isogloss.outcomes import Outcome
from isogloss.reporting.comparisons import Column, Line
from isogloss.reporting.drawing import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    Drawing,
    legend,
    panels,
    slug,
    style,
    written,
)
from isogloss.reporting.tables import Table
from isogloss.runs import Json, Run
from isogloss.statistics import Estimate

POINTS = 60  # of a curve; a longer log is shown as means of so many equal pieces
PANEL, LEAST = 2.8, 5.0  # inches: a panel, and the narrowest figure


@final
@dataclass(frozen=True)
class Looks:
    """Each system's colour, marker and dashes, the same in all figures of a report."""

    rows: tuple[str, ...]

    def of(self, row: str) -> dict[str, Any]:
        """The arguments of a line of this row."""
        place = self.rows.index(row)
        return {
            "color": COLOURS[place % len(COLOURS)],
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
        }


def looks_of(tables: Sequence[Table]) -> Looks:
    """The looks of the tables' rows."""
    return Looks(tuple(dict.fromkeys(line.row for table in tables for line in table.lines)))


def figures(tables: Sequence[Table], outcomes: Sequence[Outcome]) -> list[Drawing]:
    """All figures that the tables and the runs' logs have numbers for."""
    looks = looks_of(tables)
    with style():
        bars = [drawing for table in tables for drawing in _bars(table, looks)]
        shares = [drawing for table in tables for drawing in _shares(table, looks)]
        return [*bars, *shares, *_curves(outcomes, looks)]


# ---- scores side by side ---------------------------------------------------------------------


def _bars(table: Table, looks: Looks) -> Iterator[Drawing]:
    """For each model and task one group of bars a language, at the largest share."""
    for model, task, lines, columns in _blocks(table):
        largest = max(line.share for line in lines)
        shown = [line for line in lines if line.share == largest]
        width = max(LEAST, 0.9 + len(columns) * (0.24 * len(shown) + 0.45))
        figure, (axes,) = panels(1, width=min(width, 11), height=3.2)
        for place, line in enumerate(shown):
            _bar(axes, table, line, columns, (place, len(shown)), looks)
        axes.set_xticks(range(len(columns)), [column.language for column in columns])
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(f"{columns[0].metric}, %")
        axes.set_ylim(bottom=0)
        legend(figure, axes)
        title = f"Scores, {task}, {model}"
        yield written(figure, slug("scores", model, task), title, _said(table, shown, columns))


def _bar(
    axes: Axes,
    table: Table,
    line: Line,
    columns: Sequence[Column],
    place: tuple[int, int],
    looks: Looks,
) -> None:
    found = [(x, table.cells[line, column].estimate) for x, column in enumerate(columns)]
    there = [(x, estimate) for x, estimate in found if estimate is not None]
    width = 0.8 / place[1]
    at = [x - 0.4 + (place[0] + 0.5) * width for x, _ in there]
    colour = looks.of(line.row)["color"]
    heights = [100 * estimate.value for _, estimate in there]
    axes.bar(at, heights, 0.88 * width, color=colour, label=line.row)
    ends = _ends([estimate for _, estimate in there])
    axes.errorbar(at, heights, ends, fmt="none", ecolor=INK, elinewidth=0.8, capsize=0)


def _ends(estimates: Sequence[Estimate]) -> list[list[float]]:
    """The arms of intervals in percent points, never below 0."""
    return [
        [max(0.0, 100 * (each.value - each.low)) for each in estimates],
        [max(0.0, 100 * (each.high - each.value)) for each in estimates],
    ]


def _blocks(table: Table) -> Iterator[tuple[str, str, list[Line], list[Column]]]:
    """Each model and task with its rows and columns of one metric, where it has any number."""
    for model in dict.fromkeys(line.model for line in table.lines):
        for task, metric in dict.fromkeys((c.task, c.metric) for c in table.columns):
            columns = [c for c in table.columns if (c.task, c.metric) == (task, metric)]
            lines = [
                line
                for line in table.lines
                if line.model == model
                and any(table.cells[line, column].estimate for column in columns)
            ]
            if lines:
                yield model, task, lines, columns


def _said(table: Table, lines: Iterable[Line], columns: Iterable[Column]) -> str:
    """The numbers of a figure in words."""
    parts = []
    for column in columns:
        found = [
            f"{line.row} {100 * estimate.value:.1f}"
            for line in lines
            if (estimate := table.cells[line, column].estimate)
        ]
        if found:
            parts.append(f"{column.language}: {', '.join(found)}")
    return "; ".join(parts) + " percent"


# ---- by share of D_t -------------------------------------------------------------------------


def _shares(table: Table, looks: Looks) -> Iterator[Drawing]:
    """For each model and task with several shares, one panel a language and one line a system."""
    for model, task, lines, columns in _blocks(table):
        rows: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            rows[line.row].append(line)
        several = {row: each for row, each in rows.items() if len(each) > 1}
        if not several:
            continue
        width = max(LEAST, PANEL * len(columns) + 0.6)
        figure, all_axes = panels(len(columns), width=width, height=3.2)
        ticks = sorted({100 * line.share for each in several.values() for line in each})
        for axes, column in zip(all_axes, columns, strict=True):
            for row, each in several.items():
                _by_share(axes, table, column, each, looks.of(row))
            axes.set_title(column.language)
            axes.set_xticks(ticks)
            axes.set_xlabel("share of D_t, %")
        all_axes[0].set_ylabel(f"{columns[0].metric}, %")
        legend(figure, all_axes[0])
        shown = [line for each in several.values() for line in each]
        alt = "; ".join(
            f"{line.share:.0%} of D_t: {_said(table, [line], columns)}" for line in shown
        )
        title = f"Scores by share of D_t, {task}, {model}"
        yield written(figure, slug("shares", model, task), title, alt)


def _by_share(
    axes: Axes, table: Table, column: Column, lines: Sequence[Line], look: Mapping[str, Any]
) -> None:
    found = sorted(
        (line.share, estimate)
        for line in lines
        if (estimate := table.cells[line, column].estimate) is not None
    )
    x = [100 * share for share, _ in found]
    each = [estimate for _, estimate in found]
    means = [100 * estimate.value for estimate in each]
    lows, highs = [100 * e.low for e in each], [100 * e.high for e in each]
    axes.fill_between(x, lows, highs, color=look["color"], alpha=0.14, linewidth=0)
    axes.plot(x, means, label=lines[0].row, **look)


# ---- training --------------------------------------------------------------------------------


def _curves(outcomes: Sequence[Outcome], looks: Looks) -> Iterator[Drawing]:
    """For each model and task one panel a language, one line a run, at the largest share."""
    blocks: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if not outcome.untuned:
            blocks[outcome.place.model, outcome.place.task].append(outcome)
    for (model, task), block in blocks.items():
        largest = max(outcome.place.share for outcome in block)
        logged = [
            (outcome, log)
            for outcome in block
            if outcome.place.share == largest and (log := Run(outcome.folder).log)
        ]
        if logged:
            yield _curve(model, task, logged, looks)


def _curve(
    model: str, task: str, logged: Sequence[tuple[Outcome, list[Json]]], looks: Looks
) -> Drawing:
    languages = list(dict.fromkeys(outcome.place.language for outcome, _ in logged))
    figure, all_axes = panels(
        len(languages), width=max(LEAST, PANEL * len(languages) + 0.6), height=3.2
    )
    order = {row: number for number, row in enumerate(looks.rows)}
    for outcome, log in sorted(logged, key=lambda each: order[each[0].place.row]):
        axes = all_axes[languages.index(outcome.place.language)]
        look = looks.of(outcome.place.row)
        label = outcome.place.row if outcome.place.row not in _labels(axes) else None
        steps, losses = _series(log, "loss")
        dashes = look["linestyle"]
        axes.plot(steps, losses, color=look["color"], lw=1.1, alpha=0.85, ls=dashes, label=label,
                  marker=look["marker"], ms=3.5, markevery=0.2)  # fmt: skip
        axes.plot(*_series(log, "eval_loss"), ls="none", marker=look["marker"], ms=3.5,
                  mfc="none", mec=look["color"], mew=0.9)  # fmt: skip
    for axes, language in zip(all_axes, languages, strict=True):
        axes.set_title(language)
        axes.set_xlabel("update")
        axes.set_ylim(bottom=0)
    all_axes[0].set_ylabel("training loss, nats")
    legend(figure, max(all_axes, key=lambda axes: len(_labels(axes))))
    ends = "; ".join(
        f"{outcome.place.row}, {outcome.place.language}, seed {outcome.place.seed}: "
        f"{losses[0]:.2f} to {losses[-1]:.2f}"
        for outcome, log in logged
        if (losses := _series(log, "loss")[1])
    )
    title = f"Training loss, {task}, {model}"
    return written(figure, slug("training", model, task), title, f"Loss by update. {ends}.")


def _labels(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def _series(log: Sequence[Json], name: str) -> tuple[list[float], list[float]]:
    """Updates, counted through all stages, and values; a long series as means of equal pieces."""
    x, y, before, stage, last = [], [], 0, 0, 0
    for entry in log:
        if entry.get("stage", 0) != stage:
            before, stage = before + last, entry["stage"]
        last = entry["step"]
        if name in entry:
            x.append(before + last)
            y.append(entry[name])
    pieces = min(len(x), POINTS)
    if pieces == 0:
        return [], []
    return (
        [float(numpy.mean(part)) for part in numpy.array_split(x, pieces)],
        [float(numpy.mean(part)) for part in numpy.array_split(y, pieces)],
    )
