"""A tree's attention in two parts is that with one mask, in values and gradients."""

from __future__ import annotations

import pytest
import torch

from conftest import ARCHITECTURES, tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.methods.losses import answer_loss
from isogloss.model import tree_attention
from isogloss.model.answer import token_log_probabilities
from isogloss.model.tree_attention import TREE, trunks_apart
from isogloss.packing import pack
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds

PROMPT = SoftPrompt(5)
IDS = StartIds(tuple(range(10, 200)))


def loss_and_gradient(model, prompt, batch, answers):
    marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
    loss = answer_loss(token_log_probabilities(model, batch), batch, marks, 0.5)
    return loss.detach(), torch.autograd.grad(loss, prompt)[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("groups", "apart"), [(1, False), (1, True), (3, True)])
def test_it_gives_the_loss_and_gradient_of_one_mask(architecture, groups, apart, monkeypatch):
    """With trunks beyond Gemma's window of 24, and rows of other lengths than the trunk."""
    loaded = tiny_loaded(architecture)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    made = groups_for(encoder_for(loaded), groups=groups, targets=3)
    batch, answers = pack(made, demonstration_answers=None)
    trunk, *ends = batch.parts.tolist()
    assert trunk > 24
    assert len(ends) == (3 if groups == 1 else 1)
    monkeypatch.setattr(tree_attention, "WORTHWHILE", 0 if apart else 2**14)
    asked = []
    own = tree_attention._sdpa

    def noted(module, query, *rest, **named):
        asked.append(query.shape[2])
        return own(module, query, *rest, **named)

    with PROMPT.attached(loaded.model, weights):
        wanted = loss_and_gradient(loaded.model, weights[KEY], batch, answers)
        monkeypatch.setattr(tree_attention, "_sdpa", noted)
        with trunks_apart(loaded.model):
            assert loaded.model.config._attn_implementation == TREE
            loss, gradient = loss_and_gradient(loaded.model, weights[KEY], batch, answers)
    ends = ends if apart else ends[-1:]
    parts = [trunk, *(end - start for start, end in zip((trunk, *ends), ends, strict=False))]
    assert asked == parts * loaded.model.config.num_hidden_layers
    torch.testing.assert_close(loss, wanted[0], rtol=1e-6, atol=0)
    largest = float(wanted[1].abs().max())
    torch.testing.assert_close(gradient, wanted[1], rtol=1e-4, atol=1e-5 * largest)
    assert loaded.model.config._attn_implementation == "sdpa"


def test_other_kernels_and_plain_sequences_are_left_alone():
    eager = tiny_loaded("llama", attention="eager")
    with trunks_apart(eager.model):
        assert eager.model.config._attn_implementation == "eager"
    loaded = tiny_loaded("llama")
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        wanted = loaded.model(input_ids=ids, attention_mask=mask).logits
        with trunks_apart(loaded.model):
            found = loaded.model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()])


def test_the_kernel_is_put_back_after_an_error():
    loaded = tiny_loaded("gemma3")
    with pytest.raises(KeyError), trunks_apart(loaded.model):
        raise KeyError
    assert loaded.model.config._attn_implementation == "sdpa"
