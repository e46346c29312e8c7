"""What the endpoints share: the queue, the worker, the limits, and whether the server stops."""

from __future__ import annotations

import asyncio
import time
from typing import Any, final

from isogloss.errors import IsoglossError, TooLong
from isogloss.finished import Opened
from isogloss.serving.metrics import Metrics
from isogloss.serving.replies import Refused
from isogloss.serving.settings import ServeSettings
from isogloss.serving.waiting import Closed, Full, Items, Prompts, Waiting, Work
from isogloss.serving.worker import Answers, Worker

RETRY = {"Retry-After": "1"}


class Stopped(Exception):
    """The server was stopped before a request was answered."""


def stopping() -> Refused:
    """The refusal of a server that stops."""
    return Refused(503, "the server is stopping; ask another one", code="stopping", headers=RETRY)


@final
class Service:
    """A run being served; `answers` is the model's work on a batch."""

    def __init__(
        self, opened: Opened, settings: ServeSettings, answers: Answers, token: str | None = None
    ) -> None:
        self.opened, self.settings, self.token = opened, settings, token
        self.name = opened.run.folder.resolve().name
        self.began = int(time.time())
        self.stopping = False
        self.under_way = 0  # requests whose answer is not sent yet
        self.waiting = Waiting(settings.queue)
        self.metrics = Metrics(lambda: len(self.waiting), lambda: self.under_way)
        self.worker = Worker(
            self.waiting,
            answers,
            most=settings.batch_size,
            seconds=settings.wait_ms / 1000,
            seen=self.metrics.batch,
        )

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self.worker.alive and not self.stopping

    async def ask(self, asked: Items | Prompts) -> Any:
        """The predictions or completions of a request, when the model has come to it.

        Raises:
            Refused: the queue is full, the time is up, the server stops, or the model fails.
        """
        work = Work(asked)
        try:
            self.waiting.add(work)
            answered = asyncio.wrap_future(work.future)
            return await asyncio.wait_for(answered, self.settings.timeout)
        except Full:
            message = f"{self.settings.queue} requests wait already; come again later"
            raise Refused(429, message, code="queue_full", headers=RETRY) from None
        except (Closed, Stopped):
            raise stopping() from None
        except asyncio.TimeoutError:
            message = f"not answered within {self.settings.timeout:g} seconds"
            raise Refused(504, message, code="timeout") from None
        except TooLong as error:
            raise Refused(400, str(error), code="context_length_exceeded") from None
        except IsoglossError as error:
            raise Refused(400, str(error), code="cannot_be_answered") from None
        except Exception as error:
            message = f"the model failed ({type(error).__name__}); the server's log says more"
            raise Refused(500, message, code="failed") from None
        finally:
            self.waiting.drop(work)  # where the time was up or the client went away

    async def drained(self, seconds: float) -> bool:
        """Wait until no request is under way; whether that was so within the seconds."""
        until = time.monotonic() + seconds
        while self.under_way and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return not self.under_way
