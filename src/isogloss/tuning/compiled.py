"""A compiled prefix: soft prompt and demonstrations as keys and values, of which nothing learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from torch import nn
from transformers import DynamicCache, PreTrainedModel

from isogloss.errors import ConfigError, ModelError
from isogloss.tuning.adapter_files import read_tensors, write_tensors
from isogloss.tuning.key_values import (
    OWN_FILE,
    Place,
    attached_cache,
    peft_misfit,
    projections,
    read_keys_and_values,
    replaced,
    write_peft_prefix,
)
from isogloss.tuning.tuning import StartIds, Tuning, Weights


@final
@dataclass(frozen=True)
class Compiled(Tuning):
    """`length` positions (n) whose keys and values are those of a soft prompt and demonstrations.

    `demonstrations` of them are solved examples; where there are any, the sequence's begin token
    stands among the positions too. `isogloss compile` makes it; it is learnt in no training.
    """

    length: int
    demonstrations: int = 0
    name: str = "compiled"

    learns: ClassVar[str] = "nothing: a compiled prefix"

    @property
    def prompt_length(self) -> int:
        """The positions, n."""
        return self.length

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """Nothing: there is no training that a compiled prefix could start.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a compiled run has nothing that learns or that training started from; give the run "
            "that it was compiled from, which its compiled.json names"
        )

    def read(self, model: PreTrainedModel, ids: Sequence[int]) -> Weights:
        """The keys and values of a front's n ids, with the front's soft prompt attached."""
        assert len(ids) == self.length, "the prefix is the front"
        rows = read_keys_and_values(model, ids)
        return {_name(place): nn.Parameter(own, requires_grad=False) for place, own in rows.items()}

    @contextmanager
    def attached(self, model: PreTrainedModel, weights: Weights) -> Iterator[PreTrainedModel]:
        """The model with tokens V, V+1, ... that stand for the prompt and the demonstrations."""
        with replaced(model, self.length, lambda place: weights.get(_name(place))) as embedding:
            embedding.compiled = True
            yield model

    def front(self, weights: Weights, model: PreTrainedModel) -> DynamicCache:
        """The prefix as a cache holds it: keys normed and rotated by the model itself."""
        with self.attached(model, weights):
            return attached_cache(model, self.length)

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """prefix.safetensors, and PEFT's prefix-tuning adapter where PEFT has room for the layers.

        prefix.safetensors has `keys.L` and `values.L`, (n, heads * width), for each layer L: what
        the projections give for the positions 0 to n - 1, before norm and rotation.
        """
        folder.mkdir(parents=True, exist_ok=True)
        cache = self.front(weights, model)
        if peft_misfit(cache) is None:
            write_peft_prefix(folder, cache, model)
        write_tensors(folder / OWN_FILE, weights)

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """The saved prefix, on the model's device."""
        path = folder / OWN_FILE
        saved = read_tensors(path)
        there = {_name(place): module for place, module in projections(model).items()}
        for name in sorted(set(saved) | set(there)):
            found = tuple(saved[name].shape) if name in saved else None
            wanted = (self.length, there[name].out_features) if name in there else None
            if found != wanted:
                raise ModelError(
                    f"{path}: found {name} of shape {found or 'none'}; expected "
                    f"{wanted or 'none'} for this model, so it was made with another one"
                )
        return {
            name: nn.Parameter(rows.float().to(model.device), requires_grad=False)
            for name, rows in saved.items()
        }


def _name(place: Place) -> str:
    layer, what = place
    return f"{what}.{layer}"
