"""Full-parameter tuning: what learns, that the base comes back, and that transformers reads it."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from conftest import tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.errors import ConfigError, ModelError
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import token_log_probabilities
from isogloss.model.load import Loaded
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.full import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE, FullParameters
from isogloss.tuning.tuning import StartIds, Weights

IDS = StartIds((1, 2, 3))
TEXT = torch.tensor([list(range(20, 60))])
TUNE = FullParameters()


def moved(loaded: Loaded, *, seed: int = 3) -> Weights:
    """Weights that differ from the base's in every number."""
    weights = TUNE.start(loaded.model, IDS, seed=seed)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in weights.values():
            parameter.add_(0.01 + 0.01 * torch.rand(parameter.shape, generator=source))
    return weights


def state(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def is_as(loaded: Loaded, before: dict[str, torch.Tensor]) -> bool:
    now = loaded.model.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[n], before[n]) for n in before)


def plain_groups(loaded: Loaded) -> list[EncodedGroup]:
    return groups_for(encoder_for(loaded, 0), demonstrations=0)


def batch_loss(model, groups: list[EncodedGroup]) -> torch.Tensor:
    batch, answers = pack(groups, demonstration_answers=())
    marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
    return answer_loss(token_log_probabilities(model, batch), batch, marks, 1.0)


def slow_loss(model, groups: list[EncodedGroup]) -> torch.Tensor:
    """The obvious way: one unpadded sequence a target, transformers' own loss on its answer."""
    total = torch.zeros(())
    for group in groups:
        for target in group.targets:
            before = [*group.demonstrations.ids, *target.ids]
            ids = torch.tensor([[*before, *target.answer]])
            labels = ids.clone()
            labels[0, : len(before)] = -100
            total = total + model(input_ids=ids, labels=labels).loss
    return total


def test_loss_and_every_gradient_are_those_of_plain_transformers(loaded, tmp_path):
    weights, groups = moved(loaded), plain_groups(loaded)
    TUNE.save(weights, tmp_path, loaded.model)
    with TUNE.attached(loaded.model, weights):
        loss = batch_loss(loaded.model, groups)
        loss.backward()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    wanted = slow_loss(plain, groups)
    wanted.backward()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
    theirs = dict(plain.named_parameters())
    assert set(weights) == set(theirs)
    for name, parameter in weights.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        near = 1e-5 * float(theirs[name].grad.abs().max())
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=near)


def test_the_start_is_the_model_itself_and_a_copy(loaded):
    weights = TUNE.start(loaded.model, IDS, seed=1)
    own = dict(loaded.model.named_parameters())
    assert list(weights) == list(own)
    for name, parameter in weights.items():
        assert torch.equal(parameter, own[name])
        assert parameter.data_ptr() != own[name].data_ptr()
        assert parameter.dtype == own[name].dtype


def test_the_base_comes_back_bit_for_bit(loaded):
    before, own = state(loaded), dict(loaded.model.named_parameters())
    weights = moved(loaded)
    with torch.no_grad():
        first = loaded.model(TEXT).logits
        with TUNE.attached(loaded.model, weights):
            assert not torch.allclose(loaded.model(TEXT).logits, first, atol=1e-3)
            for parameter in loaded.model.parameters():
                parameter.mul_(2.0)
        assert torch.equal(loaded.model(TEXT).logits, first)
    assert is_as(loaded, before)
    assert all(p is own[name] for name, p in loaded.model.named_parameters())
    assert all(p.requires_grad for p in own.values())
    assert all(p.grad is None for p in own.values())


def test_the_base_comes_back_after_an_exception(loaded):
    before, weights = state(loaded), moved(loaded)
    with (
        pytest.raises(RuntimeError, match="boolean|dtype|type"),
        TUNE.attached(loaded.model, weights),
    ):
        loaded.model(input_ids=TEXT.float())
    assert is_as(loaded, before)
    with TUNE.attached(loaded.model, weights), TUNE.attached(loaded.model, weights):
        pass
    assert is_as(loaded, before)


def test_what_is_frozen_stays_frozen(loaded):
    frozen = "model.norm.weight"
    loaded.model.get_parameter(frozen).requires_grad_(False)
    weights = TUNE.start(loaded.model, IDS, seed=1)
    assert frozen not in weights
    with TUNE.attached(loaded.model, weights):
        learning = {n for n, p in loaded.model.named_parameters() if p.requires_grad}
        assert learning == set(weights)
    asked = {n for n, p in loaded.model.named_parameters() if not p.requires_grad}
    assert asked == {frozen}


def test_only_the_given_weights_learn(loaded):
    chosen = "model.norm.weight"
    weights = {chosen: TUNE.start(loaded.model, IDS, seed=1)[chosen]}
    with TUNE.attached(loaded.model, weights):
        assert [n for n, p in loaded.model.named_parameters() if p.requires_grad] == [chosen]
    assert all(p.requires_grad for p in loaded.model.parameters())


