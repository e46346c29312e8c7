"""Small runs to be compiled, and the uncompiled computation the obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import isogloss
from conftest import sentencepiece_tokenizer, tiny_loaded
from isogloss.answering import Answering, Prediction, answer
from isogloss.demonstrations.choose import Group
from isogloss.finished import Opened, open_finished
from isogloss.runs import Run
from isogloss.scoring import judged
from isogloss.tasks.example import Example
from number_task import VALIDATED, write_numbers

PLAIN = Answering()
# A rate at which two updates show in the logits.
QUICK = {"max_steps": 2, "learning_rate": 0.3, "share_demonstrations": 1}


def model_with_begin_token(folder: Path, architecture: str) -> Path:
    """A tiny model whose tokenizer puts a begin token and a space mark in front."""
    ready = tiny_loaded(architecture, sentencepiece_tokenizer())
    ready.model.save_pretrained(folder)
    ready.tokenizer.save_pretrained(folder)
    return folder


def trained(folder: Path, model: Path, *, validated: bool = False, **options: object) -> Run:
    """A run on the small label task."""
    task = write_numbers(folder / "task", *([VALIDATED] if validated else []))
    settings = {"demonstrations": 2} | QUICK | options
    settings = {name: value for name, value in settings.items() if value is not None}
    return isogloss.train(task, model=model, target="tr", out=folder / "runs", **settings)


def opened(run: Run) -> Opened:
    return open_finished(str(run.folder), model=None, data=None, dtype=None)


def answers(
    run: Run, demonstrations: Sequence[Example], items: Sequence[Example], how: Answering = PLAIN
) -> tuple[list[Prediction], list[dict]]:
    """What the uncompiled run answers to items that all have one set."""
    made = opened(run)
    loaded = made.load("cpu")
    group = Group(tuple(demonstrations), tuple(items))
    with made.tuned(loaded):
        found = answer(loaded, made.episodes(loaded, tuned=True), [group], how)
    return found, [judged(one, item, made.task) for one, item in zip(found, items, strict=True)]


def set_of(run: Run, content: dict) -> tuple[Example, ...]:
    """The demonstrations that a compiled.json names, from the run's own training items."""
    split = opened(run).split
    items = {(item.language, item.id): item for item in (*split.dominant, *split.target)}
    return tuple(items[one["language"], one["id"]] for one in content["demonstrations"])


def whole_logits(
    run: Run, demonstrations: Sequence[Example], items: Sequence[Example]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each item its ids behind the front, and the logits there of one pass over vectors."""
    made = opened(run)
    loaded = made.load("cpu")
    encoder = made.episodes(loaded, tuned=True).encoder
    front = encoder.demonstration_set([made.task.render(one) for one in demonstrations])
    m = len(front.prompt)
    prompt = made.weights(loaded)["prompt_embeddings"] if m else torch.zeros((0, 32))
    found = []
    for item in items:
        target = encoder.target(made.task.render(item), len(demonstrations)).ids
        text = torch.tensor([*front.ids[m:], *target])
        vectors = torch.cat([prompt, loaded.model.get_input_embeddings()(text)])[None]
        with torch.no_grad():
            logits = loaded.model(inputs_embeds=vectors, use_cache=False).logits[0]
        found.append((torch.tensor([target]), logits[-len(target) :]))
    return found
