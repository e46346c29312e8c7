"""The model's work on a batch of requests: the only place where serving meets the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

from isogloss.predicting import Answerer, Asked
from isogloss.serving.completing import Completer, Completion, Opening
from isogloss.serving.waiting import Items, Prompts

T = TypeVar("T")


@final
class Engine:
    """Answers requests together; a request that cannot be answered does not stop the others."""

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.completer = Completer(answerer)

    def answers(self, requests: Sequence[Items | Prompts]) -> list[Any]:
        """For each request, all of one kind, its predictions or completions, or an exception."""
        found: list[Any] = [None] * len(requests)
        ready: list[tuple[int, Any]] = []
        for place, request in enumerate(requests):
            try:
                ready.append((place, self._prepared(request)))
            except Exception as error:  # an IsoglossError, unless one of us made a mistake
                found[place] = error
        predicts = isinstance(requests[0], Items)
        compute = self._predictions if predicts else self._completions
        results = _each(compute, [prepared for _, prepared in ready])
        for (place, _), result in zip(ready, results, strict=True):
            found[place] = result
        return found

    def _prepared(self, request: Items | Prompts) -> Asked | list[Opening]:
        if isinstance(request, Items):
            return self.answerer.asked(request.examples)
        prompts = enumerate(request.prompts, start=1)
        return [self.completer.opened(prompt, number) for number, prompt in prompts]

    def _predictions(self, requests: Sequence[Asked]) -> Sequence[Any]:
        return self.answerer.answers(requests, title="")

    def _completions(self, requests: Sequence[list[Opening]]) -> Sequence[Any]:
        together = [opening for request in requests for opening in request]
        left = iter(self.completer.completions(together))
        found: list[list[Completion]] = [[next(left) for _ in request] for request in requests]
        return found


def _each(compute: Callable[[Sequence[T]], Sequence[Any]], requests: Sequence[T]) -> list[Any]:
    """The results of all together; where that fails, of each half, down to the ones that fail."""
    if not requests:
        return []
    try:
        return list(compute(requests))
    except Exception as error:  # whatever one request makes go wrong, the others are not to blame
        if len(requests) == 1:
            return [error]
        half = len(requests) // 2
        return _each(compute, requests[:half]) + _each(compute, requests[half:])
