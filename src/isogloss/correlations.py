"""Correlations of two numbers over models, languages or runs (Fig. 2c), with how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeAlias, final

import numpy

EXACT_ORDERS = 7  # things whose orders are all tried
RESAMPLES = 5000
Array: TypeAlias = "numpy.ndarray[Any, numpy.dtype[Any]]"


@final
@dataclass(frozen=True)
class Correlation:
    """How two numbers of the same things go together.

    `rank` is Spearman's, `linear` Pearson's; `p` the two-sided permutation test's of the rank
    correlation, exact up to 7 things. `low` and `high` are the rank correlation's 95% bootstrap
    interval over things, None for fewer than 5 of them. Numbers that are all the same have no
    correlation: both are NaN then, and p is 1.
    """

    rank: float
    linear: float
    p: float
    low: float | None
    high: float | None
    things: int

    @property
    def known(self) -> bool:
        """Whether there is one: each list has two different numbers or more."""
        return not math.isnan(self.rank)


def correlation(first: Sequence[float], second: Sequence[float], *, seed: int) -> Correlation:
    """The correlation of two lists of numbers.

    Raises:
        ValueError: lists of different lengths, or of fewer than three numbers.

    >>> correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], seed=0).rank
    1.0
    """
    if len(first) != len(second) or len(first) < 3:
        raise ValueError(f"a correlation of {len(first)} and {len(second)} numbers")
    x, y = numpy.asarray(first, float), numpy.asarray(second, float)
    rank = rank_correlation(x, y)
    if math.isnan(rank):
        return Correlation(rank, rank, 1.0, None, None, len(x))
    source = numpy.random.default_rng(seed)
    count = len(x)
    orders: Iterable[Any] = (
        permutations(range(count))
        if count <= EXACT_ORDERS
        else (source.permutation(count) for _ in range(RESAMPLES))
    )
    far = [abs(rank_correlation(x, y[list(order)])) >= abs(rank) - 1e-12 for order in orders]
    # A sample of orders counts the observed one too, so that p is never 0.
    p = float(numpy.mean(far)) if count <= EXACT_ORDERS else (sum(far) + 1) / (len(far) + 1)
    ends: tuple[float | None, float | None] = (None, None)
    if count >= 5:
        drawn = [source.integers(count, size=count) for _ in range(RESAMPLES)]
        found = [rank_correlation(x[one], y[one]) for one in drawn]
        low, high = numpy.nanquantile(found, [0.025, 0.975])
        ends = float(low), float(high)
    return Correlation(rank, _pearson(x, y), p, *ends, count)


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's correlation, equal values sharing their rank; NaN where a list has one value."""
    return _pearson(_ranks_of(x), _ranks_of(y))


def _ranks_of(values: Array) -> Array:
    """Ranks from 0, equal values sharing their mean rank."""
    _, place, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    last = numpy.cumsum(counts)
    return (last - (counts + 1) / 2)[place]


def _pearson(x: Array, y: Array) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(numpy.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")
