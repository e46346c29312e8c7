"""What late positions attend to (Section 5.2, Table 1), in memory linear in the length.

All but the last positions are passed with the model's own kernel, which keeps no attention; the
last few then go through eager attention over the keys that were kept, so that no layer ever holds a
row for every token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.attention import takes


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model with eager attention, which alone gives its weights back; its own at the end.

    Raises:
        ModelError: the model has no eager attention.
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
    except (ValueError, ImportError, AttributeError, NotImplementedError) as error:
        raise _no_eager(model, str(error)) from None
    try:
        if model.config._attn_implementation != "eager":
            raise _no_eager(model, f"it stays with {model.config._attn_implementation}")
        yield
    finally:
        model.set_attn_implementation(before)


def _no_eager(model: PreTrainedModel, reason: str) -> ModelError:
    first = reason.strip().partition("\n")[0]
    return ModelError(
        f"attention can only be looked at with eager attention, which a {model.config.model_type} "
        f"model does not have ({first}); leave attention out"
    )


@torch.no_grad()
def late_attention(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], late: Sequence[int]
) -> list[Tensor]:
    """For each sequence the attention of its last positions, fp32, (late, tokens).

    The mean over heads and layers; each row adds up to 1 where every layer sees everything, and a
    layer with a sliding window gives 0 beyond it. `late`: how many positions, one or more and fewer
    than the sequence's tokens.

    Raises:
        ModelError: the model has no eager attention, or does not give its weights back.
    """
    assert all(0 < own < len(ids) for own, ids in zip(late, sequences, strict=True)), "see above"
    width, queries = max(map(len, sequences)), max(late)
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.long)
        mask[row, width - len(sequence) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    weights = _last_rows(model, ids, mask, queries)
    return [
        weights[row, queries - own :, width - len(sequence) :].cpu()
        for row, (own, sequence) in enumerate(zip(late, sequences, strict=True))
    ]


def _last_rows(model: PreTrainedModel, ids: Tensor, mask: Tensor, queries: int) -> Tensor:
    """(rows, queries, tokens) of sequences padded on the left, the mean over layers and heads."""
    decoder = model.get_decoder()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    start = ids.shape[1] - queries
    cache = DynamicCache(config=model.config)
    if start:
        decoder(
            input_ids=ids[:, :start],
            attention_mask=mask[:, :start],
            **_placed(model, positions[:, :start]),
            past_key_values=cache,
            use_cache=True,
        )
    with eager_attention(model):
        found = decoder(
            input_ids=ids[:, start:],
            attention_mask=mask,
            **_placed(model, positions[:, start:]),
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        ).attentions
    if not found or found[0] is None:
        raise _no_eager(model, "its eager attention gives no weights")
    total = torch.zeros((*ids.shape[:1], queries, ids.shape[1]), device=ids.device)
    for layer in found:
        # A sliding window's cache has dropped the first keys.
        total[:, :, ids.shape[1] - layer.shape[-1] :] += layer.float().mean(dim=1)
    return total / len(found)


def _placed(model: PreTrainedModel, positions: Tensor) -> dict[str, Tensor]:
    return {"position_ids": positions} if takes(model, "position_ids") else {}
