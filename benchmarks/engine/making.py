"""Makes the work of a benchmark: model and items, and Isogloss' own schedule written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from benchmarks.engine.items import Maker, Sizes, write_items
from benchmarks.engine.lengths import read as read_lengths
from benchmarks.engine.shapes import lengths_for, model_folder, words
from benchmarks.engine.work import START, Asked, Episode, Least, Question, Work, write
from isogloss import Loaded, ModelOptions, TrainSettings, load
from isogloss.demonstrations.schedule import test_groups
from isogloss.jobs import Job, prepare
from isogloss.model.answer import line_break_ids
from isogloss.packing import EncodedGroup
from isogloss.pooling import make_pool
from isogloss.staging import episode_encoder, schedule_of
from isogloss.tuning.adapter_files import PROMPT_KEY
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds


def make_work(folder: Path, asked: Asked) -> Work:
    """Write a work folder.

    Raises:
        IsoglossError: a model, data or settings that cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nothing = Least(0, 0)
    empty = Work(folder, folder / "model", asked, (), (), (), nothing, nothing)
    place = model_folder(asked.model, empty.model, asked.format)
    empty = dataclasses.replace(empty, model=place)
    loaded = load(str(place), ModelOptions(dtype=asked.options.dtype, device="cpu"))
    both = words(loaded.tokenizer, 0), words(loaded.tokenizer, 1)
    maker = Maker(asked.task, both, read_lengths(asked.task, lengths_for(place)), asked.scale)
    sizes = Sizes(test=asked.items)
    write_items(folder / "task", maker, sizes, seed=asked.seed, data=asked.data)
    save_file({PROMPT_KEY: start_vectors(loaded, asked)}, folder / START)
    job = prepare(TrainSettings(**empty.settings(folder / "plan")))
    work = _filled(empty, job, loaded)
    write(work)
    return work


def start_vectors(loaded: Loaded, asked: Asked) -> Tensor:
    """Embeddings of ordinary tokens, as Isogloss starts by default."""
    special = set(loaded.tokenizer.all_special_ids)
    common = tuple(n for n in range(len(loaded.tokenizer)) if n not in special)[:5000]
    weights = SoftPrompt(asked.prompt_length).start(loaded.model, StartIds(common), seed=asked.seed)
    return weights[PROMPT_KEY].detach().contiguous()


def _filled(empty: Work, job: Job, loaded: Loaded) -> Work:
    asked, context = empty.asked, job.method.context
    episodes = episode_encoder(job.task, loaded, job.method, chat=False, max_length=None)
    schedule = schedule_of(job, job.method.stages[0], episodes)
    steps = schedule.steps((), alternate=False)[: asked.updates]
    batches = [[episodes.group(group) for group in step.groups] for step in steps]
    pool = make_pool(job.split.dominant, job.split.target, context)
    asking = [
        episodes.group(group)
        for group in test_groups(job.split.test, pool, context, seed=asked.seed)
    ]
    return dataclasses.replace(
        empty,
        updates=[list(_episodes(batch, asked.loss)) for batch in batches],
        questions=[question for group in asking for question in _questions(group)],
        stops=_stops(loaded, episodes.encoder.end),
        least_train=_least([group for batch in batches for group in batch], asked.loss),
        least_evaluate=_least_asked(asking),
    )


def _episodes(batch: Sequence[EncodedGroup], loss: str) -> Iterator[Episode]:
    """Each target of a batch with its demonstrations before it, as one sequence."""
    for group in batch:
        front = group.demonstrations
        prompt = len(front.prompt)
        before = front.ids[prompt:]
        learnt = [(span.start - prompt, span.stop - prompt) for span in front.answers]
        for target in group.targets:
            asked = (*before, *target.ids)
            own = (len(asked), len(asked) + len(target.answer))
            answers = [*learnt, own] if loss == "all" else [own]
            yield Episode((*asked, *target.answer), answers)


def _questions(group: EncodedGroup) -> list[Question]:
    before = group.demonstrations.ids[len(group.demonstrations.prompt) :]
    return [Question(target.id, (*before, *target.ids), target.options) for target in group.targets]


def _least(groups: Sequence[EncodedGroup], loss: str) -> Least:
    """Each demonstration set and each target once; an answer's last token is only predicted."""
    tokens = predicted = 0
    for group in groups:
        tokens += len(group.demonstrations.ids)
        tokens += sum(len(target.ids) + len(target.answer) - 1 for target in group.targets)
        predicted += sum(len(target.answer) for target in group.targets)
        predicted += sum(map(len, group.demonstrations.answers)) if loss == "all" else 0
    return Least(tokens, predicted)


def _least_asked(groups: Sequence[EncodedGroup]) -> Least:
    """Each demonstration set, input and option once; what is generated comes on top."""
    tokens = predicted = 0
    for group in groups:
        tokens += len(group.demonstrations.ids)
        for target in group.targets:
            more = sum(len(option) - 1 for option in target.options)
            tokens += len(target.ids) + more
            predicted += 1 + more if target.options else 0
    return Least(tokens, predicted)


def _stops(loaded: Loaded, end: int) -> list[int]:
    """The tokens that end a generated span, as Isogloss has them."""
    given = loaded.model.generation_config.eos_token_id
    ends = {*given} if isinstance(given, list) else {given}
    found = {end, *line_break_ids(loaded.tokenizer), loaded.tokenizer.eos_token_id, *ends}
    return sorted(found - {None})
