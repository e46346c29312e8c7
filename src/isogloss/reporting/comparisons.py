"""Which differences of a table are tested, and which of them the tests carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from isogloss.intervals import PairedTest
from isogloss.statistics import Parts, enough, holm, paired_tests

LEVEL = 0.05  # a difference is carried below this, after Holm's correction
AVERAGE = "average"
Question = Literal["baseline", "best baseline", "rank"]


@final
@dataclass(frozen=True)
class Column:
    """One column of a table: a task's metric in one language, or its average over languages."""

    task: str
    language: str
    metric: str


@final
@dataclass(frozen=True)
class Line:
    """One row of a table: a system within its group (a base model at one share of D_t)."""

    group: str
    row: str
    model: str = ""
    share: float = 1.0


@final
@dataclass(frozen=True)
class Comparison:
    """A tested difference of two rows in one column: `line` less `against`.

    `adjusted` is Holm's p over all comparisons of the table that answer the same question.
    """

    question: Question
    column: Column
    line: Line
    against: Line
    test: PairedTest
    adjusted: float

    @property
    def better(self) -> bool:
        """Whether the test carries that `line` is above `against`."""
        return self.adjusted < LEVEL and self.test.difference > 0

    @property
    def worse(self) -> bool:
        """Whether the test carries that `line` is below `against`."""
        return self.adjusted < LEVEL and self.test.difference < 0


Systems = Mapping[Line, Parts]  # of one column
Means = Mapping[Line, float]
Wanted = tuple[Question, Column, Line, Line]


def wanted(
    column: Column, means: Means, own: frozenset[Line], baseline: Mapping[str, Line]
) -> list[Wanted]:
    """The comparisons that one column asks for, group by group.

    Every row against its group's baseline; every one of `own` against the best other row; the
    best row against all others, and the second against all below it.
    """
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in means:
        groups[line.group].append(line)
    asked: list[Wanted] = []
    for group, lines in groups.items():
        ranked = ranking(means, lines)
        base = baseline.get(group)
        if base is not None and base in means:
            asked += [("baseline", column, line, base) for line in lines if line != base]
        others = [line for line in ranked if line not in own]
        if others:
            asked += [("best baseline", column, line, others[0]) for line in lines if line in own]
        for place, line in enumerate(ranked[:2]):
            asked += [("rank", column, line, below) for below in ranked[place + 1 :]]
    return asked


def ranking(means: Means, lines: Iterable[Line]) -> list[Line]:
    """Rows from the greatest mean down; of equal ones the first comes first."""
    return sorted(lines, key=lambda line: -means[line])


def compared(
    asked: Sequence[Wanted], systems: Mapping[Column, Systems], *, seed: int
) -> list[Comparison]:
    """The comparisons, tested and corrected; those without a seed and item in common are left out.

    Each question is a family of its own over the whole table, corrected by Holm.
    """
    sizes: dict[Question, int] = defaultdict(int)
    for question, *_ in asked:
        sizes[question] += 1
    resamples = enough(max(sizes.values(), default=0))
    tests = {
        column: _tested(column, asked, each, seed, resamples) for column, each in systems.items()
    }
    made = []
    for question in sizes:
        family = [
            (each, test)
            for each in asked
            if each[0] == question and (test := tests[each[1]][each[2:]]) is not None
        ]
        corrected = holm([test.p for _, test in family])
        made += [
            Comparison(*each, test, p) for (each, test), p in zip(family, corrected, strict=True)
        ]
    return made


def _tested(
    column: Column, asked: Sequence[Wanted], systems: Systems, seed: int, resamples: int
) -> dict[tuple[Line, Line], PairedTest | None]:
    pairs = list(dict.fromkeys((each[2], each[3]) for each in asked if each[1] == column))
    lines = list(systems)
    numbers = [(lines.index(one), lines.index(other)) for one, other in pairs]
    parts = [systems[line] for line in lines]
    found = paired_tests(parts, numbers, seed=seed, resamples=resamples)
    return dict(zip(pairs, found, strict=True))
