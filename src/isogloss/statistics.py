"""How sure a mean over seeds is: resampling of seeds and items, paired tests, Holm's correction.

Seeds and items are crossed: a hard item is hard under every seed, and in every language that has
its translation. A resample therefore draws seeds, and once for all of them the items. Drawing each
seed's items anew would average an item's hardness out over the seeds, and the interval would be too
narrow: with three seeds that answer alike, by the square root of three. Items that one seed alone
has, as where the split depends on the seed, are drawn anew each time that their seed is drawn.

What this cannot do: three seeds say little of how much seeds differ. Resampling S seeds finds only
(S - 1) / S of their variance, and one seed none of it. What is chance in a single answer counts up
to three times where items are crossed (Owen 2007), so such intervals are rather too wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy

from isogloss.intervals import PairedTest, mcnemar_exact

RESAMPLES = 10_000
BLOCK = 4_000_000  # draws held in memory at once; with another number other items are drawn
Array: TypeAlias = "numpy.ndarray[Any, numpy.dtype[Any]]"
Seeds: TypeAlias = Mapping[int, Mapping[str, float]]  # seed -> item id -> value
Parts: TypeAlias = Sequence[Seeds]  # of one system: one test set, or several to be averaged


@final
@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; `by_seed` are the seeds' own means.

    `items` counts different item ids, and of several parts those of all of them.
    """

    value: float
    low: float
    high: float
    by_seed: Mapping[int, float]
    items: int


