"""The cells of a grid that are not done: carried out by workers, saying what is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import final

from isogloss.experiments.carrying_out import Result, result_of, write_result
from isogloss.experiments.grid import Cell
from isogloss.experiments.workers import Job, Outcome, Workers

NOTHING = (
    "its worker wrote nothing; do all workers see this folder under this path, and have they "
    "this version of Isogloss?"
)


def run_jobs(
    results: Sequence[Result],
    jobs: Sequence[Job],
    workers: Workers,
    *,
    at_once: int,
    minutes: float | None = None,
) -> None:
    """Carry out the jobs of a grid whose cells came to `results` so far.

    With `minutes`, no job begins that would probably end later; what is under way is finished.
    """
    watch = _Watch(results, jobs, at_once)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    try:
        for outcome in workers.run(watch.in_time(jobs, end)):
            if outcome.died:
                _give_up(outcome)
            watch.ended(outcome)
    except KeyboardInterrupt:
        watch.say_left()
        raise


def open_runs(results: Iterable[Result]) -> list[tuple[Cell, ...]]:
    """The cells that are not done, those that share a training run together."""
    groups: dict[str, list[Cell]] = {}
    for result in results:
        if result.state != "done":
            groups.setdefault(result.cell.training, []).append(result.cell)
    return [tuple(group) for group in groups.values()]


def _give_up(outcome: Outcome) -> None:
    """Write that a job's workers died: no process was left to do so."""
    reason = f"{outcome.died}; the same command goes on from the last checkpoint"
    for cell in outcome.job.cells:
        write_result(outcome.job.folder, cell, {"state": "failed", "error": reason, "seconds": 0.0})


@final
class _Watch:
    """Says on standard error what ended, what is left, and about how long that takes."""

    def __init__(self, results: Sequence[Result], jobs: Sequence[Job], at_once: int) -> None:
        self.cells = [result.cell for result in results]
        self.left, self.at_once = list(jobs), at_once
        done = sum(result.state == "done" for result in results)
        self._say(f"{len(results)} cells: {done} done, {len(results) - done} to do")
        if done and jobs:
            self._say(what_is_left(results, [job.cells for job in jobs], at_once))

    def in_time(self, jobs: Iterable[Job], end: float | None) -> Iterator[Job]:
        """The jobs that will probably end in time; all of them where there is no end."""
        for job in jobs:
            if end is not None:
                needed = time_left(self._results(job.folder), job.cells[:1], 1) or 0.0
                if time.monotonic() + needed >= end:
                    continue
            yield job

    def ended(self, outcome: Outcome) -> None:
        """Say what became of a job's cells."""
        self.left.remove(outcome.job)
        for cell in outcome.job.cells:
            result = result_of(outcome.job.folder, cell)
            said = (
                f"{result.value:.3f}"
                if result.value is not None
                else "failed: " + str(result.content.get("error", NOTHING)).partition("\n")[0]
            )
            share = f" {cell.share:.0%}" if cell.share != 1 else ""
            task = Path(cell.task).stem
            self._say(f"{cell.row}{share}, {task} {cell.language}, seed {cell.seed}: {said}")
        self.say_left()

    def say_left(self) -> None:
        """Say how many training runs are left, and for about how long where one can know."""
        if self.left:
            results = self._results(self.left[0].folder)
            self._say(what_is_left(results, [job.cells for job in self.left], self.at_once))

    def _results(self, folder: Path) -> list[Result]:
        return [result_of(folder, cell) for cell in self.cells]

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
