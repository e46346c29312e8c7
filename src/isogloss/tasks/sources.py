"""Where a benchmark's items come from (Section 6.1): files in a folder, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from isogloss.errors import DataError, Problem
from isogloss.tasks.reading import Record

Source: TypeAlias = Path | None
"""A folder with the benchmark's files, or None for the hub."""


def find_optional(folder: Path, candidates: Sequence[str]) -> Path | None:
    """The first of the candidates (paths relative to the folder) that is a file, or None."""
    return next((folder / one for one in candidates if (folder / one).is_file()), None)


def find_file(folder: Path, candidates: Sequence[str], what: str, *, advice: str = "") -> Path:
    """The first of the candidates (paths relative to the folder) that is a file.

    `what` names the file in the error, and `advice` says there how to get it.

    Raises:
        DataError: the folder is missing, or it holds none of the candidates; all are listed.
    """
    check_folder(folder)
    found = find_optional(folder, candidates)
    if found is not None:
        return found
    looked_for = "\n".join(f"  {one}" for one in candidates)
    ending = f"\n{advice}" if advice else ""
    raise DataError(f"{folder}: found no {what}; looked in this folder for\n{looked_for}{ending}")


def check_folder(folder: Path) -> None:
    """Make sure that a data folder is there.

    Raises:
        DataError: it is missing, or it is a file.
    """
    if folder.is_dir():
        return
    found = "a file" if folder.exists() else "no such folder"
    raise DataError(Problem(str(folder), found, "the folder that holds the benchmark's files"))


def hub_records(hub_id: str, config: str, split: str) -> list[Record]:
    """The rows of one configuration and split of a data set on the Hugging Face hub.

    A record's file is "hub:ID/CONFIG/SPLIT" and its line is the row's number from 1.

    Raises:
        DataError: `datasets` is not installed, or could not load the data.
    """
    place = f"hub:{hub_id}/{config}/{split}"
    advice = "download the files and give their folder instead"
    try:
        import datasets  # heavy, and needed only here
    except ImportError:
        message = "the package 'datasets' is not installed; install it, or"
        raise DataError(f"{place}: {message} {advice}") from None
    try:
        rows: list[Mapping[str, Any]] = datasets.load_dataset(hub_id, config, split=split).to_list()
    except Exception as error:  # the hub and the network raise errors of many unrelated types
        reason = f"{type(error).__name__}: {error}"
        message = f"could not be loaded ({reason}); check the connection, or"
        raise DataError(f"{place}: {message} {advice}") from error
    return [Record(place, number, row) for number, row in enumerate(rows, start=1)]


def required_text(record: Record, field: str, problems: list[Problem]) -> str:
    """A field that must hold a text, without white space at its ends; else "" and a problem."""
    value = record.values.get(field)
    if isinstance(value, str) and value.strip():
        return value.strip()
    problems.append(record.problem(field, described(value), "a text"))
    return ""


def coded(
    record: Record, field: str, codes: Mapping[str | int, str], problems: list[Problem]
) -> str | None:
    """What a field's value stands for in `codes`; else None and a problem.

    >>> problems = []
    >>> coded(Record("a.jsonl", 3, {"label": 2}), "label", {0: "no", 1: "yes"}, problems)
    >>> print(problems[0])
    a.jsonl, line 3, field 'label': found 2; expected 0 or 1
    """
    value = record.values.get(field)
    if isinstance(value, (str, int)) and not isinstance(value, bool) and value in codes:
        return codes[value]
    expected = " or ".join(map(described, codes))
    problems.append(record.problem(field, described(value), expected))
    return None


def described(value: object) -> str:
    """A value as an error shows it, cut where it is long.

    >>> described(None), described("  "), described("why"), described(7)
    ('nothing', 'an empty text', "'why'", '7')
    """
    if value is None:
        return "nothing"
    if isinstance(value, str) and not value.strip():
        return "an empty text"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
