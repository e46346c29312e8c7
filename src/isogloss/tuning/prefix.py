"""Prefix tuning (Li and Liang 2021): keys and values of m positions before the context, by layer.

The prefix stands in every sequence as m tokens of its own, as a soft prompt's does; only what the
layers make of these tokens is replaced. Padding, packing, positions and generation treat them as
tokens like any other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import nn
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.model.attention import sliding_window
from isogloss.model.layers import blocks
from isogloss.tuning.adapter_files import read_tensors, write_tensors
from isogloss.tuning.key_values import (
    KEYS,
    OWN_FILE,
    VALUES,
    attached_cache,
    projections,
    read_keys_and_values,
    replaced,
    write_peft_prefix,
)
from isogloss.tuning.tuning import StartIds, Tuning, Weights


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
        _check_even(model)
        chosen = random.Random(f"{seed}/prefix").sample(ids.common, self.length)
        seen = read_keys_and_values(model, chosen)
        count = len(blocks(model))
        return {
            what: nn.Parameter(torch.stack([seen[layer, what] for layer in range(count)]))
            for what in (KEYS, VALUES)
        }

    @contextmanager
    def attached(self, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
        """The model with tokens V, V+1, ... whose keys and values are the prefix's."""
        with replaced(model, self.length, lambda at: weights[at[1]][at[0]]) as embedding:
            for what, parameter in weights.items():  # an optimiser finds them among the model's
                embedding.register_parameter(what, parameter)
            yield model

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """PEFT's prefix-tuning adapter, and prefix.safetensors with what is learnt itself."""
        with self.attached(model, weights):
            cache = attached_cache(model, self.length)
        write_peft_prefix(folder, cache, model)
        write_tensors(folder / OWN_FILE, weights)

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved prefix, on the model's device."""
        _check_even(model)
        path = folder / OWN_FILE
        saved = read_tensors(path)
        weights = {}
        for what in (KEYS, VALUES):
            wanted = (len(blocks(model)), self.length, projections(model)[0, what].out_features)
            found = tuple(saved[what].shape) if what in saved else None
            if found != wanted:
                raise ModelError(
                    f"{path}: found {what} of shape {found or 'none'}; expected {wanted} for this "
                    "model, so it was made with another one"
                )
            weights[what] = nn.Parameter(saved[what].float().to(model.device))
        return weights


def _check_even(model: PreTrainedModel) -> None:
    """Refuse layers of several shapes, whose prefixes cannot be learnt in one table.

    Raises:
        ModelError: says what kind of model it is.
    """
    found = projections(model)
    if len(found) < 2 * len(blocks(model)) or len({m.out_features for m in found.values()}) > 1:
        raise ModelError(
            f"a prefix cannot be learnt in a {model.config.model_type} model: its layers have keys "
            "and values of several shapes, or some have none; Llama, Qwen and Gemma 3 fit"
        )
