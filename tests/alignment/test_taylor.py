"""Eq. 3: orders of the errors, terms against whole Hessians, and a soft prompt in a real LM."""

from __future__ import annotations

import pytest
import torch

from isogloss.alignment.linear_example import gradient
from isogloss.alignment.taylor import (
    descended,
    expanded_gradient,
    gradient_of,
    hessian_product,
    taylor_check,
)

RATES = (0.004, 0.002, 0.001, 0.0005)


def curved(seed: int):
    """A loss with derivatives of every order."""
    source = torch.Generator().manual_seed(seed)
    mix, way = (torch.randn(5, 5, generator=source, dtype=torch.float64) for _ in range(2))

    def loss(w: torch.Tensor) -> torch.Tensor:
        return (mix @ w).tanh().square().sum() + torch.logsumexp(way @ w, 0) + (w**4).mean()

    return loss


def start(seed: int = 9) -> torch.Tensor:
    return torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_products_with_the_hessian():
    loss, at = curved(1), start()
    whole = torch.autograd.functional.hessian(loss, at)
    vector = start(4)
    exact = hessian_product(loss, at, vector, exact=True)
    assert torch.allclose(exact, whole @ vector, atol=1e-12)
    near = hessian_product(loss, at, vector, exact=False)
    assert float((near - exact).norm() / exact.norm()) < 1e-2
    none = hessian_product(loss, at, torch.zeros_like(at), exact=False)
    assert torch.equal(none, torch.zeros_like(at))


def test_errors_fall_with_the_second_and_third_power():
    found = taylor_check(curved(1), curved(2), start(), learning_rates=RATES, steps=4)
    assert found.orders[0] == pytest.approx(2, abs=0.15)
    assert found.orders[1] == pytest.approx(3, abs=0.3)
    first, second = (gradient_of(curved(seed), start()) for seed in (1, 2))
    assert found.alignment == pytest.approx(float(first @ second))
    assert found.rows[0].first == pytest.approx(0.016 * found.alignment)


def test_one_step_by_hand():
    """L_A = w^2 / 2, L_B = (w - 3)^2 / 2 from w = 1, rate .1: w = .9, the drop is -.205."""
    at = torch.tensor([1.0], dtype=torch.float64)
    found = taylor_check(
        lambda w: (w**2).sum() / 2,
        lambda w: ((w - 3) ** 2).sum() / 2,
        at,
        learning_rates=[0.1],
        steps=1,
    )
    (row,) = found.rows
    assert row.measured == pytest.approx(2 - 2.1**2 / 2)
    assert row.first == pytest.approx(-0.2)
    # One step on a quadratic loss: the second order leaves nothing.
    assert row.second == pytest.approx(row.measured, abs=1e-12)


def test_the_linear_model():
    """Gradient descent on the linear example, with data of set correlation between the sets."""
    source = torch.Generator().manual_seed(3)
    own = torch.randn(30, 4, generator=source, dtype=torch.float64)
    other = 0.8 * own + 0.6 * torch.randn(30, 4, generator=source, dtype=torch.float64)
    best, at = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)

    def loss(features):
        return lambda w: ((features @ (w - best)) ** 2).mean()

    found = taylor_check(loss(own), loss(other), at, learning_rates=RATES, steps=5)
    assert found.alignment == pytest.approx(
        float(gradient(own, at, best) @ gradient(other, at, best))
    )
    assert all(row.measured > 0 for row in found.rows)
    assert found.orders[0] == pytest.approx(2, abs=0.2)
    assert found.orders[1] == pytest.approx(3, abs=0.3)


def test_eq_3_for_ft():
    loss, at = curved(1), start()
    for rate in (0.01, 0.005):
        point = descended(loss, at, rate, 4)
        parts = expanded_gradient([loss], at, rate * 4)
        error = float((gradient_of(loss, point) - parts["expansion"]).norm())
        plain = float((gradient_of(loss, point) - parts["gradient"]).norm())
        assert error < plain / 3


def test_eq_3s_error_is_of_second_order():
    loss, at, errors = curved(1), start(), []
    for rate in (0.004, 0.002):
        point = descended(loss, at, rate, 4)
        parts = expanded_gradient([loss], at, rate * 4)
        errors.append(float((gradient_of(loss, point) - parts["expansion"]).norm()))
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.5)


def test_eq_3_for_mtl_term_by_term():
    one, two, at = curved(1), curved(2), start()
    first, second = (gradient_of(loss, at) for loss in (one, two))
    own, other = (torch.autograd.functional.hessian(loss, at) for loss in (one, two))
    parts = expanded_gradient([one, two], at, 0.1)
    assert torch.allclose(parts["0.0"], 2 * own @ first, atol=1e-10)
    assert torch.allclose(parts["1.1"], 2 * other @ second, atol=1e-10)
    # -beta grad(L_s' . L_t') in the appendix: twice the half that a term of its own has.
    assert torch.allclose(parts["0.1"], 2 * (own @ second + other @ first), atol=1e-10)
    both = lambda w: one(w) + two(w)  # noqa: E731
    whole = expanded_gradient([both], at, 0.1)
    assert torch.allclose(parts["expansion"], whole["expansion"], atol=1e-10)
    assert torch.allclose(parts["gradient"], first + second)
