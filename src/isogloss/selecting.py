"""How a run's settings are chosen: on validation items or by k-fold, never on test items.

The paper does not say what its settings and epochs were chosen on (Appendix B.2). Here every run
says it: as published, as given, or by the answer loss of held-out items among candidates.
"""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isogloss import processes, training
from isogloss.answering import Answering, answer, reserved
from isogloss.candidates import Candidate, candidates, in_words, settings_with
from isogloss.demonstrations.choose import Group
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import ConfigError, DataError, IsoglossError, RunError
from isogloss.jobs import Job, learning_settings
from isogloss.learning import validation_loss
from isogloss.methods.published import CL_ICP, MTL_EPOCHS, TL_EPOCHS
from isogloss.model.load import Loaded
from isogloss.representation_shift import Shifter
from isogloss.runs import (
    LOG,
    RECORD,
    Json,
    Run,
    clear_folder,
    read_json_file,
    write_json_file,
)
from isogloss.scoring import judged, values_of
from isogloss.settings import TrainSettings
from isogloss.settling import settle_method
from isogloss.staging import rehearse, validation_groups
from isogloss.tasks.example import Example, Task
from isogloss.tasks.examples import without_ids
from isogloss.tasks.splits import Split
from isogloss.training import Trained, taught

SELECTION, JUDGED = "selection", "judged.json"
PUBLISHED: Mapping[str, Mapping[str, Any]] = {  # methods whose numbers Appendix B.2 gives, by task
    "cl-icp": CL_ICP,
    "tl": TL_EPOCHS,
    "mtl": MTL_EPOCHS,
}


def train(settings: TrainSettings) -> Run:
    """Choose the settings where there are candidates, then train with the best of them.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    return training.train(settings, settle)


def settle(job: Job, loaded: Loaded | None) -> Job:
    """The job with the settings it is to be trained with, and how they were chosen."""
    if not job.settings.choose or loaded is None:
        return dataclasses.replace(job, record=job.record | {"chosen": as_given(job)})
    trials, tried = trials_of(job), candidates(job.settings)
    _rehearse(job, loaded, trials)
    _begin(job)
    rows = [
        _row(candidate, [_result(job, loaded, place, trial, candidate) for trial in trials])
        for place, candidate in enumerate(tried, start=1)
    ]
    best = _best(rows)
    record = {"chosen": _in_a_sentence(job), "selection": _selection(job, rows, best)}
    won = with_candidate(job, tried[best], job.split, job.run)
    return dataclasses.replace(won, record=won.record | record)


def _begin(job: Job) -> None:
    """Say in the run's folder that there is a run, and with --force forget what was there."""
    folder = job.run.folder
    if processes.is_main():
        if job.settings.force and folder.is_dir():
            clear_folder(folder, keep=RECORD)
        unfinished = {"finished": False, "adapter": {}, "notes": dict(job.split.notes)}
        write_json_file(folder / RECORD, job.record | unfinished)
    processes.wait()


def as_given(job: Job) -> str:
    """Where settings that were not chosen come from, in words."""
    settings, task, name = job.settings, job.task, job.method.name
    given = _given(settings, task)
    published = PUBLISHED.get(name, {})
    if given:
        words = f"as given ({', '.join(given).replace('_', ' ')})"
    elif task.name in published:
        words = "as published for this task (Appendix B.2)"
    elif published:
        like = "xquad" if task.kind == "span" else "xcopa"
        words = f"as published for {like} (Appendix B.2); the paper does not have this task"
    else:
        words = f"the defaults of method '{name}', for which Appendix B.2 has no row"
    if job.split.validation:
        words += "; of its epochs the one of the least validation loss"
    return words


def _given(settings: TrainSettings, task: Task) -> list[str]:
    """The names of the settings that a user gave and that change how the method learns."""
    here = learning_settings(settings, task)
    names = []
    for field in dataclasses.fields(TrainSettings):
        if field.name == "method" or field.default is dataclasses.MISSING:
            continue
        if getattr(settings, field.name) != field.default:
            plain: dict[str, Any] = {field.name: field.default}
            if _without(settings, plain, task) != here:
                names.append(field.name)
    return names


def _without(settings: TrainSettings, plain: dict[str, Any], task: Task) -> Json | None:
    """What the settings come to with one at its default; None where others need it."""
    try:
        return learning_settings(dataclasses.replace(settings, **plain), task)
    except ConfigError:
        return None


@dataclass(frozen=True)
class Trial:
    """Training items to learn from, and the held-out ones that a candidate is judged by."""

    name: str
    split: Split
    held_out: Sequence[Example]


def trials_of(job: Job) -> tuple[Trial, ...]:
    """What a candidate is judged by: the validation items, or each fold; test items are in none."""
    split = dataclasses.replace(job.split, test=())
    if split.validation:
        return (Trial("", split, split.validation),)
    target = job.method.judged_on_target
    items = split.target if target else split.dominant
    made = []
    for number, ids in enumerate(folds(items, job.settings.folds, seed=job.settings.seed), start=1):
        left = without(split, ids)
        if not left.dominant or not left.target:
            raise ConfigError(
                f"fold {number} of {job.settings.folds} and its translations are all the training "
                "items of a language; give more --folds or more training items"
            )
        made.append(Trial(str(number), left, tuple(item for item in items if item.id in ids)))
    return tuple(made)


