"""Table 1 (Section 5.2): is more attention paid to the demonstrations that contribute more?

The attention on a demonstration is that of the positions that predict the target's answer, summed
over the demonstration's tokens, without the sequence's first. Its contribution is what the answer's
log-probability loses without it (leave-one-out), or gains by it alone (solo). Where a demonstration
stands matters more than what it is, so every demonstration is met in every slot, or slots are
centred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from isogloss.alignment.attention import late_attention
from isogloss.correlations import rank_correlation
from isogloss.demonstrations.choose import Group
from isogloss.encoding import EncodedSet, EncodedTarget, Encoder
from isogloss.errors import ConfigError, DataError
from isogloss.intervals import Interval, bootstrap_interval
from isogloss.model.answer import answer_sums, token_log_probabilities
from isogloss.packing import EncodedGroup, pack
from isogloss.tasks.example import Task

Orders = Literal["cyclic", "slot-centred"]
Order = tuple[int, ...]  # places of the demonstrations, as they stand
Array = NDArray[numpy.float64]
RESAMPLES = 2000


@final
@dataclass(frozen=True)
class Relation:
    """Attention against contribution over targets, each with its 95% interval.

    `most`, `least`: attention on the demonstration that contributes most and least; `difference`
    of the two. `above`: share of targets where the first is greater, ties counting half. `rank`:
    mean within a target of Spearman's correlation.
    """

    most: Interval
    least: Interval
    difference: Interval
    above: Interval
    rank: Interval


@final
@dataclass(frozen=True)
class Relations:
    """By the attention on a whole demonstration, by that on each of its tokens, and as its share of
    the attention on all demonstrations.
    """

    whole: Relation
    per_token: Relation
    share: Relation


@final
@dataclass(frozen=True)
class Slot:
    """One place in the context, the first farthest from the target: means over targets."""

    attention: Interval
    contribution: Interval


@final
@dataclass(frozen=True)
class AttentionMeasure:
    """Attention on demonstrations against their contribution to the target's answer."""

    targets: int
    demonstrations: int
    orders: Orders
    leave_one_out: Relations
    solo: Relations
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class _Case:
    """One target with its demonstrations, encoded alone and in any order."""

    encoder: Encoder
    task: Task
    group: Group
    number: int

    def front(self, order: Order) -> EncodedSet:
        shown = [self.task.render(self.group.demonstrations[place]) for place in order]
        return self.encoder.demonstration_set(shown)

    def target(self, count: int) -> EncodedTarget:
        """The target after `count` demonstrations, its answer without the token that ends it."""
        found = self.encoder.target(self.task.render(self.group.targets[self.number]), count)
        return dataclasses.replace(found, answer=found.answer[:-1] or found.answer)


def measure_attention(
    model: PreTrainedModel,
    encoder: Encoder,
    task: Task,
    groups: Sequence[Group],
    *,
    orders: Orders = "cyclic",
    batch_size: int = 8,
    seed: int = 0,
) -> AttentionMeasure:
    """Measure it over all targets of the groups, in the model as it is.

    `cyclic` has every demonstration in every slot, in the k cyclic orders, and averages over them;
    `slot-centred` has the one order that is given and takes each slot's mean off.

    Raises:
        ConfigError: fewer than two demonstrations, or groups with different numbers of them.
        DataError: a target whose answer is not known, or none.
        ModelError: the model has no eager attention.
    """
    cases = _cases(encoder, task, groups)
    count = len(cases[0].group.demonstrations)
    around = tuple(range(count))
    kept = [around[turn:] + around[:turn] for turn in (around if orders == "cyclic" else (0,))]
    attention, tokens = _attention(model, cases, kept, batch_size)
    told = _log_probabilities(model, cases, _wanted(kept), batch_size)
    out = numpy.array([_left_out(told[number], kept) for number in range(len(cases))])
    alone = numpy.array(
        [[own[(place,)] - own[()] for place in range(count)] for own in told.values()]
    )
    forms = {
        "whole": attention,
        "per_token": attention / tokens,
        "share": attention / attention.sum(axis=2, keepdims=True),
    }
    by_slot = [_by_slot(values, kept) for values in (attention, out)]
    solo, left = (
        Relations(**{n: _relation(_whole(f, orders), c, seed) for n, f in forms.items()})
        for c in (_centred(alone, orders), _whole(out, orders))
    )
    return AttentionMeasure(
        targets=len(cases),
        demonstrations=count,
        orders=orders,
        leave_one_out=left,
        solo=solo,
        slots=tuple(
            Slot(*(_mean(values[:, slot], seed) for values in by_slot)) for slot in range(count)
        ),
    )


def _cases(encoder: Encoder, task: Task, groups: Sequence[Group]) -> list[_Case]:
    counts = {len(group.demonstrations) for group in groups}
    if not groups or min(counts) < 2 or len(counts) > 1:
        found = " and ".join(map(str, sorted(counts))) or "no"
        raise ConfigError(
            f"attention compares the demonstrations of a target: found {found}; give the same "
            "number to all, 2 or more"
        )
    for group in groups:
        for target in group.targets:
            if not target.answers:
                raise DataError(
                    f"item '{target.id}' ({target.language}): its answer is not known, so what "
                    "contributes to it cannot be said; give answered items"
                )
    return [
        _Case(encoder, task, group, number)
        for group in groups
        for number in range(len(group.targets))
    ]


