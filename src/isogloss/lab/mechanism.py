"""The mechanism in the lab: gradient alignment before and during learning, and what raises it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from isogloss.errors import no_such
from isogloss.experiments.analyses.analysis import Findings, keep
from isogloss.experiments.mechanism.during import Course
from isogloss.experiments.mechanism.measuring import Plan, measured
from isogloss.lab.making import PARALLEL, write_world
from isogloss.lab.shipped import DIALS
from isogloss.lab.studies import IN_CONTEXT, PROMPT
from isogloss.lab.studying import SEEDS, SIZES, WORLD, one_world, place_of
from isogloss.lab.tasks import TASKS

NAME, SECTION = "lab mechanism", "3, 5.2"
TITLE = "Does gradient alignment carry the transfer, in the lab?"
STEPS = (10, 30, 60, 120, 240)
TRAIN = {"cl-icp": IN_CONTEXT, "mtl-prompt": PROMPT}


@final
@dataclass(frozen=True)
class MechanismPlan:
    """What is measured: lab tasks by lab models, and `runs` of studies for what was gained.

    `steps`: updates of the runs of CL-ICP and MTL that are met, each with every seed; none leaves
    that out. `items` of a language are met everywhere.
    """

    tasks: tuple[str, ...] = ("span", "label", "choice")
    models: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()
    steps: tuple[int, ...] = STEPS
    seeds: tuple[int, ...] = SEEDS
    items: int = 40


def mechanism(plan: MechanismPlan, folder: Path) -> Findings:
    """Measure what is not measured yet, and write analysis.json and the figures.

    Raises:
        IsoglossError: a task or model that there is not, or a folder of other things.
    """
    known = [task.name for task in TASKS]
    for name in plan.tasks:
        if name not in known:
            raise no_such("task", name, known)
    models = [place_of(model) for model in plan.models or DIALS]
    world = one_world(models)
    write_world(folder / WORLD, world, SIZES)
    tasks = tuple(str(folder / WORLD / "tasks" / name) for name in plan.tasks)
    courses = tuple(
        Course(
            task=task,
            target=world.codes[1],
            model=str(model),
            steps=plan.steps,
            seeds=plan.seeds,
            items=plan.items,
            train={method: _without_epochs(given) for method, given in TRAIN.items()},
            place={"device": "cpu"},
        )
        for model in models
        for task in tasks
    )
    text = (folder / WORLD / PARALLEL,)
    asked = Plan(plan.runs, courses, tasks, plan.items, plan.seeds[0], parallel=text, device="cpu")
    found = measured(asked, folder)
    keep(found, folder, (NAME, TITLE, SECTION))
    return found


def _without_epochs(given: Mapping[str, Any]) -> dict[str, Any]:
    """A run ends by its updates."""
    return {name: value for name, value in given.items() if name != "epochs"}
