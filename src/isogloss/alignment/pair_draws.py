"""Draws of a bootstrap over item ids, for means over pairs of items (Eq. 1's sums over i and j)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy
from numpy.typing import NDArray

Key = tuple[str, str]  # an item's id and language
Array = NDArray[numpy.float64]


@dataclass(frozen=True)
class _Side:
    """Items of one set: how often each is drawn (resamples, items), its id, and its pool of ids."""

    counts: Array
    ids: NDArray[numpy.str_]
    pools: NDArray[numpy.int64]


@final
@dataclass(frozen=True)
class Draws:
    """How often each item of A and of B is drawn; ids of both sets, and of one alone, are pools.

    An id that is drawn w times gives w pairs of an item with its translation, or with itself, as
    the copies of one draw belong together: not w * w, or pairs of one id would weigh twice as much
    as in the data. Two ids drawn w and v times give w * v pairs; of n ids in one pool these are
    1 - 1/n on average, which `sums` makes good.
    """

    sides: tuple[_Side, _Side]
    sizes: Array

    @classmethod
    def of(
        cls, first_keys: Sequence[Key], second_keys: Sequence[Key], seed: int, resamples: int
    ) -> Draws:
        """Draw them for the items of A and B, in their order."""
        own, other = ({name for name, _ in keys} for keys in (first_keys, second_keys))
        source = numpy.random.default_rng(seed)
        pools = [sorted(own & other), sorted(own - other), sorted(other - own)]
        counts: dict[str, Array] = {}
        for ids in pools:
            if ids:
                even = numpy.full(len(ids), 1 / len(ids))
                drawn = source.multinomial(len(ids), even, size=resamples).astype(float)
                counts |= dict(zip(ids, drawn.T, strict=True))
        pool = {name: number for number, ids in enumerate(pools) for name in ids}

        def side(keys: Sequence[Key]) -> _Side:
            names = [name for name, _ in keys]
            return _Side(
                numpy.stack([counts[name] for name in names], axis=1),
                numpy.array(names),
                numpy.array([pool[name] for name in names]),
            )

        sizes = numpy.array([len(ids) for ids in pools], dtype=float)
        return cls((side(first_keys), side(second_keys)), sizes)

    def sums(self, products: Array, left: int, right: int) -> Array:
        """The products' weighted sum over pairs of a `left` with a `right` item, (resamples,).

        0 names A, 1 names B.
        """
        one, other = self.sides[left], self.sides[right]
        same = one.ids[:, None] == other.ids[None, :]
        together = one.pools[:, None] == other.pools[None, :]
        size = self.sizes[one.pools][:, None]
        made_good = numpy.where(together, size / numpy.maximum(size - 1, 1), 1.0)
        apart = products * made_good * ~same
        alike = one.counts @ (products * same).sum(axis=1)
        found: Array = alike + ((one.counts @ apart) * other.counts).sum(axis=1)
        return found


@final
@dataclass(frozen=True)
class Once:
    """The data as they are: every item once."""

    def sums(self, products: Array, left: int, right: int) -> Array:
        """The products' sum, (1,)."""
        return numpy.array([products.sum()])
