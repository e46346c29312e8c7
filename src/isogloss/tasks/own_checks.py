"""Checks over all files of a user's own task (Section 6.1): leaks, and ids that are parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from isogloss.errors import Problem
from isogloss.tasks.example import SplitName
from isogloss.tasks.own_files import SPLITS
from isogloss.tasks.own_items import Item, Items, each_item, is_there
from isogloss.tasks.own_schema import Schema
from isogloss.tasks.sources import described

Portions: TypeAlias = Mapping[tuple[str, SplitName], Sequence[Item]]


def check_files(schema: Schema) -> tuple[list[Problem], list[dict[str, object]]]:
    """Every problem over all files, and a row for each file: language, split, items and file."""
    problems = _missing(schema)
    portions: dict[tuple[str, SplitName], Items] = {}
    comparable: dict[tuple[str, SplitName], Items] = {}
    for place in ((code, split) for code in schema.languages for split in SPLITS):
        if place not in schema.files or not is_there(schema.files[place]):
            continue
        before = len(problems)
        portions[place] = Items(each_item(schema, *place, problems))
        # Where rows count as ids, a file that lacks a row has the wrong ids after it.
        if schema.id is not None or (schema.parallel_rows and len(problems) == before):
            comparable[place] = portions[place]
    for code in schema.languages:
        _check_leaks(schema, portions, code, problems)
    _check_shared_ids(schema, comparable, problems)
    _check_same_answers(schema, comparable, problems)
    rows: list[dict[str, object]] = [
        {
            "language": code,
            "split": split,
            "items": len(items),
            "file": str(schema.files[code, split]),
        }
        for (code, split), items in portions.items()
    ]
    return problems, rows


def _missing(schema: Schema) -> list[Problem]:
    """The files without which no method can be trained, or a listed language is of no use."""
    problems = []
    if not _has_file(schema, schema.dominant, "train"):
        what = f"the training items of the dominant language '{schema.dominant}'"
        problems.append(schema.missing(schema.dominant, "train", what))
    others = [code for code in schema.languages if code != schema.dominant]
    needed: tuple[SplitName, ...] = ("train", "test")
    lacking = {
        code: [split for split in needed if not _has_file(schema, code, split)] for code in others
    }
    if all(lacking.values()):
        found = "; ".join(
            f"no {' and no '.join(one)} file for '{code}'" for code, one in lacking.items()
        )
        expected = f"both for at least one language beside '{schema.dominant}'"
        return [*problems, schema.problem("languages", found, expected)]
    for code, splits in lacking.items():
        if splits == ["test"]:
            what = f"the test items of '{code}', as it has training items"
            problems.append(schema.missing(code, "test", what))
        elif len(splits) == 2:
            found = f"'{code}', which has no train and no test file"
            problems.append(schema.problem("languages", found, "files for every language"))
    return problems


def _has_file(schema: Schema, language: str, split: SplitName) -> bool:
    return (language, split) in schema.files and is_there(schema.files[language, split])


def _check_leaks(
    schema: Schema, portions: Portions, language: str, problems: list[Problem]
) -> None:
    """Note every held-out item that has the id or the very texts of a training item."""
    training = portions.get((language, "train"), ())
    by_id = {item.example.id: item for item in training}
    by_texts = {_texts(item): item for item in training}
    held_out: tuple[SplitName, ...] = ("validation", "test")
    for split in held_out:
        for item in portions.get((language, split), ()):
            if item.example.id in by_id:
                same, field = by_id[item.example.id], schema.id
                found = f"the id {described(item.example.id)}, also in {_place(same)}"
            elif _texts(item) in by_texts:
                same, field = by_texts[_texts(item)], schema.fields[0]
                found = f"the very texts of {_place(same)}"
            else:
                continue
            expected = f"no {split} item that is among the training items too"
            problems.append(item.place.problem(field, found, expected))


def _check_shared_ids(schema: Schema, portions: Portions, problems: list[Problem]) -> None:
    """Note each language that shares no id at all with the dominant language's training items."""
    known = {item.example.id for item in portions.get((schema.dominant, "train"), ())}
    for code in schema.languages:
        items = portions.get((code, "train"), ())
        if not schema.id or not known or not items:
            continue
        if any(item.example.id in known for item in items):
            continue
        found = f"0 of {len(items)} ids among those of {schema.files[schema.dominant, 'train']}"
        expected = (
            "parallel ids: give an item and its translation the same id, or, if the languages "
            f"hold different items, take the key 'id' out of {schema.path.name}"
        )
        problems.append(items[0].place.problem(schema.id, found, expected))


def _check_same_answers(schema: Schema, portions: Portions, problems: list[Problem]) -> None:
    """Note each item whose answer is not that of its translation, the dominant one if there."""
    if schema.kind == "span":
        return
    first: dict[str, Item] = {}
    others = [code for code in schema.languages if code != schema.dominant]
    for code in (schema.dominant, *others):
        here = [item for split in SPLITS for item in portions.get((code, split), ())]
        for item in here:
            same = first.setdefault(item.example.id, item)
            if same.example.language != code and same.example.answers != item.example.answers:
                (answer,), (wanted,) = item.example.answers, same.example.answers
                found = f"'{answer}' for the id {described(item.example.id)}"
                expected = f"'{wanted}' as in {_place(same)}, or another id"
                problems.append(item.place.problem(schema.answer, found, expected))


def _texts(item: Item) -> tuple[str, ...]:
    return tuple(item.example.fields.values())


def _place(item: Item) -> str:
    return f"{item.place.file}, line {item.place.line}"
