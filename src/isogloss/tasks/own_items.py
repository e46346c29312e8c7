"""The items of a user's own task (Section 6.1): records to examples, with every problem noted."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

import numpy

from isogloss.errors import Problem, suggestion
from isogloss.lazy import Lazy
from isogloss.tasks.example import Example, SplitName
from isogloss.tasks.examples import Shelved
from isogloss.tasks.own_schema import Schema
from isogloss.tasks.own_yaml import is_sound
from isogloss.tasks.reading import Place, Record, each_record
from isogloss.tasks.sources import described

_SHOWN = 8  # columns that an error names at most


@final
@dataclass(frozen=True, slots=True)
class Item:
    """An example and where it was read."""

    example: Example
    place: Place


@final
class Items(Lazy[Item]):
    """The items of one file; what memory should not hold of them is on disk."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._examples = Shelved()
        self._lines = array("Q")
        self._file = ""
        for item in items:
            self._examples.add(item.example)
            self._lines.append(item.place.line)
            self._file = item.place.file

    def __len__(self) -> int:
        return len(self._lines)

    def at(self, place: int) -> Item:
        """The item at a place from 0 on."""
        return Item(self._examples.at(place), Place(self._file, self._lines[place]))


def is_there(path: Path) -> bool:
    """Whether there is anything at a path; what cannot be told is left to the reading."""
    try:
        return path.exists()
    except OSError:
        return True


def each_item(
    schema: Schema, language: str, split: SplitName, problems: list[Problem]
) -> Iterator[Item]:
    """The good items of a file that the schema names, in its order; problems at the end."""
    path = schema.files[language, split]
    before = len(problems)
    found = _Found(schema)
    for row, record in enumerate(each_record(path, problems), start=1):
        found.meet(record)
        noted: list[Problem] = []
        fields = read_fields(schema, record, noted)
        answers = read_answers(schema, record, fields, noted)
        if schema.id is None:
            name = f"{split}-{row}" if schema.parallel_rows else f"{language}-{split}-{row}"
        else:
            name = _text(record, schema.id, noted) or ""
        found.noted += noted
        if not noted:
            example = Example(name, language, MappingProxyType(fields), schema.options, answers)
            yield Item(example, record.place)
    if found.first is None and len(problems) == before:
        problems.append(Problem(str(path), "no items", "at least one", 1))
    problems += found.problems(path)
    problems[before:] = sorted(problems[before:], key=lambda problem: problem.line or 0)


def read_fields(schema: Schema, record: Record, problems: list[Problem]) -> dict[str, str]:
    """The texts of a record's fields, without those that have a problem."""
    texts = {column: _text(record, column, problems) for column in schema.fields}
    return {column: text for column, text in texts.items() if text is not None}


def read_answers(
    schema: Schema, record: Record, fields: Mapping[str, str], problems: list[Problem]
) -> tuple[str, ...]:
    """The right answers of a record with these fields; empty, and problems noted, if wrong."""
    if schema.kind == "span":
        return _spans(schema, record, fields, problems)
    given = _text(record, schema.answer, problems)
    if given is None:
        return ()
    if given in schema.options:
        return (schema.options[schema.options.index(given)],)  # one text for all items
    number = int(given) if given.isdecimal() and len(given) < 4 else len(schema.options)
    if schema.kind == "choice" and number < len(schema.options):
        return (schema.options[number],)
    expected = f"one of {', '.join(schema.options)}"
    expected += f" or 0 to {len(schema.options) - 1}" if schema.kind == "choice" else ""
    near = suggestion(given.strip(), schema.options)
    problems.append(record.problem(schema.answer, described(given), expected + near))
    return ()


def scalar_text(value: object) -> str | None:
    """The text of a value that can stand in a field, or None.

    >>> scalar_text(True), scalar_text(7), scalar_text(" a "), scalar_text("  "), scalar_text([])
    ('true', '7', ' a ', None, None)
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return value if isinstance(value, str) and value.strip() and is_sound(value) else None


def _text(
    record: Record, column: str, problems: list[Problem], *, expected: str = "a text or a number"
) -> str | None:
    if column not in record.values:
        there = ", ".join(map(described, list(record.values)[:_SHOWN])) or "none"
        problems.append(record.problem(column, f"no value for it (there are {there})", expected))
        return None
    text = scalar_text(record.values[column])
    if text is None:
        problems.append(record.problem(column, described(record.values[column]), expected))
    return text


def _spans(
    schema: Schema, record: Record, fields: Mapping[str, str], problems: list[Problem]
) -> tuple[str, ...]:
    """The answers of a span item: one text, or a list of them."""
    value = record.values.get(schema.answer)
    before = len(problems)
    if not isinstance(value, list):
        text = _text(record, schema.answer, problems, expected="a text or a list of texts")
        answers = [text or ""]
    else:
        answers = [one for one in value if isinstance(one, str) and scalar_text(one)]
        wrong = [described(one) for one in value if one not in answers]
        for found in wrong or ([] if value else ["an empty list"]):
            problems.append(record.problem(schema.answer, found, "one or more texts"))
    text = fields.get(schema.context or "")
    if text is not None and len(problems) == before:
        for answer in answers:
            if answer not in text:
                expected = f"a text that occurs in the field '{schema.context}'"
                problems.append(record.problem(schema.answer, described(answer), expected))
    return tuple(dict.fromkeys(answers)) if len(problems) == before else ()


class _Found:
    """What was met while a file was read: its columns, its ids, and what is wrong with records."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.first: Record | None = None
        self.noted: list[Problem] = []
        self._columns: dict[str, None] = {}
        self._hashes = array("q")  # of the ids: a file may have more than memory should hold

    def meet(self, record: Record) -> None:
        """Take note of a record's columns, and of its id."""
        self.first = self.first or record
        self._columns |= dict.fromkeys(record.values)
        name = self._name(record)
        if name is not None:
            self._hashes.append(hash(name))

    def _name(self, record: Record) -> str | None:
        return scalar_text(record.values.get(self.schema.id)) if self.schema.id else None

    def problems(self, path: Path) -> list[Problem]:
        """All that is wrong; of a column that no record has, one problem for the whole file."""
        if self.first is None:
            return []
        columns = self._columns
        needed = (*self.schema.fields, self.schema.answer, *filter(None, (self.schema.id,)))
        absent = [column for column in needed if column not in columns]
        is_table = Path(self.first.file).suffix.lower() in (".csv", ".tsv")
        line = 1 if is_table else self.first.line
        there = ", ".join(map(described, columns))
        found = f"only the columns {there}" if columns else "no columns"
        missing = [
            Problem(
                self.first.file,
                found,
                f"a column '{column}'{suggestion(column, columns)}",
                line,
                column,
            )
            for column in absent
        ]
        own = [problem for problem in self.noted if problem.field not in absent]
        return [*missing, *self._again(path), *own]

    def _again(self, path: Path) -> list[Problem]:
        """The records whose id an earlier one has; to name them the file is read once more."""
        hashes, counts = numpy.unique(numpy.array(self._hashes), return_counts=True)
        suspected = set(hashes[counts > 1].tolist())
        again: list[Problem] = []
        lines: dict[str, int] = {}  # where each of these ids was met first
        for record in each_record(path, []) if suspected else ():
            name = self._name(record)
            if name is None or hash(name) not in suspected:
                continue
            if lines.setdefault(name, record.line) != record.line:
                found = f"{described(name)} again (first in line {lines[name]})"
                again.append(record.problem(self.schema.id, found, "each id once"))
        return again
