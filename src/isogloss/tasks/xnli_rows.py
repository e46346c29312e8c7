"""The rows of XNLI's files (Section 6.1): three layouts, checked, and parallel over languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

from isogloss.errors import Problem
from isogloss.tasks.reading import Record, read_json_lines, read_table
from isogloss.tasks.sources import (
    Source,
    coded,
    find_file,
    find_optional,
    hub_records,
    required_text,
)

LABELS = ("entailment", "neutral", "contradiction")
NO_LABEL = "-"  # the annotators did not agree

Pool = Literal["train", "dev", "test"]


@final
@dataclass(frozen=True)
class _Columns:
    """What a kind of file calls the parts of an item.

    `pair` is "" where it has no pair ids. `blanks` lets a text be empty, as a translation by
    machine may come out.
    """

    premise: str
    hypothesis: str
    label: str
    labels: Mapping[str | int, str]
    pair: str = ""
    blanks: bool = False


_BY_NAME: Mapping[str | int, str] = {label: label for label in LABELS}
_OFFICIAL = _Columns(
    "sentence1", "sentence2", "gold_label", {**_BY_NAME, NO_LABEL: NO_LABEL}, "pairID"
)
_TRANSLATED = _Columns(
    "premise", "hypo", "label", {**_BY_NAME, "contradictory": "contradiction"}, blanks=True
)
_HUB = _Columns("premise", "hypothesis", "label", {**dict(enumerate(LABELS)), **_BY_NAME})
_HUB_ID = "facebook/xnli"
_HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}

_PLACES = ("xnli/", "", "XNLI-1.0/", "xnli/XNLI-1.0/")
_TRANSLATED_PLACES = (
    "xnli/XNLI-MT-1.0/multinli/",
    "XNLI-MT-1.0/multinli/",
    "xnli/multinli/",
    "multinli/",
    "xnli/",
    "",
)
_ADVICE = (
    "Get XNLI-1.0.zip from https://github.com/facebookresearch/XNLI, or read XNLI from the hub."
)
_TRANSLATED_ADVICE = (
    "The folder has machine-translated training data in other languages: add this one from "
    "XNLI-MT-1.0.zip, or move them all away to train on the dev set."
)


@final
@dataclass(frozen=True)
class Row:
    """One row of a file, checked; `id` names the set and the pair, `label` may be "-"."""

    record: Record
    id: str
    premise: str
    hypothesis: str
    label: str


def read_rows(
    source: Source, language: str, pool: Pool, problems: list[Problem]
) -> tuple[list[Row], tuple[Path, ...]]:
    """All rows of a language in one set, and the files that they came from.

    Where the same source has the set in English, too, the two must agree row by row in pair id
    and label; whatever is wrong is noted.

    Raises:
        DataError: the file is not there, or the hub cannot be read.
    """
    records, columns, files = _records(source, language, pool, problems)
    rows = _checked(records[language], columns, pool, problems)
    if language != "en" and records.get("en"):
        _check_parallel(rows, _checked(records["en"], columns, pool, problems), problems)
    return rows, files


def new_row(record: Record, problems: list[Problem]) -> Row:
    """A row to be predicted, under any layout's names; the label may lack (then it is "")."""
    columns = _OFFICIAL if "sentence1" in record.values else _HUB
    name = str(record.values.get("pairID", record.values.get("id", record.line)))
    known = record.values.get(columns.label) is not None
    return _row(record, columns, name, problems, labelled=known)


def has_translated(source: Source, languages: Sequence[str]) -> bool:
    """Whether machine-translated training rows are there for English and any other language."""
    if source is None:
        return True
    found = [
        language
        for language in languages
        if find_optional(source, _translated_candidates(language)) is not None
    ]
    return "en" in found and len(found) > 1


