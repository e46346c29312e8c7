"""Does a model learn in context? Its accuracy on ambiguous questions by number of demonstrations.

Nothing in a question says which relation is asked for, or what a label means: without
demonstrations no model can do better than chance, and with them one that learns in context can.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from isogloss.encoding import SEPARATOR
from isogloss.intervals import bootstrap_interval
from isogloss.lab.documents import CLASSES
from isogloss.lab.items import Item, Shape, draw_choice, draw_labelled, draw_passage
from isogloss.lab.tasks import OPTIONS
from isogloss.lab.voice import Voice
from isogloss.lab.world import LABELS, RELATIONS, World
from isogloss.model.load import Loaded
from isogloss.progress import Progress
from isogloss.runs import Json

SHAPES: tuple[Shape, ...] = ("choice", "label", "span")
SHOTS = (0, 1, 3)
BATCH = 64
Drawn = tuple[frozenset[int], Item]
"""A question, and the concepts that it speaks of."""


@dataclass(frozen=True)
class Episode:
    """Solved demonstrations and a question: a text up to the answer, and what may be answered.

    `options` are the words to choose from; where there are none, any token may be the answer.
    """

    text: str
    answer: str
    options: tuple[str, ...] = ()


def episodes(world: World, shape: Shape, code: str, shots: int, *, count: int) -> Iterator[Episode]:
    """`count` episodes of one language, decided by the world's seed.

    All items of an episode follow one rule; a demonstration never speaks of what its target
    speaks of.
    """
    for number in range(count):
        source = random.Random(f"{world.settings.seed}/probe/{shape}/{code}/{shots}/{number}")
        draw, labels = _rule(world, shape, code, source)
        concepts, target = draw()
        shown: list[str] = []
        while len(shown) < shots:
            others, item = draw()
            if shape == "span" or not others & concepts:
                shown.append(item.question + item.solution + SEPARATOR)
        options = labels or tuple(target.fields[name] for name in OPTIONS if name in target.fields)
        yield Episode("".join(shown) + target.question, target.answer, options)


def _rule(
    world: World, shape: Shape, code: str, source: random.Random
) -> tuple[Callable[[], Drawn], tuple[str, ...]]:
    """A maker of items that follow one rule, and the labels where there are any."""
    told, things = world.told[code], world.things
    relation = source.choice(RELATIONS)
    others = source.sample([each for each in RELATIONS if each != relation], 2)
    groups = sorted(source.sample(CLASSES, 3), key=CLASSES.index)
    words = dict(zip(groups, source.sample(LABELS, 3), strict=True))

    def voice() -> Voice:
        return Voice.of(world.languages[code])

    def choice() -> Drawn:
        drawn = draw_choice(world, source, relation, things, told, ambiguous=True)
        return frozenset((drawn.subject, drawn.right, drawn.wrong)), drawn.item(voice())

    def label() -> Drawn:
        drawn = draw_labelled(world, source, source.choice(groups), things, told)
        return frozenset((drawn.first, drawn.second)), drawn.item(voice(), words=words)

    def span() -> Drawn:
        return frozenset(), draw_passage(world, source, relation, others).item(voice())

    makers: dict[Shape, Callable[[], Drawn]] = {"choice": choice, "label": label, "span": span}
    return makers[shape], tuple(words.values()) if shape == "label" else ()


def probe(loaded: Loaded, world: World, *, items: int, shots: Sequence[int] = SHOTS) -> list[Json]:
    """Accuracy with its 95% interval for each shape, language and number of demonstrations."""
    rows = []
    cells = [(shape, code, k) for shape in SHAPES for code in world.codes for k in shots]
    progress = Progress("probing", len(cells))
    try:
        for number, (shape, code, k) in enumerate(cells, start=1):
            drawn = list(episodes(world, shape, code, k, count=items))
            right = answered_rightly(loaded.model, loaded.tokenizer, drawn)
            interval = bootstrap_interval(right, seed=world.settings.seed, resamples=2000)
            rows.append(
                {"shape": shape, "language": code, "demonstrations": k, "value": interval.value}
                | {"low": interval.low, "high": interval.high, "items": interval.items}
            )
            progress.advance(number)
    finally:
        progress.close()
    return rows


@torch.no_grad()
def answered_rightly(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Episode]
) -> list[float]:
    """1 where the likeliest option, or of all tokens the likeliest, is the answer; else 0."""
    ids = [list(tokenizer(episode.text)["input_ids"]) for episode in asked]
    order = sorted(range(len(asked)), key=lambda place: len(ids[place]))
    right = [0.0] * len(asked)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        longest = len(ids[places[-1]])
        # What follows a question is padding that nothing before it sees.
        batch = torch.zeros((len(places), longest), dtype=torch.long)
        for row, place in enumerate(places):
            batch[row, : len(ids[place])] = torch.tensor(ids[place])
        hidden = model(batch.to(model.device), use_cache=False).logits
        for row, place in enumerate(places):
            logits = hidden[row, len(ids[place]) - 1]
            right[place] = float(_best(logits, tokenizer, asked[place]) == asked[place].answer)
    return right


def _best(logits: torch.Tensor, tokenizer: PreTrainedTokenizerBase, episode: Episode) -> str:
    if not episode.options:
        return str(tokenizer.convert_ids_to_tokens(int(logits.argmax())))
    numbers = [tokenizer.convert_tokens_to_ids(word) for word in episode.options]
    return episode.options[int(logits[numbers].argmax())]
