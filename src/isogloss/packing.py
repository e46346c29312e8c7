"""Encoded episodes to batches: rows of trees, positions, who sees whom, and what is predicted.

A group's sequences have a common front: its demonstration set, and what all its targets begin with
(a wording's instruction). As a tree the front stands in the row once, each target is a branch with
its own positions, and each answer option a branch of its target; a token sees its own branch and
what leads to it. Written out as separate rows the same episodes give the same numbers (up to float
error), so the layout is only a matter of cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from isogloss.encoding import EncodedSet, EncodedTarget, Span
from isogloss.spans import Spans, SpanWriter

Layout = Literal["tree", "packed", "rows"]
AnswerKind = Literal["target", "demonstration", "option"]


@dataclass(frozen=True)
class EncodedGroup:
    """Targets that share one encoded demonstration set."""

    demonstrations: EncodedSet
    targets: tuple[EncodedTarget, ...]

    def behind(self, tokens: int) -> EncodedGroup:
        """The group without the first tokens of its front, which a cache has; for targets only."""
        if not tokens:
            return self
        front = EncodedSet(self.demonstrations.ids[tokens:], Span(0, 0), (), (), ())
        return EncodedGroup(front, self.targets)

    def joined(self) -> EncodedGroup:
        """The group with the tokens that all its targets begin with in its front, once.

        Every target keeps one token at least. Its input's span is then that of what it keeps, so
        this is not for batches that need spans.
        """
        if len(self.targets) < 2:
            return self
        common = _common([target.ids for target in self.targets])
        if not common:
            return self
        front = replace(self.demonstrations, ids=self.demonstrations.ids + common)
        return EncodedGroup(front, tuple(_after(each, len(common)) for each in self.targets))


def _common(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The longest beginning of all of them, short of the last token of the shortest."""
    shortest = min(sequences, key=len)[:-1]
    for place, token in enumerate(shortest):
        if any(ids[place] != token for ids in sequences):
            return shortest[:place]
    return shortest


def _after(target: EncodedTarget, tokens: int) -> EncodedTarget:
    span = Span(max(0, target.input.start - tokens), max(0, target.input.stop - tokens))
    return replace(target, ids=target.ids[tokens:], input=span)


@dataclass(frozen=True)
class Answer:
    """A run of tokens to be predicted: whose it is and what weight its mean loss has.

    `target` counts the batch's targets. `place` is the demonstration's place in its set, or the
    option's among the options. A shared demonstration's answer stands for `weight` episodes.
    """

    kind: AnswerKind
    target: int
    place: int
    weight: float


