"""A soft prompt as rows of the vocabulary, read by plain transformers in another process."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import isogloss
from conftest import ARCHITECTURES
from export_runs import BASES, read_elsewhere, train, write_base
from isogloss.exporting.exporting import Exported
from isogloss.finished import open_finished
from isogloss.model.answer import generate
from isogloss.model.load import load
from isogloss.runs import Run

QUESTIONS = ("Text: tr number 7 Is it even?", "Text: the old man paid 3")
WRITTEN = 6


@dataclass(frozen=True)
class Case:
    """A run, its base and its export; the ids of each question in the run's own vocabulary."""

    base: Path
    run: Run
    exported: Exported
    own: list[list[int]]
    new: list[list[int]]

    @property
    def ids(self) -> list[int]:
        return list(self.exported.content["tokens"].values())


def case(folder: Path, architecture: str, **options: object) -> Case:
    base = write_base(folder / "base", architecture)
    run = train(folder, base, prompt_length=5, demonstrations=2)
    exported = isogloss.export(run, out=folder / "out", vocabulary_rows=True, **options)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = AutoModelForCausalLM.from_pretrained(base).get_input_embeddings().weight.shape[0]
    begin = [tokenizer.bos_token_id] if architecture == "gemma3" else []
    prompt, own, new = list(exported.content["tokens"].values()), [], []
    for text in QUESTIONS:
        whole = tokenizer(":" + text, add_special_tokens=False)["input_ids"]
        cut = len(tokenizer(":", add_special_tokens=False)["input_ids"])
        own.append([*range(rows, rows + 5), *begin, *whole[cut:]])
        new.append([*prompt, *begin, *whole[cut:]])
    return Case(base, run, exported, own, new)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    return {name: case(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def untied(tmp_path_factory) -> Case:
    return case(tmp_path_factory.mktemp("untied"), "llama", untie=True)


@pytest.fixture(scope="module")
def read(cases, untied, tmp_path_factory):
    work = []
    for one in (*cases.values(), untied):
        prefix = one.exported.content["prompt"]["prefix"]
        texts = [prefix + text for text in QUESTIONS]
        work.append((one.exported.folder, texts, one.new, WRITTEN))
    return read_elsewhere(tmp_path_factory.mktemp("read") / "read.safetensors", work)


def own_logits(one: Case, ids: list[int]) -> torch.Tensor:
    """Logits of the run's own model with its soft prompt, without that of the prompt's tokens."""
    opened = open_finished(str(one.run.folder), model=None, data=None, dtype="float32")
    loaded = opened.load("cpu")
    with torch.no_grad(), opened.tuned(loaded):
        return loaded.model(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("number", range(4), ids=ARCHITECTURES)
def test_text_behind_the_prefix_becomes_the_runs_ids(cases, read, number):
    one = list(cases.values())[number]
    for place in range(len(QUESTIONS)):
        assert read[f"{number}.text.{place}"].tolist() == one.new[place]


@pytest.mark.parametrize("number", range(5), ids=[*ARCHITECTURES, "untied"])
def test_ordinary_logits_are_the_runs_own_and_plain_pefts(cases, untied, read, number):
    one = [*cases.values(), untied][number]
    ordinary = sorted(set(range(one.own[0][0])) - set(one.ids))
    plain = AutoModelForCausalLM.from_pretrained(one.base)
    peft = PeftModel.from_pretrained(plain, str(one.run.adapter)).eval()
    for place, ids in enumerate(one.own):
        found = read[f"{number}.logits.{place}"]
        assert found.shape == (len(ids), one.exported.content["vocabulary"]["rows"])
        own = own_logits(one, ids)
        torch.testing.assert_close(found[:, ordinary], own[:, ordinary], rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            theirs = peft(torch.tensor([ids[5:]])).logits[0]
        torch.testing.assert_close(
            found[5:, ordinary], theirs[-len(ids) + 5 :, ordinary], rtol=1e-4, atol=1e-4
        )
        bare = AutoModelForCausalLM.from_pretrained(one.base)(torch.tensor([ids[5:]])).logits[0]
        assert (found[5:, ordinary] - bare[:, ordinary]).abs().max() > 0.1, "the prompt is read"


@pytest.mark.parametrize("number", range(5), ids=[*ARCHITECTURES, "untied"])
def test_generated_tokens_are_the_runs_own(cases, untied, read, number):
    one = [*cases.values(), untied][number]
    opened = open_finished(str(one.run.folder), model=None, data=None, dtype="float32")
    loaded = opened.load("cpu")
    with opened.tuned(loaded):
        end = loaded.tokenizer.eos_token_id
        own = generate(loaded.model, loaded.tokenizer, one.own, max_new_tokens=WRITTEN, end=end)
    for place, wanted in enumerate(own):
        found = read[f"{number}.written.{place}"].tolist()
        assert found[: len(wanted)] == list(wanted)
        assert not set(found) & set(one.ids)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_code_of_the_readme_runs(cases, name, monkeypatch):
    one = cases[name]
    monkeypatch.chdir(one.exported.folder)
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)  # the code that a reader copies
    prompt = one.exported.content["prompt"]
    assert names["text"] == prompt["front"] + prompt["question"]
    assert names["ids"][: len(prompt["front_ids"])] == prompt["front_ids"]
    asked = names["ids"][len(prompt["front_ids"]) :]
    assert names["tokenizer"].decode(asked) == prompt["question"]


def test_what_stands_in_the_files(cases):
    spare = {"llama": 0, "qwen2": 3, "qwen3": 5, "gemma3": 0}
    for name, one in cases.items():
        content, folder = one.exported.content, one.exported.folder
        assert json.loads((folder / "export.json").read_text()) == content
        tokenizer = BASES[name][0]()
        assert list(content["tokens"].items()) == [
            (f"<|isogloss_{number}|>", len(tokenizer) + number) for number in range(5)
        ]
        base_rows = len(tokenizer) + BASES[name][1]
        assert content["vocabulary"] == {
            "rows": max(base_rows, len(tokenizer) + 5),
            "base_rows": base_rows,
            "spare_rows_used": spare[name],
            "unused_rows": [],
        }
        config = json.loads((folder / "config.json").read_text())
        assert config["vocab_size"] == content["vocabulary"]["rows"]
        generation = json.loads((folder / "generation_config.json").read_text())
        assert generation["suppress_tokens"] == content["never_generate"] == one.ids
        assert content["head"] == ("tied" if name in ("llama", "gemma3") else "own")
        assert content["check"]["difference"] < 1e-4
        assert content["check"]["questions_same"] == content["check"]["prompts"] == 6
        assert content["prompt"]["front_ids"][:5] == one.ids
        assert len(content["prompt"]["demonstrations"]) == 2
        assert content["prompt"]["front"].count("Is it even?") == 2
        readme = (folder / "README.md").read_text()
        assert content["prompt"]["question"] == "Text: {text}\nIs it even?"
        assert "Turkish" in readme
        for path in folder.iterdir():
            if path.suffix in (".json", ".md"):
                assert str(one.base.parent) not in path.read_text(), f"a path in {path.name}"
    assert cases["gemma3"].exported.content["embedding_scale"] == pytest.approx(32**0.5, rel=1e-6)
    assert cases["gemma3"].exported.content["prompt"]["begin"] == "<bos>"
    assert cases["llama"].exported.content["prompt"]["begin"] is None


def test_a_text_of_many_pieces_is_the_runs_where_the_tokenizer_joins_nothing(cases):
    """Byte-level pieces end at line breaks; the tiny SentencePiece one joins them, and is told."""
    for name, one in cases.items():
        check = one.exported.content["check"]
        joined = name == "gemma3"
        assert check["prompts_same_as_text"] == (0 if joined else check["prompts"])
        told = any("other tokens as one text" in note for note in one.exported.notes)
        assert told == joined


def test_a_head_of_its_own_keeps_added_tokens_below_the_mean(cases, untied, read):
    for number, one in ((1, cases["qwen2"]), (4, untied)):
        ordinary = sorted(set(range(one.own[0][0])) - set(one.ids))
        for place in range(len(QUESTIONS)):
            logits = read[f"{number}.logits.{place}"]
            mean = logits[:, ordinary].mean(dim=1, keepdim=True)
            torch.testing.assert_close(logits[:, one.ids], mean.expand(-1, 5), rtol=1e-4, atol=1e-4)
            share = logits.softmax(dim=1)[:, one.ids].sum(dim=1)
            assert share.max() <= 5 / len(ordinary)
        assert one.exported.content["check"]["share"] <= 5 / len(ordinary)
        assert one.exported.content["check"]["first"] == 0


def test_untied_is_said_and_saved(cases, untied):
    assert untied.exported.content["head"] == "own"
    assert not json.loads((untied.exported.folder / "config.json").read_text())[
        "tie_word_embeddings"
    ]
    sizes = [
        (one.exported.folder / "model.safetensors").stat().st_size
        for one in (cases["llama"], untied)
    ]
    assert sizes[1] - sizes[0] >= 425 * 32 * 4


def test_an_export_is_a_base_model_like_any_other(cases, tmp_path):
    """Its tokens' names are taken, so a prompt learnt on top of it gets others."""
    one = cases["llama"]
    assert load(str(one.exported.folder)).model.config.vocab_size == 425
    run = train(tmp_path, one.exported.folder, prompt_length=2, demonstrations=1)
    again = isogloss.export(run, out=tmp_path / "again", vocabulary_rows=True)
    assert list(again.content["tokens"]) == ["<|isogloss2_0|>", "<|isogloss2_1|>"]
    assert again.content["vocabulary"]["base_rows"] == 425


def test_the_run_and_its_base_are_as_they_were(cases):
    one = cases["llama"]
    scores = isogloss.evaluate(one.run)
    assert 0 <= scores.value <= 1
