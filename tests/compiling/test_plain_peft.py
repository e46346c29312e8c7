"""A compiled run in plain PEFT: the logits and greedy tokens of prompt and demonstrations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import isogloss
from compiled_runs import model_with_begin_token, set_of, trained, whole_logits
from conftest import ARCHITECTURES
from isogloss.finished import open_finished
from isogloss.runs import Run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compile.md"


@dataclass(frozen=True)
class Made:
    base: Path
    run: Run
    compiled: isogloss.CompiledRun

    @property
    def items(self):
        return open_finished(str(self.run.folder), model=None, data=None, dtype=None).split.test

    def expected(self):
        return whole_logits(self.run, set_of(self.run, self.compiled.content), self.items)

    def plain(self) -> PeftModel:
        base = AutoModelForCausalLM.from_pretrained(self.base)
        return PeftModel.from_pretrained(base, str(self.compiled.folder)).eval()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request, tmp_path_factory, model_folder) -> Made:
    """A run of CL-ICP with two demonstrations; Llama and Gemma with a begin token."""
    folder = tmp_path_factory.mktemp(request.param)
    begins = request.param in ("llama", "gemma3")
    base = model_folder(request.param)
    if begins:
        base = model_with_begin_token(folder / "base", request.param)
    run = trained(folder, base)
    return Made(base, run, isogloss.compile_run(run, out=folder / "compiled", items=2))


def test_the_logits_behind_it_are_those_behind_prompt_and_demonstrations(made):
    content, plain = made.compiled.content, made.plain()
    assert content["positions"] > 2 * 24, "more than two windows of the tiny Gemma"
    assert content["peft"]
    assert content["peft_difference"] < 1e-4
    assert content["own_difference"] < 1e-4
    for ids, wanted in made.expected():
        with torch.no_grad():
            found = plain(ids).logits[0]
            alone = plain.get_base_model()(ids).logits[0]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        assert (alone - wanted).abs().max() > 0.1, "the prefix is seen"


def test_padded_on_the_right_and_on_the_left_with_positions(made):
    plain, expected = made.plain(), made.expected()[:3]
    width = max(ids.shape[1] for ids, _ in expected) + 2
    for left in (False, True):
        if left and made.base.name.endswith(("gemma3", "base")):
            continue  # a window counts padding too (docs/traps.md)
        ids = torch.zeros((len(expected), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (own, _) in enumerate(expected):
            place = slice(width - own.shape[1], width) if left else slice(0, own.shape[1])
            ids[row, place], mask[row, place] = own[0], 1
        positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if left else {}
        with torch.no_grad():
            logits = plain(ids, attention_mask=mask, **positions).logits
        for row, (_, wanted) in enumerate(expected):
            found = logits[row][mask[row].bool()]
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def snippet(made: Made, question: str) -> str:
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", PAGE.read_text(), re.DOTALL)
    for name, value in {"BASE": made.base, "DIR": made.compiled.folder}.items():
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(str(value)))
    assert '"QUESTION"' in code
    return code.replace('"QUESTION"', repr(question))


def test_the_code_of_the_page_writes_the_greedy_tokens_of_the_whole(made, capsys):
    opened = open_finished(str(made.run.folder), model=None, data=None, dtype=None)
    item, (ids, logits) = made.items[0], made.expected()[0]
    names: dict = {}
    exec(snippet(made, opened.task.render(item).input), names)
    assert torch.equal(names["ids"], ids), "as Isogloss cuts the question into tokens"
    torch.testing.assert_close(names["logits"], logits[-1], rtol=1e-4, atol=1e-4)
    plain = made.plain()
    for _ in range(16):  # one whole pass a token
        with torch.no_grad():
            best = plain(ids).logits[0, -1].argmax()
        ids = torch.cat([ids, best.reshape(1, 1)], dim=1)
        if int(best) == plain.generation_config.eos_token_id:
            break
    assert torch.equal(names["written"][0], ids[0, names["ids"].shape[1] :])
    assert capsys.readouterr().out.strip() != ""
