"""The distance of two languages at a layer: by hand, by numpy, and what it does not depend on."""

from __future__ import annotations

import itertools
import math

import numpy
import pytest
import torch

from isogloss.alignment import layer_choice
from isogloss.alignment.layer_choice import (
    MOST,
    SHRINK,
    choose_layers,
    layer_distances,
    usual_layers,
)
from isogloss.errors import ConfigError


def drawn(count: int, width: int, seed: int, layers: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, layers, width, generator=source, dtype=torch.float64)


def crosses(*scales: float, copies: int = 4) -> torch.Tensor:
    """Vectors at plus and minus each axis: the covariance is diagonal, in ratio of the squares."""
    axes = torch.diag(torch.tensor(scales, dtype=torch.float64))
    return torch.cat([axes, -axes]).repeat(copies, 1)[:, None]


def by_numpy(own: torch.Tensor, other: torch.Tensor) -> float:
    """Of one layer: eigenvalues of inv(S) S' as they are written, without factorising."""
    sides = [(side - side.mean(0)).double().numpy() for side in (own, other)]
    both = numpy.concatenate(sides)
    values, directions = numpy.linalg.eigh(both.T @ both)
    rank = min(MOST, min(len(own), len(other)) // 4, own.shape[1])
    basis = directions[:, numpy.argsort(values)[::-1][:rank]]
    covariances = []
    for side in sides:
        covariance = numpy.cov(side @ basis, rowvar=False).reshape(rank, rank)
        shrunk = SHRINK * numpy.trace(covariance) / rank
        covariances.append(covariance + shrunk * numpy.eye(rank))
    ratios = numpy.linalg.eigvals(numpy.linalg.inv(covariances[0]) @ covariances[1]).real
    return math.sqrt(sum(math.log(ratio) ** 2 for ratio in ratios))


def test_by_hand_with_known_ratios():
    """Standard deviations 1, 2, 3 against 2, 2, 9: ratios of variances 4, 1 and 9."""
    (found,) = layer_distances(crosses(1, 2, 3), crosses(2, 2, 9))
    assert found == pytest.approx(math.hypot(math.log(4), math.log(9)), rel=3e-3)
    # To the last digit, with the shrinkage: 0.001 of the mean variance in every direction.
    first, second = (1, 4, 9), (4, 4, 81)
    shrunk = [[v + SHRINK * sum(side) / 3 for v in side] for side in (first, second)]
    wanted = math.sqrt(sum(math.log(b / a) ** 2 for a, b in zip(*shrunk, strict=True)))
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("own", "other", "width"), [(40, 40, 7), (40, 64, 30), (300, 280, 80), (8, 9, 32)]
)
def test_equals_numpy(own, other, width):
    """Also with more dimensions than sentences, and more than 64 that could be had."""
    first, second = drawn(own, width, 1, layers=2), drawn(other, width, 2, layers=2)
    first[:, 1] *= torch.linspace(0.5, 3, width)
    second[:, 0] += torch.linspace(-3, 3, width)
    found = layer_distances(first, second)
    wanted = [by_numpy(first[:, layer], second[:, layer]) for layer in range(2)]
    assert found == pytest.approx(wanted, rel=1e-8)
    assert min(found) > 0.1


def test_symmetric_nothing_for_equal_languages_and_means_do_not_count():
    own, other = drawn(60, 9, 1, layers=3), drawn(50, 9, 2, layers=3) * 2
    apart = layer_distances(own, other)
    assert layer_distances(other, own) == pytest.approx(apart, rel=1e-9)
    assert layer_distances(own, own) == pytest.approx([0, 0, 0], abs=1e-6)
    moved = other + 100 * torch.arange(9)
    assert layer_distances(own, moved) == pytest.approx(apart, rel=1e-6)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    assert layer_distances(own, other[order]) == pytest.approx(apart, rel=1e-9)


