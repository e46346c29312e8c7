"""Grids carried out: by one process or several, on Ray, through kills and failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from isogloss import training
from isogloss.cli.main import main
from isogloss.experiments import carrying_out, workers
from isogloss.experiments.reproducing import plan, reproduce
from isogloss.settings import ReproduceSettings


@pytest.fixture
def settings(real_data, model_folder, tmp_path):
    """Table 4 for Turkish with 8 items: five cells of three training runs."""

    def make(**given) -> ReproduceSettings:
        usual = {
            "models": (str(model_folder("llama")),),
            "data": str(real_data),
            "targets": ("tr",),
            "limit": 8,
            "epochs": 1,
            "out": tmp_path / "grid",
        }
        return ReproduceSettings(**({"experiment": "table4"} | usual | given))

    return make


def numbers(made) -> dict[tuple[str, str], float]:
    return {(r.cell.row, r.cell.language): r.value for r in made.results}


@pytest.fixture(scope="module")
def wanted(request, model_folder, tmp_path_factory):
    """The numbers that one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    real = request.getfixturevalue("real_data")
    made = reproduce(
        ReproduceSettings(
            "table4",
            models=(str(model_folder("llama")),),
            data=str(real),
            targets=("tr",),
            limit=8,
            epochs=1,
            out=folder,
        )
    )
    assert made.count("done") == 5
    assert len(list((folder / "runs").iterdir())) == 3
    return numbers(made)


def test_what_is_done_is_not_done_again(settings, wanted, monkeypatch, capsys):
    first = reproduce(settings(rows=("MTL", "CL-ICP")))
    assert first.count("done") == 2
    trained, plain = [], training.train

    def counted(given):
        trained.append(given.method)
        return plain(given)

    monkeypatch.setattr(carrying_out.training, "train", counted)
    made = reproduce(settings())
    assert numbers(made) == wanted
    assert trained == ["tl", "mtl"]  # MTL's run is there, its scores with demonstrations are not
    assert "5 cells: 2 done, 3 to do" in capsys.readouterr().err
    trained.clear()
    assert numbers(reproduce(settings())) == wanted
    assert trained == []


def test_two_processes_one_of_which_is_killed(settings, wanted):
    """Whatever the order in which cells end, and though a worker dies: the same numbers."""
    killed = []
    made = workers.Processes(2)
    start = made._start

    def started(job, attempt):
        one = start(job, attempt)
        if len(killed) < 1 and job.cells[0].row == "MTL":
            time.sleep(2)
            os.kill(one.process.pid, signal.SIGKILL)
            killed.append(job)
        return one

    made._start = started
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isogloss.experiments.reproducing._workers", lambda _: made)
        done = reproduce(settings())
    assert len(killed) == 1
    assert numbers(done) == wanted
    logs = list((settings().out / "logs").iterdir())
    assert len(logs) >= 2
    assert any("training" in log.read_text() for log in logs)


def test_a_worker_that_always_dies_is_given_up_and_said(settings, wanted):
    made = workers.Processes(2)
    start = made._start

    def started(job, attempt):
        one = start(job, attempt)
        if job.cells[0].row == "MTL":
            os.kill(one.process.pid, signal.SIGKILL)
        return one

    made._start = started
    give = workers._Busy.give

    def given(self, job, attempt):
        return give(self, job, attempt) and (
            job.cells[0].row != "MTL" or not os.kill(self.process.pid, signal.SIGKILL)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isogloss.experiments.reproducing._workers", lambda _: made)
        patch.setattr(workers._Busy, "give", given)
        done = reproduce(settings(rows=("MTL", "MTL + ICL")))
    failed = {r.cell.row: r.content["error"] for r in done.results if r.state == "failed"}
    assert failed.keys() == {"MTL", "MTL + ICL"}
    assert "its worker was killed twice" in failed["MTL"]
    again = numbers(reproduce(settings(rows=("MTL",))))
    assert again == {("MTL", "tr"): wanted["MTL", "tr"]}


def test_the_whole_command_may_be_killed(settings, wanted, real_data, model_folder, tmp_path):
    command = [
        *(sys.executable, "-m", "isogloss", "reproduce", "table4", "--workers", "2"),
        *("--models", str(model_folder("llama")), "--data", str(real_data), "--targets", "tr"),
        *("--limit", "8", "--epochs", "1", "--out", str(tmp_path / "grid")),
    ]
    paths = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    for line in process.stderr:
        if ", seed 42: " in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    before = plan(settings())
    assert 1 <= before.count("done") < 5
    assert numbers(reproduce(settings())) == wanted


def test_a_cell_that_fails_does_not_stop_the_others(settings, capsys):
    made = reproduce(
        settings(
            experiment="table2", targets=("tr", "zh"), tasks=("xcopa",), rows=("MTL", "ShifCon")
        )
    )
    states = {(r.cell.row, r.cell.language): r.state for r in made.results}
    assert states == {
        ("MTL", "tr"): "done",
        ("MTL", "zh"): "done",
        ("ShifCon", "tr"): "failed",  # among 8 items of each language no two are translations
        ("ShifCon", "zh"): "failed",
    }
    said = capsys.readouterr().err
    assert (
        "ShifCon, xcopa tr, seed 42: failed: contrastive learning needs translation pairs" in said
    )
    for result in made.results:
        if result.state == "failed":
            assert result.content["error"] in said


def test_a_bug_in_a_cell_is_kept_with_its_kind(settings, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(carrying_out.training, "train", broken)
    made = reproduce(settings(rows=("MTL",)))
    assert [r.content["error"] for r in made.results] == ["ZeroDivisionError: by design"]


def test_on_a_local_ray_of_two_workers(settings, wanted):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert numbers(reproduce(settings(ray="local", workers=2))) == wanted


def said(arguments, capsys) -> tuple[int, str, str]:
    code = main(arguments)
    out, error = capsys.readouterr()
    return code, out, error


def test_the_plan_runs_nothing(real_data, model_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["--models", str(model_folder("llama")), "--data", str(real_data), "--plan"]
    code, out, _ = said(["reproduce", "table2", *given], capsys)
    assert code == 0
    assert "72 cells: 0 done, 0 failed, 72 left; folder: reproductions/table2-smoke" in out
    assert list(tmp_path.iterdir()) == []
    code, out, _ = said(["reproduce", "fig6", *given, "--scale", "paper", "--json"], capsys)
    assert len(json.loads(out)["cells"]) == 120


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["table9"], "no experiment 'table9'"),
        (["table2"], "no model to run: give --models"),
        (["table2", "--models", "./nowhere"], "no such model folder: ./nowhere"),
        (["table2", "--models", "MODEL", "--targets", "de"], "no target language in table2 'de'"),
        (["table2", "--models", "MODEL", "--workers", "0"], "workers is 0; it must be 1 or more"),
        (["table2", "--models", "MODEL", "--limit", "0"], "limit is 0; it must be 1 or more"),
    ],
)
def test_mistakes_are_said_before_anything_is_run(
    given, words, model_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    line = [str(model_folder("llama")) if word == "MODEL" else word for word in given]
    code, out, error = said(["reproduce", *line], capsys)
    assert (code, out) == (2, "")
    assert words in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
