"""Section 3's linear example: gradient alignment through representations (Eq. 2, Eq. 5, Fig. 1).

A linear model y = x w with the squared loss to x w*. The inner product of two sets' gradients is

    gamma sum_ij x_t^i (x_train^j)^T  sum_m lambda_m (x_t^i q_m) (x_train^j q_m)
                 RepAlign 1                     RepAlign 2

with q_m, lambda_m of (w - w*)(w - w*)^T and gamma = 4 / (n_t n_train); the paper's gamma lacks the
4 that the derivative of a square brings. That matrix has rank 1, so one lambda alone is not 0; the
two axes of Fig. 1 come of an average over several w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

ZERO = 1e-12  # of the greatest eigenvalue: what rounding leaves of one that is 0


@final
@dataclass(frozen=True)
class Decomposition:
    """Eq. 2 over pairs of an item of D_t and one of D_train.

    `first` and `second`: RepAlign 1 and RepAlign 2 of each pair, (n_t, n_train). `axes`: the q_m,
    (d, d), a column each, and `sizes` their lambda_m, (d,), the greatest first. `rank`: how many of
    them are not 0.
    """

    first: Tensor
    second: Tensor
    axes: Tensor
    sizes: Tensor
    gamma: float

    @property
    def inner(self) -> float:
        """The inner product of the gradients."""
        return self.gamma * float((self.first * self.second).sum())

    @property
    def rank(self) -> int:
        """Eigenvalues above rounding."""
        return int((self.sizes > ZERO * self.sizes.max().clamp(min=1e-300)).sum())


def gradient(features: Tensor, weights: Tensor, best: Tensor) -> Tensor:
    """The gradient of the mean squared loss of x w to x w*, (d,); features (n, d)."""
    return 2 / len(features) * features.T @ (features @ (weights - best))


def gradient_inner_product(
    target: Tensor, train: Tensor, weights: Sequence[Tensor], best: Tensor
) -> float:
    """Eq. 5: the inner product of both sets' gradients, the mean over several w.

    `target`, `train`: features (n_t, d), (n_train, d). `weights`: each (d,).
    """
    products = [gradient(target, w, best) @ gradient(train, w, best) for w in weights]
    return float(torch.stack(products).mean())


def decomposed(
    target: Tensor, train: Tensor, weights: Sequence[Tensor], best: Tensor
) -> Decomposition:
    """Eq. 2 for one w, or for the mean over several of them."""
    differences = torch.stack([w - best for w in weights])
    solution = differences.T @ differences / len(differences)
    sizes, axes = torch.linalg.eigh(solution)
    sizes, axes = sizes.flip(0).clamp(min=0), axes.flip(1)
    second = (target @ axes) * sizes @ (train @ axes).T
    gamma = 4 / (len(target) * len(train))
    return Decomposition(target @ train.T, second, axes, sizes, gamma)


@final
@dataclass(frozen=True)
class Panel:
    """A panel of Fig. 1: two features in the plane, what Eq. 2 gives, and what is measured."""

    name: str
    says: str
    train: tuple[float, float]
    target: tuple[float, float]
    first: float
    second: float
    sizes: tuple[float, float]
    axes: tuple[tuple[float, float], tuple[float, float]]
    inner: float
    measured: float


def figure1(seed: int = 0, draws: int = 200) -> tuple[Panel, Panel, Panel]:
    """The three panels, with p_1 and p_2 from the mean over `draws` starts of w around w*.

    (a) both correlations positive; (b) inputs positively correlated and their projections on p_1
    negatively, so that the gradients are opposed; (c) inputs at right angles: no alignment.
    """
    source = torch.Generator().manual_seed(seed)
    best = torch.zeros(2, dtype=torch.float64)
    spread = torch.tensor([2.0, 0.35], dtype=torch.float64)
    drawn = torch.randn(draws, 2, generator=source, dtype=torch.float64) * spread
    # Each start with its mirror images, so that p_1 and p_2 are the axes of the plane.
    signs = torch.tensor([[1, 1], [1, -1]], dtype=torch.float64)
    starts = [each * sign for each in drawn for sign in signs]
    cases = (
        ("a", "inputs and projections correlated: aligned", (1.0, 0.5), (0.8, 0.9)),
        ("b", "projections on p1 opposed: opposed", (0.45, 1.0), (-0.35, 1.0)),
        ("c", "inputs at right angles: none", (1.0, 0.6), (-0.6, 1.0)),
    )
    a, b, c = (_panel(*case, starts=starts, best=best) for case in cases)
    return a, b, c


def _panel(
    name: str,
    says: str,
    train: tuple[float, float],
    target: tuple[float, float],
    *,
    starts: Sequence[Tensor],
    best: Tensor,
) -> Panel:
    own, other = (torch.tensor([each], dtype=torch.float64) for each in (train, target))
    parts = decomposed(other, own, starts, best)
    one, two = (tuple(map(float, column)) for column in parts.axes.T)
    return Panel(
        name=name,
        says=says,
        train=train,
        target=target,
        first=float(parts.first),
        second=float(parts.second),
        sizes=(float(parts.sizes[0]), float(parts.sizes[1])),
        axes=((one[0], one[1]), (two[0], two[1])),
        inner=parts.inner,
        measured=gradient_inner_product(other, own, starts, best),
    )
