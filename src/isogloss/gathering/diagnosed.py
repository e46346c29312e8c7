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
            task=content["task"],
            source=str(content["source"]),
            target=str(content["target"]),
            method=content["method"],
            where=str(now["where"]),
            layers=_layers(now),
            after=_layers(after["closeness"]) if after else (),
            findings=_said(content["findings"]),
            findings_after=_said(content["findings_after"]),
        )
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{path}: found no {error} where a diagnosis has it; make it again with "
            "`isogloss diagnose`"
        ) from None


def _layers(closeness: Json) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            int(each["layer"]),
            *(Interval(**each[name]) for name in ("deviation", "centred", "retrieval")),
        )
        for each in closeness["layers"]
    )


def _said(findings: Any) -> tuple[Said, ...]:
    return tuple(
        Said(each["question"], each["answer"], tuple(each["sentences"])) for each in findings
    )
