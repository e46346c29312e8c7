"""Soft prompts: what learns, what is undone, and that plain PEFT reads and computes the same."""

from __future__ import annotations

import json
import random

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file

from conftest import tiny_loaded
from helpers import encoder_for, groups_for
from isogloss.errors import ConfigError, ModelError
from isogloss.methods.losses import answer_loss
from isogloss.model.answer import token_log_probabilities
from isogloss.model.prompt import embedded
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.soft_prompt import KEY, WEIGHTS_FILE, SoftPrompt
from isogloss.tuning.tuning import StartIds

IDS = StartIds(tuple(range(10, 200)), (3, 4), (5, 6, 7), (8, 9, 10, 11, 12, 13, 14))


def test_plain_peft_loads_the_adapter_and_gives_the_same_logits(loaded, tmp_path):
    tune = SoftPrompt(4)
    weights = tune.start(loaded.model, IDS, seed=3)
    tune.save(weights, tmp_path, loaded.model)
    text = torch.tensor([list(range(20, 60))])
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    with torch.no_grad(), tune.attached(loaded.model, weights):
        prompt_ids = torch.arange(rows, rows + 4)[None]
        own = loaded.model(input_ids=torch.cat([prompt_ids, text], 1)).logits
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "PROMPT_TUNING"
    with torch.no_grad():
        peft = PeftModel.from_pretrained(loaded.model, str(tmp_path)).eval()
        theirs = peft(input_ids=text).logits
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)


def test_without_demonstrations_it_is_plain_peft_prompt_tuning(loaded):
    """k = 0: loss and prompt gradient equal PEFT's on one unpadded item."""
    tune = SoftPrompt(4)
    weights = tune.start(loaded.model, IDS, seed=3)
    (group,) = groups_for(encoder_for(loaded, 4), groups=1, targets=1, demonstrations=0)
    target = group.targets[0]
    with tune.attached(loaded.model, weights):
        batch, _ = pack([group])
        values = token_log_probabilities(loaded.model, batch)
        loss = answer_loss(values, batch, torch.tensor([False]), 1.0)
        gradient = torch.autograd.grad(loss, weights[KEY])[0]
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft = get_peft_model(loaded.model, config)
    vectors = peft.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        vectors.copy_(weights[KEY])
    front = group.demonstrations.ids[4:]
    ids = torch.tensor([[*front, *target.ids, *target.answer]])
    labels = ids.clone()
    labels[0, : len(front) + len(target.ids)] = -100
    theirs = peft(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=0)
    wanted = torch.autograd.grad(theirs, vectors)[0]
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


def test_only_the_prompt_gets_a_gradient_and_all_is_undone(loaded):
    tune = SoftPrompt(5)
    weights = tune.start(loaded.model, IDS, seed=3)
    own = loaded.model.get_input_embeddings()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    with tune.attached(loaded.model, weights):
        batch, answers = pack(groups_for(encoder_for(loaded)), demonstration_answers=None)
        marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
        answer_loss(token_log_probabilities(loaded.model, batch), batch, marks, 1.0).backward()
        learning = [n for n, p in loaded.model.named_parameters() if p.requires_grad]
        assert len(learning) == 1
        assert learning[0].endswith("prompt")
        others = [p for n, p in loaded.model.named_parameters() if n not in learning]
        assert len(others) > 20
        assert all(p.grad is None for p in others)
    assert weights[KEY].grad is not None
    assert (weights[KEY].grad.abs().sum(1) > 0).all(), "every prompt vector learns"
    assert loaded.model.get_input_embeddings() is own
    assert all(p.requires_grad for p in loaded.model.parameters())
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_start_is_what_the_embedding_module_gives_out():
    loaded = tiny_loaded("gemma3")
    weights = SoftPrompt(6).start(loaded.model, IDS, seed=5)
    chosen = random.Random("5/prompt").sample(IDS.common, 6)
    torch.testing.assert_close(weights[KEY].data, embedded(loaded.model, chosen))
    # Gemma multiplies by the square root of the width (32) inside the module.
    table = loaded.model.get_input_embeddings().weight[chosen]
    torch.testing.assert_close(weights[KEY].data, table.data * 32**0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "ids"),
    [
        ("text", (3, 4, 3, 4, 3)),
        ("labels", (5, 6, 7, 5, 6)),
        ("demonstrations", (8, 9, 10, 11, 12)),
    ],
)
def test_named_starts_repeat_their_text_to_the_length(start, ids):
    loaded = tiny_loaded()
    weights = SoftPrompt(5, start).start(loaded.model, IDS, seed=1)
    torch.testing.assert_close(weights[KEY].data, embedded(loaded.model, ids))


def test_normal_start_has_the_embeddings_spread():
    loaded = tiny_loaded("gemma3")
    weights = SoftPrompt(200, "normal").start(loaded.model, IDS, seed=1)
    spread = embedded(loaded.model, IDS.common).std()
    assert abs(weights[KEY].std() / spread - 1) < 0.1


def test_start_from_a_file_and_its_errors(tmp_path):
    loaded = tiny_loaded()
    tune = SoftPrompt(3)
    weights = tune.start(loaded.model, IDS, seed=1)
    tune.save(weights, tmp_path, loaded.model)
    again = SoftPrompt(3, "file", str(tmp_path)).start(loaded.model, IDS, seed=9)
    assert torch.equal(again[KEY], weights[KEY])
    with pytest.raises(ConfigError, match="3 prompt vectors; expected 4"):
        SoftPrompt(4, "file", str(tmp_path)).start(loaded.model, IDS, seed=9)
    with pytest.raises(ConfigError, match="go together"):
        SoftPrompt(4, "file")
    with pytest.raises(ConfigError, match="at least 1"):
        SoftPrompt(0)


def test_damaged_adapters_are_refused(tmp_path):
    loaded = tiny_loaded()
    tune = SoftPrompt(3)
    with pytest.raises(ModelError, match="no such adapter"):
        tune.load(tmp_path, loaded.model)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"not safetensors at all")
    with pytest.raises(ModelError, match="damaged"):
        tune.load(tmp_path, loaded.model)
    save_file({"other": torch.zeros(3, 32)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="prompt_embeddings"):
        tune.load(tmp_path, loaded.model)
    save_file({KEY: torch.zeros(3, 16)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ModelError, match="another one"):
        tune.load(tmp_path, loaded.model)


def test_a_prompt_in_a_row_does_not_leak_into_a_neighbour():
    """Two packed groups: changing one's targets leaves the other's loss as it was."""
    loaded = tiny_loaded()
    tune = SoftPrompt(5)
    weights = tune.start(loaded.model, IDS, seed=3)
    first, second = groups_for(encoder_for(loaded))
    other = EncodedGroup(second.demonstrations, second.targets[:1])
    with torch.no_grad(), tune.attached(loaded.model, weights):
        both, _ = pack([first, second], layout="packed")
        less, _ = pack([first, other], layout="packed")
        count = sum(len(target.answer) for target in first.targets)
        a = token_log_probabilities(loaded.model, both)[:count]
        b = token_log_probabilities(loaded.model, less)[:count]
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