def test_twice_the_size_is_log_four_in_each_direction():
    own = drawn(40, 6, 1)
    (found,) = layer_distances(own, 2 * own)
    assert found == pytest.approx(math.sqrt(6) * math.log(4), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_an_invertible_map_of_both_languages_changes_nothing(seed, monkeypatch):
    """Affine invariance, where no direction is left out: only the shrinkage moves a little."""
    own, other = drawn(200, 6, seed), drawn(200, 6, seed + 50) * torch.linspace(0.5, 2, 6)
    first, second = (torch.linalg.qr(drawn(6, 6, seed + n)[:, 0]).Q for n in (1, 2))
    matrix = first @ torch.diag(torch.linspace(0.5, 2, 6, dtype=torch.float64)) @ second
    offset = drawn(6, 1, seed)[:, 0, 0]
    mapped = own @ matrix + offset, other @ matrix + offset
    plain = layer_distances(own, other)
    assert layer_distances(*mapped) == pytest.approx(plain, rel=0.02)
    assert layer_distances(own @ first, other @ first) == pytest.approx(plain, rel=1e-9)
    monkeypatch.setattr(layer_choice, "SHRINK", 0.0)
    assert layer_distances(*mapped) == pytest.approx(layer_distances(own, other), rel=1e-9)
    one_only = layer_distances(own @ matrix, other)
    assert one_only != pytest.approx(plain, rel=0.05)


def test_a_layer_where_nothing_varies_is_nowhere_a_number_that_is_none():
    flat = torch.ones(16, 1, 5)
    assert layer_distances(flat, flat) == pytest.approx([0.0], abs=1e-9)
    (far,) = layer_distances(flat, drawn(16, 5, 1).float())
    assert math.isfinite(far)
    assert far > 100


def test_half_precision_vectors_are_measured_in_double():
    own, other = drawn(40, 6, 1).bfloat16(), drawn(40, 6, 2).bfloat16()
    wanted = by_numpy(own[:, 0].double(), other[:, 0].double())
    assert layer_distances(own, other) == pytest.approx([wanted], rel=1e-8)


@pytest.mark.parametrize(("own", "other"), [(7, 20), (20, 7), (0, 20)])
def test_few_sentences_are_refused(own, other):
    few = min(own, other)
    with pytest.raises(ConfigError, match=f"at least 8 sentences of each; found {few}"):
        layer_distances(drawn(own, 5, 1), drawn(other, 5, 2))


# The block of layers.


def enumerated(distances: list[float], count: int) -> tuple[int, int]:
    """Every contiguous block of 30% of the blocks, at least two; the first of the least mean."""
    size = max(2, round(0.3 * count))
    means = {
        (first, first + size - 1): sum(distances[first - 1 : first - 1 + size]) / size
        for first in range(1, len(distances) - size + 2)
    }
    return min(means, key=lambda block: (round(means[block], 9), block))


@pytest.mark.parametrize("count", [3, 4, 5, 7, 12, 28, 32])
def test_the_block_is_that_of_all_blocks(count):
    for seed in range(20):
        source = torch.Generator().manual_seed(seed)
        distances = torch.rand(count - 1, generator=source).tolist()
        to, back = choose_layers(distances, count)
        assert (to, back) == enumerated(distances, count)
        assert 1 <= to < back <= count - 1


def test_the_block_by_hand():
    assert choose_layers([9, 1, 9], 4) == (1, 2), "of equal ones the first"
    for distances in itertools.permutations([1.0, 2.0, 10.0, 20.0]):
        to, back = choose_layers(list(distances), 5)
        assert back == to + 1
        assert distances[to - 1] + distances[to] == min(
            a + b for a, b in itertools.pairwise(distances)
        )
    # Llama-3.1-8B has 32 blocks: 10 layers, as many as from 40% to 70% of the depth.
    to, back = choose_layers([1.0] * 31, 32)
    assert back - to + 1 == 10 == 22 - 13 + 1


@pytest.mark.parametrize("count", range(3, 90))
def test_the_usual_layers_are_layers(count):
    to, back = usual_layers(count)
    assert (to, back) == (round(0.4 * count), round(0.7 * count))
    assert 1 <= to < back <= count - 1


@pytest.mark.parametrize("count", [1, 2])
def test_models_without_room_are_refused(count):
    wanted = f"a shift needs a model of at least 3 layers; this one has {count}"
    with pytest.raises(ConfigError, match=wanted):
        usual_layers(count)
    with pytest.raises(ConfigError, match=wanted):
        choose_layers([1.0] * (count - 1), count)
