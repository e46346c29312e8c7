"""Which targets meet which demonstration set: afresh every epoch in training, fixed at test."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Collection, Sequence
from typing import final

from isogloss.demonstrations.choose import (
    Demonstrations,
    Group,
    Pool,
    chunks,
    draw_set,
    nearest_set,
)
from isogloss.tasks.example import Example
from isogloss.tasks.examples import chosen, order_by_id


@final
class TrainingBatches:
    """Every target once an epoch, in a new order, in batches of groups that share a set.

    Group membership is random, so the set of any one target is still a uniform draw from the
    items that are neither it nor its translation; only the draws of a group are tied together.
    Everything follows from (seed, epoch), so a resumed run meets the same episodes, and a batch
    is made when it is asked for.
    """

    def __init__(
        self,
        targets: Sequence[Example],
        pool: Pool,
        settings: Demonstrations,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        self.per_epoch = -(-len(targets) // batch_size)
        self._targets, self._pool, self._settings = targets, pool, settings
        self._batch_size, self._seed = batch_size, seed
        self._by_id = order_by_id(targets)
        self._last: tuple[int, Sequence[int]] = (-1, ())
        self._nearest: dict[int, Group] = {}  # those of a target are the same in every epoch

    def batch(self, number: int) -> tuple[Group, ...]:
        """A batch, counted from the first of the first epoch on."""
        epoch, number = divmod(number, self.per_epoch)
        start = number * self._batch_size
        places = self._order(epoch)[start : start + self._batch_size]
        if self._settings.choose != "random":
            return tuple(map(self._with_nearest, places))
        batch = tuple(self._targets[place] for place in places)
        return tuple(
            Group(
                draw_set(
                    self._pool,
                    self._settings,
                    excluded={item.id for item in members},
                    seed=f"{self._seed}/training/{epoch}/{number}/{place}",
                ),
                members,
            )
            for place, members in enumerate(chunks(batch, self._settings.share))
        )

    def _order(self, epoch: int) -> Sequence[int]:
        """The targets' places in the order in which an epoch meets them."""
        if self._last[0] != epoch:
            order = self._by_id[:]
            random.Random(f"{self._seed}/order/{epoch}").shuffle(order)
            self._last = (epoch, order)
        return self._last[1]

    def _with_nearest(self, place: int) -> Group:
        if place not in self._nearest:
            item = self._targets[place]
            self._nearest[place] = _nearest(item, self._pool, self._settings, {item.id})
        return self._nearest[place]


def test_groups(
    items: Sequence[Example], pool: Pool, settings: Demonstrations, *, seed: int
) -> list[Group]:
    """The test items with their demonstration sets, items of one set together.

    Which set an item has is decided by a hash of its id alone, so every method meets the same sets
    and comparisons are paired; a subset of the items meets them too, unless the pool holds ids of
    items. No set holds any of the items' own ids.
    """
    if settings.count == 0:
        return [Group((), chosen(items, range(len(items))))] if items else []
    if settings.choose != "random":
        excluded = {item.id for item in items}
        return [_nearest(item, pool, settings, excluded) for item in items]
    excluded = {item.id for item in items if pool.holds(item.id)}  # few or none, and asked often
    if settings.test_sets == 0:
        return [
            Group(
                draw_set(pool, settings, excluded=excluded, seed=f"{seed}/test/{item.id}"), (item,)
            )
            for item in items
        ]
    members: dict[int, array[int]] = {}
    for place, item in enumerate(items):
        number = set_number(item.id, settings.test_sets)
        members.setdefault(number, array("Q")).append(place)
    return [
        Group(
            draw_set(pool, settings, excluded=excluded, seed=f"{seed}/test/{number}"),
            chosen(items, members[number]),
        )
        for number in sorted(members)
    ]


def _nearest(
    item: Example, pool: Pool, settings: Demonstrations, excluded: Collection[str]
) -> Group:
    return Group(nearest_set(pool, settings, item, excluded=excluded), (item,))


def set_number(item_id: str, sets: int) -> int:
    """Which of `sets` demonstration sets an item has: the SHA-256 of its id, modulo `sets`.

    >>> set_number("test-7", 16) == set_number("test-7", 16)
    True
    """
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8], "big") % sets
