"""`isogloss reproduce`: a table or figure of the paper, cell by cell, to be stopped at any time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from isogloss.experiments.carrying_out import GRID, Result, result_of, write_result
from isogloss.experiments.grid import SCALES, Cell, Choice, Experiment, cells_of
from isogloss.experiments.registry import experiment
from isogloss.experiments.workers import Here, Job, Outcome, Processes, Ray, Workers
from isogloss.model.load import identify
from isogloss.runs import Json, write_json_file
from isogloss.settings import ReproduceSettings


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


def plan(settings: ReproduceSettings) -> Reproduction:
    """The cells that the settings ask for, and what became of them so far; nothing is run.

    Raises:
        ConfigError: a name that there is not.
        ModelError: there is no such model.
    """
    chosen = experiment(settings.experiment)
    for model in settings.models:
        identify(model)
    cells = cells_of(chosen, SCALES[settings.scale], _choice(settings))
    folder = settings.out or Path("reproductions") / f"{chosen.name}-{settings.scale}"
    return Reproduction(chosen, folder, tuple(result_of(folder, cell) for cell in cells))


def reproduce(settings: ReproduceSettings) -> Reproduction:
    """Carry out every cell that is not done yet; failed ones are tried again.

    Raises:
        IsoglossError: as `plan`; a cell that fails does not stop the others.
    """
    made = plan(settings)
    write_json_file(made.folder / GRID, _record(made, settings))
    open_cells = [result.cell for result in made.results if result.state != "done"]
    place: dict[str, Any] = {"data": settings.data, "device": settings.device}
    jobs = [Job(made.folder, cells, place) for cells in _by_training(open_cells)]
    watch = _Watch(made, len(jobs))
    for outcome in _workers(settings).run(jobs):
        if outcome.died:
            _give_up(outcome)
        watch.ended(outcome)
    return plan(settings)


def _choice(settings: ReproduceSettings) -> Choice:
    given = {"dtype": settings.dtype} if settings.dtype != "auto" else {}
    return Choice(
        models=settings.models,
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
        return Ray(settings.ray, settings.workers)
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
    }


def _by_training(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Cells that share a training run together, in the order of their first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.training, []).append(cell)
    return [tuple(group) for group in groups.values()]


def _give_up(outcome: Outcome) -> None:
    """Write that a job's workers died: no process was left to do so."""
    reason = (
        "its worker was killed twice (often for want of memory); "
        "the same command goes on from the last checkpoint"
    )
    for cell in outcome.job.cells:
        write_result(outcome.job.folder, cell, {"state": "failed", "error": reason, "seconds": 0.0})


@final
class _Watch:
    """Says on standard error what ended, what is left, and about how long that takes."""

    def __init__(self, made: Reproduction, jobs: int) -> None:
        self.folder, self.jobs, self.ended_jobs = made.folder, jobs, 0
        self.begun = time.time()
        done = made.count("done")
        self._say(f"{len(made.results)} cells: {done} done, {len(made.results) - done} to do")

    def ended(self, outcome: Outcome) -> None:
        """Say what became of a job's cells."""
        self.ended_jobs += 1
        for cell in outcome.job.cells:
            result = result_of(self.folder, cell)
            said = (
                f"{result.value:.3f}"
                if result.value is not None
                else "failed: "
                + str(result.content.get("error", "no reason was written")).partition("\n")[0]
            )
            share = f" {cell.share:.0%}" if cell.share != 1 else ""
            self._say(f"{cell.row}{share}, {cell.task} {cell.language}, seed {cell.seed}: {said}")
        left = self.jobs - self.ended_jobs
        if left:
            pace = (time.time() - self.begun) / self.ended_jobs
            self._say(f"{left} run{'s' * (left > 1)} left, about {_duration(pace * left)}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """As coarse as an estimate is.

    >>> _duration(40), _duration(1000), _duration(9000)
    ('1 min', '17 min', '2.5 h')
    """
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
