"""Where the demonstrations of a compiled prefix come from: the run's own draw, or a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isogloss.demonstrations.choose import Demonstrations, Pool, draw_set
from isogloss.errors import ConfigError, DataError, Problem
from isogloss.finished import Opened
from isogloss.settings import CompileSettings
from isogloss.tasks.example import Example
from isogloss.tasks.examples import joined
from isogloss.tasks.reading import Record, read_records
from isogloss.tasks.splits import read_test

FROM_RUN, AUTO = "from-run", "auto"
LANGUAGE = "language"  # the field of a file's item that says its language


@dataclass(frozen=True)
class Candidate:
    """A demonstration set that may be compiled, and how it was come by."""

    demonstrations: tuple[Example, ...]
    how: str

    @property
    def names(self) -> list[str]:
        """LANGUAGE/ID of its items, in their order."""
        return [f"{item.language}/{item.id}" for item in self.demonstrations]


def candidate_sets(opened: Opened, settings: CompileSettings, seed: int) -> tuple[Candidate, ...]:
    """The sets to choose from: one, or with `auto` as many different ones as were asked for.

    Raises:
        ConfigError: sets are asked of a run that has no demonstrations, or one set of a run that
            chooses each item's own.
        DataError: the file cannot be read, or has items that are wrong or of the test set.
    """
    context = opened.method.context
    if settings.demonstrations not in (FROM_RUN, AUTO):
        path = Path(settings.demonstrations)
        return (Candidate(read_demonstrations(path, opened), f"read from {path}"),)
    if settings.demonstrations == AUTO:
        if context.count == 0:
            raise ConfigError(
                f"{opened.run.folder} has no demonstrations to choose; give --demonstrations FILE, "
                "or from-run for its prompt alone"
            )
        different: dict[tuple[str, ...], Candidate] = {}
        for number in range(settings.candidates):
            drawn = _drawn(opened, number, seed)
            different.setdefault(tuple(drawn.names), drawn)
        return tuple(different.values())
    if context.count == 0:
        return (Candidate((), "none, as in the run"),)
    if context.choose != "random":
        raise ConfigError(
            f"{opened.run.folder} chooses each item's own demonstrations ({context.choose}), so it "
            "has no one set; give --demonstrations FILE, or auto to choose one of random sets"
        )
    return (_drawn(opened, 0, seed),)


def _drawn(opened: Opened, number: int, seed: int) -> Candidate:
    """A set drawn from the training items as the run's test sets are, by the same seed's text."""
    split = opened.split
    context: Demonstrations = dataclasses.replace(
        opened.method.context, choose="random", encoder=""
    )
    excluded = {item.id for item in (*split.test, *split.validation)}
    text = f"{seed}/test/{number}"
    pool = Pool(split.dominant, split.target)
    return Candidate(
        draw_set(pool, context, excluded=excluded, seed=text), f"drawn as test set {number}, {text}"
    )


def read_demonstrations(path: Path, opened: Opened) -> tuple[Example, ...]:
    """The solved items of a JSONL, CSV or TSV file, in its order; `language` is one of the task's.

    An item without `language` is of the run's target language.

    Raises:
        DataError: every problem of the file, with line and field.
    """
    problems: list[Problem] = []
    records = read_records(path, problems)
    if not records and not problems:
        problems.append(Problem(str(path), "no items", "at least one solved item"))
    examples = [_parsed(record, opened, problems) for record in records]
    if not problems:
        problems += _of_the_test_set(opened, records, [one for one in examples if one])
    if problems:
        raise DataError(problems)
    return tuple(one for one in examples if one)


def _parsed(record: Record, opened: Opened, problems: list[Problem]) -> Example | None:
    task = opened.task
    said = LANGUAGE not in opened.split.target[0].fields  # else it is a field of the task's own
    language = (said and record.values.get(LANGUAGE)) or opened.record["target"]
    if language not in task.languages:
        expected = f"one of {', '.join(task.languages)}, or no language for the target's"
        problems.append(record.problem(LANGUAGE, repr(language), expected))
        return None
    try:
        example = task.parse(record, str(language))
    except DataError as error:
        problems += error.problems
        return None
    if not example.answers:
        expected = "the right answer: a demonstration is a solved item"
        problems.append(record.problem(task.answer_field(), "no answer", expected))
        return None
    return example


def _of_the_test_set(
    opened: Opened, records: Sequence[Record], examples: Sequence[Example]
) -> list[Problem]:
    """Items that are asked in the test set too, or whose translations are."""
    asked = _asked(opened)
    ids = {item.id: item for item in asked}
    texts = {(item.language, opened.task.render(item).input): item for item in asked}
    problems = []
    for record, one in zip(records, examples, strict=True):
        own = None if one.id == str(record.line) else one.id  # an item without id has its line's
        same = texts.get((one.language, opened.task.render(one).input)) or ids.get(own or "")
        if same:
            found = f"an item of the test set ('{same.id}')"
            expected = "items that no score is made of; take it out"
            problems.append(record.problem(None, found, expected))
    return problems


def _asked(opened: Opened) -> Sequence[Example]:
    """All test items of the target language, and of the dominant one where there are any."""
    seed, target = opened.record["seed"], opened.record["target"]
    asked = read_test(opened.task, target, seed=seed).examples
    try:
        return joined(asked, read_test(opened.task, opened.task.dominant, seed=seed).examples)
    except DataError:  # a task need not have test items of its dominant language
        return asked
