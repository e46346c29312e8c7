"""`isogloss reproduce`: a table or figure of the paper, cell by cell, to be stopped at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from isogloss.experiments.carrying_out import GRID, Result, result_of
from isogloss.experiments.grid import SCALES, Cell, Choice, Experiment, cells_of
from isogloss.experiments.on_ray import Ray
from isogloss.experiments.published_numbers import printed_beside
from isogloss.experiments.registry import experiment
from isogloss.experiments.running import open_runs, run_jobs
from isogloss.experiments.workers import Here, Job, Processes, Workers
from isogloss.model.load import identify
from isogloss.outcomes import short_model
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

    @property
    def open_runs(self) -> list[tuple[Cell, ...]]:
        """The cells that are not done, those that share a training run together."""
        return open_runs(self.results)


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
    run_jobs(made.results, jobs, workers, at_once=settings.workers)
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