def test_plain_transformers_loads_what_was_saved(loaded, tmp_path):
    before, weights = state(loaded), moved(loaded)
    TUNE.save(weights, tmp_path, loaded.model)
    assert is_as(loaded, before), "saving changes nothing"
    with torch.no_grad(), TUNE.attached(loaded.model, weights):
        own = loaded.model(TEXT).logits
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path)(TEXT).logits
    assert torch.equal(own, theirs)
    again = TUNE.load(tmp_path, loaded.model)
    assert list(again) == list(weights)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert is_as(loaded, before)


def test_several_files_are_read(tmp_path, monkeypatch):
    loaded = tiny_loaded("qwen3")
    weights = moved(loaded)
    plain = type(loaded.model).save_pretrained
    monkeypatch.setattr(
        type(loaded.model),
        "save_pretrained",
        lambda m, f, **more: plain(m, f, max_shard_size="20KB", **more),
    )
    TUNE.save(weights, tmp_path, loaded.model)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert (tmp_path / INDEX_FILE).is_file()
    again = TUNE.load(tmp_path, loaded.model)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    shards[0].unlink()
    with pytest.raises(ModelError, match="found damaged files of a model"):
        TUNE.load(tmp_path, loaded.model)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_tied_parameter_is_one(architecture, tmp_path):
    loaded = tiny_loaded(architecture)
    model = loaded.model
    assert model.config.tie_word_embeddings
    weights = moved(loaded)
    assert not [name for name in weights if name.startswith("lm_head")]
    with TUNE.attached(model, weights):
        table = weights["model.embed_tokens.weight"]
        assert model.get_input_embeddings().weight is table
        assert model.get_output_embeddings().weight is table
    TUNE.save(weights, tmp_path, model)
    saved = load_file(tmp_path / WEIGHTS_FILE)
    assert set(saved) == set(weights), "the table is in the file once"
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight is again.get_output_embeddings().weight
    with TUNE.attached(model, TUNE.load(tmp_path, model)):
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_the_format_is_that_of_the_model(tmp_path):
    loaded = tiny_loaded()
    loaded.model.bfloat16()
    weights = moved(loaded)
    assert {parameter.dtype for parameter in weights.values()} == {torch.bfloat16}
    TUNE.save(weights, tmp_path, loaded.model)
    assert {value.dtype for value in load_file(tmp_path / WEIGHTS_FILE).values()} == {
        torch.bfloat16
    }
    again = TUNE.load(tmp_path, loaded.model)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    wide = TUNE.load(tmp_path, tiny_loaded().model)
    assert {parameter.dtype for parameter in wide.values()} == {torch.float32}


def test_bfloat16_rounds_small_updates_away():
    """At the paper's learning rate nearly every weight of a bfloat16 model stays as it is."""
    torch.manual_seed(1)
    values = 0.02 * torch.randn(20_000)
    changed = {}
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.nn.Parameter(values.to(dtype))
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        torch.optim.AdamW([weight], lr=2e-6, weight_decay=0.0).step()
        changed[dtype] = float((weight != before).float().mean())
    assert changed[torch.float32] > 0.99
    assert changed[torch.bfloat16] < 0.1


def test_damaged_folders_are_refused(tmp_path):
    loaded = tiny_loaded()
    with pytest.raises(ModelError, match=f"no such file.*{CONFIG_FILE}"):
        TUNE.load(tmp_path, loaded.model)
    TUNE.save(moved(loaded), tmp_path, loaded.model)
    whole = load_file(tmp_path / WEIGHTS_FILE)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=f"no such file.*{WEIGHTS_FILE}"):
        TUNE.load(tmp_path, loaded.model)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"not safetensors at all")
    with pytest.raises(ModelError, match=r"found damaged files .*; expected config.json and"):
        TUNE.load(tmp_path, loaded.model)
    without = {name: value for name, value in whole.items() if name != "model.norm.weight"}
    save_file(without, tmp_path / WEIGHTS_FILE, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"found no model\.norm\.weight; expected every"):
        TUNE.load(tmp_path, loaded.model)
    cut = whole | {"model.norm.weight": torch.zeros(16)}
    save_file(cut, tmp_path / WEIGHTS_FILE, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="found damaged files"):
        TUNE.load(tmp_path, loaded.model)
    save_file(whole, tmp_path / WEIGHTS_FILE, metadata={"format": "pt"})
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(ModelError, match="found damaged files"):
        TUNE.load(tmp_path, loaded.model)


def test_another_models_parameters_are_refused(tmp_path):
    loaded = tiny_loaded()
    TUNE.save(moved(loaded), tmp_path, loaded.model)
    path = tmp_path / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 24}))
    weights = load_file(tmp_path / WEIGHTS_FILE)
    for name in list(weights):
        if "gate_proj" in name or "up_proj" in name:
            weights[name] = weights[name][:24].clone()
        elif "down_proj" in name:
            weights[name] = weights[name][:, :24].clone()
    save_file(weights, tmp_path / WEIGHTS_FILE, metadata={"format": "pt"})
    said = r"found .*gate_proj.* of shape \(24, 32\); expected \(48, 32\).*another one"
    with pytest.raises(ModelError, match=said):
        TUNE.load(tmp_path, loaded.model)


def test_a_quantised_model_is_refused():
    loaded = tiny_loaded()
    loaded.model.is_quantized = True
    with pytest.raises(ConfigError, match="quantised"):
        TUNE.start(loaded.model, IDS, seed=1)
