"""One of several demonstration sets, by how the run answers held-out items with each."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from isogloss.answering import Answering, answer, reserved
from isogloss.compiling.ground import Ground
from isogloss.compiling.sources import Candidate
from isogloss.demonstrations.choose import Group
from isogloss.episodes import fit
from isogloss.errors import DataError
from isogloss.runs import Json
from isogloss.scoring import judged, option_loss, values_of
from isogloss.tasks.example import Example
from isogloss.tasks.examples import drawn, without_ids


@final
@dataclass(frozen=True)
class Choice:
    """The chosen set among all, with what each came to; `by` says in words on which items."""

    chosen: int
    candidates: tuple[Candidate, ...]
    rows: tuple[Json, ...]
    by: str

    @property
    def candidate(self) -> Candidate:
        """The chosen one."""
        return self.candidates[self.chosen]


def choose(
    ground: Ground, candidates: Sequence[Candidate], how: Answering, *, items: int, seed: int
) -> Choice:
    """The set of the highest score; of equal ones that with the lower loss, then the earlier.

    The items are of the target language: validation items, or where the task has none the training
    items outside the set. Test items are never looked at.

    Raises:
        DataError: no set leaves room for an item.
    """
    if len(candidates) == 1:
        only = {"how": candidates[0].how, "demonstrations": candidates[0].names}
        return Choice(0, tuple(candidates), (only,), "not chosen: there is one set")
    held, by = _held_out(ground)
    rows = []
    for number, candidate in enumerate(candidates):
        print(f"candidate {number}: {', '.join(candidate.names)}", file=sys.stderr, flush=True)
        inside = {item.id for item in candidate.demonstrations}
        asked = sample_of(without_ids(held, inside), items, seed=seed)
        rows.append(_row(ground, candidate, how, asked))
    scored = [number for number, row in enumerate(rows) if row["value"] is not None]
    if not scored:
        raise DataError(
            "no candidate leaves room for an item in the model's context, or no item is left to "
            "judge by; lower --candidates, or give a file of fewer or shorter demonstrations"
        )
    best = max(scored, key=lambda number: (*_rank(rows[number]), -number))
    return Choice(best, tuple(candidates), tuple(rows), by)


def _rank(row: Json) -> tuple[float, float]:
    loss = row["loss"]
    return row["value"], -loss if loss is not None else 0.0


def _held_out(ground: Ground) -> tuple[Sequence[Example], str]:
    opened = ground.opened
    split, target = opened.split, opened.record["target"]
    if split.validation and opened.record.get("validation_language", target) == target:
        return split.validation, "validation items"
    return split.target, (
        "training items of D_t outside the set, as the task has no validation items of the target "
        "language: where the run has learnt from them, scores are too high"
    )


def sample_of(items: Sequence[Example], count: int, *, seed: int) -> Sequence[Example]:
    """At most `count` of the items, decided by the seed and the ids, in the items' order."""
    return drawn(items, count, random.Random(f"{seed}/compile"))


def _row(ground: Ground, candidate: Candidate, how: Answering, asked: Sequence[Example]) -> Json:
    """What the run comes to with a set: the metric's mean, and of options the mean loss in nats."""
    opened, loaded = ground.opened, ground.loaded
    episodes = reserved(opened.episodes(loaded, tuned=True), how)
    fitting, _ = fit([Group(candidate.demonstrations, tuple(asked))], episodes, skip=True)
    row: Json = {"how": candidate.how, "demonstrations": candidate.names}
    if not fitting or not asked:
        return row | {"value": None, "loss": None, "items": 0}
    with opened.tuned(loaded):
        found = answer(loaded, episodes, fitting, how, title="judging")
    by_id = {item.id: item for item in asked}
    entries = [judged(each, by_id[each.id], opened.task) for each in found]
    values = values_of(entries, opened.task.metric)
    losses = [loss for entry in entries if (loss := option_loss(entry)) is not None]
    loss = sum(losses) / len(losses) if len(losses) == len(entries) else None
    return row | {"value": sum(values) / len(values), "loss": loss, "items": len(values)}
