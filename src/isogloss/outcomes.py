"""What a system answered, read back from run folders: the values that tables are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isogloss.errors import RunError
from isogloss.evaluating import COLUMNS
from isogloss.runs import PREDICTIONS, SCORES, read_json_file, read_lines


@dataclass(frozen=True)
class Place:
    """Where in a table an outcome stands: the system's row, and what it was scored on."""

    row: str
    model: str
    task: str
    language: str
    share: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """One system's answers under one seed: each metric's value in [0, 1] by item."""

    place: Place
    seed: int
    metric: str
    values: Mapping[str, Mapping[str, float]]
    folder: Path


@dataclass(frozen=True)
class Failure:
    """A run that gave no answers, and why."""

    place: Place
    seed: int
    reason: str


def read_outcome(place: Place, folder: Path) -> Outcome:
    """The outcome of an evaluation's folder, or of a run's with its main scores.

    Raises:
        RunError: the scores or the predictions are missing or damaged.
    """
    scores = read_json_file(folder / SCORES)
    entries = read_lines(folder / PREDICTIONS)
    if len(entries) != scores.get("items"):
        raise RunError(
            f"{folder / PREDICTIONS}: found {len(entries)} predictions; expected "
            f"{scores.get('items')}, as scores.json says; evaluate the run again with --force"
        )
    metrics = [name for name in scores["metrics"] if COLUMNS.get(name, name) in entries[0]]
    values = {
        name: {entry["id"]: float(entry[COLUMNS.get(name, name)]) for entry in entries}
        for name in metrics
    }
    return Outcome(place, int(scores["seed"]), scores["metric"], values, folder)
