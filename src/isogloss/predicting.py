"""Prediction: a finished run answers new items."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from isogloss import processes
from isogloss.answering import Prediction, answer
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import fit
from isogloss.errors import ConfigError, DataError, Problem
from isogloss.finished import Opened, check_shift, open_finished
from isogloss.languages import check_language
from isogloss.pooling import make_pool
from isogloss.runs import key_of, write_lines
from isogloss.settings import PredictSettings
from isogloss.tasks.example import Example
from isogloss.tasks.reading import Record, read_records


def predict(
    settings: PredictSettings, items: Sequence[Mapping[str, Any]] | None = None
) -> list[Prediction]:
    """Answers to items given as a file, as fields, or as a sequence of mappings.

    Raises:
        IsoglossError: anything about the run or the items that stops the work.
    """
    processes.in_main("predict")
    records = _records(settings, items)
    opened = open_finished(
        settings.run, model=settings.model, data=settings.data, dtype=settings.dtype
    )
    language = settings.language or opened.record["target"]
    check_language(language, opened.task.languages, opened.task.name)
    examples = _examples(opened, records, language)
    check_shift(opened, language)
    predictions = _answers(opened, settings, examples)
    if settings.out:
        write_lines(settings.out, [prediction.entry() for prediction in predictions])
    return predictions


def _records(settings: PredictSettings, items: Sequence[Mapping[str, Any]] | None) -> list[Record]:
    given = [items is not None, settings.items is not None, bool(settings.field)]
    if sum(given) != 1:
        raise ConfigError(
            "give the items one way: --items FILE, or --field NAME=TEXT for each field of one item"
        )
    if items is not None:
        return [Record("items", number, item) for number, item in enumerate(items, start=1)]
    if settings.items is not None:
        problems: list[Problem] = []
        records = read_records(settings.items, problems)
        if problems:
            raise DataError(problems)
        return records
    return [Record("--field", 1, dict(_pair(text) for text in settings.field))]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--field is '{text}'; expected NAME=TEXT")
    return name, value


def _examples(opened: Opened, records: Sequence[Record], language: str) -> list[Example]:
    problems: list[Problem] = []
    examples = []
    for record in records:
        try:
            examples.append(opened.task.parse(record, language))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    if not examples:
        raise DataError("no items to answer")
    return examples


def _answers(
    opened: Opened, settings: PredictSettings, examples: Sequence[Example]
) -> list[Prediction]:
    loaded = opened.load(settings.device)
    how, context = opened.answering(settings), opened.context(settings)
    episodes = opened.episodes(loaded, tuned=True)
    if opened.task.kind == "span":
        episodes = dataclasses.replace(episodes, reserve=how.max_new_tokens)
    # Items may come without ids of their own: by its text an item has the same set wherever it is.
    placed = [dataclasses.replace(item, id=_text_id(opened, item)) for item in examples]
    groups = test_groups(
        placed, _pool(opened, context, examples), context, seed=opened.record["seed"]
    )
    fitting, skipped = fit(groups, episodes, skip=True)
    if skipped:
        given = {one.id: example.id for one, example in zip(placed, examples, strict=True)}
        raise DataError(
            f"item '{given[skipped[0].id]}' needs {skipped[0].tokens} tokens with its "
            f"demonstrations and soft prompt, but at most {skipped[0].longest} fit; shorten it, "
            "or give --demonstrations none"
        )
    with opened.tuned(loaded) as shifter:
        found = answer(loaded, episodes, fitting, how, shifter)
    by_text = {prediction.id: prediction for prediction in found}
    return [
        dataclasses.replace(by_text[item.id], id=example.id)
        for item, example in zip(placed, examples, strict=True)
    ]


def _text_id(opened: Opened, example: Example) -> str:
    return "new-" + key_of({"input": opened.task.render(example).input})[:16]


def _pool(opened: Opened, context: Demonstrations, examples: Sequence[Example]) -> Pool:
    """The training items without the items themselves and their translations."""
    asked = {example.id for example in examples}
    return make_pool(
        tuple(item for item in opened.split.dominant if item.id not in asked),
        tuple(item for item in opened.split.target if item.id not in asked),
        context,
    )
