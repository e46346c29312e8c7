"""The items of a prediction request: the task's own form, all faults at once."""

from __future__ import annotations

from typing import Any

from isogloss.errors import ConfigError, DataError, Problem
from isogloss.finished import Opened
from isogloss.predicting import parse_items
from isogloss.serving.replies import Refused
from isogloss.tasks.example import Example
from isogloss.tasks.own_yaml import is_sound
from isogloss.tasks.reading import Record
from isogloss.tasks.sources import described

FILE = "items"  # where the problems of a request's items are said to be


def examples_of(
    opened: Opened, body: Any, language: str | None, *, most: int
) -> tuple[Example, ...]:
    """The items of a body, one or a list of them.

    Raises:
        Refused: there are too many, or anything is wrong with any of them.
    """
    given = body if isinstance(body, list) else [body]
    if len(given) > most:
        message = f"{len(given)} items are given, but a request may have at most {most}"
        raise Refused(400, message, code="too_many_items")
    problems: list[Problem] = []
    records = _records(given, problems)
    try:
        examples = tuple(parse_items(opened, records, language))
    except ConfigError as error:
        raise Refused(422, str(error), code="invalid_language", param="language") from None
    except DataError as error:
        problems += error.problems
        if not problems:
            raise Refused(422, str(error), code="invalid_items") from None
    if problems:
        problems.sort(key=lambda problem: problem.line or 0)
        raise invalid(problems, 422, "invalid_items")
    return examples


def _records(given: list[Any], problems: list[Problem]) -> list[Record]:
    records = []
    for number, item in enumerate(given, start=1):
        if isinstance(item, dict):
            problems += _unsound(number, item)
            records.append(Record(FILE, number, item))
        else:
            expected = "an object with the task's fields"
            problems.append(Problem(FILE, described(item), expected, number))
    return records


def invalid(problems: list[Problem], status: int, code: str) -> Refused:
    """The refusal that lists problems."""
    message = "\n".join(map(str, problems))
    return Refused(status, message, code=code, param=problems[0].field, problems=problems)


def _unsound(number: int, item: dict[str, Any]) -> list[Problem]:
    """Texts that no tokenizer takes, such as half a pair of surrogates."""
    return [
        Problem(FILE, described(value), "a text of whole Unicode characters", number, field)
        for field, value in item.items()
        if isinstance(value, str) and not is_sound(value)
    ]
