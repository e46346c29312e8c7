"""Grids carried out: by one process or several, on Ray, through kills and failures."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isogloss.cli import main as main_module
from isogloss.cli.main import main
from isogloss.errors import ConfigError
from isogloss.experiments import carrying_out, on_ray, workers
from isogloss.experiments.carrying_out import Result, carry_out
from isogloss.experiments.grid import Cell
from isogloss.experiments.reproducing import plan, reproduce
from isogloss.experiments.running import time_left, what_is_left
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
    trained, plain = [], carrying_out.selecting.train

    def counted(given):
        trained.append(given.method)
        return plain(given)

    monkeypatch.setattr(carrying_out.selecting, "train", counted)
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


def running(process: int) -> bool:
    """Whether a process lives; one that ended may still be listed until it is waited for."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_the_command_may_be_killed_and_its_workers_go_with_it(
    settings, wanted, real_data, model_folder, tmp_path
):
    """Left alone, they would go on with the runs that the same command, given again, takes up."""
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
    )
    assert process.stderr
    for line in process.stderr:
        if ", seed 42: " in line:
            break
    workers = [int(log.stem.split("-")[1]) for log in (tmp_path / "grid" / "logs").iterdir()]
    assert any(running(one) for one in workers)
    process.kill()
    process.wait()
    process.stderr.close()
    until = time.time() + 20
    while any(running(one) for one in workers) and time.time() < until:
        time.sleep(0.1)
    assert not any(running(one) for one in workers)
    before = plan(settings())
    assert 1 <= before.count("done") < 5
    assert numbers(reproduce(settings())) == wanted


def test_ctrl_c_says_what_is_left(settings, wanted, monkeypatch, capsys):
    def stopped(self, jobs):
        for job in itertools.islice(jobs, 1):
            carry_out(job.folder, job.cells, job.place)
            yield workers.Outcome(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.Here, "run", stopped)
    monkeypatch.setattr(main_module.reproduce, "reproduce", lambda _: reproduce(settings()))
    assert main(["reproduce", "table4"]) == 130
    said = capsys.readouterr().err
    assert "TL + ICL, xcopa tr, seed 42: " in said
    assert said.count("2 runs left, about 1 min") == 2  # after the first run, and at the end
    assert "stopped" in said
    monkeypatch.undo()
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

    monkeypatch.setattr(carrying_out.selecting, "train", broken)
    made = reproduce(settings(rows=("MTL",)))
    assert [r.content["error"] for r in made.results] == ["ZeroDivisionError: by design"]


def test_on_a_local_ray_of_two_workers_one_of_which_is_killed(
    settings, wanted, tmp_path, monkeypatch, capsys
):
    """The run of MTL kills its worker once, that of TL always."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    mark, work = tmp_path / "killed", on_ray._ray_work

    def deadly(job, threads):
        row = job.cells[0].row
        if row == "TL" or (row == "MTL" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        work(job, threads)

    monkeypatch.setattr(on_ray, "_ray_work", deadly)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of a cluster that is not meant
    made = reproduce(settings(ray="local", workers=2))
    assert mark.exists()
    failed = {r.cell.row: r.content["error"] for r in made.results if r.state == "failed"}
    assert failed.keys() == {"TL", "TL + ICL"}
    assert "its worker was killed twice" in failed["TL"]
    done = {place: value for place, value in numbers(made).items() if value is not None}
    assert done == {place: wanted[place] for place in done}
    assert len(done) == 3
    assert capsys.readouterr().out == ""


def test_without_ray_nothing_is_begun(settings, monkeypatch):
    monkeypatch.setattr(on_ray.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'isogloss\[ray\]'"):
        reproduce(settings(ray="local"))
    assert not settings().out.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "here:port", "localhost:"])
def test_a_ray_that_does_not_answer_is_refused_at_once(settings, address):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(ConfigError, match=f"cannot reach Ray at '{address}': .*ray start --head"):
        reproduce(settings(ray=address))
    assert not settings().out.exists()


def test_workers_take_turns_at_the_gpus(settings, monkeypatch):
    seen = []

    class Process:
        def __init__(self, target, args, daemon):
            self.pid = 0

        def start(self):
            seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr(workers.torch.cuda, "device_count", lambda: 2)
    made = workers.Processes(3)
    monkeypatch.setattr(made._context, "Process", Process, raising=False)
    job = workers.Job(settings().out, (), {})
    for _ in range(3):
        made._start(job, 1).connection.close()
    assert seen == ["5", "7", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"


def test_another_model_in_the_same_place_is_another_model(settings, model_folder, tmp_path):
    place = Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))
    usual = {"models": (str(place),), "rows": ("MTL",)}
    assert reproduce(settings(**usual)).count("done") == 1
    moved = place.rename(tmp_path / "moved")
    assert plan(settings(**usual | {"models": (str(moved),)})).count("done") == 1
    (moved / "added.txt").write_text("other words")
    assert plan(settings(**usual | {"models": (str(moved),)})).count("left") == 1


def test_time_left_is_that_of_the_nearest_runs():
    def cell(row, task):
        return Cell(row, "m", task, "tr", 42, 1.0, {}, {})

    def done(row, task, seconds):
        return Result(cell(row, task), "done", {"seconds": seconds})

    failed = Result(cell("MTL", "xcopa"), "failed", {"seconds": 9999})
    assert time_left([failed], [cell("MTL", "xcopa")], 1) is None
    there = [done("MTL", "xcopa", 10), done("MTL", "xcopa", 20), done("TL", "xquad", 300), failed]
    assert time_left(there, [cell("MTL", "xcopa")], 1) == 15  # its row and task
    assert time_left(there, [cell("FT", "xquad")], 1) == 300  # its task
    assert time_left(there, [cell("TL", "xnli")], 1) == 300  # its row
    assert time_left(there, [cell("FT", "xnli")], 1) == 110  # all
    two = [cell("MTL", "xcopa"), cell("TL", "xquad")]
    assert time_left(there, two, 1) == 315
    assert time_left(there, two, 2) == time_left(there, two, 8) == 157.5
    assert what_is_left(there, [(one,) for one in two], 2) == "2 runs left, about 3 min"


def said(arguments, capsys) -> tuple[int, str, str]:
    code = main(arguments)
    out, error = capsys.readouterr()
    return code, out, error


def test_the_experiments_are_listed(capsys):
    code, out, _ = said(["experiments"], capsys)
    assert code == 0
    assert "In-context learning with different demonstration samples" in out
    code, out, _ = said(["experiments", "--json"], capsys)
    rows = json.loads(out)
    assert [row["name"] for row in rows][:3] == ["table2", "table3", "table4"]
    trained = [row for row in rows if row["printed numbers"] is not None]
    assert len(trained) == 8
    assert sum(row["printed numbers"] for row in trained) == 308 + 77
    assert [row["name"] for row in rows[8:]] == ["table1", "fig1", "fig2", "eq3", "mechanism"]


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
