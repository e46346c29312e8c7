"""The attention of late positions, against plain eager attention over whole sequences."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conftest import tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.alignment.attention import eager_attention, late_attention
from isogloss.errors import ModelError
from isogloss.model.prompt import embedded, prompted


def sequences_of(loaded, prompt_length: int) -> list[list[int]]:
    """Sequences of several lengths, all longer than the tiny Gemma's window of 24 tokens."""
    made = []
    for group in groups_for(encoder_for(loaded, prompt_length)):
        made += [[*group.demonstrations.ids, *each.ids, *each.answer] for each in group.targets]
    made.append(made[0][: len(made[0]) // 2])
    assert len({len(ids) for ids in made}) > 3
    assert min(len(ids) for ids in made) > 24
    return made


def plain(model, vectors: torch.Tensor, late: int) -> torch.Tensor:
    """One unpadded sequence: the last rows of all attentions, the mean over layers and heads."""
    given = model(inputs_embeds=vectors[None], output_attentions=True).attentions
    return torch.stack([layer[0, :, -late:].mean(dim=0) for layer in given]).mean(dim=0)


@pytest.mark.parametrize("prompt_length", [0, 4])
def test_as_plain_eager_attention(loaded, prompt_length):
    prompt = embedded(loaded.model, [5, 6, 7, 8][:prompt_length] or [5])
    sequences = sequences_of(loaded, prompt_length)
    late = [1, 3, 2, 5, 1, 4, 2]
    with prompted(loaded.model, torch.nn.Parameter(prompt)):
        found = late_attention(loaded.model, sequences, late)
    table = loaded.model.get_input_embeddings()
    loaded.model.set_attn_implementation("eager")
    for ids, count, weights in zip(sequences, late, found, strict=True):
        text = table(torch.tensor(ids[prompt_length:]))
        vectors = torch.cat([prompt[:prompt_length], text])
        with torch.no_grad():
            wanted = plain(loaded.model, vectors, count)
        assert weights.shape == (count, len(ids))
        assert torch.allclose(weights, wanted, atol=1e-5)


def test_neighbours_change_nothing(loaded):
    sequences = sequences_of(loaded, 0)
    together = late_attention(loaded.model, sequences, [2] * len(sequences))
    for ids, weights in zip(sequences, together, strict=True):
        (alone,) = late_attention(loaded.model, [ids], [2])
        assert torch.allclose(alone, weights, atol=1e-5)
        assert torch.allclose(weights.sum(dim=1), torch.ones(2), atol=1e-5)


def test_no_later_position_is_seen():
    loaded = tiny_loaded("llama")
    (weights,) = late_attention(loaded.model, [list(range(3, 40))], [4])
    assert torch.equal(weights.triu(diagonal=37 - 4 + 1), torch.zeros(4, 37))


class Largest(TorchDispatchMode):
    """The most numbers that a tensor made inside ever had."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return made


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_memory_is_linear_in_the_length(architecture):
    """Twice the length, no more than about twice the numbers in any eager tensor.

    The model's own kernel is given a boolean mask of tokens x tokens by transformers; none of the
    heads or layers is in it. What eager attention would hold is heads x tokens x tokens.
    """
    loaded = tiny_loaded(architecture)
    heads = loaded.model.config.num_attention_heads
    for tokens in (400, 800):
        ids = [3 + number % 300 for number in range(tokens)]
        with Largest() as largest:
            late_attention(loaded.model, [ids], [2])
        assert largest.numbers <= tokens * tokens
        assert largest.numbers < heads * tokens * tokens / 2


def test_the_kernel_comes_back(monkeypatch):
    loaded = tiny_loaded("llama")
    assert loaded.model.config._attn_implementation == "sdpa"

    def breaking():
        with eager_attention(loaded.model):
            assert loaded.model.config._attn_implementation == "eager"
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        breaking()
    assert loaded.model.config._attn_implementation == "sdpa"


def test_a_model_without_eager_attention(monkeypatch):
    loaded = tiny_loaded("llama")

    def refuse(name):
        if name == "eager":
            raise ValueError("no eager attention here\nand more")
        loaded.model.config._attn_implementation = name

    monkeypatch.setattr(loaded.model, "set_attn_implementation", refuse)
    with pytest.raises(ModelError, match=r"eager attention, which a llama model does not have"):
        late_attention(loaded.model, [[3, 4, 5, 6]], [1])


def test_a_model_that_keeps_its_attention_back(monkeypatch):
    loaded = tiny_loaded("llama")
    decoder = loaded.model.get_decoder()
    own = decoder.forward

    def forward(*args, **kwargs):
        found = own(*args, **kwargs)
        return dataclasses.replace(found, attentions=None)

    monkeypatch.setattr(decoder, "forward", forward)
    with pytest.raises(ModelError, match="gives no weights"):
        late_attention(loaded.model, [[3, 4, 5, 6]], [1])
    assert loaded.model.config._attn_implementation == "sdpa"
