"""CPT: PEFT's own model has the same logits, loss, gradient and updates; in-context at first."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from peft import CPTConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

from conftest import byte_level_tokenizer, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, sample, snapshot
from isogloss.encoding import EncodedTarget, Encoder
from isogloss.errors import ConfigError, ModelError
from isogloss.methods.cpt import prompt_answers, with_prompt_answers
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import token_log_probabilities
from isogloss.model.load import Loaded
from isogloss.model.prompt import vocabulary_rows
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.context_prompt import CHANGE_FILE, KEY, ContextPrompt
from isogloss.tuning.tuning import StartIds, Weights

IDS = StartIds((1, 2, 3))
COUNT = 3


def made(loaded: Loaded, **options) -> ContextPrompt:
    front = encoder_for(loaded, 0).demonstration_set([sample(n) for n in range(COUNT)])
    return ContextPrompt(COUNT, **options).filled(front)


def encoder_of(loaded: Loaded, tune: ContextPrompt) -> Encoder:
    return dataclasses.replace(encoder_for(loaded, len(tune.tokens)), solved=COUNT)


def group_of(loaded: Loaded, tune: ContextPrompt, *numbers: int) -> EncodedGroup:
    encoder = encoder_of(loaded, tune)
    targets = tuple(encoder.target(sample(number, "tr"), 0) for number in numbers)
    return EncodedGroup(encoder.demonstration_set([]), targets)


def moved(loaded: Loaded, tune: ContextPrompt, size: float = 0.001) -> Weights:
    weights = tune.start(loaded.model, IDS, seed=1)
    source = torch.Generator().manual_seed(3)
    learns = torch.tensor([kind % 4 != 0 for kind in tune.kinds])[:, None]
    with torch.no_grad():
        weights[KEY].add_(size * learns * torch.randn(weights[KEY].shape, generator=source))
    return weights


def loss_of(loaded: Loaded, tune: ContextPrompt, groups, layout="tree") -> torch.Tensor:
    batch, answers = pack(groups, layout=layout)
    marks = torch.zeros(len(answers), dtype=torch.bool)
    rows = vocabulary_rows(loaded.model)
    batch, marks = with_prompt_answers(batch, marks, prompt_answers(tune), rows)
    return answer_loss(token_log_probabilities(loaded.model, batch), batch, marks, 1.0)


def peft_of(loaded: Loaded, tune: ContextPrompt, delta: torch.Tensor):
    config = CPTConfig(
        task_type="CAUSAL_LM",
        cpt_token_ids=list(tune.tokens),
        cpt_mask=[1] * len(tune.tokens),
        cpt_tokens_type_mask=list(tune.kinds),
        opt_weighted_loss_type="decay",
        opt_loss_decay_factor=tune.decay,
        opt_projection_epsilon=tune.epsilon,
        opt_projection_format_epsilon=tune.format_epsilon,
    )
    peft = get_peft_model(loaded.model, config)
    parameter = peft.prompt_encoder["default"].delta_embedding.weight
    with torch.no_grad():
        parameter.copy_(delta)
    return peft, parameter


def peft_loss(peft, target: EncodedTarget) -> torch.Tensor:
    ids = torch.tensor([[*target.ids, *target.answer]])
    labels = ids.clone()
    labels[0, : len(target.ids)] = -100
    return peft(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_loss_and_gradient_are_those_of_plain_peft(loaded, decay):
    tune = made(loaded, decay=decay)
    weights = moved(loaded, tune)
    group = group_of(loaded, tune, 11)
    with tune.attached(loaded.model, weights):
        loss = loss_of(loaded, tune, [group])
        gradient = torch.autograd.grad(loss, weights[KEY])[0]
    peft, delta = peft_of(loaded, tune, weights[KEY])
    theirs = peft_loss(peft, group.targets[0])
    wanted = torch.autograd.grad(theirs, delta)[0]
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))
    learns = torch.tensor([kind % 4 != 0 for kind in tune.kinds])
    assert (gradient[learns].abs().sum(1) > 0).all(), "inputs and format learn"
    assert (gradient[~learns] == 0).all(), "answers do not"
    assert learns.any()
    assert (~learns).any()


def test_updates_with_projection_are_those_of_plain_peft():
    """Steps far larger than the ball: what is kept is what PEFT keeps."""
    loaded = tiny_loaded("qwen2")
    tune = made(loaded, epsilon=0.2, format_epsilon=0.1)
    groups = [group_of(loaded, tune, number) for number in (11, 12, 13, 14)]
    weights = tune.start(loaded.model, IDS, seed=1)
    optimiser = torch.optim.AdamW(list(weights.values()), lr=0.01, weight_decay=0.0)
    losses = []
    with tune.attached(loaded.model, weights):
        for group in groups:
            loss = loss_of(loaded, tune, [group])
            loss.backward()
            losses.append(loss.item())
            optimiser.step()
            optimiser.zero_grad()
        final = loaded.model.get_input_embeddings().vectors(weights[KEY].detach().clone())
    peft, delta = peft_of(loaded, tune, torch.zeros_like(weights[KEY]))
    optimiser = torch.optim.AdamW([delta], lr=0.01, weight_decay=0.0)
    wanted = []
    for group in groups:
        loss = peft_loss(peft, group.targets[0])
        loss.backward()
        wanted.append(loss.item())
        optimiser.step()
        optimiser.zero_grad()
    assert losses == pytest.approx(wanted, rel=1e-4)
    theirs = peft.get_prompt_embedding_to_save("default")
    torch.testing.assert_close(final, theirs, rtol=0, atol=1e-4)
    table = loaded.model.get_input_embeddings()
    length = (theirs - table(torch.tensor(tune.tokens))).norm(dim=1)
    scale = (32 / 2048) ** 0.5
    kinds = torch.tensor(tune.kinds) % 4
    assert length[kinds == 2].max() == pytest.approx(0.2 * scale, rel=1e-3)
    assert length[(kinds == 1) | (kinds == 3)].max() == pytest.approx(0.1 * scale, rel=1e-3)
    assert length[kinds == 0].max() == 0


def test_plain_peft_loads_the_adapter_and_gives_the_same_logits(loaded, tmp_path):
    tune = made(loaded)
    weights = moved(loaded, tune, size=1.0)  # outside the ball
    tune.save(weights, tmp_path, loaded.model)
    text = torch.arange(20, 60)[None]
    rows = vocabulary_rows(loaded.model)
    prompt = torch.arange(rows, rows + len(tune.tokens))[None]
    weights = tune.load(tmp_path, loaded.model)
    with torch.no_grad():
        with tune.attached(loaded.model, weights):
            own = loaded.model(input_ids=torch.cat([prompt, text], 1)).logits
        peft = PeftModel.from_pretrained(loaded.model, str(tmp_path)).eval()
        theirs = peft(input_ids=text).logits
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "CPT"
    assert tuple(config["cpt_token_ids"]) == tune.tokens
    again = tune.load(tmp_path, loaded.model)[KEY]
    assert torch.equal(again, moved(loaded, tune, size=1.0)[KEY]), "saved as it is, unprojected"


@pytest.mark.parametrize(
    ("tokenizer", "chat"),
    [(byte_level_tokenizer, False), (byte_level_tokenizer, True), (sentencepiece_tokenizer, False)],
)
def test_at_first_it_is_learning_in_context(tokenizer, chat):
    """The same ids as a sequence with demonstrations, and so the same answers."""
    loaded = tiny_loaded("gemma3", tokenizer())
    plain = dataclasses.replace(encoder_for(loaded, 0), chat=chat)
    solved = [sample(number) for number in range(COUNT)]
    front, asked = plain.demonstration_set(solved), plain.target(sample(11), COUNT)
    tune = ContextPrompt(COUNT).filled(front)
    encoder = dataclasses.replace(encoder_of(loaded, tune), chat=chat)
    own = EncodedGroup(encoder.demonstration_set([]), (encoder.target(sample(11), 0),))
    assert tune.tokens + own.targets[0].ids == front.ids + asked.ids
    assert len(own.demonstrations.ids) == len(tune.tokens)
    weights = tune.start(loaded.model, IDS, seed=1)
    with torch.no_grad():
        batch, _ = pack([EncodedGroup(front, (asked,))], options=True)
        wanted = token_log_probabilities(loaded.model, batch)
        with tune.attached(loaded.model, weights):
            batch, _ = pack([own], options=True)
            found = token_log_probabilities(loaded.model, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokenizer", [byte_level_tokenizer, sentencepiece_tokenizer])
def test_kinds_are_pefts(tokenizer):
    loaded = tiny_loaded("llama", tokenizer())
    front = encoder_for(loaded, 0).demonstration_set([sample(n) for n in range(COUNT)])
    tune = ContextPrompt(COUNT).filled(front)
    assert len(tune.kinds) == len(tune.tokens) == len(front.ids)
    assert tune.answers == front.answers
    for number, span in enumerate(front.inputs):
        assert set(tune.kinds[span.start : span.stop]) == {4 * number + 2}
    assert max(tune.kinds) == 4 * COUNT, "PEFT counts the target's kinds up from the greatest"


def test_layouts_and_shared_prompts_give_the_mean_over_sequences(loaded):
    tune = made(loaded, decay=0.5)
    weights = moved(loaded, tune)
    groups = [group_of(loaded, tune, 11, 13, 15), group_of(loaded, tune, 12)]
    singles = [group_of(loaded, tune, number) for number in (11, 13, 15, 12)]
    with tune.attached(loaded.model, weights):
        wanted = sum(loss_of(loaded, tune, [single]) for single in singles)
        gradient = torch.autograd.grad(wanted, weights[KEY])[0]
        for layout in ("tree", "rows"):
            loss = loss_of(loaded, tune, groups, layout)
            found = torch.autograd.grad(loss, weights[KEY])[0]
            torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
            near = 1e-4 * float(gradient.abs().max())
            torch.testing.assert_close(found, gradient, rtol=1e-3, atol=near)


def test_only_the_change_learns_and_all_is_undone(loaded):
    before = snapshot(loaded)
    tune = made(loaded)
    weights = moved(loaded, tune)
    with tune.attached(loaded.model, weights):
        loss_of(loaded, tune, [group_of(loaded, tune, 11)]).backward()
        learning = [n for n, p in loaded.model.named_parameters() if p.requires_grad]
        assert len(learning) == 1
        others = [p for n, p in loaded.model.named_parameters() if n not in learning]
        assert all(p.grad is None for p in others)
    assert weights[KEY].grad is not None
    assert snapshot(loaded) == before


def test_settings_and_damaged_adapters(tmp_path):
    loaded = tiny_loaded()
    for wrong, said in (
        ({"demonstrations": 0}, "at least 1"),
        ({"epsilon": -1.0}, "epsilon is -1"),
        ({"format_epsilon": -1.0}, "format epsilon is -1"),
        ({"decay": 1.5}, "decay is 1.5"),
    ):
        with pytest.raises(ConfigError, match=said):
            ContextPrompt(**wrong)
    tune = made(loaded)
    with pytest.raises(ModelError, match="no such adapter"):
        tune.load(tmp_path, loaded.model)
    save_file({KEY: torch.zeros(4, 32)}, tmp_path / CHANGE_FILE)
    with pytest.raises(ModelError, match=r"change of the prompt of shape \(4, 32\).*another one"):
        tune.load(tmp_path, loaded.model)
    save_file({"other": torch.zeros(4, 32)}, tmp_path / CHANGE_FILE)
    with pytest.raises(ModelError, match=r"of shape \(0,\)"):
        tune.load(tmp_path, loaded.model)
