"""How a step's work is divided among processes."""

from __future__ import annotations

import pytest

from isogloss.demonstrations.choose import Group
from isogloss.planning import Step
from isogloss.portions import Portion, portions
from isogloss.tasks.example import Example


def item(number: int, language: str = "tr") -> Example:
    return Example(f"i{number}", language, {"text": str(number)}, "yes")


SETS = tuple((item(90 + number),) for number in range(3))
STEP = Step(
    4,
    (
        Group(SETS[0], tuple(item(number) for number in range(4))),
        Group(SETS[1], tuple(item(number) for number in range(4, 6))),
        Group(SETS[2], (item(6),)),
    ),
)
PAIRS = tuple((item(number, "en"), item(number)) for number in range(5))


def targets(portion: Portion) -> list[tuple[str, list[str]]]:
    return [
        (group.demonstrations[0].id, [each.id for each in group.targets])
        for group in portion.step.groups
    ]


def test_one_process_has_all():
    (portion,) = portions(STEP, 3, 1)
    assert portion == Portion(STEP, 7)


def test_targets_keep_their_order_and_their_demonstrations():
    first, second = portions(STEP, 0, 2)
    assert targets(first) == [("i90", ["i0", "i1", "i2"])]
    assert targets(second) == [("i90", ["i3"]), ("i91", ["i4", "i5"]), ("i92", ["i6"])]
    assert first.targets == second.targets == 7
    assert first.step.epoch == second.step.epoch == 4


@pytest.mark.parametrize("processes", range(1, 10))
def test_every_target_counts_once_and_sizes_differ_by_one_at_most(processes):
    made = portions(STEP, 0, processes)
    counted = [portion for portion in made if portion.answers_count]
    own = [[name for _, names in targets(portion) for name in names] for portion in counted]
    assert [name for names in own for name in names] == [f"i{number}" for number in range(7)]
    sizes = [len(names) for names in own] + [0] * (processes - len(counted))
    assert max(sizes) - min(sizes) <= 1


def test_a_process_without_targets_computes_one_that_does_not_count():
    made = portions(Step(0, (Group(SETS[0], (item(0),)),)), 0, 3)
    assert [portion.answers_count for portion in made] == [False, False, True]
    assert all(targets(portion) == [("i90", ["i0"])] for portion in made)
    assert all(portion.targets == 1 for portion in made)


def test_the_processes_have_pairs_in_turn_and_the_others_the_fewest_that_have_a_loss():
    step = Step(0, (), PAIRS)
    for number in range(4):
        made = portions(step, number, 2)
        assert [portion.pairs_count for portion in made] == [number % 2 == 0, number % 2 == 1]
        assert made[number % 2].step.pairs == PAIRS
        assert made[1 - number % 2].step.pairs == PAIRS[:2]
        assert all(portion.step.groups == () and portion.targets == 0 for portion in made)
