"""Which methods are compared: those named, or all that fit the task, its data and the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, IsoglossError
from isogloss.experiments.grid import Cell
from isogloss.jobs import prepare
from isogloss.judging import held_out_folds
from isogloss.methods.method import Method
from isogloss.methods.registry import METHODS, method
from isogloss.model.load import identify
from isogloss.settings import CompareSettings, TrainSettings, settings_from
from isogloss.tasks.benchmarks import BENCHMARKS
from isogloss.tasks.example import Task

AUTO, ZERO_SHOT = "auto", "zero-shot"
COMMON = (  # settings of every run, as the user gave them
    *("limit", "too_long", "max_length", "chat", "folds", "wording", "split_rule"),
    *("raw_questions", "dtype", "attention", "quantization", "remote_code"),
)
TRAINING = ("epochs", "choose")  # of methods that train


@final
@dataclass(frozen=True)
class Planned:
    """The methods to compare in their order, why others are left out, and the cells to run."""

    task: Task
    methods: tuple[str, ...]
    left_out: dict[str, str]
    cells: tuple[Cell, ...]


def plan_methods(settings: CompareSettings) -> Planned:
    """The comparison that the settings ask for; nothing is run.

    Raises:
        IsoglossError: about task, data or model; or a named method does not fit.
    """
    task = _checked(settings)
    named = AUTO not in settings.methods
    wanted = _ordered(task, settings.methods if named else METHODS)
    fitting, left_out = [], {}
    for name in wanted:
        try:
            prepare(run_settings(settings, name, settings.seeds[0], task))
            fitting.append(name)
        except IsoglossError as error:
            if named:
                raise
            left_out[name] = str(error).partition("\n")[0]
    cells = _cells(settings, task, fitting)
    return Planned(task, tuple(fitting), left_out, tuple(cells))


def _checked(settings: CompareSettings) -> Task:
    """The task, once all that has nothing to do with a method is known to be in order."""
    for name in settings.methods:
        if name != AUTO:
            method(name, "", "choice")
    if AUTO in settings.methods and len(settings.methods) > 1:
        others = ", ".join(name for name in settings.methods if name != AUTO)
        raise ConfigError(
            f"methods has auto, which is all that fit, and {others}; give one or other"
        )
    options = {each: getattr(settings, each) for each in COMMON}
    place = {"task": settings.task, "model": settings.model, "target": settings.target}
    where = {"data": settings.data, "device": settings.device, "share": settings.share}
    plain = settings_from(TrainSettings, options | place | where | {"method": ZERO_SHOT})
    task = prepare(plain).task
    for seed in settings.seeds:
        held_out_folds(task, replace(plain, seed=seed))
    return task


def _ordered(task: Task, names: Iterable[str]) -> list[str]:
    """Cheap methods first: those that train nothing, then few parameters, then all of them."""
    made = {name: method(name, task.name, task.kind) for name in dict.fromkeys((ZERO_SHOT, *names))}
    known = list(METHODS)

    def cost(name: str) -> tuple[bool, bool, int]:
        one: Method = made[name]
        return bool(one.stages), one.tune.whole_model, known.index(name)

    return sorted(made, key=cost)


def run_settings(settings: CompareSettings, name: str, seed: int, task: Task) -> TrainSettings:
    """The settings of a method's run, as `isogloss train` has them."""
    place = {
        "task": settings.task,
        "model": settings.model,
        "target": settings.target,
        "seed": seed,
        "share": settings.share,
        "data": settings.data,
        "device": settings.device,
    }
    return settings_from(TrainSettings, place | _given(settings, name, task))


def _given(settings: CompareSettings, name: str, task: Task) -> dict[str, Any]:
    """What the user gave of a method's settings, beside where its cell stands."""
    trains = bool(method(name, task.name, task.kind).stages)
    names = COMMON + (TRAINING if trains else ())
    given = {each: getattr(settings, each) for each in names}
    return {"method": name} | {k: v for k, v in given.items() if v not in (None, ())}


def _cells(settings: CompareSettings, task: Task, names: Sequence[str]) -> list[Cell]:
    """All methods with the first seed, then with the next: a whole table stands early."""
    own = settings.task not in BENCHMARKS and Path(settings.task).exists()
    place = str(Path(settings.task).resolve()) if own else settings.task
    fingerprint = identify(settings.model, remote_code=settings.remote_code)
    return [
        Cell(
            row=name,
            model=settings.model,
            task=place,
            language=settings.target,
            seed=seed,
            share=settings.share,
            train=_given(settings, name, task),
            evaluate={"too_long": settings.too_long},
            fingerprint=fingerprint,
        )
        for seed in settings.seeds
        for name in names
    ]
