"""Requests that wait for the model: a bounded queue that gives them out in batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, final

from isogloss.tasks.example import Example


class Full(Exception):
    """There is no room for another request."""


class Closed(Exception):
    """Nothing is taken in any more."""


@dataclass(frozen=True)
class Items:
    """A request for predictions."""

    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class Prompt:
    """A text to go on from, up to `max_tokens` tokens or the first of the `stop` texts."""

    text: str
    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompts:
    """A request for completions."""

    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, eq=False)
class Work:
    """A request, where its answer will be, and when it came (a monotonic clock's seconds)."""

    asked: Items | Prompts
    future: Future[Any] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)


@final
class Waiting:
    """At most `room` requests, first come, first served; safe to use from any thread."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._works: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._works)

    def add(self, work: Work) -> None:
        """Let a request wait.

        Raises:
            Full: there is no room.
            Closed: nothing is taken in any more.
        """
        with self._changed:
            if self._closed:
                raise Closed
            if len(self._works) >= self.room:
                raise Full
            self._works.append(work)
            self._changed.notify()

    def drop(self, work: Work) -> None:
        """Forget a request, if it still waits."""
        with self._changed:
            if work in self._works:
                self._works.remove(work)

    def take(self, most: int, seconds: float) -> list[Work]:
        """The next requests, all of one kind and of at most `most` items.

        Waits for the first one; then for others until there are enough or the first has waited
        for `seconds`. A request of more items than `most` comes alone. None come where the queue
        was closed meanwhile, or they were dropped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._works or self._closed)
            while self._works:
                left = self._works[0].came + seconds - time.monotonic()
                if left <= 0 or sum(len(work.asked) for work in self._alike()) >= most:
                    break
                self._changed.wait(left)
            taken = self._first(most)
            for work in taken:
                self._works.remove(work)
            return taken

    def close(self) -> list[Work]:
        """Take nothing in any more, and give back what still waits."""
        with self._changed:
            self._closed = True
            left = list(self._works)
            self._works.clear()
            self._changed.notify_all()
            return left

    @property
    def closed(self) -> bool:
        """Whether nothing is taken in any more."""
        return self._closed

    def _alike(self) -> list[Work]:
        """The requests of the first one's kind."""
        kind = type(self._works[0].asked)
        return [work for work in self._works if isinstance(work.asked, kind)]

    def _first(self, most: int) -> list[Work]:
        """The first request, and those of its kind right behind it that fit."""
        found: list[Work] = []
        items = 0
        for work in self._alike() if self._works else ():
            items += len(work.asked)
            if found and items > most:
                break
            found.append(work)
        return found
