"""What was run: settings, costs, versions and data of the runs behind a report."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar, final

from isogloss.outcomes import Outcome
from isogloss.reporting.comparisons import Line
from isogloss.runs import Json

K = TypeVar("K", bound=Hashable)
COLUMNS = {  # of the table of costs: heading by fact
    "trained_parameters": "trained parameters",
    "seconds": "training, s",
    "prompt_tokens": "prompt tokens",
    "demonstrations": "demonstrations",
    "chosen": "settings",
}


@final
@dataclass(frozen=True)
class Ran:
    """One system on one task: its costs over seeds and languages, and its settings.

    `settings` are those that all its runs have; `differing` holds the others, run by run.
    """

    line: Line
    task: str
    runs: int
    seeds: tuple[int, ...]
    languages: tuple[str, ...]
    costs: Mapping[str, str]
    settings: Mapping[str, str]
    differing: Mapping[str, str]
    folders: tuple[str, ...]


def what_ran(placed: Mapping[Line, Sequence[Outcome]]) -> list[Ran]:
    """A row's runs by task."""
    made = []
    for line, outcomes in placed.items():
        for task, block in _by(outcomes, lambda each: each.place.task).items():
            details = [each.details for each in block]
            names = dict.fromkeys(name for each in details for name in each)
            same = {n: {each.get(n, "") for each in details} for n in names}
            made.append(
                Ran(
                    line,
                    task,
                    len(block),
                    tuple(sorted({each.place.seed for each in block})),
                    tuple(dict.fromkeys(each.place.language for each in block)),
                    {name: _cost([each.facts.get(name) for each in block]) for name in COLUMNS},
                    {n: next(iter(found)) for n, found in same.items() if len(found) == 1},
                    {n: ", ".join(sorted(found)) for n, found in same.items() if len(found) > 1},
                    tuple(dict.fromkeys(str(each.folder) for each in block)),
                )
            )
    return made


def _by(outcomes: Iterable[Outcome], key: Callable[[Outcome], K]) -> dict[K, list[Outcome]]:
    found: dict[K, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[key(outcome)].append(outcome)
    return found


def _cost(values: Sequence[Any]) -> str:
    """One fact over runs: a mean of seconds, else the values that occur."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if all(isinstance(value, float) for value in known):
        return f"{fmean(known):.1f}"
    texts = [
        f"{value:,}" if isinstance(value, int)
        else value if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=str)
        for value in known
    ]  # fmt: skip
    return "; ".join(dict.fromkeys(texts))


def versions(outcomes: Sequence[Outcome]) -> list[tuple[dict[str, str], int]]:
    """The sets of versions that runs were made with, and how many runs each."""
    return _counted(
        each.record["versions"] | {"device": each.record["device"]} for each in outcomes
    )


def data_files(outcomes: Sequence[Outcome]) -> list[tuple[str, str, dict[str, str]]]:
    """The data read: task, target language, and each file's SHA-256."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for outcome in outcomes:
        found[outcome.place.task, outcome.record["target"]] |= outcome.record["data"]
    return [(task, target, files) for (task, target), files in found.items()]


def models(outcomes: Sequence[Outcome]) -> list[tuple[str, str, str]]:
    """The base models: label, where each was found, and its fingerprint."""
    found = {
        each.place.model: (each.record["source"]["model"], each.record["model"]["fingerprint"])
        for each in outcomes
    }
    return [(label, *where) for label, where in found.items()]


def _counted(values: Iterable[Json]) -> list[tuple[dict[str, str], int]]:
    counts: dict[str, int] = defaultdict(int)
    for value in values:
        counts[json.dumps(value)] += 1
    return [(json.loads(text), count) for text, count in counts.items()]
