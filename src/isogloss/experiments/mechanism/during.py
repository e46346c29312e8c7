"""Gradient alignment to unseen items while CL-ICP and prompt-tuned MTL learn (Section 5.2).

The claim is that learning in context aligns gradients with D_unseen more. A method that has learnt
more has other gradients anyway, so the two are compared where the loss on unseen items is equal.
Each point is a run of its own, trained to its end with so many updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy

from isogloss import selecting
from isogloss.demonstrations.choose import Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.diagnosing import states
from isogloss.diagnosing.direction import Asked, Direction, direction, items_of
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.experiments.mechanism.kinds import item_losses
from isogloss.finished import Opened, open_finished
from isogloss.intervals import Interval, bootstrap_interval
from isogloss.methods.losses import AnswerLoss
from isogloss.model.load import Loaded
from isogloss.runs import Json
from isogloss.settings import DiagnoseSettings, TrainSettings, settings_from
from isogloss.staging import episode_encoder
from isogloss.tasks.example import Example
from isogloss.tasks.splits import read_test

METHODS = ("cl-icp", "mtl-prompt")
LEAST_BATCHES = 5  # of an epoch of D_t: 20 items at Appendix B.2's batch of 4
GRID = 50  # losses at which the two are compared


@final
@dataclass(frozen=True)
class Course:
    """Which runs are trained and met: a task with a model, methods' settings, updates, seeds.

    `train` holds settings of TrainSettings by method, `place` those of both that decide no number.
    `items`: of D_s and of the unseen items (test items), whose gradients are met.
    """

    task: str
    target: str
    model: str
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    items: int
    train: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    place: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Moment:
    """A run's end: its loss on unseen items (nats a token) and D_s's alignment with them.

    `cosine` is of the gradients by the soft prompt, `residual` by hidden states at the answer, the
    mean over layers; both of mean gradients, each episode as the method has it.
    """

    method: str
    seed: int
    steps: int
    loss: float
    cosine: float
    residual: float


@final
@dataclass(frozen=True)
class EqualLoss:
    """CL-ICP less MTL by prompt at equal loss on unseen items, a difference for each seed.

    None where the losses of both methods' runs do not overlap under any seed; `span` is the range
    of losses that was compared, the widest over seeds.
    """

    seeds: int
    span: tuple[float, float]
    cosine: Interval
    residual: Interval


def moments(course: Course, folder: Path) -> list[Moment]:
    """Train every run that is not finished, and measure each.

    Runs of fewer than 20 target items end before the last updates that are asked for.

    Raises:
        IsoglossError: anything about the settings, data or model that stops the work.
    """
    found = []
    loaded: Loaded | None = None
    for seed in course.seeds:
        for method in METHODS:
            for steps in course.steps:
                asked = {
                    "task": course.task,
                    "model": course.model,
                    "target": course.target,
                    "method": method,
                    "seed": seed,
                    "max_steps": steps,
                    "epochs": -(-steps // LEAST_BATCHES),
                    "out": folder / "runs",
                    **course.train.get(method, {}),
                    **course.place,
                }
                run = selecting.train(settings_from(TrainSettings, asked))
                opened = open_finished(str(run.folder), model=None, data=None, dtype=None)
                loaded = loaded or opened.load(str(course.place.get("device", "auto")))
                numbers = _measured(opened, loaded, course.items, seed)
                found.append(Moment(method, seed, steps, *numbers))
    return found


def _measured(opened: Opened, loaded: Loaded, items: int, seed: int) -> tuple[float, float, float]:
    """A run's loss, and its two cosines; the base model is left as it was."""
    settings = DiagnoseSettings(run=str(opened.run.folder), seed=seed)
    with states.tuned(settings, opened, loaded) as state:
        record = opened.record
        episodes = episode_encoder(
            opened.task, loaded, opened.method, record["chat"], record["max_length"]
        )
        asked = _asked(opened, items, seed)
        found = direction(loaded, episodes, asked, state.probed)
        loss = _loss(loaded, episodes, asked)
    return loss, found.alignment.cosine.value, _mean(found)


def _asked(opened: Opened, items: int, seed: int) -> Asked:
    """Items of D_s against test items, both in episodes as the method has them."""
    split = opened.split
    unseen = read_test(opened.task, opened.record["target"], seed=seed, limit=items).examples
    answered: tuple[Example, ...] = tuple(item for item in unseen if item.answers)
    own, _ = items_of(split.dominant, answered, items, seed=seed)
    return Asked(
        language=opened.task.dominant,
        dominant=own,
        target=answered,
        unseen=(),
        pool=Pool(split.dominant, split.target),
        context=opened.method.context,
        loss=AnswerLoss("off"),
        seed=seed,
    )


def _loss(loaded: Loaded, episodes: EpisodeEncoder, asked: Asked) -> float:
    groups = test_groups(asked.target, asked.pool, asked.context, seed=asked.seed)
    fitting, _ = fit(groups, episodes, skip=True)
    return float(item_losses(loaded, None, [episodes.group(each) for each in fitting]).mean())


def _mean(found: Direction) -> float:
    values = [layer.cosine.value for layer in found.residual]
    return sum(values) / len(values)


def at_equal_loss(found: Sequence[Moment], *, seed: int = 0) -> EqualLoss | None:
    """Both methods' alignment where their losses are equal, by linear interpolation.

    Over the losses that the runs of both methods span under a seed. The interval is a bootstrap
    over seeds.
    """
    differences, ends = [], []
    for own in sorted({each.seed for each in found}):
        courses = [
            sorted(
                (each for each in found if each.method == method and each.seed == own),
                key=lambda each: each.loss,
            )
            for method in METHODS
        ]
        if any(len(each) < 2 for each in courses):
            continue
        low = max(each[0].loss for each in courses)
        high = min(each[-1].loss for each in courses)
        if low >= high:
            continue
        losses = numpy.linspace(low, high, GRID)
        ends.append((low, high))
        differences.append([_difference(courses, losses, of) for of in ("cosine", "residual")])
    if not differences:
        return None
    cosine, residual = (
        bootstrap_interval(list(values), seed=seed, resamples=5000)
        for values in zip(*differences, strict=True)
    )
    span = min(low for low, _ in ends), max(high for _, high in ends)
    return EqualLoss(len(differences), span, cosine, residual)


def _difference(courses: Sequence[Sequence[Moment]], losses: Any, of: str) -> float:
    first, second = (
        numpy.interp(losses, [each.loss for each in own], [getattr(each, of) for each in own])
        for own in courses
    )
    return float((first - second).mean())


def rows_of(found: Sequence[Moment]) -> list[Json]:
    """The moments as rows of a table, the mean over seeds."""
    rows = []
    for method in METHODS:
        for steps in sorted({each.steps for each in found}):
            own = [each for each in found if each.method == method and each.steps == steps]
            if own:
                numbers = ("loss", "cosine", "residual")
                means = {n: sum(asdict(each)[n] for each in own) / len(own) for n in numbers}
                rows.append({"method": method, "updates": steps, **means, "seeds": len(own)})
    return rows
