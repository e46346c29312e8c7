"""How sure a score is: bootstrap intervals over items (Efron 1979) and paired tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy

BLOCK = 4_000_000  # the most draws held in memory at once


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


def seeds_interval(
    values: Sequence[Mapping[str, float]], *, seed: int, resamples: int = 10_000
) -> Interval:
    """The mean over seeds of the mean over items, with a 95% bootstrap interval over both.

    `values`: for each seed, an item's value by its id. Seeds are drawn, and items: an item that
    several seeds have is drawn for all of them at once, for its difficulty is the same under each;
    drawn apart, the interval would be too narrow. Three seeds show their spread only roughly.

    Raises:
        ValueError: a seed has no items.
    """
    table, there = _crossed(values)
    means = numpy.concatenate(list(_crossed_means(table, there, seed, resamples)))
    low, high = numpy.quantile(means, [0.025, 0.975])
    return Interval(_grand(table, there), float(low), float(high), table.shape[1])


def seeds_test(
    first: Sequence[Mapping[str, float]],
    second: Sequence[Mapping[str, float]],
    *,
    seed: int,
    resamples: int = 10_000,
) -> PairedTest:
    """The difference of two systems over the items that both answered under each seed.

    With one seed and values of 0 and 1 it is McNemar's exact test; otherwise the bootstrap of
    `seeds_interval` over differences, p being how often centred resamples are as far from 0.

    Raises:
        ValueError: other seeds, or no item in common.
    """
    _check_pairs(first, second)
    shared = [sorted(a.keys() & b.keys()) for a, b in zip(first, second, strict=True)]
    if len(first) == 1 and {*first[0].values(), *second[0].values()} <= {0.0, 1.0}:
        own, other = ([system[0][name] == 1 for name in shared[0]] for system in (first, second))
        return mcnemar_exact(own, other, seed=seed)
    differences = [
        {name: a[name] - b[name] for name in names}
        for a, b, names in zip(first, second, shared, strict=True)
    ]
    interval = seeds_interval(differences, seed=seed, resamples=resamples)
    table, there = _crossed(differences)
    centred = numpy.where(there, table - interval.value, 0.0)
    least = abs(interval.value) * (1 - 1e-9)
    blocks = _crossed_means(centred, there, seed, resamples)
    far = sum(int((abs(block) >= least).sum()) for block in blocks)
    p = (far + 1) / (resamples + 1)
    name = "paired bootstrap over seeds and items"
    return PairedTest(interval.value, interval.low, interval.high, p, name, interval.items)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of the p of several tests, in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


Floats = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]
Marks = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.bool_]]


def _crossed(values: Sequence[Mapping[str, float]]) -> tuple[Floats, Marks]:
    """Values by seed and item, (seeds, items), 0 where a seed lacks the item; and which it has."""
    if not values or not all(values):
        raise ValueError("every seed needs items")
    names = sorted({name for one in values for name in one})
    there = numpy.array([[name in one for name in names] for one in values])
    table = numpy.array([[one.get(name, 0.0) for name in names] for one in values], dtype=float)
    return table, there


def _grand(table: Floats, there: Marks) -> float:
    return float((table.sum(axis=1) / there.sum(axis=1)).mean())


def _crossed_means(
    table: Floats, there: Marks, seed: int, resamples: int
) -> Iterator[numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]]:
    """Means of resamples of seeds and items together, in blocks of bounded memory."""
    seeds, items = table.shape
    source = numpy.random.default_rng(seed)
    own = table.sum(axis=1) / there.sum(axis=1)
    at_once = max(1, BLOCK // (seeds * items))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = source.integers(items, size=(count, items))
        sums, counts = table[:, drawn].sum(axis=2), there[:, drawn].sum(axis=2)
        # A seed none of whose few items were drawn stands with its own mean.
        means = numpy.where(counts > 0, sums / numpy.maximum(counts, 1), own[:, None])
        which = source.integers(seeds, size=(count, seeds))
        yield numpy.take_along_axis(means.T, which, axis=1).mean(axis=1)


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
