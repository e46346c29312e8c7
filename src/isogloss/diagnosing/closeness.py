"""How close two languages' sentences are in a model, layer by layer (Section 4, Appendix B.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from isogloss.alignment.cosine_deviation import (
    TOLERANCE,
    centred,
    comparable,
    draw_strangers,
    layer_deviations,
    token_states,
)
from isogloss.alignment.sentence_map import translation_retrieval
from isogloss.diagnosing.parallel_text import LEAST, ParallelText, check_enough
from isogloss.encoding import Encoder
from isogloss.intervals import Interval, cluster_intervals
from isogloss.model.layers import blocks
from isogloss.model.load import Loaded


@final
@dataclass(frozen=True)
class LayerCloseness:
    """One layer: cosine deviation, plain and centred, and how often translations are nearest."""

    layer: int
    deviation: Interval
    centred: Interval
    retrieval: Interval


@final
@dataclass(frozen=True)
class Closeness:
    """Two languages in a model.

    `deviation` and `centred` are means over the inner layers, from pairs of comparable length and
    random sentences as long as the translation; `unmatched` is the plain one over all pairs with
    any random sentence. `matched` is how many pairs were comparable of `pairs` in all, `tokens` the
    mean length of a sentence in either language, `note` what one must know to read the numbers.
    """

    where: str
    pairs: int
    matched: int
    tokens: tuple[float, float]
    deviation: Interval
    centred: Interval
    unmatched: Interval
    layers: tuple[LayerCloseness, ...]
    note: str = ""

    @property
    def inner(self) -> tuple[LayerCloseness, ...]:
        """Layers 1 to L - 1, without the embeddings and what the last norm gives."""
        return self.layers[1:-1] if self.layers[0].layer == 0 else self.layers

    @property
    def best(self) -> LayerCloseness:
        """The inner layer where translations are nearest most often."""
        return max(self.inner, key=lambda each: each.retrieval.value)


@dataclass(frozen=True)
class _Encoded:
    """Ids of the pairs, `front` tokens of each not counted."""

    own: list[tuple[int, ...]]
    other: list[tuple[int, ...]]
    clusters: list[str]
    front: int

    @property
    def lengths(self) -> tuple[list[int], list[int]]:
        own, other = ([len(ids) - self.front for ids in side] for side in (self.own, self.other))
        return own, other


def closeness(
    loaded: Loaded,
    encoder: Encoder,
    text: ParallelText,
    *,
    every_layer: bool = False,
    tolerance: float = TOLERANCE,
    seed: int,
) -> Closeness:
    """Measure it. A soft prompt of the encoder's stands in front of every sentence.

    Layers 1 to L - 1; with `every_layer` also the embeddings and what the last norm gives, which
    count in no mean.

    Raises:
        DataError: fewer than 20 pairs.
    """
    pairs = _encoded(encoder, text, loaded.context)
    check_enough(len(pairs.own), text.where, _advice(len(text.own), loaded.context))
    own_lengths, other_lengths = pairs.lengths
    kept, strangers, note = _matched(own_lengths, other_lengths, tolerance, seed)
    anyone = draw_strangers(own_lengths, other_lengths, tolerance=None, seed=seed)
    count = len(blocks(loaded.model))
    layers = range(count + 1) if every_layer else range(1, count)
    columns: dict[str, list[Tensor]] = {name: [] for name in ("plain", "centred", "any", "found")}
    states = token_states(loaded.model, (*pairs.own, *pairs.other), list(layers), front=pairs.front)
    for each in states:
        own, other = each[: len(pairs.own)], each[len(pairs.own) :]
        moved = centred(own, other)
        columns["plain"].append(layer_deviations(own, other, strangers, places=kept))
        columns["centred"].append(layer_deviations(*moved, strangers, places=kept))
        columns["any"].append(layer_deviations(own, other, anyone))
        columns["found"].append(translation_retrieval(_means(moved[0]), _means(moved[1])))
    names = [pairs.clusters[place] for place in kept]
    inner = slice(1, -1) if every_layer else slice(None)
    plain, mean = _intervals(columns["plain"], names, inner, seed)
    middle, centred_mean = _intervals(columns["centred"], names, inner, seed)
    _, unmatched = _intervals(columns["any"], pairs.clusters, inner, seed)
    found, _ = _intervals(columns["found"], pairs.clusters, inner, seed)
    return Closeness(
        where=text.where,
        pairs=len(pairs.own),
        matched=len(kept),
        tokens=(_average(own_lengths), _average(other_lengths)),
        deviation=mean,
        centred=centred_mean,
        unmatched=unmatched,
        layers=tuple(
            LayerCloseness(layer, *each)
            for layer, *each in zip(layers, plain, middle, found, strict=True)
        ),
        note=note,
    )


def _advice(given: int, context: int | None) -> str:
    if given < LEAST:
        return "Give more parallel text with --parallel"
    return f"Of {given} pairs the others do not fit the model's context of {context} tokens"


def _encoded(encoder: Encoder, text: ParallelText, context: int | None) -> _Encoded:
    """The pairs' ids; those too long for the model, or without a token to count, are left out."""
    front = encoder.demonstration_set(()).ids if not encoder.chat else ()
    skipped = max(1, len(front))
    found = _Encoded([], [], [], skipped)
    for own, other, cluster in zip(text.own, text.other, text.clusters, strict=True):
        ids = [(*front, *encoder.text_ids(sentence)) for sentence in (own, other)]
        if all(skipped < len(each) <= (context or len(each)) for each in ids):
            found.own.append(ids[0])
            found.other.append(ids[1])
            found.clusters.append(cluster)
    return found


def _matched(
    own: Sequence[int], other: Sequence[int], tolerance: float, seed: int
) -> tuple[list[int], list[int | None], str]:
    """Pairs of comparable length with a random sentence each; all of them where too few are."""
    strangers = draw_strangers(own, other, tolerance=tolerance, seed=seed)
    kept = [
        place
        for place in comparable(own, other, tolerance=tolerance)
        if strangers[place] is not None
    ]
    if len(kept) >= LEAST:
        return kept, strangers, ""
    note = (
        f"only {len(kept)} pairs are of comparable length (within {tolerance:.0%}), so all pairs "
        "are used, with any random sentence: the number of tokens to be near to differs"
    )
    anyone = draw_strangers(own, other, tolerance=None, seed=seed)
    return list(range(len(own))), anyone, note


def _means(states: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.mean(dim=0) for each in states])


def _intervals(
    columns: Sequence[Tensor], clusters: Sequence[str], inner: slice, seed: int
) -> tuple[list[Interval], Interval]:
    """An interval for each layer, and for the mean over the inner ones."""
    values = torch.stack(list(columns), dim=1)
    values = torch.cat([values, values[:, inner].mean(dim=1, keepdim=True)], dim=1)
    *layers, mean = cluster_intervals(values.tolist(), clusters, seed=seed)
    return layers, mean


def _average(lengths: Sequence[int]) -> float:
    return sum(lengths) / len(lengths)
