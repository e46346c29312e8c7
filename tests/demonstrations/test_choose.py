"""Demonstration sets: languages, exclusion, seeds, and the marginal draw under sharing."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from helpers import items
from isogloss.demonstrations.choose import Demonstrations, Pool, draw_set
from isogloss.demonstrations.schedule import TrainingBatches, set_number
from isogloss.demonstrations.schedule import test_groups as groups_at_test
from isogloss.errors import ConfigError

ENGLISH, TURKISH = items(20, "en"), items(8, "tr")
POOL = Pool(ENGLISH, TURKISH)


def names(chosen) -> tuple[str, ...]:
    return tuple(f"{item.language}/{item.id}" for item in chosen)


def draws(settings: Demonstrations, count: int = 300, excluded=("item-3",)):
    return [draw_set(POOL, settings, excluded=excluded, seed=f"s/{n}") for n in range(count)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_mixed_sets_hold_both_languages(count):
    for chosen in draws(Demonstrations(count)):
        assert len(chosen) == count
        assert {item.language for item in chosen} == {"en", "tr"}


def test_one_mixed_demonstration_is_a_fair_coin():
    counts = Counter(chosen[0].language for chosen in draws(Demonstrations(1), 1000))
    assert 430 < counts["tr"] < 570


@pytest.mark.parametrize(("languages", "code"), [("dominant", "en"), ("target", "tr")])
def test_one_language_sets(languages, code):
    for chosen in draws(Demonstrations(3, languages)):
        assert {item.language for item in chosen} == {code}


def test_no_set_holds_the_target_its_translation_or_an_item_twice():
    for chosen in draws(Demonstrations(5)):
        assert all(item.id != "item-3" for item in chosen)
        assert len(set(names(chosen))) == 5


def test_the_same_seed_gives_the_same_set_and_another_seed_another():
    settings = Demonstrations(3)
    assert draws(settings) == draws(settings)
    assert len(set(map(names, draws(settings)))) > 250


def test_every_item_and_order_is_drawn():
    seen = Counter(name for chosen in draws(Demonstrations(3), 1000) for name in names(chosen))
    assert len(seen) == 26, "all but item-3 in both languages"
    first = Counter(chosen[0].language for chosen in draws(Demonstrations(2), 600))
    assert 230 < first["tr"] < 370


def test_no_demonstrations():
    assert draw_set(POOL, Demonstrations(0), excluded=(), seed="1") == ()


@pytest.mark.parametrize("languages", ["mixed", "dominant", "target"])
def test_asking_for_more_than_exist_says_how_many_remain(languages):
    with pytest.raises(ConfigError, match="lower --demonstrations"):
        draw_set(POOL, Demonstrations(40, languages), excluded=(), seed="1")


def test_all_of_a_small_pool_can_be_drawn():
    chosen = draw_set(POOL, Demonstrations(28), excluded=(), seed="1")
    assert set(names(chosen)) == set(names([*ENGLISH, *TURKISH]))


def test_a_language_left_empty_by_exclusion_is_an_error():
    with pytest.raises(
        ConfigError, match="1 demonstration asked of the target language, but only 0"
    ):
        draw_set(Pool(ENGLISH, TURKISH[:1]), Demonstrations(2), excluded=("item-0",), seed="1")


def batches_of(made, epoch):
    return [made.batch(epoch * made.per_epoch + number) for number in range(made.per_epoch)]


@pytest.mark.parametrize("share", [1, 3, 4])
def test_training_meets_every_target_once_an_epoch_and_never_its_translation(share):
    settings = Demonstrations(3, share=share)
    for epoch in range(5):
        made = TrainingBatches(TURKISH, POOL, settings, batch_size=4, seed=1)
        batches = batches_of(made, epoch)
        groups = [group for batch in batches for group in batch]
        assert sorted(item.id for g in groups for item in g.targets) == sorted(
            item.id for item in TURKISH
        )
        assert max(len(group.targets) for group in groups) == min(share, 4)
        for group in groups:
            targets = {item.id for item in group.targets}
            assert not targets & {item.id for item in group.demonstrations}


def test_epochs_are_drawn_afresh_and_repeat_from_the_seed():
    def epoch(number, seed=1):
        made = TrainingBatches(TURKISH, POOL, Demonstrations(3), batch_size=4, seed=seed)
        return batches_of(made, number)

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=2)


def test_sharing_leaves_each_targets_own_draw_as_it_was():
    """How often item-5's set holds each item, shared by 4 and alone: the same distribution."""
    shares = {}
    for share in (1, 4):
        seen: Counter[str] = Counter()
        settings = Demonstrations(2, share=share)
        made = TrainingBatches(TURKISH, POOL, settings, batch_size=4, seed=3)
        for epoch in range(1500):
            for group in (group for batch in batches_of(made, epoch) for group in batch):
                if any(item.id == "item-5" for item in group.targets):
                    seen.update(names(group.demonstrations))
        shares[share] = seen
    assert set(shares[1]) == set(shares[4])
    assert "tr/item-5" not in shares[4]
    for name in shares[1]:
        expected = 1500 / 7 if name.startswith("tr") else 1500 / 19
        for share in (1, 4):
            assert abs(shares[share][name] - expected) < 5 * expected**0.5, (name, share)


