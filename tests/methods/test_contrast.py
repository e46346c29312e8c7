"""Contrastive learning over translation pairs: the loss of ShifCon against a slow double loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from isogloss.errors import ConfigError
from isogloss.methods.contrast import Contrast, contrast_layers, contrastive_loss


def drawn(pairs: int, layers: int, width: int, seed: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(pairs, layers, width, generator=source)


def loops(dominant, target, *, temperature: float, recentre: bool) -> float:
    """The loss in plain numbers: every layer, every pair, every negative."""
    pairs, layers, width = dominant.shape
    total = 0.0
    for layer in range(layers):
        sides = []
        for side in (dominant, target):
            rows = [[float(x) for x in side[n, layer]] for n in range(pairs)]
            sides.append([[x / math.hypot(*row) for x in row] for row in rows])
        own, other = sides
        if recentre:
            for at in range(width):
                gap = sum(row[at] for row in own) / pairs - sum(row[at] for row in other) / pairs
                for row in other:
                    row[at] += gap
        scores = [
            [sum(a * b for a, b in zip(one, two, strict=True)) / temperature for two in other]
            for one in own
        ]
        for n in range(pairs):
            row = sum(math.exp(score) for score in scores[n])
            column = sum(math.exp(scores[m][n]) for m in range(pairs))
            total += (math.log(row) + math.log(column) - 2 * scores[n][n]) / (2 * pairs * layers)
    return total


@pytest.mark.parametrize("recentre", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("shape", [(2, 1, 3), (5, 3, 4), (12, 2, 8)])
def test_equals_a_slow_double_loop(shape, temperature, recentre):
    own, other = drawn(*shape, seed=1), drawn(*shape, seed=2) + 0.5
    given = {"temperature": temperature, "recentre": recentre}
    found = float(contrastive_loss(own, other, **given))
    assert found == pytest.approx(loops(own, other, **given), rel=1e-5)


def test_by_hand():
    """Two pairs at right angles: scores are 1 where right and 0 where wrong."""
    own = torch.eye(2)[:, None]
    for recentre in (True, False):  # the means are equal already
        given = {"temperature": 1.0, "recentre": recentre}
        right = float(contrastive_loss(own, own, **given))
        assert right == pytest.approx(math.log(1 + math.exp(-1)))
        wrong = float(contrastive_loss(own, own.flip(0), **given))
        assert wrong == pytest.approx(math.log(1 + math.e))
    cold = float(contrastive_loss(own, own, temperature=0.1, recentre=True))
    assert cold == pytest.approx(math.log(1 + math.exp(-10)), rel=1e-3)


def test_a_temperature_that_says_nothing_is_the_loss_of_guessing():
    own, other = drawn(6, 2, 5, 1), drawn(6, 2, 5, 2)
    found = contrastive_loss(own, other, temperature=1e6, recentre=True)
    assert float(found) == pytest.approx(math.log(6), rel=1e-4)


def test_recentring_takes_away_what_a_language_has_of_its_own():
    """Unit vectors all moved by one vector come back to the same loss; without it they do not."""
    own = nn.functional.normalize(drawn(6, 1, 4, 1), dim=-1)
    apart = torch.zeros(4, 5)
    apart[:, :4] = torch.eye(4)
    own = own @ apart  # the fifth direction is free: the target's language
    away = torch.tensor([0, 0, 0, 0, 3.0])
    given = {"temperature": 0.1, "recentre": True}
    alone = float(contrastive_loss(own, own, **given))
    # All have the same norm after the move, so that normalising scales them alike.
    moved = own + away
    scaled = nn.functional.normalize(moved, dim=-1)
    recentred = scaled - scaled.mean(0) + own.mean(0)
    torch.testing.assert_close(recentred.mean(0), own.mean(0))
    wanted = nn.functional.cross_entropy(own[:, 0] @ recentred[:, 0].T / 0.1, torch.arange(6))
    other = nn.functional.cross_entropy(recentred[:, 0] @ own[:, 0].T / 0.1, torch.arange(6))
    found = float(contrastive_loss(own, moved, **given))
    assert found == pytest.approx(float(wanted + other) / 2, rel=1e-5)
    assert found > alone
    without = float(contrastive_loss(own, moved, temperature=0.1, recentre=False))
    assert without != pytest.approx(found, rel=1e-3)


def test_the_size_of_a_vector_says_nothing():
    own, other = drawn(5, 2, 6, 1), drawn(5, 2, 6, 2)
    sizes = torch.rand(5, 2, 1) * 50 + 0.01
    given = {"temperature": 0.5, "recentre": True}
    plain = float(contrastive_loss(own, other, **given))
    assert float(contrastive_loss(own * sizes, other, **given)) == pytest.approx(plain, rel=1e-5)
    assert float(contrastive_loss(own, other * sizes, **given)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("recentre", [True, False])
def test_pairs_that_belong_together_cost_less_than_shuffled_ones(recentre):
    for seed in range(10):
        own = drawn(8, 2, 6, seed)
        given = {"temperature": 1.0, "recentre": recentre}
        right = float(contrastive_loss(own, own, **given))
        shuffled = own[torch.tensor([1, 2, 3, 4, 5, 6, 7, 0])]
        assert right < float(contrastive_loss(own, shuffled, **given)) - 0.05


def test_layers_are_averaged():
    own, other = drawn(5, 3, 6, 1), drawn(5, 3, 6, 2)
    given = {"temperature": 0.3, "recentre": True}
    alone = [
        float(contrastive_loss(own[:, [n]], other[:, [n]], **given)) for n in range(own.shape[1])
    ]
    assert len(set(alone)) == 3
    assert float(contrastive_loss(own, other, **given)) == pytest.approx(sum(alone) / 3)


def test_the_order_of_pairs_and_of_sides_says_nothing_without_recentring():
    own, other = drawn(5, 2, 6, 1), drawn(5, 2, 6, 2)
    order = torch.tensor([3, 0, 4, 1, 2])
    for recentre in (True, False):
        given = {"temperature": 0.3, "recentre": recentre}
        plain = float(contrastive_loss(own, other, **given))
        assert float(contrastive_loss(own[order], other[order], **given)) == pytest.approx(plain)
    turned = float(contrastive_loss(other, own, temperature=0.3, recentre=False))
    assert turned == pytest.approx(
        float(contrastive_loss(own, other, temperature=0.3, recentre=False))
    )


@pytest.mark.parametrize("recentre", [True, False])
def test_both_sides_learn_and_a_step_down_lowers_the_loss(recentre):
    own, other = (drawn(6, 2, 5, seed).requires_grad_() for seed in (1, 2))
    given = {"temperature": 0.5, "recentre": recentre}
    loss = contrastive_loss(own, other, **given)
    gradients = torch.autograd.grad(loss, (own, other))
    for side, gradient in zip((own, other), gradients, strict=True):
        assert (gradient.abs().amax(dim=-1) > 1e-6).all(), "every vector of every layer"
        # A vector's size says nothing, so its gradient is at a right angle to it.
        along = (gradient * side.detach()).sum(-1).abs()
        assert (along < 1e-5).all()
    with torch.no_grad():
        lower = contrastive_loss(own - 0.1 * gradients[0], other - 0.1 * gradients[1], **given)
    assert lower < loss


def test_half_precision_states_are_compared_in_fp32():
    own, other = drawn(5, 1, 64, 1).bfloat16(), drawn(5, 1, 64, 2).bfloat16()
    found = contrastive_loss(own, other, temperature=0.05, recentre=True)
    assert found.dtype == torch.float32
    wanted = loops(own.float(), other.float(), temperature=0.05, recentre=True)
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_which_layers_are_contrasted():
    """hidden_states[L_to .. L_back - 1], or the layer at half the depth."""
    assert contrast_layers("block", (13, 22), 32) == tuple(range(13, 22))
    assert contrast_layers("middle", None, 32) == (16,)
    assert contrast_layers("middle", None, 3) == (1,)


def test_shifcons_numbers():
    made = Contrast()
    assert (made.answer_weight, made.weight, made.temperature, made.pairs) == (0.5, 2.0, 1.0, 12)
    assert (made.layers, made.recentre, made.alternate) == ("block", True, False)
    assert Contrast(weight=2, temperature=1, answer_weight=1) == Contrast(answer_weight=1.0)
    assert all(
        isinstance(getattr(Contrast(weight=2, temperature=1), name), float)
        for name in ("weight", "temperature", "answer_weight")
    ), "a run's key must not depend on how a number was written"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1}, "contrast weight is -1.0; it must be 0 or more"),
        ({"weight": math.nan}, "contrast weight is nan"),
        ({"answer_weight": -0.1}, "contrast answer weight is -0.1; it must be 0 or more"),
        ({"temperature": 0}, "contrast temperature is 0.0; it must be above 0"),
        ({"temperature": math.nan}, "contrast temperature is nan"),
        ({"pairs": 1}, "contrast pairs is 1; it must be 2 or more"),
        ({"layers": "all"}, "contrast layers is 'all'; it must be block or middle"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Contrast(**settings)