def _records(
    source: Source, language: str, pool: Pool, problems: list[Problem]
) -> tuple[Mapping[str, Sequence[Record]], _Columns, tuple[Path, ...]]:
    """The records as they stand by language: at least this one, and English if it is there."""
    wanted = tuple(dict.fromkeys((language, "en")))
    if source is None:
        tables = {one: hub_records(_HUB_ID, one, _HUB_SPLITS[pool]) for one in wanted}
        return tables, replace(_HUB, blanks=pool == "train"), ()
    if pool == "train":
        paths = {one: _translated_file(source, one) for one in wanted}
        tables = {one: _table(path, problems) for one, path in paths.items()}
        return tables, _TRANSLATED, (paths[language],)
    path = _official_file(source, pool)
    return _by_language(path, language, problems), _OFFICIAL, (path,)


def _translated_candidates(language: str) -> tuple[str, ...]:
    return tuple(f"{place}multinli.train.{language}.tsv" for place in _TRANSLATED_PLACES)


def _translated_file(folder: Path, language: str) -> Path:
    what = f"XNLI training file for '{language}'"
    return find_file(folder, _translated_candidates(language), what, advice=_TRANSLATED_ADVICE)


def _official_file(folder: Path, pool: Pool) -> Path:
    names = (f"xnli.{pool}.jsonl", f"xnli.{pool}.tsv")
    candidates = tuple(place + name for place in _PLACES for name in names)
    return find_file(folder, candidates, f"XNLI {pool} file", advice=_ADVICE)


def _table(path: Path, problems: list[Problem]) -> list[Record]:
    # Quotation marks in XNLI's tables are part of the text.
    return read_table(path, problems, separator="\t", quoted=False)


def _by_language(
    path: Path, language: str, problems: list[Problem]
) -> Mapping[str, Sequence[Record]]:
    """The records of a file by language; that it has this one is made sure."""
    tabular = path.suffix == ".tsv"
    records = _table(path, problems) if tabular else read_json_lines(path, problems)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(required_text(record, "language", problems), []).append(record)
    if records and language not in groups:
        has = ", ".join(sorted(group for group in groups if group))
        expected = f"rows in one of the file's languages: {has}"
        problems.append(Problem(str(path), f"no rows in '{language}'", expected, field="language"))
    return {language: [], **groups}


def _checked(
    records: Sequence[Record], columns: _Columns, pool: Pool, problems: list[Problem]
) -> list[Row]:
    return [
        _row(record, columns, f"{pool}-{_pair(record, columns, number, problems)}", problems)
        for number, record in enumerate(records, start=1)
    ]


def _row(
    record: Record,
    columns: _Columns,
    name: str,
    problems: list[Problem],
    *,
    labelled: bool = True,
) -> Row:
    premise = _text(record, columns.premise, columns, problems)
    hypothesis = _text(record, columns.hypothesis, columns, problems)
    label = coded(record, columns.label, columns.labels, problems) if labelled else None
    return Row(record, name, premise, hypothesis, label or "")


def _text(record: Record, field: str, columns: _Columns, problems: list[Problem]) -> str:
    value = record.values.get(field)
    blank = columns.blanks and isinstance(value, str) and not value.strip()
    return "" if blank else required_text(record, field, problems)


def _pair(record: Record, columns: _Columns, number: int, problems: list[Problem]) -> str:
    """The pair's id; the row's number among its language's where the file has no pair ids."""
    if not columns.pair:
        return str(number)
    value = record.values.get(columns.pair)
    return str(value) if isinstance(value, int) else required_text(record, columns.pair, problems)


def _check_parallel(rows: Sequence[Row], english: Sequence[Row], problems: list[Problem]) -> None:
    """Make sure that row by row two languages have the same pairs and labels."""
    if not rows:
        return
    if len(rows) != len(english):
        found, expected = f"{len(rows)} rows", f"{len(english)}, as in English"
        problems.append(Problem(rows[0].record.file, found, expected))
        return
    unlike = [
        (own, other)
        for own, other in zip(rows, english, strict=True)
        if (own.id, own.label) != (other.id, other.label)
    ]
    if unlike:
        own, other = unlike[0]
        found = f"{own.id} ({own.label}), one of {len(unlike)} rows unlike the English ones"
        problems.append(own.record.problem(None, found, f"{other.id} ({other.label})"))
