"""`isogloss compare`: every method that fits, one table, and the run to use."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, final

from isogloss import processes
from isogloss.comparing.choosing import Judged, Recommendation, Score, held_out_scores, recommend
from isogloss.comparing.planning import ZERO_SHOT, Planned, plan_methods
from isogloss.errors import ConfigError, RunError
from isogloss.experiments.carrying_out import GRID, Result, result_of
from isogloss.experiments.running import open_runs, run_jobs
from isogloss.experiments.workers import Here, Job, Processes
from isogloss.gathering.folders import gather
from isogloss.gathering.grid import Gathered
from isogloss.judging import HELD_OUT, HeldOut, read_held_out
from isogloss.outcomes import Outcome, short_model
from isogloss.reporting.rendering import marks
from isogloss.reporting.tables import Cell, Table, score_table
from isogloss.runs import CLAIM, Json, Run, read_json_file, write_json_file
from isogloss.selecting import SELECTION
from isogloss.settings import CompareSettings

COMPARISON, BEST, WHY = "comparison.json", "best", "why.json"
FACTS = ("seconds", "trained_parameters", "added_tokens")


@final
@dataclass(frozen=True)
class Compared:
    """A comparison: one row a method, and the run that is recommended, copied to `best`.

    `rows` hold, beside the method, its score on test items with low, high and marks, that on
    held-out ones, seconds of training, trained parameters, added tokens and seeds; `left_out` says
    of other methods why.
    """

    title: str
    folder: Path
    rows: tuple[Json, ...]
    left_out: Mapping[str, str]
    recommendation: Recommendation | None
    results: tuple[Result, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Run | None:
        """The recommended run's copy, for `evaluate` and `predict`."""
        return Run(self.folder / BEST) if self.recommendation else None

    @property
    def content(self) -> Json:
        """As in comparison.json."""
        found = self.recommendation
        recommended = found and {
            "method": found.method,
            "seed": found.seed,
            "run": str(found.run.folder),
            "best": str(self.folder / BEST),
            "why": found.why,
        }
        left = sum(result.state == "left" for result in self.results)
        return {
            "title": self.title,
            "folder": str(self.folder),
            "rows": list(self.rows),
            "recommended": recommended,
            "left_out": dict(self.left_out),
            "runs_left": left,
            "notes": list(self.notes),
        }

    def to_frame(self) -> Any:
        """The rows as a pandas frame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{row['method']}</th><td>{_three(row['score'])}</td>"
            f"<td>{_three(row['held_out'])}</td></tr>"
            for row in self.rows
        )
        why = self.recommendation.why if self.recommendation else ""
        head = "<tr><th>method</th><th>test</th><th>held out</th></tr>"
        return f"<table><caption>{why}</caption>{head}{body}</table>"


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def compare(settings: CompareSettings) -> Compared:
    """Carry out the runs that are not done, and recommend one; failed ones are tried again.

    Raises:
        IsoglossError: about task, data, model or a named method; a run that fails does not stop
            the others.
    """
    processes.alone("compare")
    planned = plan_methods(settings)
    folder = _folder(settings, planned)
    results = [result_of(folder, cell) for cell in planned.cells]
    if not settings.plan:
        write_json_file(folder / GRID, _grid(settings, planned))
        place: dict[str, Any] = {"data": settings.data, "device": settings.device}
        jobs = [Job(folder, cells, place, judged=True) for cells in open_runs(results)]
        workers = Processes(settings.workers) if settings.workers > 1 else Here()
        run_jobs(results, jobs, workers, at_once=settings.workers, minutes=settings.minutes)
        results = [result_of(folder, cell) for cell in planned.cells]
    compared = _compared(_title(settings, planned), folder, planned, results)
    if not settings.plan:
        _keep_best(compared)
        write_json_file(folder / COMPARISON, compared.content)
    return compared


def _folder(settings: CompareSettings, planned: Planned) -> Path:
    name = f"{planned.task.name}-{settings.target}-{Path(short_model(settings.model)).name}"
    folder = settings.out or Path("comparisons") / name
    if folder.is_dir() and any(folder.iterdir()) and not (folder / GRID).is_file():
        raise ConfigError(
            f"--out is {folder}, which holds other files than a comparison's; give a new or empty "
            "folder"
        )
    return folder


def _title(settings: CompareSettings, planned: Planned) -> str:
    return f"{planned.task.name}, {planned.task.dominant} to {settings.target}"


def _grid(settings: CompareSettings, planned: Planned) -> Json:
    return {
        "experiment": "compare",
        "title": _title(settings, planned),
        "cells": [{"key": cell.key, **asdict(cell)} for cell in planned.cells],
        "left_out": planned.left_out,
    }


# ---- what came of it ---------------------------------------------------------------------------


def _compared(title: str, folder: Path, planned: Planned, results: Sequence[Result]) -> Compared:
    judged = _judged(folder, results)
    done = any(result.state != "left" for result in results)
    gathered = gather([folder]) if done else Gathered(())
    cells = _cells(score_table(gathered, baseline=ZERO_SHOT))
    scores = held_out_scores(judged)
    rows = tuple(
        _row(name, cells.get(name), scores.get(name), _outcomes(gathered, name))
        for name in planned.methods
    )
    tests = {name: cell.baseline for name, cell in cells.items() if cell.baseline}
    found = recommend(judged, planned.task.metric, tests)
    return Compared(title, folder, rows, planned.left_out, found, tuple(results), gathered.notes)


def _judged(folder: Path, results: Sequence[Result]) -> Judged:
    """The runs that are done with their scores on held-out items, by method and seed."""
    found: dict[str, dict[int, tuple[Run, HeldOut]]] = {}
    for result in results:
        if result.state == "done":
            run = Run(folder / result.content["run"])
            by_seed = found.setdefault(result.cell.row, {})
            by_seed[result.cell.seed] = (run, read_held_out(run))
    return found


def _cells(table: Table | None) -> dict[str, Cell]:
    """A table's cells of its only column, by row."""
    return {line.row: cell for (line, _), cell in table.cells.items()} if table else {}


