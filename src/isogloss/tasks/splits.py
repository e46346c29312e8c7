"""D_s, D_t and the held-out sets (Section 3.1), with low-resource shares of D_t (Fig. 5)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from isogloss.errors import ConfigError, DataError
from isogloss.languages import check_language
from isogloss.tasks.example import Example, Portion, SplitName, Task
from isogloss.tasks.examples import Ids, drawn


@final
@dataclass(frozen=True)
class Split:
    """What a method learns from and is judged by.

    `dominant` is D_s and `target` is D_t; `test` is in the target language, `validation` (may be
    empty) in the one that was asked for. `files` are all files read, `notes` facts for the run's
    record.
    """

    dominant: Sequence[Example]
    target: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    files: tuple[Path, ...]
    notes: Mapping[str, Any]


def make_split(
    task: Task,
    target: str,
    *,
    seed: int,
    share: float = 1.0,
    limit: int | None = None,
    validation_language: str | None = None,
) -> Split:
    """The data of one target language.

    `share` keeps this share of D_t: of one seed, a smaller share is part of a larger one. `limit`
    keeps at most this many items of each set. Both keep the order of the files. Validation items
    are of `validation_language`, the target by default.

    Raises:
        ConfigError: the target is the dominant language or one that the task lacks, or `share`
            or `limit` leave nothing.
        DataError: the data cannot be read, a set is empty, an id occurs twice in a set, or an
            item of D_t is in the test set too, or one of validation in training or test.
    """
    if target == task.dominant:
        others = ", ".join(code for code in task.languages if code != target)
        message = f"'{target}' is {task.name}'s dominant language and cannot be the target"
        raise ConfigError(f"{message}; choose one of {others}")
    dominant = _read(task, task.dominant, "train", seed=seed)
    pool = _read(task, target, "train", seed=seed)
    judge = validation_language or target
    validation = _read(task, judge, "validation", seed=seed)
    test = _read(task, target, "test", seed=seed)
    learnt = dominant if judge == task.dominant else pool
    _check_no_leak(pool.examples, test.examples, target)
    _check_no_leak(learnt.examples, validation.examples, judge)
    _check_no_leak(validation.examples, test.examples, judge, "validation")
    kept = _share_of(pool.examples, share, target, seed=seed)
    portions = {"D_s": dominant, "D_t": pool, "validation": validation, "test": test}
    notes = _notes(portions)
    notes["D_t pool"] = len(pool.examples)
    return Split(
        _limited(dominant.examples, limit, seed=seed),
        _limited(kept, limit, seed=seed),
        _limited(validation.examples, limit, seed=seed),
        _limited(test.examples, limit, seed=seed),
        tuple(dict.fromkeys(file for portion in portions.values() for file in portion.files)),
        MappingProxyType(notes),
    )


def read_test(task: Task, language: str, *, seed: int, limit: int | None = None) -> Portion:
    """The test set of any language of a task, the dominant one included.

    Raises:
        ConfigError: the task lacks the language, or `limit` is below 1.
        DataError: the data cannot be read, the set is empty, or an id occurs twice.
    """
    portion = _read(task, language, "test", seed=seed)
    return replace(portion, examples=_limited(portion.examples, limit, seed=seed))


def _read(task: Task, language: str, split: SplitName, *, seed: int) -> Portion:
    """A portion whose ids are made sure to be unique; only validation may be empty."""
    check_language(language, task.languages, task.name)
    portion = task.read(language, split, seed=seed)
    what = f"{task.name}, the '{split}' items of '{language}'"
    if not portion.examples and split != "validation":
        raise DataError(f"{what}: found none; give data with at least one")
    twice = Ids(portion.examples).repeated()
    if twice:
        raise DataError(f"{what}: found {_some(twice)} more than once; give every item its own id")
    return portion


def _check_no_leak(
    seen: Sequence[Example], held_out: Sequence[Example], language: str, what: str = "training"
) -> None:
    both = Ids(held_out).shared(Ids(seen))
    if both:
        later = "test items" if what == "validation" else "validation or test items"
        raise DataError(
            f"'{language}': found {_some(both)} both in the {what} items and in the {later}; a "
            "held-out item must have no copy there, so take it out of one of them, or give "
            "different items different ids"
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the id{'s' if len(names) > 1 else ''} {shown}{more}"


def _share_of(
    examples: Sequence[Example], share: float, language: str, *, seed: int
) -> Sequence[Example]:
    if not 0 < share <= 1:
        raise ConfigError(f"the share of target data is {share}; give more than 0 and at most 1")
    count = math.floor(share * len(examples) + 0.5)
    if count == 0:
        least = 1 / len(examples)
        raise ConfigError(
            f"a share of {share} of the {len(examples)} training items in '{language}' is none; "
            f"give at least {least:.3g} for one item"
        )
    return drawn(examples, count, random.Random(seed))


def _limited(examples: Sequence[Example], limit: int | None, *, seed: int) -> Sequence[Example]:
    if limit is None:
        return examples
    if limit < 1:
        raise ConfigError(f"the limit of items is {limit}; give 1 or more, or none at all")
    return drawn(examples, limit, random.Random(seed))


def _notes(portions: Mapping[str, Portion]) -> dict[str, Any]:
    """All portions' notes under their portion's name, and a count of parallel test items."""
    notes: dict[str, Any] = {
        f"{name}: {note}": count
        for name, portion in portions.items()
        for note, count in portion.notes.items()
    }
    seen = Ids(portions["D_s"].examples).shared(Ids(portions["test"].examples))
    if seen:
        notes["D_s items with the id of a test item"] = len(seen)
    return notes
