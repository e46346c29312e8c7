"""Correlations against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from isogloss.correlations import correlation


def test_by_hand():
    """Ranks 0 1 2 3 against 1 0 2 3: d^2 sums to 2, so 1 - 6 * 2 / (4 * 15) = 0.8."""
    found = correlation([1.0, 2, 3, 4], [10.0, 5, 20, 90], seed=0)
    assert found.rank == pytest.approx(0.8)
    # Of 24 orders, 4 have at least .8 (the identity and three neighbours' swaps), 4 at most -.8.
    assert found.p == pytest.approx(8 / 24)
    assert found.low is None
    assert found.things == 4


def test_ties_share_their_rank():
    found = correlation([1.0, 1, 2], [3.0, 3, 9], seed=0)
    assert found.rank == pytest.approx(1)
    assert found.linear == pytest.approx(1)
    # Ranks 0 1 2 3 against 0 1.5 1.5 3: 4.5 / sqrt(5 * 4.5).
    middle = correlation([1.0, 2, 3, 4], [1.0, 5, 5, 9], seed=0)
    assert middle.rank == pytest.approx(0.9**0.5)


def test_many_things_have_an_interval():
    numbers = [float(number) for number in range(12)]
    noisy = [number + (3 if number % 3 else -3) for number in numbers]
    found = correlation(numbers, noisy, seed=0)
    assert found.low is not None
    assert found.low < found.rank <= found.high
    assert 0 < found.p < 0.01
    assert correlation(numbers, noisy, seed=0) == found


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="2 and 2"):
        correlation([1.0, 2], [1.0, 2], seed=0)


def test_pearsons_by_hand():
    """Less their means -1 0 1 and -2 1 1: 3 / sqrt(2 * 6); ranks 0 1 2 and 0 1.5 1.5: the same."""
    found = correlation([1.0, 2, 3], [1.0, 4, 4], seed=0)
    assert found.linear == pytest.approx(3 / 12**0.5)
    assert found.rank == pytest.approx(1.5 / (2 * 1.5) ** 0.5)
    bent = correlation([0.0, 1, 2], [0.0, 1, 8], seed=0)
    assert bent.rank == pytest.approx(1)
    # -1 0 1 and -3 -2 5.
    assert bent.linear == pytest.approx(8 / (2 * 38) ** 0.5)


def test_the_other_way_round_is_negative_and_as_rare():
    found = correlation([1.0, 2, 3, 4, 5], [9.0, 7, 5, 3, 1], seed=0)
    assert found.rank == pytest.approx(-1)
    assert found.linear == pytest.approx(-1)
    # Of 120 orders, the one that falls and the one that rises.
    assert found.p == pytest.approx(2 / 120)
    assert found.low == pytest.approx(-1)


def test_scale_and_order_change_nothing():
    x, y = [3.0, 1, 4, 1.5, 5, 9], [2.0, 7, 1, 8, 2.5, 8.5]
    found = correlation(x, y, seed=0)
    moved = correlation([10 * each - 7 for each in x], [each / 3 for each in y], seed=0)
    turned = correlation(x[::-1], y[::-1], seed=0)
    for other in (moved, turned):
        assert other.rank == pytest.approx(found.rank)
        assert other.linear == pytest.approx(found.linear)
        assert other.p == pytest.approx(found.p)


@pytest.mark.parametrize("count", [3, 6, 9])
def test_what_never_varies_goes_with_nothing(count):
    """No number says how; and it is no finding, so p is not small."""
    found = correlation([float(n) for n in range(count)], [0.5] * count, seed=0)
    assert not found.known
    assert math.isnan(found.rank)
    assert math.isnan(found.linear)
    assert (found.p, found.low, found.high, found.things) == (1, None, None, count)
    assert correlation([1.0, 2, 3], [1.0, 1, 2], seed=0).known
