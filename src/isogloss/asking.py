"""What a model is asked in one pass: which targets, and behind which kept front.

A front (soft prompt and demonstrations) that more targets share than one pass holds is computed
once: its keys and values are kept, and pass after pass costs the targets' own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple, TypeVar, final

import torch
from transformers import DynamicCache

from isogloss.batching import Batching
from isogloss.encoding import EncodedSet, EncodedTarget
from isogloss.model.answer import answer_sums, generate, stop_ids, token_log_probabilities
from isogloss.model.attention import default_layout
from isogloss.model.generation import continued
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import compiled_front, front_cache
from isogloss.packing import EncodedGroup, pack
from isogloss.representation_shift import Shifter
from isogloss.spans import left_padded

R = TypeVar("R")


class Place(NamedTuple):
    """A target: the number of its group, and its own within the group."""

    group: int
    target: int


def runs(
    groups: Sequence[EncodedGroup],
    batching: Batching,
    work: Callable[[Sequence[Place]], R],
    *,
    shared: int | None = None,
) -> Iterator[R]:
    """What `work` gives for run after run of targets, each answered in one pass.

    A run is of one group, or of several with at most `shared` targets (as many as a run has, if
    not said), alike in length.
    """

    def length(place: Place) -> tuple[int, int, int]:
        group = groups[place.group]
        own = len(group.targets[place.target].ids)
        alone = own if len(group.targets) == 1 else 0
        return len(group.demonstrations.ids) + alone, place.group, own

    def together(one: Place, other: Place) -> bool:
        largest = max(len(groups[place.group].targets) for place in (one, other))
        return one.group == other.group or largest <= (shared or batching.size)

    places = [
        Place(number, place)
        for number, group in enumerate(groups)
        for place in range(len(group.targets))
    ]
    yield from batching.over(sorted(places, key=length), work, together)


def chosen(groups: Sequence[EncodedGroup], run: Sequence[Place]) -> list[EncodedGroup]:
    """The groups of a run, with its targets alone, in its order."""
    return [
        EncodedGroup(
            groups[number].demonstrations,
            tuple(groups[number].targets[place.target] for place in places),
        )
        for number, places in groupby(run, key=lambda place: place.group)
    ]


@final
class Model:
    """A model as it is asked, with the keys and values of the front that it met last.

    A `shifter` is attached to it already: it needs demonstrations and targets in one pass, so that
    no front is kept.
    """

    def __init__(self, loaded: Loaded, language: str, shifter: Shifter | None) -> None:
        self.loaded, self.language, self.shifter = loaded, language, shifter
        self.layout = default_layout(loaded.model)
        self._stops: dict[int, set[int]] = {}
        self._ids: tuple[int, ...] = ()
        self._cache: DynamicCache | None = None

    def laid(self, group: EncodedGroup) -> EncodedGroup:
        """The group with as long a front as can be kept."""
        return group.joined() if self.keeps else group

    @property
    def keeps(self) -> bool:
        """Whether a front can be kept."""
        return self.layout == "tree" and not self.shifter

    def keep(self, front: EncodedSet) -> None:
        """Keep the front's keys and values, in place of those of another."""
        if not self.keeps or front.ids == self._ids or not front.ids:
            return
        self._ids, self._cache = (), None  # two would need twice the memory
        self._cache = front_cache(self.loaded.model, front.ids)
        self._ids = front.ids

    def _front(self, groups: Sequence[EncodedGroup]) -> DynamicCache | None:
        """What is kept of all these groups' one front, if they have one."""
        fronts = {group.demonstrations.ids for group in groups}
        if len(fronts) > 1:
            return None
        (ids,) = fronts
        if self._cache is not None and ids == self._ids:
            return self._cache
        return compiled_front(self.loaded.model, ids)

    @torch.no_grad()
    def options(self, groups: Sequence[EncodedGroup]) -> list[list[float]]:
        """Of each target in turn, each option's summed log-probability, in nats."""
        model, front = self.loaded.model, self._front(groups)
        batch, answers = pack(
            [group.behind(_length(front)) for group in groups],
            layout=self.layout,
            options=True,
            dominant=self.language if self.shifter else None,
        )
        batch = batch.to(model.device)
        if self.shifter:
            self.shifter.meet(batch)
        sums = answer_sums(token_log_probabilities(model, batch, front), batch).tolist()
        scores: list[list[float]] = [[] for group in groups for _ in group.targets]
        for found, value in zip(answers, sums, strict=True):
            scores[found.target].append(value)
        return scores

    def texts(
        self, groups: Sequence[EncodedGroup], *, end: int, max_new_tokens: int
    ) -> list[tuple[int, ...]]:
        """Of each target in turn, the ids that are written after it."""
        prompts = [(group.demonstrations, each) for group in groups for each in group.targets]
        if not self.keeps:
            return self._generated(prompts, end=end, max_new_tokens=max_new_tokens)
        if end not in self._stops:  # a look at the whole vocabulary
            self._stops[end] = stop_ids(self.loaded.model, self.loaded.tokenizer, end)
        front = self._front(groups)
        return continued(
            self.loaded.model,
            [(*own.ids, *target.ids)[_length(front) :] for own, target in prompts],
            front=front,
            max_new_tokens=max_new_tokens,
            stops=self._stops[end],
        )

    def _generated(
        self,
        prompts: Sequence[tuple[EncodedSet, EncodedTarget]],
        *,
        end: int,
        max_new_tokens: int,
    ) -> list[tuple[int, ...]]:
        meet = None
        if self.shifter:
            meet = partial(self.shifter.meet_prompts, left_padded(prompts, self.language))
        return generate(
            self.loaded.model,
            self.loaded.tokenizer,
            [front.ids + target.ids for front, target in prompts],
            max_new_tokens=max_new_tokens,
            end=end,
            meet=meet,
        )


def _length(front: DynamicCache | None) -> int:
    return front.get_seq_length() if front is not None else 0
