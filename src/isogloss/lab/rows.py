"""Pre-training text as rows of token ids, with the weight that each token has in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from isogloss.lab.documents import Documents
from isogloss.lab.tokenizer import BEGIN, pieces, tokens
from isogloss.lab.world import World

OTHER = 0.3
"""What a token counts that is no answer, beside 1: most of them nothing can tell beforehand."""


@dataclass(frozen=True)
class Row:
    """A row's token ids and, for each, what its prediction counts in the row's mean."""

    ids: Tensor
    weights: Tensor


@final
class Rows(Dataset[Row]):
    """`count` documents of a world, each cut to `length` + 1 tokens: ids (length + 1,)."""

    def __init__(self, world: World, count: int, length: int) -> None:
        self.documents, self.count, self.length = Documents(world), count, length
        self.ids = {token: number for number, token in enumerate(tokens(world))}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Row:
        ids, weights = [self.ids[BEGIN]], [OTHER]
        for piece in self.documents.pieces(number):
            for text, weight in ((piece.text, OTHER), (piece.answer, 1.0), (piece.rest, OTHER)):
                found = pieces(text)
                ids += [self.ids[token] for token in found]
                weights += [weight] * len(found)
            if len(ids) > self.length:
                break
        end = self.length + 1
        return Row(torch.tensor(ids[:end]), torch.tensor(weights[:end]))


def collate(rows: list[Row]) -> dict[str, Tensor]:
    """Rows as one batch: `input_ids` and `weights`, each (rows, length + 1)."""
    return {
        "input_ids": torch.stack([row.ids for row in rows]),
        "weights": torch.stack([row.weights for row in rows]),
    }
