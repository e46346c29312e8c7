"""Progress with time to go, on standard error: a bar in a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from isogloss.processes import is_main

LINES = 10  # how many lines a whole piece of work prints where there is no terminal


@final
class Progress:
    """Shows how far a piece of work of `total` steps has come: in the main process alone, and
    nothing without a title.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.first = title, total, done
        self.begun, self.printed = time.time(), done
        self.bar: Bar | None = None
        self.silent = not title or not is_main()
        if sys.stderr.isatty() and not self.silent:
            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task(title, total=total, completed=done, note="")

    def advance(self, done: int, note: str = "") -> None:
        """Say that `done` steps are behind, with a note such as the loss."""
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
        elif self.silent:
            return
        elif done == self.total or done - self.printed >= max(1, self.total // LINES):
            self.printed = done
            print(
                f"{self.title} {done}/{self.total} {note} {self._left(done)}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Take the bar down."""
        if self.bar:
            self.bar.stop()

    def _left(self, done: int) -> str:
        pace = (time.time() - self.begun) / max(1, done - self.first)
        return f"({pace * (self.total - done):.0f} s left)"
