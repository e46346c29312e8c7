"""From a run folder to a server that listens, and to its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import final

import uvicorn

from isogloss.finished import open_finished
from isogloss.predicting import answering
from isogloss.serving.access import bind, cannot_listen, check_host, read_token, url_of
from isogloss.serving.app import make_app
from isogloss.serving.engine import Engine
from isogloss.serving.service import Service, Stopped
from isogloss.serving.settings import ServeSettings

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 128  # connections that may wait to be accepted
LAST_WORDS = 3  # seconds for answers that are being sent when all else is over


@dataclass(frozen=True)
class Ending:
    """How a server ended: requests left unanswered, and whether the model was still at work."""

    unanswered: int
    busy: bool


def serve(settings: ServeSettings, ready: Callable[[str, str], None]) -> Ending:
    """Serve a run until a signal ends it; `ready` is given the model's name and the URL.

    Raises:
        IsoglossError: anything about the run, the address or the token that stops the work,
            before the model is loaded where it can be known then.
    """
    token = read_token(settings.token_file)
    check_host(settings.host, token)
    given = settings.predicting
    opened = open_finished(given.run, model=given.model, data=given.data, dtype=given.dtype)
    with (
        closing(bind(settings.host, settings.port)) as listening,
        answering(opened, given) as answerer,
    ):
        service = Service(opened, settings, Engine(answerer).answers, token)
        try:
            listening.listen(BACKLOG)
        except OSError as error:
            raise cannot_listen(settings.host, settings.port, error) from None
        return asyncio.run(_Run(service, listening, ready).until_stopped())


@final
@dataclass
class _Run:
    """A server from its start to its end."""

    service: Service
    listening: socket.socket
    ready: Callable[[str, str], None]
    unanswered: int = 0
    finishing: asyncio.Task[None] | None = None

    async def until_stopped(self) -> Ending:
        """Answer requests until a signal comes and what was under way is answered."""
        config = uvicorn.Config(
            make_app(self.service, self._started),
            log_config=None,  # warnings and errors go to standard error
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=LAST_WORDS,
        )
        self.server = uvicorn.Server(config)
        await self.server.serve(sockets=[self.listening])
        return Ending(self.unanswered, self.service.worker.alive)

    def _started(self) -> None:
        # Here and not before: the server library has set its own handlers by now, and its way
        # to stop would refuse connections at once and end the process by the signal.
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        self.ready(self.service.name, url_of(self.listening))

    def _stop(self) -> None:
        """At the first signal finish what is under way; at a second one leave it."""
        if self.finishing:
            self.finishing.cancel()
            self._leave()
            return
        self.service.stopping = True
        self.finishing = asyncio.get_running_loop().create_task(self._finish())

    async def _finish(self) -> None:
        await self.service.drained(self.service.settings.grace)
        self._leave()

    def _leave(self) -> None:
        self.unanswered = self.service.under_way
        self.service.worker.stop(Stopped(), seconds=0)
        self.server.should_exit = True
