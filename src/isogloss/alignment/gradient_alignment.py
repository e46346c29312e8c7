"""Gradient alignment (Eq. 1): how far the gradients of two sets of items point the same way.

Everything follows from the inner products of the items' gradients. An item met with itself says
nothing of alignment, as g_i . g_i is never negative; such pairs never count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from isogloss.intervals import Interval

RESAMPLES = 2000
UNDEFINED = 0.5  # the largest share of resamples in which the corrected cosine may be undefined
Key = tuple[str, str]  # an item's id and language
Array = NDArray[numpy.float64]


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
    percentiles of a bootstrap over ids: an id that is drawn twice counts twice on both sides. Ids
    that one set alone has are drawn among themselves.

    Raises:
        ValueError: fewer than two items in a set.
    """
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"an alignment of {len(first)} and {len(second)} items; two are the least")
    own, other = first.double(), second.double()
    pairs = _Pairs.of(own, other, first_keys, second_keys)
    values = pairs.measured(*_weights(first_keys, second_keys, seed, resamples))
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
    weights = _weights(first_keys, second_keys, seed, resamples)
    found = [
        _Pairs.of(first.double(), each.double(), first_keys, second_keys).measured(*weights)
        for each in (second, shuffled)
    ]
    return _interval(found[0]["cosine"] - found[1]["cosine"], len(first) + len(second))


def _weights(
    first_keys: Sequence[Key], second_keys: Sequence[Key], seed: int, resamples: int
) -> tuple[Array, Array]:
    """How often each item of A and of B is drawn, (1 + resamples, items): once each, then anew."""
    own, other = ({name for name, _ in keys} for keys in (first_keys, second_keys))
    source = numpy.random.default_rng(seed)
    counts: dict[str, Array] = {}
    # Ids of both sets among themselves, and those of one set alone likewise.
    for ids in (sorted(own & other), sorted(own - other), sorted(other - own)):
        if ids:
            even = numpy.full(len(ids), 1 / len(ids))
            drawn = source.multinomial(len(ids), even, size=resamples)
            whole = numpy.concatenate([numpy.ones((1, len(ids))), drawn])
            counts |= dict(zip(ids, whole.T, strict=True))
    first, second = (
        numpy.stack([counts[name] for name, _ in keys], axis=1)
        for keys in (first_keys, second_keys)
    )
    return first, second


@dataclass(frozen=True)
class _Pairs:
    """Inner products within A, within B and across, and what the pairs across are."""

    within_first: Array
    within_second: Array
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
            (own @ own.T).numpy(),
            (other @ other.T).numpy(),
            across.numpy(),
            cosines.numpy(),
            1.0 - numpy.array(same, dtype=float),
            numpy.array(translated, dtype=float),
        )

    def measured(self, first: Array, second: Array) -> dict[str, Array]:
        """Every measure under weights (resamples, items) of A and of B; NaN where undefined."""

        def mean(values: Array, mask: Array) -> Array:
            return _over(_bilinear(first, values * mask, second), _bilinear(first, mask, second))

        inner = mean(self.across, self.counted)
        norms = [
            _over(_bilinear(w, products, w), w.sum(axis=1) ** 2)
            for w, products in ((first, self.within_first), (second, self.within_second))
        ]
        free = [
            _without_self(w, products)
            for w, products in ((first, self.within_first), (second, self.within_second))
        ]
        return {
            "inner": inner,
            "cosine": _over(inner, _root(norms[0] * norms[1])),
            "corrected": _over(inner, _root(numpy.maximum(free[0], 0) * numpy.maximum(free[1], 0))),
            "pairwise": mean(self.cosines, self.counted),
            "translations": mean(self.cosines, self.translated),
            "others": mean(self.cosines, self.counted - self.translated),
        }


def _bilinear(left: Array, matrix: Array, right: Array) -> Array:
    product: Array = ((left @ matrix) * right).sum(axis=1)
    return product


def _without_self(weights: Array, products: Array) -> Array:
    """The squared norm of the mean gradient freed of its noise: the mean over pairs i != j."""
    squares = (weights**2) @ numpy.ones(len(products))
    own = (weights**2) @ products.diagonal()
    pairs = weights.sum(axis=1) ** 2 - squares
    return _over(_bilinear(weights, products, weights) - own, pairs)


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


def ceiling(gradients: Tensor, *, seed: int, splits: int = 100) -> float:
    """The mean cosine of the mean gradients of random halves of a set, noisier than the whole."""
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
