"""The world's tasks as ordinary task folders, read by the same code as any user's own task."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from isogloss.errors import ConfigError
from isogloss.lab.items import (
    ANSWER,
    INPUTS,
    Choice,
    Class,
    Item,
    Labelled,
    Shape,
    draw_choice,
    draw_labelled,
    draw_passage,
)
from isogloss.lab.voice import Voice
from isogloss.lab.world import LABELS, Relation, World
from isogloss.runs import each_line, write_together
from isogloss.settings import check_positive

OPTIONS = ("choice1", "choice2")
TEST_THINGS = 1 / 3
"""Share of the things that only test items are about: what can be carried over is the rule."""


@dataclass(frozen=True)
class TaskSizes:
    """Items of the files: the dominant language's training file, the others', and the tests.

    A choice task has at most one training item a thing, so that no demonstration speaks of the
    target's thing.
    """

    dominant_items: int = 200
    """Training items of the dominant language."""
    target_items: int = 40
    """Training items of every other language."""
    test_items: int = 500
    """Test items of each language."""

    def __post_init__(self) -> None:
        check_positive(self, ("dominant_items", "target_items", "test_items"))
        if self.target_items > self.dominant_items:
            raise ConfigError(
                f"target items is {self.target_items}; it must be at most dominant items, "
                f"{self.dominant_items}, of which they are translations"
            )


@dataclass(frozen=True)
class Asked:
    """A question that each language puts in words, and the facts that one must know for it."""

    item: Callable[[Voice], Item]
    facts: tuple[tuple[Relation, int], ...] = ()


Draw = Callable[[World, random.Random, Sequence[int]], Iterator[Asked]]


@dataclass(frozen=True)
class LabTask:
    """One task: its shape, what it asks in a sentence, and whether no document has its rule."""

    name: str
    shape: Shape
    about: str
    draw: Draw
    held_out: bool = False
    classes: tuple[Class, ...] = ()


def _effects(world: World, source: random.Random, things: Sequence[int]) -> Iterator[Asked]:
    """Half of the wrong options stand otherwise to the thing, half are another thing's effect."""
    everything = world.told[world.codes[0]]
    for thing in cycle(source.sample(things, len(things))):
        ambiguous = source.random() < 0.5
        drawn = draw_choice(world, source, "effect", (thing,), everything, ambiguous=ambiguous)
        yield Asked(drawn.item, (("effect", thing),))


def _strangers(world: World, source: random.Random, things: Sequence[int]) -> Iterator[Asked]:
    """The other way round: the wrong option is the effect, the right one another thing's."""
    everything = world.told[world.codes[0]]
    for thing in cycle(source.sample(things, len(things))):
        drawn = draw_choice(world, source, "effect", (thing,), everything, ambiguous=False)
        turned = Choice(thing, "effect", drawn.wrong, drawn.right, drawn.right_first)
        yield Asked(turned.item, (("effect", thing),))


def _pairs(classes: Sequence[Class]) -> Draw:
    """Pairs of these classes, evenly drawn."""

    def draw(world: World, source: random.Random, things: Sequence[int]) -> Iterator[Asked]:
        words = label_words(world, classes)
        everything = world.told[world.codes[0]]
        while True:
            drawn = draw_labelled(world, source, source.choice(classes), things, everything)
            yield _labelled(drawn, words)

    return draw


def _labelled(drawn: Labelled, words: Mapping[Class, str]) -> Asked:
    facts: tuple[tuple[Relation, int], ...] = ()
    if drawn.group == "other-kind":
        facts = (("is-a", drawn.first),)
    elif drawn.group != "none":
        facts = ((drawn.group, drawn.first),)
    return Asked(lambda voice: drawn.item(voice, words=words), facts)


def _told_effects(world: World, source: random.Random, things: Sequence[int]) -> Iterator[Asked]:
    while True:
        yield Asked(draw_passage(world, source, "effect", ("cause", "located-in")).item)


def _next_told(world: World, source: random.Random, things: Sequence[int]) -> Iterator[Asked]:
    while True:
        drawn = draw_passage(world, source, "effect", ("cause", "located-in"))
        after = (drawn.asked + 1) % len(drawn.sentences)
        yield Asked(drawn.about(after).item)


