"""The hidden states of single layers: read without running further than needed, or edited.

Layer L (0-based) is what transformers calls hidden_states[L]: what block L is given. Everything
here is hooks on blocks, in context managers that take them off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.attention import takes
from isogloss.model.pieces import in_pieces

Edit = Callable[[Tensor], Tensor | None]


class _Enough(Exception):
    """Every layer that was asked for has been seen."""


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The model's transformer blocks in their order.

    Raises:
        ModelError: the model does not keep them where Llama, Qwen and Gemma do.
    """
    found = getattr(model.get_decoder(), "layers", None)
    if not isinstance(found, nn.ModuleList):
        raise ModelError(
            f"the layers of a {model.config.model_type} model cannot be reached: found no "
            "`get_decoder().layers`, which Llama, Qwen and Gemma have"
        )
    return found


@contextmanager
def edited(model: PreTrainedModel, edits: Mapping[int, Edit]) -> Iterator[None]:
    """The model with hidden states passed through an edit where they enter a block.

    An edit is given (rows, tokens, width) and gives the same shape back, or None to change nothing.
    """
    with ExitStack() as stack:
        for layer, edit in edits.items():
            hook = blocks(model)[layer].register_forward_pre_hook(
                _hook(edit), prepend=True, with_kwargs=True
            )
            stack.callback(hook.remove)
        yield


def _hook(edit: Edit) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        changed = edit(given)
        if changed is None:
            return None
        if args:
            return (changed, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": changed}

    return hook


def read(
    model: PreTrainedModel, arguments: Mapping[str, Any], layers: Sequence[int]
) -> dict[int, Tensor]:
    """The hidden states of the asked layers, each (rows, tokens, width), by layer.

    The forward pass ends where the last of them has been seen. Gradients flow as in any pass. The
    layer after the last block is what the final norm gives.
    """
    states: dict[int, Tensor] = {}
    count = len(blocks(model))
    if in_pieces(model):
        return _read_whole(model, arguments, layers)
    if count in layers:
        inner = [layer for layer in layers if layer != count]
        with edited(model, {layer: _keeper(states, layer) for layer in inner}):
            states[count] = model.get_decoder()(**arguments).last_hidden_state
        return states

    def keep(layer: int) -> Edit:
        def edit(hidden: Tensor) -> None:
            states[layer] = hidden
            if layer == max(layers):
                raise _Enough

        return edit

    with edited(model, {layer: keep(layer) for layer in layers}):
        try:
            model(**arguments)
        except _Enough:
            return states
    raise AssertionError("a layer was not met in the forward pass")


def _read_whole(
    model: PreTrainedModel, arguments: Mapping[str, Any], layers: Sequence[int]
) -> dict[int, Tensor]:
    """`read` in a pass to its end: a model in pieces does not know that a pass was left."""
    states: dict[int, Tensor] = {}
    inner = [layer for layer in layers if layer != len(blocks(model))]

    def keep_last(_: nn.Module, __: Any, output: Any) -> None:
        states[len(blocks(model))] = output.last_hidden_state

    last = model.get_decoder().register_forward_hook(keep_last)
    try:
        with edited(model, {layer: _keeper(states, layer) for layer in inner}):
            model(**arguments, **({"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}))
    finally:
        last.remove()
    return {layer: states[layer] for layer in layers}


def _keeper(states: dict[int, Tensor], layer: int) -> Edit:
    def edit(hidden: Tensor) -> None:
        states[layer] = hidden

    return edit


def padded(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids padded on the right, (sentences, tokens), and which are real, as 0 and 1."""
    width = max(len(ids) for ids in sentences)
    ids = torch.zeros((len(sentences), width), dtype=torch.long)
    real = torch.zeros_like(ids)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.tensor(sentence, dtype=torch.long)
        real[row, : len(sentence)] = 1
    return ids, real


def sentence_means(
    model: PreTrainedModel, ids: Tensor, real: Tensor, layers: Sequence[int]
) -> Tensor:
    """The mean hidden state of each sentence without its first token, fp32.

    `ids` and `real` as `padded` gives them, of sentences of two tokens or more; gives (sentences,
    layers, width). The first token is an attention sink, whose norm would rule the mean (sentpool
    of Section 5.2 is the average).
    """
    real = real.to(model.device)
    arguments = {"input_ids": ids.to(model.device), "attention_mask": real, "use_cache": False}
    states = read(model, arguments, layers)
    counted = real.float()
    counted[:, 0] = 0
    weights = counted / counted.sum(dim=1, keepdim=True)
    means = [torch.einsum("rt,rtw->rw", weights, states[layer].float()) for layer in layers]
    return torch.stack(means, dim=1)
