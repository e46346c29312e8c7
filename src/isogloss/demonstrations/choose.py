"""Demonstrations (Section 5.2): which solved examples go into the context, drawn from a seed."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

from isogloss.demonstrations.ranking import Ranking
from isogloss.errors import ConfigError
from isogloss.lazy import Lazy
from isogloss.tasks.example import Example
from isogloss.tasks.examples import Ids, chosen

DemonstrationLanguages = Literal["mixed", "dominant", "target"]
Choice = Literal["random", "bm25", "encoder"]


@dataclass(frozen=True)
class Demonstrations:
    """How the context is filled.

    `count` is the paper's k. `languages`: `mixed` gives each slot to either language by a fair
    coin, with at least one slot for each when count >= 2; `dominant` and `target` are the rows of
    Table 3. `share`: this many targets of a training batch have one set (1 is the paper's plain
    reading). `test_sets`: at test each item has one of this many sets, found by a hash of its id;
    0 draws a set for each item. `choose`: at `random`, or the items nearest to each target, by
    `bm25` over character n-grams or by a sentence `encoder` (its folder or hub id); then every
    target has a set of its own.
    """

    count: int = 3
    languages: DemonstrationLanguages = "mixed"
    share: int = 4
    test_sets: int = 16
    choose: Choice = "random"
    encoder: str = ""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"demonstrations is {self.count}; it must be 0 or more")
        if self.share < 1:
            raise ConfigError(f"share demonstrations is {self.share}; it must be 1 or more")
        if self.test_sets < 0:
            raise ConfigError(f"test sets is {self.test_sets}; it must be 0 (per item) or more")
        if self.languages not in ("mixed", "dominant", "target"):
            raise ConfigError(
                f"demonstration languages is '{self.languages}'; "
                "it must be mixed, dominant or target"
            )
        if self.choose not in ("random", "bm25", "encoder"):
            raise ConfigError(f"choose is '{self.choose}'; it must be random, bm25 or encoder")
        if (self.choose == "encoder") != bool(self.encoder):
            raise ConfigError("choose 'encoder' and an encoder go together; give both or none")


@dataclass(frozen=True)
class Pool:
    """The training items that demonstrations are drawn from: D_s and D_t.

    `ranking` says which of them are nearest to an item, where they are not drawn at random.
    """

    dominant: Sequence[Example]
    target: Sequence[Example]
    ranking: Ranking | None = None

    def holds(self, name: str) -> bool:
        """Whether an item of it has this id."""
        return any(name in ids for ids in self._ids)

    def others(self, excluded: Collection[str]) -> tuple[Sequence[Example], Sequence[Example]]:
        """The items of D_s and of D_t without those of excluded ids; a view that costs by these."""
        (own, others) = (
            _Others(ids.examples, sorted(n for name in set(excluded) for n in ids.places(name)))
            for ids in self._ids
        )
        return own, others

    @cached_property
    def _ids(self) -> tuple[Ids, Ids]:
        """Where each id stands, in D_s and in D_t."""
        return Ids(self.dominant), Ids(self.target)


@final
class _Others(Lazy[Example]):
    """Items without those at the places `left_out`, which are in order."""

    def __init__(self, items: Sequence[Example], left_out: Sequence[int]) -> None:
        self.items = items
        # How many items that are kept stand before each one that is not.
        self.before = [place - number for number, place in enumerate(left_out)]

    def __len__(self) -> int:
        return len(self.items) - len(self.before)

    def at(self, place: int) -> Example:
        return self.items[place + bisect_right(self.before, place)]


@dataclass(frozen=True, slots=True)
class Group:
    """Targets that have one demonstration set: the unit of encoding and packing."""

    demonstrations: tuple[Example, ...]
    targets: Sequence[Example]


def draw_set(
    pool: Pool, settings: Demonstrations, *, excluded: Collection[str], seed: str
) -> tuple[Example, ...]:
    """One demonstration set, in random order, without any item whose id is in `excluded`.

    Translations share an id, so excluding a target's id excludes its translation too. The same
    seed (any string) gives the same set.

    Raises:
        ConfigError: fewer items remain than the set needs.
    """
    if settings.count == 0:
        return ()
    source = random.Random(seed)
    dominant, target = pool.others(excluded)
    from_target = _target_slots(settings, len(dominant), len(target), source)
    chosen = source.sample(dominant, settings.count - from_target)
    chosen += source.sample(target, from_target)
    source.shuffle(chosen)
    return tuple(chosen)


def nearest_set(
    pool: Pool, settings: Demonstrations, target: Example, *, excluded: Collection[str]
) -> tuple[Example, ...]:
    """The demonstrations nearest to a target, the nearest last, right before it.

    With `mixed` and two or more, at least one is of each language.

    Raises:
        ConfigError: fewer items remain than the set needs.
    """
    assert pool.ranking is not None, "a pool whose items are chosen by nearness has a ranking"
    if settings.count == 0:
        return ()
    codes = {item.language for item in pool.dominant}
    wanted = {"dominant": (True,), "target": (False,), "mixed": (True, False)}[settings.languages]
    found = [
        (score, item.language in codes, item)
        for score, item in zip(pool.ranking.scores(target), pool.ranking.items, strict=True)
        if item.id not in excluded and (item.language in codes) in wanted
    ]
    # The same score: by id, so that the order never depends on that of the files.
    found.sort(key=lambda one: (-one[0], one[2].id, one[2].language))
    names = {"dominant": "the dominant language", "target": "the target language"}
    _check_enough(
        settings.count, len(found), names.get(settings.languages, "both languages together")
    )
    chosen = found[: settings.count]
    if settings.languages == "mixed" and settings.count >= 2:
        for dominant, name in ((True, "the dominant language"), (False, "the target language")):
            others = [one for one in found if one[1] == dominant]
            _check_enough(1, len(others), name)
            if not any(one[1] == dominant for one in chosen):
                chosen = [*chosen[:-1], others[0]]
    chosen.sort(key=lambda one: (one[0], one[2].id, one[2].language))
    return tuple(item for _, _, item in chosen)


def _target_slots(
    settings: Demonstrations, dominant: int, target: int, source: random.Random
) -> int:
    """How many slots the target language has, given how many items each language has left."""
    count = settings.count
    if settings.languages == "dominant":
        _check_enough(count, dominant, "the dominant language")
        return 0
    if settings.languages == "target":
        _check_enough(count, target, "the target language")
        return count
    _check_enough(count, dominant + target, "both languages together")
    if count >= 2:
        _check_enough(1, dominant, "the dominant language")
        _check_enough(1, target, "the target language")
        slots = 1 + sum(source.random() < 0.5 for _ in range(count - 2))
    else:
        slots = int(source.random() < 0.5)
    return min(max(slots, count - dominant), target)


def _check_enough(needed: int, left: int, where: str) -> None:
    if left >= needed:
        return
    raise ConfigError(
        f"{needed} demonstration{'s' * (needed != 1)} asked of {where}, but only {left} training "
        f"item{'s' * (left != 1)} remain{'s' * (left == 1)} there after leaving out the targets "
        "and their translations; lower --demonstrations or --share-demonstrations, raise --share, "
        "or give more training items"
    )


def chunks(items: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """The items in runs of `size`, the last one shorter where they do not divide evenly."""
    places = range(len(items))
    return [chosen(items, places[start : start + size]) for start in places[::size]]
