"""Examples and tasks (Section 6.1): what is asked, how it is worded, what counts as right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from isogloss.tasks.reading import Record

Kind = Literal["choice", "label", "span"]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task in one language.

    `fields` are the named texts of the item. `options` are what a choice or label task chooses
    from (for `choice` the names of the fields that hold the options, for `label` the labels);
    a span task has none. `answers` are the right answers: one of `options`, or for spans one or
    more texts; empty where the answer is not known. Translations of an item share its `id`.
    """

    id: str
    language: str
    fields: Mapping[str, str]
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """An example as text: `input` is what is asked, `answer` the first right answer.

    `options` holds one answer text for each of the example's options, in their order. A space
    between input and answer belongs to the answer.
    """

    id: str
    language: str
    input: str
    answer: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wording:
    """How an item becomes text.

    `input` and `answer` are format strings over the item's fields. In `answer`, `{answer}` is
    the option's own text (for `choice` the text of the field, for `label` its word in `words`,
    for `span` the answer) and `{letter}` is A, B, C ... by the option's place. `words` maps a
    field's or label's raw value to its word, where it has one. `instruction` says in a sentence
    what the task is; it is not part of the prompt (put it in `input` for that), but a soft
    prompt may start from it.
    """

    input: str
    answer: str = " {answer}"
    instruction: str = ""
    words: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def render(example: Example, wording: Wording, kind: Kind) -> Rendered:
    """The example as text under a wording.

    >>> wording = Wording("{text} It was", " {answer}", words={"1": "great", "0": "poor"})
    >>> item = Example("7", "en", {"text": "Loved it."}, ("0", "1"), ("1",))
    >>> made = render(item, wording, "label")
    >>> made.input, made.answer, made.options
    ('Loved it. It was', ' great', (' poor', ' great'))
    """
    values = {name: wording.words.get(text, text) for name, text in example.fields.items()}
    options = tuple(
        _answer_text(option, place, example, wording, kind)
        for place, option in enumerate(example.options)
    )
    answer = ""
    if example.answers:
        first = example.answers[0]
        place = example.options.index(first) if example.options else 0
        answer = options[place] if options else _answer_text(first, 0, example, wording, kind)
    return Rendered(example.id, example.language, wording.input.format(**values), answer, options)


def _answer_text(option: str, place: int, example: Example, wording: Wording, kind: Kind) -> str:
    text = example.fields[option] if kind == "choice" else wording.words.get(option, option)
    letter = chr(ord("A") + place)
    # The option's own text and letter win over a field of the same name.
    return wording.answer.format(**{**example.fields, "answer": text, "letter": letter})


@dataclass(frozen=True)
class Portion:
    """One split of one language: its examples, the files they came from, and counts worth saying.

    `notes` are facts for the run's record, for example {"mended questions": 52}.
    """

    examples: Sequence[Example]
    files: tuple[Path, ...] = ()
    notes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


class Task(ABC):
    """A task: languages, splits, wording and the measure of a right answer."""

    name: str
    kind: Kind
    metric: str  # "accuracy" or "f1"
    dominant: str
    languages: tuple[str, ...]  # codes that this task has, the dominant one included

    @abstractmethod
    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        """The examples of one language and split; an absent optional split is an empty portion.

        `seed` decides every random choice in the making of splits, the same for all languages,
        so that ids are parallel. Raises DataError with every problem found.
        """

    @abstractmethod
    def wording(self, language: str) -> Wording:
        """The wording for items of a language."""

    @abstractmethod
    def parse(self, record: Record, language: str) -> Example:
        """A new item (without answer, or with one) from a record, for prediction.

        Raises DataError naming file, line and field.
        """

    def render(self, example: Example) -> Rendered:
        """The example as text in its language's wording."""
        return render(example, self.wording(example.language), self.kind)

    def sentence_fields(self) -> tuple[str, ...]:
        """The fields that hold sentences by which languages can be compared; none: all of them."""
        return ()

    def answer_field(self) -> str:
        """The field of a record that holds the right answer."""
        return "label"

    def settings(self) -> Mapping[str, str | bool]:
        """The task's own settings that decide numbers (a split rule, a wording), for the run."""
        return {}


def languages_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The language codes that occur, in order of first occurrence."""
    return tuple(dict.fromkeys(example.language for example in examples))
