"""The last block makes only what is read: of the columns whose logits are asked for.

Its keys and values are those of all tokens; what comes after attention, four fifths of a block's
matrix products, is computed for the read columns alone, and is zero for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.layers import blocks

LEAST = 0.5  # the share of columns not read from which on it is worth while


@contextmanager
def only_read(model: PreTrainedModel, columns: Tensor, tokens: int) -> Iterator[None]:
    """Within it, what the last block gives at other columns than these, (C,), is of no use.

    The logits at the columns, and all gradients of them, are what they were. Models whose blocks
    are built otherwise than Llama's go on as before, and those that compute activations anew in the
    backward pass, which is outside.
    """
    with ExitStack() as stack:
        if len(columns) <= (1 - LEAST) * tokens and not model.is_gradient_checkpointing:
            for module in _behind_attention(model):
                stack.callback(module.register_forward_pre_hook(_narrowed(columns)).remove)
                stack.callback(module.register_forward_hook(_widened(columns, tokens)).remove)
        yield


def _behind_attention(model: PreTrainedModel) -> list[nn.Module]:
    """The modules of the last block that take each token by itself, if all are known."""
    try:
        found = dict(blocks(model)[-1].named_modules())
    except ModelError:
        return []
    if not {"self_attn.o_proj", "mlp"} <= set(found):
        return []
    # A mixture of experts is called `mlp` too, and gives more than hidden states.
    known = type(found["mlp"]).__name__.endswith("MLP")
    return [found["self_attn.o_proj"], found["mlp"]] if known else []


def _narrowed(columns: Tensor) -> Callable[..., Any]:
    def hook(_: nn.Module, given: tuple[Any, ...]) -> Any:
        (hidden,) = given  # (rows, tokens, width)
        return hidden[:, columns]

    return hook


def _widened(columns: Tensor, tokens: int) -> Callable[..., Any]:
    def hook(_: nn.Module, __: tuple[Any, ...], made: Tensor) -> Tensor:
        whole = made.new_zeros(len(made), tokens, made.shape[-1])
        return whole.index_copy(1, columns, made)

    return hook
