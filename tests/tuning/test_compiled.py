"""A compiled prefix in the sequence: the numbers of prompt and demonstrations themselves."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma4TextConfig

from conftest import ARCHITECTURES, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for, snapshot
from isogloss.errors import ConfigError, ModelError
from isogloss.model.answer import token_log_probabilities
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import compiled_front, front_cache
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.key_values import peft_misfit
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds, Weights

IDS = StartIds(tuple(range(300, 500)))


@pytest.fixture(params=ARCHITECTURES)
def loaded(request) -> Loaded:
    return tiny_loaded(request.param, sentencepiece_tokenizer())


def made(loaded: Loaded) -> tuple[EncodedGroup, torch.Tensor, Compiled, Weights]:
    """A group, its options' log-probabilities the long way, and its front compiled."""
    soft = SoftPrompt(5)
    prompt = soft.start(loaded.model, IDS, seed=1)
    (group,) = groups_for(encoder_for(loaded, 5), groups=1)
    ids = group.demonstrations.ids
    tune = Compiled(len(ids), 2)
    with torch.no_grad(), soft.attached(loaded.model, prompt):
        weights = tune.read(loaded.model, ids)
        wanted = token_log_probabilities(loaded.model, pack([group], options=True)[0])
    return group, wanted, tune, weights


def compiled_group(loaded: Loaded, tune: Compiled, group: EncodedGroup) -> EncodedGroup:
    encoder = dataclasses.replace(encoder_for(loaded, tune.length), solved=2)
    front = encoder.demonstration_set(())
    assert len(front.ids) == tune.length, "no second begin token"
    return EncodedGroup(front, group.targets)


@pytest.mark.parametrize("layout", ["tree", "packed", "rows"])
def test_in_the_sequence_it_is_what_it_was_made_from(loaded, layout):
    group, wanted, tune, weights = made(loaded)
    own = compiled_group(loaded, tune, group)
    with torch.no_grad(), tune.attached(loaded.model, weights):
        batch, _ = pack([own], options=True, layout=layout)
        found = token_log_probabilities(loaded.model, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_its_cache_is_computed_once(loaded):
    group, wanted, tune, weights = made(loaded)
    own = compiled_group(loaded, tune, group)
    passes = []
    hook = loaded.model.register_forward_pre_hook(
        lambda _, __, given: passes.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    with torch.no_grad(), tune.attached(loaded.model, weights):
        batch, _ = pack([own.behind(tune.length)], options=True)
        for _ in range(2):
            front = compiled_front(loaded.model, own.demonstrations.ids)
            found = token_log_probabilities(loaded.model, batch, front)
        longer = front_cache(loaded.model, (*own.demonstrations.ids, 300, 301))
    hook.remove()
    width = batch.ids.shape[1]
    assert passes == [tune.length, width, width, 2]
    assert longer.get_seq_length() == tune.length + 2
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_nothing_learns_and_all_is_undone(loaded):
    _, _, tune, weights = made(loaded)
    before = snapshot(loaded)
    with tune.attached(loaded.model, weights):
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
        tune.front(weights, loaded.model)
    assert snapshot(loaded) == before
    with pytest.raises(ConfigError, match="give the run that it was compiled from"):
        tune.start(loaded.model, IDS, seed=1)


def test_saved_and_loaded(loaded, tmp_path):
    _, _, tune, weights = made(loaded)
    tune.save(weights, tmp_path, loaded.model)
    again = tune.load(tmp_path, loaded.model)
    assert (
        again.keys() == weights.keys() == {f"{w}.{n}" for w in ("keys", "values") for n in range(3)}
    )
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    other = dataclasses.replace(tune, length=tune.length - 1)
    with pytest.raises(
        ModelError, match=r"found keys\.0 of shape .* expected .* made with another"
    ):
        other.load(tmp_path, loaded.model)
    path = tmp_path / "prefix.safetensors"
    tensors = load_file(path)
    save_file({name: each for name, each in tensors.items() if name != "values.2"}, path)
    with pytest.raises(ModelError, match=r"found values\.2 of shape none; expected"):
        tune.load(tmp_path, loaded.model)
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="found a damaged file"):
        tune.load(tmp_path, loaded.model)


def uneven() -> Loaded:
    """Gemma 4: layers with a window have keys of another width than those without."""
    tokenizer = sentencepiece_tokenizer()
    config = Gemma4TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        global_head_dim=16,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention"],
        hidden_size_per_layer_input=0,
        max_position_embeddings=2048,
        initializer_range=0.2,
    )
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return Loaded("tiny-gemma4", model, tokenizer, "0" * 64)


def test_layers_of_several_shapes_are_kept_in_our_own_file_alone(tmp_path):
    loaded = uneven()
    group, wanted, tune, weights = made(loaded)
    tune.save(weights, tmp_path, loaded.model)
    assert [path.name for path in tmp_path.iterdir()] == ["prefix.safetensors"]
    again = tune.load(tmp_path, loaded.model)
    assert {tuple(each.shape) for each in again.values()} == {(tune.length, 16), (tune.length, 32)}
    misfit = peft_misfit(tune.front(again, loaded.model))
    assert misfit == (
        "its layers' keys and values are of several shapes (heads x width: 2 x 8, 2 x 16)"
    )
    own = compiled_group(loaded, tune, group)
    with torch.no_grad(), tune.attached(loaded.model, again):
        front = compiled_front(loaded.model, own.demonstrations.ids)
        batch, _ = pack([own.behind(tune.length)], options=True)
        found = token_log_probabilities(loaded.model, batch, front)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
