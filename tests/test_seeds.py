"""Intervals and tests over seeds and items: against a slow twin, by hand, and where they matter."""

from __future__ import annotations

import random

import numpy
import pytest

from isogloss.intervals import (
    bootstrap_interval,
    holm,
    mcnemar_exact,
    seeds_interval,
    seeds_test,
)


def answers(seeds: int, items: int, *, source: int, hard: float = 0.5) -> list[dict[str, float]]:
    """Right or wrong, where an item's difficulty is the same under every seed."""
    draw = random.Random(source)
    level = [draw.random() for _ in range(items)]
    return [
        {f"i{n}": float(draw.random() * (1 - hard) + hard * level[n] > 0.5) for n in range(items)}
        for _ in range(seeds)
    ]


def test_the_mean_is_that_of_the_seeds_means():
    found = seeds_interval([{"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}], seed=1)
    assert found.value == pytest.approx((0.5 + 0.75) / 2)
    assert found.items == 4


def slow_interval(values, resamples=4000):
    """Seeds and items drawn one by one; an item that is drawn counts for every seed."""
    draw, names, means = random.Random(7), sorted({n for one in values for n in one}), []
    for _ in range(resamples):
        items = [draw.choice(names) for _ in names]
        own = []
        for one in values:
            found = [one[name] for name in items if name in one]
            own.append(sum(found) / len(found) if found else sum(one.values()) / len(one))
        means.append(numpy.mean([draw.choice(own) for _ in values]))
    return numpy.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("kind", ["the same items", "other items under each seed"])
def test_the_interval_is_that_of_a_slow_twin(kind):
    values = answers(3, 60, source=1)
    if kind != "the same items":
        values = [
            {name: v for name, v in one.items() if (int(name[1:]) + n) % 3}
            for n, one in enumerate(values)
        ]
        assert values[0].keys() != values[1].keys()
    found = seeds_interval(values, seed=3)
    low, high = slow_interval(values)
    assert found.low == pytest.approx(low, abs=0.012)
    assert found.high == pytest.approx(high, abs=0.012)


def test_one_seed_is_the_bootstrap_over_items():
    values = answers(1, 200, source=2)
    found = seeds_interval(values, seed=5)
    plain = bootstrap_interval(list(values[0].values()), seed=5)
    assert found.value == plain.value
    assert found.low == pytest.approx(plain.low, abs=0.01)
    assert found.high == pytest.approx(plain.high, abs=0.01)


def test_items_of_all_seeds_are_drawn_together():
    """Where difficulty decides everything, three seeds know no more than one."""
    one = answers(1, 100, source=3, hard=1.0)[0]
    three = [dict(one) for _ in range(3)]
    alone, together = seeds_interval([one], seed=1), seeds_interval(three, seed=1)
    width = alone.high - alone.low
    assert together.high - together.low == pytest.approx(width, rel=0.05)
    apart = [{f"{n}-{name}": v for name, v in side.items()} for n, side in enumerate(three)]
    # The same numbers as 300 items of their own would seem far surer.
    assert seeds_interval(apart, seed=1).high - seeds_interval(apart, seed=1).low < 0.8 * width


def test_seeds_that_differ_widen_the_interval():
    same = [{f"i{n}": 0.5 for n in range(50)} for _ in range(3)]
    apart = [{f"i{n}": level for n in range(50)} for level in (0.2, 0.5, 0.8)]
    assert seeds_interval(same, seed=1).low == seeds_interval(same, seed=1).high == 0.5
    found = seeds_interval(apart, seed=1)
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.2)
    assert found.high == pytest.approx(0.8)


def test_one_seed_of_right_and_wrong_is_mcnemar():
    first, second = answers(1, 40, source=4), answers(1, 40, source=5)
    names = sorted(first[0])
    wanted = mcnemar_exact(
        [first[0][n] == 1 for n in names], [second[0][n] == 1 for n in names], seed=2
    )
    assert seeds_test(first, second, seed=2) == wanted


def test_a_test_is_over_the_items_that_both_have():
    first = [{"a": 1.0, "b": 1.0, "x": 0.0}, {"a": 0.5, "b": 1.0}]
    second = [{"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 0.5, "y": 1.0}]
    found = seeds_test(first, second, seed=1)
    assert found.difference == pytest.approx((0.5 + 0.5) / 2)
    assert found.items == 2


def test_p_is_small_for_a_real_difference_and_even_for_none():
    draw = random.Random(1)

    def system(shift):
        return [{f"i{n}": draw.gauss(shift, 0.3) for n in range(80)} for _ in range(3)]

    assert seeds_test(system(0.3), system(0.0), seed=1).p < 0.01
    ps = [seeds_test(system(0.0), system(0.0), seed=n, resamples=500).p for n in range(60)]
    assert 0.3 < numpy.mean(ps) < 0.75
    assert numpy.mean([p < 0.05 for p in ps]) < 0.17
    equal = system(0.0)
    assert seeds_test(equal, equal, seed=1).p == 1.0


def test_the_order_of_the_systems_only_turns_the_sign():
    first, second = answers(2, 50, source=6), answers(2, 50, source=7)
    one, other = seeds_test(first, second, seed=3), seeds_test(second, first, seed=3)
    assert one.difference == -other.difference
    assert one.p == pytest.approx(other.p)
    assert one.low == pytest.approx(-other.high)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_holm_is_between_no_correction_and_bonferronis():
    draw = random.Random(2)
    for _ in range(50):
        ps = [draw.random() ** 3 for _ in range(draw.randrange(1, 8))]
        for p, found in zip(ps, holm(ps), strict=True):
            assert p <= found <= min(1.0, len(ps) * p) + 1e-12
        order = sorted(range(len(ps)), key=ps.__getitem__)
        adjusted = [holm(ps)[n] for n in order]
        assert adjusted == sorted(adjusted)


def test_other_seeds_and_no_items_are_our_mistake():
    with pytest.raises(ValueError, match="paired items are needed: found 1 and 2"):
        seeds_test([{"a": 1.0}], [{"a": 1.0}, {"a": 1.0}], seed=1)
    with pytest.raises(ValueError, match="every seed needs items"):
        seeds_interval([{"a": 1.0}, {}], seed=1)
