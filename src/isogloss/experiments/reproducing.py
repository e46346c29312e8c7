"""`isogloss reproduce`: a table or figure of the paper, cell by cell, to be stopped at any time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any, final

from isogloss.experiments.carrying_out import GRID, Result, result_of, write_result
from isogloss.experiments.grid import SCALES, Cell, Choice, Experiment, cells_of
from isogloss.experiments.on_ray import Ray
from isogloss.experiments.published_numbers import printed_beside
from isogloss.experiments.registry import experiment
from isogloss.experiments.workers import Here, Job, Outcome, Processes, Workers
from isogloss.model.load import identify
from isogloss.outcomes import short_model
from isogloss.runs import Json, write_json_file
from isogloss.settings import ReproduceSettings

NOTHING = (
    "its worker wrote nothing; do all workers see this folder under this path, and have they "
    "this version of Isogloss?"
)


@final
@dataclass(frozen=True)
class Reproduction:
    """An experiment's folder with all of its cells, done or not."""

    experiment: Experiment
    folder: Path
    results: tuple[Result, ...]

    def count(self, state: str) -> int:
        """How many cells are `done`, `failed` or `left`."""
        return sum(result.state == state for result in self.results)

    @property
    def open_runs(self) -> list[tuple[Cell, ...]]:
        """The cells that are not done, those that share a training run together."""
        return _by_training([result.cell for result in self.results if result.state != "done"])


def plan(settings: ReproduceSettings) -> Reproduction:
    """The cells that the settings ask for, and what became of them so far; nothing is run.

    Raises:
        ConfigError: a name that there is not.
        ModelError: there is no such model.
    """
    chosen = experiment(settings.experiment)
    models = {model: identify(model) for model in settings.models}
    cells = cells_of(chosen, SCALES[settings.scale], _choice(settings, models))
    folder = settings.out or Path("reproductions") / f"{chosen.name}-{settings.scale}"
    return Reproduction(chosen, folder, tuple(result_of(folder, cell) for cell in cells))


def reproduce(settings: ReproduceSettings) -> Reproduction:
    """Carry out every cell that is not done yet; failed ones are tried again.

    Raises:
        IsoglossError: as `plan`; a cell that fails does not stop the others.
    """
    made, workers = plan(settings), _workers(settings)
    write_json_file(made.folder / GRID, _record(made, settings))
    place: dict[str, Any] = {"data": settings.data, "device": settings.device}
    jobs = [Job(made.folder, cells, place) for cells in made.open_runs]
    watch = _Watch(made, jobs, settings.workers)
    try:
        for outcome in workers.run(jobs):
            if outcome.died:
                _give_up(outcome)
            watch.ended(outcome)
    except KeyboardInterrupt:
        watch.say_left()
        raise
    return plan(settings)


def _choice(settings: ReproduceSettings, models: Mapping[str, str]) -> Choice:
    given = {"dtype": settings.dtype} if settings.dtype != "auto" else {}
    return Choice(
        models=models,
        tasks=settings.tasks or None,
        targets=settings.targets or None,
        rows=settings.rows or None,
        seeds=settings.seeds or None,
        limit=settings.limit,
        epochs=settings.epochs,
        train=given | {"too_long": "skip"},
        evaluate={"too_long": "skip"},
    )


def _workers(settings: ReproduceSettings) -> Workers:
    if settings.ray:
        return Ray(settings.ray, settings.workers, gpu=not settings.device.startswith("cpu"))
    return Processes(settings.workers) if settings.workers > 1 else Here()


def _record(made: Reproduction, settings: ReproduceSettings) -> Json:
    scale = SCALES[settings.scale]
    cells = [{"key": result.cell.key, **asdict(result.cell)} for result in made.results]
    return {
        "experiment": made.experiment.name,
        "title": made.experiment.title,
        "section": made.experiment.section,
        "scale": {"name": scale.name, "what": scale.what},
        "cells": cells,
        "published": [
            one
            for model in settings.models
            for one in printed_beside(
                short_model(model), made.experiment.published, made.experiment.averages
            )
        ],
    }


def _by_training(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Cells that share a training run together, in the order of their first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.training, []).append(cell)
    return [tuple(group) for group in groups.values()]


def _give_up(outcome: Outcome) -> None:
    """Write that a job's workers died: no process was left to do so."""
    reason = f"{outcome.died}; the same command goes on from the last checkpoint"
    for cell in outcome.job.cells:
        write_result(outcome.job.folder, cell, {"state": "failed", "error": reason, "seconds": 0.0})


@final
class _Watch:
    """Says on standard error what ended, what is left, and about how long that takes."""

    def __init__(self, made: Reproduction, jobs: Sequence[Job], workers: int) -> None:
        self.made, self.left, self.at_once = made, list(jobs), workers
        done = made.count("done")
        self._say(f"{len(made.results)} cells: {done} done, {len(made.results) - done} to do")
        if done:
            self.say_left()

    def ended(self, outcome: Outcome) -> None:
        """Say what became of a job's cells."""
        self.left.remove(outcome.job)
        for cell in outcome.job.cells:
            result = result_of(self.made.folder, cell)
            said = (
                f"{result.value:.3f}"
                if result.value is not None
                else "failed: " + str(result.content.get("error", NOTHING)).partition("\n")[0]
            )
            share = f" {cell.share:.0%}" if cell.share != 1 else ""
            self._say(f"{cell.row}{share}, {cell.task} {cell.language}, seed {cell.seed}: {said}")
        self.say_left()

    def say_left(self) -> None:
        """Say how many training runs are left, and for about how long where one can know."""
        if self.left:
            results = [result_of(self.made.folder, each.cell) for each in self.made.results]
            self._say(what_is_left(results, [job.cells for job in self.left], self.at_once))

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def what_is_left(results: Sequence[Result], runs: Sequence[tuple[Cell, ...]], at_once: int) -> str:
    """How many training runs are left, and for about how long where one can know."""
    seconds = time_left(results, [cells[0] for cells in runs], at_once)
    said = f"{len(runs)} run{'s' * (len(runs) != 1)} left"
    return said if seconds is None else f"{said}, about {_duration(seconds)}"


def time_left(results: Sequence[Result], firsts: Sequence[Cell], at_once: int) -> float | None:
    """About how many seconds the runs of `firsts`, a cell of each, will take.

    Each is taken to last as long as those of its row and task did; else those of its task, of its
    row, or all of them. None while nothing is done.
    """
    spent: dict[tuple[str, ...], list[float]] = {}
    for result in results:
        if result.state == "done":
            for place in _places(result.cell):
                spent.setdefault(place, []).append(result.seconds)
    if not spent:
        return None
    known = [next(spent[place] for place in _places(cell) if place in spent) for cell in firsts]
    return sum(mean(seconds) for seconds in known) / min(at_once, max(1, len(firsts)))


def _places(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """What a cell's time may be like that of, nearest first."""
    model, row, task = cell.model, f"row {cell.row}", f"task {cell.task}"
    return ((model, row, task), (model, task), (model, row), (model,), ())


def _duration(seconds: float) -> str:
    """As coarse as an estimate is.

    >>> _duration(40), _duration(1000), _duration(9000)
    ('1 min', '17 min', '2.5 h')
    """
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
