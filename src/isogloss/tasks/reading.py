"""Reading records from JSON lines, CSV and TSV so that every later error can name its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isogloss.errors import DataError, Problem


@dataclass(frozen=True)
class Record:
    """One item as it stands in a file: its values and where it was read (`line` counts from 1)."""

    file: str
    line: int
    values: Mapping[str, Any]

    def problem(self, field: str | None, found: str, expected: str) -> Problem:
        """A problem at this record's file and line."""
        return Problem(self.file, found, expected, self.line, field)


def read_text(path: Path, problems: list[Problem]) -> str:
    """The text of a UTF-8 file (a byte-order mark is dropped), or "" and a problem noted."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(str(path), "no such file", "a readable file"))
        return ""
    except IsADirectoryError:
        problems.append(Problem(str(path), "a folder", "a file"))
        return ""
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"bytes that are not UTF-8 ({error.reason})"
        problems.append(Problem(str(path), found, "UTF-8", line))
        return ""
    except OSError as error:
        problems.append(Problem(str(path), str(error.strerror), "a readable file"))
        return ""
    if not text.strip():
        problems.append(Problem(str(path), "an empty file", "at least one item"))
        return ""
    return text


def read_json_lines(path: Path, problems: list[Problem]) -> list[Record]:
    """The records of a JSON-lines file, one object a line; blank lines are passed over."""
    records = []
    # Not str.splitlines: it also breaks at U+2028 and the like, which may stand inside a string.
    for number, line in enumerate(read_text(path, problems).split("\n"), start=1):
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
        records.append(Record(str(path), number, values))
    return records


def read_table(
    path: Path, problems: list[Problem], *, separator: str = ",", quoted: bool = True
) -> list[Record]:
    """The records of a CSV or TSV file with a header line.

    `quoted=False` reads quotation marks as plain text, as the TSV files of XNLI's release need.
    """
    text = read_text(path, problems)
    stream = io.StringIO(text, newline="")
    if quoted:
        reader = csv.DictReader(stream, delimiter=separator, strict=True)
    else:
        reader = csv.DictReader(stream, delimiter=separator, strict=True, quoting=csv.QUOTE_NONE)
    records = []
    try:
        for values in reader:
            line = reader.line_num
            if None in values:
                found = f"more cells than the {len(reader.fieldnames or [])} columns of the header"
                problems.append(Problem(str(path), found, "one cell a column", line))
                continue
            present = {key: cell for key, cell in values.items() if cell is not None}
            records.append(Record(str(path), line, present))
    except csv.Error as error:
        found = f"a broken line ({error})"
        problems.append(Problem(str(path), found, "CSV", reader.line_num))
    return records


def read_records(path: Path, problems: list[Problem]) -> list[Record]:
    """The records of a .jsonl, .csv or .tsv file, by its ending."""
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return read_json_lines(path, problems)
    if ending == ".csv":
        return read_table(path, problems)
    if ending == ".tsv":
        return read_table(path, problems, separator="\t")
    problems.append(Problem(str(path), f"the ending '{ending}'", ".jsonl, .csv or .tsv"))
    return []


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
