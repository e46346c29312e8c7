"""One training run of a grid and the cells that are scored from it, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isogloss import evaluating, judging, selecting
from isogloss.errors import IsoglossError, RunError
from isogloss.experiments.grid import Cell
from isogloss.runs import Json, read_json_file, write_json_file
from isogloss.settings import EvaluateSettings, TrainSettings, settings_from

GRID, CELLS, RUNS = "grid.json", "cells", "runs"


@dataclass(frozen=True)
class Result:
    """What became of a cell: `done` with its scores' folders, `failed` with why, or `left`."""

    cell: Cell
    state: Literal["done", "failed", "left"]
    content: Json

    @property
    def value(self) -> float | None:
        """The task's metric in [0, 1], where the cell is done."""
        return self.content.get("value")

    @property
    def seconds(self) -> float:
        """How long the cell took, its training included."""
        return float(self.content.get("seconds", 0.0))


def result_of(folder: Path, cell: Cell) -> Result:
    """What a grid's folder says of a cell."""
    path = folder / CELLS / f"{cell.key}.json"
    if not path.is_file():
        return Result(cell, "left", {})
    try:
        content = read_json_file(path)
    except RunError:
        return Result(cell, "left", {})  # cut off while it was written
    state: Literal["done", "failed"] = "done" if content.get("state") == "done" else "failed"
    return Result(cell, state, content)


def carry_out(
    folder: Path, cells: Sequence[Cell], place: dict[str, Any], *, judged: bool = False
) -> None:
    """Train the run that the cells share, score each, and write what became of them.

    `place`: settings that do not decide numbers, of both commands: data, device. What a user can
    mend is written as the cells' failure, and the grid goes on. With `judged`, the run is scored
    on held-out items too, see `isogloss.judging`.
    """
    begun = time.time()
    try:
        settings = _train_settings(folder, cells[0], place)
        run = selecting.train(settings)
        if judged:
            judging.judge(settings, run)
    except Exception as error:  # whatever it is, the rest of the grid goes on
        for cell in cells:
            write_result(folder, cell, _failed(error, begun))
        return
    for cell in cells:
        started = time.time()
        try:
            asked = {"run": str(run.folder), **place, **cell.evaluate}
            scores = evaluating.evaluate(settings_from(EvaluateSettings, asked))
        except Exception as error:
            write_result(folder, cell, _failed(error, started))
            continue
        where = {
            "state": "done",
            "run": str(run.folder.relative_to(folder)),
            "evaluation": str(scores.folder.relative_to(run.folder)),
            "seconds": round(time.time() - (begun if cell is cells[0] else started), 1),
            "trained_seconds": run.record["seconds"],
        }
        write_result(
            folder, cell, where | {name: scores.content[name] for name in ("metric", "value")}
        )


def _train_settings(folder: Path, cell: Cell, place: dict[str, Any]) -> TrainSettings:
    own = {
        "task": cell.task,
        "model": cell.model,
        "target": cell.language,
        "seed": cell.seed,
        "share": cell.share,
        "out": folder / RUNS,
    }
    return settings_from(TrainSettings, {**place, **cell.train, **own})


def _failed(error: Exception, begun: float) -> Json:
    kind = "" if isinstance(error, IsoglossError) else f"{type(error).__name__}: "
    reason = f"{kind}{str(error).strip() or 'no reason given'}"
    return {"state": "failed", "error": reason, "seconds": round(time.time() - begun, 1)}


def write_result(folder: Path, cell: Cell, content: Json) -> None:
    """Keep what became of a cell."""
    write_json_file(folder / CELLS / f"{cell.key}.json", cell.place | content)
