"""Eq. 2 and Fig. 1: identities, numbers worked out by hand, and the rank-1 remark."""

from __future__ import annotations

import pytest
import torch

from isogloss.alignment.linear_example import decomposed, figure1, gradient_inner_product


def case(seed: int, weights: int = 1):
    source = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=source, dtype=torch.float64)  # noqa: E731
    return draw(4, 6), draw(3, 6), list(draw(weights, 6)), draw(6)


def by_autograd(features, weights, best) -> torch.Tensor:
    at = weights.clone().requires_grad_()
    loss = ((features @ at - features @ best) ** 2).mean()
    return torch.autograd.grad(loss, at)[0]


@pytest.mark.parametrize("weights", [1, 5])
def test_eq_2_is_eq_5_is_autograd(weights):
    target, train, starts, best = case(1, weights)
    products = [by_autograd(target, w, best) @ by_autograd(train, w, best) for w in starts]
    wanted = float(torch.stack(products).mean())
    assert gradient_inner_product(target, train, starts, best) == pytest.approx(wanted, rel=1e-12)
    assert decomposed(target, train, starts, best).inner == pytest.approx(wanted, rel=1e-12)


def test_one_start_has_one_axis():
    target, train, starts, best = case(2)
    parts = decomposed(target, train, starts, best)
    assert parts.rank == 1
    # That axis is w - w* itself, and its lambda the square of its length.
    difference = starts[0] - best
    assert float(parts.sizes[0]) == pytest.approx(float(difference @ difference), rel=1e-12)
    along = abs(float(parts.axes[:, 0] @ difference)) / float(difference.norm())
    assert along == pytest.approx(1, rel=1e-12)


def test_several_starts_have_several_axes():
    target, train, starts, best = case(3, 9)
    parts = decomposed(target, train, starts, best)
    assert parts.rank == 6
    assert bool((parts.sizes >= 0).all())


def test_eq_2_by_hand():
    """x_t = (1, 2), x_train = (3, -1), w - w* = (1, 1): RepAlign 1 is 1, RepAlign 2 is 3 * 2."""
    target, train = (torch.tensor([each], dtype=torch.float64) for each in ((1, 2), (3, -1)))
    start, best = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    parts = decomposed(target, train, [start], best)
    assert float(parts.first) == pytest.approx(1)
    assert float(parts.second) == pytest.approx(6)
    assert parts.gamma == 4
    # Gradients 2 * 3 * (1, 2) and 2 * 2 * (3, -1): 6 * 12 + 12 * -4.
    assert parts.inner == pytest.approx(24)


def test_the_panels_of_figure_1():
    a, b, c = figure1()
    for panel in (a, b, c):
        assert panel.inner == pytest.approx(panel.measured, abs=1e-12)
        assert panel.first == pytest.approx(
            panel.train[0] * panel.target[0] + panel.train[1] * panel.target[1]
        )
        assert panel.sizes[0] > panel.sizes[1] > 0
        assert abs(panel.axes[0][0]) == pytest.approx(1, abs=1e-9)
    assert min(a.first, a.second, a.inner) > 0
    assert b.first > 0 > b.second
    assert b.inner < 0
    assert c.first == pytest.approx(0, abs=1e-12)
    assert c.inner == pytest.approx(0, abs=1e-12)
    # RepAlign 2 by hand: sum over the axes of lambda times both projections.
    wanted = sum(s * p * q for s, p, q in zip(b.sizes, b.train, b.target, strict=True))
    assert b.second == pytest.approx(wanted, rel=1e-9)
