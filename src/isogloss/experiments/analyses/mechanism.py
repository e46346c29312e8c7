"""The mechanism: gradient alignment before, during and by what the demonstrations are (5.2)."""

from __future__ import annotations

from pathlib import Path

from isogloss.errors import ConfigError
from isogloss.experiments.analyses.analysis import LANGUAGES, Analysis, Findings
from isogloss.experiments.mechanism.during import Course
from isogloss.experiments.mechanism.measuring import Plan, measured
from isogloss.settings import ReproduceSettings
from isogloss.tasks.benchmarks import BENCHMARKS

ITEMS = {"smoke": 24, "small": 64, "paper": 200}
STEPS = {"smoke": (), "small": (10, 40, 160), "paper": (10, 40, 160, 500)}
"""Updates of the runs that are met while learning; at smoke none is trained."""


def make(settings: ReproduceSettings, folder: Path) -> Findings:
    """What the settings give material for: runs, models, or both."""
    if not (settings.runs or settings.models):
        raise ConfigError(
            "nothing to measure: give --models for demonstrations and learning, --runs with "
            "evaluated runs for what was gained, or both"
        )
    tasks = settings.tasks or ("xcopa", "xnli")
    items = settings.limit or ITEMS[settings.scale]
    seeds = settings.seeds or (42,)
    courses = tuple(
        Course(
            task=task,
            target=target,
            model=model,
            steps=STEPS[settings.scale],
            seeds=seeds,
            items=items,
            place={"data": settings.data, "device": settings.device, "dtype": settings.dtype},
        )
        for model in settings.models
        for task in tasks
        for target in _targets(task, settings)
    )
    plan = Plan(
        runs=settings.runs,
        courses=courses,
        tasks=tasks,
        items=items,
        seed=seeds[0],
        data=settings.data,
        dtype=settings.dtype,
        device=settings.device,
    )
    return measured(plan, folder)


def _targets(task: str, settings: ReproduceSettings) -> tuple[str, ...]:
    if task not in BENCHMARKS and not settings.targets:
        raise ConfigError(f"{task} is a task of your own: give --targets with its languages")
    known = LANGUAGES.get(task, settings.targets)
    found = tuple(code for code in known if not settings.targets or code in settings.targets)
    if not found:
        raise ConfigError(
            f"mechanism has no {task} in {', '.join(settings.targets)}; it has {', '.join(known)}"
        )
    return found


MECHANISM = Analysis(
    "mechanism",
    "Does gradient alignment carry the transfer?",
    "3, 5.2",
    make,
    ("models", "runs", "tasks", "targets", "limit", "seeds"),
)
