"""`isogloss reproduce`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from isogloss.cli.output import print_json, print_table, say
from isogloss.experiments.grid import SCALES
from isogloss.experiments.registry import EXPERIMENTS
from isogloss.experiments.reproducing import Reproduction, plan, reproduce, what_is_left
from isogloss.experiments.tabling import table_of, write_tables
from isogloss.settings import ReproduceSettings
from isogloss.tables import legend


@dataclass(frozen=True)
class ExperimentsSettings:
    """List the paper's tables and figures that `isogloss reproduce` carries out."""

    json: bool = False
    """Print one JSON list and nothing else on standard output."""


def experiments(settings: ExperimentsSettings) -> None:
    """Print the experiments."""
    rows = [
        {
            "name": one.name,
            "section": one.section,
            "title": one.title,
            "rows": len(one.rows),
            "tasks": ", ".join(one.languages),
            "printed numbers": len(one.published) + len(one.averages),
        }
        for one in EXPERIMENTS.values()
    ]
    if settings.json:
        print_json(rows)
        return
    columns = ("name", "section", "title", "rows", "tasks", "printed numbers")
    print_table("experiments", rows, columns)


def run(settings: ReproduceSettings) -> None:
    """Carry out an experiment, or say what it would be, and print its table."""
    made = plan(settings) if settings.plan else reproduce(settings)
    if settings.json:
        print_json(_content(made))
        return
    say(f"{made.experiment.name}: {made.experiment.title} (Section {made.experiment.section})")
    say(f"{settings.scale}: {SCALES[settings.scale].what}")
    counts = ", ".join(f"{made.count(state)} {state}" for state in ("done", "failed", "left"))
    if made.count("done") or made.count("failed"):
        _tell(made)
    say(f"{len(made.results)} cells: {counts}; folder: {made.folder}")
    if made.open_runs:
        say(what_is_left(made.results, made.open_runs, settings.workers))


def _tell(made: Reproduction) -> None:
    """Print a table for each task and metric, and write all of them beside the runs."""
    table = table_of(made)
    for task, metric in dict.fromkeys((task, metric) for task, _, metric in table.columns):
        own = [one for one in table.columns if (one[0], one[2]) == (task, metric)]
        rows = [
            {"model": row[0], "share": f"{row[1]:.0%}", "row": row[2]}
            | {column[1]: table.text(row, column) for column in own}
            for row in table.rows
        ]
        shown = ("model", "share", "row", *(column[1] for column in own))
        print_table(f"{task}: {metric}", rows, shown)
    for line in legend(table):
        say(line)
    for path in write_tables(table, made.folder):
        say(f"written: {path}")


def _content(made: Reproduction) -> dict[str, object]:
    cells = [
        asdict(result.cell) | {"state": result.state, **result.content} for result in made.results
    ]
    return {"experiment": made.experiment.name, "folder": str(made.folder), "cells": cells}
