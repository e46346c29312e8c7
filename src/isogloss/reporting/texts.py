"""The texts of test items, read again from the task's data for the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

from isogloss.errors import IsoglossError
from isogloss.outcomes import Outcome
from isogloss.runs import Json, file_digest
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import read_test

NOTHING: Mapping[str, Mapping[str, str]] = MappingProxyType({})


@final
@dataclass(frozen=True)
class Texts:
    """The items' named texts by id, or why there are none."""

    fields: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: NOTHING)
    missing: str | None = None


def item_texts(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Texts]:
    """The texts of all test items, by task and language; data is read once for each seed."""
    found: dict[tuple[str, str], Texts] = {}
    seen: set[tuple[str, str, int]] = set()
    for outcome in outcomes:
        place = outcome.place
        if (place.task, place.language, place.seed) in seen:
            continue
        seen.add((place.task, place.language, place.seed))
        before = found.get((place.task, place.language), Texts())
        new = _read(outcome)
        merged = {**before.fields, **new.fields}
        found[place.task, place.language] = Texts(merged, before.missing or new.missing)
    return found


def _read(outcome: Outcome) -> Texts:
    record, place = outcome.record, outcome.place
    source = record["source"]
    if source["data"] == "hub":
        return Texts(missing="their data is on the hub, and a report fetches nothing")
    known = {each.name for each in dataclasses.fields(BenchmarkSettings)}
    settings = {k: v for k, v in record["task"]["settings"].items() if k in known}
    try:
        task = open_task(source["task"], source["data"], BenchmarkSettings(**settings))
        portion = read_test(task, place.language, seed=place.seed)
        whole = set(record["data"].values())
        changed = place.language == record["target"] and any(
            file_digest(file) not in whole for file in portion.files
        )
    except (IsoglossError, OSError) as error:
        return Texts(missing=_first_line(error))
    if changed:
        return Texts(missing="their data changed since the run")
    shown = outcome.items
    return Texts({e.id: _fields(e.fields) for e in portion.examples if e.id in shown})


def _fields(fields: Mapping[str, str]) -> Json:
    return {name: text for name, text in fields.items() if text}


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
