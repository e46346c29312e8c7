"""`isogloss compare` end to end: its table, its choice, stops and failures, and mistakes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

import isogloss
from isogloss.cli.main import main
from isogloss.errors import ConfigError, DataError, ModelError
from isogloss.experiments import carrying_out, running
from isogloss.methods.registry import METHODS
from number_task import write_numbers

SIZES = {language: {"train": 12, "test": 6} for language in ("en", "tr")}
NAMED = ("mtl-lora", "icl-mixed", "cl-icp")


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("task"), SIZES)


@pytest.fixture(scope="module")
def usual(task, model_folder) -> dict:
    return {
        "task": task,
        "model": model_folder("llama"),
        "target": "tr",
        "methods": NAMED,
        "seeds": (1, 2),
        "epochs": 1,
        "folds": 2,
    }


@pytest.fixture(scope="module")
def made(usual, tmp_path_factory) -> isogloss.Compared:
    return isogloss.compare(**usual, out=tmp_path_factory.mktemp("made") / "compared")


def without_places(content: dict) -> dict:
    """Numbers that do not depend on where and when: all but paths and seconds."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in content["rows"]]
    chosen = {k: v for k, v in content["recommended"].items() if k not in ("run", "best")}
    return {"rows": rows, "recommended": chosen, "left": content["runs_left"]}


def test_every_method_has_its_row_cheap_ones_first(made):
    assert [row["method"] for row in made.rows] == ["zero-shot", "icl-mixed", "cl-icp", "mtl-lora"]
    for row in made.rows:
        assert row["state"] == "done"
        assert row["seeds"] == [1, 2]
        assert row["low"] <= row["score"] <= row["high"]
        assert 0 <= row["held_out"] <= 1
    facts = {row["method"]: (row["trained_parameters"], row["added_tokens"]) for row in made.rows}
    assert facts["zero-shot"] == (0, 0)
    assert facts["cl-icp"][0] == 10 * 32  # vectors times width
    assert facts["cl-icp"][1] == facts["icl-mixed"][1] + 10  # the soft prompt
    assert facts["mtl-lora"][0] > 0 == facts["mtl-lora"][1]
    assert made.content == json.loads((made.folder / "comparison.json").read_text())
    assert made.to_frame().shape[0] == 4
    assert "mtl-lora" in made._repr_html_()


def test_scores_are_those_of_the_runs(made):
    for row in made.rows:
        runs = [
            Path(made.folder / r.content["run"])
            for r in made.results
            if r.cell.row == row["method"]
        ]
        scores = [isogloss.open_run(run).scores["value"] for run in runs]
        assert row["score"] == pytest.approx(sum(scores) / 2)


def test_the_best_is_a_run_of_its_own(made, task, model_folder, tmp_path):
    best = made.best
    assert best.folder == made.folder / "best"
    assert best.record["method"]["name"] == made.recommendation.method
    top = max(row["held_out"] for row in made.rows)
    (row,) = [row for row in made.rows if row["method"] == made.recommendation.method]
    assert row["held_out"] == top
    moved = Path(shutil.copytree(best.folder, tmp_path / "elsewhere"))
    items = [{"text": "tr number 7"}, {"text": "tr number 8"}]
    own = isogloss.predict(made.recommendation.run, items)
    assert isogloss.predict(moved, items) == own
    assert json.loads((best.folder / "why.json").read_text())["why"] == made.recommendation.why


def test_a_second_time_nothing_is_run(made, usual, monkeypatch):
    monkeypatch.setattr(carrying_out.selecting, "train", lambda _: pytest.fail("trained"))
    stamp = (made.folder / "best" / "run.json").stat().st_mtime_ns
    again = isogloss.compare(**usual, out=made.folder)
    assert again.content == made.content
    assert (made.folder / "best" / "run.json").stat().st_mtime_ns == stamp


