"""What cannot be exported: said so, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import isogloss
from export_runs import train, write_base
from isogloss.cli.main import main
from isogloss.errors import ConfigError, ModelError
from isogloss.exporting import exporting, rows
from isogloss.exporting.checking import Checked, check_logits
from refusing import contents, refused

ROWS = "--vocabulary-rows"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    base = write_base(folder / "base", "llama")
    kinds = {"cl-icp": {}, "cl-icp-s": {"shift_layers": (1, 2)}, "prefix-tuning": {}, "lora": {}}
    short = {"max_steps": 1, "demonstrations": 1}
    made = {
        name: train(
            folder, base, name, **(short if name.startswith("cl") else {"max_steps": 1}), **more
        )
        for name, more in kinds.items()
    }
    made["zero-shot"] = isogloss.train(
        folder / "task" / "task.yaml", model=base, target="tr", method="zero-shot", out=folder / "r"
    )
    compiled = isogloss.compile_run(made["cl-icp"], out=folder / "compiled", items=2)
    return {name: run.folder for name, run in made.items()} | {"compiled": compiled.folder}


@pytest.mark.parametrize(
    ("run", "options", "said"),
    [
        ("cl-icp", [], ["a soft prompt", "--vocabulary-rows"]),
        ("cl-icp-s", [ROWS], ["cl-icp-s", "shifts hidden states", "isogloss predict"]),
        ("cl-icp-s", [], ["shifts hidden states"]),
        ("prefix-tuning", [ROWS], ["keys and values in every layer", "plain PEFT"]),
        ("prefix-tuning", [], ["keys and values in every layer"]),
        ("compiled", [], ["keys and values in every layer", "plain PEFT"]),
        ("lora", [ROWS], ["low-rank updates", "no soft prompt", "leave it out"]),
        ("zero-shot", [ROWS], ["learnt nothing", "base model as it is"]),
        ("zero-shot", [], ["learnt nothing"]),
        ("lora", ["--untie"], ["untie", "--vocabulary-rows"]),
        ("lora", ["--keep-begin"], ["keep begin", "--vocabulary-rows"]),
        ("cl-icp", [ROWS, "--device", "tpu"], ["tpu"]),
    ],
)
def test_what_the_method_does_not_allow(runs, capsys, tmp_path, run, options, said):
    line = ["export", runs[run], "--out", tmp_path / "out", *options]
    refused(capsys, tmp_path, line, *said)


@pytest.mark.parametrize("there", ["folder", "full", "file", "link"])
def test_a_place_that_is_taken(runs, capsys, tmp_path, there):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "link":
        out.symlink_to(tmp_path / "nothing")
    else:
        out.mkdir()
    if there == "full":
        (out / "config.json").write_text("mine")
    line = ["export", runs["cl-icp"], ROWS, "--out", out]
    refused(capsys, tmp_path, line, str(out), "there already", "another --out")


def test_no_run_there(capsys, tmp_path):
    line = ["export", tmp_path / "none", ROWS, "--out", tmp_path / "out"]
    refused(capsys, tmp_path, line, "no such run folder")


def test_nothing_is_left_where_writing_fails(runs, capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "save_tokenizer", full)
    line = ["export", runs["cl-icp"], ROWS, "--out", tmp_path / "out"]
    refused(capsys, tmp_path, line, "cannot write", "No space left on device")


def test_an_export_that_computes_something_else_is_not_written(runs, capsys, tmp_path, monkeypatch):
    """As it would if Gemma's factor were forgotten."""
    monkeypatch.setattr(rows, "embedding_scale", lambda model: 1.05)
    line = ["export", runs["cl-icp"], ROWS, "--out", tmp_path / "out"]
    refused(capsys, tmp_path, line, "logits differ from the run's", "nothing was written")


def test_only_float32_is_held_to_a_bound():
    off = Checked(0.01, 10.0, 0.0, 0, 1)
    check_logits(off, torch.bfloat16)
    check_logits(Checked(0.0009, 10.0, 0.0, 0, 1), torch.float32)
    with pytest.raises(ModelError, match=r"by 0\.01 \(at most 0\.001"):
        check_logits(off, torch.float32)
    with pytest.raises(ModelError):
        check_logits(Checked(float("nan"), 10.0, 0.0, 0, 1), torch.float32)


def test_settings_from_python_are_checked(runs, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'vocabulary_rows'"):
        isogloss.export(runs["cl-icp"], out=tmp_path / "out", vocabulary_row=True)


def test_the_command_prints_one_object_or_what_to_send(runs, capsys, tmp_path):
    line = ["export", str(runs["cl-icp"]), ROWS, "--out", str(tmp_path / "out"), "--json"]
    assert main(line) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == str(tmp_path / "out")
    assert printed["kind"] == "vocabulary-rows"
    before = contents(tmp_path / "out")
    line[line.index("--json")], line[line.index(str(tmp_path / "out"))] = ROWS, str(tmp_path / "b")
    assert main(line) == 0
    told = capsys.readouterr().out
    assert "<|isogloss_0|>" in told
    assert "note: no license" in told
    assert str(tmp_path / "b" / "README.md") in told
    assert contents(tmp_path / "b") == before, "the same run gives the same bytes"
