"""torch's FlexAttention: the blocks of a mask in which nobody sees anybody are not computed.

As transformers calls it, from the ninth kind of shapes on torch takes what holds the scores of all
tokens with all, and says so in a warning only. A run and its evaluation have more kinds, so here
more are compiled, and what cannot be compiled is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.masking_utils import sdpa_mask

from isogloss.errors import ModelError

FLEX = "isogloss_flex_attention"  # with transformers' own name in it, it asks whether a model can
KINDS = 256
"""Of shapes that are compiled at most; training and scoring with one model have about 13."""

Attention = Callable[..., tuple[Tensor, Tensor | None]]


def flex_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: BlockMask | Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """FlexAttention, (rows, heads, tokens, width) to (rows, tokens, heads, width).

    It is transformers' own, compiled as a whole. What else a model passes on is left out: each
    value would be another kind to compile.

    Raises:
        ModelError: it cannot be compiled here, or for more kinds of shapes than `KINDS`.
    """
    try:
        # The soft cap of a second model must not become a variable: torch cannot compile that.
        with torch._dynamo.config.patch(recompile_limit=KINDS, specialize_float=True):
            return _compiled()(
                module,
                query,
                key,
                value,
                attention_mask,
                scaling=scaling,
                dropout=dropout,
                softcap=softcap,
                s_aux=s_aux,
                position_bias=position_bias,
            )
    # Named here and not imported: torch 2.6 calls the second otherwise.
    except (
        torch._dynamo.exc.TorchDynamoException,
        torch._dynamo.exc.FailOnRecompileLimitHit,
    ) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"FlexAttention cannot be compiled here ({reason}); give attention sdpa"
        ) from error


@cache
def _compiled() -> Attention:
    """As one graph: without `fullgraph` torch goes on uncompiled where it gives up."""
    compiled: Attention = torch.compile(flex_attention_forward, fullgraph=True)
    return compiled


def block_mask(visible: Tensor) -> BlockMask:
    """Who sees whom, (rows, queries, keys) booleans, in blocks of 128 queries and 128 keys.

    A block in which nobody sees anybody is left out, one that is seen whole is taken without a look
    at the mask.
    """

    def seen(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible[row, query, key]

    rows, queries, keys = visible.shape
    return create_block_mask(seen, rows, None, queries, keys, device=visible.device)


def _own_mask(*, allow_is_causal_skip: bool = False, **named: Any) -> BlockMask:
    """The mask that a model makes by itself, of padding; never left out, as SDPA's may be."""
    visible = sdpa_mask(allow_is_causal_skip=False, **named)
    assert visible is not None, "a causal mask that may not be left out"
    return block_mask(visible[:, 0])


AttentionInterface.register(FLEX, flex_attention)
AttentionMaskInterface.register(FLEX, _own_mask)
