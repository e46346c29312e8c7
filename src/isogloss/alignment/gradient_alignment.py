"""Gradient alignment (Eq. 1): how far the gradients of two sets of items point the same way.

Everything follows from the inner products of the items' gradients. An item met with itself says
nothing of alignment, as g_i . g_i is never negative; such pairs never count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from isogloss.alignment.pair_draws import Array, Draws, Key, Once
from isogloss.intervals import Interval

RESAMPLES = 2000
UNDEFINED = 0.5  # the largest share of resamples in which the corrected cosine may be undefined


@dataclass(frozen=True)
class Alignment:
    """Gradients of a set A against those of a set B, each with its 95% interval.

    `inner`: gbar_A . gbar_B, the terms of Eq. 1. `cosine`: that of the mean gradients, which noise
    in the means draws to 0. `corrected`: the same with the noise taken out of the norms (it may
    pass 1); None where one of the norms is noise alone, here or in most resamples. `pairwise`: mean
    cosine of single items' gradients; `translations` and `others` are its parts over translation
    pairs and all other pairs, None where there are none.
    """

    inner: Interval
    cosine: Interval
    corrected: Interval | None
    pairwise: Interval
    translations: Interval | None
    others: Interval | None


def aligned(
    first: Tensor,
    second: Tensor,
    first_keys: Sequence[Key],
    second_keys: Sequence[Key],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Alignment:
    """The alignment of gradients (items, numbers) of A and of B.

    Items of one key are the same item; of one id in two languages, translations. Intervals are
    percentiles of a bootstrap over ids, in which every pair weighs what it weighs in the data on
    average (`pair_draws.py`). Ids that one set alone has are drawn among themselves.

    Raises:
        ValueError: fewer than two items in a set.
    """
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"an alignment of {len(first)} and {len(second)} items; two are the least")
    own, other = first.double(), second.double()
    pairs = _Pairs.of(own, other, first_keys, second_keys)
    values = pairs.resampled(Draws.of(first_keys, second_keys, seed, resamples))
    items = len(first) + len(second)
    return Alignment(
        inner=_interval(values["inner"], items),
        cosine=_interval(values["cosine"], items),
        corrected=_known(values["corrected"], items, UNDEFINED),
        pairwise=_interval(values["pairwise"], items),
        translations=_known(values["translations"], items, 1.0),
        others=_known(values["others"], items, 1.0),
    )


def excess(
    first: Tensor,
    second: Tensor,
    shuffled: Tensor,
    first_keys: Sequence[Key],
    second_keys: Sequence[Key],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Interval:
    """How much nearer A's mean gradient is to B's than to B's with shuffled answers, by cosine.

    Rows of `second` and `shuffled` are the same items; both are resampled together.
    """
    draws = Draws.of(first_keys, second_keys, seed, resamples)
    found = [
        _Pairs.of(first.double(), each.double(), first_keys, second_keys).resampled(draws)
        for each in (second, shuffled)
    ]
    return _interval(found[0]["cosine"] - found[1]["cosine"], len(first) + len(second))


@dataclass(frozen=True)
class _Pairs:
    """Inner products within A, within B and across, and what the pairs across are."""

    within: tuple[Array, Array]
    across: Array
    cosines: Array
    counted: Array
    translated: Array

    @classmethod
    def of(
        cls, own: Tensor, other: Tensor, first_keys: Sequence[Key], second_keys: Sequence[Key]
    ) -> _Pairs:
        same = [[a == b for b in second_keys] for a in first_keys]
        translated = [[a[0] == b[0] and a != b for b in second_keys] for a in first_keys]
        across = own @ other.T
        norms = own.norm(dim=1)[:, None] * other.norm(dim=1)[None, :]
        # A gradient of nothing has no direction: its cosines are 0.
        cosines = across / norms.clamp(min=torch.finfo(torch.float64).tiny)
        return cls(
            ((own @ own.T).numpy(), (other @ other.T).numpy()),
            across.numpy(),
            cosines.numpy(),
            1.0 - numpy.array(same, dtype=float),
            numpy.array(translated, dtype=float),
        )

    def resampled(self, draws: Draws) -> dict[str, Array]:
        """Every measure of the data, then of the draws, (1 + resamples,); NaN where undefined."""
        own, drawn = self._measured(Once()), self._measured(draws)
        # Freed norms of a draw may be next to nothing where noise rules; no cosine is beyond 1.
        drawn["cosine"] = drawn["cosine"].clip(-1, 1)
        return {name: numpy.concatenate([value, drawn[name]]) for name, value in own.items()}

    def _measured(self, draws: Draws | Once) -> dict[str, Array]:
        def mean(values: Array, mask: Array, left: int = 0, right: int = 1) -> Array:
            return _over(draws.sums(values * mask, left, right), draws.sums(mask, left, right))

        inner = mean(self.across, self.counted)
        norms = [
            mean(products, numpy.ones_like(products), side, side)
            for side, products in enumerate(self.within)
        ]
        # Freed of the noise in the means: the mean over pairs i != j.
        free = [
            numpy.maximum(mean(products, 1 - numpy.eye(len(products)), side, side), 0)
            for side, products in enumerate(self.within)
        ]
        return {
            "inner": inner,
            "cosine": _over(inner, _root(norms[0] * norms[1])),
            "corrected": _over(inner, _root(free[0] * free[1])),
            "pairwise": mean(self.cosines, self.counted),
            "translations": mean(self.cosines, self.translated),
            "others": mean(self.cosines, self.counted - self.translated),
        }


def _over(value: Array, by: Array) -> Array:
    return numpy.divide(value, by, out=numpy.full_like(value, numpy.nan), where=by > 0)


def _root(value: Array) -> Array:
    return numpy.sqrt(numpy.maximum(value, 0))


def _interval(values: Array, items: int) -> Interval:
    """The first value, that of the data, with percentiles of the others."""
    there = values[1:][~numpy.isnan(values[1:])]
    if not len(there):
        return Interval(float(values[0]), float("nan"), float("nan"), items)
    low, high = numpy.quantile(there, [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high), items)


def _known(values: Array, items: int, undefined: float) -> Interval | None:
    """None where the data has no value, or more than this share of the resamples has none."""
    if numpy.isnan(values[0]) or numpy.isnan(values[1:]).mean() > undefined:
        return None
    return _interval(values, items)


def ceiling(first: Tensor, second: Tensor, *, seed: int, splits: int = 100) -> float:
    """The cosine that noise leaves between two sets of as many items whose true means agree.

    From the mean cosine h of the mean gradients of random halves of each set, stepped up from
    halves to whole sets: r = 2 h / (1 + h) (Spearman 1910, Brown 1910), and sqrt(r_A r_B) (Spearman
    1904). 0 where halves of a set have nothing in common. Noise that translations share is not
    counted, so a cosine may pass it.
    """
    halves = (_halves(each, seed, splits) for each in (first, second))
    known = [max(0.0, 2 * value / (1 + value)) if value > -1 else 0.0 for value in halves]
    return float(numpy.sqrt(known[0] * known[1]))


def _halves(gradients: Tensor, seed: int, splits: int) -> float:
    """The mean cosine of the mean gradients of random halves of a set."""
    products = (gradients.double() @ gradients.double().T).numpy()
    source = numpy.random.default_rng(seed)
    found = []
    for _ in range(splits):
        order = source.permutation(len(products))
        half = len(order) // 2
        one, other = order[:half], order[half:]
        across = products[numpy.ix_(one, other)].mean()
        norms = [products[numpy.ix_(own, own)].mean() for own in (one, other)]
        found.append(across / max(float(numpy.sqrt(norms[0] * norms[1])), 1e-300))
    return float(numpy.mean(found))
