"""LoRA, DoRA and prefixes on every architecture: as in plain PEFT, and the base comes back."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from conftest import sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.errors import ConfigError, ModelError
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import generate, token_log_probabilities
from isogloss.model.load import Loaded
from isogloss.model.prompt import vocabulary_rows
from isogloss.packing import pack
from isogloss.tuning.lora import Lora
from isogloss.tuning.prefix import Prefix
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds, Tuning, Weights

IDS = StartIds(tuple(range(10, 200)))
TEXT = torch.arange(20, 60)[None]  # longer than Gemma's window of 24
TUNINGS = {"lora": Lora(), "dora": Lora(dora=True), "prefix": Prefix(5)}


@pytest.fixture(params=TUNINGS)
def tune(request) -> Tuning:
    return TUNINGS[request.param]


def moved(tune: Tuning, loaded: Loaded) -> Weights:
    """Weights that are far from what they start as."""
    weights = tune.start(loaded.model, IDS, seed=3)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in weights.values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source))
    return weights


def logits(tune: Tuning, loaded: Loaded, weights: Weights) -> torch.Tensor:
    first = vocabulary_rows(loaded.model)
    own = torch.arange(first, first + tune.prompt_length)[None]
    with torch.no_grad(), tune.attached(loaded.model, weights):
        return loaded.model(torch.cat([own, TEXT], dim=1)).logits[:, tune.prompt_length :]


def shape_of(model) -> tuple:
    modules = [(name, type(module)) for name, module in model.named_modules()]
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    return modules, learning, set(vars(model)), model.training


def test_plain_peft_gives_the_same_logits(tune, loaded, tmp_path):
    weights = moved(tune, loaded)
    found = logits(tune, loaded, weights)
    tune.save(weights, tmp_path, loaded.model)
    plain = PeftModel.from_pretrained(copy.deepcopy(loaded.model), tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(found, plain(TEXT).logits, rtol=1e-4, atol=1e-4)
        assert (found - loaded.model(TEXT).logits).abs().max() > 0.1


def test_the_base_is_as_it_was(tune, loaded):
    shape, state = shape_of(loaded.model), copy.deepcopy(loaded.model.state_dict())
    weights = moved(tune, loaded)
    logits(tune, loaded, weights)
    assert shape_of(loaded.model) == shape
    now = loaded.model.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[name], state[name]) for name in state)


def test_low_rank_updates_change_nothing_at_the_start(loaded):
    for dora in (False, True):
        tune = Lora(dora=dora)
        found = logits(tune, loaded, tune.start(loaded.model, IDS, seed=1))
        with torch.no_grad():
            torch.testing.assert_close(found, loaded.model(TEXT).logits, rtol=1e-4, atol=1e-4)


def test_a_prefix_starts_as_real_tokens(loaded):
    """The tokens it was taken from, in front of the text, do the same."""
    tune = Prefix(3)
    weights = tune.start(loaded.model, StartIds((11, 12, 13)), seed=1)
    found, wanted = logits(tune, loaded, weights), []
    for order in (
        (11, 12, 13),
        (11, 13, 12),
        (12, 11, 13),
        (12, 13, 11),
        (13, 11, 12),
        (13, 12, 11),
    ):
        with torch.no_grad():
            both = loaded.model(torch.cat([torch.tensor([order]), TEXT], dim=1)).logits
        wanted.append(float((both[:, 3:] - found).abs().max()))
    assert min(wanted) < 1e-3
    assert sorted(wanted)[1] > 1e-2


def test_the_seed_decides_the_start(tune, loaded):
    one, same, other = (tune.start(loaded.model, IDS, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(p.dtype == torch.float32 for p in one.values())


def test_layouts_give_the_same_loss_and_gradient(tune, loaded):
    weights = moved(tune, loaded)
    groups = groups_for(encoder_for(loaded, tune.prompt_length))

    def loss_and_gradient(layout):
        with tune.attached(loaded.model, weights):
            batch, answers = pack(groups, layout=layout, demonstration_answers=None)
            marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
            loss = answer_loss(token_log_probabilities(loaded.model, batch), batch, marks, 0.5)
            return loss.detach(), torch.autograd.grad(loss, list(weights.values()))

    wanted, gradients = loss_and_gradient("rows")
    for layout in ("tree", "packed"):
        loss, found = loss_and_gradient(layout)
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
        for one, other in zip(found, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * other.abs().max())


def test_cached_generation_equals_whole_passes(tune, loaded):
    weights = moved(tune, loaded)
    encoder = encoder_for(loaded, tune.prompt_length)
    prompts = [g.demonstrations.ids + t.ids for g in groups_for(encoder) for t in g.targets[:2]]
    with torch.no_grad(), tune.attached(loaded.model, weights):
        written = generate(
            loaded.model, loaded.tokenizer, prompts, max_new_tokens=5, end=encoder.end
        )
        for prompt, tokens in zip(prompts, written, strict=True):
            after = loaded.model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
            chosen = after.gather(1, torch.tensor(tokens)[:, None])[:, 0]
            assert (after.max(dim=1).values - chosen).max() < 1e-3


def test_gradient_checkpointing_changes_nothing(tune, loaded):
    weights = moved(tune, loaded)
    batch, _ = pack(groups_for(encoder_for(loaded, tune.prompt_length)))

    def gradients():
        with tune.attached(loaded.model, weights):
            loss = -token_log_probabilities(loaded.model, batch).mean()
            return torch.autograd.grad(loss, list(weights.values()))

    plain = gradients()
    loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    if isinstance(tune, Prefix):  # no dropout, so training mode is the same computation
        loaded.model.train()
    torch.testing.assert_close(gradients(), plain)


def test_dropout_is_for_training_only(loaded):
    tune = Lora(dropout=0.5)
    weights = moved(tune, loaded)
    assert torch.equal(logits(tune, loaded, weights), logits(tune, loaded, weights))
    loaded.model.train()
    assert not torch.equal(logits(tune, loaded, weights), logits(tune, loaded, weights))


def test_saved_while_attached_and_loaded_while_attached(tune, loaded, tmp_path):
    """As checkpoints are: the folder is the same, and training takes the weights up again."""
    weights = moved(tune, loaded)
    tune.save(weights, tmp_path / "plain", loaded.model)
    with tune.attached(loaded.model, weights):
        tune.save(weights, tmp_path / "attached", loaded.model)
        again = tune.load(tmp_path / "attached", loaded.model)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    names = [
        {p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("plain", "attached")
    ]
    assert names[0].keys() == names[1].keys()
    for name in names[0]:
        assert name.endswith(".md") or names[0][name] == names[1][name], name


def test_damage_and_another_models_adapter_are_said(tune, loaded, tmp_path):
    with pytest.raises(ModelError, match="no such adapter file"):
        tune.load(tmp_path, loaded.model)
    tune.save(moved(tune, loaded), tmp_path, loaded.model)
    own = "prefix.safetensors" if isinstance(tune, Prefix) else "adapter_model.safetensors"
    tensors = load_file(tmp_path / own)
    first = sorted(tensors)[0]
    save_file(tensors | {first: tensors[first][..., :-1].contiguous()}, tmp_path / own)
    with pytest.raises(ModelError, match=r"of shape .* for this model, so it was made"):
        tune.load(tmp_path, loaded.model)
    (tmp_path / own).write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="found a damaged file"):
        tune.load(tmp_path, loaded.model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lora(rank=0), "LoRA's rank is 0; it must be 1 or more"),
        (lambda: Lora(alpha=-1), "LoRA's alpha is -1"),
        (lambda: Lora(dropout=1.0), "LoRA's dropout is 1.0; it must be 0 or more and below 1"),
        (lambda: Prefix(0), "prompt length is 0; a prefix has at least 1 position"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_prefix_beyond_the_window_is_refused():
    loaded = tiny_loaded("gemma3", sentencepiece_tokenizer())
    with pytest.raises(ConfigError, match="some layers of the model see only 24 tokens back"):
        Prefix(25).start(loaded.model, IDS, seed=1)


def test_a_prefix_as_long_as_the_window_is_saved(tmp_path):
    loaded = tiny_loaded("gemma3", sentencepiece_tokenizer())
    tune = Prefix(24)
    weights = moved(tune, loaded)
    tune.save(weights, tmp_path, loaded.model)
    plain = PeftModel.from_pretrained(copy.deepcopy(loaded.model), tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            logits(tune, loaded, weights), plain(TEXT).logits, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("tune", [Lora(), Prefix(5), SoftPrompt(5)], ids=["lora", "prefix", "soft"])
def test_tensors_outlive_their_file(tune, tmp_path):
    loaded = tiny_loaded("llama")
    weights = moved(tune, loaded)
    tune.save(weights, tmp_path, loaded.model)
    again = tune.load(tmp_path, loaded.model)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"")
    assert all(torch.equal(again[name], weights[name]) for name in weights)
