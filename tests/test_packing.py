"""Padded, packed, shared and single computations agree on every architecture."""

from __future__ import annotations

import pytest
import torch

from conftest import ARCHITECTURES, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for, plain_log_probability
from isogloss.encoding import EncodedSet, EncodedTarget, Span
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import answer_sums, token_log_probabilities
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds, Weights

PROMPT = SoftPrompt(5)
IDS = StartIds(tuple(range(10, 200)))


def loss_and_gradient(loaded, weights: Weights, groups, layout):
    with PROMPT.attached(loaded.model, weights):
        batch, answers = pack(groups, layout=layout, demonstration_answers=None)
        marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
        values = token_log_probabilities(loaded.model, batch)
        loss = answer_loss(values, batch, marks, 0.5)
        return loss.detach(), torch.autograd.grad(loss, weights[KEY])[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layouts_give_the_same_loss_and_prompt_gradient(architecture, attention):
    tokenizer = sentencepiece_tokenizer() if architecture == "gemma3" else None
    loaded = tiny_loaded(architecture, tokenizer, attention=attention)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    groups = groups_for(encoder_for(loaded))
    # Longer than Gemma's window of 24, so that the sliding mask matters.
    assert max(len(g.demonstrations.ids) for g in groups) > 24
    wanted, gradient = loss_and_gradient(loaded, weights, groups, "rows")
    for layout in ("tree", "packed"):
        loss, found = loss_and_gradient(loaded, weights, groups, layout)
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layout", ["tree", "packed", "rows"])
def test_every_answer_equals_one_unpadded_pass(architecture, layout):
    loaded = tiny_loaded(architecture)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    groups = groups_for(encoder_for(loaded))
    with torch.no_grad(), PROMPT.attached(loaded.model, weights):
        batch, answers = pack(groups, layout=layout, options=True)
        sums = answer_sums(token_log_probabilities(loaded.model, batch), batch)
    wanted = [
        plain_log_probability(loaded, weights[KEY], g.demonstrations, target, option).sum()
        for g in groups
        for target in g.targets
        for option in target.options
    ]
    assert [(a.target, a.place) for a in answers] == [(t, o) for t in range(6) for o in range(3)]
    torch.testing.assert_close(sums, torch.stack(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_scores_do_not_depend_on_batch_size(loaded, size):
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    (group,) = groups_for(encoder_for(loaded), groups=1, targets=8)
    sums = []
    with torch.no_grad(), PROMPT.attached(loaded.model, weights):
        for start in range(0, 8, size):
            piece = EncodedGroup(group.demonstrations, group.targets[start : start + size])
            batch, _ = pack([piece], options=True)
            sums.append(answer_sums(token_log_probabilities(loaded.model, batch), batch))
    wanted = [
        plain_log_probability(loaded, weights[KEY], group.demonstrations, target, option).sum()
        for target in group.targets
        for option in target.options
    ]
    torch.testing.assert_close(torch.cat(sums), torch.stack(wanted), rtol=1e-5, atol=1e-5)


def test_a_shared_set_counts_once_for_each_of_its_targets():
    loaded = tiny_loaded()
    (group,) = groups_for(encoder_for(loaded), groups=1, targets=3)
    shared, answers = pack([group], demonstration_answers=None)
    assert [a.weight for a in answers if a.kind == "demonstration"] == [3.0, 3.0]
    alone, answers = pack([group], layout="rows", demonstration_answers=None)
    assert [a.weight for a in answers if a.kind == "demonstration"] == [1.0] * 6
    assert shared.real.sum() < alone.real.sum()


def test_only_asked_demonstrations_are_predicted():
    loaded = tiny_loaded()
    groups = groups_for(encoder_for(loaded), demonstrations=3)
    for asked, places in ((None, [0, 1, 2]), ((-1,), [2]), ((), [])):
        _, answers = pack(groups, demonstration_answers=asked)
        found = [a.place for a in answers if a.kind == "demonstration"]
        assert found == places * len(groups)


def test_a_token_sees_its_branch_and_its_ancestors_only():
    loaded = tiny_loaded()
    (group,) = groups_for(encoder_for(loaded), groups=1, targets=2)
    batch, _ = pack([group])
    assert batch.visible is not None
    group = group.joined()
    front = len(group.demonstrations.ids)
    assert batch.parts is not None
    assert batch.parts[0] == front
    first = front + len(group.targets[0].ids) + len(group.targets[0].answer) - 1
    visible = batch.visible[0]
    assert visible[first, :front].all(), "the second target sees the demonstrations"
    assert not visible[first, front:first].any(), "and nothing of the first target"
    assert batch.positions[0, first] == front, "and stands where the first target stood"


@pytest.mark.parametrize("options", [False, True])
@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("groups", [1, 3])
def test_parts_see_the_trunk_and_themselves_at_most(groups, layout, options):
    made = groups_for(encoder_for(tiny_loaded()), groups=groups, targets=3)
    batch, _ = pack(made, layout=layout, options=options)
    assert batch.parts is not None
    assert batch.visible is not None
    trunk, *ends = batch.parts.tolist()
    rows, width, _ = batch.visible.shape
    assert len(ends) == (3 if groups == 1 else 1)
    assert ends[-1] == width
    plain = torch.ones(trunk, trunk).tril().bool()
    assert all(torch.equal(batch.visible[row, :trunk, :trunk], plain) for row in range(rows))
    for start, end in zip((trunk, *ends), ends, strict=False):
        assert start < end
        assert not batch.visible[:, start:end, trunk:start].any()
        assert not batch.visible[:, start:end, end:].any()


def encoded(*ids: int) -> EncodedTarget:
    return EncodedTarget("x", "en", ids, Span(1, len(ids)), (9,), ((9,), (8,)))


def test_what_all_targets_begin_with_joins_the_front():
    front = EncodedSet((1, 2, 3), Span(0, 1), (Span(1, 2),), (Span(2, 3),), ("en",))
    group = EncodedGroup(front, (encoded(5, 6, 7, 4), encoded(5, 6, 8), encoded(5, 6, 7)))
    joined = group.joined()
    assert joined.demonstrations.ids == (1, 2, 3, 5, 6)
    assert joined.demonstrations.answers == front.answers
    assert [target.ids for target in joined.targets] == [(7, 4), (8,), (7,)]
    assert joined.targets[0].input == Span(0, 2)
    assert [target.answer for target in joined.targets] == [(9,)] * 3


@pytest.mark.parametrize(
    ("targets", "joined"),
    [
        ([(5, 6)], 0),  # alone it has nobody to share with
        ([(5, 6), (7, 6)], 0),
        ([(5, 6), (5, 6)], 1),  # each keeps a token
        ([(5,), (5, 6)], 0),
    ],
)
def test_targets_keep_what_is_their_own(targets, joined):
    front = EncodedSet((1,), Span(0, 1), (), (), ())
    group = EncodedGroup(front, tuple(encoded(*ids) for ids in targets))
    assert len(group.joined().demonstrations.ids) == 1 + joined


def test_a_batch_with_spans_keeps_targets_whole(loaded):
    groups = groups_for(encoder_for(loaded))
    batch, _ = pack(groups, dominant="en")
    assert batch.parts is not None
    assert batch.parts[0] == min(len(group.demonstrations.ids) for group in groups)
    assert batch.spans is not None
    asked = [len(target.input) for group in groups for target in group.targets]
    assert [int((batch.spans.asked & (batch.spans.sample == n)).sum()) for n in range(6)] == asked
