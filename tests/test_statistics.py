"""Hierarchical intervals, paired tests and Holm's correction against enumeration and by hand."""

from __future__ import annotations

from itertools import product

import numpy
import pytest

from isogloss.intervals import bootstrap_interval, mcnemar_exact
from isogloss.statistics import enough, estimates, holm, paired_tests

VALUES = {1: {"a": 1.0, "b": 0.0, "c": 0.5}, 2: {"a": 0.25, "b": 0.0, "c": 1.0}}
OTHER = {1: {"a": 0.0, "b": 0.25, "c": 0.5}, 2: {"a": 0.25, "b": 0.5, "c": 0.0}}


def all_resamples(values: dict[int, dict[str, float]]) -> list[float]:
    """Every equally likely resample of a small case: seeds, and items once for all seeds."""
    seeds, items = sorted(values), sorted(values[min(values)])
    return [
        float(numpy.mean([numpy.mean([values[s][i] for i in drawn]) for s in chosen]))
        for chosen in product(seeds, repeat=len(seeds))
        for drawn in product(items, repeat=len(items))
    ]


def drawn(seeds: int, items: int, source: numpy.random.Generator, spread: float = 0.0):
    """Right and wrong answers of a system: items differ in hardness, answers by chance."""
    hard = source.random(items)
    return {
        seed: {f"i{n}": float(source.random() < hard[n] + spread) for n in range(items)}
        for seed in range(seeds)
    }


def test_intervals_are_those_of_all_resamples() -> None:
    (found,) = estimates([[VALUES]], seed=1, resamples=40_000)
    whole = all_resamples(VALUES)
    assert found.value == pytest.approx(numpy.mean([0.5, 1.25 / 3]))
    assert found.by_seed == pytest.approx({1: 0.5, 2: 1.25 / 3})
    assert found.items == 3
    assert found.low == pytest.approx(numpy.quantile(whole, 0.025), abs=0.03)
    assert found.high == pytest.approx(numpy.quantile(whole, 0.975), abs=0.03)


def test_p_is_the_share_of_all_centred_resamples() -> None:
    gap = {s: {i: VALUES[s][i] - OTHER[s][i] for i in VALUES[s]} for s in VALUES}
    whole = numpy.array(all_resamples(gap))
    mean = numpy.mean([list(gap[s].values()) for s in gap])
    share = float((abs(whole - mean) >= abs(mean) - 1e-9).mean())
    assert 2 / 2**3 < share < 1  # above the least p of three items, or the case would show nothing
    (found,) = paired_tests([[VALUES], [OTHER]], [(0, 1)], seed=1, resamples=40_000)
    assert found is not None
    assert found.difference == pytest.approx(mean)
    assert found.p == pytest.approx(share, abs=0.01)
    assert found.low == pytest.approx(numpy.quantile(whole, 0.025), abs=0.03)
    assert found.high == pytest.approx(numpy.quantile(whole, 0.975), abs=0.03)
    (turned,) = paired_tests([[VALUES], [OTHER]], [(1, 0)], seed=1, resamples=40_000)
    assert turned is not None
    assert (turned.difference, turned.p) == (-found.difference, found.p)


def test_items_are_drawn_once_for_all_seeds() -> None:
    """Three seeds that answer alike are no more evidence than one."""
    answers = {f"i{n}": float(n % 3 == 0) for n in range(300)}
    alike = dict.fromkeys((1, 2, 3), answers)
    one, three = estimates([[{1: answers}], [alike]], seed=0)
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.03)
    plain = bootstrap_interval(list(answers.values()), seed=0)
    assert one.high - one.low == pytest.approx(plain.high - plain.low, abs=0.007)
    # The same answers under ids of their own are three times the items: a narrower interval.
    apart = {s: {f"{s}-{name}": v for name, v in answers.items()} for s in (1, 2, 3)}
    (independent,) = estimates([[apart]], seed=0)
    width = (three.high - three.low) / (independent.high - independent.low)
    assert width == pytest.approx(3**0.5, rel=0.1)


def test_parallel_items_of_languages_are_drawn_together_too() -> None:
    answers = {f"i{n}": float(n % 3 == 0) for n in range(90)}
    one, both = estimates([[{1: answers}], [{1: answers}, {1: answers}]], seed=0)
    assert both.high - both.low == pytest.approx(one.high - one.low, rel=0.03)
    other = {f"j{n}": float(n % 3 == 0) for n in range(90)}
    (apart,) = estimates([[{1: answers}, {1: other}]], seed=0)
    assert (one.high - one.low) / (apart.high - apart.low) == pytest.approx(2**0.5, rel=0.08)
    assert apart.items == 180


