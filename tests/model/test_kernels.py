"""Which attention kernel is to be had where, and how a run that was trained by it is evaluated."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

import isogloss
from compiled_runs import opened
from conftest import tiny_config
from flexing import wide_loaded, written_out
from isogloss.errors import ConfigError
from isogloss.model import kernels
from isogloss.model import load as loading
from isogloss.model.flex_attention import FLEX
from isogloss.model.kernels import check_fits, lacking
from isogloss.model.load import ModelOptions, load
from isogloss.runs import read_json_file, write_json_file
from number_task import write_numbers
from refusing import refused

__all__ = ["written_out"]
GPU, BF16 = torch.device("cuda"), torch.bfloat16


@pytest.fixture
def installed(monkeypatch):
    """Says which packages there are."""

    def only(*names: str) -> None:
        monkeypatch.setattr(kernels, "_installed", lambda name: name in names)

    return only


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "eager"])
def test_the_others_are_had_everywhere(kernel, installed):
    installed()
    for place in ("cpu", "cuda", "mps"):
        assert lacking(kernel, torch.device(place), torch.float32) is None


@pytest.mark.parametrize("kernel", ["flex_attention", "flash_attention_2"])
@pytest.mark.parametrize("place", ["cpu", "mps"])
def test_two_need_a_gpu(kernel, place, installed):
    installed("triton", "flash_attn")
    found = lacking(kernel, torch.device(place), BF16)
    assert found == f"needs a GPU, and the device is {place}"


def test_what_they_need_on_a_gpu(installed):
    installed()
    assert "triton" in lacking("flex_attention", GPU, BF16)
    assert "pip install flash-attn" in lacking("flash_attention_2", GPU, BF16)
    installed("triton", "flash_attn")
    assert lacking("flex_attention", GPU, torch.float32) is None
    assert lacking("flash_attention_2", GPU, BF16) is None
    assert "bfloat16" in lacking("flash_attention_2", GPU, torch.float32)
    installed("kernels")  # transformers then takes it from there
    assert lacking("flash_attention_2", GPU, BF16) is None


def test_a_torch_that_is_too_old(installed, monkeypatch):
    installed("triton")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.6.0"))
    found = lacking("flex_attention", GPU, BF16)
    assert found == "needs torch 2.7 or newer, and this is 2.6.0"


def test_models_that_it_cannot_compute():
    for kernel in ("auto", "sdpa", "flash_attention_2"):
        check_fits(kernel, tiny_config("llama", 100))
    with pytest.raises(ConfigError, match="heads of 16 numbers or more, and this model's have 8"):
        check_fits("flex_attention", tiny_config("qwen2", 100))
    dropping = LlamaConfig(attention_dropout=0.1)
    with pytest.raises(ConfigError, match=r"no dropout, and this model's attention_dropout is 0.1"):
        check_fits("flex_attention", dropping)
    check_fits("flex_attention", LlamaConfig())


@pytest.fixture
def folder(tmp_path):
    """A model with heads as wide as a GPU needs them."""
    ready = wide_loaded("gemma3")
    ready.model.save_pretrained(tmp_path / "model")
    ready.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


NOT_HERE = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@NOT_HERE
@pytest.mark.parametrize("kernel", ["flex_attention", "flash_attention_2"])
@pytest.mark.parametrize(
    "words", [["train", "TASK"], ["compare", "TASK"], ["layers", "--task", "TASK"]]
)
def test_a_kernel_that_is_not_to_be_had(kernel, words, folder, tmp_path, capsys):
    task = write_numbers(tmp_path / "task")
    line = [task if word == "TASK" else word for word in words]
    line += ["--model", folder, "--target", "tr", "--attention", kernel]
    if words[0] != "layers":
        line += ["--out", tmp_path / "runs"]
    said = f"attention {kernel} needs a GPU, and the device is cpu; or give attention sdpa"
    refused(capsys, tmp_path, line, said)


def test_an_unknown_kernel_is_refused_with_those_there_are(folder, tmp_path):
    task = write_numbers(tmp_path / "task")
    with pytest.raises(ConfigError, match=r"'flex'.*flex_attention"):
        isogloss.train(task, model=folder, target="tr", attention="flex")


@pytest.fixture
def as_on_a_gpu(written_out, monkeypatch):
    """FlexAttention written out, and not refused."""
    monkeypatch.setattr(loading, "lacking", lambda *_: None)
    return written_out


def test_it_is_loaded_by_its_name(folder, as_on_a_gpu, tmp_path):
    """And a saved copy does not know of it."""
    model = load(str(folder), ModelOptions(attention="flex_attention")).model
    assert model.config._attn_implementation == FLEX
    model(torch.tensor([[5, 6, 7]]))
    assert len(as_on_a_gpu) == 3
    model.save_pretrained(tmp_path / "copy")
    assert "flex" not in (tmp_path / "copy" / "config.json").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {"demonstrations": 2},
        {"demonstrations": 1, "gradient_checkpointing": True},
        {"method": "cl-icp-s", "demonstrations": 2},
        {"method": "prefix-tuning"},
    ],
)
def test_a_run_is_that_of_sdpa_and_is_evaluated_anywhere(settings, folder, written_out, tmp_path):
    """Trained and evaluated as on a GPU, then evaluated where FlexAttention is not to be had."""
    task = write_numbers(tmp_path / "task")
    common = {"model": folder, "target": "tr", "max_steps": 2, "learning_rate": 0.1}
    common |= {"device": "cpu", **settings}
    wanted = isogloss.train(task, out=tmp_path / "sdpa", **common)
    assert not written_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "lacking", lambda *_: None)
        run = isogloss.train(task, out=tmp_path / "flex", attention="flex_attention", **common)
        assert written_out
        isogloss.evaluate(run, device="cpu")
        there = run.predictions
    assert run.record["model"]["attention"] == "flex_attention"
    losses = [[each["loss"] for each in one.log if "loss" in each] for one in (run, wanted)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    written_out.clear()
    isogloss.evaluate(run, device="cpu", force=True)
    assert not written_out
    assert opened(run).load("cpu").model.config._attn_implementation == "sdpa"
    for here, other in zip(run.predictions, there, strict=True):
        assert here["log_probabilities"] == pytest.approx(other["log_probabilities"], rel=1e-4)


@NOT_HERE
def test_a_run_of_flash_attention_is_evaluated_too(folder, tmp_path, capsys):
    task = write_numbers(tmp_path / "task")
    run = isogloss.train(task, model=folder, target="tr", max_steps=1, out=tmp_path / "runs")
    place = run.folder / "run.json"
    record = read_json_file(place)
    record["model"]["attention"] = "flash_attention_2"
    write_json_file(place, record)
    assert opened(run).load("cpu").model.config._attn_implementation == "sdpa"
    said = "attention flash_attention_2 needs a GPU, and the device is cpu; SDPA takes its place"
    assert said in capsys.readouterr().err
    assert isogloss.evaluate(run).value >= 0
