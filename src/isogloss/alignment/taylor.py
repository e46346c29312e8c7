"""Appendix A's Taylor expansion (Eq. 3), and how well it foretells what training does.

After k steps of gradient descent on A with learning rate eta, beta = eta k, to second order in eta

    w_k - w_0 = -beta g_A + eta^2 k (k - 1) / 2  H_A g_A
    L_B(w_0) - L_B(w_k) = beta g_A . g_B                                          (first order)
                          - eta^2 k (k - 1) / 2  g_B . H_A g_A - beta^2 / 2  g_A . H_B g_A

with g and H at w_0: the first order is Eq. 1's gradient alignment. Eq. 3 says that the gradient at
w_k is L'(w_0) - beta / 2 grad(L'(w_0) . L'(w_0)), its MTL form the same for L = L_s + L_t, term by
term.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]  # of a flat parameter vector (p,) to a scalar
STEP = 1e-2  # of a central difference, relative to the parameters' norm


@final
@dataclass(frozen=True)
class Foretold:
    """One learning rate: the loss drop on B that is measured and foretold, in nats."""

    learning_rate: float
    steps: int
    measured: float
    first: float
    second: float

    @property
    def errors(self) -> tuple[float, float]:
        """How far the first and the second order are off."""
        return abs(self.measured - self.first), abs(self.measured - self.second)


@final
@dataclass(frozen=True)
class TaylorCheck:
    """Eq. 3 over a series of learning rates.

    `orders`: how fast the two errors fall with the learning rate, by the slope of their logarithms;
    2 and 3 are what theory says. `alignment`: g_A . g_B at the start.
    """

    rows: tuple[Foretold, ...]
    orders: tuple[float, float]
    alignment: float


def gradient_of(loss: Loss, point: Tensor) -> Tensor:
    """The gradient at a point, (p,)."""
    at = point.detach().requires_grad_()
    (found,) = torch.autograd.grad(loss(at), at)
    return found.detach()


def hessian_product(loss: Loss, point: Tensor, vector: Tensor, *, exact: bool) -> Tensor:
    """H v at a point, (p,): by a second backward pass, or by a central difference of gradients.

    Attention kernels that fuse the softmax have no second backward pass; the difference needs none.
    """
    if exact:
        at = point.detach().requires_grad_()
        (first,) = torch.autograd.grad(loss(at), at, create_graph=True)
        (found,) = torch.autograd.grad(first @ vector, at)
        return found.detach()
    size = float(vector.norm())
    if size == 0:
        return torch.zeros_like(vector)
    step = STEP * max(float(point.norm()), 1e-12) / size
    ahead, behind = (gradient_of(loss, point + sign * step * vector) for sign in (1, -1))
    return (ahead - behind) / (2 * step)


def descended(loss: Loss, start: Tensor, learning_rate: float, steps: int) -> Tensor:
    """The point after so many steps of plain gradient descent."""
    point = start.detach().clone()
    for _ in range(steps):
        point = point - learning_rate * gradient_of(loss, point)
    return point


def taylor_check(
    train: Loss,
    held: Loss,
    start: Tensor,
    *,
    learning_rates: Sequence[float],
    steps: int,
    exact: bool = True,
) -> TaylorCheck:
    """The loss drop on `held` after descending on `train`, measured and foretold."""
    own, other = gradient_of(train, start), gradient_of(held, start)
    turned = hessian_product(train, start, own, exact=exact)
    bent = hessian_product(held, start, own, exact=exact)
    with torch.no_grad():
        before = float(held(start))
    rows = []
    for rate in learning_rates:
        point = descended(train, start, rate, steps)
        with torch.no_grad():
            measured = before - float(held(point))
        beta = rate * steps
        first = beta * float(own @ other)
        curved = rate**2 * steps * (steps - 1) / 2 * float(other @ turned)
        second = first - curved - beta**2 / 2 * float(own @ bent)
        rows.append(Foretold(rate, steps, measured, first, second))
    orders = tuple(_slope(learning_rates, [row.errors[which] for row in rows]) for which in (0, 1))
    return TaylorCheck(tuple(rows), (orders[0], orders[1]), float(own @ other))


def _slope(rates: Sequence[float], errors: Sequence[float]) -> float:
    """The slope of log error by log rate; NaN where an error is 0."""
    if len(rates) < 2 or any(error <= 0 for error in errors):
        return float("nan")
    x = torch.tensor([math.log(rate) for rate in rates], dtype=torch.float64)
    y = torch.tensor([math.log(error) for error in errors], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x @ x))


def expanded_gradient(losses: Sequence[Loss], start: Tensor, beta: float) -> dict[str, Tensor]:
    """Eq. 3: the gradient of the losses' sum after descent, and the terms that it is made of.

    For FT one loss, for MTL those of D_s and D_t. `gradient` is L'(w_0); each term "i.j" is
    grad(L_i' . L_j'), the mixed ones of both orders together; `expansion` is
    L'(w_0) - beta / 2 sum of all terms. By second backward passes.
    """
    gradients = [gradient_of(loss, start) for loss in losses]
    terms: dict[str, Tensor] = {}
    for i, first in enumerate(losses):
        for j, second in enumerate(losses):
            if j < i:
                continue
            # grad(g_i . g_j) = H_i g_j + H_j g_i; both orders of a mixed pair stand in the sum.
            term = hessian_product(first, start, gradients[j], exact=True)
            term = term + hessian_product(second, start, gradients[i], exact=True)
            terms[f"{i}.{j}"] = term if i == j else 2 * term
    whole = torch.stack(gradients).sum(dim=0)
    total = torch.stack(list(terms.values())).sum(dim=0)
    return {"gradient": whole, **terms, "expansion": whole - beta / 2 * total}
