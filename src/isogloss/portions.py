"""A step's work divided among processes, so that together they compute what one would alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from isogloss.demonstrations.choose import Group
from isogloss.planning import Step


@dataclass(frozen=True)
class Portion:
    """What one process computes of a step.

    `targets` is how many the whole step has, over all processes. Where there is nothing for a
    process, it computes something that does not count (`answers_count`, `pairs_count`): a model
    held in pieces needs every process in each of its passes.
    """

    step: Step
    targets: int
    answers_count: bool = True
    pairs_count: bool = True


def portions(step: Step, number: int, processes: int) -> tuple[Portion, ...]:
    """The portions of a step, the `number`th of its stage, one for each process.

    Targets are divided in their order, as evenly as may be; targets of one demonstration set stay
    together where that allows it. Pairs are each other's negatives and cannot be divided: the
    processes have a step's pairs in turn.
    """
    count = sum(len(group.targets) for group in step.groups)
    made = []
    for place in range(processes):
        own = _between(step.groups, place * count // processes, (place + 1) * count // processes)
        has_pairs = place == number % processes
        part = replace(
            step,
            groups=own or _between(step.groups, 0, 1),
            pairs=step.pairs if has_pairs else step.pairs[:2],
        )
        made.append(Portion(part, count, answers_count=bool(own), pairs_count=has_pairs))
    return tuple(made)


def _between(groups: Sequence[Group], start: int, stop: int) -> tuple[Group, ...]:
    """The targets from `start` up to `stop`, counted over the groups, in groups."""
    found, before = [], 0
    for group in groups:
        inside = group.targets[max(0, start - before) : max(0, stop - before)]
        before += len(group.targets)
        if inside:
            found.append(Group(group.demonstrations, inside))
    return tuple(found)
