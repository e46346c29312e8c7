"""Train, evaluate and predict from Python, with the names and settings of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isogloss import evaluating, layering, predicting, selecting
from isogloss.answering import Prediction
from isogloss.comparing import comparing
from isogloss.comparing.comparing import Compared
from isogloss.compiling import compiling
from isogloss.compiling.compiling import CompiledRun
from isogloss.corpus import LayerChoice
from isogloss.diagnosing import diagnosis as diagnosing
from isogloss.diagnosing.diagnosis import Diagnosis
from isogloss.errors import ConfigError, suggestion
from isogloss.evaluating import Scores
from isogloss.exporting import exporting
from isogloss.exporting.exporting import Exported
from isogloss.reporting import making
from isogloss.reporting.making import Report, ReportOptions
from isogloss.runs import Run
from isogloss.settings import (
    CompareSettings,
    CompileSettings,
    DiagnoseSettings,
    EvaluateSettings,
    ExportSettings,
    LayersSettings,
    PredictSettings,
    TrainSettings,
    settings_from,
)


def train(task: str | Path, *, model: str | Path, target: str, **options: Any) -> Run:
    """Train a method (CL-ICP, Section 5.2, by default) and give back its run.

    `options` are the settings of `TrainSettings`, the same as `isogloss train --help` lists with
    underscores for hyphens. `choose` may also be a mapping, `{"epochs": [3, 8]}`. A finished run
    of the same settings is given back as it is.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    named = {"task": str(task), "model": str(model), "target": target}
    if "choose" in options:
        options = options | {"choose": _choices(options["choose"])}
    return selecting.train(settings_from(TrainSettings, named | _paths(options)))


def evaluate(run: Run | str | Path, **options: Any) -> Scores:
    """Score a run on its test items; `options` are the settings of `EvaluateSettings`.

    Raises:
        IsoglossError: anything about the run, its model or data that stops the work.
    """
    return evaluating.evaluate(
        settings_from(EvaluateSettings, {"run": _folder(run)} | _paths(options))
    )


def predict(
    run: Run | str | Path, items: Sequence[Mapping[str, Any]], **options: Any
) -> list[Prediction]:
    """Answer new items, each a mapping with the task's fields.

    `options` are the settings of `PredictSettings`.

    Raises:
        IsoglossError: anything about the run or the items that stops the work.
    """
    settings = settings_from(PredictSettings, {"run": _folder(run)} | _paths(options))
    return predicting.predict(settings, items)


def compare(task: str | Path, *, model: str | Path, target: str, **options: Any) -> Compared:
    """Train all methods that fit a task with the same data and seeds, and recommend one.

    `options` are the settings of `CompareSettings`; the recommended run is `Compared.best`.

    Raises:
        IsoglossError: about task, data, model or a named method; a run that fails does not stop
            the others.
    """
    named = {"task": str(task), "model": str(model), "target": target}
    for name in ("methods", "seeds"):
        if name in options:
            options = options | {name: tuple(options[name])}
    if "choose" in options:
        options = options | {"choose": _choices(options["choose"])}
    return comparing.compare(settings_from(CompareSettings, named | _paths(options)))


def compile_run(run: Run | str | Path, *, out: str | Path, **options: Any) -> CompiledRun:
    """Bake a run's soft prompt and demonstrations into one prefix, a run folder of its own.

    `options` are the settings of `CompileSettings`; `demonstrations` is a file's path, `auto` or
    `from-run`. What comes back is a run for `evaluate` and `predict` (`CompiledRun.run`).

    Raises:
        IsoglossError: anything about the run, the demonstrations, the model or the folder that
            stops the work.
    """
    named = {"run": _folder(run), "out": out}
    if "demonstrations" in options:
        options = options | {"demonstrations": str(options["demonstrations"])}
    return compiling.compile_run(settings_from(CompileSettings, _paths(named | options)))


def layers(task: str | Path, *, model: str | Path, target: str, **options: Any) -> LayerChoice:
    """Where a model has two languages closest: L_to, L_back and the distance of each layer.

    `options` are the settings of `LayersSettings`.

    Raises:
        IsoglossError: anything about the settings, data or model that stops the work.
    """
    named = {"task": str(task), "model": str(model), "target": target}
    return layering.find_layers(settings_from(LayersSettings, named | _paths(options)))


def diagnose(
    model: str | Path | None = None, *, target: str | None = None, **options: Any
) -> Diagnosis:
    """How well two languages are aligned in a model, or in a run's (`run=...`).

    `options` are the settings of `DiagnoseSettings`.

    Raises:
        IsoglossError: anything about the settings, data, model or run that stops the work.
    """
    named = {"model": None if model is None else str(model), "target": target}
    if options.get("run") is not None:
        options = options | {"run": _folder(options["run"])}
    if "task" in options:
        options = options | {"task": str(options["task"])}
    if "parallel" in options:
        given = options["parallel"]
        paths = (given,) if isinstance(given, str | Path) else tuple(given)
        options = options | {"parallel": tuple(map(Path, paths))}
    return diagnosing.diagnose(settings_from(DiagnoseSettings, named | _paths(options)))


def report(*runs: Run | str | Path, out: str | Path = "report", **options: Any) -> Report:
    """Compare evaluated runs: one HTML page, tables, figures, and all numbers.

    Each of `runs` is a run, a folder with runs anywhere below it, or an experiment's folder.
    `options` are those of `ReportOptions`.

    Raises:
        IsoglossError: nothing to report, or runs that cannot be compared.
    """
    known = [each.name for each in dataclasses.fields(ReportOptions)]
    for name in options:
        if name not in known:
            raise ConfigError(f"no setting '{name}'{suggestion(name, known)}")
    folders = [Path(_folder(run)) for run in runs]
    return making.report(folders, Path(out), ReportOptions(**options))


def export(run: Run | str | Path, *, out: str | Path, **options: Any) -> Exported:
    """Write what a run learnt as a plain model folder; `options` are those of `ExportSettings`.

    Raises:
        IsoglossError: the run cannot be exported so, or the folder cannot be written.
    """
    named = {"run": _folder(run), "out": Path(out)}
    return exporting.export(settings_from(ExportSettings, named | _paths(options)))


def _folder(run: Run | str | Path) -> str:
    return str(run.folder if isinstance(run, Run) else run)


def _choices(given: Any) -> tuple[str, ...]:
    """What is to be chosen as the settings have it, whether given as text, texts or a mapping."""
    if isinstance(given, Mapping):
        return tuple(f"{name}={','.join(map(str, values))}" for name, values in given.items())
    return (given,) if isinstance(given, str) else tuple(given)


def _paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with places as the settings have them, whether given as text or as paths."""
    kinds = {"out": Path, "plot": Path, "data": str, "model": str, "prompt_file": str}
    return {
        name: kinds[name](value) if name in kinds and value is not None else value
        for name, value in options.items()
    }