def folds(items: Sequence[Example], count: int, *, seed: int) -> tuple[frozenset[str], ...]:
    """The ids of the items in `count` parts, decided by the seed; sizes differ by 1 at most.

    Raises:
        ConfigError: there are fewer ids than parts.
    """
    order = sorted({item.id for item in items})
    if len(order) < count:
        raise ConfigError(
            f"{count} folds asked of {len(order)} training items; lower --folds to at most "
            f"{len(order)}, raise --share, or give the task validation items"
            if len(order) > 1
            else "the settings cannot be chosen on 1 training item; raise --share, or give the "
            "task validation items"
        )
    random.Random(f"{seed}/folds").shuffle(order)
    return tuple(frozenset(order[start::count]) for start in range(count))


def without(split: Split, ids: frozenset[str]) -> Split:
    """The split without a fold: translations of held-out items are held out with them."""
    dominant, target = without_ids(split.dominant, ids), without_ids(split.target, ids)
    return dataclasses.replace(split, dominant=dominant, target=target)


def with_candidate(job: Job, candidate: Candidate, split: Split, run: Run) -> Job:
    """The job with a candidate's settings, other data and another folder."""
    settings = dataclasses.replace(settings_with(job.settings, candidate), force=False)
    method = settle_method(settings, job.task)
    record = job.record | learning_settings(settings, job.task)
    return Job(settings, job.task, split, method, record, run)


def _rehearse(job: Job, loaded: Loaded, trials: Sequence[Trial]) -> None:
    """Find a candidate that cannot be carried out before the first is trained."""
    for candidate in candidates(job.settings):
        for trial in trials:
            try:
                rehearse(with_candidate(job, candidate, trial.split, job.run), loaded)
            except IsoglossError as error:
                held_out = f" without fold {trial.name}" if trial.name else ""
                raise ConfigError(f"{in_words(candidate)}{held_out}: {error}") from None


def _result(job: Job, loaded: Loaded, place: int, trial: Trial, candidate: Candidate) -> Json:
    """A candidate's loss and metric on a trial's held-out items, computed once."""
    folder = job.run.folder / SELECTION / "-".join(filter(None, (str(place), trial.name)))
    if processes.decided((folder / JUDGED).is_file()):
        return read_json_file(folder / JUDGED)
    if processes.is_main():
        where = f", fold {trial.name}" if trial.name else ""
        print(f"candidate {place}{where}: {in_words(candidate)}", file=sys.stderr, flush=True)
    one = with_candidate(job, candidate, trial.split, Run(folder))
    one = dataclasses.replace(one, settings=dataclasses.replace(one.settings, report_to=()))
    with taught(one, loaded) as trained:
        result = (
            dict(candidate) | {"fold": trial.name} | _judged(one, loaded, trained, trial.held_out)
        )
    if processes.is_main():
        write_json_file(folder / JUDGED, result)
        lighten(folder)
    processes.wait()
    return read_json_file(folder / JUDGED)


def lighten(folder: Path) -> None:
    """Remove what a run on trial leaves, but its log and its scores: the weights are heavy."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (LOG, JUDGED):
            path.unlink()


def _judged(job: Job, loaded: Loaded, trained: Trained, held_out: Sequence[Example]) -> Json:
    """Mean answer loss in nats, and the task's metric, of held-out items under attached weights."""
    asked = trained.objective
    groups, entries = answered(job, loaded, asked.episodes, asked.shifter, held_out)
    loss = validation_loss(asked, groups)
    values = values_of(entries, job.task.metric)
    finite = loss if math.isfinite(loss) else None  # training may come to no number
    return {"items": len(values), "loss": finite, "metric": sum(values) / len(values)}


def answered(
    job: Job,
    loaded: Loaded,
    episodes: EpisodeEncoder,
    shifter: Shifter | None,
    held_out: Sequence[Example],
) -> tuple[tuple[Group, ...], list[Json]]:
    """Held-out items in their groups, and what the model as it is attached answers, judged.

    Raises:
        DataError: no item fits.
    """
    how = Answering(calibration=job.method.calibration)
    episodes = reserved(episodes, how)
    groups = validation_groups(job, held_out, episodes)
    if not groups:
        raise DataError("no held-out item fits the model's context; lower --demonstrations")
    by_id = {item.id: item for item in held_out}
    found = answer(loaded, episodes, groups, how, shifter, title="judging")
    return groups, [judged(each, by_id[each.id], job.task) for each in found]


def _row(candidate: Candidate, results: Sequence[Json]) -> Json:
    """A candidate's scores over all held-out items, and those of each fold."""
    items = sum(result["items"] for result in results)
    losses = [result["loss"] for result in results]
    lost = any(loss is None for loss in losses)
    loss = None if lost else sum(r["loss"] * r["items"] for r in results) / items
    metric = sum(r["metric"] * r["items"] for r in results) / items
    each = [{name: r[name] for name in ("fold", "items", "loss", "metric")} for r in results]
    row = {"settings": dict(candidate), "loss": loss, "metric": metric, "items": items}
    return row | {"folds": each if len(each) > 1 else []}


def _best(rows: Sequence[Json]) -> int:
    """The place of the least loss; of equal ones the first."""
    whole = [place for place, row in enumerate(rows) if row["loss"] is not None]
    if not whole:
        raise RunError(
            "no candidate came to a finite loss on the held-out items; lower the learning rates"
        )
    return min(whole, key=lambda place: float(rows[place]["loss"]))


def _in_a_sentence(job: Job) -> str:
    count = len(candidates(job.settings))
    if job.split.validation:
        return f"by validation loss among {count} candidates"
    data = "D_t" if job.method.judged_on_target else "D_s"
    return f"by {job.settings.folds}-fold cross-validation on {data} among {count} candidates"


def _selection(job: Job, rows: Sequence[Json], best: int) -> Json:
    return {
        "by": "validation" if job.split.validation else "cross-validation",
        "language": job.record["validation_language"],
        "folds": job.record["folds"],
        "metric": job.task.metric,
        "candidates": list(rows),
        "chosen": best,
    }
