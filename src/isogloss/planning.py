"""What a stage of training meets, from its first batch to its last: decided by the seed alone.

Batches and steps are made when they are asked for, so a schedule of many epochs takes no more
memory than one of few.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from isogloss.demonstrations.choose import Demonstrations, Group, Pool
from isogloss.demonstrations.pairs import Pair
from isogloss.demonstrations.schedule import TrainingBatches
from isogloss.episodes import EpisodeEncoder, Skipped, fit
from isogloss.errors import DataError
from isogloss.lazy import Lazy
from isogloss.tasks.example import Example


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch of training holds: groups, translation pairs to contrast, or both."""

    epoch: int
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...] = ()


@final
class Steps(Lazy[Step]):
    """The steps of a stage; `longest_epoch` is the most of one epoch."""

    def __init__(self, epochs: Sequence[int], make: Callable[[int], Step]) -> None:
        self._length, self._make = len(epochs), make
        self.longest_epoch = max(Counter(epochs).values(), default=0)

    def at(self, place: int) -> Step:
        """The step at a place from 0 on."""
        return self._make(place)

    def __len__(self) -> int:
        return self._length


@final
@dataclass(frozen=True)
class Schedule:
    """All batches of a stage, epoch after epoch.

    An epoch is a pass over the targets. `count` batches are met; of some, targets are `left_out`
    as they are too long, by id and language, and the `empty` ones hold nothing. The model is
    validated after every `between_validations` batches: an epoch's, or where passes were added,
    those of the epoch that they make up for.
    """

    source: TrainingBatches
    count: int
    left_out: Mapping[int, frozenset[tuple[str, str]]]
    empty: frozenset[int]
    skipped: tuple[Skipped, ...]
    between_validations: int

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a pass over the targets, the empty ones too."""
        return self.source.per_epoch

    @property
    def batches(self) -> Sequence[tuple[Group, ...]]:
        """Every batch, those that hold nothing too."""
        return _Batches(self)

    @property
    def filled(self) -> int:
        """How many batches hold something."""
        return self.count - len(self.empty)

    def steps(self, pairs: Sequence[tuple[Pair, ...]], *, alternate: bool) -> Steps:
        """The batches that hold something, each with its batch of pairs where there are any.

        With `alternate` the pairs are a step of their own after the batch's.
        """
        numbers = array("Q", (n for n in range(self.count) if n not in self.empty))
        each = 2 if alternate and pairs else 1

        def make(place: int) -> Step:
            number, second = numbers[place // each], place % each
            epoch, own = number // self.batches_per_epoch, pairs[number] if pairs else ()
            if second:
                return Step(epoch, (), own)
            return Step(epoch, self.batch(number), () if alternate else own)

        epochs = (number // self.batches_per_epoch for number in numbers for _ in range(each))
        return Steps(array("Q", epochs), make)

    def lines(self, stage: int) -> Iterator[dict[str, Any]]:
        """Which targets met which demonstrations, for the run folder."""
        for number, batch in enumerate(self.batches):
            for group in batch:
                yield {
                    "stage": stage,
                    "epoch": number // self.batches_per_epoch,
                    "batch": number % self.batches_per_epoch,
                    "demonstrations": [
                        f"{item.language}/{item.id}" for item in group.demonstrations
                    ],
                    "targets": [f"{item.language}/{item.id}" for item in group.targets],
                }

    def batch(self, number: int) -> tuple[Group, ...]:
        """A batch by its number, less what is left out."""
        batch = self.source.batch(number)
        left_out = self.left_out.get(number)
        if not left_out:
            return batch
        groups = (_less(group, left_out) for group in batch)
        return tuple(group for group in groups if group.targets)


@final
class _Batches(Lazy[tuple[Group, ...]]):
    """A schedule's batches."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def at(self, place: int) -> tuple[Group, ...]:
        return self._schedule.batch(place)

    def __len__(self) -> int:
        return self._schedule.count


def _less(group: Group, left_out: frozenset[tuple[str, str]]) -> Group:
    kept = tuple(item for item in group.targets if (item.id, item.language) not in left_out)
    return Group(group.demonstrations, kept)


def plan(
    targets: Sequence[Example],
    pool: Pool,
    settings: Demonstrations,
    episodes: EpisodeEncoder,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    skip: bool,
    like: int | None = None,
) -> Schedule:
    """The schedule of a stage, with every sequence's length checked.

    With `like`, as many batches as that number of targets would give: more passes over the
    targets, the last one cut off.

    Raises:
        ConfigError: more demonstrations than there are.
        DataError: a sequence is too long and `skip` is off, or nothing is left.
    """
    source = TrainingBatches(targets, pool, settings, batch_size=batch_size, seed=seed)
    per_epoch = -(-(like or len(targets)) // batch_size)
    wanted = epochs * per_epoch
    left_out: dict[int, frozenset[tuple[str, str]]] = {}
    skipped: list[Skipped] = []
    empty: set[int] = set()
    number = 0
    while (number - len(empty) if like else number) < wanted:
        kept, long = fit(source.batch(number), episodes, skip=skip)
        if long:
            skipped += long
            left_out[number] = frozenset((item.id, item.language) for item in long)
        if not kept:
            empty.add(number)
        number += 1
        if number == len(empty) == source.per_epoch:
            break  # nothing of the first pass fits
    if number == len(empty):
        raise DataError("no training item fits the model's context; lower --demonstrations")
    return Schedule(
        source, number, left_out, frozenset(empty), tuple(dict.fromkeys(skipped)), per_epoch
    )