def estimates(
    systems: Sequence[Parts], *, seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> list[Estimate]:
    """Each system's mean over seeds, and of several parts their mean, with percentile intervals.

    Systems of the same seeds and items share the draws, so that a table costs one set of them.

    Raises:
        ValueError: a system has no values, or its parts differ in their seeds.

    >>> estimates([[{1: {"a": 1.0, "b": 1.0}}]], seed=0)[0].low
    1.0
    """
    shapes: dict[Any, list[int]] = {}
    for number, parts in enumerate(systems):
        shapes.setdefault(_shape(parts), []).append(number)
    made: dict[int, Estimate] = {}
    ends = [(1 - level) / 2, (1 + level) / 2]
    for numbers in shapes.values():
        drawn = _resampled([systems[number] for number in numbers], seed, resamples)
        for column, number in enumerate(numbers):
            low, high = numpy.quantile(drawn[:, column], ends)
            parts = systems[number]
            by_seed = {s: float(_mean([[part[s]] for part in parts])) for s in sorted(parts[0])}
            items = len({name for part in parts for values in part.values() for name in values})
            mean = float(numpy.mean(list(by_seed.values())))
            made[number] = Estimate(mean, float(low), float(high), by_seed, items)
    return [made[number] for number in range(len(systems))]


def paired_tests(
    systems: Sequence[Parts],
    pairs: Sequence[tuple[int, int]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[PairedTest | None]:
    """A two-sided test of each pair of systems over the seeds and items that both have.

    The centred hierarchical bootstrap: how often is the difference of a resample as far from the
    observed difference as that is from 0. p is never below 2 / 2^n, where n items differ: no test
    of n signs can say more. One seed of right or wrong answers has McNemar's exact test instead.
    None stands for a pair that has nothing in common.
    """
    found: list[PairedTest | None] = [None] * len(pairs)
    whole: dict[Any, list[int]] = {}
    for number, (one, other) in enumerate(pairs):
        first, second = _shared(systems[one], systems[other])
        if not first:
            continue
        if exact := _exact(first, second, seed):
            found[number] = exact
        elif _shape(first) == _shape(systems[one]) == _shape(systems[other]):
            whole.setdefault(_shape(first), []).append(number)
        else:
            drawn = _resampled([first, second], seed, resamples)
            found[number] = _test(first, second, drawn[:, 0] - drawn[:, 1])
    for numbers in whole.values():
        involved = sorted({number for pair in numbers for number in pairs[pair]})
        drawn = _resampled([systems[number] for number in involved], seed, resamples)
        for number in numbers:
            one, other = pairs[number]
            differences = drawn[:, involved.index(one)] - drawn[:, involved.index(other)]
            found[number] = _test(systems[one], systems[other], differences)
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): adjusted p, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        largest = max(largest, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = largest
    return adjusted


def enough(tests: int) -> int:
    """So many resamples that the least p of a family of so many tests, corrected, is about 0.01."""
    return max(RESAMPLES, 100 * tests)


# ---- resampling ------------------------------------------------------------------------------


def _shape(parts: Parts) -> tuple[tuple[tuple[int, frozenset[str]], ...], ...]:
    return tuple(tuple((s, frozenset(part[s])) for s in sorted(part)) for part in parts)


def _resampled(systems: Sequence[Parts], seed: int, resamples: int) -> Array:
    """Means of resamples, (resamples, systems), of systems that have one shape.

    Items that occur in the same places are drawn among themselves, so that every resample has as
    many of each as there are, and a mean is linear in the values.
    """
    parts = systems[0]
    seeds = sorted(parts[0])
    if not seeds or any(sorted(part) != seeds for part in parts):
        raise ValueError("values of the same one or more seeds are needed in every part")
    if any(not part[s] for part in parts for s in seeds):
        raise ValueError("a seed without any item")
    columns = [(place, s) for place in range(len(parts)) for s in seeds]
    names = sorted({name for part in parts for s in seeds for name in part[s]})
    present = numpy.array([[name in parts[at][s] for name in names] for at, s in columns])
    values = numpy.array(
        [[[each[at][s].get(name, 0.0) for name in names] for at, s in columns] for each in systems]
    )  # (systems, columns, items)
    values /= present.sum(axis=1)[None, :, None]
    shape = (len(systems), len(parts), len(seeds))
    alone, together = _strata(present.reshape(len(parts), len(seeds), -1))
    source = numpy.random.default_rng(seed)
    made = []
    at_once = max(1, BLOCK // len(names))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        chosen = source.integers(len(seeds), size=(rows, len(seeds)))
        crossed = _means(values, together, source, rows).reshape(rows, *shape)
        total = numpy.zeros((rows, len(systems)))
        for place in range(len(seeds)):
            own = _means(values, alone, source, rows).reshape(rows, *shape)
            drawn = (crossed + own)[numpy.arange(rows), :, :, chosen[:, place]]
            total += drawn.mean(axis=2) / len(seeds)
        made.append(total)
    return numpy.concatenate(made)


def _strata(present: Array) -> tuple[list[Array], list[Array]]:
    """Indices of items that occur in the same places: under one seed alone, or under several.

    `present` is (parts, seeds, items).
    """
    _, kinds = numpy.unique(present.reshape(-1, present.shape[-1]), axis=1, return_inverse=True)
    kinds = kinds.reshape(-1)
    seeds = present.any(axis=0).sum(axis=0)  # of each item
    strata = [numpy.flatnonzero(kinds == kind) for kind in range(kinds.max() + 1)]
    alone = [stratum for stratum in strata if seeds[stratum[0]] == 1]
    return alone, [stratum for stratum in strata if seeds[stratum[0]] > 1]


def _means(
    values: Array, strata: Sequence[Array], source: numpy.random.Generator, rows: int
) -> Array:
    """The strata's part of resampled means, (rows, systems * columns)."""
    total = numpy.zeros((rows, values.shape[0] * values.shape[1]))
    for stratum in strata:
        size = len(stratum)
        drawn = source.integers(size, size=(rows, size)) + size * numpy.arange(rows)[:, None]
        counts = numpy.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        total += counts @ values[:, :, stratum].reshape(-1, size).T
    return total


# ---- pairs -----------------------------------------------------------------------------------


def _shared(one: Parts, other: Parts) -> tuple[Parts, Parts]:
    """Both systems cut to the (seed, item) pairs that they have in common; empty where none."""
    if _shape(one) == _shape(other):
        return one, other
    first, second = [], []
    for mine, theirs in zip(one, other, strict=True):
        common = {s: mine[s].keys() & theirs[s].keys() for s in mine.keys() & theirs.keys()}
        first.append({s: {n: mine[s][n] for n in sorted(names)} for s, names in common.items()})
        second.append({s: {n: theirs[s][n] for n in sorted(names)} for s, names in common.items()})
    alike = len({frozenset(part) for part in first}) == 1
    whole = all(part and all(part.values()) for part in first)
    return (first, second) if alike and whole else ((), ())


def _exact(one: Parts, other: Parts, seed: int) -> PairedTest | None:
    """McNemar's test where it applies: one part, one seed, values that are 0 or 1."""
    if len(one) > 1 or len(one[0]) > 1:
        return None
    ((mine, theirs),) = zip(one[0].values(), other[0].values(), strict=True)
    names = sorted(mine)
    first, second = [mine[n] for n in names], [theirs[n] for n in names]
    if not set(first + second) <= {0.0, 1.0}:
        return None
    return mcnemar_exact([v == 1 for v in first], [v == 1 for v in second], seed=seed)


def _test(one: Parts, other: Parts, differences: Array) -> PairedTest:
    observed = _mean([list(part.values()) for part in one]) - _mean(
        [list(part.values()) for part in other]
    )
    low, high = numpy.quantile(differences, [0.025, 0.975])
    # A hair of slack: sums in another order differ in their last bits.
    far = int((abs(differences - observed) >= abs(observed) - 1e-9).sum())
    p = (far + 1) / (len(differences) + 1)
    names = _differing(one, other)
    p = min(1.0, max(p, 2.0 ** (1 - len(names))))
    items = len({name for part in one for values in part.values() for name in values})
    return PairedTest(observed, float(low), float(high), p, "hierarchical bootstrap", items)


def _differing(one: Parts, other: Parts) -> set[str]:
    """The items that the two answer differently under any seed."""
    return {
        name
        for mine, theirs in zip(one, other, strict=True)
        for s in mine
        for name, value in mine[s].items()
        if value != theirs[s][name]
    }


def _mean(parts: Sequence[Sequence[Mapping[str, float]]]) -> float:
    """The mean over parts of the means over seeds of the means over items."""
    return float(
        numpy.mean([numpy.mean([numpy.mean(list(v.values())) for v in part]) for part in parts])
    )
