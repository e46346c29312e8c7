"""Rows of the vocabulary: a soft prompt's vectors in the embedding table, and their output logits.

The embedding module may multiply its table (Gemma, by the square root of the width), so a row is a
vector divided by that number. A head that is tied to the table gives the new rows logits h . row.
A head of its own gets the mean of the ordinary rows instead: the added token's logit is then the
mean of the ordinary logits, never above the greatest, and its probability (Jensen's inequality)
is at most one ordinary token's on average, 1 / V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from isogloss.errors import ModelError
from isogloss.model.prompt import PromptedEmbedding, embedded, embedding_table

LOOKED_AT = 256  # tokens that show what the embedding module does with its table
ALIKE = 0.02  # of the greatest number: what bfloat16 may round


@dataclass(frozen=True)
class Grown:
    """What the added rows came to.

    `scale` is the embedding module's factor. `spare` of the added tokens stand in rows that the
    base model had without using them; `unused` are rows that no token reads. `rounding` is the
    greatest distance of a written vector from the learnt one, relative to the learnt one's length.
    """

    scale: float
    spare: int
    unused: tuple[int, ...]
    tied: bool
    rounding: float


def prompt_vectors(model: PreTrainedModel) -> Tensor:
    """The vectors of the soft prompt that is attached to the model, fp32, (m, width)."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, PromptedEmbedding), "a soft prompt is attached"
    with torch.no_grad():
        return embedding.table().detach().float().clone()


def embedding_scale(model: PreTrainedModel) -> float:
    """What the embedding module multiplies its table by.

    Raises:
        ModelError: it does something else with it.
    """
    table = embedding_table(model).detach()
    ids = range(min(LOOKED_AT, len(table)))
    rows, given = table[: len(ids)].double(), embedded(model, ids).double()
    scale = float((rows * given).sum() / (rows * rows).sum())
    error = float((given - scale * rows).abs().max() / given.abs().max())
    if not error < ALIKE:
        raise ModelError(
            f"a {model.config.model_type} model's embedding does more than look its table up and "
            "multiply it, so a soft prompt cannot be rows of the vocabulary; "
            "`isogloss predict` answers with it"
        )
    return 1.0 if abs(scale - 1) < 1e-6 else scale


def add_rows(model: PreTrainedModel, vectors: Tensor, ids: Sequence[int], *, untie: bool) -> Grown:
    """Put vectors, (m, width), into the embedding at `ids`, growing it where they are beyond it.

    Raises:
        ModelError: the embedding module does more than multiply its table.
    """
    scale, before = embedding_scale(model), len(embedding_table(model))
    size = max(before, max(ids) + 1)
    unused = tuple(sorted(set(range(before, size)) - set(ids)))
    if size > before:
        with torch.random.fork_rng(devices=[]):  # what it draws is written over
            model.resize_token_embeddings(size, mean_resizing=False)
    table, head = embedding_table(model), model.get_output_embeddings()
    tied = head is not None and head.weight.data_ptr() == table.data_ptr()
    with torch.no_grad():
        table[list(unused)] = 0
        table[list(ids)] = (vectors / scale).to(table)
        if tied and untie:
            _untie(model, head)
        if head is not None and not (tied and not untie):
            ordinary = sorted(set(range(before)) - set(ids))
            _average(head, ordinary, [*ids, *unused])
    written = embedded(model, ids).to(vectors)
    distance = (written - vectors).norm(dim=1) / vectors.norm(dim=1).clamp(min=1e-30)
    spare = sum(one < before for one in ids)
    return Grown(scale, spare, unused, tied and not untie, float(distance.max()))


def _untie(model: PreTrainedModel, head: nn.Module) -> None:
    """Give the head a table of its own, a copy of the embedding's."""
    assert isinstance(head.weight, Tensor), "a head has a weight"
    head.weight = nn.Parameter(head.weight.detach().clone())
    for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False


def _average(head: nn.Module, ordinary: Sequence[int], added: Sequence[int]) -> None:
    """The mean of the head's ordinary rows, and of its bias, for each added token."""
    for values in (head.weight, getattr(head, "bias", None)):
        if isinstance(values, Tensor):
            values[list(added)] = values[list(ordinary)].float().mean(dim=0).to(values)
