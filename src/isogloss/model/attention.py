"""Who sees whom, in the form that each architecture wants it."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import PretrainedConfig, PreTrainedModel

from isogloss.model.flex_attention import FLEX, block_mask
from isogloss.model.tree_attention import PARTS, TREE
from isogloss.packing import Batch, Layout

FULL, SLIDING = "full_attention", "sliding_attention"
Mask = Tensor | BlockMask


def forward_arguments(model: PreTrainedModel, batch: Batch) -> dict[str, object]:
    """The keyword arguments of the model's forward pass for a batch, less the logits asked for."""
    if batch.visible is None:
        arguments: dict[str, object] = {"attention_mask": batch.real.long()}
        if takes(model, "position_ids"):
            arguments["position_ids"] = batch.positions
    else:
        arguments = {
            "attention_mask": masks(model, batch.visible, batch.positions),
            "position_ids": batch.positions,
        }
        if model.config._attn_implementation == TREE and batch.parts is not None:
            arguments[PARTS] = tuple(batch.parts.tolist())
    if takes(model, "use_cache"):
        arguments["use_cache"] = False
    return {"input_ids": batch.ids, **arguments}


def takes(model: PreTrainedModel, argument: str) -> bool:
    """Whether the model's forward pass has an argument of this name."""
    return argument in inspect.signature(type(model).forward).parameters


def default_layout(model: PreTrainedModel) -> Layout:
    """`tree` where the model takes positions and a mask of our own, else `rows`."""
    kernel = model.config._attn_implementation
    tree = takes(model, "position_ids") and kernel in ("sdpa", "eager", TREE, FLEX)
    return "tree" if tree and not is_recurrent(model.config) else "rows"


def is_recurrent(config: PretrainedConfig) -> bool:
    """Whether some layer reads its tokens in row order (state spaces, linear attention, alibi)."""
    kinds = getattr(config, "layer_types", None) or [FULL]
    unknown = any(kind not in (FULL, SLIDING) for kind in kinds)
    names = ("mamba", "ssm_state_size", "state_size", "linear_conv_kernel_dim", "rwkv", "alibi")
    return unknown or any(getattr(config, name, None) for name in names)


def masks(
    model: PreTrainedModel, visible: Tensor, positions: Tensor, keys: Tensor | None = None
) -> Mask | dict[str, Mask]:
    """The masks of a model's layers, of who sees whom: (rows, queries, keys) booleans.

    `positions`: of the queries; `keys`: of the keys, where they are others than the queries. They
    are made once for all layers: numbers, or for FlexAttention blocks.
    """
    config = model.config
    window = sliding_window(config)
    full = _shown(model, visible)
    if window is None:
        return full
    near = positions[:, :, None] - (positions if keys is None else keys)[:, None, :] < window
    sliding = _shown(model, visible & near)
    kinds = set(getattr(config, "layer_types", None) or [SLIDING])
    if kinds == {SLIDING} and not getattr(config, "layer_types", None):
        return sliding
    return {FULL: full, SLIDING: sliding}


def sliding_window(config: PretrainedConfig) -> int | None:
    """The width of the attention window in tokens, or None where every layer sees everything."""
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    kinds = getattr(config, "layer_types", None)
    return int(window) if kinds is None or SLIDING in kinds else None


def _shown(model: PreTrainedModel, visible: Tensor) -> Mask:
    if model.config._attn_implementation == FLEX:
        return block_mask(visible)
    return _additive(visible, model.dtype)


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """(rows, 1, queries, keys) with 0 where seen: eager attention ADDS what it is given."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]
