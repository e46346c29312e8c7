"""The prefix itself: the keys and values of a run's soft prompt and demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from isogloss.compiling.ground import Ground
from isogloss.encoding import EncodedSet
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import ConfigError, DataError
from isogloss.methods.method import Method
from isogloss.staging import episode_encoder
from isogloss.tasks.example import Example
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.tuning import Weights


@dataclass(frozen=True)
class Prefix:
    """A compiled prefix in a run's model.

    `method` is the run's with the prefix as what it tunes; `demonstrations` are those inside it.
    """

    method: Method
    weights: Weights
    demonstrations: tuple[Example, ...]

    @property
    def tune(self) -> Compiled:
        """The prefix as a tuning."""
        assert isinstance(self.method.tune, Compiled), "made here"
        return self.method.tune

    def episodes(self, ground: Ground) -> EpisodeEncoder:
        """The encoder of items behind the prefix."""
        record = ground.opened.record
        task, loaded = ground.opened.task, ground.loaded
        return episode_encoder(task, loaded, self.method, record["chat"], record["max_length"])


def make_prefix(ground: Ground, demonstrations: Sequence[Example]) -> Prefix:
    """The keys and values of the run's soft prompt and of these demonstrations.

    Raises:
        ConfigError: there is neither prompt nor demonstration.
        DataError: they leave no room for an item; the longest demonstration is named.
        ModelError: the model keeps no keys and values that a prefix could stand for.
    """
    opened, model = ground.opened, ground.loaded.model
    episodes = opened.episodes(ground.loaded, tuned=True)
    front = episodes.encoder.demonstration_set([opened.task.render(d) for d in demonstrations])
    # The begin token of a prompt alone comes with each item, as tokenizers put it there.
    ids = front.ids if demonstrations else front.ids[: len(front.prompt)]
    if not ids:
        raise ConfigError(
            f"{opened.run.folder} has neither a soft prompt nor demonstrations, so there is "
            "nothing to compile; give --demonstrations FILE"
        )
    _check_room(front, demonstrations, len(ids), episodes.longest)
    tune = Compiled(len(ids), episodes.encoder.solved + len(demonstrations))
    with opened.tuned(ground.loaded):
        weights = tune.read(model, ids)
    return Prefix(_method(ground.method, tune), weights, tuple(demonstrations))


def _check_room(
    front: EncodedSet, demonstrations: Sequence[Example], tokens: int, longest: int | None
) -> None:
    if longest is None or tokens < longest:
        return
    lengths = [len(x) + len(y) for x, y in zip(front.inputs, front.answers, strict=True)]
    told = ""
    if lengths:
        most = max(range(len(lengths)), key=lengths.__getitem__)
        one = demonstrations[most]
        told = f"; the longest demonstration, '{one.id}' ({one.language}), has {lengths[most]}"
    raise DataError(
        f"the prefix would have {tokens} tokens, and a sequence at most {longest}, so no item fits "
        f"behind it{told}; give fewer or shorter demonstrations"
    )


def _method(own: Method, tune: Compiled) -> Method:
    told = f"{tune.demonstrations} demonstration{'s' * (tune.demonstrations != 1)}"
    return dataclasses.replace(
        own,
        name=f"{own.name}-compiled",
        summary=f"{own.summary}; compiled with {told} into a prefix of {tune.length} positions",
        tune=tune,
        context=dataclasses.replace(own.context, count=0, choose="random", encoder=""),
    )