def test_stopped_and_gone_on_with_by_two_processes_comes_to_the_same(
    made, usual, tmp_path, monkeypatch, capsys
):
    real, out = running.result_of, tmp_path / "out"
    calls = itertools.count()

    def stopped(settings):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return plain(settings)

    plain = carrying_out.selecting.train
    monkeypatch.setattr(carrying_out.selecting, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        isogloss.compare(**usual, out=out)
    assert "5 runs left, about" in capsys.readouterr().err
    assert running.result_of is real
    monkeypatch.undo()
    again = isogloss.compare(**usual, out=out, workers=2)
    assert without_places(again.content) == without_places(made.content)


def test_a_budget_leaves_runs_for_the_next_time(made, usual, tmp_path, monkeypatch):
    """A clock by which every run takes a minute: what would end later does not begin."""
    minutes = itertools.count()
    monkeypatch.setattr(running.time, "monotonic", lambda: 60.0 * next(minutes))
    first = isogloss.compare(**usual, out=tmp_path, minutes=3.5)
    assert first.content["runs_left"] == 5
    states = {row["method"]: row["state"] for row in first.rows}
    assert states == {
        "zero-shot": "done",
        "icl-mixed": "done",
        "cl-icp": "done",
        "mtl-lora": "not run",
    }
    assert first.recommendation is not None
    monkeypatch.undo()
    assert without_places(isogloss.compare(**usual, out=tmp_path).content) == without_places(
        made.content
    )


def test_no_run_begins_that_would_end_too_late(usual, tmp_path, capsys):
    isogloss.compare(**usual | {"seeds": (1,), "methods": ("icl-mixed",)}, out=tmp_path)
    for path in (tmp_path / "cells").iterdir():
        content = json.loads(path.read_text()) | {"seconds": 7200.0}
        path.write_text(json.dumps(content))
    found = isogloss.compare(**usual | {"methods": ("icl-mixed",)}, out=tmp_path, minutes=90)
    assert found.content["runs_left"] == 2, "those of seed 2 would take two hours"
    assert "2 runs left, about 4.0 h" in capsys.readouterr().err


def test_a_method_that_fails_is_said_and_the_rest_goes_on(usual, tmp_path, capsys):
    # With four training items in a fold, all of a batch, none is left for its demonstrations.
    few = write_numbers(
        tmp_path / "few", {"en": {"train": 4, "test": 4}, "tr": {"train": 4, "test": 4}}
    )
    given = usual | {"task": few, "seeds": (1,), "methods": ("cl-icp", "mtl-lora")}
    found = isogloss.compare(**given, out=tmp_path / "out")
    states = {row["method"]: row["state"] for row in found.rows}
    assert states == {"zero-shot": "done", "cl-icp": "failed", "mtl-lora": "done"}
    (reason,) = next(row["reasons"] for row in found.rows if row["method"] == "cl-icp")
    assert "demonstration" in reason
    assert found.recommendation.method != "cl-icp"


def test_auto_takes_all_that_fit_and_says_why_others_do_not(usual, tmp_path, capsys):
    found = isogloss.compare(**usual | {"methods": ("auto",)}, out=tmp_path / "out", plan=True)
    assert {row["method"] for row in found.rows} | set(found.left_out) == set(METHODS)
    assert found.left_out == {}, "the task's items are translations and it has options"
    assert not (tmp_path / "out").exists()
    apart = write_numbers(tmp_path / "apart", left_out=frozenset())
    lines = (apart.parent / "tr" / "train.jsonl").read_text().replace(': "i', ': "t')
    (apart.parent / "tr" / "train.jsonl").write_text(lines)
    code = main(
        ["compare", str(apart), "--model", str(usual["model"]), "--target", "tr", "--plan"]
        + ["--folds", "2"]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "does not fit: shifcon: contrastive learning needs translation pairs" in said.out
    assert "does not fit: cl-icp:" not in said.out
    found = isogloss.compare(
        **usual | {"methods": ("auto",)}, out=tmp_path / "out", plan=True, quantization="4bit"
    )
    whole = {"direct-transfer", "ft", "tl", "mtl", "shifcon", "cl-ict"}
    assert set(found.left_out) == whole
    assert "which a model held in 4 bits does not allow" in found.left_out["ft"]


def test_the_command_says_which_run_to_use_and_why(made, usual, capsys):
    command = ["compare", str(usual["task"]), "--model", str(usual["model"]), "--target", "tr"]
    command += ["--methods", *NAMED, "--seeds", "1", "2", "--epochs", "1", "--folds", "2"]
    command += ["--out", str(made.folder)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert made.recommendation.why in said.replace("\n", " ")
    assert f"isogloss predict {made.folder / 'best'}" in said
    assert "numbers, en to tr" in said
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made.content
    assert main(["report", str(made.folder), "--out", str(made.folder.parent / "page")]) == 0


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"methods": ("cl-icq",)}, ConfigError, "no method 'cl-icq'; there is zero-shot"),
        (
            {"methods": ("auto", "mtl")},
            ConfigError,
            "methods has auto, .*, and mtl",
        ),
        ({"methods": ("mtl", "mtl")}, ConfigError, "methods has mtl twice"),
        ({"methods": ()}, ConfigError, "no method to compare"),
        ({"seeds": ()}, ConfigError, "no seed"),
        ({"seeds": (1, 1)}, ConfigError, "seeds has 1 twice"),
        ({"minutes": 0}, ConfigError, "minutes is 0; it must be above 0"),
        ({"folds": 1}, ConfigError, "folds is 1"),
        ({"folds": 13}, ConfigError, "13 folds asked of 12 training items; lower --folds"),
        ({"target": "en"}, ConfigError, "'en' is numbers's dominant language"),
        ({"task": "no/such.yaml"}, (ConfigError, DataError), "no/such.yaml"),
        ({"model": "no/model"}, ModelError, "no/model"),
        ({"choose": ("epoch=1,2",)}, ConfigError, "no setting 'epoch'"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(given, kind, said, usual, tmp_path):
    with pytest.raises(kind, match=said):
        isogloss.compare(**usual | given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(usual, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files than a comparison's"):
        isogloss.compare(**usual, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
