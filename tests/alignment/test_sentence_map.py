"""Translation retrieval, the joint plane and the token map, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from isogloss.alignment.sentence_map import joint_plane, token_map, translation_retrieval


def test_retrieval_by_hand():
    """The second and third sentences are each other's nearest from one side only."""
    own = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.5]])
    other = torch.tensor([[2.0, 0.1, 0], [0, 1, 0.4], [0, 0.1, 3]])
    # From own: 0 -> 0; 1 -> 1 (.93 against .03); 2 -> 1. From other: 0 -> 0; 1 -> 2; 2 -> 2.
    assert translation_retrieval(own, other).tolist() == [1.0, 0.5, 0.5]


def test_equally_near_sentences_share():
    own = torch.tensor([[1.0, 0], [1.0, 0]])
    assert translation_retrieval(own, own).tolist() == [0.5, 0.5]


def test_retrieval_is_of_cosines():
    source = torch.Generator().manual_seed(1)
    own = torch.randn(30, 8, generator=source)
    other = own + 0.3 * torch.randn(30, 8, generator=source)
    scaled = translation_retrieval(own * 7, other * torch.rand(30, 1, generator=source))
    assert scaled.tolist() == translation_retrieval(own, other).tolist()
    assert translation_retrieval(own, own).mean() == 1


def test_the_plane_is_fitted_to_both_languages():
    """Two languages apart along one axis: that axis comes first, and their means lie on it."""
    source = torch.Generator().manual_seed(2)
    own = torch.randn(40, 6, generator=source)
    gap = torch.tensor([0.0, 0, 12, 0, 0, 0])
    first, second, shares = joint_plane(own, own + gap)
    between = second.mean(dim=0) - first.mean(dim=0)
    assert between.abs()[0] == pytest.approx(12, rel=0.02)
    assert shares[0] > 0.8 > shares[1]
    both = torch.cat([first, second])
    assert both.mean(dim=0).abs().max() < 1e-9
    variance = torch.cat([own, own + gap]).double().var(dim=0, correction=0).sum()
    assert both[:, 0].var(correction=0) / variance == pytest.approx(shares[0])


def test_the_plane_has_no_chance_in_it():
    source = torch.Generator().manual_seed(3)
    own, other = torch.randn(2, 20, 5, generator=source)
    order = torch.randperm(20, generator=source)
    first = joint_plane(own, other)[0]
    assert torch.allclose(joint_plane(own[order], other)[0], first[order], atol=1e-9)


def test_the_token_map_is_the_mean_over_layers():
    one = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[3.0, 3]])
    two = torch.tensor([[1.0, 0], [5, 0]]), torch.tensor([[0.0, 4]])
    made = token_map([one[0], two[0]], [one[1], two[1]])
    half = 0.5**0.5
    wanted = [[1, 0.5, half / 2], [0.5, 1, half / 2], [half / 2, half / 2, 1]]
    assert torch.allclose(made, torch.tensor(wanted, dtype=torch.float64), atol=1e-7)
