"""The last block at the read columns alone gives the same answers and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig

from conftest import ARCHITECTURES, byte_level_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.model import last_block
from isogloss.model.answer import token_log_probabilities
from isogloss.model.layers import blocks
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import front_cache
from isogloss.packing import pack

LAYOUTS = ("tree", "packed", "rows")


class Counted:
    """How many columns the last block's output product and gated layer are given, pass by pass."""

    def __init__(self, model):
        self.model, self.columns = model, []

    def __enter__(self):
        last = blocks(self.model)[-1]
        self.own = [(module, module.forward) for module in (last.self_attn.o_proj, last.mlp)]
        for module, forward in self.own:
            module.forward = self.counting(forward)
        return self.columns

    def counting(self, forward):
        def counted(hidden):
            self.columns.append(hidden.shape[1])
            return forward(hidden)

        return counted

    def __exit__(self, *_):
        for module, _ in self.own:
            del module.forward


def values_and_gradients(model, batch, front=None):
    """With those of all parameters, the last block's among them."""
    model.zero_grad()
    values = token_log_probabilities(model, batch, front)
    if front is None:
        (values * torch.linspace(0.5, 2, len(values))).sum().backward()
    return values.detach(), {
        name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None
    }


def groups_of(loaded, **options):
    return groups_for(encoder_for(loaded, prompt_length=0), **options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_those_of_all_columns(architecture, layout, monkeypatch):
    loaded = tiny_loaded(architecture)
    batch, _ = pack(groups_of(loaded), layout=layout, options=True)
    columns, tokens = len(batch.column.unique()), batch.ids.shape[1]
    assert columns < tokens / 2
    with Counted(loaded.model) as asked:
        found = values_and_gradients(loaded.model, batch)
        assert asked == [columns] * 2
        monkeypatch.setattr(last_block, "LEAST", 1)
        wanted = values_and_gradients(loaded.model, batch)
        assert asked[2:] == [tokens] * 2
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-6)
    assert set(found[1]) == set(wanted[1]) == set(dict(loaded.model.named_parameters()))
    for name, gradient in wanted[1].items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5 * largest)
    assert largest > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_behind_a_kept_front_too(architecture, monkeypatch):
    loaded = tiny_loaded(architecture)
    (group,) = groups_of(loaded, groups=1)
    front = group.demonstrations.ids
    batch, _ = pack([group.behind(len(front))], options=True)
    with torch.no_grad(), Counted(loaded.model) as asked:
        found, _ = values_and_gradients(loaded.model, batch, front_cache(loaded.model, front))
        assert asked[-2:] == [len(batch.column.unique())] * 2
        monkeypatch.setattr(last_block, "LEAST", 1)
        wanted, _ = values_and_gradients(loaded.model, batch, front_cache(loaded.model, front))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_where_most_columns_are_read_all_are_made():
    loaded = tiny_loaded()
    batch, _ = pack(groups_of(loaded))
    few = torch.arange(batch.ids.shape[1] // 2 + 1)
    with Counted(loaded.model) as asked, last_block.only_read(loaded.model, few, len(few) * 2 - 1):
        loaded.model(batch.ids, use_cache=False)
    assert asked == [batch.ids.shape[1]] * 2


def test_activations_that_are_made_anew_are_those_of_all_columns():
    """The backward pass is outside, and would compute other ones."""
    loaded = tiny_loaded()
    batch, _ = pack(groups_of(loaded), options=True)
    wanted = values_and_gradients(loaded.model, batch)
    loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    loaded.model.train()
    found = values_and_gradients(loaded.model, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_model_is_left_as_it_was_after_an_error():
    model = tiny_loaded().model
    with pytest.raises(KeyError), last_block.only_read(model, torch.tensor([3]), 10):
        raise KeyError
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


def test_experts_and_other_blocks_go_on_as_before(monkeypatch):
    """Mixtral's gated layers are experts."""
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(1)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=2,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    loaded = Loaded("tiny-mixtral", model, tokenizer, "0" * 64)
    batch, _ = pack(groups_of(loaded), options=True)
    assert not last_block._behind_attention(model)
    found = values_and_gradients(model, batch)[0]
    monkeypatch.setattr(last_block, "LEAST", 1)
    torch.testing.assert_close(found, values_and_gradients(model, batch)[0])
    llama = tiny_loaded().model
    assert len(last_block._behind_attention(llama)) == 2
    blocks(llama)[-1].mlp = nn.Identity()
    assert not last_block._behind_attention(llama)
