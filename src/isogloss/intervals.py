"""How sure a score is: bootstrap intervals over items (Efron 1979) and paired tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

BLOCK = 250_000  # the most draws held in memory at once


@dataclass(frozen=True)
class Interval:
    """A mean over `items` items with the ends of its interval."""

    value: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class PairedTest:
    """mean(first) - mean(second) on the same items, its bootstrap interval, and a two-sided p."""

    difference: float
    low: float
    high: float
    p: float
    test: str
    items: int


def bootstrap_interval(
    values: Sequence[float], *, seed: int, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """The mean and its percentile-bootstrap interval.

    Raises:
        ValueError: there are no values.

    >>> bootstrap_interval([1.0, 1.0, 1.0], seed=1)
    Interval(value=1.0, low=1.0, high=1.0, items=3)
    """
    if not len(values):
        raise ValueError("an interval of no values")
    means = numpy.concatenate(list(_means(values, seed, resamples)))
    low, high = numpy.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numpy.mean(values)), float(low), float(high), len(values))


def cluster_intervals(
    values: Sequence[Sequence[float]], clusters: Sequence[str], *, seed: int, resamples: int = 2000
) -> list[Interval]:
    """The mean of each column of (items, columns) with its 95% interval; items of one cluster
    are drawn together.

    Raises:
        ValueError: there are no values.

    >>> cluster_intervals([[1.0], [3.0]], ["a", "a"], seed=1)
    [Interval(value=2.0, low=2.0, high=2.0, items=2)]
    """
    data = numpy.asarray(values, dtype=float)
    if not data.size:
        raise ValueError("intervals of no values")
    names, place = numpy.unique(numpy.asarray(clusters), return_inverse=True)
    source = numpy.random.default_rng(seed)
    even = numpy.full(len(names), 1 / len(names))
    weights = source.multinomial(len(names), even, size=resamples)[:, place].astype(float)
    means = (weights @ data) / weights.sum(axis=1, keepdims=True)
    low, high = numpy.quantile(means, [0.025, 0.975], axis=0)
    return [
        Interval(float(value), float(below), float(above), len(data))
        for value, below, above in zip(data.mean(axis=0), low, high, strict=True)
    ]


def mcnemar_exact(first: Sequence[bool], second: Sequence[bool], *, seed: int) -> PairedTest:
    """McNemar's exact test (1947): of the items that one system alone got right, half each?

    Raises:
        ValueError: the systems have different numbers of items, or none.

    >>> mcnemar_exact([True] * 9 + [False], [False] * 9 + [True], seed=1).p
    0.021484375
    """
    _check_pairs(first, second)
    # Python's whole numbers: numpy's would overflow in 1 << pairs.
    differences = [int(a) - int(b) for a, b in zip(first, second, strict=True)]
    only_first, only_second = differences.count(1), differences.count(-1)
    interval = bootstrap_interval(differences, seed=seed)
    p = _two_sided(min(only_first, only_second), only_first + only_second)
    return PairedTest(
        interval.value, interval.low, interval.high, p, "exact McNemar", interval.items
    )


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], *, seed: int, resamples: int = 10_000
) -> PairedTest:
    """The paired bootstrap: how often a resample of centred differences is as far from 0.

    p counts the observed difference itself once, so it is never 0.

    Raises:
        ValueError: the systems have different numbers of items, or none.
    """
    _check_pairs(first, second)
    differences = numpy.asarray(first, float) - numpy.asarray(second, float)
    interval = bootstrap_interval(differences.tolist(), seed=seed, resamples=resamples)
    centred = (differences - differences.mean()).tolist()
    # A hair of slack: equal means may differ in their last bit.
    least = abs(interval.value) * (1 - 1e-9)
    far = sum(int((abs(block) >= least).sum()) for block in _means(centred, seed, resamples))
    p = (far + 1) / (resamples + 1)
    return PairedTest(
        interval.value, interval.low, interval.high, p, "paired bootstrap", interval.items
    )


def _means(
    values: Sequence[float], seed: int, resamples: int
) -> Iterator[numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]]:
    """Means of resamples, in blocks of bounded memory."""
    data = numpy.asarray(values, dtype=float)
    source = numpy.random.default_rng(seed)
    at_once = max(1, BLOCK // len(data))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        yield data[source.integers(len(data), size=(count, len(data)))].mean(axis=1)


def _two_sided(fewer: int, pairs: int) -> float:
    """min(1, 2 P(X <= fewer)) for X ~ Binomial(pairs, 1/2), exact in whole numbers."""
    ways = term = 1
    for count in range(fewer):
        # From C(pairs, count) to the next: math.comb anew takes seconds for thousands of pairs.
        term = term * (pairs - count) // (count + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << pairs))


def _check_pairs(first: Sequence[object], second: Sequence[object]) -> None:
    if len(first) != len(second):
        raise ValueError(f"paired items are needed: found {len(first)} and {len(second)}")
    if not len(first):
        raise ValueError("a test of no items")
