"""Greedy continuations behind a front whose keys and values are computed once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from isogloss.model.attention import masks, takes
from isogloss.model.prefix_cache import cache_argument, copied


@torch.no_grad()
def continued(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    *,
    front: DynamicCache | None,
    max_new_tokens: int,
    stops: Collection[int],
) -> list[tuple[int, ...]]:
    """Greedy continuations of id sequences, each up to `max_new_tokens` or one of the `stops`.

    The sequences hold what stands behind the front of that cache; without one they are whole. Each
    token has its own position and sees its own sequence alone, so that padding changes nothing, in
    layers with a sliding window neither. Sequences that have ended leave the batch.
    """
    state = _begun(model, sequences, front)
    written: list[list[int]] = [[] for _ in sequences]
    rows = list(range(len(sequences)))
    for step in range(max_new_tokens):
        tokens = state.logits.argmax(dim=-1)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            written[row].append(token)
        alive = [place for place, row in enumerate(rows) if written[row][-1] not in stops]
        if not alive or step + 1 == max_new_tokens:
            break
        if len(alive) < len(rows):
            chosen = torch.tensor(alive, device=tokens.device)
            state, tokens = state.only(chosen), tokens[chosen]
            rows = [rows[place] for place in alive]
        state = _grown(model, state, tokens)
    return [tuple(ids) for ids in written]


@final
@dataclass(frozen=True)
class _State:
    """Sequences under way: the logits of what comes next, (rows, vocabulary), and the cache.

    `real`, `positions`: of the cache's columns, (rows, columns); padding is not real.
    """

    logits: Tensor
    cache: DynamicCache
    real: Tensor
    positions: Tensor

    def only(self, rows: Tensor) -> _State:
        """The state of these rows; the cache itself is cut down."""
        self.cache.batch_select_indices(rows)
        return _State(self.logits[rows], self.cache, self.real[rows], self.positions[rows])


def _begun(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], front: DynamicCache | None
) -> _State:
    """All sequences read, padded on the left so that all are read at the last column."""
    count, width = len(sequences), max(map(len, sequences))
    length = front.get_seq_length() if front is not None else 0
    ids = torch.zeros((count, width), dtype=torch.long)
    real = torch.zeros((count, length + width), dtype=torch.bool)
    positions = torch.zeros((count, length + width), dtype=torch.long)
    real[:, :length] = True
    positions[:, :length] = torch.arange(length)
    for row, sequence in enumerate(sequences):
        first = width - len(sequence)
        ids[row, first:] = torch.tensor(sequence, dtype=torch.long)
        real[row, length + first :] = True
        positions[row, length + first :] = torch.arange(length, length + len(sequence))
    ids, real, positions = (each.to(model.device) for each in (ids, real, positions))
    causal = torch.ones((width, width), dtype=torch.bool, device=ids.device).tril()
    visible = real[:, None, :].repeat(1, width, 1)
    visible[:, :, length:] &= causal
    # Padding sees itself, so that no row of the attention is empty.
    visible[:, :, length:] |= torch.eye(width, dtype=torch.bool, device=ids.device)
    cache = copied(front, count) if front is not None else DynamicCache()
    logits = _passed(model, ids, cache, visible, positions)
    return _State(logits, cache, real, positions)


def _grown(model: PreTrainedModel, state: _State, tokens: Tensor) -> _State:
    """One token more in each row."""
    positions = torch.cat([state.positions, state.positions[:, -1:] + 1], dim=1)
    real = torch.cat([state.real, torch.ones_like(state.real[:, :1])], dim=1)
    logits = _passed(model, tokens[:, None], state.cache, real[:, None, :], positions)
    return _State(logits, state.cache, real, positions)


def _passed(
    model: PreTrainedModel, ids: Tensor, cache: DynamicCache, visible: Tensor, positions: Tensor
) -> Tensor:
    """Logits behind the last token of each row; the cache takes in what is passed."""
    own = positions[:, -ids.shape[1] :]
    arguments: dict[str, object] = {
        "attention_mask": masks(model, visible, own, positions),
        "position_ids": own,
        "use_cache": True,
        cache_argument(model): cache,
    }
    if takes(model, "logits_to_keep"):
        arguments["logits_to_keep"] = 1
    logits: Tensor = model(input_ids=ids, **arguments).logits[:, -1].float()
    return logits
