"""Prefix tuning (Li and Liang 2021): keys and values of m positions before the context, by layer.

The prefix stands in every sequence as m tokens of its own, as a soft prompt's does; only what the
layers make of these tokens is replaced. Padding, packing, positions and generation treat them as
tokens like any other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from peft import PrefixTuningConfig, TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.model.attention import sliding_window
from isogloss.model.layers import blocks
from isogloss.model.prompt import PromptedEmbedding, embedding_width, prompted, vocabulary_rows
from isogloss.tuning.adapter_files import (
    PROMPT_KEY,
    read_tensors,
    write_adapter,
    write_tensors,
)
from isogloss.tuning.tuning import StartIds, Tuning, Weights

OWN_FILE = "prefix.safetensors"  # what is learnt, before the layers' norms and rotation
KEYS, VALUES = "keys", "values"


@final
@dataclass(frozen=True)
class Prefix(Tuning):
    """`length` positions (m), whose keys and values are learnt in every layer.

    They start from those of a seeded sample of the first 5,000 ordinary tokens. What is learnt is
    the output of each layer's key and value projection; where the layer norms and rotates keys, it
    does so with these too.
    """

    length: int = 16
    name: str = "prefix"

    learns: ClassVar[str] = "a prefix of keys and values"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"prompt length is {self.length}; a prefix has at least 1 position")

    @property
    def prompt_length(self) -> int:
        """M."""
        return self.length

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """The keys and values of real tokens, fp32, (layers, m, heads * width of a head) each."""
        window = sliding_window(model.config)
        if window is not None and self.length > window:
            raise ConfigError(
                f"prompt length is {self.length}, but some layers of the model see only {window} "
                "tokens back; give a shorter prefix"
            )
        if self.length > len(ids.common):
            raise ConfigError(
                f"prompt length is {self.length}, but there are only {len(ids.common)} tokens to "
                "start from; give a shorter prefix"
            )
        chosen = random.Random(f"{seed}/prefix").sample(ids.common, self.length)
        seen: dict[tuple[int, str], Tensor] = {}

        def keep(layer: int, what: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Tensor) -> None:
                seen[layer, what] = output[0].detach().float()

            return hook

        with torch.no_grad(), _hooked(model, keep):
            model(input_ids=torch.tensor([chosen], device=model.device), use_cache=False)
        count = len(blocks(model))
        return {
            what: nn.Parameter(torch.stack([seen[layer, what] for layer in range(count)]))
            for what in (KEYS, VALUES)
        }

    @contextmanager
    def attached(self, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
        """The model with tokens V, V+1, ... whose keys and values are the prefix's."""
        nothing = torch.zeros(self.length, embedding_width(model), device=model.device)
        with prompted(model, nn.Parameter(nothing, requires_grad=False)):
            embedding = model.get_input_embeddings()
            assert isinstance(embedding, PromptedEmbedding), "put there by `prompted`"
            for what, parameter in weights.items():  # an optimiser finds them among the model's
                embedding.register_parameter(what, parameter)

            def put(layer: int, what: str) -> Callable[..., Tensor | None]:
                def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
                    place = embedding.place
                    if place is None or not bool((place >= 0).any()):
                        return None
                    own = weights[what][layer]
                    rows = nn.functional.embedding(place.clamp(0, len(own) - 1), own)
                    return torch.where((place >= 0)[..., None], rows.to(output.dtype), output)

                return hook

            with _hooked(model, put):
                yield model

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """PEFT's prefix-tuning adapter, and prefix.safetensors with what is learnt itself."""
        keys, values = self._cached(weights, model)  # (layers, heads, m, width of a head) each
        layers, heads, _, width = keys.shape
        config = PrefixTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.length,
            token_dim=heads * width,
            num_transformer_submodules=1,
            num_attention_heads=heads,
            num_layers=layers,
            encoder_hidden_size=heads * width,
            base_model_name_or_path=model.config.name_or_path,
            inference_mode=True,
        )
        # PEFT reads (m, layers * 2, heads, width): each layer's keys, then its values.
        both = torch.stack([keys, values], dim=1).permute(3, 0, 1, 2, 4).reshape(self.length, -1)
        write_adapter(folder, config, {PROMPT_KEY: both})
        write_tensors(folder / OWN_FILE, weights)

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved prefix, on the model's device."""
        path = folder / OWN_FILE
        saved = read_tensors(path)
        weights = {}
        for what in (KEYS, VALUES):
            wanted = (len(blocks(model)), self.length, _projections(model, 0)[what].out_features)
            found = tuple(saved[what].shape) if what in saved else None
            if found != wanted:
                raise ModelError(
                    f"{path}: found {what} of shape {found or 'none'}; expected {wanted} for this "
                    "model, so it was made with another one"
                )
            weights[what] = nn.Parameter(saved[what].float().to(model.device))
        return weights

    @torch.no_grad()
    def _cached(self, weights: Weights, model: PreTrainedModel) -> tuple[Tensor, Tensor]:
        """The prefix as a cache holds it: keys normed and rotated by the model itself, fp32."""
        first = vocabulary_rows(model)
        ids = torch.arange(first, first + self.length, device=model.device)[None]
        training = model.training
        model.eval()
        try:
            with self.attached(model, weights):
                cache = model(input_ids=ids, use_cache=True).past_key_values
        finally:
            model.train(training)
        keys = [layer.keys[0].float().cpu() for layer in cache.layers]
        values = [layer.values[0].float().cpu() for layer in cache.layers]
        return torch.stack(keys), torch.stack(values)


def _projections(model: PreTrainedModel, layer: int) -> dict[str, nn.Linear]:
    attention = getattr(blocks(model)[layer], "self_attn", None)
    found = {KEYS: getattr(attention, "k_proj", None), VALUES: getattr(attention, "v_proj", None)}
    if any(module is None for module in found.values()):
        raise ModelError(
            f"a prefix cannot be put into a {model.config.model_type} model: found no "
            "`self_attn.k_proj` and `v_proj`, which Llama, Qwen and Gemma have"
        )
    return found  # type: ignore[return-value]


@contextmanager
def _hooked(
    model: PreTrainedModel, hook: Callable[[int, str], Callable[..., Tensor | None]]
) -> Iterator[None]:
    """The model with a hook after every key and value projection, taken off at the end."""
    with ExitStack() as stack:
        for layer in range(len(blocks(model))):
            for what, module in _projections(model, layer).items():
                stack.callback(module.register_forward_hook(hook(layer, what)).remove)
        yield