def _outcomes(gathered: Gathered, name: str) -> list[Outcome]:
    return [each for each in gathered.outcomes if each.place.row == name]


def _row(name: str, cell: Cell | None, held_out: Score | None, outcomes: Sequence[Outcome]) -> Json:
    estimate = cell and cell.estimate
    return {
        "method": name,
        "state": cell.state if cell else "not run",
        "score": estimate and estimate.value,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "marks": marks(replace(cell, best_baseline=None)) if cell else "",
        "rank": cell.rank if cell else None,
        "held_out": held_out and held_out.value,
        **{fact: _mean([each.facts.get(fact) for each in outcomes]) for fact in FACTS},
        "seeds": sorted(each.place.seed for each in outcomes),
        "chosen": sorted({str(each.facts["chosen"]) for each in outcomes}),
        "reasons": list(cell.reasons) if cell else [],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


def _keep_best(compared: Compared) -> None:
    """Copy the recommended run to `best`, whole or not at all, with why."""
    best, found = compared.folder / BEST, compared.recommendation
    if found is None:
        return
    if _says(best, found):
        return
    copy = compared.folder / f".{BEST}"
    try:
        shutil.rmtree(copy, ignore_errors=True)
        ignored = shutil.ignore_patterns(HELD_OUT, SELECTION, CLAIM)
        shutil.copytree(found.run.folder, copy, ignore=ignored)
        write_json_file(copy / WHY, _why(found))
        shutil.rmtree(best, ignore_errors=True)
        copy.rename(best)
    except OSError as error:
        raise RunError(f"cannot write {best}: {error.strerror or error}") from error


def _says(best: Path, found: Recommendation) -> bool:
    """Whether the copy is there, of this run and for this reason."""
    return (best / WHY).is_file() and read_json_file(best / WHY) == _why(found)


def _why(found: Recommendation) -> Json:
    key = found.run.record["key"]
    return {"method": found.method, "seed": found.seed, "key": key, "why": found.why}
