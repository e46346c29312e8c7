"""Translation pairs: by id alone, every pair once a pass, no pair twice in a batch, by the seed."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from helpers import items
from isogloss.demonstrations.pairs import pair_batches, translation_pairs
from isogloss.errors import ConfigError


def pairs_of(count: int):
    return translation_pairs(items(count, "en"), items(count, "tr"))


def ids(batches) -> list[list[str]]:
    return [[own.id for own, _ in batch] for batch in batches]


def test_pairs_are_those_of_one_id():
    """In order of id, whatever order the items come in; items without a translation are left."""
    dominant, target = list(items(12, "en")), list(items(9, "tr", start=5))
    found = translation_pairs(dominant, target)
    assert [own.id for own, _ in found] == sorted(f"item-{n}" for n in range(5, 12))
    assert all((a.id, a.language, b.language) == (b.id, "en", "tr") for a, b in found)
    for seed in range(3):
        random.Random(seed).shuffle(dominant)
        random.Random(seed + 1).shuffle(target)
        assert translation_pairs(dominant, target) == found


def test_text_and_place_make_no_pair():
    dominant = items(4, "en")
    same_text = [
        dataclasses.replace(one, language="tr", id=f"other-{n}") for n, one in enumerate(dominant)
    ]
    with pytest.raises(ConfigError, match="and 0 of the training items"):
        translation_pairs(dominant, same_text)


@pytest.mark.parametrize("shared", [0, 1])
def test_fewer_than_two_pairs_are_refused(shared):
    with pytest.raises(
        ConfigError,
        match=f"contrastive learning needs translation pairs, and {shared} of the training items "
        "in the dominant language have the id of one in the target language; give translated "
        "items one id, raise --limit or --share",
    ):
        translation_pairs(items(5, "en"), items(5, "tr", start=5 - shared))


@pytest.mark.parametrize(
    ("count", "size"),
    [(5, 2), (5, 3), (7, 4), (8, 4), (12, 12), (13, 12), (23, 12), (2, 2), (9, 5), (3, 12)],
)
def test_all_pairs_are_met_before_any_is_met_again(count, size):
    """Over any number of batches no pair is two ahead of another, and each pass is whole."""
    for seed in range(20):
        batches = ids(pair_batches(pairs_of(count), size=size, count=40, seed=str(seed)))
        assert len(batches) == 40
        assert all(len(batch) == min(size, count) for batch in batches)
        assert all(len(set(batch)) == len(batch) for batch in batches), "none its own negative"
        stream = [name for batch in batches for name in batch]
        for start in range(0, len(stream) - count + 1, count):
            assert len(set(stream[start : start + count])) == count, "a pass holds every pair"
        met: Counter[str] = Counter({f"item-{n}": 0 for n in range(count)})
        for name in stream:
            assert met[name] == min(met.values())
            met[name] += 1


def test_passes_have_orders_of_their_own_and_pairs_meet_all_others():
    """Whoever is left over from one pass is no less free in the next."""
    batches = ids(pair_batches(pairs_of(5), size=2, count=4000, seed="a"))
    together = Counter(frozenset(batch) for batch in batches)
    assert len(together) == 10
    assert min(together.values()) > 250, together
    stream = [name for batch in batches for name in batch]
    passes = {tuple(stream[at : at + 5]) for at in range(0, len(stream), 5)}
    assert len(passes) > 100


def test_the_seed_decides():
    pairs = pairs_of(9)
    again = [pair_batches(pairs, size=4, count=9, seed="42/pairs/0") for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != pair_batches(pairs, size=4, count=9, seed="42/pairs/1")
    longer = pair_batches(pairs, size=4, count=20, seed="42/pairs/0")
    assert longer[:9] == again[0], "more batches go on where fewer end"


def test_none_asked_is_none():
    assert pair_batches(pairs_of(3), size=2, count=0, seed="a") == []
