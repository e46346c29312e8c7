"""Contrastive learning over translation pairs (Section 6.1: ShifCon, Zhang et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from isogloss.errors import ConfigError

ContrastLayers = Literal["block", "middle"]


@dataclass(frozen=True)
class Contrast:
    """A loss that draws an item's two languages together, beside the answer loss.

    The whole loss is `answer_weight` * answer loss + `weight` * contrastive loss; with
    `alternate`, updates have one and the other in turn. `layers`: the mean over the layers from
    L_to up to the one before L_back (`block`), or the layer at half the depth (`middle`). `pairs`
    are in a batch, each the others' negative. `recentre` moves the target language's vectors to
    the dominant language's mean first, as the shift does.
    """

    weight: float = 2.0
    answer_weight: float = 0.5
    temperature: float = 1.0
    pairs: int = 12
    layers: ContrastLayers = "block"
    recentre: bool = True
    alternate: bool = False

    def __post_init__(self) -> None:
        for name in ("weight", "answer_weight", "temperature"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("weight", "answer_weight"):
            found = getattr(self, name)
            if not found >= 0:
                said = name.replace("_", " ")
                raise ConfigError(f"contrast {said} is {found}; it must be 0 or more")
        if self.layers not in ("block", "middle"):
            raise ConfigError(f"contrast layers is '{self.layers}'; it must be block or middle")
        if not self.temperature > 0:
            raise ConfigError(f"contrast temperature is {self.temperature}; it must be above 0")
        if self.pairs < 2:
            raise ConfigError(f"contrast pairs is {self.pairs}; it must be 2 or more")


def contrast_layers(
    kind: ContrastLayers, block: tuple[int, int] | None, count: int
) -> tuple[int, ...]:
    """The layers whose states are contrasted, of a model with `count` blocks.

    `block` is L_to and L_back, which `middle` does not need.

    >>> contrast_layers("block", (3, 6), 12), contrast_layers("middle", None, 12)
    ((3, 4, 5), (6,))
    """
    if kind == "middle":
        return (max(1, count // 2),)
    assert block is not None, "the block was chosen before"
    return tuple(range(*block))


def contrastive_loss(
    dominant: Tensor, target: Tensor, *, temperature: float, recentre: bool
) -> Tensor:
    """Symmetric cross-entropy over a batch's pairs, averaged over layers, a scalar in nats.

    `dominant`, `target`: (pairs, layers, width), sentence means. With z their unit vectors and the
    target's recentred, the logits are z_s z_t^T / temperature and the right one is on the diagonal.
    """
    own = nn.functional.normalize(dominant.float(), dim=-1).transpose(0, 1)
    other = nn.functional.normalize(target.float(), dim=-1).transpose(0, 1)
    if recentre:
        other = other - other.mean(dim=1, keepdim=True) + own.mean(dim=1, keepdim=True)
    logits = own @ other.transpose(1, 2) / temperature  # (layers, pairs, pairs)
    right = torch.arange(logits.shape[1], device=logits.device).repeat(logits.shape[0])
    rows = nn.functional.cross_entropy(logits.flatten(0, 1), right)
    columns = nn.functional.cross_entropy(logits.transpose(1, 2).flatten(0, 1), right)
    return (rows + columns) / 2
