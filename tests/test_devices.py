"""Several processes train one run: the same numbers as one, whole or in pieces, and no hang."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import device_worker
import isogloss
from isogloss.runs import Run, list_runs
from test_training import write_task

IN_PIECES = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
CASES: dict[str, dict[str, Any]] = {
    # Updates of 3 + 3 + 2 targets in two processes; the last one of a batch alone.
    "uneven": dict(demonstrations=2, batch_size=3, gradient_accumulation=2),
    # A process has nothing of its own, and a plain pass comes before each shifted one.
    "shifted": dict(method="cl-icp-s", demonstrations=2, batch_size=1, gradient_checkpointing=True),
    "contrasted": dict(method="shifcon", learning_rate=1e-3, epochs=1),
    "lora": dict(method="mid-align", lora_dropout=0.0, epochs=1),
    "context": dict(method="cpt"),
    "prefix": dict(method="prefix-tuning"),
    "full": dict(method="ft", learning_rate=1e-3, gradient_checkpointing=True),
    "chosen": dict(demonstrations=2, epochs=1, choose=("learning-rate=1e-3,5e-3",)),
}
QUICK = {  # those that each way of holding the model can break; `slow` has all
    "whole": ("uneven", "contrasted", "full"),
    "in pieces": ("uneven", "shifted", "contrasted", "context", "prefix", "full"),
}
PLACES = [(how, case) for how, cases in QUICK.items() for case in cases]


@pytest.fixture(scope="module", autouse=True)
def forks() -> None:
    """Processes are forked from one that has imported everything, which takes seconds."""
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["device_worker"])


@pytest.fixture
def heard(tmp_path: Path) -> Callable[[], list[str]]:
    """What each process said on standard error."""
    return lambda: [path.read_text() for path in sorted(tmp_path.glob("said/**/stderr.log"))]


def launch(target: Callable[..., None], *given: Any, said: Path | None = None) -> None:
    """Two processes, as torchrun and accelerate launch start and watch them."""
    logs = DefaultLogsSpecs(str(said), redirects=Std.ALL) if said else DefaultLogsSpecs()
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="devices",
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
        monitor_interval=0.1,
        logs_specs=logs,
    )
    elastic_launch(settings, target)(*given)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"), {})


@pytest.fixture(scope="module")
def jobs(task: Path, model_folder) -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Every case's settings, below a folder."""
    models = {name: "gemma3" if name in ("full", "shifted") else "llama" for name in CASES}

    def made(out: Path) -> dict[str, dict[str, Any]]:
        common = {"task": str(task), "target": "tr", "patience": 9, "epochs": 2}
        return {
            name: common | case | {"model": str(model_folder(models[name])), "out": out / name}
            for name, case in CASES.items()
        }

    return made


def only(out: Path) -> Run:
    (run,) = list_runs(out)
    return run


@pytest.fixture(scope="module")
def alone(jobs, tmp_path_factory) -> Callable[[str], Run]:
    """The run that one process comes to, made when it is first asked for."""
    made = jobs(tmp_path_factory.mktemp("alone"))
    return cache(lambda name: isogloss.train(**made[name]))


@pytest.fixture(scope="module")
def together(jobs, tmp_path_factory) -> Callable[..., dict[str, Run]]:
    """The runs that two processes come to, with the model whole on both or in pieces."""

    @cache
    def made(how: str, cases: tuple[str, ...] = ()) -> dict[str, Run]:
        own = jobs(tmp_path_factory.mktemp("together"))
        own = {name: own[name] for name in cases or QUICK[how]}
        launch(device_worker.train_all, own, IN_PIECES if how == "in pieces" else {})
        runs = {name: only(job["out"]) for name, job in own.items()}
        for run in runs.values():
            assert run.record["processes"] == 2
            assert run.record["in_pieces"] == (how == "in pieces")
        return runs

    return made


def assert_same(one: Run, two: Run, weights: float = 1e-5) -> None:
    """The same steps, losses within 1e-5 of each other, and the same weights."""
    assert two.finished
    assert two.record["key"] == one.record["key"]
    assert len(one.log) == len(two.log) > 1
    for entry, other in zip(one.log, two.log, strict=True):
        assert (entry["stage"], entry["step"]) == (other["stage"], other["step"])
        assert set(entry) == set(other)
        for name in {"loss", "eval_loss", "grad_norm"} & set(entry):
            assert entry[name] == pytest.approx(other[name], rel=1e-5), name
    assert {path.name for path in one.adapter.iterdir()} == {p.name for p in two.adapter.iterdir()}
    for path in one.adapter.glob("*.safetensors"):
        own, others = load_file(path), load_file(two.adapter / path.name)
        assert set(own) == set(others)
        for name, value in own.items():
            assert float((value - others[name]).abs().max()) < weights, name


def tolerance(case: str) -> float:
    """Adam divides by the size of gradients, so rounding shows in weights whose gradient is 0."""
    return 2e-5 if case in ("full", "contrasted") else 1e-6


@pytest.mark.parametrize(("how", "case"), PLACES)
def test_two_processes_learn_what_one_learns(how, case, alone, together):
    assert_same(alone(case), together(how)[case], tolerance(case))


@pytest.mark.slow
@pytest.mark.parametrize("how", QUICK)
def test_two_processes_learn_what_one_learns_by_every_method(how, alone, together):
    for case, run in together(how, tuple(CASES)).items():
        assert_same(alone(case), run, tolerance(case))