def test_at_test_an_items_set_depends_on_its_id_alone():
    tests = items(50, "tr", start=100)
    settings = Demonstrations(3, test_sets=4)
    whole = groups_at_test(tests, POOL, settings, seed=7)
    assert len(whole) == 4
    sets = {item.id: g.demonstrations for g in whole for item in g.targets}
    some = groups_at_test(tests[10:20], POOL, settings, seed=7)
    assert all(sets[item.id] == g.demonstrations for g in some for item in g.targets)
    assert {item.id: set_number(item.id, 4) for item in tests} == {
        item.id: set_number(item.id, 4) for item in reversed(tests)
    }
    assert groups_at_test(tests, POOL, settings, seed=8) != whole


def test_per_item_sets_are_as_many_as_items():
    tests = items(30, "tr", start=100)
    groups = groups_at_test(tests, POOL, Demonstrations(3, test_sets=0), seed=7)
    assert [group.targets for group in groups] == [(item,) for item in tests]
    assert len({names(group.demonstrations) for group in groups}) > 25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(count=-1), "0 or more"),
        (dict(share=0), "1 or more"),
        (dict(test_sets=-1), "per item"),
        (dict(languages="both"), "mixed, dominant or target"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Demonstrations(**settings)


@pytest.mark.parametrize("languages", ["mixed", "dominant", "target"])
@pytest.mark.parametrize("excluded", [(), ("item-0",), ("item-3", "item-19", "item-3"), ("no",)])
def test_a_draw_is_one_from_a_list_without_what_is_excluded(languages, excluded):
    """The same seeds as a pool that never had them: no draw depends on how they are left out."""
    left = [tuple(item for item in side if item.id not in excluded) for side in (ENGLISH, TURKISH)]
    for number in range(200):
        settings, seed = Demonstrations(number % 6, languages), f"s/{number}"
        wanted = draw_set(Pool(*left), settings, excluded=(), seed=seed)
        assert draw_set(POOL, settings, excluded=excluded, seed=seed) == wanted


def test_what_is_left_is_a_sequence():
    ids = {"item-0", "item-5", "item-6", "item-19"}
    own, others = POOL.others(ids)
    assert list(own) == [item for item in ENGLISH if item.id not in ids]
    assert own[2:5] == list(own)[2:5]
    assert own[-1].id == "item-18"
    assert [len(own), len(others)] == [16, 5]
    with pytest.raises(IndexError):
        own[16]


def test_a_draw_does_not_look_at_every_item():
    """100,000 items, 2,000 draws: a second at most; with a pass over the items, ten and more."""
    many = items(100_000, "en")
    pool = Pool(many, TURKISH)
    draw_set(pool, Demonstrations(3), excluded={"item-7"}, seed="0")
    begun = time.process_time()
    for number in range(2000):
        draw_set(pool, Demonstrations(3), excluded={f"item-{number}"}, seed=str(number))
    assert time.process_time() - begun < 5
