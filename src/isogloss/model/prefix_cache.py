"""Keys and values of a front (soft prompt and demonstrations), kept so that targets go on behind.

A front's keys stand in the cache as attention reads them: normed and rotated at positions 0 to
n - 1. What comes behind has the positions from n on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.attention import is_recurrent, masks, takes
from isogloss.model.prompt import PromptedEmbedding
from isogloss.packing import Batch


@torch.no_grad()
def front_cache(model: PreTrainedModel, ids: Sequence[int]) -> DynamicCache:
    """The keys and values of a front of n ids, (1, heads, n, width of a head) in every layer.

    They are whole in layers with a sliding window too. The front of a compiled run is computed once
    for all; the cache that is given may grow and changes nothing else.

    Raises:
        ModelError: some layers keep a state and not keys and values.
    """
    if is_recurrent(model.config):
        raise ModelError(
            f"a {model.config.model_type} model keeps a state that is no keys and values, so a "
            "front cannot be kept for it; Llama, Qwen and Gemma are tested"
        )
    embedding = _compiled(model, ids)
    kept = embedding.front if embedding is not None else None
    cache = DynamicCache() if kept is None else copied(kept)
    rest = list(ids)[cache.get_seq_length() :]
    if rest:
        _grow(model, cache, rest)
    if embedding is not None and kept is None:
        length = len(embedding.prompt)
        embedding.front = DynamicCache(
            [(k[..., :length, :], v[..., :length, :]) for k, v in keys_and_values(cache)]
        )
    return cache


def _grow(model: PreTrainedModel, cache: DynamicCache, ids: Sequence[int]) -> None:
    arguments: dict[str, object] = {cache_argument(model): cache, "use_cache": True}
    if takes(model, "logits_to_keep"):
        arguments["logits_to_keep"] = 1
    model(input_ids=torch.tensor([list(ids)], device=model.device), **arguments)


def compiled_front(model: PreTrainedModel, ids: Sequence[int]) -> DynamicCache | None:
    """The cache of the compiled prefix that a front's ids begin with, or None where none is."""
    embedding = _compiled(model, ids)
    return front_cache(model, ids[: len(embedding.prompt)]) if embedding is not None else None


def keep_front(model: PreTrainedModel, front: DynamicCache) -> None:
    """Give the model's compiled prefix its cache, where it was computed before."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, PromptedEmbedding), "a compiled prefix is attached"
    assert embedding.compiled, "a compiled prefix is attached"
    embedding.front = front


def copied(cache: DynamicCache, rows: int = 1) -> DynamicCache:
    """The same keys and values for a number of rows, in a cache that may grow by itself."""
    own = DynamicCache(keys_and_values(cache))
    if rows > 1:
        own.batch_repeat_interleave(rows)
    return own


def behind(model: PreTrainedModel, batch: Batch, front: DynamicCache) -> dict[str, object]:
    """The arguments of the forward pass for a batch all of whose rows stand behind one front.

    The batch holds what comes after the front alone, its positions counted from 0.
    """
    rows, length = len(batch.ids), front.get_seq_length()
    seen = torch.ones((rows, length), dtype=torch.bool, device=batch.ids.device)
    positions = batch.positions + length
    if batch.visible is None:
        mask: object = torch.cat([seen, batch.real], dim=1).long()
    else:
        before = torch.arange(length, device=positions.device).expand(rows, -1)
        visible = torch.cat([seen[:, None].expand(-1, positions.shape[1], -1), batch.visible], 2)
        mask = masks(model, visible, positions, torch.cat([before, positions], dim=1))
    own = {"attention_mask": mask, "position_ids": positions, "use_cache": True}
    return {"input_ids": batch.ids, **own, cache_argument(model): copied(front, rows)}


def cache_argument(model: PreTrainedModel) -> str:
    """What the forward pass calls its cache: transformers 5.24 gave it another name."""
    return "cache" if takes(model, "cache") else "past_key_values"


def _compiled(model: PreTrainedModel, ids: Sequence[int]) -> PromptedEmbedding | None:
    """The embedding of the compiled prefix that ids begin with, or None where none is."""
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, PromptedEmbedding) or not embedding.compiled:
        return None
    first, length = embedding.vocabulary, len(embedding.prompt)
    return embedding if tuple(ids[:length]) == tuple(range(first, first + length)) else None


def keys_and_values(cache: Any) -> list[tuple[Tensor, Tensor]]:
    """Of each layer its keys and values, (rows, heads, n, width of a head) each.

    Layers at the end that read an earlier layer's have none of their own and are left out.
    """
    return [(layer.keys, layer.values) for layer in cache.layers if layer.keys is not None]
