"""What a diagnosis is made of: model, languages, task and text, checked before anything loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from isogloss.diagnosing.parallel_text import (
    LEAST,
    ParallelText,
    check_enough,
    from_files,
    from_task,
)
from isogloss.errors import ConfigError
from isogloss.finished import Opened, open_finished
from isogloss.languages import check_language
from isogloss.outcomes import short_model
from isogloss.settings import DiagnoseSettings
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Example, Task
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import Split, make_split, read_test


@final
@dataclass(frozen=True)
class Work:
    """A task and its data."""

    task: Task
    split: Split


@final
@dataclass(frozen=True)
class Case:
    """One diagnosis: `work` is a task with its split, None where only sentences are compared.

    `unseen`: held-out items of the target language. `opened`: the run, where it is one's.
    """

    model: str
    source: str
    target: str
    work: Work | None
    text: ParallelText
    unseen: tuple[Example, ...]
    opened: Opened | None
    folder: Path


def case_of(settings: DiagnoseSettings) -> Case:
    """The case that settings ask for.

    Raises:
        IsoglossError: anything about the settings, the data or the run that stops the work.
    """
    if settings.pairs < LEAST:
        raise ConfigError(f"pairs is {settings.pairs}; {LEAST} are the least that say anything")
    found = _case(settings)
    check_enough(len(found.text.own), found.text.where, "Give more parallel text with --parallel")
    return found


def _case(settings: DiagnoseSettings) -> Case:
    if settings.run is not None:
        return _case_of_run(settings, settings.run)
    assert settings.model is not None, "checked by the settings"
    assert settings.target is not None, "checked by the settings"
    if settings.task is None:
        source = settings.source or "en"
        _check_two(source, settings.target)
        if not settings.parallel:
            raise ConfigError(
                "no text to compare the languages by: give --task, or parallel text with --parallel"
            )
        text = from_files(settings.parallel, source, settings.target)
        folder = _folder(settings, settings.model, "text", settings.target)
        model = settings.model
        return Case(model, source, settings.target, None, text, (), None, folder)
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    if settings.source not in (None, task.dominant):
        raise ConfigError(
            f"source is '{settings.source}', but the dominant language of {task.name} is "
            f"'{task.dominant}'; leave --source out"
        )
    check_language(settings.target, task.languages, task.name)
    _check_two(task.dominant, settings.target)
    split = make_split(task, settings.target, seed=settings.seed)
    return Case(
        settings.model,
        task.dominant,
        settings.target,
        Work(task, split),
        _text(settings, task, split, settings.target),
        _unseen(settings, task, split, settings.target),
        None,
        _folder(settings, settings.model, task.name, settings.target),
    )


def _case_of_run(settings: DiagnoseSettings, run: str) -> Case:
    opened = open_finished(run, model=settings.model, data=settings.data, dtype=_dtype(settings))
    task, target = opened.task, opened.record["target"]
    return Case(
        opened.model_name,
        task.dominant,
        target,
        Work(task, opened.split),
        _text(settings, task, opened.split, target),
        _unseen(settings, task, opened.split, target),
        opened,
        settings.out or opened.run.folder,
    )


def _dtype(settings: DiagnoseSettings) -> str | None:
    return None if settings.dtype == "auto" else settings.dtype


def _check_two(source: str, target: str) -> None:
    if source == target:
        raise ConfigError(f"source and target are both '{source}'; give two languages")


def _text(settings: DiagnoseSettings, task: Task, split: Split, target: str) -> ParallelText:
    if settings.parallel:
        return from_files(settings.parallel, task.dominant, target)
    return from_task(task, split, settings.field)


def _unseen(
    settings: DiagnoseSettings, task: Task, split: Split, target: str
) -> tuple[Example, ...]:
    if settings.unseen == "none" or not settings.items:
        return ()
    if settings.unseen == "test":
        found = read_test(task, target, seed=settings.seed, limit=settings.items)
        return tuple(found.examples)
    fitting = [item for item in split.validation if item.language == target and item.answers]
    return tuple(fitting[: settings.items])


def _folder(settings: DiagnoseSettings, model: str, task: str, target: str) -> Path:
    if settings.out is not None:
        return settings.out
    return Path("diagnoses") / f"{Path(short_model(model)).name}-{task}-{target}"
