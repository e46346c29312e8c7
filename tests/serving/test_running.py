"""A server's end: signals that come while requests are under way, on a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import httpx2
import pytest

import isogloss
from helpers import parity_task
from isogloss.finished import open_finished
from isogloss.serving.access import bind
from isogloss.serving.running import _Run
from isogloss.serving.service import Service
from isogloss.serving.settings import ServeSettings
from serving_runs import StandIn


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("running")
    task = parity_task(folder)
    model = model_folder("llama")
    return isogloss.train(task, model=model, target="tr", method="zero-shot", out=folder / "runs")


@pytest.fixture
def serving(run):
    """Runs a server in this thread while a client's story is told in another."""

    def tell(story, **given):
        model, told = StandIn(), []
        settings = ServeSettings(str(run.folder), **given)
        opened = open_finished(settings.run, model=None, data=None, dtype=None)
        service = Service(opened, settings, model.answers)

        def ready(name, url):
            def speak():
                with httpx2.Client(base_url=url, timeout=20) as client:
                    try:
                        told.append(story(client, model))
                    except BaseException as error:
                        told.append(error)
                        os.kill(os.getpid(), signal.SIGTERM)

            threading.Thread(target=speak).start()

        # Other libraries may have left theirs; a command finds the plain ones.
        handlers = {
            signal.SIGTERM: signal.SIG_DFL,
            signal.SIGINT: signal.default_int_handler,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with bind("127.0.0.1", 0) as listening:
            listening.listen(16)
            ending = asyncio.run(_Run(service, listening, ready).until_stopped())
        model.may.set()
        service.worker.thread.join(10)
        while not told:
            time.sleep(0.01)
        if isinstance(told[0], BaseException):
            raise told[0]
        assert handlers == {number: signal.getsignal(number) for number in handlers}
        return ending, told[0], model

    return tell


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def in_thread(client, text, into):
    def ask():
        into.append(client.post("/v1/predict", json={"text": text}))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_waits_is_answered_before_the_end(serving, number):
    def story(client, model):
        model.hold()
        replies: list = []
        threads = [in_thread(client, f"{n}", replies) for n in range(3)]
        assert model.began.wait(10)
        while "isogloss_open_requests 3.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        send(number)
        while client.get("/health").status_code == 200:
            time.sleep(0.01)
        model.may.set()
        for thread in threads:
            thread.join(10)
        return [reply.status_code for reply in replies]

    ending, codes, model = serving(story, batch_size=1)
    assert codes == [200] * 3
    assert sorted(model.seen) == ["0", "1", "2"]
    assert (ending.unanswered, ending.busy) == (0, False)


def test_an_idle_server_ends_at_once(serving):
    began = []

    def story(client, model):
        assert client.get("/health").status_code == 200
        began.append(time.monotonic())
        send(signal.SIGTERM)

    ending, _, _ = serving(story, grace=60)
    assert time.monotonic() - began[0] < 5
    assert (ending.unanswered, ending.busy) == (0, False)


@pytest.mark.parametrize("grace", [0.2, 60])
def test_what_cannot_be_finished_is_told_so(serving, grace):
    """The time is up, or a second signal says not to wait for it."""

    def story(client, model):
        model.hold()
        replies: list = []
        threads = [in_thread(client, f"{n}", replies) for n in range(2)]
        assert model.began.wait(10)
        while "isogloss_queue_requests 1.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        send(signal.SIGTERM)
        if grace > 1:
            while client.get("/health").status_code == 200:
                time.sleep(0.01)
            send(signal.SIGTERM)
        for thread in threads:
            thread.join(15)
        return replies

    ending, replies, model = serving(story, batch_size=1, grace=grace)
    assert [reply.status_code for reply in replies] == [503] * 2
    assert {reply.json()["error"]["code"] for reply in replies} == {"stopping"}
    assert (ending.unanswered, ending.busy) == (2, True)
    assert len(model.batches) == 1, "what waited was not begun"
