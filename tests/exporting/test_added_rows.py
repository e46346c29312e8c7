"""Rows in embedding and head, on models in memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conftest import tiny_loaded
from isogloss.errors import ModelError
from isogloss.exporting.rows import add_rows, embedding_scale
from isogloss.model.prompt import embedded

IDS = torch.tensor([[5, 6, 7, 300]])


@pytest.mark.parametrize(("architecture", "scale"), [("llama", 1.0), ("gemma3", 32**0.5)])
def test_the_embeddings_factor_is_found(architecture, scale):
    model = tiny_loaded(architecture).model
    assert embedding_scale(model) == pytest.approx(scale, rel=1e-7)
    assert embedding_scale(model.to(torch.bfloat16)) == pytest.approx(scale, rel=1e-2)


class Normed(nn.Embedding):
    """An embedding that a row of the table cannot stand for: its output has a length of its own."""

    def forward(self, ids):
        return nn.functional.layer_norm(super().forward(ids), (32,))


def test_an_embedding_that_does_more_is_refused():
    model = tiny_loaded("llama").model
    model.set_input_embeddings(Normed(420, 32))
    with pytest.raises(ModelError, match="does more than look its table up"):
        add_rows(model, torch.randn(2, 32), [420, 421], untie=False)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
def test_added_ids_give_the_vectors_and_ordinary_logits_stay(architecture):
    model = tiny_loaded(architecture).model
    before, vectors = model(IDS).logits, 20 * torch.randn(3, 32)
    state = torch.get_rng_state()
    grown = add_rows(model, vectors, [420, 421, 422], untie=False)
    assert torch.equal(torch.get_rng_state(), state), "no global random number was used"
    torch.testing.assert_close(embedded(model, [420, 421, 422]), vectors)
    assert torch.equal(model(IDS).logits[..., :420], before)
    assert model.config.vocab_size == 423
    assert (grown.spare, grown.unused, grown.tied) == (0, (), architecture != "qwen2")
    assert grown.rounding < 1e-6


def test_rows_between_table_and_tokens_are_empty_and_named():
    """A tokenizer may know more tokens than the model has rows, as Gemma 3's text models do."""
    for architecture, empty in (("llama", 0.0), ("qwen2", None)):
        model = tiny_loaded(architecture).model
        grown = add_rows(model, torch.randn(2, 32), [422, 423], untie=False)
        assert grown.unused == (420, 421)
        assert embedded(model, [420, 421]).abs().max() == 0
        logits = model(IDS).logits
        wanted = logits[..., :420].mean(-1) if empty is None else torch.zeros(1, 4)
        for one in (420, 421):
            torch.testing.assert_close(logits[..., one], wanted, rtol=1e-4, atol=1e-4)


def test_rows_that_stood_idle_are_taken_first():
    model = tiny_loaded("qwen2").model
    before, vectors = model(IDS).logits, torch.randn(3, 32)
    grown = add_rows(model, vectors, [418, 419, 420], untie=False)
    assert (grown.spare, model.config.vocab_size) == (2, 421)
    assert torch.equal(model(IDS).logits[..., :418], before[..., :418])
    torch.testing.assert_close(embedded(model, [418, 419, 420]), vectors)
    mean = before[..., :418].mean(-1)
    torch.testing.assert_close(model(IDS).logits[..., 418], mean, rtol=1e-4, atol=1e-4)


def test_a_head_with_a_bias_gets_the_mean_bias():
    model = tiny_loaded("qwen2").model
    head = model.get_output_embeddings()
    head.bias = nn.Parameter(torch.randn(420))
    add_rows(model, torch.randn(2, 32), [420, 421], untie=False)
    logits = model(IDS).logits
    mean = logits[..., :420].mean(-1)
    torch.testing.assert_close(logits[..., 421], mean, rtol=1e-4, atol=1e-4)


def test_bfloat16_rounds_and_says_by_how_much():
    model = tiny_loaded("gemma3").model.to(torch.bfloat16)
    vectors = torch.randn(4, 32)
    grown = add_rows(model, vectors, [420, 421, 422, 423], untie=False)
    distance = (embedded(model, [420, 421, 422, 423]) - vectors).norm(dim=1) / vectors.norm(dim=1)
    assert grown.rounding == pytest.approx(float(distance.max()))
    assert 1e-4 < grown.rounding < 2**-7


def test_an_untied_head_computes_what_the_tied_one_did():
    model = tiny_loaded("gemma3").model
    before = model(IDS).logits
    grown = add_rows(model, 30 * torch.randn(3, 32), [420, 421, 422], untie=True)
    after = model(IDS).logits
    assert torch.equal(after[..., :420], before)
    assert not grown.tied
    assert model.config.tie_word_embeddings is False
    torch.testing.assert_close(after[..., 421], before.mean(-1), rtol=1e-4, atol=1e-4)
