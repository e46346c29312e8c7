"""A study of the lab carried out: its world written, its cells run, its report made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, RunError, no_such, suggestion
from isogloss.experiments.carrying_out import GRID, result_of
from isogloss.experiments.grid import Cell, Experiment, Row
from isogloss.experiments.reproducing import Reproduction
from isogloss.experiments.running import open_runs, run_jobs
from isogloss.experiments.workers import Here, Job, Processes
from isogloss.lab.making import write_world
from isogloss.lab.shipped import DIALS, shipped, world_of
from isogloss.lab.studies import STUDIES, Study
from isogloss.lab.tasks import TASKS, TaskSizes
from isogloss.lab.world import World
from isogloss.model.load import identify
from isogloss.reporting.making import Report, ReportOptions, report
from isogloss.runs import write_json_file

WORLD, REPORT = "world", "report"
SEEDS = tuple(range(42, 52))
SIZES = TaskSizes(test_items=2000)
ANSWER_TOKENS = 4  # an answer of the lab is one word


@final
@dataclass(frozen=True)
class StudyPlan:
    """What of a study is run.

    `models` are places of the dial, or folders of lab models of one world but for its dial;
    `rows` and `shares` of the study, all of them where none are named.
    """

    task: str = "label"
    models: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    sizes: TaskSizes = SIZES
    workers: int = 1

    def __post_init__(self) -> None:
        for share in self.shares:
            if not 0 < share <= 1:
                raise ConfigError(f"share is {share}; it must be above 0 and at most 1")


def study(name: str, plan: StudyPlan, folder: Path) -> Reproduction:
    """Carry out every cell of a study that is not done yet; failed ones are tried again.

    Raises:
        IsoglossError: a name that there is not, models of different worlds, or a folder of other
            things; a cell that fails does not stop the others.
    """
    chosen = STUDIES[name]
    if plan.task not in [task.name for task in TASKS]:
        raise no_such("task", plan.task, [task.name for task in TASKS])
    rows = _named(chosen, plan.rows)
    shares = tuple(dict.fromkeys(plan.shares or chosen.shares))
    plan = replace(plan, shares=shares, seeds=tuple(dict.fromkeys(plan.seeds)))
    models = list(dict.fromkeys(place_of(model) for model in plan.models or chosen.dials))
    world = one_world(models)
    write_world(folder / WORLD, world, plan.sizes)
    task = str(folder / WORLD / "tasks" / plan.task)
    cells = _cells(chosen, plan, (rows, models), task)
    experiment = Experiment(
        name=f"lab {name}",
        title=chosen.title,
        section=chosen.section,
        rows=chosen.rows,
        languages={plan.task: (world.codes[1],)},
        baseline=chosen.baseline,
        shares=plan.shares,
    )
    _keep(folder, experiment, cells)
    results = [result_of(folder, cell) for cell in cells]
    jobs = [Job(folder, each, {"device": "cpu"}) for each in open_runs(results)]
    workers = Processes(plan.workers) if plan.workers > 1 else Here()
    run_jobs(results, jobs, workers, at_once=plan.workers)
    return Reproduction(experiment, folder, tuple(result_of(folder, cell) for cell in cells))


def report_of(made: Reproduction) -> Report:
    """The study's page, tables and figures, in its folder's `report`.

    Raises:
        RunError: nothing was run, or the report cannot be written.
    """
    baseline = made.experiment.baseline
    asked = {result.cell.row for result in made.results}
    options = ReportOptions(made.experiment.title, baseline if baseline in asked else None)
    return report([made.folder], made.folder / REPORT, options)


def place_of(model: str) -> Path:
    """The folder of a lab model: a shipped one by its place of the dial, or a folder.

    Raises:
        ConfigError: neither.
    """
    if model in DIALS:
        return shipped(model)
    if Path(model).is_dir():
        return Path(model).resolve()
    raise ConfigError(
        f"found no lab model '{model}'; give {', '.join(DIALS)} or a model's folder"
        + suggestion(model, DIALS)
    )


def one_world(models: Sequence[Path]) -> World:
    """The world of all models, which may differ in how its languages were tied; here untied."""
    worlds = [world_of(model) for model in models]
    told = [{**asdict(each.settings), "dial": 0, "tie": ""} for each in worlds]
    for model, one in zip(models, told, strict=True):
        if one != told[0]:
            names = [name for name, value in one.items() if value != told[0][name]]
            raise RunError(
                f"{model}: its world differs from that of {models[0]} in {', '.join(names)}; a "
                "study compares models of one world"
            )
    return World(replace(worlds[0].settings, dial=0.0, tie="mixed"))


def _cells(
    chosen: Study, plan: StudyPlan, asked: tuple[Sequence[Row], Sequence[Path]], task: str
) -> list[Cell]:
    """All models, shares and rows with the first seed, then with the next; each once."""
    rows, models = asked
    fingerprints = {model: identify(str(model)) for model in models}
    return [
        Cell(
            row=row.label,
            model=str(model),
            task=task,
            language="b",
            seed=seed,
            share=share,
            train=_train(row, matched=chosen.matched),
            evaluate={"max_new_tokens": ANSWER_TOKENS, **row.evaluate},
            fingerprint=fingerprints[model],
        )
        for seed in plan.seeds
        for model in models
        for share in plan.shares
        for row in rows
    ]


def _train(row: Row, *, matched: bool) -> dict[str, Any]:
    given = {"method": row.method, **row.train}
    return given | ({"match_steps": True} if matched else {})


def _named(chosen: Study, labels: Sequence[str]) -> list[Row]:
    known = {row.label: row for row in chosen.rows}
    for label in labels:
        if label not in known:
            raise no_such(f"row in lab {chosen.name}", label, list(known))
    return [row for row in chosen.rows if not labels or row.label in labels]


def _keep(folder: Path, experiment: Experiment, cells: Sequence[Cell]) -> None:
    """Write which cells there are, for the report and for a later command."""
    content = {
        "experiment": experiment.name,
        "title": experiment.title,
        "section": experiment.section,
        "cells": [{"key": cell.key, **asdict(cell)} for cell in cells],
        "published": [],
    }
    write_json_file(folder / GRID, content)
