"""Runs being served in this process, for tests: with the run's model, or with a stand-in for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from fastapi.testclient import TestClient

from isogloss.answering import Prediction
from isogloss.finished import open_finished
from isogloss.predicting import answering
from isogloss.runs import Run
from isogloss.serving.app import make_app
from isogloss.serving.completing import Completion
from isogloss.serving.engine import Engine
from isogloss.serving.service import Service
from isogloss.serving.settings import ServeSettings
from isogloss.serving.waiting import Items


@contextmanager
def served(run: Run, **given) -> Iterator[TestClient]:
    """A client of a server with the run's model; its service is `client.app.state.service`."""
    settings = ServeSettings(str(run.folder), **given)
    opened = open_finished(settings.run, model=None, data=None, dtype=None)
    with answering(opened, settings.predicting) as answerer:
        service = Service(opened, settings, Engine(answerer).answers)
        with TestClient(make_app(service)) as client:
            yield client


class StandIn:
    """In the model's place: answers at once or when it may, and keeps the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may = threading.Event()
        self.began = threading.Event()
        self.may.set()

    def answers(self, requests):
        self.batches.append([name for request in requests for name in names_of(request)])
        self.began.set()
        assert self.may.wait(20)
        return [[self._answer(name, request) for name in names_of(request)] for request in requests]

    @property
    def seen(self) -> list[str]:
        """All that was asked."""
        return [name for batch in self.batches for name in batch]

    @staticmethod
    def _answer(name, request):
        if isinstance(request, Items):
            return Prediction(name, "tr", "yes", "yes", {"yes": -0.5, "no": -1.5})
        return Completion(f"after {name}", "length", 3, 2)

    def hold(self) -> None:
        """From now on let every batch wait for `may`."""
        self.may.clear()
        self.began.clear()


def names_of(request) -> list[str]:
    if isinstance(request, Items):
        return [example.fields["text"] for example in request.examples]
    return [prompt.text for prompt in request.prompts]


@contextmanager
def stand_in(run: Run, *, token: str | None = None, **given) -> Iterator[tuple]:
    """A client and the stand-in behind it."""
    settings = ServeSettings(str(run.folder), **given)
    opened = open_finished(settings.run, model=None, data=None, dtype=None)
    model = StandIn()
    service = Service(opened, settings, model.answers, token)
    with TestClient(make_app(service)) as client:
        try:
            yield client, model
        finally:
            model.may.set()


def at_once(calls) -> list:
    """The results of calls made at the same time."""
    with ThreadPoolExecutor(len(calls)) as threads:
        waiting = [threads.submit(call) for call in calls]
        return [one.result(30) for one in waiting]


def ask(client: TestClient, text: str, **more):
    return client.post("/v1/predict", json={"text": text}, **more)
