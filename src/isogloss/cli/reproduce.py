"""`isogloss reproduce`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from isogloss.cli.output import print_json, print_table, say
from isogloss.errors import no_such
from isogloss.experiments.analyses.analysis import (
    ANALYSIS,
    Analysis,
    Findings,
    carried_out,
    folder_of,
)
from isogloss.experiments.analyses.registry import ANALYSES
from isogloss.experiments.grid import SCALES
from isogloss.experiments.registry import EXPERIMENTS
from isogloss.experiments.reproducing import Reproduction, plan, reproduce
from isogloss.experiments.running import what_is_left
from isogloss.experiments.tabling import tables_of
from isogloss.reporting.rendering import footnotes, heads, legend, plain_rows
from isogloss.settings import ReproduceSettings


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
    rows += [
        {
            "name": one.name,
            "section": one.section,
            "title": one.title,
            "rows": None,
            "tasks": "measured, not trained for",
            "printed numbers": None,
        }
        for one in ANALYSES.values()
    ]
    if settings.json:
        print_json(rows)
        return
    columns = ("name", "section", "title", "rows", "tasks", "printed numbers")
    print_table("experiments", rows, columns)


def run(settings: ReproduceSettings) -> None:
    """Carry out an experiment, or say what it would be, and print its table."""
    if settings.experiment in ANALYSES:
        analyse(ANALYSES[settings.experiment], settings)
        return
    if settings.experiment not in EXPERIMENTS:
        raise no_such("experiment", settings.experiment, [*ANALYSES, *EXPERIMENTS])
    made = plan(settings) if settings.plan else reproduce(settings)
    if settings.json:
        print_json(reproduction_content(made))
        return
    say(f"{made.experiment.name}: {made.experiment.title} (Section {made.experiment.section})")
    say(f"{settings.scale}: {SCALES[settings.scale].what}")
    counts = ", ".join(f"{made.count(state)} {state}" for state in ("done", "failed", "left"))
    if made.count("done") or made.count("failed"):
        print_reproduction(made)
    say(f"{len(made.results)} cells: {counts}; folder: {made.folder}")
    if made.open_runs:
        say(what_is_left(made.results, made.open_runs, settings.workers))


def analyse(analysis: Analysis, settings: ReproduceSettings) -> None:
    """Measure a table or figure that needs no training, and print what was found."""
    folder = folder_of(analysis.name, settings)
    if settings.plan:
        say(f"{analysis.name}: {analysis.title} (Section {analysis.section}); folder: {folder}")
        return
    found = carried_out(analysis, settings)
    title = f"{analysis.title} (Section {analysis.section})"
    print_findings(found, folder, (analysis.name, title), as_json=settings.json)


def print_findings(
    found: Findings, folder: Path, called: tuple[str, str], *, as_json: bool
) -> None:
    """Print what was measured: tables of rows of one form, sentences, and where it is kept."""
    name, title = called
    if as_json:
        content = {"analysis": name, "folder": str(folder), "rows": list(found.rows)}
        print_json(content | {"sentences": list(found.sentences), **found.content})
        return
    forms: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in found.rows:
        forms.setdefault(tuple(row), []).append(row)
    for columns, rows in forms.items():
        print_table(title, rows, columns)
    for sentence in found.sentences:
        say(sentence)
    figures = "".join(f", figures/{drawing.name}.svg" for drawing in found.drawings)
    say(f"written to {folder}: {ANALYSIS}{figures}")


def print_reproduction(made: Reproduction) -> None:
    """Print the tables, each task on its own, and what their marks mean."""
    tables = tables_of(made)
    for table in tables:
        rows = plain_rows(table)
        for task, columns in heads(table):
            shown = [name for name in rows[0] if name.startswith(f"{task} ")]
            title = f"{task}, {columns[0].metric}: percent (95% interval)"
            print_table(title, rows, ["model", "system", *shown])
    for line in legend(tables[0]):
        say(line)
    for table in tables:
        for note in footnotes(table):
            say(f"failed: {note}")
    say(f"the page with all numbers: isogloss report {made.folder}")


def reproduction_content(made: Reproduction) -> dict[str, object]:
    """The cells with what they came to, for programs."""
    cells = [
        asdict(result.cell) | {"state": result.state, **result.content} for result in made.results
    ]
    return {"experiment": made.experiment.name, "folder": str(made.folder), "cells": cells}