@pytest.mark.parametrize("case", ["shifted", "full"])
def test_what_they_leave_is_a_run_like_any_other(case, alone, together):
    runs = alone(case), together("in pieces")[case]
    one, two = map(isogloss.evaluate, runs)
    assert one.value == two.value
    entries = zip(*(run.predictions for run in runs), strict=True)
    for entry, other in entries:
        assert entry["prediction"] == other["prediction"]
        told = (entry["log_probabilities"], other["log_probabilities"])
        assert told[0] == pytest.approx(told[1], rel=1e-4)
    item = [{"text": "tr number 3"}]
    (own,), (others,) = (isogloss.predict(run, item) for run in runs)
    assert own.text == others.text


def words(job: dict[str, Any], *more: str) -> list[str]:
    """A training command of every kind of option that CASES has."""
    options = {name: value for name, value in job.items() if name != "task"}
    flags = [f"--{name.replace('_', '-')}" for name in options]
    pairs = zip(flags, options.values(), strict=True)
    given = [
        word for flag, value in pairs for word in ([flag] if value is True else [flag, str(value)])
    ]
    return ["train", job["task"], *given, *more]


def test_a_killed_run_goes_on_in_two_processes_or_in_one(jobs, alone, tmp_path):
    job = jobs(tmp_path / "two")["full"]
    with pytest.raises(ChildFailedError):
        launch(device_worker.failing, words(job), "killed", 4, IN_PIECES)
    (folder,) = (tmp_path / "two" / "full").iterdir()
    assert list(folder.glob("stage-0/checkpoint-2/complete"))
    assert not Run(folder).finished
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    launch(device_worker.command, [words(job)], IN_PIECES)
    assert_same(alone("full"), Run(folder), 2e-5)
    gone_on = isogloss.train(**jobs(tmp_path / "one")["full"])
    assert gone_on.record["processes"] == 1
    assert_same(alone("full"), gone_on, 2e-5)


def test_an_error_in_one_process_ends_all_and_is_told_once(jobs, tmp_path, heard):
    job = jobs(tmp_path)["uneven"]
    with pytest.raises(ChildFailedError):
        launch(device_worker.failing, words(job), "error", 3, {}, said=tmp_path / "said")
    first, second = heard()
    assert "isogloss: the second process cannot go on\n" in second
    assert "isogloss:" not in first
    assert "Traceback" not in first + second


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--share", "2"), "isogloss: share is 2.0; it must be above 0 and at most 1\n"),
        (
            ("--demonstrations", "99"),
            "isogloss: 99 demonstrations asked of both languages together",
        ),
        (("--nothing", "1"), "Unrecognized options: --nothing"),
    ],
)
def test_an_error_in_all_is_told_once(more, told, jobs, tmp_path, heard):
    job = jobs(tmp_path)["full"]
    with pytest.raises(ChildFailedError):
        launch(device_worker.command, [words(job, *more)], {}, said=tmp_path / "said")
    assert "".join(heard()).count(told) == 1
    assert "Traceback" not in "".join(heard())
    assert not (tmp_path / "full").exists()


def test_processes_with_other_data_are_refused(jobs, tmp_path, heard):
    job = jobs(tmp_path)["uneven"]
    (tmp_path / "other").mkdir()
    other = job | {"task": str(write_task(tmp_path / "other", {"train": ("no", "yes")}))}
    with pytest.raises(ChildFailedError):
        launch(device_worker.command, [words(job), words(other)], {}, said=tmp_path / "said")
    told = "isogloss: process 1 has other settings, data or model files than the main one"
    assert "".join(heard()).count(told) == 1
    assert not (tmp_path / "uneven").exists()


def test_evaluation_under_a_launcher_is_refused(alone, tmp_path, heard):
    command = ["evaluate", str(alone("uneven").folder)]
    with pytest.raises(ChildFailedError):
        launch(device_worker.command, [command], {}, said=tmp_path / "said")
    said = "".join(heard())
    assert said.count("isogloss: evaluate works in one process, and WORLD_SIZE says 2") == 1


def accelerate(words: Sequence[str], launched: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The true launcher, without its warnings about what it was not told."""
    told = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    return subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", *told),
            *("--dynamo_backend", "no", *launched, *words),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def test_accelerate_launch_holds_the_model_in_pieces(jobs, alone, tmp_path):
    job = jobs(tmp_path)["uneven"]
    launcher = ["--use_fsdp", "--fsdp_version", "2", "-m", "isogloss"]
    done = accelerate(words(job, "--json"), launcher)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert done.stderr.count("training 6/6") == 0
    assert_same(alone("uneven"), Run(Path(said["run"])))
    assert only(job["out"]).record["in_pieces"]


@pytest.mark.slow
def test_accelerate_launch_starts_the_installed_command(jobs, alone, tmp_path):
    command = shutil.which("isogloss")
    if command is None:
        pytest.skip("the command is not installed")
    for place, launcher in enumerate((["--no_python", command], [command])):
        job = jobs(tmp_path / str(place))["uneven"]
        done = accelerate(words(job, "--json"), ["--multi_gpu", *launcher])
        assert done.returncode == 0, done.stderr
        assert_same(alone("uneven"), Run(Path(json.loads(done.stdout)["run"])))
