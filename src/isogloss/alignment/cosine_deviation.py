"""Cosine deviation (Appendix B.1): how much nearer a sentence's tokens are to their own language.

For each token h of a sentence in the dominant language,

    dev = mean_h [ cos(h, H_s'; top-10) - cos(h, H_t; top-10) ]

with H_t the states of the sentence's translation, H_s' those of a random other sentence of the
dominant language, and the mean of the ten highest cosines in either. The appendix prints the same
term twice; its text and the caption of Fig. 2c say which two are meant. Smaller is better aligned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from isogloss.model.layers import blocks, padded, read

TOP = 10
TOLERANCE = 0.2  # B.1: "language pairs with comparable token numbers"
MATRIX_MEMORY = 64 * 2**20  # bytes of the largest similarity matrix
PAIRS = 32  # at once: the states of many more are slow to make, as no cache holds them
STATE_MEMORY = 2 * 2**30  # bytes of hidden states held at once
Ids = Sequence[Sequence[int]]


def comparable(
    own_lengths: Sequence[int], other_lengths: Sequence[int], *, tolerance: float = TOLERANCE
) -> list[int]:
    """The pairs whose numbers of tokens are comparable: |n_s - n_t| <= tolerance * n_t.

    >>> comparable([10, 10, 10], [10, 12, 20])
    [0, 1]
    """
    return [
        place
        for place, (own, other) in enumerate(zip(own_lengths, other_lengths, strict=True))
        if _near(own, other, tolerance)
    ]


def _near(length: int, to: int, tolerance: float) -> bool:
    return abs(length - to) <= tolerance * to + 1e-9


def draw_strangers(
    own_lengths: Sequence[int],
    other_lengths: Sequence[int],
    *,
    tolerance: float | None = TOLERANCE,
    seed: int,
) -> list[int | None]:
    """For each pair another sentence s' of the dominant language, as long as the translation.

    Its length is within the tolerance of the translation's; any other sentence where that is None.
    None where there is no such sentence.
    """
    source = random.Random(f"{seed}/strangers")
    drawn: list[int | None] = []
    for place, other in enumerate(other_lengths):
        fitting = [
            number
            for number, length in enumerate(own_lengths)
            if number != place and (tolerance is None or _near(length, other, tolerance))
        ]
        drawn.append(source.choice(fitting) if fitting else None)
    return drawn


def layer_deviations(
    own: Sequence[Tensor],
    other: Sequence[Tensor],
    strangers: Sequence[int | None],
    *,
    places: Sequence[int] | None = None,
    top: int = TOP,
    memory: int = MATRIX_MEMORY,
) -> Tensor:
    """The deviation of each pair at one layer, float64, (pairs,).

    `own`, `other`: the states (tokens, width) of each sentence and of its translation. `strangers`:
    the place in `own` of each pair's other sentence. `places`: the pairs that are asked for, all by
    default. No similarity matrix has more than `memory` bytes, as long as that holds a row.
    """
    pairs = [_pair(strangers, place) for place in (range(len(own)) if places is None else places)]
    found = torch.empty(len(pairs), dtype=torch.float64)
    lengths = [len(own[place]) for place, _ in pairs]
    wide = [max(len(other[place]), len(own[stranger])) for place, stranger in pairs]
    for batch in _batches(lengths, wide, memory):
        rows, real = _units([own[pairs[number][0]] for number in batch])
        same = _nearest(rows, real, [own[pairs[number][1]] for number in batch], top, memory)
        across = _nearest(rows, real, [other[pairs[number][0]] for number in batch], top, memory)
        found[batch] = (same - across).cpu()
    return found


def _pair(strangers: Sequence[int | None], place: int) -> tuple[int, int]:
    stranger = strangers[place]
    assert stranger is not None, "a pair that is asked for has another sentence"
    return place, stranger


def _batches(rows: Sequence[int], columns: Sequence[int], memory: int) -> Iterator[list[int]]:
    """Up to `PAIRS` of like size together, if a similarity matrix of `memory` bytes holds them."""
    batch: list[int] = []
    height = width = 0
    for place in sorted(range(len(rows)), key=lambda number: (columns[number], rows[number])):
        taller, wider = max(height, rows[place]), max(width, columns[place])
        large = 4 * (len(batch) + 1) * taller * wider > memory
        if batch and (large or len(batch) == PAIRS):
            yield batch
            batch, taller, wider = [], rows[place], columns[place]
        batch.append(place)
        height, width = taller, wider
    if batch:
        yield batch


def _nearest(rows: Tensor, real: Tensor, among: Sequence[Tensor], top: int, memory: int) -> Tensor:
    """Mean over each sentence's tokens of the mean of its `top` highest cosines, float64, (B,).

    `rows`, `real`: the sentences as `_units` gives them.
    """
    columns, there = _units(among)
    counts = there.sum(dim=1)
    slab = max(1, memory // (4 * len(rows) * columns.shape[1]))
    kept = min(top, columns.shape[1])
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    # Where a sentence has fewer tokens than `top`, all of them are the highest.
    used = torch.arange(kept, device=rows.device) < counts[:, None]
    for start in range(0, rows.shape[1], slab):
        cosines = rows[:, start : start + slab] @ columns.transpose(1, 2)
        cosines.masked_fill_(~there[:, None, :], -2.0)
        highest = cosines.topk(kept, dim=2).values.double()
        means = (highest * used[:, None, :]).sum(dim=2) / used.sum(dim=1)[:, None]
        total += (means * real[:, start : start + slab]).sum(dim=1)
    return total / real.sum(dim=1)


def _units(sentences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States at length 1, fp32, (sentences, tokens, width), and which tokens are no padding."""
    states = torch.nn.utils.rnn.pad_sequence([each.float() for each in sentences], batch_first=True)
    lengths = torch.tensor([len(each) for each in sentences], device=states.device)
    real = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
    return torch.nn.functional.normalize(states, dim=2), real


