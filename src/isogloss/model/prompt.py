"""Soft-prompt vectors inside the model (Section 5.2): token ids V, V+1, ... look them up.

As the vectors have ids, padding, packing, positions and generation treat them as tokens like any
other, and no forward pass needs to be rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from isogloss.model.pieces import gathered

Vectors = Callable[[Tensor], Tensor]  # what learns, to the prompt's vectors: both (m, width)


@final
class PromptedEmbedding(nn.Module):
    """The model's own embedding, with rows of `prompt` (m, width) for ids from V on.

    `vectors` gives the rows where they are not the prompt itself. `place`: of the last ids seen,
    each one's row of the prompt, below 0 for other ids. Where the prompt is `compiled`, its keys
    and values are always the same, and `front` keeps them once they are known.
    """

    def __init__(
        self, own: nn.Module, prompt: nn.Parameter, vocabulary: int, vectors: Vectors | None = None
    ) -> None:
        super().__init__()
        self.own = own
        self.prompt = prompt
        self.vocabulary = vocabulary
        self.vectors = vectors
        self.place: Tensor | None = None
        self.compiled = False
        self.front: DynamicCache | None = None

    @property
    def weight(self) -> Tensor:
        """The model's own table, for code that asks an embedding for its weight."""
        weight = self.own.weight
        assert isinstance(weight, Tensor), "an embedding has a weight"
        return weight

    def table(self) -> Tensor:
        """The prompt's vectors, (m, width): rows for the ids V, V+1, ..."""
        return self.vectors(self.prompt) if self.vectors else self.prompt

    def forward(self, ids: Tensor) -> Tensor:
        """(rows, tokens) ids to (rows, tokens, width) vectors."""
        self.place = place = ids - self.vocabulary
        is_prompt = place >= 0
        plain: Tensor = self.own(ids.masked_fill(is_prompt, 0))
        # F.embedding, not indexing: its backward adds in a fixed order, so runs repeat bit for bit.
        table = self.table()
        rows = nn.functional.embedding(place.clamp(0, len(table) - 1), table)
        return torch.where(is_prompt[..., None], rows.to(plain.dtype), plain)


def vocabulary_rows(model: PreTrainedModel) -> int:
    """V: the rows of the model's embedding (at least the tokenizer's vocabulary)."""
    return int(embedding_table(model).shape[0])


def embedding_width(model: PreTrainedModel) -> int:
    """The width of the model's embedding vectors."""
    return int(embedding_table(model).shape[1])


def embedding_table(model: PreTrainedModel) -> Tensor:
    """The model's own embedding table, (V, width)."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor), "an embedding has a weight"
    return weight


def embedded(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """What the embedding module gives for token ids, fp32, (ids, width).

    The module's output, not its table: Gemma multiplies by the square root of the width inside.
    """
    device = embedding_table(model).device
    with torch.no_grad(), gathered(model):
        vectors: Tensor = model.get_input_embeddings()(torch.tensor([list(ids)], device=device))[0]
    return vectors.float().detach().clone()


@contextmanager
def prompted(
    model: PreTrainedModel, prompt: nn.Parameter, vectors: Vectors | None = None
) -> Iterator[PreTrainedModel]:
    """The model with a soft prompt: only `prompt` learns, and everything is undone at the end.

    `prompt`: (m, width), fp32, on the model's device. `vectors` makes the prompt's vectors of it.
    """
    own = model.get_input_embeddings()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        model.set_input_embeddings(PromptedEmbedding(own, prompt, vocabulary_rows(model), vectors))
        yield model
    finally:
        model.set_input_embeddings(own)
        for parameter in learning:
            parameter.requires_grad_(True)