# ---- attention -----------------------------------------------------------------------------------


def _attention(
    model: PreTrainedModel, cases: Sequence[_Case], kept: Sequence[Order], batch_size: int
) -> tuple[Array, Array]:
    """(targets, orders, k): attention on each demonstration, by its own place; and its tokens."""
    shape = (len(cases), len(kept), len(kept[0]))
    found, tokens = numpy.zeros(shape), numpy.zeros(shape)
    asked = [(number, turn) for number in range(len(cases)) for turn in range(len(kept))]
    encoded = {
        place: (cases[place[0]].front(kept[place[1]]), cases[place[0]].target(shape[2]))
        for place in asked
    }
    asked.sort(key=lambda place: len(encoded[place][0].ids) + len(encoded[place][1].ids))
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        pairs = [encoded[place] for place in batch]
        # The last token of an answer is only predicted: nothing is read at it.
        sequences = [(*front.ids, *own.ids, *own.answer[:-1]) for front, own in pairs]
        rows = late_attention(model, sequences, [len(own.answer) for _, own in pairs])
        for (number, turn), (front, _), row in zip(batch, pairs, rows, strict=True):
            weights = row.mean(dim=0)
            spans = zip(front.inputs, front.answers, strict=True)
            for place, (asked_span, answer) in zip(kept[turn], spans, strict=True):
                # A sequence's first token is an attention sink, whatever it says.
                columns = [*range(max(1, asked_span.start), asked_span.stop)]
                columns += range(answer.start, answer.stop)
                found[number, turn, place] = float(weights[columns].sum())
                tokens[number, turn, place] = len(columns)
    return found, tokens


# ---- contribution --------------------------------------------------------------------------------


def _wanted(kept: Sequence[Order]) -> list[Order]:
    """All contexts whose answer's log-probability is asked for, each once."""
    without = [_less(order, place) for order in kept for place in order]
    single = [(place,) for place in kept[0]]
    return list(dict.fromkeys([*kept, *without, *single, ()]))


def _less(order: Order, place: int) -> Order:
    return tuple(other for other in order if other != place)


@torch.no_grad()
def _log_probabilities(
    model: PreTrainedModel, cases: Sequence[_Case], contexts: Sequence[Order], batch_size: int
) -> dict[int, dict[Order, float]]:
    """Log p(y_t | context), natural logarithm, of each target in each context."""
    asked = [(number, order) for number in range(len(cases)) for order in contexts]
    encoded = {
        (number, order): EncodedGroup(
            cases[number].front(order), (cases[number].target(len(order)),)
        )
        for number, order in asked
    }
    asked.sort(key=lambda place: _length(encoded[place]))
    found: dict[int, dict[Order, float]] = {number: {} for number in range(len(cases))}
    for start in range(0, len(asked), batch_size):
        places = asked[start : start + batch_size]
        batch, _ = pack([encoded[place] for place in places], layout="rows")
        batch = batch.to(model.device)
        sums = answer_sums(token_log_probabilities(model, batch), batch)
        for (number, order), value in zip(places, sums.tolist(), strict=True):
            found[number][order] = value
    return found


def _length(group: EncodedGroup) -> int:
    (target,) = group.targets
    return len(group.demonstrations.ids) + len(target.ids) + len(target.answer)


def _left_out(told: dict[Order, float], kept: Sequence[Order]) -> list[list[float]]:
    """(orders, k): what each demonstration's absence costs, by its own place."""
    return [
        [told[order] - told[_less(order, place)] for place in range(len(order))] for order in kept
    ]


# ---- statistics ----------------------------------------------------------------------------------


def _by_slot(values: Array, kept: Sequence[Order]) -> Array:
    """(targets, orders, k) by the demonstrations' places to (targets, k) by their slots."""
    order = numpy.broadcast_to(numpy.array(kept), values.shape)
    by_slot: Array = numpy.take_along_axis(values, order, axis=2).mean(axis=1)
    return by_slot


def _whole(values: Array, orders: Orders) -> Array:
    """(targets, orders, k) to (targets, k): the mean over orders, or the slot's mean taken off."""
    return _centred(values.mean(axis=1), orders)


def _centred(values: Array, orders: Orders) -> Array:
    return values if orders == "cyclic" else values - values.mean(axis=0, keepdims=True)


def _relation(attention: Array, contribution: Array, seed: int) -> Relation:
    rows = numpy.arange(len(attention))
    most = attention[rows, contribution.argmax(axis=1)]
    least = attention[rows, contribution.argmin(axis=1)]
    above = (most > least) + 0.5 * (most == least)
    ranks = [_rank(a, c) for a, c in zip(attention, contribution, strict=True)]
    return Relation(
        most=_mean(most, seed),
        least=_mean(least, seed),
        difference=_mean(most - least, seed),
        above=_mean(above, seed),
        rank=_mean(numpy.array(ranks), seed),
    )


def _rank(first: Array, second: Array) -> float:
    """Spearman's correlation; 0 where one of the two is the same throughout."""
    value = rank_correlation(first, second)
    return 0.0 if numpy.isnan(value) else value


def _mean(values: Array, seed: int) -> Interval:
    return bootstrap_interval(values.tolist(), seed=seed, resamples=RESAMPLES)
