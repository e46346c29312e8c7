"""Which layers have the languages close together (Section 5.2; ShifCon, Zhang et al. 2025).

The distance of a layer is that of the two languages' subspaces, as ShifCon has it:

    Dist_L = sqrt(sum_i log^2 lambda_i) + ||mu_D' - mu_D||

with lambda_i the eigenvalues of Sigma_D^-1 Sigma_D' (the affine-invariant metric, Chang et al.
2022), D the dominant language's sentence vectors and D' the target's after the shift by the
difference of means. That shift makes the means equal, so only covariances rank layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isogloss.errors import ConfigError

SHARE = 0.3  # of the layers, in ShifCon
MOST = 64  # dimensions of the joint subspace
SHRINK = 1e-3  # of the mean variance, added to every direction


def layer_distances(dominant: Tensor, target: Tensor) -> list[float]:
    """Dist_L of each layer, from sentence vectors (sentences, layers, width) of two languages.

    Each layer is seen in the first r = min(64, N // 4) principal directions of both languages'
    centred vectors together, N being the smaller number of sentences; with fewer, covariances
    would be singular.

    Raises:
        ConfigError: fewer than 8 sentences in a language.
    """
    least = min(len(dominant), len(target))
    if least < 8:
        raise ConfigError(
            f"a distance between languages needs at least 8 sentences of each; found {least}"
        )
    rank = min(MOST, least // 4, dominant.shape[2])
    return [
        _distance(dominant[:, layer].double(), target[:, layer].double(), rank)
        for layer in range(dominant.shape[1])
    ]


def _distance(dominant: Tensor, target: Tensor, rank: int) -> float:
    """Of one layer, (sentences, width) each, in nats of variance ratio."""
    own, other = dominant - dominant.mean(dim=0), target - target.mean(dim=0)
    _, _, directions = torch.linalg.svd(torch.cat([own, other]), full_matrices=False)
    basis = directions[:rank].T
    root = torch.linalg.cholesky(_covariance(own @ basis))
    half = torch.linalg.solve_triangular(root, _covariance(other @ basis), upper=False)
    ratios = torch.linalg.eigvalsh(torch.linalg.solve_triangular(root, half.T, upper=False))
    return float(ratios.log().square().sum().sqrt())


def _covariance(centred: Tensor) -> Tensor:
    covariance: Tensor = centred.T @ centred / max(1, len(centred) - 1)
    mean = covariance.trace() / len(covariance)
    # A layer where nothing varies has no covariance at all; it is then the same in both languages.
    least = torch.finfo(covariance.dtype).tiny ** 0.5
    return covariance.diagonal_scatter(covariance.diagonal() + SHRINK * mean + least)


def choose_layers(distances: list[float], count: int) -> tuple[int, int]:
    """L_to and L_back: the ends of the contiguous 30% block of least mean distance.

    `distances` are those of layers 1, 2, ... (the embedding's output has none); `count` is the
    model's number of blocks. The block has at least two layers.

    Raises:
        ConfigError: the model has too few layers.

    >>> choose_layers([5.0, 2.0, 1.0, 3.0, 9.0, 9.0, 9.0, 9.0, 9.0], 10)
    (2, 4)
    """
    size = max(2, round(SHARE * count))
    if len(distances) < size:
        raise ConfigError(f"a shift needs a model of at least 3 layers; this one has {count}")
    sums = [sum(distances[at : at + size]) for at in range(len(distances) - size + 1)]
    first = min(range(len(sums)), key=sums.__getitem__) + 1
    return first, first + size - 1


def usual_layers(count: int) -> tuple[int, int]:
    """L_to and L_back without data: at 40% and 70% of the depth.

    Raises:
        ConfigError: the model has too few layers.

    >>> usual_layers(32), usual_layers(28)
    ((13, 22), (11, 20))
    """
    to, back = round(0.4 * count), round(0.7 * count)
    if not 0 < to < back < count:
        raise ConfigError(f"a shift needs a model of at least 3 layers; this one has {count}")
    return to, back
