"""`isogloss serve` as a process of its own: signals, and what is refused before it begins."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

import isogloss
from helpers import parity_task
from isogloss.cli import serve
from isogloss.cli.main import main
from isogloss.errors import ConfigError
from isogloss.serving import access
from isogloss.serving.running import Ending
from isogloss.serving.settings import ServeSettings
from refusing import refused

TOKEN = "a-token-of-some-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SOURCE = str(Path(isogloss.__file__).parents[1])
LONG = 600  # tokens: a second or more


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("process")
    task = parity_task(folder)
    options = dict(max_steps=1, epochs=1, demonstrations=2, out=folder / "runs")
    return isogloss.train(task, model=model_folder("llama"), target="tr", **options)


@pytest.fixture
def server(run):
    """A server in a process, and what it said when it was ready."""
    line = ["serve", run.folder, "--port", 0, "--json", "--max-tokens", LONG]
    process = subprocess.Popen(
        [sys.executable, "-m", "isogloss", *map(str, line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"ISOGLOSS_TOKEN": TOKEN, "PYTHONPATH": SOURCE},
    )
    said = process.stdout.readline()
    if not said:
        pytest.fail(process.communicate()[1])
    yield process, json.loads(said)
    process.kill()
    process.communicate()


def test_a_signal_lets_requests_be_answered(run, server):
    process, said = server
    wanted = isogloss.predict(run, [{"text": "tr 7"}])[0]
    long = {"model": said["model"], "prompt": "The man", "max_tokens": LONG}
    with (
        httpx2.Client(base_url=said["url"], headers=BEARER, timeout=60) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        assert said["run"] == str(run.folder)
        assert client.get("/health").json() == {"status": "ready"}
        assert httpx2.get(f"{said['url']}/v1/models").status_code == 401
        (found,) = client.post("/v1/predict", json={"text": "tr 7"}).json()["predictions"]
        assert found["log_probabilities"] == pytest.approx(wanted.log_probabilities, abs=1e-4)
        under_way = threads.submit(client.post, "/v1/completions", json=long)
        while "isogloss_batch_requests_count 2.0" not in client.get("/metrics").text:
            assert not under_way.done()
        process.send_signal(signal.SIGTERM)
        while client.get("/health").status_code == 200:
            assert not under_way.done()
        refusal = client.post("/v1/predict", json={"text": "tr 7"})
        assert not under_way.done(), "it was still being answered"
        reply = under_way.result(60)
    assert refusal.status_code == 503
    assert reply.status_code == 200
    assert reply.json()["usage"]["completion_tokens"] == LONG
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == "", "one JSON object and nothing else"
    assert "Traceback" not in error
    assert "unanswered" not in error


@pytest.mark.parametrize("busy", [False, True])
def test_what_the_command_says(run, capsys, monkeypatch, busy):
    """A model still at work cannot be interrupted: the process ends without it."""
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)

    def stands_in(settings, ready):
        ready(run.name, "http://127.0.0.1:8000")
        return Ending(3 * busy, busy)

    monkeypatch.setattr("isogloss.serving.running.serve", stands_in)
    assert main(["serve", str(run.folder)]) == 0
    out, error = capsys.readouterr()
    assert out == f"{run.name} is served at http://127.0.0.1:8000 (Ctrl-C stops)\n"
    assert ("left unanswered: 3" in error) is busy
    assert left == [0] * busy


# ---- refused before the model is loaded ------------------------------------------------------


@pytest.fixture
def never_loaded(monkeypatch):
    monkeypatch.delenv("ISOGLOSS_TOKEN", raising=False)

    def load(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("isogloss.finished.load", load)


@pytest.mark.usefixtures("never_loaded")
def test_a_port_that_is_taken(capsys, run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = ["serve", run.folder, "--port", port]
        refused(capsys, tmp_path, line, f"port {port}", "in use", "--port")


@pytest.mark.usefixtures("never_loaded")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--host", "0.0.0.0"], ["--token-file", "ISOGLOSS_TOKEN", "other machines"]),
        (["--host", "::"], ["other machines"]),
        (["--host", "no.such.host.invalid", "--token-file", "TOKEN"], ["no such address"]),
        (["--host", "192.0.2.7", "--token-file", "TOKEN"], ["cannot listen at 192.0.2.7"]),
        (["--token-file", "nothing"], ["cannot read the token file", "No such file"]),
        (["--token-file", "EMPTY"], ["is empty"]),
        (["--token-file", "TWO"], ["white space"]),
        (["--port", "70000"], ["port is 70000"]),
        (["--queue", "0"], ["queue is 0"]),
        (["--timeout", "0"], ["timeout is 0"]),
        (["--wait-ms", "-1"], ["wait ms is -1"]),
        (["--demonstrations", "-2"], ["demonstrations is -2"]),
    ],
)
def test_settings_that_cannot_be(capsys, run, tmp_path, more, said):
    for name, text in {"TOKEN": TOKEN, "EMPTY": " \n", "TWO": "two words"}.items():
        (tmp_path / name).write_text(text)
        more = [str(tmp_path / name) if word == name else word for word in more]
    refused(capsys, tmp_path, ["serve", run.folder, *more], *said)


@pytest.mark.usefixtures("never_loaded")
def test_no_such_run(capsys, tmp_path):
    refused(capsys, tmp_path, ["serve", tmp_path / "none"], "no such run folder")


@pytest.mark.usefixtures("never_loaded")
def test_without_the_extra(capsys, run, tmp_path, monkeypatch):
    known = serve.importlib.util.find_spec
    monkeypatch.setattr(
        serve.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else known(name)
    )
    refused(capsys, tmp_path, ["serve", run.folder], "uvicorn", "pip install 'isogloss[serve]'")


def test_where_the_token_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv("ISOGLOSS_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    assert access.read_token(None) is None
    monkeypatch.setenv("ISOGLOSS_TOKEN", "from-the-environment")
    assert access.read_token(None) == "from-the-environment"
    assert access.read_token(file) == "from-a-file"
    monkeypatch.setenv("ISOGLOSS_TOKEN", "")
    with pytest.raises(ConfigError, match=r"\$ISOGLOSS_TOKEN is empty"):
        access.read_token(None)


def test_the_url_of_what_is_bound():
    with access.bind("127.0.0.1", 0) as bound:
        assert access.url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
    assert ServeSettings("run").host == "127.0.0.1", "this machine only, unless told"
