"""Maps of tokens and sentences (Fig. 2a, 2b), and how often a translation is the nearest sentence.

A sentence's vector is the mean of its tokens' states (Fig. 2b's average pooling).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def translation_retrieval(own: Tensor, other: Tensor) -> Tensor:
    """How often each pair is found: 0, 1/2 or 1, float64, (pairs,).

    `own`, `other`: sentence vectors (pairs, width) of two languages. A pair is found from either
    side where the translation is the nearest of all sentences of the other language by cosine;
    of several equally near ones each counts in part.
    """
    first = torch.nn.functional.normalize(own.double(), dim=1)
    second = torch.nn.functional.normalize(other.double(), dim=1)
    cosines = first @ second.T
    return (_found(cosines) + _found(cosines.T)) / 2


def _found(cosines: Tensor) -> Tensor:
    highest = cosines.max(dim=1, keepdim=True).values
    ties = cosines >= highest - 1e-12
    return ties.diagonal().double() / ties.sum(dim=1)


def joint_plane(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Both languages' sentence vectors in the plane of their first two principal directions.

    The directions are fitted to both together. Gives coordinates (sentences, 2) of each, and the
    share of the variance on either axis. The sign of an axis is that its largest weight is
    positive, so that the same vectors give the same map.
    """
    both = torch.cat([own, other]).double()
    mean = both.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(both - mean, full_matrices=False)
    axes = directions[:2]
    largest = axes.abs().argmax(dim=1, keepdim=True)
    axes = axes * axes.gather(1, largest).sign()
    variance = sizes.square()
    total = float(variance.sum()) or 1.0
    shares = (variance[:2] / total).tolist()
    shares += [0.0] * (2 - len(shares))
    return (own.double() - mean) @ axes.T, (other.double() - mean) @ axes.T, (shares[0], shares[1])


def token_map(own: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Cosines among the tokens of a sentence and of its translation, mean over layers, float64.

    `own`, `other`: for each layer the states (tokens, width) of the one and of the other. Gives
    (n_s + n_t, n_s + n_t), the dominant language's tokens first.
    """
    maps = []
    for first, second in zip(own, other, strict=True):
        unit = torch.nn.functional.normalize(torch.cat([first, second]).double(), dim=1)
        maps.append(unit @ unit.T)
    return torch.stack(maps).mean(dim=0)
