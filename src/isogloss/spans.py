"""Which sample a token belongs to (Section 5.2, Fig. 4): what the representation shift reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isogloss.encoding import EncodedSet, EncodedTarget, Span


@dataclass(frozen=True)
class Spans:
    """The samples of a batch's tokens.

    `demonstration`: (rows, tokens), the number of the demonstration whose input x_d the token is
    in, else -1. `sample`: (rows, tokens), the number of the target sample {x_t, y_t} that the
    token is in, else -1. `asked`: (rows, tokens), True in x_t. The sequence's first token is in
    none of the inputs: it is an attention sink, whose norm would rule every mean.

    A target's demonstrations are those of its tree: `demonstration_tree` (demonstrations,),
    `sample_tree` (samples,). `dominant`: (demonstrations,), True in the dominant language;
    `foreign`: (samples,), True in another one.
    """

    demonstration: Tensor
    sample: Tensor
    asked: Tensor
    demonstration_tree: Tensor
    sample_tree: Tensor
    dominant: Tensor
    foreign: Tensor

    def to(self, device: torch.device) -> Spans:
        """The same spans on a device."""
        return Spans(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class _Mark:
    """Columns of a row that belong to a numbered demonstration or sample."""

    row: int
    start: int
    stop: int
    number: int


@dataclass
class SpanWriter:
    """Collects spans while the rows of a batch are written."""

    language: str  # the dominant one
    demonstrations: list[_Mark] = field(default_factory=list)
    samples: list[_Mark] = field(default_factory=list)
    asked: list[_Mark] = field(default_factory=list)
    firsts: list[tuple[int, int]] = field(default_factory=list)  # row and column of each tree's
    demonstration_tree: list[int] = field(default_factory=list)
    sample_tree: list[int] = field(default_factory=list)
    dominant: list[bool] = field(default_factory=list)
    foreign: list[bool] = field(default_factory=list)

    def front(self, row: int, column: int, front: EncodedSet) -> None:
        """A new tree, whose front begins at a column."""
        self.firsts.append((row, column))
        for span, language in zip(front.inputs, front.languages, strict=True):
            self.demonstrations.append(self._mark(row, column, span, len(self.dominant)))
            self.demonstration_tree.append(len(self.firsts) - 1)
            self.dominant.append(language == self.language)

    def target(self, row: int, column: int, target: EncodedTarget) -> None:
        """A target of the last tree, whose ids begin at a column; pieces may follow."""
        self.asked.append(self._mark(row, column, target.input, len(self.foreign)))
        self.sample_tree.append(len(self.firsts) - 1)
        self.foreign.append(target.language != self.language)
        self.piece(row, column, len(target.ids))

    def piece(self, row: int, column: int, length: int) -> None:
        """Tokens that belong to the last target."""
        self.samples.append(_Mark(row, column, column + length, len(self.foreign) - 1))

    def tensors(self, rows: int, width: int) -> Spans:
        """The spans of a batch of rows."""
        shape = (rows, width)
        demonstration = _filled(shape, self.demonstrations)
        asked = _filled(shape, self.asked)
        for row, column in self.firsts:
            demonstration[row, column] = asked[row, column] = -1
        return Spans(
            demonstration=demonstration,
            sample=_filled(shape, self.samples),
            asked=asked >= 0,
            demonstration_tree=torch.tensor(self.demonstration_tree, dtype=torch.long),
            sample_tree=torch.tensor(self.sample_tree, dtype=torch.long),
            dominant=torch.tensor(self.dominant, dtype=torch.bool),
            foreign=torch.tensor(self.foreign, dtype=torch.bool),
        )

    @staticmethod
    def _mark(row: int, column: int, span: Span, number: int) -> _Mark:
        return _Mark(row, column + span.start, column + span.stop, number)


def _filled(shape: tuple[int, int], marks: Sequence[_Mark]) -> Tensor:
    numbers = torch.full(shape, -1, dtype=torch.long)
    for mark in marks:
        numbers[mark.row, mark.start : mark.stop] = mark.number
    return numbers


def left_padded(episodes: Sequence[tuple[EncodedSet, EncodedTarget]], language: str) -> Spans:
    """The spans of prompts {p, x_d, y_d, x_t} padded on the left, one a row, for generation."""
    lengths = [len(front.ids) + len(target.ids) for front, target in episodes]
    width = max(lengths)
    writer = SpanWriter(language)
    for row, ((front, target), length) in enumerate(zip(episodes, lengths, strict=True)):
        writer.front(row, width - length, front)
        writer.target(row, width - len(target.ids), target)
    return writer.tensors(len(episodes), width)
