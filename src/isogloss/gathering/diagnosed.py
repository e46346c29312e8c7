"""Diagnoses beside the runs: what `isogloss diagnose` left in a folder, for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from isogloss.errors import RunError
from isogloss.intervals import Interval
from isogloss.runs import DIAGNOSIS, Json, read_json_file


@final
@dataclass(frozen=True)
class Layer:
    """A layer's cosine deviation and translation retrieval."""

    layer: int
    deviation: Interval
    centred: Interval
    retrieval: Interval


@final
@dataclass(frozen=True)
class Said:
    """A question, its answer and the sentences that give the numbers."""

    question: str
    answer: str
    sentences: tuple[str, ...]


@final
@dataclass(frozen=True)
class Diagnosed:
    """One diagnosis; with `method`, `after` and `findings_after` are the run's trained model."""

    folder: Path
    model: str
    task: str | None
    source: str
    target: str
    method: str | None
    where: str
    layers: tuple[Layer, ...]
    after: tuple[Layer, ...]
    findings: tuple[Said, ...]
    findings_after: tuple[Said, ...]

    @property
    def title(self) -> str:
        """Model, languages, task and method in a line."""
        told = [f"{self.model}: {self.source} to {self.target}", self.task, self.method]
        return ", ".join(part for part in told if part)


def read_diagnosed(folder: Path) -> Diagnosed:
    """The diagnosis in a folder.

    Raises:
        RunError: it cannot be read, or is none.
    """
    path = folder / DIAGNOSIS
    content = read_json_file(path)
    try:
        now, after = content["now"]["closeness"], content["after"]
        return Diagnosed(
            folder=folder,
            model=str(content["model"]),
            task=_name(content["task"]),
            source=str(content["source"]),
            target=str(content["target"]),
            method=_name(content["method"]),
            where=str(now["where"]),
            layers=_layers(now),
            after=_layers(after["closeness"]) if after else (),
            findings=_said(content["findings"]),
            findings_after=_said(content["findings_after"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else error
        raise RunError(
            f"{path}: cannot be read as a diagnosis ({found}); make it again with "
            "`isogloss diagnose`"
        ) from None


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _layers(closeness: Json) -> tuple[Layer, ...]:
    found = tuple(
        Layer(
            int(each["layer"]),
            *(_interval(each[name]) for name in ("deviation", "centred", "retrieval")),
        )
        for each in closeness["layers"]
    )
    if not found:
        raise ValueError("no layer")
    return found


def _interval(numbers: Json) -> Interval:
    value, low, high = (float(numbers[name]) for name in ("value", "low", "high"))
    return Interval(value, low, high, int(numbers["items"]))


def _said(findings: Any) -> tuple[Said, ...]:
    return tuple(
        Said(str(each["question"]), str(each["answer"]), _sentences(each["sentences"]))
        for each in findings
    )


def _sentences(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError(f"sentences that are a {type(found).__name__}")
    return tuple(map(str, found))
