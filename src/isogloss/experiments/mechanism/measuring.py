"""All three measurements of the mechanism together, as rows, sentences and figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from isogloss.diagnosing.direction import items_of
from isogloss.diagnosing.states import PROBE, probe_prompt
from isogloss.experiments.analyses.analysis import Findings, kept
from isogloss.experiments.mechanism.before import (
    PREDICTORS,
    Probe,
    Start,
    foretold,
    number_of,
    starts,
)
from isogloss.experiments.mechanism.drawing import draw_kinds, draw_moments, draw_starts
from isogloss.experiments.mechanism.during import (
    Course,
    EqualLoss,
    Moment,
    at_equal_loss,
    moments,
    rows_of,
)
from isogloss.experiments.mechanism.kinds import KindMeasure, Material, by_kind
from isogloss.intervals import Interval
from isogloss.model.load import Dtype, ModelOptions, identify, load
from isogloss.outcomes import short_model
from isogloss.reporting.drawing import Drawing
from isogloss.runs import Json, key_of
from isogloss.staging import episode_encoder
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Example, Task
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split


@final
@dataclass(frozen=True)
class Plan:
    """What is measured: `runs` for what was gained, `courses` to train, and `tasks`.

    `courses` are one for each model, task and language; demonstrations of another task come from
    the next of `tasks`. `items` of a language are met in every measurement; `parallel` is text for
    the cosine deviation, the task's own where it is empty.
    """

    runs: tuple[Path, ...]
    courses: tuple[Course, ...]
    tasks: tuple[str, ...]
    items: int
    seed: int
    parallel: tuple[Path, ...] = ()
    data: str | None = None
    dtype: Dtype = "auto"
    device: str = "auto"


def measured(plan: Plan, folder: Path) -> Findings:
    """Measure what the plan has; what was measured before is not measured again.

    Raises:
        IsoglossError: anything about models, data or runs that stops the work.
    """
    begun = _starts(plan, folder)
    kinds: dict[str, list[KindMeasure]] = {}
    during: dict[str, list[Moment]] = {}
    for course in plan.courses:
        name = _name(course)
        if name in kinds:
            name = f"{course.model}, {course.task} {course.target}"
        kinds[name] = _kinds(plan, course, folder)
        if course.steps:
            during[name] = _moments(plan, course, folder)
    equal = {name: at_equal_loss(found) for name, found in during.items()}
    rows = [*_start_rows(begun), *_kind_rows(kinds)]
    rows += [{"of": name, **row} for name, found in during.items() for row in rows_of(found)]
    drawings: list[Drawing] = [draw_starts(begun)] if begun else []
    drawings += [draw_kinds(kinds)] if kinds else []
    drawings += [draw_moments(during)] if during else []
    correlations = foretold(begun) if begun else {}
    sentences = [
        *_start_sentences(correlations),
        *_kind_sentences(kinds),
        *_equal_sentences(equal),
    ]
    content: Json = {
        "starts": [asdict(each) for each in begun],
        "correlations": {
            method: {name: asdict(one) for name, one in numbers.items()}
            for method, numbers in correlations.items()
        },
        "kinds": {name: [asdict(each) for each in found] for name, found in kinds.items()},
        "moments": {name: [asdict(each) for each in found] for name, found in during.items()},
        "equal loss": {name: asdict(one) if one else None for name, one in equal.items()},
        "seed": plan.seed,
    }
    return Findings(tuple(rows), tuple(sentences), tuple(drawings), content)


def _starts(plan: Plan, folder: Path) -> list[Start]:
    if not plan.runs:
        return []

    def keep(name: str, asked: Json, measure: Callable[[], Any]) -> Json:
        return kept(folder / "parts" / f"start-{name}.json", asked, measure)

    probe = Probe(plan.items, plan.seed, plan.parallel, folder, keep)
    return starts(plan.runs, probe)


def _moments(plan: Plan, course: Course, folder: Path) -> list[Moment]:
    """Each seed's moments are kept on their own, so that work that is cut off goes on."""
    found: list[Moment] = []
    for seed in course.seeds:
        own = dataclasses.replace(course, seeds=(seed,))
        asked = asdict(own) | {"model": identify(course.model), "place": {}}
        asked = json.loads(json.dumps(asked, default=str))
        name = f"during-{_short(course)}-{seed}.json"

        def measure(own: Course = own) -> Json:
            return {"moments": [asdict(each) for each in moments(own, folder)]}

        content = kept(folder / "parts" / name, asked, measure)
        found += [Moment(**each) for each in content["moments"]]
    return found