def test_an_average_is_the_mean_of_its_parts_whatever_their_sizes() -> None:
    small, large = {1: {"a": 1.0}}, {1: {f"i{n}": 0.0 for n in range(50)}}
    (found,) = estimates([[small, large]], seed=0)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_seeds_that_differ_widen_the_interval() -> None:
    items = [f"i{n}" for n in range(200)]
    apart = {s: dict.fromkeys(items, level) for s, level in ((1, 0.2), (2, 0.5), (3, 0.8))}
    (found,) = estimates([[apart]], seed=0)
    assert (found.low, found.high) == pytest.approx((0.2, 0.8), abs=0.101)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    source = numpy.random.default_rng(3)
    covered = 0
    for number in range(150):
        (found,) = estimates([[drawn(3, 60, source)]], seed=number, resamples=400)
        covered += found.low <= 0.5 <= found.high
    assert 0.9 < covered / 150 <= 1


def test_equal_systems_are_rarely_told_apart_and_others_are() -> None:
    source = numpy.random.default_rng(4)
    found = 0
    for number in range(150):
        hard = source.random(50)
        both = [
            [{s: {str(n): float(source.random() < hard[n]) for n in range(50)} for s in range(3)}]
            for _ in range(2)
        ]
        (test,) = paired_tests(both, [(0, 1)], seed=number, resamples=400)
        assert test is not None
        found += test.p < 0.05
    assert found / 150 < 0.07
    better, worse = drawn(3, 200, source, 0.3), drawn(3, 200, source, -0.1)
    (test,) = paired_tests([[better], [worse]], [(0, 1)], seed=0)
    assert test is not None
    assert test.p < 0.001


def test_one_seed_of_right_and_wrong_has_mcnemars_test() -> None:
    first = {7: {str(n): float(n < 9) for n in range(20)}}
    second = {7: {str(n): float(n == 9) for n in range(20)}}
    (found,) = paired_tests([[first], [second]], [(0, 1)], seed=1)
    names = sorted(first[7])
    assert found == mcnemar_exact(
        [first[7][n] == 1 for n in names], [second[7][n] == 1 for n in names], seed=1
    )
    assert found is not None
    assert found.p == 22 / 1024


def test_few_items_never_make_a_small_p() -> None:
    """Five items, each better under three seeds: the resamples do not differ, a sign test would."""
    better = {s: {str(n): 1.0 for n in range(5)} for s in (1, 2, 3)}
    worse = {s: {str(n): 0.0 for n in range(5)} for s in (1, 2, 3)}
    (found,) = paired_tests([[better], [worse]], [(0, 1)], seed=1)
    assert found is not None
    assert (found.difference, found.p) == (1.0, 2 / 2**5)
    (same,) = paired_tests([[better], [better]], [(0, 1)], seed=1)
    assert same is not None
    assert (same.difference, same.p) == (0.0, 1.0)


def test_pairs_are_compared_where_both_have_values() -> None:
    source = numpy.random.default_rng(8)
    whole = drawn(3, 40, source)
    fewer = {seed: {n: 1 - v for n, v in whole[seed].items()} for seed in (0, 1)}
    stranger = {9: {"x": 1.0}}
    found = paired_tests([[whole], [fewer], [stranger]], [(0, 1), (0, 2)], seed=1)
    cut = {seed: whole[seed] for seed in (0, 1)}
    assert found[0] == paired_tests([[cut], [fewer]], [(0, 1)], seed=1)[0]
    assert found[1] is None


def test_a_test_does_not_depend_on_what_else_is_tested() -> None:
    source = numpy.random.default_rng(9)
    systems = [[drawn(2, 30, source)] for _ in range(4)]
    alone = paired_tests([systems[2], systems[3]], [(0, 1)], seed=5)[0]
    among = paired_tests(systems, [(0, 1), (2, 3), (0, 3)], seed=5)[1]
    assert alone is not None
    assert among is not None
    assert alone.p == among.p
    assert alone.low == pytest.approx(among.low, abs=1e-12)


def test_the_same_seed_gives_the_same_numbers() -> None:
    source = numpy.random.default_rng(2)
    system = [{seed: {str(n): float(source.random()) for n in range(30)} for seed in range(3)}]
    assert estimates([system], seed=4) == estimates([system], seed=4)
    assert estimates([system], seed=4) != estimates([system], seed=5)


def test_values_that_make_no_mean_are_refused() -> None:
    with pytest.raises(ValueError, match="same one or more seeds"):
        estimates([[{1: {"a": 1.0}}, {2: {"a": 1.0}}]], seed=0)
    with pytest.raises(ValueError, match="without any item"):
        estimates([[{1: {}}]], seed=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.03, 0.001, 0.03], [0.06, 0.003, 0.06]),
    ],
)
def test_holm_by_hand(given: list[float], expected: list[float]) -> None:
    assert holm(given) == pytest.approx(expected)


def test_holm_rejects_what_the_step_down_rule_rejects() -> None:
    source = numpy.random.default_rng(1)
    for _ in range(200):
        given = (source.random(6) ** 3).tolist()
        order = sorted(range(6), key=given.__getitem__)
        rejected = set()
        for rank, place in enumerate(order):  # the rule as Holm states it
            if given[place] > 0.05 / (6 - rank):
                break
            rejected.add(place)
        assert {n for n, p in enumerate(holm(given)) if p <= 0.05} == rejected


def test_resamples_are_enough_for_the_family() -> None:
    assert enough(3) == 10_000
    assert 500 / (enough(500) + 1) < 0.0101
