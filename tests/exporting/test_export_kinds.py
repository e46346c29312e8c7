"""Other runs: CPT, chat turns, merged weights; and what stands beside the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import isogloss
from conftest import CHAT_TEMPLATE, sentencepiece_tokenizer, tiny_config, tiny_loaded
from export_runs import train, write_base
from isogloss.exporting.saving import save_model, stated_license
from isogloss.finished import open_finished
from isogloss.runs import Run

TEXT = torch.tensor([[54, 71, 90, 86, 28, 223, 67, 90]])


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A base whose tokenizer puts a begin token in front, with a chat template that spells it."""
    folder = write_base(tmp_path_factory.mktemp("base") / "gemma3", "gemma3")
    tokenizer = sentencepiece_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}" + CHAT_TEMPLATE.replace("\n", " ")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prompted(base, tmp_path_factory) -> Run:
    """A run that learnt a soft prompt; no test may change it."""
    return train(tmp_path_factory.mktemp("prompted"), base, prompt_length=3)


def logits_of(folder: Path, ids: torch.Tensor = TEXT) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(ids).logits[0]


@pytest.mark.parametrize("method", ["cl-ict-lora", "dora", "ft"])
def test_what_was_learnt_in_the_weights_is_merged(base, tmp_path, method):
    run = train(tmp_path, base, method, learning_rate=0.02)
    made = isogloss.export(run, out=tmp_path / "out")
    found = logits_of(made.folder)
    if method == "ft":
        wanted = logits_of(run.adapter)
    else:
        plain = AutoModelForCausalLM.from_pretrained(base)
        with torch.no_grad():
            wanted = PeftModel.from_pretrained(plain, str(run.adapter)).eval()(TEXT).logits[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - logits_of(base)).abs().max() > 0.01
    assert made.content["kind"] == "merged"
    assert "tokens" not in made.content
    assert made.content["check"]["difference"] < 1e-4
    assert made.content["prompt"]["prefix"] == ""
    assert "lora" not in " ".join(AutoModelForCausalLM.from_pretrained(made.folder).state_dict())
    tokenizers = [AutoTokenizer.from_pretrained(one) for one in (made.folder, base)]
    assert tokenizers[0]("a b")["input_ids"] == tokenizers[1]("a b")["input_ids"]


def test_a_merged_models_text_leaves_the_begin_token_to_the_tokenizer(begun, tmp_path):
    run = train(tmp_path, begun, "mtl-lora")
    made = isogloss.export(run, out=tmp_path / "out")
    prompt = made.content["prompt"]
    assert prompt["begin"] == "<bos>"
    assert prompt["front"] == ""
    assert prompt["front_ids"] == [2]
    assert AutoTokenizer.from_pretrained(made.folder)("a")["input_ids"][0] == 2


