"""What the model says of an answer: log-probabilities at the asked tokens, and generated text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from isogloss.model.attention import forward_arguments, takes
from isogloss.model.last_block import only_read
from isogloss.model.prefix_cache import behind
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
    with only_read(model, columns, batch.ids.shape[1]):
        if takes(model, "logits_to_keep"):
            logits = model(**arguments, logits_to_keep=columns).logits
        else:
            logits = model(**arguments).logits[:, columns]
    picked: Tensor = logits[batch.row, where].float()
    return -cross_entropy(picked, batch.token, reduction="none")  # one pass over the vocabulary


def answer_sums(values: Tensor, batch: Batch) -> Tensor:
    """The sum of token values over each answer, (answers,)."""
    total = torch.zeros(len(batch.weight), dtype=values.dtype, device=values.device)
    return total.index_add(0, batch.answer, values)


def answer_lengths(batch: Batch) -> Tensor:
    """The number of predicted tokens of each answer, (answers,)."""
    return torch.bincount(batch.answer, minlength=len(batch.weight))


@torch.no_grad()
def last_logits(
    model: PreTrainedModel | PeftModel, sequences: Sequence[Sequence[int]], *, count: int
) -> list[Tensor]:
    """Logits at the last tokens of each sequence, fp32 on the CPU, (count, vocabulary) each."""
    keeping = isinstance(model, PreTrainedModel) and takes(model, "logits_to_keep")
    kept = {"logits_to_keep": count} if keeping else {}
    found = []
    for ids in sequences:
        given = torch.tensor([list(ids)], device=model.device)
        logits: Tensor = model(input_ids=given, **kept).logits
        found.append(logits[0, -count:].float().cpu())
    return found


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end: int,
    meet: Callable[[Tensor, Tensor], object] | None = None,
) -> list[tuple[int, ...]]:
    """Greedy continuations of id sequences, each up to `max_new_tokens` or a line's end.

    `end` is the token that ends an answer; it, end tokens and tokens with a line break stop a
    sequence. Sequences are padded on the left, so they do not depend on their neighbours. `meet`
    is shown the padded ids and mask, (sequences, tokens), before.
    """
    stops = sorted(stop_ids(model, tokenizer, end))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids, mask = (part.to(model.device) for part in _left_padded(sequences, padding))
    if meet:
        meet(ids, mask)
    settings = _greedy(max_new_tokens, stops, padding)
    written = model.generate(  # type: ignore[operator]
        ids, attention_mask=mask, generation_config=settings
    )
    return [_until(row, set(stops)) for row in written[:, ids.shape[1] :].tolist()]


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sequences: Sequence[Sequence[int]],
    *,
    limits: Sequence[int],
    enough: Callable[[int, tuple[int, ...]], bool],
) -> list[tuple[int, ...]]:
    """Greedy continuations of id sequences, each up to its own limit, an end token or `enough`.

    `enough` is asked after every token, with a sequence's place and what was written so far; what
    made it say yes is kept, as an end token is. Sequences do not depend on their neighbours.
    """
    stops = sorted(end_ids(model, tokenizer))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids, mask = (part.to(model.device) for part in _left_padded(sequences, padding))
    ended = _Ended(ids.shape[1], limits, set(stops), enough)
    written = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        generation_config=_greedy(max(limits), stops, padding),
        stopping_criteria=StoppingCriteriaList([ended]),
    )
    rows = written[:, ids.shape[1] :].tolist()
    return [tuple(row[:length]) for row, length in zip(rows, ended.lengths, strict=True)]


@final
class _Ended(StoppingCriteria):
    """Says which sequences are at their end, and keeps how many tokens each had then."""

    def __init__(
        self,
        width: int,
        limits: Sequence[int],
        stops: set[int],
        enough: Callable[[int, tuple[int, ...]], bool],
    ) -> None:
        self.width, self.limits, self.stops, self.enough = width, limits, stops, enough
        self.lengths = list(limits)  # until an end is found before

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(sequences, tokens) ids so far to (sequences,): which of them are at their end."""
        rows = input_ids[:, self.width :].tolist()
        for place, row in enumerate(rows):
            going = len(row) < self.lengths[place]
            if going and (row[-1] in self.stops or self.enough(place, tuple(row))):
                self.lengths[place] = len(row)
        done = [len(row) >= length for row, length in zip(rows, self.lengths, strict=True)]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def _left_padded(sequences: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, (sequences, tokens), padded on the left."""
    width = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), width), padding, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, sequence in enumerate(sequences):
        ids[place, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)
        mask[place, width - len(sequence) :] = 1
    return ids, mask


def _greedy(max_new_tokens: int, stops: Sequence[int], padding: int) -> GenerationConfig:
    """The most probable token each time, whatever the model's own configuration adds to that."""
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=list(stops) or None,
        pad_token_id=padding,
    )


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: int) -> set[int]:
    """What stops a generated answer: the token that ends one, end tokens, line breaks."""
    return {end, *line_break_ids(tokenizer), *end_ids(model, tokenizer)}


def _until(ids: Sequence[int], stops: set[int]) -> tuple[int, ...]:
    """The ids up to the first stop, that stop included: its text before the break belongs."""
    for place, token in enumerate(ids):
        if token in stops:
            return tuple(ids[: place + 1])
    return tuple(ids)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a text: those of the model's configuration and the tokenizer's own."""
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
