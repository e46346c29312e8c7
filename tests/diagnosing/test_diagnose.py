"""`isogloss diagnose` as a user gives it: a model, a run before and after, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isogloss
from helpers import WORDS, parallel_parity
from isogloss.cli.main import main
from isogloss.errors import ConfigError, DataError, IsoglossError
from isogloss.runs import DIAGNOSIS, read_json_file


@pytest.fixture
def task(tmp_path) -> Path:
    return parallel_parity(tmp_path / "parity")


def few(**options) -> dict:
    return {"items": 8, "readers": 3, "demonstrations": 2} | options


def test_a_model(task, model_folder, tmp_path, capsys):
    model = str(model_folder("gemma3"))
    asked = ["diagnose", "--model", model, "--task", str(task), "--target", "tr"]
    asked += ["--items", "8", "--readers", "3", "--demonstrations", "2", "--out", str(tmp_path)]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    for question in (
        "Are the two languages close?",
        "Does training on en push tr the right way?",
        "Does the model read its demonstrations?",
        "What to expect of direct transfer?",
        "Which method to try?",
    ):
        assert question in shown
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = read_json_file(tmp_path / DIAGNOSIS)
    for both in (found, kept):
        del both["seconds"]
    assert found == kept
    now = found["now"]
    assert now["closeness"]["pairs"] == 24
    assert now["direction"]["items"] == [8, 8]
    assert now["direction"]["unseen"] is not None
    assert now["attention"]["targets"] == 3
    assert found["after"] is None
    value = now["closeness"]["deviation"]["value"]
    assert f"Cosine deviation {value:.3f}" in shown


def test_the_same_numbers_twice(task, model_folder, tmp_path):
    given = few(target="tr", task=task)
    one, other = (
        isogloss.diagnose(model_folder("llama"), **given, out=tmp_path / name) for name in "ab"
    )
    assert one.now == other.now
    assert (
        one.now != isogloss.diagnose(model_folder("llama"), **given, seed=7, out=tmp_path / "c").now
    )


def test_sentences_alone(model_folder, tmp_path):
    path = tmp_path / "text.tsv"
    rows = "".join(f"the {WORDS[n % 5]} man {n}\tadam {WORDS[n % 4]} {n}\n" for n in range(30))
    path.write_text("en\ttr\n" + rows)
    found = isogloss.diagnose(
        model_folder("llama"), target="tr", parallel=path, out=tmp_path / "out"
    )
    assert found.task is None
    assert found.now.direction is None
    assert found.now.attention is None
    assert found.now.closeness.where == "text.tsv"
    assert "tr" in found._repr_html_()


@pytest.mark.parametrize(
    ("method", "moves", "what"),
    [
        ("cl-icp", True, "a soft prompt of 4"),
        ("cl-icp-s", True, "a soft prompt of 4"),
        ("mtl", True, "a soft prompt of 10 vocabulary vectors"),
        ("mtl-lora", True, "a soft prompt of 10 vocabulary vectors"),
        ("prefix-tuning", True, "keys"),
        ("zero-shot", False, "a soft prompt of 10 vocabulary vectors"),
    ],
)
def test_a_run_before_and_after(task, model_folder, tmp_path, method, moves, what):
    settings = {"cl-icp": {"prompt_length": 4}, "cl-icp-s": {"prompt_length": 4}}
    trained = {} if method == "zero-shot" else {"epochs": 2, "learning_rate": 0.05}
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        method=method,
        out=tmp_path / "runs",
        **trained,
        **settings.get(method, {}),
    )
    found = isogloss.diagnose(run=run, **few())
    assert found.folder == run.folder
    assert found.method == method
    if not moves:
        assert found.after is None
        return
    assert what in found.now.direction.what
    assert found.after.direction.what == found.now.direction.what
    assert found.after.direction.alignment != found.now.direction.alignment
    assert found.after.direction.residual != found.now.direction.residual
    assert found.after.attention != found.now.attention
    assert found.after.closeness != found.now.closeness
    assert len(found.findings_after) == 3


@pytest.mark.parametrize("method", ["cl-icp", "prefix-tuning", "cpt", "mtl-lora"])
def test_before_training_a_run_is_its_base_model(task, model_folder, tmp_path, method):
    """What has not been learnt stands in front of nothing: numbers can be met with references."""
    given = {"model": model_folder("qwen3"), "target": "tr"}
    run = isogloss.train(
        task, **given, method=method, epochs=1, learning_rate=0.05, out=tmp_path / "runs"
    )
    of_run = isogloss.diagnose(run=run, **few())
    base = isogloss.diagnose(**given, task=task, **few(), out=tmp_path / "base")
    assert of_run.now.closeness == base.now.closeness
    assert of_run.now.attention == base.now.attention
    assert of_run.after.closeness != base.now.closeness


@pytest.mark.parametrize(
    ("method", "gradients"),
    [("cl-icp", "lora"), ("prefix-tuning", "full"), ("zero-shot", "lora"), ("mtl", "lora")],
)
def test_gradients_by_what_the_run_does_not_tune(
    task, model_folder, tmp_path, monkeypatch, method, gradients
):
    epochs = {} if method == "zero-shot" else {"epochs": 1}
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        method=method,
        out=tmp_path / "runs",
        **epochs,
    )
    monkeypatch.setattr("isogloss.diagnosing.diagnosis.closeness", None)  # nothing is measured yet
    with pytest.raises(ConfigError, match=f"gradients is '{gradients}', but the run tunes"):
        isogloss.diagnose(run=run, **few(gradients=gradients))


def test_gradients_by_what_the_run_tunes(task, model_folder, tmp_path):
    given = {"model": model_folder("llama"), "target": "tr", "out": tmp_path / "runs"}
    run = isogloss.train(task, **given, method="mtl-lora", epochs=1, learning_rate=0.05)
    found = isogloss.diagnose(run=run, **few(readers=0, gradients="lora"))
    assert found.now.direction.what == found.after.direction.what == "low-rank updates"
    # At the start half of LoRA's gradients are nothing, as the other half is 0.
    assert found.now.direction.alignment.cosine != found.after.direction.alignment.cosine
    with pytest.raises(
        ConfigError, match="the run tunes low-rank updates; give soft-prompt or lor"
    ):
        isogloss.diagnose(run=run, **few(gradients="full"))


@pytest.mark.parametrize("gradients", ["lora", "full"])
def test_gradients_of_parameters_without_a_run(task, model_folder, tmp_path, gradients):
    found = isogloss.diagnose(
        model_folder("qwen2"),
        target="tr",
        task=task,
        gradients=gradients,
        out=tmp_path,
        **few(readers=0),
    )
    assert found.now.direction.alignment.cosine.value != 0
    assert found.now.attention is None


BAD = {
    "nothing to diagnose": {},
    "source and target are both 'en'": {"model": "M", "source": "en", "target": "en"},
    "no text to compare the languages by": {"model": "M", "target": "tr"},
    "a run has its task and languages": {"run": "runs/x", "target": "tr"},
    "attention compares 2 or more": {"model": "M", "target": "tr", "demonstrations": 1},
    "pairs is 0; it must be 1 or more": {"model": "M", "target": "tr", "pairs": 0},
    "tolerance is 0": {"model": "M", "target": "tr", "tolerance": 0.0},
    "gradients is 'all'": {"model": "M", "target": "tr", "gradients": "all"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_settings(message):
    given = dict(BAD[message])
    with pytest.raises(IsoglossError, match=message):
        isogloss.diagnose(given.pop("model", None), **given)


def test_another_source_than_the_tasks(task):
    with pytest.raises(ConfigError, match="source is 'tr', but the dominant language of parity"):
        isogloss.diagnose("M", source="tr", target="tr", task=task)


def test_the_dominant_language_as_target(task):
    with pytest.raises(ConfigError, match="source and target are both 'en'"):
        isogloss.diagnose("M", target="en", task=task)


def test_items_without_translations(tmp_path, model_folder):
    task = parallel_parity(tmp_path / "apart", shared=0)
    with pytest.raises(DataError, match="no training item of 'en' has the id of one in 'tr'"):
        isogloss.diagnose(model_folder("llama"), target="tr", task=task)


def test_fewer_than_twenty_pairs(tmp_path, model_folder):
    task = parallel_parity(tmp_path / "few", shared=19)
    with pytest.raises(DataError, match="found 19 sentence pairs; 20 are the least"):
        isogloss.diagnose(model_folder("llama"), target="tr", task=task, out=tmp_path / "o")


def test_a_mistake_leaves_no_traceback(tmp_path, capsys):
    (tmp_path / "text.tsv").write_text("en\ttr\nOne.\n")
    asked = ["diagnose", "--model", "none", "--target", "tr"]
    assert main([*asked, "--parallel", str(tmp_path / "text.tsv")]) == 2
    said = capsys.readouterr().err
    assert "text.tsv, line 2: found 1 columns; expected 2 columns with text" in said
    assert "Traceback" not in said
