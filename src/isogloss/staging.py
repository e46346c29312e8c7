"""What the stages of a job meet: its encoder, schedules, steps and held-out groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from isogloss.demonstrations.choose import Group, chunks
from isogloss.demonstrations.pairs import pair_batches, translation_pairs
from isogloss.demonstrations.schedule import test_groups
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import ConfigError, DataError
from isogloss.jobs import Job
from isogloss.methods.cpt import drawn_demonstrations, without_targets
from isogloss.methods.method import Method, Stage
from isogloss.model.load import Loaded
from isogloss.model.prompt import vocabulary_rows
from isogloss.planning import Schedule, Steps, plan
from isogloss.pooling import make_pool
from isogloss.tasks.example import Example, Task
from isogloss.tasks.examples import joined
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.context_prompt import ContextPrompt

VALIDATED = 8  # validation targets in a row: without demonstrations all would stand in one


def episode_encoder(
    task: Task, loaded: Loaded, method: Method | None, chat: bool, max_length: int | None
) -> EpisodeEncoder:
    """The encoder of a run's episodes; without a method there is no soft prompt.

    Raises:
        ConfigError: `max_length` is more than the model's context.
    """
    context = loaded.context
    if max_length is not None and context is not None and max_length > context:
        raise ConfigError(f"max length is {max_length}, but the model's context is {context}")
    length = method.tune.prompt_length if method else 0
    longest = max_length or context
    if longest is not None and length >= longest:
        raise ConfigError(f"a soft prompt of {length} leaves no room in a context of {longest}")
    tune = method.tune if method else None
    solved = tune.demonstrations if isinstance(tune, (ContextPrompt, Compiled)) else 0
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), length, chat, solved)
    return EpisodeEncoder(task, encoder, longest)


def with_prompt(job: Job, loaded: Loaded) -> Job:
    """The job with the demonstrations that CPT's prompt is made of; they are no targets."""
    tune, settings = job.method.tune, job.settings
    if not isinstance(tune, ContextPrompt):
        return job
    plain = episode_encoder(job.task, loaded, None, settings.chat, settings.max_length)
    drawn = drawn_demonstrations(tune, job.method.context, job.split, seed=settings.seed)
    front = plain.encoder.demonstration_set([job.task.render(item) for item in drawn])
    method = dataclasses.replace(job.method, tune=tune.filled(front))
    record = job.record | {
        "method": dataclasses.asdict(method),
        "prompt_demonstrations": [f"{item.language}/{item.id}" for item in drawn],
    }
    split = without_targets(job.split, drawn)
    return dataclasses.replace(job, method=method, record=record, split=split)


def schedule_of(job: Job, stage: Stage, episodes: EpisodeEncoder) -> Schedule:
    """The batches of a stage, every one of them, from its targets and the seed."""
    languages = {"dominant": job.split.dominant, "target": job.split.target}
    targets = joined(*(languages[language] for language in stage.targets))
    matched = job.record["match_steps"] and "target" in stage.targets
    return plan(
        targets,
        make_pool(job.split.dominant, job.split.target, job.method.context),
        job.method.context,
        episodes,
        epochs=stage.epochs,
        batch_size=job.method.batch_size,
        seed=job.settings.seed,
        skip=job.settings.too_long == "skip",
        like=len(targets) + _full_target(job) - len(job.split.target) if matched else None,
    )


def _full_target(job: Job) -> int:
    """The items of D_t that a share of 1 would have."""
    whole = int(job.split.notes["D_t pool"])
    return min(whole, job.settings.limit or whole)


def steps_of(job: Job, schedule: Schedule, episodes: EpisodeEncoder, number: int) -> Steps:
    """The schedule's batches, with batches of translation pairs where the method contrasts them."""
    contrast = job.method.contrast
    if contrast is None:
        return schedule.steps((), alternate=False)
    pairs = translation_pairs(job.split.dominant, job.split.target)
    fitting = tuple(pair for pair in pairs if len(episodes.sentences(pair)) == len(pair))
    if len(fitting) < 2:
        raise DataError(
            f"contrastive learning needs two translation pairs, and {len(fitting)} of the "
            f"{len(pairs)} there are fit the model's context; give shorter items, or raise "
            "--max-length if the model allows"
        )
    batches = pair_batches(
        fitting,
        size=contrast.pairs,
        count=len(schedule.batches),
        seed=f"{job.settings.seed}/pairs/{number}",
    )
    return schedule.steps(batches, alternate=contrast.alternate)


def validation_groups(
    job: Job, items: Sequence[Example], episodes: EpisodeEncoder
) -> tuple[Group, ...]:
    """Held-out items with demonstration sets of the training items, in runs that fit in a row."""
    pool = make_pool(job.split.dominant, job.split.target, job.method.context)
    groups = test_groups(items, pool, job.method.context, seed=job.settings.seed)
    fitting, _ = fit(groups, episodes, skip=job.settings.too_long == "skip")
    return tuple(
        Group(group.demonstrations, targets)
        for group in fitting
        for targets in chunks(group.targets, VALIDATED)
    )


def rehearse(job: Job, loaded: Loaded) -> None:
    """Plan an epoch of every stage, so that what cannot be carried out is found before any work.

    Raises:
        IsoglossError: what `plan` finds.
    """
    job = with_prompt(job, loaded)
    settings = job.settings
    episodes = episode_encoder(job.task, loaded, job.method, settings.chat, settings.max_length)
    for number, stage in enumerate(job.method.stages):
        once = schedule_of(job, dataclasses.replace(stage, epochs=1), episodes)
        steps_of(job, once, episodes, number)
