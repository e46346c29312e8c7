"""Groups of a run to encoded groups, with every too-long sequence found before work begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, final

from isogloss.demonstrations.choose import Demonstrations, Group, Pool
from isogloss.demonstrations.pairs import Pair
from isogloss.demonstrations.schedule import training_batches
from isogloss.encoding import EncodedSet, EncodedTarget, Encoder
from isogloss.errors import DataError
from isogloss.packing import EncodedGroup
from isogloss.tasks.example import Example, Task


@final
@dataclass(frozen=True)
class EpisodeEncoder:
    """Renders and encodes groups of a task; `longest` is the most tokens a sequence may have.

    `reserve` tokens are kept free for generated text.
    """

    task: Task
    encoder: Encoder
    longest: int | None
    reserve: int = 0

    def group(self, group: Group) -> EncodedGroup:
        """The encoded group."""
        front = self.encoder.demonstration_set(
            [self.task.render(example) for example in group.demonstrations]
        )
        targets = tuple(self._target(item, len(group.demonstrations)) for item in group.targets)
        return EncodedGroup(front, targets)

    def sentences(self, examples: Sequence[Example]) -> tuple[tuple[int, ...], ...]:
        """Ids of the examples' inputs as plain sentences: no soft prompt, no answer.

        One that is too long for the model, or has less than one token after its first, is left out.
        """
        plain = dataclasses.replace(self.encoder, prompt_length=0, chat=False, solved=0)
        begin = plain.demonstration_set(()).ids
        found = [begin + plain.text_ids(self.task.render(example).input) for example in examples]
        longest = self.longest or max(map(len, found), default=0)
        return tuple(ids for ids in found if 1 < len(ids) <= longest)

    def fitting(self, group: Group) -> tuple[Group, list[Skipped]]:
        """The group without targets whose sequence is too long, and those."""
        if self.longest is None:
            return group, []
        encoded = self.group(group)
        kept, skipped = [], []
        for example, target in zip(group.targets, encoded.targets, strict=True):
            tokens = sequence_length(encoded.demonstrations, target) + self.reserve
            if tokens > self.longest:
                skipped.append(Skipped(example.id, example.language, tokens, self.longest))
            else:
                kept.append(example)
        return Group(group.demonstrations, tuple(kept)), skipped

    def _target(self, example: Example, demonstrations: int) -> EncodedTarget:
        return self.encoder.target(self.task.render(example), demonstrations)


@dataclass(frozen=True)
class Skipped:
    """An item left out because its sequence had `tokens` tokens and at most `longest` fit."""

    id: str
    language: str
    tokens: int
    longest: int

    def error(self) -> DataError:
        """The same as an error."""
        return DataError(
            f"item '{self.id}' ({self.language}) needs {self.tokens} tokens with its "
            f"demonstrations and soft prompt, but at most {self.longest} fit; lower "
            "--demonstrations, raise --max-length if the model allows, or give --too-long skip"
        )


def sequence_length(front: EncodedSet, target: EncodedTarget) -> int:
    """Tokens of the longest sequence of a target: front, input, and answer or longest option."""
    endings = [len(target.answer), *(len(option) for option in target.options)]
    return len(front.ids) + len(target.ids) + max(endings)


def fit(
    groups: Sequence[Group], episodes: EpisodeEncoder, *, skip: bool
) -> tuple[list[Group], list[Skipped]]:
    """The groups whose sequences fit; groups left without targets are dropped.

    Raises:
        DataError: a sequence is too long and `skip` is off; the item is named.
    """
    kept, left_out = [], []
    for group in groups:
        fitting, skipped = episodes.fitting(group)
        if skipped and not skip:
            raise skipped[0].error()
        left_out += skipped
        if fitting.targets:
            kept.append(fitting)
    return kept, left_out


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch of training holds: groups, translation pairs to contrast, or both."""

    epoch: int
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...] = ()


@final
@dataclass(frozen=True)
class Schedule:
    """All batches of a stage, epoch after epoch: decided before training by the seed alone.

    An epoch is a pass over the targets. The model is validated after every `between_validations`
    batches: an epoch's, or where passes were added, those of the epoch that they make up for.
    """

    batches: tuple[tuple[Group, ...], ...]
    batches_per_epoch: int
    skipped: tuple[Skipped, ...]
    between_validations: int

    @property
    def filled(self) -> list[tuple[Group, ...]]:
        """The batches that hold something."""
        return [batch for batch in self.batches if batch]

    def steps(self, pairs: Sequence[tuple[Pair, ...]], *, alternate: bool) -> list[Step]:
        """The batches that hold something, each with its batch of pairs where there are any.

        With `alternate` the pairs are a step of their own after the batch's.
        """
        steps = []
        for number, groups in enumerate(self.batches):
            epoch, own = number // self.batches_per_epoch, pairs[number] if pairs else ()
            if groups:
                steps.append(Step(epoch, groups, () if alternate else own))
            if groups and own and alternate:
                steps.append(Step(epoch, (), own))
        return steps

    def lines(self, stage: int) -> Iterator[dict[str, Any]]:
        """Which targets met which demonstrations, for the run folder."""
        for number, batch in enumerate(self.batches):
            for group in batch:
                yield {
                    "stage": stage,
                    "epoch": number // self.batches_per_epoch,
                    "batch": number % self.batches_per_epoch,
                    "demonstrations": [
                        f"{item.language}/{item.id}" for item in group.demonstrations
                    ],
                    "targets": [f"{item.language}/{item.id}" for item in group.targets],
                }


def plan(
    targets: Sequence[Example],
    pool: Pool,
    settings: Demonstrations,
    episodes: EpisodeEncoder,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    skip: bool,
    like: int | None = None,
) -> Schedule:
    """The schedule of a stage, with every sequence's length checked.

    With `like`, as many batches as that number of targets would give: more passes over the
    targets, the last one cut off.

    Raises:
        ConfigError: more demonstrations than there are.
        DataError: a sequence is too long and `skip` is off, or nothing is left.
    """
    per_epoch = -(-(like or len(targets)) // batch_size)
    wanted = epochs * per_epoch
    batches: list[tuple[Group, ...]] = []
    skipped: list[Skipped] = []
    for epoch in range(epochs) if like is None else count():
        for batch in training_batches(
            targets, pool, settings, batch_size=batch_size, seed=seed, epoch=epoch
        ):
            kept, left_out = fit(batch, episodes, skip=skip)
            skipped += left_out
            batches.append(tuple(kept))
        filled = [number for number, batch in enumerate(batches) if batch]
        if not filled:
            raise DataError("no training item fits the model's context; lower --demonstrations")
        if like is not None and len(filled) >= wanted:
            batches = batches[: filled[wanted - 1] + 1]
            break
    per_pass = -(-len(targets) // batch_size)
    return Schedule(tuple(batches), per_pass, tuple(dict.fromkeys(skipped)), per_epoch)
