"""A run on held-out items of its target language: what methods are chosen by, never test items.

Validation items where the task has any in the target language; else each fold of D_t, answered by
the same settings trained without the fold and its translations. The folds follow from the ids and
the seed alone, so all methods answer the same items, those that train nothing too.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from isogloss.errors import ConfigError
from isogloss.finished import open_finished
from isogloss.jobs import Job, prepare
from isogloss.model.load import Loaded
from isogloss.runs import Json, Run, claimed, read_json_file, write_json_file
from isogloss.scoring import COLUMNS, option_loss
from isogloss.selecting import JUDGED, answered, folds, lighten, with_candidate, without
from isogloss.settings import TrainSettings
from isogloss.tasks.example import Example, Task
from isogloss.tasks.splits import Split, make_split
from isogloss.training import taught

HELD_OUT = "held_out"


@final
@dataclass(frozen=True)
class HeldOut:
    """How a run did on held-out items.

    `values` are the metric's in [0, 1] by item id. `losses` are, where items have options and the
    run came to numbers, the negative log of the right one's share among them, in nats. `by` says in
    words what was held out.
    """

    by: str
    values: Mapping[str, float]
    losses: Mapping[str, float]


def judge(settings: TrainSettings, run: Run) -> HeldOut:
    """Answer the held-out items of a finished run that these settings made, once.

    Raises:
        IsoglossError: anything about the data, model or disk that stops the work.
    """
    path = run.folder / f"{HELD_OUT}.json"
    with claimed(run.folder):
        key = _key(settings, run)
        if not path.is_file() or read_json_file(path).get("key") != key:
            job = _as_trained(prepare(dataclasses.replace(settings, force=False)), run)
            by, entries = _judged(settings, job)
            write_json_file(path, {"key": key, "by": by, "entries": entries})
    return read_held_out(run)


def read_held_out(run: Run) -> HeldOut:
    """What `judge` wrote.

    Raises:
        RunError: there is nothing, or it is damaged.
    """
    content = read_json_file(run.folder / f"{HELD_OUT}.json")
    entries = content["entries"]
    return HeldOut(
        content["by"],
        {entry["id"]: float(entry["value"]) for entry in entries},
        {entry["id"]: float(entry["loss"]) for entry in entries if entry["loss"] is not None},
    )


def held_out_folds(
    task: Task, settings: TrainSettings
) -> tuple[Sequence[Example], tuple[frozenset[str], ...]]:
    """The validation items of the target language, or else the folds of D_t.

    Raises:
        ConfigError: there are fewer items than folds.
    """
    split = _split(task, settings)
    if split.validation:
        return split.validation, ()
    return (), folds(split.target, settings.folds, seed=settings.seed)


def _split(task: Task, settings: TrainSettings) -> Split:
    """The data as every method meets it, with the target language's validation items."""
    return make_split(
        task,
        settings.target,
        seed=settings.seed,
        share=settings.share,
        limit=settings.limit,
        validation_language=settings.target,
    )


def _key(settings: TrainSettings, run: Run) -> Json:
    return {"run": run.record["key"], "folds": settings.folds}


def _as_trained(job: Job, run: Run) -> Job:
    """The job with the settings that were chosen for the run."""
    selection = run.record.get("selection")
    chosen = selection["candidates"][selection["chosen"]]["settings"] if selection else {}
    return with_candidate(job, chosen, job.split, run) if chosen else job


def _judged(settings: TrainSettings, job: Job) -> tuple[str, list[Json]]:
    opened = open_finished(str(job.run.folder), model=None, data=settings.data, dtype=None)
    loaded = opened.load(settings.device)
    validation, parts = held_out_folds(job.task, settings)
    if validation:
        with opened.tuned(loaded) as shifter:
            episodes = opened.episodes(loaded, tuned=True)
            _, entries = answered(job, loaded, episodes, shifter, validation)
        return f"{len(validation)} validation items", [_entry(e, job.task) for e in entries]
    found: list[Json] = []
    for number, ids in enumerate(parts, start=1):
        found += _fold(job, loaded, number, ids)
    return f"{len(parts)}-fold cross-validation on the {len(found)} items of D_t", found


def _fold(job: Job, loaded: Loaded, number: int, ids: frozenset[str]) -> list[Json]:
    """The answers to a fold's items, by the settings trained without them, computed once."""
    folder = job.run.folder / HELD_OUT / f"fold-{number}"
    if (folder / JUDGED).is_file():
        old: Json = read_json_file(folder / JUDGED)
        if set(old["ids"]) == ids:
            return list(old["entries"])
    items = [item for item in job.split.target if item.id in ids]
    settings = dataclasses.replace(job.settings, report_to=())
    split = dataclasses.replace(without(job.split, ids), test=())
    left = dataclasses.replace(job, settings=settings, split=split, run=Run(folder))
    _check(left, number)
    print(f"{job.method.name}, fold {number}", file=sys.stderr, flush=True)
    with taught(left, loaded) as trained:
        asked = trained.objective
        _, found = answered(left, loaded, asked.episodes, asked.shifter, items)
    entries = [_entry(entry, job.task) for entry in found]
    write_json_file(folder / JUDGED, {"ids": sorted(ids), "entries": entries})
    lighten(folder)
    return entries


def _check(job: Job, number: int) -> None:
    if not job.split.dominant or not job.split.target:
        raise ConfigError(
            f"fold {number} of {job.settings.folds} and its translations are all the training "
            "items of a language; give more --folds or more training items"
        )


def _entry(entry: Json, task: Task) -> Json:
    """An item's value of the metric, and of options the right one's loss.

    >>> from types import SimpleNamespace
    >>> entry = {"id": "1", "correct": True, "answer": "a", "log_probabilities": {"a": 0, "b": 0}}
    >>> round(_entry(entry, SimpleNamespace(metric="accuracy"))["loss"], 3)
    0.693
    """
    value = float(entry[COLUMNS.get(task.metric, task.metric)])
    return {"id": entry["id"], "value": value, "loss": option_loss(entry)}
