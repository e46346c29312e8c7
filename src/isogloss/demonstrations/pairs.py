"""Translation pairs of the training items (Section 6.1, ShifCon): items of one id, in batches."""

from __future__ import annotations

import random
from collections.abc import Sequence

from isogloss.errors import ConfigError
from isogloss.tasks.example import Example

Pair = tuple[Example, Example]  # dominant, target


def translation_pairs(dominant: Sequence[Example], target: Sequence[Example]) -> tuple[Pair, ...]:
    """Items of D_s and D_t that share an id, in order of id.

    Raises:
        ConfigError: there are fewer than two, so none has another to be told from.
    """
    translations = {item.id: item for item in target}
    pairs = [(item, translations[item.id]) for item in dominant if item.id in translations]
    if len(pairs) < 2:
        raise ConfigError(
            f"contrastive learning needs translation pairs, and {len(pairs)} of the training items "
            "in the dominant language have the id of one in the target language; give translated "
            "items one id, raise --limit or --share if they leave them out, or take a method "
            "without it"
        )
    return tuple(sorted(pairs, key=lambda pair: pair[0].id))


def pair_batches(
    pairs: Sequence[Pair], *, size: int, count: int, seed: str
) -> list[tuple[Pair, ...]]:
    """`count` batches of at most `size` pairs, all pairs met before any is met again.

    No batch has a pair twice: it would be its own negative.
    """
    size = min(size, len(pairs))
    source = random.Random(seed)
    batches: list[tuple[Pair, ...]] = []
    waiting: list[Pair] = []
    while len(batches) < count:
        if len(waiting) < size:
            # What is left of this pass goes first; in the new one it waits for the next batch.
            fresh = [pair for pair in pairs if pair not in waiting]
            source.shuffle(fresh)
            room = size - len(waiting)
            later = fresh[room:] + waiting
            source.shuffle(later)
            waiting += fresh[:room] + later
        batches.append(tuple(waiting[:size]))
        waiting = waiting[size:]
    return batches