@dataclass(frozen=True)
class Batch:
    """Tensors of one forward pass.

    ids, positions: (rows, tokens). `visible`: (rows, tokens, tokens), True where the token of the
    second index is seen by that of the first; None where every row is one plain sequence, padded
    on the right (`real` then says which tokens are not padding). With `visible`, `parts`, (parts,),
    are the ends of runs of columns: the first run, the trunk, is a plain sequence in every row, and
    each further one sees, beside the trunk, itself at most. The P predicted tokens:
    `row`, `column` (where their logits are read), `token` (what should stand there), `answer`
    (index into the answers), each (P,). `weight`: (answers,). `spans`: which sample each token
    belongs to, where that was asked for.
    """

    ids: Tensor
    positions: Tensor
    real: Tensor
    row: Tensor
    column: Tensor
    token: Tensor
    answer: Tensor
    weight: Tensor
    visible: Tensor | None = None
    parts: Tensor | None = None
    spans: Spans | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return Batch.of({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, for a data loader; `Batch.of` gives the batch back."""
        spans = vars(self.spans) if self.spans else {}
        named = {f"spans.{name}": tensor for name, tensor in spans.items()}
        own = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return own | named

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Batch:
        """The batch whose `tensors` these are."""
        own = {name: tensor for name, tensor in tensors.items() if "." not in name}
        spans = {name.removeprefix("spans."): tensors[name] for name in tensors if "." in name}
        return Batch(**own, spans=Spans(**spans) if spans else None)


@dataclass
class _Row:
    """A row being written: tokens, their positions, their branch, and what each branch hangs on."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # next position after each branch
    parts: list[int] = field(default_factory=list)  # ends of its first front and what hangs on it
    last: list[int] = field(default_factory=list)  # column of the last token on the way to its end

    def grow(self, ids: Sequence[int], parent: int) -> int:
        """Add a branch after `parent` (-1: none); gives the branch's number."""
        start = self.ends[parent] if parent >= 0 else 0
        number = len(self.parents)
        before = self.last[parent] if parent >= 0 else -1
        self.last.append(len(self.ids) + len(ids) - 1 if ids else before)
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.branch += [number] * len(ids)
        self.parents.append(parent)
        self.ends.append(start + len(ids))
        return number


@dataclass
class _Writer:
    """Collects the rows and predicted tokens of a batch."""

    spans: SpanWriter | None = None
    rows: list[_Row] = field(default_factory=list)
    predicted: list[tuple[int, int, int, int]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def predict(self, row: int, columns: Sequence[int], tokens: Sequence[int], answer: int) -> None:
        assert all(column >= 0 for column in columns), "an answer needs a token before it"
        for column, token in zip(columns, tokens, strict=True):
            self.predicted.append((row, column, token, answer))

    def answer(self, answer: Answer) -> int:
        self.answers.append(answer)
        return len(self.answers) - 1


@dataclass(frozen=True)
class _Piece:
    """A run of tokens to predict after a target's input."""

    kind: AnswerKind
    place: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Tree:
    """What hangs on one front: targets by their number in the batch, each with its pieces."""

    front: EncodedSet
    targets: tuple[tuple[int, EncodedTarget, tuple[_Piece, ...]], ...]


def pack(
    groups: Sequence[EncodedGroup],
    *,
    layout: Layout = "tree",
    options: bool = False,
    demonstration_answers: Sequence[int] | None = (),
    dominant: str | None = None,
) -> tuple[Batch, tuple[Answer, ...]]:
    """A batch of groups.

    `tree`: each group is a row. `packed`: all groups stand in one row and do not see each other.
    `rows`: every episode (or option) is written out as a sequence of its own. With `options` the
    options are predicted, else the right answers. `demonstration_answers` says which
    demonstrations' answers are predicted too: places in the set (negative from its end), or None
    for all. With the code of the `dominant` language the batch has spans.
    """
    if layout != "rows" and not dominant:
        groups = [group.joined() for group in groups]
    trees = _trees(groups, options)
    if layout == "rows":
        trees = [
            _Tree(tree.front, ((number, target, (piece,)),))
            for tree in trees
            for number, target, pieces in tree.targets
            for piece in pieces
        ]
    writer = _Writer(SpanWriter(dominant) if dominant else None)
    for place, tree in enumerate(trees):
        if layout != "packed" or place == 0:
            writer.rows.append(_Row())
        _write(writer, tree, demonstration_answers)
    return _tensors(writer, linear=layout == "rows"), tuple(writer.answers)


def _trees(groups: Sequence[EncodedGroup], options: bool) -> list[_Tree]:
    trees, number = [], 0
    for group in groups:
        targets = []
        for target in group.targets:
            targets.append((number, target, _pieces(target, options)))
            number += 1
        trees.append(_Tree(group.demonstrations, tuple(targets)))
    return trees


def _pieces(target: EncodedTarget, options: bool) -> tuple[_Piece, ...]:
    if options:
        return tuple(_Piece("option", place, ids) for place, ids in enumerate(target.options))
    return (_Piece("target", 0, target.answer),)


def _write(writer: _Writer, tree: _Tree, demonstration_answers: Sequence[int] | None) -> None:
    number, row = len(writer.rows) - 1, writer.rows[-1]
    offset = len(row.ids)
    front = row.grow(tree.front.ids, -1)
    row.parts = row.parts[:1] or [len(row.ids)]  # what is behind the first tree is one part
    if writer.spans:
        writer.spans.front(number, offset, tree.front)
    for place in _places(len(tree.front.answers), demonstration_answers):
        span = tree.front.answers[place]
        weight = float(len(tree.targets))
        answer = writer.answer(Answer("demonstration", tree.targets[0][0], place, weight))
        columns = range(offset + span.start - 1, offset + span.stop - 1)
        writer.predict(number, columns, tree.front.ids[span.start : span.stop], answer)
    for target_number, target, pieces in tree.targets:
        branch = row.grow(target.ids, front)
        if writer.spans:
            writer.spans.target(number, len(row.ids) - len(target.ids), target)
        for piece in pieces:
            # The last token is only predicted, so it need not be read.
            leaf = row.grow(piece.tokens[:-1], branch)
            if writer.spans:
                writer.spans.piece(
                    number, len(row.ids) - len(piece.tokens) + 1, len(piece.tokens) - 1
                )
            read = range(row.last[leaf] - len(piece.tokens) + 2, row.last[leaf] + 1)
            answer = writer.answer(Answer(piece.kind, target_number, piece.place, 1.0))
            writer.predict(number, [row.last[branch], *read], piece.tokens, answer)
        if not offset:
            row.parts.append(len(row.ids))


def _places(count: int, asked: Sequence[int] | None) -> list[int]:
    if asked is None:
        return list(range(count))
    return sorted({place % count for place in asked if -count <= place < count})


def _tensors(writer: _Writer, *, linear: bool) -> Batch:
    width = max(len(row.ids) for row in writer.rows)
    count = len(writer.rows)
    ids = torch.zeros((count, width), dtype=torch.long)
    positions = torch.zeros((count, width), dtype=torch.long)
    real = torch.zeros((count, width), dtype=torch.bool)
    # Padding sees itself, so that no row of the attention is empty.
    visible = None if linear else torch.eye(width, dtype=torch.bool).repeat(count, 1, 1)
    for number, row in enumerate(writer.rows):
        length = len(row.ids)
        ids[number, :length] = torch.tensor(row.ids, dtype=torch.long)
        positions[number, :length] = torch.tensor(row.positions, dtype=torch.long)
        real[number, :length] = True
        if visible is not None:
            visible[number, :length, :length] = _visible(row)
    predicted = torch.tensor(writer.predicted, dtype=torch.long).reshape(-1, 4)
    at_row, column, token, answer = predicted.unbind(1)
    weight = torch.tensor([one.weight for one in writer.answers])
    spans = writer.spans.tensors(count, width) if writer.spans else None
    parts = None if linear else torch.tensor(_parts(writer.rows, width))
    return Batch(ids, positions, real, at_row, column, token, answer, weight, visible, parts, spans)


def _parts(rows: Sequence[_Row], width: int) -> list[int]:
    """The ends of the parts that all rows have: of several rows, the trunk and the rest."""
    (first, *others) = rows
    if not others and first.parts[-1] == width:
        return first.parts
    return [min(row.parts[0] for row in rows), width]


def _visible(row: _Row) -> Tensor:
    """(tokens, tokens): a token sees its own branch up to itself, and that branch's ancestors."""
    ancestors = torch.eye(len(row.parents), dtype=torch.bool)
    for number, parent in enumerate(row.parents):
        if parent >= 0:
            ancestors[number] |= ancestors[parent]
    branch = torch.tensor(row.branch)
    positions = torch.tensor(row.positions)
    return ancestors[branch][:, branch] & (positions[None, :] <= positions[:, None])
