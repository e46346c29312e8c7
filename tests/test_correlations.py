"""Correlations against numbers worked out by hand."""

from __future__ import annotations

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