def centred(own: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The states less their mean over all tokens of both languages together.

    A few dimensions with large means can rule every cosine; without the mean they do not.
    """
    total = torch.stack([each.double().sum(dim=0) for each in (*own, *other)]).sum(dim=0)
    mean = (total / sum(len(each) for each in (*own, *other))).float()
    return [each.float() - mean for each in own], [each.float() - mean for each in other]


def deviations(
    model: PreTrainedModel,
    own_ids: Ids,
    other_ids: Ids,
    strangers: Sequence[int],
    *,
    layers: Sequence[int] | None = None,
    centre: bool = False,
    memory: int = STATE_MEMORY,
    batch_size: int = 16,
) -> Tensor:
    """The deviation of each pair at each layer, float64, (pairs, layers).

    `layers`: 1 to L - 1 by default, so neither the embeddings nor what the last norm gives.
    """
    layers = default_layers(model) if layers is None else list(layers)
    parts = []
    states = token_states(
        model, (*own_ids, *other_ids), layers, memory=memory, batch_size=batch_size
    )
    for found in states:
        own, other = found[: len(own_ids)], found[len(own_ids) :]
        if centre:
            own, other = centred(own, other)
        parts.append(layer_deviations(own, other, strangers))
    return torch.stack(parts, dim=1)


def default_layers(model: PreTrainedModel) -> list[int]:
    """Layers 1 to L - 1 of a model of L blocks."""
    return list(range(1, len(blocks(model))))


@torch.no_grad()
def token_states(
    model: PreTrainedModel,
    sentences: Ids,
    layers: Sequence[int],
    *,
    memory: int = STATE_MEMORY,
    batch_size: int = 16,
    front: int = 1,
) -> Iterator[list[Tensor]]:
    """For one layer after the other, each sentence's states without its first tokens, fp32.

    `front` tokens are left out: the first of a sequence is an attention sink. Every sentence has
    more. They are passed once, or as often as it takes for the states of a few layers at a time to
    stay within `memory` bytes (a single layer's states are always held).
    """
    width = model.config.get_text_config().hidden_size
    one = 4 * width * sum(len(ids) - front for ids in sentences)
    at_once = max(1, memory // max(1, one))
    order = sorted(range(len(sentences)), key=lambda place: len(sentences[place]))
    for first in range(0, len(layers), at_once):
        group = list(layers[first : first + at_once])
        kept: dict[int, list[Tensor]] = {layer: [torch.empty(0)] * len(order) for layer in group}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            ids, real = padded([sentences[place] for place in places])
            arguments = {
                "input_ids": ids.to(model.device),
                "attention_mask": real.to(model.device),
                "use_cache": False,
            }
            for layer, hidden in read(model, arguments, group).items():
                for row, place in enumerate(places):
                    # A copy: a view would hold the whole batch with its padding.
                    kept[layer][place] = hidden[row, front : len(sentences[place])].float().clone()
        for layer in group:
            yield kept.pop(layer)
