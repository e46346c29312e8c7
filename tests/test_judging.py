"""Held-out items: who answers them, trained on what, and that no test item has a say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import isogloss
from isogloss import judging, selecting
from isogloss.errors import ConfigError
from isogloss.judging import judge, read_held_out
from isogloss.runs import file_digest
from isogloss.selecting import folds
from isogloss.settings import TrainSettings
from number_task import SIZES, VALIDATED, write_numbers

METHODS = ("zero-shot", "icl-mixed", "cl-icp", "mtl-lora", "direct-transfer")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("plain"))


def settings(task: Path, model: Path, out: Path, method: str, **more) -> TrainSettings:
    trains = {"epochs": 1, "learning_rate": 0.01} if method not in METHODS[:2] else {}
    shown = {"demonstrations": 2} if method in ("cl-icp", "icl-mixed") else {}
    shown |= {"share_demonstrations": 2} if method == "cl-icp" else {}
    given = {"method": method, "folds": 2, "out": out} | trains | shown | more
    return TrainSettings(str(task), str(model), "tr", **given)


def values(run: isogloss.Run) -> dict[str, float]:
    return {entry["id"]: float(entry["correct"]) for entry in run.predictions}


def loss(entry: dict) -> float:
    scores = entry["log_probabilities"]
    return math.log(sum(math.exp(v) for v in scores.values())) - scores[entry["answer"]]


@pytest.mark.parametrize("method", METHODS)
def test_a_folds_answers_are_those_of_a_task_of_its_own(method, plain, model_folder, tmp_path):
    """The fold written as a test file, the rest as training files: trained and evaluated."""
    model = model_folder("llama")
    given = settings(plain, model, tmp_path / "runs", method)
    run = selecting.train(given)
    found = judge(given, run)
    assert found.by == "2-fold cross-validation on the 8 items of D_t"
    target = isogloss.training.prepare(given).split.target
    parts = folds(target, 2, seed=42)
    assert sorted(found.values) == sorted(item.id for item in target)
    for number, ours in enumerate(parts):
        path = write_numbers(tmp_path / f"task{number}", left_out=ours)
        lines = (plain.parent / "tr" / "train.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["id"] in ours]
        (path.parent / "tr" / "test.jsonl").write_text("\n".join(kept) + "\n")
        alone = selecting.train(settings(path, model, tmp_path / f"runs{number}", method))
        isogloss.evaluate(alone)
        assert {name: found.values[name] for name in ours} == values(alone)
        for entry in alone.predictions:
            assert found.losses[entry["id"]] == pytest.approx(loss(entry), abs=1e-4)


@pytest.mark.parametrize("method", ["cl-icp", "icl-mixed", "direct-transfer"])
def test_validation_items_are_answered_by_the_run_itself(method, model_folder, tmp_path):
    """As if they were test items: the two files change places, and the run is evaluated."""
    sizes = SIZES | {"tr": VALIDATED["tr"]}
    path = write_numbers(tmp_path / "task", sizes)
    given = settings(path, model_folder("llama"), tmp_path / "runs", method)
    run = selecting.train(given)
    found = judge(given, run)
    assert found.by == "6 validation items"
    assert not (run.folder / judging.HELD_OUT).exists(), "nothing is trained for it"
    files = [path.parent / "tr" / f"{name}.jsonl" for name in ("validation", "test")]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, reversed(texts), strict=True):
        file.write_text(text)
    record = run.record
    for file in files:
        if f"tr/{file.name}" in record["data"]:
            record["data"][f"tr/{file.name}"] = file_digest(file)
    (run.folder / "run.json").write_text(json.dumps(record))
    isogloss.evaluate(run)
    assert found.values == values(run)


def test_test_items_have_no_say(plain, model_folder, tmp_path):
    poisoned = write_numbers(tmp_path / "task", swapped=("test",))
    model = model_folder("llama")
    found = []
    for place, task in enumerate((plain, poisoned)):
        given = settings(task, model, tmp_path / str(place), "cl-icp")
        found.append(judge(given, selecting.train(given)))
    assert found[0] == found[1]


def test_a_stopped_judging_goes_on_and_what_is_there_is_not_done_again(
    plain, model_folder, tmp_path, monkeypatch
):
    given = settings(plain, model_folder("llama"), tmp_path, "cl-icp", folds=4)
    run = selecting.train(given)
    real, calls = judging.taught, []

    def stopped(one, loaded):
        calls.append(one.run.folder.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(one, loaded)

    monkeypatch.setattr(judging, "taught", stopped)
    with pytest.raises(KeyboardInterrupt):
        judge(given, run)
    assert calls == ["fold-1", "fold-2", "fold-3"]
    monkeypatch.setattr(judging, "taught", lambda *one: (calls.append("again"), real(*one))[1])
    found = judge(given, run)
    assert calls[3:] == ["again", "again"]
    assert judge(given, run) == read_held_out(run) == found
    assert len(calls) == 5
    for folder in (run.folder / judging.HELD_OUT).iterdir():
        assert sorted(path.name for path in folder.iterdir()) == ["judged.json", "log.jsonl"]
    assert judge(TrainSettings(**{**vars(given), "folds": 2}), run).by.startswith("2-fold")


def test_the_settings_that_were_chosen_are_judged(plain, model_folder, tmp_path, monkeypatch):
    rates = ("learning-rate=1e-9,0.05",)
    given = settings(
        plain, model_folder("llama"), tmp_path, "cl-icp", choose=rates, learning_rate=None
    )
    run = selecting.train(given)
    won = run.record["method"]["stages"][0]["learning_rate"]
    real, seen = judging.taught, []

    def spy(one, loaded):
        seen.append(one.method.stages[0].learning_rate)
        return real(one, loaded)

    monkeypatch.setattr(judging, "taught", spy)
    judge(given, run)
    assert seen == [won, won]


def test_too_few_items_for_the_folds(plain, model_folder, tmp_path):
    given = settings(plain, model_folder("llama"), tmp_path, "zero-shot", folds=9)
    run = selecting.train(given)
    with pytest.raises(ConfigError, match="9 folds asked of 8 training items; lower --folds"):
        judge(given, run)
