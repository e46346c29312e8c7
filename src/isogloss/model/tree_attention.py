"""Attention over a tree part by part: its trunk as a plain sequence, then each branch.

With one mask for all, every token is multiplied with every other and the products that the mask
hides are thrown away. The trunk of a batch needs no mask and less than half of the products, and a
branch none with another branch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TREE = "isogloss_tree"
PARTS = "parts"  # what the argument is called on its way through the model
WORTHWHILE = 2**14
"""Products of a branch's token with another's from which on to take the branches one by one."""


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    parts: Sequence[int] = (),
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """SDPA, (rows, heads, tokens, width) to (rows, tokens, heads, width).

    `parts`: where the trunk ends, a plain sequence in every row, and where each part behind it
    does, which sees the trunk and itself at most; without them the mask, (rows, 1, tokens,
    tokens), says alone who sees whom.
    """
    trunk, *ends = parts or (0,)
    if attention_mask is None or not trunk or not ends:
        return _sdpa(module, query, key, value, attention_mask, **named)
    sizes = _sizes(trunk, ends)
    queries, keys, values = (torch.split(each, sizes, dim=2) for each in (query, key, value))
    whole = sliding_window is None or trunk <= sliding_window
    mask = None if whole else attention_mask[:, :, :trunk, :trunk]
    found = [_sdpa(module, queries[0], keys[0], values[0], mask, **named)[0]]
    start = trunk
    for part, size in enumerate(sizes[1:], start=1):
        seen = attention_mask[:, :, start : start + size]
        own = (key, value)
        if len(sizes) > 2:
            seen = torch.cat([seen[..., :trunk], seen[..., start : start + size]], dim=-1)
            own = (
                torch.cat([keys[0], keys[part]], dim=2),
                torch.cat([values[0], values[part]], dim=2),
            )
        found.append(_sdpa(module, queries[part], *own, seen, **named)[0])
        start += size
    return torch.cat(found, dim=1), None


def _sizes(trunk: int, ends: Sequence[int]) -> list[int]:
    """The tokens of the trunk and of the parts, taken as one where that spares little."""
    own = [end - start for start, end in zip((trunk, *ends), ends, strict=False)]
    spared = sum(own) ** 2 - sum(size**2 for size in own)
    return [trunk, *own] if spared >= WORTHWHILE else [trunk, sum(own)]


def _sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **named: Any,
) -> tuple[Tensor, None]:
    """SDPA as transformers calls it, but on a CPU heads share keys and values as they are.

    With a mask transformers copies them for each head, which spares a GPU its slow kernel.
    """
    shared = mask is not None and query.device.type == "cpu" and query.shape[1] != key.shape[1]
    if not shared or any(named.get(name) is not None for name in ("position_bias", "softcap")):
        found: tuple[Tensor, None]
        found = sdpa_attention_forward(module, query, key, value, mask, **named)
        return found
    attended = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=named.get("dropout", 0.0),
        scale=named.get("scaling"),
        enable_gqa=True,
    )
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(TREE, tree_attention)
AttentionMaskInterface.register(TREE, sdpa_mask)


@contextmanager
def trunks_apart(model: PreTrainedModel) -> Iterator[None]:
    """The model with this attention in the place of SDPA, where that can be; undone at the end."""
    before = model.config._attn_implementation
    if before != "sdpa" or not _passes_on(model) or not model._can_set_attn_implementation():
        yield
        return
    model.set_attn_implementation(TREE)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _passes_on(model: PreTrainedModel) -> bool:
    """Whether the forward pass takes arguments that it does not know, for the attention."""
    kinds = {each.kind for each in inspect.signature(type(model).forward).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds
