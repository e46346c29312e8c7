"""Gradients of single items (Eq. 1) against one backward pass for each, written out plainly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conftest import byte_level_tokenizer, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for, sample, snapshot
from isogloss.alignment import gradients
from isogloss.alignment.gradients import (
    parameter_gradients,
    residual_gradients,
    soft_prompt_gradients,
)
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import token_log_probabilities
from isogloss.model.prompt import embedded, prompted
from isogloss.packing import EncodedGroup, pack

RTOL = 1e-5
M = 5


def singles(encoder, *, demonstrations=(2, 2, 2, 2, 2)) -> list[EncodedGroup]:
    """Groups of one target, lengths mixed; targets hang on sets of their own."""
    made = []
    for number, count in enumerate(demonstrations):
        solved = [sample(10 * number + 3 * place) for place in range(count)]
        target = encoder.target(sample(100 + 7 * number, "tr"), count)
        made.append(EncodedGroup(encoder.demonstration_set(solved), (target,)))
    return made


def answer_mean(logits: Tensor, ids: list[int], start: int, stop: int) -> Tensor:
    """-log p of the tokens `start` to `stop`, the mean over them."""
    told = logits.log_softmax(-1)
    terms = [-told[place - 1, ids[place]] for place in range(start, stop)]
    return sum(terms) / len(terms)


def item_loss(logits: Tensor, group, target, places, weight: float) -> Tensor:
    """CE(y_t) + weight * mean_j CE(y_dj) from the logits of the whole sequence."""
    front = group.demonstrations
    ids = [*front.ids, *target.ids, *target.answer]
    loss = answer_mean(logits, ids, len(ids) - len(target.answer), len(ids))
    solved = front.answers if places is None else [front.answers[place] for place in places]
    terms = [answer_mean(logits, ids, span.start, span.stop) for span in solved]
    return loss + weight * sum(terms) / len(terms) if terms else loss


def prompt_item(loaded, prompt: Tensor, group, target, places, weight: float) -> Tensor:
    """One item's loss: one unpadded sequence, the prompt's vectors put in by hand."""
    text = [*group.demonstrations.ids[len(prompt) :], *target.ids, *target.answer]
    rest = loaded.model.get_input_embeddings()(torch.tensor([text]))[0]
    logits = loaded.model(inputs_embeds=torch.cat([prompt, rest])[None]).logits[0]
    return item_loss(logits, group, target, places, weight)


def prompt_twin(loaded, prompt: Tensor, groups, places=(), weight=1.0) -> Tensor:
    rows = []
    for group in groups:
        for target in group.targets:
            leaf = prompt.detach().clone().requires_grad_()
            loss = prompt_item(loaded, leaf, group, target, places, weight)
            rows.append(torch.autograd.grad(loss, leaf)[0].flatten())
    return torch.stack(rows)


def plain_item(loaded, group, target, places, weight, **asked):
    ids = [*group.demonstrations.ids, *target.ids, *target.answer]
    out = loaded.model(torch.tensor([ids]), **asked)
    return item_loss(out.logits[0], group, target, places, weight), out


def residual_twin(loaded, groups, layers, places=(), weight=1.0) -> Tensor:
    rows = []
    for group in groups:
        for target in group.targets:
            loss, out = plain_item(loaded, group, target, places, weight, output_hidden_states=True)
            wanted = [out.hidden_states[layer] for layer in layers]
            reads = len(group.demonstrations.ids) + len(target.ids) - 1
            found = torch.autograd.grad(loss, wanted)
            rows.append(torch.stack([gradient[0, reads] for gradient in found]))
    return torch.stack(rows)


def parameter_twin(loaded, parameters, groups, places=(), weight=1.0) -> Tensor:
    rows = []
    for group in groups:
        for target in group.targets:
            loss, _ = plain_item(loaded, group, target, places, weight)
            found = torch.autograd.grad(loss, list(parameters.values()))
            rows.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(rows)


def check(found: Tensor, wanted: Tensor, rtol: float = RTOL) -> None:
    """Each item's gradient, measured by its own length."""
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.shape == wanted.shape
    assert len(wanted) < 2 or (wanted[0] - wanted[1]).norm() > 0.1 * wanted[0].norm()
    gap = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert gap.max() <= rtol, gap


def prompt_for(loaded, *, seed: int = 2) -> Tensor:
    width = loaded.model.config.hidden_size
    return torch.randn(M, width, generator=torch.Generator().manual_seed(seed)) * 0.3


# --- the twin itself ---


def test_the_twins_loss_by_hand():
    """Two vocabulary entries and logits of which one softmax is known: ln 4, ln(4/3)."""
    logits = torch.tensor([[0.0, 3.0], [0.0, 1.0], [0.0, 1.0], [9.0, 9.0]]).log()
    logits[0, 0] = logits[1, 0] = logits[2, 0] = 0.0
    # p(1) = 3/4, 1/2, 1/2 at the first three places.
    ids = [0, 1, 0, 1]
    assert answer_mean(logits, ids, 1, 2).item() == pytest.approx(0.2876821)  # ln(4/3)
    assert answer_mean(logits, ids, 1, 4).item() == pytest.approx(0.5579921)  # + 2 ln 2, / 3


def test_the_twin_is_the_slope_of_the_loss(loaded):
    """Central differences along the gradient, without autograd: the slope there is its length."""
    loaded.model.double()
    group = singles(encoder_for(loaded, M))[0]
    prompt = prompt_for(loaded).double()
    wanted = prompt_twin(loaded, prompt, [group], None, 0.5)[0]
    step = 3e-3 * (wanted / wanted.norm()).view_as(prompt)
    with torch.no_grad():
        up, down = (
            prompt_item(loaded, prompt + sign * step, group, group.targets[0], None, 0.5)
            for sign in (1, -1)
        )
    # To 1%: the models' norms are computed in single precision.
    assert float((up - down) / (2 * step.norm())) == pytest.approx(float(wanted.norm()), 0.01)


# --- soft prompts ---


@pytest.mark.parametrize(("demonstrations", "places"), [(0, None), (2, ()), (2, None), (2, (-1,))])
def test_soft_prompt(loaded, demonstrations, places):
    """One target a group, whatever the batch."""
    groups = singles(encoder_for(loaded, M), demonstrations=(demonstrations,) * 4)
    prompt = prompt_for(loaded)
    wanted = prompt_twin(loaded, prompt, groups, places if demonstrations else (), 0.5)
    for batch_size in (1, 3, 8):
        found = soft_prompt_gradients(
            loaded.model,
            prompt,
            groups,
            demonstration_answers=places,
            weight=0.5,
            batch_size=batch_size,
        )
        check(found, wanted)


def test_soft_prompt_of_targets_that_share_a_set(loaded):
    """Each target has the whole of its demonstrations' loss; none sees its neighbours."""
    groups = groups_for(encoder_for(loaded, M), groups=2, targets=3)
    prompt = prompt_for(loaded)
    wanted = prompt_twin(loaded, prompt, groups, None)
    for batch_size in (1, 2, 8):
        found = soft_prompt_gradients(
            loaded.model, prompt, groups, demonstration_answers=None, batch_size=batch_size
        )
        check(found, wanted)


def test_soft_prompt_of_sets_of_different_sizes(loaded):
    groups = singles(encoder_for(loaded, M), demonstrations=(3, 0, 1, 2))
    prompt = prompt_for(loaded)
    found = soft_prompt_gradients(
        loaded.model, prompt, groups, demonstration_answers=None, weight=2.0, batch_size=3
    )
    check(found, prompt_twin(loaded, prompt, groups, None, 2.0))


def test_soft_prompt_after_a_begin_token_and_with_eager_attention():
    for tokenizer, attention in (
        (sentencepiece_tokenizer(), "sdpa"),
        (byte_level_tokenizer(), "eager"),
    ):
        loaded = tiny_loaded("gemma3", tokenizer, attention=attention)
        groups = singles(encoder_for(loaded, M))
        prompt = prompt_for(loaded)
        found = soft_prompt_gradients(loaded.model, prompt, groups, demonstration_answers=None)
        check(found, prompt_twin(loaded, prompt, groups, None))


def test_no_weight_is_no_demonstration_loss():
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, M))
    prompt = prompt_for(loaded)
    found = soft_prompt_gradients(
        loaded.model, prompt, groups, demonstration_answers=None, weight=0.0
    )
    check(found, prompt_twin(loaded, prompt, groups, ()))


def test_items_sum_to_the_gradient_that_trains(loaded):
    """What training's own batches and loss give a prompt's .grad, the sum over their targets."""
    groups = groups_for(encoder_for(loaded, M), groups=2, targets=3, demonstrations=2)
    prompt = nn.Parameter(prompt_for(loaded))
    batch, answers = pack(groups, demonstration_answers=None)
    with prompted(loaded.model, prompt):
        told = token_log_probabilities(loaded.model, batch)
        marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
        answer_loss(told, batch, marks, 0.7 / 2).backward()
    found = soft_prompt_gradients(
        loaded.model, prompt.detach(), groups, demonstration_answers=None, weight=0.7
    )
    gap = found.sum(0) - prompt.grad.flatten()
    assert gap.norm() <= RTOL * prompt.grad.norm()


@pytest.mark.parametrize("parameter", [False, True])
def test_the_model_and_the_prompt_are_left_as_they_were(parameter):
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, M))
    prompt = nn.Parameter(prompt_for(loaded)) if parameter else prompt_for(loaded)
    kept = prompt.detach().clone()
    some = list(loaded.model.parameters())
    some[1].requires_grad_(False)
    some[2].grad = torch.ones_like(some[2])
    before = snapshot(loaded)
    soft_prompt_gradients(loaded.model, prompt, groups, demonstration_answers=None)
    assert snapshot(loaded) == before
    assert torch.equal(prompt.detach(), kept)
    assert prompt.grad is None
    assert prompt.requires_grad == parameter
    assert torch.equal(some[2].grad, torch.ones_like(some[2]))
    assert [one for one in some if one.grad is not None] == [some[2]]


def test_a_frozen_model_changes_nothing():
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, M))[:2]
    prompt = prompt_for(loaded)
    wanted = prompt_twin(loaded, prompt, groups)
    loaded.model.requires_grad_(False)
    check(soft_prompt_gradients(loaded.model, prompt, groups), wanted)


# --- the residual probe ---


def test_residual(loaded):
    groups = singles(encoder_for(loaded, 0), demonstrations=(2, 0, 1, 2, 3))
    layers = (2, 0, 1)
    wanted = residual_twin(loaded, groups, layers)
    assert wanted.shape == (5, 3, 32)
    for batch_size in (1, 3, 8):
        found = residual_gradients(loaded.model, groups, layers=layers, batch_size=batch_size)
        check(found, wanted)


def test_residual_of_targets_that_share_a_set():
    loaded = tiny_loaded("gemma3")
    groups = groups_for(encoder_for(loaded, 0), groups=2, targets=3)
    wanted = residual_twin(loaded, groups, (1, 2))
    for batch_size in (1, 8):
        found = residual_gradients(loaded.model, groups, layers=(1, 2), batch_size=batch_size)
        check(found, wanted)


def test_residual_does_not_see_the_demonstrations_loss():
    """The probe stands behind the demonstrations, so their answers do not depend on it."""
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, 0))
    wanted = residual_twin(loaded, groups, (1, 2))
    check(residual_twin(loaded, groups, (1, 2), None, 3.0), wanted)
    found = residual_gradients(
        loaded.model, groups, layers=(1, 2), demonstration_answers=None, weight=3.0
    )
    check(found, wanted)


def test_residual_of_a_frozen_model_that_is_left_as_it_was():
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, 0))[:3]
    wanted = residual_twin(loaded, groups, (0, 2))
    loaded.model.requires_grad_(False)
    before = snapshot(loaded)
    check(residual_gradients(loaded.model, groups, layers=(0, 2)), wanted)
    assert snapshot(loaded) == before
    assert all(one.grad is None for one in loaded.model.parameters())


def test_residual_behind_a_soft_prompt():
    """As in a run: the prompt is attached to the model, and the probe is behind it."""
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, M))[:3]
    prompt = nn.Parameter(prompt_for(loaded))
    with prompted(loaded.model, prompt):
        wanted = residual_twin(loaded, groups, (1, 2))
        found = residual_gradients(loaded.model, groups, layers=(1, 2))
    check(found, wanted)
    assert prompt.grad is None


# --- parameters ---


def chosen(loaded) -> dict[str, nn.Parameter]:
    """Not in the model's order; the embedding is tied to the head in the tiny Llama."""
    named = dict(loaded.model.named_parameters())
    names = ("model.layers.2.mlp.down_proj.weight", "model.embed_tokens.weight",
             "model.layers.0.self_attn.q_proj.weight", "model.norm.weight")  # fmt: skip
    return {name: named[name] for name in names}


def test_parameters_exactly(loaded):
    groups = singles(encoder_for(loaded, 0), demonstrations=(2, 0, 1))
    parameters = chosen(loaded)
    found = parameter_gradients(
        loaded.model, parameters, groups, size=None, demonstration_answers=None, weight=0.5
    )
    assert found.shape[1] == sum(one.numel() for one in parameters.values())
    check(found, parameter_twin(loaded, parameters, groups, None, 0.5))


def test_parameters_of_targets_that_share_a_set():
    loaded = tiny_loaded("gemma3")
    groups = groups_for(encoder_for(loaded, 0), groups=1, targets=3)
    found = parameter_gradients(
        loaded.model, chosen(loaded), groups, size=None, demonstration_answers=None
    )
    check(found, parameter_twin(loaded, chosen(loaded), groups, None))


@pytest.mark.parametrize("size", [None, 64])
def test_the_model_is_left_as_it_was_by_parameters(size):
    loaded = tiny_loaded("gemma3")
    groups = singles(encoder_for(loaded, 0))[:2]
    parameters = chosen(loaded)
    others = [one for one in loaded.model.parameters() if all(one is not p for p in
              parameters.values())]  # fmt: skip
    others[0].requires_grad_(False)
    parameters["model.norm.weight"].grad = torch.ones(32)
    before = snapshot(loaded)
    parameter_gradients(loaded.model, parameters, groups, size=size)
    assert snapshot(loaded) == before
    assert torch.equal(parameters["model.norm.weight"].grad, torch.ones(32))
    left = [one for one in loaded.model.parameters() if one.grad is not None]
    assert left == [parameters["model.norm.weight"]]


def sketches(loaded, parameters, groups, *, size: int, seeds: int) -> Tensor:
    """(seeds, items, items): inner products of sketches."""
    made = []
    for seed in range(seeds):
        found = parameter_gradients(loaded.model, parameters, groups, size=size, seed=seed)
        assert found.shape == (len(groups), size)
        made.append(found.double() @ found.double().T)
    return torch.stack(made)


def test_sketches_are_unbiased_and_as_near_as_stated():
    loaded = tiny_loaded()
    groups = singles(encoder_for(loaded, 0), demonstrations=(0, 0, 0))
    parameters, size, seeds = chosen(loaded), 64, 45
    exact = parameter_twin(loaded, parameters, groups).double()
    length = exact.norm(dim=1)
    found = sketches(loaded, parameters, groups, size=size, seeds=seeds)
    error = (found - exact @ exact.T) / (length[:, None] * length)
    pairs = torch.triu_indices(3, 3)
    error = error[:, pairs[0], pairs[1]]
    bound = (2 / size) ** 0.5
    assert error.mean(0).abs().max() < 4 * bound / seeds**0.5, "no bias"
    assert error.pow(2).mean().sqrt() < 1.1 * bound
    assert error.abs().max() > 0, "a projection to 64 numbers is not exact"


def test_a_default_sketch_is_near():
    loaded = tiny_loaded()
    groups = singles(encoder_for(loaded, 0), demonstrations=(1, 0, 2, 1))
    exact = parameter_twin(loaded, chosen(loaded), groups).double()
    found = parameter_gradients(loaded.model, chosen(loaded), groups).double()
    assert found.shape == (4, 8192)
    length = exact.norm(dim=1)
    error = (found @ found.T - exact @ exact.T) / (length[:, None] * length)
    assert error.abs().max() < 4.5 * (2 / 8192) ** 0.5


class Twofold(nn.Module):
    """A linear map by the sum of two weights, whose gradients are therefore the same."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.one = nn.Parameter(weight.detach() / 2)
        self.two = nn.Parameter(weight.detach() / 2)

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.one + self.two)


def test_each_parameter_is_projected_in_its_own_way():
    """One projection for two parameters of a shape would add their gradients up: twice too much."""
    loaded = tiny_loaded()
    block = loaded.model.model.layers[1].mlp
    block.down_proj = Twofold(block.down_proj.weight)
    parameters = {"one": block.down_proj.one, "two": block.down_proj.two}
    groups = singles(encoder_for(loaded, 0), demonstrations=(0, 0))
    exact = parameter_twin(loaded, parameters, groups).double()
    half = exact.shape[1] // 2
    assert torch.equal(exact[:, :half], exact[:, half:])
    found = sketches(loaded, parameters, groups, size=256, seeds=25).mean(0)
    length = exact.norm(dim=1)
    error = (found - exact @ exact.T) / (length[:, None] * length)
    assert error.abs().max() < 4.5 * (2 / 256 / 25) ** 0.5


class Pushed(nn.Module):
    """A linear map and a factor, by which every 64th place of `push` has the same gradient."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.push = nn.Parameter(torch.zeros(64 * 32))

    def forward(self, given: Tensor) -> Tensor:
        return nn.functional.linear(given, self.weight) * (1 + self.push[::64].sum())


def test_gradients_of_one_sign_and_in_step_with_the_size_are_no_worse():
    """Places summed without random signs would be biased; in turn, all of these fall on one."""
    loaded = tiny_loaded()
    block = loaded.model.model.layers[1].mlp
    block.down_proj = Pushed(block.down_proj.weight)
    parameters, size, seeds = {"push": block.down_proj.push}, 64, 40
    groups = singles(encoder_for(loaded, 0), demonstrations=(0, 0))
    exact = parameter_twin(loaded, parameters, groups).double()
    assert (exact != 0).sum(1).tolist() == [32, 32]
    found = sketches(loaded, parameters, groups, size=size, seeds=seeds)
    length = exact.norm(dim=1)
    error = (found - exact @ exact.T) / (length[:, None] * length)
    bound = (2 / size) ** 0.5
    assert error.mean(0).abs().max() < 4.5 * bound / seeds**0.5
    assert error.pow(2).mean().sqrt() < 1.6 * bound


def test_one_seed_is_one_projection_in_every_call():
    loaded = tiny_loaded()
    groups = singles(encoder_for(loaded, 0))[:3]
    together = parameter_gradients(loaded.model, chosen(loaded), groups, size=128, seed=3)
    alone = [
        parameter_gradients(loaded.model, chosen(loaded), [group], size=128, seed=3)
        for group in groups
    ]
    check(torch.cat(alone), together)
    again = parameter_gradients(loaded.model, chosen(loaded), groups, size=128, seed=3)
    assert torch.equal(again, together)
    other = parameter_gradients(loaded.model, chosen(loaded), groups, size=128, seed=4)
    assert (other - together).norm() > 0.5 * together.norm()


def test_a_sketch_of_a_sum_is_the_sum_of_sketches():
    """With weight 2 less weight 1: the demonstrations' loss alone, in gradients and in sketches."""
    loaded = tiny_loaded()
    groups = singles(encoder_for(loaded, 0))[:2]

    def sketch(weight: float) -> Tensor:
        return parameter_gradients(
            loaded.model,
            chosen(loaded),
            groups,
            size=512,
            demonstration_answers=None,
            weight=weight,
        )

    check(sketch(2.0) - sketch(1.0), sketch(1.0) - sketch(0.0), rtol=5e-5)


def test_batches_are_bounded_by_tokens(monkeypatch):
    """Long items stand alone, short ones together, and the gradients are the same."""
    loaded = tiny_loaded("llama")
    encoder = encoder_for(loaded, 3)
    groups = groups_for(encoder, groups=3, targets=4, demonstrations=1)
    prompt = embedded(loaded.model, [5, 6, 7])
    whole = soft_prompt_gradients(loaded.model, prompt, groups)
    seen = []
    own = gradients.ItemLoss.packed

    def packed(self, given):
        batch, answers = own(self, given)
        seen.append(tuple(batch.ids.shape))
        return batch, answers

    monkeypatch.setattr(gradients.ItemLoss, "packed", packed)
    monkeypatch.setattr(gradients, "TOKENS", 150)
    bounded = soft_prompt_gradients(loaded.model, prompt, groups)
    assert torch.allclose(whole, bounded, atol=1e-6)
    assert sum(rows for rows, _ in seen) == 12
    assert all(rows == 1 or rows * width <= 150 for rows, width in seen)
    assert len({rows for rows, _ in seen}) > 1
    monkeypatch.setattr(gradients, "TOKENS", 1)
    seen.clear()
    soft_prompt_gradients(loaded.model, prompt, groups)
    assert [rows for rows, _ in seen] == [1] * 12
