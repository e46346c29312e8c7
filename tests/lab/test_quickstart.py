from __future__ import annotations

import json

import pytest

from isogloss.cli.main import main
from isogloss.errors import ConfigError
from isogloss.lab import quickstart as module
from isogloss.lab.quickstart import quickstart
from isogloss.runs import DIAGNOSIS, read_json_file

NAMES = ["zero-shot", "icl", "direct-transfer", "mtl", "cl-icp"]


@pytest.fixture(scope="module")
def short():
    """The quickstart with a few updates of each method."""
    patch = pytest.MonkeyPatch()
    few = {name: {**given, "max_steps": 3} for name, given in module.METHODS.items()}
    patch.setattr(module, "METHODS", few)
    patch.setattr(module, "SIZES", module.TaskSizes(30, 10, 40))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def made(short, tmp_path_factory):
    return quickstart(tmp_path_factory.mktemp("quick"), dial="middle", task="label", seed=7)


def test_the_table_has_five_systems_on_the_same_items(made) -> None:
    assert [row["name"] for row in made.rows] == NAMES
    assert {row["items"] for row in made.rows} == {40}
    assert all(row["low"] <= row["value"] <= row["high"] for row in made.rows)
    table = json.loads((made.folder / "label-s7.json").read_text(encoding="utf-8"))
    assert table["rows"] == json.loads(json.dumps(made.rows))
    assert (table["task"], table["dial"], table["seed"]) == ("label", "middle", 7)


def test_it_begins_with_the_diagnosis_of_its_model(made) -> None:
    found = made.diagnosis
    assert (found.source, found.target, found.task) == ("a", "b", "label")
    assert found.now.closeness.pairs >= 20
    assert found.now.direction is not None
    assert found.now.attention is not None
    assert read_json_file(found.folder / DIAGNOSIS)["model"] == "model"


def test_each_method_left_a_run_that_other_commands_take(made, capsys) -> None:
    assert set(made.runs) == {"direct-transfer", "mtl", "cl-icp"}
    for name, run in made.runs.items():
        assert run.record["method"]["name"] == name
        assert run.record["seed"] == 7
        assert main(["evaluate", str(run.folder), "--json"]) == 0
        assert 0 <= json.loads(capsys.readouterr().out)["value"] <= 1
    item = json.loads((made.task / "b" / "test.jsonl").read_text(encoding="utf-8").split("\n")[0])
    fields = [
        part for name in ("premise", "hypothesis") for part in ("--field", f"{name}={item[name]}")
    ]
    assert main(["predict", str(made.runs["cl-icp"].folder), *fields, "--json"]) == 0
    assert main(["tasks", "check", str(made.task)]) == 0


def test_the_same_again_trains_nothing_and_says_the_same(made, short) -> None:
    logs = {name: run.folder / "log.jsonl" for name, run in made.runs.items()}
    before = {name: path.stat().st_mtime_ns for name, path in logs.items()}
    again = quickstart(made.folder.parent, dial="middle", task="label", seed=7)
    assert again.rows == made.rows
    assert {name: path.stat().st_mtime_ns for name, path in logs.items()} == before


def test_the_command_prints_the_table_and_where_everything_is(short, tmp_path, capsys) -> None:
    line = ["quickstart", "--task", "choice", "--dial", "low", "--out", str(tmp_path / "q")]
    assert main(line) == 0
    told = capsys.readouterr().out
    for name in NAMES:
        assert name in told
    assert str(tmp_path / "q" / "low" / "runs") in told
    assert "next:" in told
    asked = [
        each.question
        for each in quickstart(
            tmp_path / "q", dial="low", task="choice", seed=42
        ).diagnosis.findings
    ]
    assert len(asked) == 5
    places = [told.index(question) for question in asked]
    assert places == sorted(places)
    assert places[-1] < told.index("direct-transfer")
    assert main([*line, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in content["rows"]] == NAMES
    assert [each["question"] for each in content["diagnosis"]["findings"]] == asked


def test_an_unknown_task_or_dial_is_a_users_mistake(tmp_path, capsys) -> None:
    with pytest.raises(ConfigError, match="no task 'lable'; .*label"):
        quickstart(tmp_path, dial="low", task="lable", seed=1)
    assert main(["quickstart", "--task", "lable", "--out", str(tmp_path / "q")]) == 2
    assert "no task 'lable'" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
