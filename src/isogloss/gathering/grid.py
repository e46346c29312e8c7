"""Grids: an experiment's folder, with what each of its cells came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from isogloss.errors import RunError
from isogloss.gathering.diagnosed import Diagnosed
from isogloss.outcomes import Failure, Outcome, Place, read_outcome, short_model
from isogloss.runs import Json, read_json_file

GRID, CELLS = "grid.json", "cells"
Published = Mapping[tuple[str, str, str, str, str], float]
NEEDED = ("row", "model", "task", "language", "seed")  # of a cell


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
    diagnosed: tuple[Diagnosed, ...] = ()


def read_grid(folder: Path) -> Gathered:
    """A grid's cells; one that is done but whose run is gone or damaged counts as failed."""
    content = read_json_file(folder / GRID)
    cells = _cells(content, folder / GRID)
    found = [_came_to(folder, cell) for cell in cells]
    # A cell may give its task as a path; its runs know the task's name.
    names = {
        cell["task"]: each.place.task
        for cell, each in zip(cells, found, strict=True)
        if isinstance(each, Outcome)
    }
    labels = labels_of([cell["model"] for cell in cells])
    planned, outcomes, failures = [], [], []
    for cell, each in zip(cells, found, strict=True):
        task = names.get(cell["task"], Path(cell["task"]).stem)
        place = replace(_place(cell), task=task, model=labels[cell["model"]])
        planned.append(place)
        if isinstance(each, Outcome):
            outcomes.append(replace(each, place=place))
        elif each is not None:
            failures.append(Failure(place, each))
    missing = found.count(None)
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


def labels_of(models: Iterable[str]) -> dict[str, str]:
    """Models by short names; by whole ones where the short ones are the same."""
    shorts = {model: short_model(model) for model in models}
    counts = Counter(shorts.values())
    return {model: short if counts[short] == 1 else model for model, short in shorts.items()}


def _came_to(folder: Path, cell: Json) -> Outcome | str | None:
    """What a cell came to: an outcome, the reason why it failed, or nothing yet."""
    path = folder / CELLS / f"{cell['key']}.json"
    if not path.is_file():
        return None
    state = read_json_file(path)
    if state.get("state") == "failed":
        return str(state.get("error") or "no reason given")
    if state.get("state") != "done":
        raise RunError(f"{path}: found state '{state.get('state')}'; expected done or failed")
    try:
        return _outcome(folder, cell, state, path)
    except RunError as error:
        return str(error)


def _cells(content: Json, path: Path) -> list[Json]:
    cells = content.get("cells")
    if not isinstance(cells, list) or not all(isinstance(c, dict) and "key" in c for c in cells):
        raise RunError(f"{path}: found no list of cells, each with a key; expected a grid's")
    for cell in cells:
        missing = [name for name in NEEDED if name not in cell]
        if missing:
            raise RunError(f"{path}, cell {cell['key']}: found no {', '.join(missing)}")
    return cells


def _place(cell: Mapping[str, Any]) -> Place:
    share = cell.get("share")
    names = {name: cell[name] for name in NEEDED}
    return Place(**names, share=1.0 if share is None else float(share))


def _outcome(folder: Path, cell: Json, state: Json, path: Path) -> Outcome:
    if not state.get("run"):
        raise RunError(f"{path}: found no run; expected the path of the cell's run folder")
    run, place = folder / state["run"], _place(cell)
    evaluation = run / state["evaluation"] if state.get("evaluation") else None
    outcome = read_outcome(run, evaluation)
    found = (outcome.place.language, outcome.place.seed, outcome.place.share)
    if found != (place.language, place.seed, place.share):
        raise RunError(f"{run}: found the run of {outcome.place}; expected that of {place}")
    return outcome
