"""Keys and values of tokens in the sequence itself: read, replaced, and written for PEFT.

What is read and replaced is the output of each layer's key and value projection; where the layer
norms and rotates keys, it does so with these too. Layers that have no projection of their own, as
they read an earlier layer's keys and values, are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PrefixTuningConfig, TaskType
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.attention import takes
from isogloss.model.layers import blocks
from isogloss.model.pieces import let_go
from isogloss.model.prefix_cache import front_cache, keys_and_values
from isogloss.model.prompt import (
    PromptedEmbedding,
    embedding_width,
    prompted,
    vocabulary_rows,
)
from isogloss.tuning.adapter_files import PROMPT_KEY, write_adapter

OWN_FILE = "prefix.safetensors"  # keys and values before the layers' norms and rotation
KEYS, VALUES = "keys", "values"
Place = tuple[int, str]  # a layer, and KEYS or VALUES
Hook = Callable[..., Tensor | None]


def projections(model: PreTrainedModel) -> dict[Place, nn.Linear]:
    """Every key and value projection of the model.

    Raises:
        ModelError: the model has them under other names, or as one.
    """
    names, found = {KEYS: "k_proj", VALUES: "v_proj"}, {}
    for layer, block in enumerate(blocks(model)):
        for what, name in names.items():
            module = getattr(getattr(block, "self_attn", None), name, None)
            if module is not None:
                found[layer, what] = module
    if not found:
        raise ModelError(
            f"a prefix cannot be put into a {model.config.model_type} model: found no "
            "`self_attn.k_proj` and `v_proj`, which Llama, Qwen and Gemma have"
        )
    return found


def read_keys_and_values(model: PreTrainedModel, ids: Sequence[int]) -> dict[Place, Tensor]:
    """What every projection makes of a sequence of m ids, fp32, (m, heads * width of a head)."""
    seen: dict[Place, Tensor] = {}

    def keep(place: Place) -> Hook:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            seen[place] = output[0].detach().float().clone()

        return hook

    with torch.no_grad(), _hooked(model, keep):
        asked = torch.tensor([list(ids)], device=model.device)
        few = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}
        model(input_ids=asked, use_cache=False, **few)  # whole: one in pieces gathers itself so
    let_go(model)
    return seen


@contextmanager
def replaced(
    model: PreTrainedModel, length: int, own: Callable[[Place], Tensor | None]
) -> Iterator[PromptedEmbedding]:
    """The model with tokens V, V+1, ... whose keys and values are `own`, (m, heads * width) each.

    `own` is asked in every pass; None leaves a projection as it is. Padding, packing, positions and
    generation treat these tokens like any other.
    """
    nothing = torch.zeros(length, embedding_width(model), device=model.device)
    with prompted(model, nn.Parameter(nothing, requires_grad=False)):
        embedding = model.get_input_embeddings()
        assert isinstance(embedding, PromptedEmbedding), "put there by `prompted`"

        def put(place: Place) -> Hook:
            def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
                at = embedding.place
                table = own(place)
                if table is None or at is None or not bool((at >= 0).any()):
                    return None
                rows = nn.functional.embedding(at.clamp(0, length - 1), table)
                return torch.where((at >= 0)[..., None], rows.to(output.dtype), output)

            return hook

        with _hooked(model, put):
            yield embedding


@contextmanager
def _hooked(model: PreTrainedModel, hook: Callable[[Place], Hook]) -> Iterator[None]:
    """The model with a hook after every key and value projection, taken off at the end."""
    with ExitStack() as stack:
        for place, module in projections(model).items():
            stack.callback(module.register_forward_hook(hook(place)).remove)
        yield


def attached_cache(model: PreTrainedModel, length: int) -> DynamicCache:
    """The cache of the tokens V, V+1, ... that are attached to a model, made by the model."""
    first, training = vocabulary_rows(model), model.training
    model.eval()
    try:
        return front_cache(model, range(first, first + length))
    finally:
        model.train(training)


def peft_misfit(cache: DynamicCache) -> str | None:
    """Why PEFT's prefix file, which has one shape for all layers, cannot hold a cache; or None."""
    shapes = sorted(
        {tuple(one.shape[i] for i in (1, 3)) for pair in keys_and_values(cache) for one in pair}
    )
    if len(shapes) > 1:
        told = ", ".join(f"{heads} x {width}" for heads, width in shapes)
        return f"its layers' keys and values are of several shapes (heads x width: {told})"
    return None


def write_peft_prefix(folder: Path, cache: DynamicCache, model: PreTrainedModel) -> None:
    """PEFT's prefix-tuning adapter of a cache: keys normed and rotated at positions from 0 on."""
    pairs = keys_and_values(cache)
    both = torch.stack([torch.stack([k[0], v[0]]) for k, v in pairs]).float().cpu()
    layers, _, heads, length, width = both.shape
    config = PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=length,
        token_dim=heads * width,
        num_transformer_submodules=1,
        num_attention_heads=heads,
        num_layers=layers,
        encoder_hidden_size=heads * width,
        base_model_name_or_path=model.config.name_or_path,
        inference_mode=True,
    )
    # PEFT reads (m, layers * 2, heads, width): each layer's keys, then its values.
    flat = both.permute(3, 0, 1, 2, 4).reshape(length, -1)
    write_adapter(folder, config, {PROMPT_KEY: flat})
