"""New items for a run to answer, gone through as often as needed and never held all at once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, DataError, Problem
from isogloss.finished import Opened
from isogloss.settings import PredictSettings
from isogloss.tasks.example import Example
from isogloss.tasks.examples import Ids, joined
from isogloss.tasks.reading import Record, each_record, read_records

WINDOW = 4096  # items that are held, and answered, together

# The records from the first on; problems of reading them are noted in the list.
Records = Callable[[list[Problem]], Iterator[Record]]


def given_items(settings: PredictSettings, items: Sequence[Mapping[str, Any]] | None) -> Records:
    """The items of a file, of fields on the command line, or of a sequence of mappings.

    Raises:
        ConfigError: they are given in no way, or in several.
    """
    given = [items is not None, settings.items is not None, bool(settings.field)]
    if sum(given) != 1:
        raise ConfigError(
            "give the items one way: --items FILE, or --field NAME=TEXT for each field of one item"
        )
    if items is not None:
        records = [Record("items", number, item) for number, item in enumerate(items, start=1)]
        return lambda _: iter(records)
    if settings.items is not None:
        return _of_file(settings.items)
    record = Record("--field", 1, dict(_pair(text) for text in settings.field))
    return lambda _: iter((record,))


def _of_file(path: Path) -> Records:
    if path.is_file() or not path.exists():
        return partial(each_record, path)
    problems: list[Problem] = []  # a pipe, which can be read only once
    records = read_records(path, problems)
    if problems:
        raise DataError(problems)
    return lambda _: iter(records)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--field is '{text}'; expected NAME=TEXT")
    return name, value


def known_ids(opened: Opened) -> Ids:
    """The ids of a run's training items."""
    return Ids(joined(opened.split.dominant, opened.split.target))


@final
@dataclass(frozen=True)
class Items:
    """New items of a run's task, in one language of it."""

    opened: Opened
    records: Records
    language: str

    def checked(self, known: Container[str]) -> tuple[int, frozenset[str]]:
        """How many items there are, and which of the `known` ids they have.

        Raises:
            DataError: what is wrong with any item, all problems at once, or there is no item.
        """
        problems: list[Problem] = []
        count, met = 0, set()
        for record in self.records(problems):
            try:
                example = self.opened.task.parse(record, self.language)
            except DataError as error:
                problems += error.problems
                continue
            count += 1
            if example.id in known:
                met.add(example.id)
        if problems:
            raise DataError(problems)
        if not count:
            raise DataError("no items to answer")
        return count, frozenset(met)

    def windows(self) -> Iterator[list[Example]]:
        """The items in their order, `WINDOW` of them at a time.

        Raises:
            DataError: the items changed since they were checked, and one is wrong.
        """
        problems: list[Problem] = []
        window: list[Example] = []
        for record in self.records(problems):
            window.append(self.opened.task.parse(record, self.language))
            if len(window) == WINDOW:
                yield window
                window = []
        if problems:
            raise DataError(problems)
        if window:
            yield window
