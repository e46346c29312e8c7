"""Prediction: a finished run answers new items, once or for as long as it is kept open."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

from isogloss import processes
from isogloss.answering import Answering, Prediction, answer, reserved
from isogloss.demonstrations.choose import Demonstrations, Group, Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import TooLong
from isogloss.finished import Opened, check_shift, open_finished
from isogloss.items import WINDOW, Items, given_items, known_ids
from isogloss.languages import check_language
from isogloss.model.load import Loaded
from isogloss.pooling import make_pool
from isogloss.representation_shift import Shifter
from isogloss.runs import growing_lines, key_of, write_lines
from isogloss.settings import PredictSettings
from isogloss.tasks.example import Example
from isogloss.tasks.examples import Ids, without_ids
from isogloss.tasks.reading import Record

POOLS = 16  # pools of demonstrations that are kept: a ranking over one may have cost much


def predict(
    settings: PredictSettings, items: Sequence[Mapping[str, Any]] | None = None
) -> list[Prediction]:
    """Answers to items given as a file, as fields, or as a sequence of mappings.

    Raises:
        IsoglossError: anything about the run or the items that stops the work.
    """
    predictions = [one for window in _predicted(settings, items) for one in window]
    if settings.out:
        write_lines(settings.out, [prediction.entry() for prediction in predictions])
    return predictions


def predict_to(settings: PredictSettings, out: Path) -> int:
    """Answers to items given as a file or as fields, written to a file as they come.

    Neither items nor answers are ever held all at once, so a file may be of any length. Gives the
    number of answers. Where it is stopped, those that were found are in `NAME.part` beside `out`.

    Raises:
        IsoglossError: anything about the run or the items that stops the work.
    """
    count = 0
    with growing_lines(out) as add:
        for window in _predicted(settings, None):
            add([prediction.entry() for prediction in window])
            count += len(window)
    return count


def _predicted(
    settings: PredictSettings, items: Sequence[Mapping[str, Any]] | None
) -> Iterator[list[Prediction]]:
    """The answers, a window of items at a time; all items are looked at before the first."""
    processes.in_main("predict")
    given = given_items(settings, items)
    opened = open_finished(
        settings.run, model=settings.model, data=settings.data, dtype=settings.dtype
    )
    asked = Items(opened, given, _language(opened, settings.language))
    known = known_ids(opened)
    count, among = asked.checked(known)
    with answering(opened, settings) as answerer:
        if count > WINDOW:  # else one window is looked at and answered
            for window in asked.windows():
                answerer.asked(window, among)
        done = 0
        for window in asked.windows():
            last = done + len(window)
            title = f"answering {done + 1} to {last} of {count}" if count > WINDOW else "answering"
            (predictions,) = answerer.answers([answerer.asked(window, among)], title=title)
            done = last
            yield predictions


def parse_items(
    opened: Opened, records: Sequence[Record], language: str | None = None
) -> list[Example]:
    """New items of a run's task, in a language of it (the run's target by default).

    Raises:
        ConfigError: the task has no such language, or the run's shift cannot do with it.
        DataError: what is wrong with any item, all problems at once, or there is no item.
    """
    items = Items(opened, lambda _: iter(records), _language(opened, language))
    items.checked(frozenset())
    return [item for window in items.windows() for item in window]


def _language(opened: Opened, asked: str | None) -> str:
    language: str = asked or opened.record["target"]
    check_language(language, opened.task.languages, opened.task.name)
    check_shift(opened, language)
    return language


@dataclass(frozen=True)
class Asked:
    """Items that are asked together, with the demonstration sets that they have.

    The ids of the groups' targets are their places in `examples`.
    """

    examples: tuple[Example, ...]
    groups: tuple[Group, ...]


@final
@dataclass(frozen=True)
class Answerer:
    """A run's model, tuned and ready to answer its task's items, however often it is asked."""

    opened: Opened
    loaded: Loaded
    episodes: EpisodeEncoder
    how: Answering
    context: Demonstrations
    shifter: Shifter | None
    _pools: dict[frozenset[str], Pool] = field(default_factory=dict, repr=False, compare=False)

    def asked(self, examples: Sequence[Example], among: Collection[str] = ()) -> Asked:
        """The items with their demonstrations, which depend on nothing else that is asked.

        None of these has the id of one of the items, nor one of `among`, the ids of items that
        they are answered with.

        Raises:
            TooLong: an item does not fit into the model's context.
            ConfigError: too few demonstrations are left.
        """
        # Items may come without ids of their own: by its text one has the same set wherever it is.
        placed = [dataclasses.replace(item, id=_text_id(self.opened, item)) for item in examples]
        seed = self.opened.record["seed"]
        groups = test_groups(placed, self._pool(examples, among), self.context, seed=seed)
        numbered = _numbered(groups, [item.id for item in placed])
        _, skipped = fit(numbered, self.episodes, skip=True)
        if skipped:
            raise TooLong(
                f"item '{examples[int(skipped[0].id)].id}' needs {skipped[0].tokens} tokens with "
                f"its demonstrations and soft prompt, but at most {skipped[0].longest} fit; "
                "shorten it, or give --demonstrations none"
            )
        return Asked(tuple(examples), tuple(numbered))

    def answers(
        self, requests: Sequence[Asked], *, title: str = "answering"
    ) -> list[list[Prediction]]:
        """The predictions for the items of each request, in their order.

        Items with the same demonstrations are computed together, whoever asks for them. Progress
        is shown under the title, or without one not at all.
        """
        groups = _joined(requests)
        found = answer(self.loaded, self.episodes, groups, self.how, self.shifter, title=title)
        by_place = {prediction.id: prediction for prediction in found}
        return [
            [
                dataclasses.replace(by_place[f"{number}/{place}"], id=example.id)
                for place, example in enumerate(request.examples)
            ]
            for number, request in enumerate(requests)
        ]

    @cached_property
    def _known(self) -> Ids:
        return known_ids(self.opened)

    def _pool(self, examples: Sequence[Example], among: Collection[str]) -> Pool:
        """The training items without the items themselves and their translations."""
        split = self.opened.split
        ids = {*among, *(example.id for example in examples)}
        asked = frozenset(name for name in ids if name in self._known)
        if asked not in self._pools:
            if len(self._pools) >= POOLS:
                del self._pools[next(iter(self._pools))]
            self._pools[asked] = make_pool(
                without_ids(split.dominant, asked),
                without_ids(split.target, asked),
                self.context,
            )
        return self._pools[asked]


@contextmanager
def answering(opened: Opened, settings: PredictSettings) -> Iterator[Answerer]:
    """A run's model, loaded and tuned for as long as the context lasts.

    Raises:
        IsoglossError: the model cannot be loaded, or settings do not fit the run.
    """
    how, context = opened.answering(settings), opened.context(settings)
    loaded = opened.load(settings.device)
    episodes = reserved(opened.episodes(loaded, tuned=True), how)
    with opened.tuned(loaded) as shifter:
        yield Answerer(opened, loaded, episodes, how, context, shifter)


def _text_id(opened: Opened, example: Example) -> str:
    return "new-" + key_of({"input": opened.task.render(example).input})[:16]


def _numbered(groups: Sequence[Group], ids: Sequence[str]) -> list[Group]:
    """The groups, their targets' ids replaced by their places in `ids`.

    Items of one text have one id; they stand in the groups in their own order.
    """
    waiting: dict[str, deque[str]] = defaultdict(deque)
    for place, name in enumerate(ids):
        waiting[name].append(str(place))
    return [
        Group(
            group.demonstrations,
            tuple(_named(item, waiting[item.id].popleft()) for item in group.targets),
        )
        for group in groups
    ]


def _joined(requests: Sequence[Asked]) -> list[Group]:
    """The groups of all requests, one for each demonstration set; ids are REQUEST/PLACE."""
    sets: dict[tuple[tuple[str, str], ...], tuple[Example, ...]] = {}
    targets: dict[tuple[tuple[str, str], ...], list[Example]] = defaultdict(list)
    for number, request in enumerate(requests):
        for group in request.groups:
            key = tuple((item.language, item.id) for item in group.demonstrations)
            sets[key] = group.demonstrations
            targets[key] += [_named(item, f"{number}/{item.id}") for item in group.targets]
    return [Group(demonstrations, tuple(targets[key])) for key, demonstrations in sets.items()]


def _named(item: Example, name: str) -> Example:
    return dataclasses.replace(item, id=name)