RELATED: tuple[Class, ...] = ("effect", "cause", "is-a")
KINDS: tuple[Class, ...] = ("is-a", "other-kind", "none")
TASKS: tuple[LabTask, ...] = (
    LabTask("choice", "choice", "Which of the two does the thing cause?", _effects),
    LabTask(
        "label",
        "label",
        "Is the second the effect, the cause or the kind of the first?",
        _pairs(RELATED),
        classes=RELATED,
    ),
    LabTask("span", "span", "What does the passage say that the named one causes?", _told_effects),
    LabTask(
        "choice-new",
        "choice",
        "Which of the two has nothing to do with the thing?",
        _strangers,
        held_out=True,
    ),
    LabTask(
        "label-new",
        "label",
        "Is the second the kind of the first, another kind, or no kind at all?",
        _pairs(KINDS),
        held_out=True,
        classes=KINDS,
    ),
    LabTask(
        "span-new",
        "span",
        "What does the passage say next after what the named one causes?",
        _next_told,
        held_out=True,
    ),
)


def label_words(world: World, classes: Sequence[Class]) -> dict[Class, str]:
    """The label of each class in a task: words that mean something else in every document."""
    source = random.Random(f"{world.settings.seed}/labels/{'/'.join(classes)}")
    return dict(zip(classes, source.sample(LABELS, len(classes)), strict=True))


def write_task(folder: Path, task: LabTask, world: World, sizes: TaskSizes) -> Path:
    """Write a task's folder, whole or not at all, and give the path of its YAML file."""
    texts: dict[Path, Iterable[str]] = {folder / "task.yaml": _yaml_text(task, world)}
    for split, asked in _splits(task, world, sizes).items():
        for place, code in enumerate(world.codes):
            count = sizes.target_items if place and split == "train" else len(asked)
            rows = [
                {"id": f"{split}-{number}"} | _row(each, task, world, code)
                for number, each in enumerate(asked[:count])
            ]
            texts[folder / code / f"{split}.jsonl"] = each_line(rows)
    write_together(texts)
    return folder / "task.yaml"


def _splits(task: LabTask, world: World, sizes: TaskSizes) -> dict[str, list[Asked]]:
    source = random.Random(f"{world.settings.seed}/task/{task.name}")
    things = source.sample(world.things, len(world.things))
    cut = round(TEST_THINGS * len(things))
    most = len(things) - cut if task.shape == "choice" else sizes.dominant_items
    return {
        "train": list(
            islice(task.draw(world, source, things[cut:]), min(sizes.dominant_items, most))
        ),
        "test": list(islice(task.draw(world, source, things[:cut]), sizes.test_items)),
    }


def _row(asked: Asked, task: LabTask, world: World, code: str) -> dict[str, Any]:
    """A line of a file; `told` says whether this language's text ever told the facts."""
    item = asked.item(Voice.of(world.languages[code]))
    answer = item.answer
    if task.shape == "choice":
        answer = next(name for name in OPTIONS if item.fields[name] == item.answer)
    elif task.shape == "label":
        words = label_words(world, task.classes)
        answer = next(group for group, word in words.items() if word == item.answer)
    told = all(world.tells(code, *fact) for fact in asked.facts)
    return {**item.fields, "answer": answer, "told": told}


def _yaml_text(task: LabTask, world: World) -> str:
    fields = [name for _, name, _, _ in Formatter().parse(INPUTS[task.shape]) if name]
    content: dict[str, Any] = {
        "name": task.name,
        "description": task.about,
        "kind": task.shape,
        "dominant": world.codes[0],
        "languages": list(world.codes),
        "fields": [name for name in fields if name not in OPTIONS],
        "answer": "answer",
        "id": "id",
    }
    if task.shape == "choice":
        content["options"] = list(OPTIONS)
    elif task.shape == "label":
        content["options"] = dict(label_words(world, task.classes))
    else:
        content["context"] = "passage"
    content["wording"] = {"input": INPUTS[task.shape], "answer": ANSWER}
    content["files"] = "{language}/{split}.jsonl"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
