"""Intervals and paired tests against hand-computed values and brute force."""

from __future__ import annotations

import math
import random
from itertools import product

import numpy
import pytest

from isogloss.intervals import bootstrap_interval, mcnemar_exact, paired_bootstrap


def pairs(
    only_first: int, only_second: int, both: int = 5, none: int = 5
) -> tuple[list[bool], list[bool]]:
    first = [True] * only_first + [False] * only_second + [True] * both + [False] * none
    second = [False] * only_first + [True] * only_second + [True] * both + [False] * none
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (1, 9, 22 / 1024),
        (9, 1, 22 / 1024),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (0, 6, 2 / 64),
        (3, 7, 0.34375),
    ],
)
def test_mcnemar_equals_the_binomial_by_hand(only_first: int, only_second: int, p: float) -> None:
    found = mcnemar_exact(*pairs(only_first, only_second), seed=1)
    assert found.p == pytest.approx(p, abs=1e-15)
    assert found.difference == pytest.approx((only_first - only_second) / found.items)


def test_mcnemar_equals_enumeration_of_all_outcomes() -> None:
    for only_first, only_second in product(range(6), repeat=2):
        pairs_count = only_first + only_second
        least = min(only_first, only_second)
        outcomes = [sum(coins) for coins in product((0, 1), repeat=pairs_count)]
        share = sum(min(heads, pairs_count - heads) <= least for heads in outcomes) / len(outcomes)
        found = mcnemar_exact(*pairs(only_first, only_second), seed=1).p
        assert found == pytest.approx(share if pairs_count else 1.0)


def test_mcnemar_of_thousands_of_pairs_does_not_overflow() -> None:
    assert mcnemar_exact(*pairs(3000, 3000), seed=1).p == 1.0
    assert 0 <= mcnemar_exact(*pairs(0, 3000), seed=1).p < 1e-300
    ways = sum(math.comb(2000, count) for count in range(951))
    assert mcnemar_exact(*pairs(950, 1050), seed=1).p == 2 * ways / 2**2000


def test_mcnemar_takes_numpy_truths() -> None:
    first, second = pairs(90, 30)
    found = mcnemar_exact(numpy.array(first), numpy.array(second), seed=1)  # type: ignore[arg-type]
    assert found == mcnemar_exact(first, second, seed=1)
    assert 0 < found.p < 1e-6


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    source = numpy.random.default_rng(5)
    covered = 0
    for number in range(300):
        sample = (source.random(80) < 0.3).astype(float).tolist()
        found = bootstrap_interval(sample, seed=number, resamples=600)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 < covered / 300 < 0.985


def test_intervals_repeat_from_their_seed_and_hold_the_mean() -> None:
    values = [0.0, 1.0, 0.25, 0.5] * 10
    found = bootstrap_interval(values, seed=3)
    assert found == bootstrap_interval(values, seed=3)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.4375)
    assert found.items == 40
    wider = bootstrap_interval(values, seed=3, level=0.99)
    assert wider.low < found.low
    assert wider.high > found.high


def test_blocks_of_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(n % 7) for n in range(50)]
    whole = bootstrap_interval(values, seed=3, resamples=500)
    for block in (50 * 500, 777, 1):
        monkeypatch.setattr("isogloss.intervals.BLOCK", block)
        assert bootstrap_interval(values, seed=3, resamples=500) == whole


def test_paired_bootstrap_sees_a_shift_and_no_shift() -> None:
    source = numpy.random.default_rng(1)
    base = source.random(200)
    noise = source.normal(0, 0.05, 200)
    shifted = paired_bootstrap((base + 0.05 + noise).tolist(), base.tolist(), seed=1)
    assert shifted.p < 0.001
    assert shifted.low > 0
    same = paired_bootstrap((base + noise - noise.mean()).tolist(), base.tolist(), seed=1)
    assert same.p > 0.9
    equal = paired_bootstrap(base.tolist(), base.tolist(), seed=1)
    assert (equal.difference, equal.p) == (0.0, 1.0)


def test_the_order_of_the_items_matters_by_chance_alone() -> None:
    source = random.Random(4)
    items = [(source.random(), source.random() - 0.05) for _ in range(60)]
    shuffled = source.sample(items, k=len(items))
    one, other = (
        paired_bootstrap(*zip(*order, strict=True), seed=1) for order in (items, shuffled)
    )
    assert one.difference == pytest.approx(other.difference)
    assert one.p == pytest.approx(other.p, abs=0.02)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)
    truths = [(a > 0.5, b > 0.5) for a, b in items]
    again = [(a > 0.5, b > 0.5) for a, b in shuffled]
    first, second = (mcnemar_exact(*zip(*order, strict=True), seed=1) for order in (truths, again))
    assert first.p == second.p
    assert first.difference == second.difference


def test_a_paired_bootstrap_equals_enumeration_of_all_resamples() -> None:
    a, b = [0.2, 0.9, 0.4, 1.0], [0.1, 0.5, 0.5, 0.2]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    observed = sum(differences) / 4
    means = [sum(d - observed for d in drawn) / 4 for drawn in product(differences, repeat=4)]
    share = sum(abs(mean) >= observed * (1 - 1e-9) for mean in means) / len(means)
    found = paired_bootstrap(a, b, seed=1)
    assert 0.02 < share < 0.5
    assert found.p == pytest.approx(share, abs=0.015)
    assert found == paired_bootstrap(a, b, seed=1)


def test_paired_tests_are_antisymmetric() -> None:
    a, b = [0.2, 0.9, 0.4, 1.0], [0.1, 0.8, 0.5, 0.2]
    one, other = paired_bootstrap(a, b, seed=1), paired_bootstrap(b, a, seed=1)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == pytest.approx(other.p, abs=0.02)


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="found 2 and 3"):
        paired_bootstrap([0.0, 1.0], [0.0, 1.0, 1.0], seed=1)
    with pytest.raises(ValueError, match="found 1 and 2"):
        mcnemar_exact([True], [True, False], seed=1)
    with pytest.raises(ValueError, match="no items"):
        mcnemar_exact([], [], seed=1)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([], seed=1)
