"""How much is answered in one pass: as much as was asked for, or what memory allows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, final

import torch

from isogloss.errors import ModelError

T = TypeVar("T")
R = TypeVar("R")


@final
class Batching:
    """Runs of at most `size` items; where memory runs out, of half as many from there on."""

    def __init__(self, size: int) -> None:
        self.size = size

    def over(
        self, items: Sequence[T], work: Callable[[Sequence[T]], R], together: Callable[[T, T], bool]
    ) -> Iterator[R]:
        """What `work` gives for run after run; a run ends where two items are not `together`.

        Raises:
            ModelError: memory runs out with a single item.
        """
        start = 0
        while start < len(items):
            stop = start + 1
            while stop < min(len(items), start + self.size) and together(
                items[stop - 1], items[stop]
            ):
                stop += 1
            found = _done(work, items[start:stop])
            if found is None:
                self._halve(stop - start)
                continue
            start = stop
            yield found[0]

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise ModelError(
                "memory runs out with a single item in a pass; lower --demonstrations, take a "
                "smaller --dtype, or another device"
            )
        self.size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"memory ran out with {tried} items at once; going on with {self.size}",
            file=sys.stderr,
            flush=True,
        )


def _done(work: Callable[[Sequence[T]], R], run: Sequence[T]) -> tuple[R] | None:
    """What came of a run, or None where memory ran out; nothing then holds the pass's tensors."""
    try:
        return (work(run),)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None


def out_of_memory(error: BaseException) -> bool:
    """Whether it says so: torch's own error on a GPU, a plain RuntimeError on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
