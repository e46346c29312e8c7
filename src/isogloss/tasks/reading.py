"""Reading records from JSON lines, CSV and TSV so that every later error can name its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isogloss.errors import DataError, Problem


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item was read: a file, and a line counted from 1."""

    file: str
    line: int

    def problem(self, field: str | None, found: str, expected: str) -> Problem:
        """A problem at this file and line."""
        return Problem(self.file, found, expected, self.line, field)


@dataclass(frozen=True, slots=True)
class Record(Place):
    """One item as it stands in a file: its values and where it was read."""

    values: Mapping[str, Any]

    @property
    def place(self) -> Place:
        """Where it was read, without what was."""
        return Place(self.file, self.line)


def read_text(path: Path, problems: list[Problem]) -> str:
    """The text of a UTF-8 file (a byte-order mark is dropped), or "" and a problem noted."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(Problem(str(path), _not_utf8(error), "UTF-8", _broken_line(path)))
        return ""
    except OSError as error:
        problems.append(_unreadable(path, error))
        return ""
    if not text.strip():
        problems.append(Problem(str(path), "an empty file", "at least one item"))
        return ""
    return text


def read_json_lines(path: Path, problems: list[Problem]) -> list[Record]:
    """The records of a JSON-lines file, one object a line; blank lines are passed over."""
    return list(_json_lines(path, problems))


def _json_lines(path: Path, problems: list[Problem]) -> Iterator[Record]:
    # Lines end at "\n" alone: U+2028 and the like may stand inside a string.
    with _opened(path, problems, newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                found = f"broken JSON ({error.msg} at column {error.colno})"
                problems.append(Problem(str(path), found, "one JSON object", number))
                continue
            except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
                found = f"JSON that cannot be read ({error})"
                problems.append(Problem(str(path), found, "one JSON object", number))
                continue
            if not isinstance(values, dict):
                found = f"a JSON {type(values).__name__}"
                problems.append(Problem(str(path), found, "one JSON object", number))
                continue
            yield Record(str(path), number, values)


@contextmanager
def _opened(path: Path, problems: list[Problem], newline: str) -> Iterator[Iterator[str]]:
    """The lines of a UTF-8 file (a byte-order mark is dropped), read as they are asked for.

    A problem is noted where the file cannot be read, or was read and held nothing.
    """
    try:
        stream = path.open(encoding="utf-8-sig", newline=newline)
    except OSError as error:
        problems.append(_unreadable(path, error))
        yield iter(())
        return
    something = False

    def lines() -> Iterator[str]:
        nonlocal something
        for line in stream:
            something = something or bool(line.strip())
            yield line

    before = len(problems)
    with stream:
        try:
            yield lines()
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), _not_utf8(error), "UTF-8", _broken_line(path)))
        except OSError as error:
            problems.append(_unreadable(path, error))
    if not something and len(problems) == before:
        problems.append(Problem(str(path), "an empty file", "at least one item"))


def _unreadable(path: Path, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem(str(path), "no such file", "a readable file")
    if isinstance(error, IsADirectoryError):
        return Problem(str(path), "a folder", "a file")
    return Problem(str(path), str(error.strerror), "a readable file")


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"bytes that are not UTF-8 ({error.reason})"


def _broken_line(path: Path) -> int | None:
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def read_table(
    path: Path, problems: list[Problem], *, separator: str = ",", quoted: bool = True
) -> list[Record]:
    """The records of a CSV or TSV file with a header line.

    `quoted=False` reads quotation marks as plain text, as the TSV files of XNLI's release need.
    """
    return list(_table(path, problems, separator=separator, quoted=quoted))


def _table(
    path: Path, problems: list[Problem], *, separator: str, quoted: bool
) -> Iterator[Record]:
    with _opened(path, problems, newline="") as lines:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.DictReader(lines, delimiter=separator, strict=True, quoting=quoting)
        try:
            for values in reader:
                line = reader.line_num
                if None in values:
                    columns = len(reader.fieldnames or [])
                    found = f"more cells than the {columns} columns of the header"
                    problems.append(Problem(str(path), found, "one cell a column", line))
                    continue
                present = {key: cell for key, cell in values.items() if cell is not None}
                yield Record(str(path), line, present)
        except csv.Error as error:
            found = f"a broken line ({error})"
            problems.append(Problem(str(path), found, "CSV", reader.line_num))


def read_records(path: Path, problems: list[Problem]) -> list[Record]:
    """The records of a .jsonl, .csv or .tsv file, by its ending."""
    return list(each_record(path, problems))


def each_record(path: Path, problems: list[Problem]) -> Iterator[Record]:
    """The records of a .jsonl, .csv or .tsv file one by one, as they are read."""
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return _json_lines(path, problems)
    if ending in (".csv", ".tsv"):
        return _table(path, problems, separator="," if ending == ".csv" else "\t", quoted=True)
    problems.append(Problem(str(path), f"the ending '{ending}'", ".jsonl, .csv or .tsv"))
    return iter(())


def read_json(path: Path) -> Any:
    """The value of one JSON file.

    Raises:
        DataError: the file is missing, empty or broken; line and column are named.
    """
    problems: list[Problem] = []
    text = read_text(path, problems)
    if problems:
        raise DataError(problems)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        found = f"broken JSON ({error.msg} at column {error.colno})"
        raise DataError(Problem(str(path), found, "one JSON value", error.lineno)) from None
