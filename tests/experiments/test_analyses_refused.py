"""What `isogloss reproduce table1 | fig1 | fig2 | eq3` refuse, before anything is measured."""

from __future__ import annotations

import pytest
from transformers import PreTrainedModel

from isogloss.experiments.analyses import eq3, fig2, table1
from refusing import refused


@pytest.fixture
def nothing_measured(monkeypatch):
    """Whatever measures is not reached."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    for module, name in (
        (table1, "diagnose"),
        (fig2, "closeness"),
        (fig2, "load"),
        (eq3, "linear_check"),
        (eq3, "load"),
    ):
        monkeypatch.setattr(module, name, never)


CASES = {
    "tabel1": ("no experiment 'tabel1'", "did you mean 'table1'"),
    "fig22 --models M": ("no experiment 'fig22'", "'fig2'"),
    "table1": ("no model to run: give --models",),
    "fig2": ("no model to run: give --models",),
    "table1 --models M --rows FT --epochs 3": ("table1 does not use --rows, --epochs",),
    "table1 --models M --runs runs": ("does not use --runs", "table1 has --models"),
    "fig1 --models M --workers 2": ("fig1 does not use --models, --workers; leave it out",),
    "eq3 --ray local": ("eq3 does not use --ray",),
    "fig2 --models M --seeds 1 2": ("fig2 takes one seed; found --seeds 1 2",),
    "mechanism --models M --limit 30 --epochs 3": ("mechanism does not use --epochs",),
    "table1 --models M --tasks xcpoa": ("no task in table1 'xcpoa'", "did you mean 'xcopa'?"),
    "fig2 --models M --tasks xcopa": ("no task in fig2 'xcopa'; there is xquad",),
    "eq3 --tasks xcpoa": ("no task in eq3 'xcpoa'", "did you mean 'xcopa'?"),
    "table1 --models M --targets turkish": ("no target language in table1 'turkish'",),
    "fig2 --models M --targets es qq": ("no target language in fig2 'qq'; there is ",),
    "fig2 --models M --targets sw": ("fig2 has no xquad in sw; it has xquad in zh",),
    "eq3 --models M --targets xx": ("no target language in eq3 'xx'",),
    "table1 --models M ./none": ("no such model folder: ./none",),
    "fig2 --models M ./none": ("no such model folder: ./none",),
    "eq3 --models M ./none": ("no such model folder: ./none",),
    "fig2 --models M --runs ./none": ("no such folder: none; `isogloss runs`",),
    "fig2 --models M --runs M": ("holds no run",),
    "fig2 --models M --limit 0": ("limit is 0",),
}


@pytest.mark.parametrize("words", CASES)
def test_before_anything_is_measured(
    words, nothing_measured, model_folder, tmp_path, capsys
) -> None:
    given = [model_folder("llama") if word == "M" else word for word in words.split()]
    line = ["reproduce", *given, "--data", tmp_path, "--out", tmp_path / "out"]
    refused(capsys, tmp_path, line, *CASES[words])


def test_data_that_is_not_there(model_folder, tmp_path, capsys) -> None:
    for words in (["table1"], ["fig2", "--targets", "es"], ["eq3", "--tasks", "xquad"]):
        line = ["reproduce", *words, "--models", model_folder("llama"), "--data", tmp_path / "no"]
        refused(capsys, tmp_path, [*line, "--out", tmp_path / "out"], str(tmp_path / "no"))


def test_fewer_than_twenty_pairs(model_folder, tmp_path, capsys, real_data) -> None:
    line = ["reproduce", "fig2", "--models", model_folder("llama"), "--data", real_data]
    line += ["--targets", "es", "--limit", 19, "--out", tmp_path / "out"]
    said = refused(
        capsys, tmp_path, line, "found 19 sentence pairs; 20 are the least. Raise --limit"
    )
    assert "--parallel" not in said


def test_attention_of_a_model_that_has_no_eager_attention(
    model_folder, tmp_path, capsys, monkeypatch, real_data
) -> None:
    def refuse_eager(model: PreTrainedModel, name: str) -> None:
        raise ValueError(f"no {name} here")

    monkeypatch.setattr(PreTrainedModel, "set_attn_implementation", refuse_eager)
    line = ["reproduce", "table1", "--models", model_folder("llama"), "--tasks", "xcopa"]
    line += ["--targets", "tr", "--data", real_data, "--out", tmp_path / "out"]
    refused(capsys, tmp_path, line, "eager attention", "no eager here")


def test_a_folder_that_cannot_be_written(tmp_path, capsys) -> None:
    (tmp_path / "out").write_text("a file")
    refused(capsys, tmp_path, ["reproduce", "fig1", "--out", tmp_path / "out"], "cannot write")
