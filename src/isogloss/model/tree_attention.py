"""Attention over a tree in two parts: its trunk as a plain sequence, then what hangs on it.

With one mask for all, every token is multiplied with every other and the products that the mask
hides are thrown away. The trunk of a batch needs no mask, and less than half of the products.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

TREE = "isogloss_tree"
TRUNK = "trunk"  # what the argument is called on its way through the model


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    trunk: int = 0,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """SDPA, (rows, heads, tokens, width) to (rows, tokens, heads, width).

    The first `trunk` tokens of every row are a plain sequence; the mask, (rows, 1, tokens, tokens),
    says who sees whom, and alone does so where there is no trunk.
    """
    if attention_mask is None or not 0 < trunk < query.shape[2]:
        return _sdpa(module, query, key, value, attention_mask, **named)
    whole = sliding_window is None or trunk <= sliding_window
    first = (each[:, :, :trunk] for each in (query, key, value))
    mask = None if whole else attention_mask[:, :, :trunk, :trunk]
    before, _ = _sdpa(module, *first, mask, **named)
    rest = query[:, :, trunk:]
    behind, _ = _sdpa(module, rest, key, value, attention_mask[:, :, trunk:], **named)
    return torch.cat([before, behind], dim=1), None


def _sdpa(*given: Any, **named: Any) -> tuple[Tensor, None]:
    found: tuple[Tensor, None] = sdpa_attention_forward(*given, **named)
    return found


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