def _kinds(plan: Plan, course: Course, folder: Path) -> list[KindMeasure]:
    other = _other(plan, course)
    asked: Json = {"model": identify(course.model), "task": course.task, "target": course.target}
    asked |= {"items": plan.items, "seed": plan.seed, "other": other, "dtype": plan.dtype}

    def measure() -> Json:
        loaded = load(course.model, ModelOptions(plan.dtype, plan.device))
        task, dominant, targets = _read(plan, course.task, course.target)
        _, chosen = items_of(dominant, targets, plan.items, seed=plan.seed)
        shown = _shown(plan, other, course.target) if other else None
        plain = episode_encoder(task, loaded, None, False, None)
        encoder = dataclasses.replace(plain.encoder, prompt_length=PROBE.length)
        prompt = probe_prompt(loaded, plan.seed)
        material = Material(task, dominant, chosen, shown)
        longest = plain.longest
        found = by_kind(loaded, encoder, material, prompt, longest=longest, seed=plan.seed)
        return {"kinds": [asdict(each) for each in found]}

    content = kept(folder / "parts" / f"kinds-{_short(course)}.json", asked, measure)
    return [_kind(each) for each in content["kinds"]]


def _kind(row: Json) -> KindMeasure:
    return KindMeasure(
        row["kind"],
        *(Interval(**row[name]) for name in ("within", "towards", "loss", "over_random")),
    )


def _other(plan: Plan, course: Course) -> str | None:
    """The next task of those named, if there is another one."""
    others = [task for task in plan.tasks if task != course.task]
    return others[plan.tasks.index(course.task) % len(others)] if others else None


def _read(plan: Plan, name: str, target: str) -> tuple[Task, Sequence[Example], Sequence[Example]]:
    """A task with the training items of its dominant and of its target language."""
    task = open_task(name, plan.data, BenchmarkSettings())
    split = make_split(task, target, seed=plan.seed)
    return task, split.dominant, split.target


def _shown(plan: Plan, name: str, target: str) -> tuple[Task, tuple[Example, ...]]:
    """Another task with its answered items of the dominant language; it may lack the target's."""
    task = open_task(name, plan.data, BenchmarkSettings())
    others = [code for code in task.languages if code != task.dominant]
    split = make_split(task, target if target in others else others[0], seed=plan.seed)
    return task, tuple(item for item in split.dominant if item.answers)


def _name(course: Course) -> str:
    return f"{short_model(course.model)}, {_task_name(course.task)} {course.target}"


def _short(course: Course) -> str:
    """A file's name: of the words in it, and of all that tells this course from others."""
    model = Path(short_model(course.model)).name
    own = key_of({"model": course.model, "task": course.task})[:6]
    return f"{model}-{_task_name(course.task)}-{course.target}-{own}"


def _task_name(task: str) -> str:
    """A benchmark's name, or that of the folder or file of a task of one's own."""
    path = Path(task)
    return path.parent.name if path.name == "task.yaml" else path.stem


# ---- rows and sentences --------------------------------------------------------------------------


def _start_rows(begun: Sequence[Start]) -> list[Json]:
    return [
        {
            "of": ", ".join(start.place),
            **{name: number_of(start, name) for name in PREDICTORS},
            **{f"gain {method}": gain[0] for method, gain in start.gains.items()},
        }
        for start in begun
    ]


def _kind_rows(kinds: Mapping[str, Sequence[KindMeasure]]) -> list[Json]:
    return [
        {
            "of": name,
            "demonstration": each.kind,
            "within": each.within.value,
            "low": each.within.low,
            "high": each.within.high,
            "over random": each.over_random.value,
            "towards the dominant": each.towards.value,
            "loss": each.loss.value,
        }
        for name, found in kinds.items()
        for each in found
    ]


def _start_sentences(correlations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"Over {numbers['cosine'].things} places the gain of {method} goes with "
        + ", ".join(f"{name} by {one.rank:+.2f} (p = {one.p:.2f})" for name, one in numbers.items())
        + " (rank correlation)."
        for method, numbers in correlations.items()
    ]


def _kind_sentences(kinds: Mapping[str, Sequence[KindMeasure]]) -> list[str]:
    return [
        f"{name}: the gradients of demonstration and target, less those with a random "
        "demonstration: "
        + ", ".join(
            f"{each.kind} {each.over_random.value:+.3f} "
            f"[{each.over_random.low:+.3f}, {each.over_random.high:+.3f}]"
            for each in found
            if each.kind != "random"
        )
        + "."
        for name, found in kinds.items()
    ]


def _equal_sentences(equal: Mapping[str, EqualLoss | None]) -> list[str]:
    sentences = []
    for name, one in equal.items():
        if one is None:
            sentences.append(f"{name}: under no seed do the losses of both methods overlap.")
            continue
        sentences.append(
            f"{name}: at equal loss on unseen items ({one.span[0]:.2f} to {one.span[1]:.2f} nats, "
            f"{one.seeds} seeds) CL-ICP's gradient alignment less MTL's is "
            f"{one.cosine.value:+.3f} [{one.cosine.low:+.3f}, {one.cosine.high:+.3f}] by the soft "
            f"prompt and {one.residual.value:+.3f} [{one.residual.low:+.3f}, "
            f"{one.residual.high:+.3f}] by hidden states."
        )
    return sentences
