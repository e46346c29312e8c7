"""Run folders are held by one process at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from isogloss import placing, training
from isogloss.errors import RunError
from isogloss.runs import claimed
from isogloss.settings import TrainSettings
from xcopa_files import write_xcopa

HOLDER = """
import sys, time
from pathlib import Path
from isogloss.runs import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_claim_is_held_by_one_at_a_time_and_leaves_nothing(tmp_path):
    counter, inside = tmp_path / "counter", []
    counter.write_text("0")

    def count():
        for _ in range(10):
            with claimed(tmp_path / "run"):
                inside.append(1)
                assert len(inside) == 1
                number = int(counter.read_text())
                time.sleep(0.001)
                counter.write_text(str(number + 1))
                inside.pop()

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "60"
    assert [path.name for path in tmp_path.iterdir()] == ["counter"]


def test_a_killed_process_holds_nothing(tmp_path, capsys):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    got = threading.Event()

    def wait():
        with claimed(tmp_path / "run"):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert got.wait(10)
    waiting.join()
    assert "another process trains run; waiting for it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_who_want_the_same_run_train_it_once(model_folder, tmp_path, monkeypatch):
    settings = TrainSettings(
        "xcopa",
        str(model_folder("llama")),
        "tr",
        data=str(write_xcopa(tmp_path / "data")),
        out=tmp_path / "runs",
    )
    trained, runs, both = [], [], threading.Barrier(2)

    def slowly(job, loaded):
        trained.append(loaded)
        time.sleep(0.2)
        job.run.folder.mkdir(parents=True, exist_ok=True)
        (job.run.folder / "run.json").write_text(json.dumps({"finished": True}))

    def load(*_):
        both.wait()  # neither has begun to train when the other wants to
        return "model"

    monkeypatch.setattr(placing, "load", load)
    monkeypatch.setattr(training, "_carry_out", slowly)
    threads = [
        threading.Thread(target=lambda: runs.append(training.train(settings))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trained == ["model"]
    assert len({run.folder for run in runs}) == 1
    assert len(runs) == 2


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match="cannot write .*Not a directory"),
        claimed(tmp_path / "file" / "run"),
    ):
        pass
