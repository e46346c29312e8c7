"""Groups of a run to encoded groups, with every too-long sequence found before work begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from isogloss.demonstrations.choose import Group
from isogloss.encoding import EncodedSet, EncodedTarget, Encoder
from isogloss.errors import DataError
from isogloss.packing import EncodedGroup
from isogloss.tasks.example import Example, Task
from isogloss.tasks.examples import chosen


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
        for place, target in enumerate(encoded.targets):
            tokens = sequence_length(encoded.demonstrations, target) + self.reserve
            if tokens > self.longest:
                example = group.targets[place]
                skipped.append(Skipped(example.id, example.language, tokens, self.longest))
            else:
                kept.append(place)
        if not skipped:
            return group, []
        return Group(group.demonstrations, chosen(group.targets, kept)), skipped

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
