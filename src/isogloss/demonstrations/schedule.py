"""Which targets meet which demonstration set: afresh every epoch in training, fixed at test."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Sequence

from isogloss.demonstrations.choose import (
    Demonstrations,
    Group,
    Pool,
    chunks,
    draw_set,
    nearest_set,
)
from isogloss.tasks.example import Example


def training_batches(
    targets: Sequence[Example],
    pool: Pool,
    settings: Demonstrations,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
) -> list[tuple[Group, ...]]:
    """One epoch: every target once, in a new order, in batches of groups that share a set.

    Group membership is random, so the set of any one target is still a uniform draw from the
    items that are neither it nor its translation; only the draws of a group are tied together.
    Everything follows from (seed, epoch), so a resumed run meets the same episodes.
    """
    order = sorted(targets, key=lambda item: (item.id, item.language))
    random.Random(f"{seed}/order/{epoch}").shuffle(order)
    batches = []
    for number, batch in enumerate(chunks(order, batch_size)):
        if settings.choose != "random":
            batches.append(tuple(_nearest(item, pool, settings, {item.id}) for item in batch))
            continue
        groups = [
            Group(
                draw_set(
                    pool,
                    settings,
                    excluded={item.id for item in members},
                    seed=f"{seed}/training/{epoch}/{number}/{place}",
                ),
                members,
            )
            for place, members in enumerate(chunks(batch, settings.share))
        ]
        batches.append(tuple(groups))
    return batches


def test_groups(
    items: Sequence[Example], pool: Pool, settings: Demonstrations, *, seed: int
) -> list[Group]:
    """The test items with their demonstration sets, items of one set together.

    Which set an item has is decided by a hash of its id alone, so every method meets the same sets
    and comparisons are paired; a subset of the items meets them too, unless the pool holds ids of
    items. No set holds any of the items' own ids.
    """
    excluded = {item.id for item in items}
    if settings.count == 0:
        return [Group((), tuple(items))] if items else []
    if settings.choose != "random":
        return [_nearest(item, pool, settings, excluded) for item in items]
    excluded = {name for name in excluded if pool.holds(name)}  # few or none, and asked often
    if settings.test_sets == 0:
        return [
            Group(
                draw_set(pool, settings, excluded=excluded, seed=f"{seed}/test/{item.id}"), (item,)
            )
            for item in items
        ]
    members: dict[int, list[Example]] = {}
    for item in items:
        members.setdefault(set_number(item.id, settings.test_sets), []).append(item)
    return [
        Group(
            draw_set(pool, settings, excluded=excluded, seed=f"{seed}/test/{number}"),
            tuple(members[number]),
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
