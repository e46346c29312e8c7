"""What the model says of an answer: log-probabilities at the asked tokens, and generated text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from isogloss.model.attention import forward_arguments, takes
from isogloss.model.prefix_cache import behind, cache_argument, copied
from isogloss.packing import Batch


def token_log_probabilities(
    model: PreTrainedModel, batch: Batch, front: DynamicCache | None = None
) -> Tensor:
    """Log p of every predicted token of a batch, natural logarithm, fp32, (P,).

    Logits are computed at the read columns only, never for tokens x vocabulary. With the cache of a
    `front` the batch holds what stands behind it.
    """
    arguments = forward_arguments(model, batch) if front is None else behind(model, batch, front)
    columns, where = torch.unique(batch.column, return_inverse=True)
    if takes(model, "logits_to_keep"):
        logits = model(**arguments, logits_to_keep=columns).logits
    else:
        logits = model(**arguments).logits[:, columns]
    picked: Tensor = logits[batch.row, where].float()
    chosen = picked.gather(1, batch.token[:, None])[:, 0]
    return chosen - picked.logsumexp(dim=1)


def answer_sums(values: Tensor, batch: Batch) -> Tensor:
    """The sum of token values over each answer, (answers,)."""
    total = torch.zeros(len(batch.weight), dtype=values.dtype, device=values.device)
    return total.index_add(0, batch.answer, values)


def answer_lengths(batch: Batch) -> Tensor:
    """The number of predicted tokens of each answer, (answers,)."""
    return torch.bincount(batch.answer, minlength=len(batch.weight))


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end: int,
    meet: Callable[[Tensor, Tensor], object] | None = None,
    front: DynamicCache | None = None,
) -> list[tuple[int, ...]]:
    """Greedy continuations of id sequences, each up to `max_new_tokens` or a line's end.

    `end` is the token that ends an answer; it, end tokens and tokens with a line break stop a
    sequence. Sequences are padded on the left, so they do not depend on their neighbours. `meet`
    is shown the padded ids and mask, (sequences, tokens), before. Of sequences of one length the
    tokens of their `front` may be in a cache already.
    """
    width = max(len(ids) for ids in sequences)
    assert front is None or all(len(ids) == width for ids in sequences), "padding moves a front"
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids = torch.full((len(sequences), width), padding, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, sequence in enumerate(sequences):
        ids[place, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)
        mask[place, width - len(sequence) :] = 1
    stops = sorted(stop_ids(model, tokenizer, end))
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=stops, pad_token_id=padding
    )
    ids, mask = ids.to(model.device), mask.to(model.device)
    if meet:
        meet(ids, mask)
    known = {} if front is None else {cache_argument(model): copied(front, len(sequences))}
    written = model.generate(  # type: ignore[operator]
        ids, attention_mask=mask, generation_config=settings, **known
    )
    return [_until(row, set(stops)) for row in written[:, width:].tolist()]


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: int) -> set[int]:
    """What stops a generated answer: the token that ends one, end tokens, line breaks."""
    return {end, *line_break_ids(tokenizer), *_end_ids(model, tokenizer)}


def _until(ids: Sequence[int], stops: set[int]) -> tuple[int, ...]:
    """The ids up to the first stop, that stop included: its text before the break belongs."""
    for place, token in enumerate(ids):
        if token in stops:
            return tuple(ids[: place + 1])
    return tuple(ids)


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    given = model.generation_config.eos_token_id if model.generation_config else None
    ends = set(given) if isinstance(given, list) else {given}
    return {int(token) for token in (*ends, tokenizer.eos_token_id) if token is not None}


def line_break_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids of all tokens with a line break, in whatever way the vocabulary writes it."""
    marks = ("\n", "\u010a", "<0x0A>")  # \u010a: the line break of byte-level vocabularies
    found = [
        number
        for piece, number in tokenizer.get_vocab().items()
        if any(mark in piece for mark in marks)
    ]
    return tuple(sorted(found))
