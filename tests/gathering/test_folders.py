"""What a report is made of: which folders are read, how rows are named, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isogloss.errors import RunError
from isogloss.gathering.folders import gather
from isogloss.outcomes import Place, read_outcome
from isogloss.runs import key_of
from report_runs import write_grid, write_run


def rows(gathered) -> list[str]:
    return [outcome.place.row for outcome in gathered.outcomes]


def test_an_outcome_holds_what_the_run_says(tmp_path):
    f1 = {"i0": 0.5, "i1": 0, "i2": 1}
    right = (True, False, True)
    folder = write_run(tmp_path, "cl-icp", right=right, share=0.25, extra={"f1": f1})
    found = read_outcome(folder)
    assert found.place == Place("cl-icp", "tiny", "parity", "tr", 42, 0.25)
    assert found.values["accuracy"] == {"i0": 1.0, "i1": 0.0, "i2": 1.0}
    assert found.values["f1"] == {"i0": 0.5, "i1": 0.0, "i2": 1.0}
    assert found.facts["seconds"] == 1.5
    assert found.facts["trained_parameters"] is None
    assert (found.facts["demonstrations"], found.facts["chosen"]) == (3, "as given")
    assert found.details["learning_rate"] == "0.001"


def test_runs_are_found_at_any_depth_and_once(tmp_path):
    first = write_run(tmp_path / "a" / "b", "mtl")
    write_run(tmp_path / "a", "cl-icp")
    hidden = write_run(tmp_path / ".trash", "tl")
    assert hidden.is_dir()
    found = gather([tmp_path, first, tmp_path / "a"])
    assert sorted(rows(found)) == ["cl-icp", "mtl"]


def test_unfinished_and_unevaluated_runs_are_named_and_passed_over(tmp_path):
    write_run(tmp_path, "mtl")
    unfinished = write_run(tmp_path, "tl", finished=False)
    unscored = write_run(tmp_path, "ft", scored=False)
    damaged = write_run(tmp_path, "cl-icp")
    lines = (damaged / "predictions.jsonl").read_text().splitlines(keepends=True)
    (damaged / "predictions.jsonl").write_text("".join(lines[:2]))
    found = gather([tmp_path])
    assert rows(found) == ["mtl"]
    assert len(found.notes) == 3
    expected = {
        unfinished: "not finished",
        unscored: "isogloss evaluate",
        damaged: "found 2 predictions; expected 4",
    }
    for folder, said in expected.items():
        assert any(str(folder) in note and said in note for note in found.notes)


@pytest.mark.parametrize("kind", ["missing", "empty", "unscored"])
def test_nothing_to_report_is_refused(kind, tmp_path):
    if kind == "unscored":
        write_run(tmp_path, scored=False)
    folder = tmp_path / "nowhere" if kind == "missing" else tmp_path
    expected = {
        "missing": "no such folder: .*nowhere",
        "empty": r"found no run\.json, no grid\.json and no diagnosis\.json",
        "unscored": "found nothing to report(.|\n)*isogloss evaluate",
    }
    with pytest.raises(RunError, match=expected[kind]):
        gather([folder])


# ---- names -----------------------------------------------------------------------------------


def test_rows_of_one_method_are_named_by_what_differs(tmp_path):
    write_run(tmp_path, "cl-icp", k=1)
    write_run(tmp_path, "cl-icp", k=3)
    write_run(tmp_path, "mtl")
    assert sorted(rows(gather([tmp_path]))) == ["cl-icp, k 1", "cl-icp, k 3", "mtl"]


def test_settings_that_differ_between_seeds_split_a_row_and_between_languages_are_noted(tmp_path):
    write_run(tmp_path / "seeds", "cl-icp", k=1, seed=42)
    write_run(tmp_path / "seeds", "cl-icp", k=3, seed=43)
    assert set(rows(gather([tmp_path / "seeds"]))) == {"cl-icp, k 1", "cl-icp, k 3"}
    write_run(tmp_path / "languages", "cl-icp", k=1, target="tr")
    write_run(tmp_path / "languages", "cl-icp", k=3, target="es")
    found = gather([tmp_path / "languages"])
    assert set(rows(found)) == {"cl-icp"}
    assert any("cells differ in k" in note for note in found.notes)


def test_settings_that_were_chosen_for_each_run_do_not_split_a_row(tmp_path):
    for seed, k in ((42, 1), (43, 3)):
        write_run(tmp_path, "cl-icp", k=k, seed=seed, chosen="k by 5-fold validation")
    found = gather([tmp_path])
    assert set(rows(found)) == {"cl-icp"}
    assert any("cells differ in k" in note for note in found.notes)


def test_two_runs_that_nothing_tells_apart_are_refused(tmp_path):
    one = write_run(tmp_path, "mtl", name="a")
    other = write_run(tmp_path, "mtl", name="b")
    with pytest.raises(RunError, match="two runs are of one place") as error:
        gather([tmp_path])
    assert str(one) in str(error.value)
    assert str(other) in str(error.value)


def test_models_of_one_name_are_told_apart(tmp_path):
    write_run(tmp_path, "mtl", model="/x/tiny", fingerprint="aaaaaaaa")
    write_run(tmp_path, "mtl", model="/y/tiny", fingerprint="bbbbbbbb")
    found = gather([tmp_path])
    assert {o.place.model for o in found.outcomes} == {"tiny (aaaaaa)", "tiny (bbbbbb)"}


def test_the_base_models_own_answers_stand_beside_the_runs(tmp_path):
    for method in ("mtl", "cl-icp"):
        run = write_run(tmp_path, method)
        scores = json.loads((run / "scores.json").read_text())
        folder = run / "evaluations" / f"tr-{key_of(scores['setting'])[:8]}"
        folder.mkdir(parents=True)
        names = ["zero-shot", "icl"] if method == "cl-icp" else ["zero-shot"]
        scores["baselines"] = [{"name": name, "items": 4, "skipped": 0} for name in names]
        (folder / "scores.json").write_text(json.dumps(scores))
        for name in names:
            (folder / f"{name}.jsonl").write_text((run / "predictions.jsonl").read_text())
    found = gather([tmp_path])
    assert sorted(rows(found)) == ["cl-icp", "icl", "mtl", "zero-shot"]
    untuned = {o.place.row: o.facts["demonstrations"] for o in found.outcomes if o.untuned}
    assert untuned == {"zero-shot": 0, "icl": 3}


# ---- what can be compared --------------------------------------------------------------------


def test_other_test_items_are_refused_by_run_and_item(tmp_path):
    one = write_run(tmp_path, "cl-icp", right={"a": True, "b": True, "c": False})
    other = write_run(tmp_path, "mtl", right={"a": True, "b": True, "x": False, "y": True})
    with pytest.raises(RunError, match="cannot be compared") as error:
        gather([tmp_path])
    text = str(error.value)
    assert f"{one} has 3 ('c' only there)" in text
    assert f"{other} has 4 ('x', 'y' only there)" in text
    assert "parity, tr, seed 42" in text


def test_as_many_but_other_items_are_refused(tmp_path):
    write_run(tmp_path, "cl-icp", right={"a": True, "b": True})
    write_run(tmp_path, "mtl", right={"a": True, "c": True})
    with pytest.raises(RunError, match=r"has 2 \('b' only there\); .* has 2 \('c' only there\)"):
        gather([tmp_path])


def test_items_may_differ_between_seeds_and_languages(tmp_path):
    write_run(tmp_path, "mtl", right={"a": True}, seed=42)
    write_run(tmp_path, "mtl", right={"b": True}, seed=43)
    write_run(tmp_path, "mtl", right={"c": True}, target="es")
    assert len(gather([tmp_path]).outcomes) == 3


@pytest.mark.parametrize("seed", [42, 43])
def test_other_data_is_refused_by_run_and_file(seed, tmp_path):
    one = write_run(tmp_path, "cl-icp")
    other = write_run(tmp_path, "mtl", seed=seed, data={"tr/test.jsonl": "e" * 64})
    with pytest.raises(RunError, match=r"other data \(tr/test.jsonl\)") as error:
        gather([tmp_path])
    assert str(one) in str(error.value)
    assert str(other) in str(error.value)


def test_other_metrics_are_refused(tmp_path):
    write_run(tmp_path, "cl-icp")
    write_run(tmp_path, "mtl", metric="f1", extra={"f1": {f"i{n}": 1.0 for n in range(4)}})
    with pytest.raises(RunError, match="scored by"):
        gather([tmp_path])


# ---- grids -----------------------------------------------------------------------------------


def test_a_grid_gives_outcomes_failures_and_what_was_planned(tmp_path):
    run = write_run(tmp_path / "runs", "mtl")
    cells = [
        ({"row": "MTL"}, {"state": "done", "run": f"../runs/{run.name}"}),
        ({"row": "TL"}, {"state": "failed", "error": "out of memory"}),
        ({"row": "FT"}, None),
        ({"row": "CL-ICP"}, {"state": "done", "run": "../runs/gone"}),
    ]
    found = gather([write_grid(tmp_path / "grid", cells)])
    assert [o.place for o in found.outcomes] == [Place("MTL", "tiny", "parity", "tr", 42, 1.0)]
    reasons = {f.place.row: f.reason for f in found.failures}
    assert reasons["TL"] == "out of memory"
    assert "gone" in reasons["CL-ICP"]
    assert [place.row for place in found.planned] == ["MTL", "TL", "FT", "CL-ICP"]
    assert found.title == "Table 2"
    assert any("1 of 4 cells not run" in note for note in found.notes)


def test_a_grids_cell_may_name_an_evaluation(tmp_path):
    run = write_run(tmp_path / "runs", "mtl")
    folder = run / "evaluations" / "tr-x"
    folder.mkdir(parents=True)
    for name in ("scores.json", "predictions.jsonl"):
        (run / name).rename(folder / name)
    done = {"state": "done", "run": f"../runs/{run.name}", "evaluation": "evaluations/tr-x"}
    found = gather([write_grid(tmp_path / "grid", [({"row": "MTL"}, done)])])
    assert rows(found) == ["MTL"]


@pytest.mark.parametrize(
    ("cell", "state", "said"),
    [
        ({"row": "MTL"}, {"state": "perhaps"}, "found state 'perhaps'"),
        ({}, None, "cell c0: found no row"),
    ],
)
def test_damaged_grids_are_refused(cell, state, said, tmp_path):
    with pytest.raises(RunError, match=said):
        gather([write_grid(tmp_path / "grid", [(cell, state)])])
    (tmp_path / "grid" / "grid.json").write_text('{"cells": 3}')
    with pytest.raises(RunError, match="found no list of cells"):
        gather([tmp_path / "grid"])


def test_a_cell_of_another_run_counts_as_failed(tmp_path):
    run = write_run(tmp_path / "runs", "mtl", seed=43)
    done = {"state": "done", "run": f"../runs/{run.name}"}
    found = gather([write_grid(tmp_path / "grid", [({"row": "MTL"}, done)])])
    assert not found.outcomes
    assert "expected that of MTL, org/tiny, parity, tr, seed 42" in found.failures[0].reason


def test_paths_of_other_roots_are_read_from_the_grid(tmp_path, monkeypatch):
    run = write_run(tmp_path / "grid" / "runs", "mtl")
    done = {"state": "done", "run": f"runs/{run.name}"}
    (tmp_path / "grid").rename(tmp_path / "half")
    write_grid(tmp_path / "grid", [({"row": "MTL"}, done)])
    (tmp_path / "half" / "runs").rename(tmp_path / "grid" / "runs")
    monkeypatch.chdir(tmp_path)
    assert rows(gather([Path("grid")])) == ["MTL"]


def test_a_grids_task_may_be_a_path_and_its_models_may_share_a_short_name(tmp_path):
    cells = []
    for model in ("a/tiny", "b/tiny"):
        run = write_run(tmp_path / "runs", "mtl", model=model)
        cell = {"row": "MTL", "task": "tasks/mine/task.yaml", "model": model}
        cells.append((cell, {"state": "done", "run": f"../runs/{run.name}"}))
    cells.append(({**cells[0][0], "row": "TL"}, {"state": "failed", "error": "x"}))
    found = gather([write_grid(tmp_path / "grid", cells)])
    assert {place.task for place in found.planned} == {"parity"}
    assert {o.place.model for o in found.outcomes} == {"a/tiny", "b/tiny"}
    assert {o.place for o in found.outcomes} < set(found.planned)
    assert found.failures[0].place in found.planned