def test_cpts_prompt_becomes_rows_with_its_demonstrations(base, tmp_path):
    run = train(tmp_path, base, "cpt", demonstrations=2, learning_rate=0.05)
    made = isogloss.export(run, out=tmp_path / "out", vocabulary_rows=True)
    length = len(run.record["method"]["tune"]["tokens"])
    ids = list(made.content["tokens"].values())
    assert len(ids) == length > 20
    assert made.content["prompt"]["front_ids"] == ids, "solved items and all are the prompt"
    assert made.content["prompt"]["demonstrations"] == []
    plain = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        peft = PeftModel.from_pretrained(plain, str(run.adapter)).eval()
        wanted = peft(TEXT).logits[0, -TEXT.shape[1] :]
    found = logits_of(made.folder, torch.cat([torch.tensor([ids]), TEXT], dim=1))[length:, :420]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_chat_turns_through_the_template_are_the_runs_ids(begun, tmp_path):
    run = train(tmp_path, begun, chat=True, prompt_length=3, demonstrations=1)
    made = isogloss.export(run, out=tmp_path / "out", vocabulary_rows=True)
    prompt, tokenizer = made.content["prompt"], AutoTokenizer.from_pretrained(made.folder)
    opened = open_finished(str(run.folder), model=None, data=None, dtype=None)
    (solved,) = [
        opened.task.render(item)
        for item in (*opened.split.dominant, *opened.split.target)
        if f"{item.language}/{item.id}" == prompt["demonstrations"][0]
    ]
    turns = [
        {"role": "user", "content": solved.input},
        {"role": "assistant", "content": solved.answer.strip()},
        {"role": "user", "content": "Text: ab\nIs it even?"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    question = prompt["question"].replace("{text}", "ab")
    assert text == prompt["front"] + question
    assert text.startswith("<|isogloss_0|><|isogloss_1|><|isogloss_2|><bos><|turn|>user")
    assert prompt["prefix"] == "<|isogloss_0|><|isogloss_1|><|isogloss_2|>"
    assert tokenizer(text)["input_ids"][:4] == [*made.content["tokens"].values(), 2]
    assert made.content["chat_template"] == "begins with the prompt"


def test_a_run_of_plain_text_leaves_the_chat_template(begun, tmp_path):
    run = train(tmp_path, begun, prompt_length=3)
    made = isogloss.export(run, out=tmp_path / "out", vocabulary_rows=True, keep_begin=True)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    assert "isogloss" not in tokenizer.chat_template
    prompt = made.content["prompt"]
    assert prompt["add_special_tokens"] is False
    assert tokenizer(prompt["prefix"])["input_ids"][0] == 2, "the begin token is put there still"
    assert made.content["check"]["questions_same"] == made.content["check"]["prompts"]
    readme = (made.folder / "README.md").read_text()
    assert "tokenizer.ggml.add_bos_token=bool:false" in readme
    assert '"add_special_tokens": false' in readme


def test_bfloat16_is_the_runs_in_bfloat16(prompted, tmp_path):
    made = isogloss.export(prompted, out=tmp_path / "out", vocabulary_rows=True, dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    assert model.dtype == torch.bfloat16
    assert 1e-4 < made.content["rounding"] < 2**-8
    assert made.content["check"]["difference"] == 0
    assert "cannot hold exactly" in (made.folder / "README.md").read_text()


def test_a_quantised_run_is_written_plain_and_says_so(prompted, tmp_path):
    folder = shutil.copytree(prompted.folder, tmp_path / "run")
    record = prompted.record
    record["model"]["quantization"] = "4bit"
    (folder / "run.json").write_text(json.dumps(record))
    made = isogloss.export(folder, out=tmp_path / "out", vocabulary_rows=True)
    assert any("trained on a quantised model" in note for note in made.notes)
    assert any("no license was found" in note for note in made.notes)


def test_licenses_of_the_base_go_along(prompted, base, tmp_path):
    moved = shutil.copytree(base, tmp_path / "moved")
    (moved / "LICENSE").write_text("the base's terms")
    (moved / "NOTICE").write_text("a notice")
    made = isogloss.export(prompted, out=tmp_path / "out", vocabulary_rows=True, model=moved)
    assert (made.folder / "BASE_LICENSE").read_text() == "the base's terms"
    assert made.content["base_model"]["license_files"] == ["BASE_LICENSE", "BASE_NOTICE"]
    assert "`BASE_NOTICE`" in (made.folder / "README.md").read_text()
    assert not any("license" in note for note in made.notes)


def test_a_packages_license_is_read_from_its_metadata():
    assert stated_license("package:pytest") == "MIT"
    assert stated_license("package:none-such-package") is None
    assert stated_license("owner/name") is None


SCALED = {"rope_type": "linear", "factor": 4.0, "rope_theta": 777.0}


@pytest.mark.parametrize(
    ("architecture", "rope", "older"),
    [
        ("llama", {"rope_type": "default", "rope_theta": 777.0}, {"rope_theta": 777.0}),
        (
            "qwen2",
            SCALED,
            {"rope_theta": 777.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        ),
        (
            "gemma3",
            {
                "full_attention": SCALED,
                "sliding_attention": {"rope_type": "default", "rope_theta": 55.0},
            },
            {
                "rope_theta": 777.0,
                "rope_local_base_freq": 55.0,
                "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            },
        ),
    ],
)
def test_rotary_frequencies_stand_under_their_older_names_too(architecture, rope, older, tmp_path):
    """transformers 4 falls back to defaults where it finds `rope_parameters` alone."""
    config = tiny_config(architecture, 420)
    config.rope_parameters = rope
    model = AutoModelForCausalLM.from_config(config).eval()
    save_model(model, tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert {name: saved.get(name) for name in older} == older
    assert ("rope_scaling" in saved) == ("rope_scaling" in older)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters == model.config.rope_parameters
    torch.testing.assert_close(logits_of(tmp_path), model(TEXT).logits[0])


def test_the_twin_of_the_saved_model_has_no_older_names():
    assert "rope_theta" not in tiny_loaded("llama").model.config.to_dict()
