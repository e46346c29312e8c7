"""`isogloss tasks`: list the tasks, show one's sizes and prompts, check one's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from isogloss.cli.output import print_json, print_table, say
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.encoding import SEPARATOR
from isogloss.errors import DataError
from isogloss.languages import check_language
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings
from isogloss.tasks.example import Task
from isogloss.tasks.opening import open_task
from isogloss.tasks.own_data import check_task
from isogloss.tasks.splits import Split, make_split


@dataclass(frozen=True)
class ListSettings:
    """List the benchmarks."""

    json: bool = False
    """Print one JSON list and nothing else on standard output."""


@dataclass(frozen=True)
class ShowSettings:
    """Show a task's sizes and three rendered prompts."""

    task: tyro.conf.Positional[str]
    """A benchmark (xquad, xcopa, xnli) or the YAML file of your own task."""
    target: str
    """Code of the non-dominant language."""
    data: str | None = None
    """Folder of the benchmark's files, or 'hub'. Without it: $ISOGLOSS_DATA, then ./data."""
    demonstrations: int = 1
    """Demonstrations in the shown prompts."""
    seed: int = 42
    """Decides splits and demonstrations."""
    wording: str = "default"
    """Wording of a benchmark's prompts: default or harness."""
    split_rule: Literal["article", "paper"] = "article"
    """XQuAD: hold out whole articles, or 238 questions at random."""
    raw_questions: bool = False
    """XCOPA: keep the release's wrong `question` fields."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


@dataclass(frozen=True)
class CheckSettings:
    """Check your own task's YAML and all its files, and say every problem at once."""

    task: tyro.conf.Positional[Path]
    """The task's YAML file."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


TasksCommand = (
    Annotated[ListSettings, tyro.conf.subcommand("list")]
    | Annotated[ShowSettings, tyro.conf.subcommand("show")]
    | Annotated[CheckSettings, tyro.conf.subcommand("check")]
)


@dataclass(frozen=True)
class TasksSettings:
    """List tasks, show one's prompts, or check your own task's files."""

    command: TasksCommand


def run(settings: TasksSettings) -> None:
    """Carry out one of the three."""
    command = settings.command
    if isinstance(command, ShowSettings):
        show(command)
    elif isinstance(command, CheckSettings):
        check(command)
    else:
        list_tasks(command)


def list_tasks(settings: ListSettings) -> None:
    """Print the benchmarks."""
    rows = [{"name": name, "about": about} for name, about in BENCHMARKS.items()]
    if settings.json:
        print_json(rows)
        return
    print_table("tasks (or give the YAML file of your own)", rows, ("name", "about"))


def show(settings: ShowSettings) -> None:
    """Print sizes and three prompts."""
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    check_language(settings.target, task.languages, task.name)
    split = make_split(task, settings.target, seed=settings.seed)
    sizes = {
        f"{task.dominant} train (D_s)": len(split.dominant),
        f"{settings.target} train (D_t)": len(split.target),
        f"{settings.target} validation": len(split.validation),
        f"{settings.target} test": len(split.test),
    }
    prompts = _prompts(task, split, settings)
    if settings.json:
        print_json(
            {"name": task.name, "sizes": sizes, "notes": dict(split.notes), "prompts": prompts}
        )
        return
    say(f"{task.name}: {task.kind}, {task.metric}, languages {', '.join(task.languages)}")
    for name, count in [*sizes.items(), *split.notes.items()]:
        say(f"{name}: {count}")
    for number, prompt in enumerate(prompts, start=1):
        say(f"--- prompt {number}, item {prompt['id']} ---")
        say(f"{prompt['prompt']}[{prompt['answer']}]")


def _prompts(task: Task, split: Split, settings: ShowSettings) -> list[dict[str, str]]:
    """The first three test items as a model meets them, the answer apart."""
    pool = Pool(split.dominant, split.target)
    chosen = Demonstrations(settings.demonstrations, test_sets=0)
    prompts = []
    for group in test_groups(split.test[:3], pool, chosen, seed=settings.seed):
        solved = [task.render(item) for item in group.demonstrations]
        front = "".join(sample.input + sample.answer + SEPARATOR for sample in solved)
        for item in group.targets:
            sample = task.render(item)
            prompts.append({"id": item.id, "prompt": front + sample.input, "answer": sample.answer})
    return prompts


def check(settings: CheckSettings) -> None:
    """Print every problem, or the sizes where there is none.

    Raises:
        DataError: with all problems.
    """
    task, problems, sizes = check_task(settings.task)
    if settings.json:
        print_json(
            {
                "name": task.name if task else None,
                "problems": [vars(problem) for problem in problems],
                "sizes": sizes,
            }
        )
    elif sizes:
        print_table(f"{settings.task}", sizes, ("language", "split", "items", "file"))
    if problems:
        raise DataError(problems)
    if not settings.json:
        say("no problems found")
