"""Grids: an experiment's folder, with what each of its cells came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from isogloss.errors import RunError
from isogloss.outcomes import Failure, Outcome, Place, read_outcome, short_model
from isogloss.runs import Json, read_json_file

GRID, CELLS = "grid.json", "cells"
Published = Mapping[tuple[str, str, str, str, str], float]


@final
@dataclass(frozen=True)
class Gathered:
    """What was found: outcomes, cells that failed, cells that were planned, and what to know.

    `planned` holds every place of the grids, run or not. `notes` name what was passed over.
    `published`: what a paper prints, in percent, by (model, row, task, language, metric).
    """

    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...] = ()
    planned: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    title: str | None = None
    published: Published = field(default_factory=dict)


def read_grid(folder: Path) -> Gathered:
    """A grid's cells; one that is done but whose run is gone or damaged counts as failed."""
    content = read_json_file(folder / GRID)
    outcomes, failures, planned = [], [], []
    for cell in _cells(content, folder / GRID):
        place = _place(cell, folder / GRID)
        planned.append(place)
        path = folder / CELLS / f"{cell['key']}.json"
        if not path.is_file():
            continue
        state = read_json_file(path)
        if state.get("state") == "failed":
            failures.append(Failure(place, str(state.get("error") or "no reason given")))
        elif state.get("state") == "done":
            try:
                outcomes.append(_of_cell(folder, place, state, path))
            except RunError as error:
                failures.append(Failure(place, str(error)))
        else:
            raise RunError(f"{path}: found state '{state.get('state')}'; expected done or failed")
    missing = len(planned) - len(outcomes) - len(failures)
    notes = (f"{folder}: {missing} of {len(planned)} cells not run yet",) if missing else ()
    title = content.get("title") or content.get("experiment")
    printed = _published(content, folder / GRID)
    return Gathered(tuple(outcomes), tuple(failures), tuple(planned), notes, title, printed)


def _published(content: Json, path: Path) -> Published:
    try:
        return {
            (one["model"], one["row"], one["task"], one["language"], one["metric"]): float(
                one["percent"]
            )
            for one in content.get("published", [])
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: cannot read its published numbers ({error})") from None


def _cells(content: Json, path: Path) -> list[Json]:
    cells = content.get("cells")
    if not isinstance(cells, list) or not all(isinstance(c, dict) and "key" in c for c in cells):
        raise RunError(f"{path}: found no list of cells, each with a key; expected a grid's")
    return cells


def _place(cell: Mapping[str, Any], path: Path) -> Place:
    names = ("row", "model", "task", "language", "seed")
    missing = [name for name in names if name not in cell]
    if missing:
        raise RunError(f"{path}, cell {cell['key']}: found no {', '.join(missing)}")
    share = cell.get("share")
    task = Path(cell["task"]).stem if "/" in cell["task"] else cell["task"]
    return Place(
        cell["row"],
        short_model(cell["model"]),
        task,
        cell["language"],
        cell["seed"],
        1.0 if share is None else float(share),
    )


def _of_cell(folder: Path, place: Place, state: Json, path: Path) -> Outcome:
    if "run" not in state:
        raise RunError(f"{path}: found no run; expected the path of the cell's run folder")
    run = folder / state["run"]
    evaluation = run / state["evaluation"] if state.get("evaluation") else None
    outcome = read_outcome(run, evaluation)
    found = (outcome.place.language, outcome.place.seed, outcome.place.share)
    if found != (place.language, place.seed, place.share):
        raise RunError(f"{run}: found the run of {outcome.place}; expected that of {place}")
    # The task's own name, which a cell may give as a path.
    return replace(outcome, place=replace(place, task=outcome.place.task))
