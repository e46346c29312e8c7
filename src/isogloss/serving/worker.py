"""The one thread that owns the model: takes batches of requests and answers them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from typing import Any, final

from isogloss.errors import IsoglossError
from isogloss.serving.waiting import Items, Prompts, Waiting, Work

logger = logging.getLogger(__name__)
Answers = Callable[[Any], list[Any]]


@final
class Worker:
    """Answers what waits, in batches, until the queue is closed."""

    def __init__(
        self,
        waiting: Waiting,
        answers: Answers,
        *,
        most: int,
        seconds: float,
        seen: Callable[[int, int], None],
    ) -> None:
        self.waiting, self.answers = waiting, answers
        self.most, self.seconds, self.seen = most, seconds, seen
        self.thread = threading.Thread(target=self._run, name="isogloss-model", daemon=True)
        self.current: Sequence[Work] = ()

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self.thread.is_alive()

    def stop(self, error: Exception, seconds: float) -> bool:
        """Close the queue and fail what is left; whether the thread ended within the seconds."""
        for work in (*self.waiting.close(), *self.current):
            _settle(work, error)
        if self.alive:
            self.thread.join(seconds)
        return not self.alive

    def _run(self) -> None:
        while not self.waiting.closed:
            batch = self.waiting.take(self.most, self.seconds)
            # A request may have been given up since.
            self.current = [work for work in batch if work.future.set_running_or_notify_cancel()]
            if self.current:
                self._carry_out(self.current)
            self.current = ()

    def _carry_out(self, works: Sequence[Work]) -> None:
        requests: list[Items | Prompts] = [work.asked for work in works]
        self.seen(len(works), sum(len(request) for request in requests))
        try:
            results = self.answers(requests)
        except Exception as error:  # the thread must live on, whatever happens to a batch
            results = [error] * len(works)
        for work, result in zip(works, results, strict=True):
            if isinstance(result, Exception) and not isinstance(result, IsoglossError):
                logger.error("a request failed", exc_info=result)
            _settle(work, result)


def _settle(work: Work, result: Any) -> None:
    """Say what came of a request, unless that is settled."""
    try:
        if isinstance(result, Exception):
            work.future.set_exception(result)
        else:
            work.future.set_result(result)
    except InvalidStateError:
        pass  # it was given up, or failed when the server was stopped
