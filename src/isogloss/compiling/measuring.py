"""What compiling changes: score and time for an item, compiled, uncompiled and zero-shot."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from transformers import DynamicCache

from isogloss.answering import Answering, Prediction, answer, reserved
from isogloss.compiling.ground import Ground
from isogloss.compiling.prefixing import Prefix
from isogloss.demonstrations.choose import Group
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import DataError
from isogloss.intervals import bootstrap_interval
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import compiled_front, keep_front
from isogloss.progress import Progress
from isogloss.runs import Json
from isogloss.scoring import judged, values_of
from isogloss.tasks.example import Example
from isogloss.tuning.tuning import Tuning, Weights
from isogloss.tuning.untuned import Untuned

COMPILED, UNCOMPILED, ZERO_SHOT = "compiled", "uncompiled", "zero-shot"
WARM_UP = 2  # items that each system answers before time counts


@final
@dataclass(frozen=True)
class System:
    """One way to answer: what is attached to the model, and what stands before an item.

    `front` is the prefix's cache, which a program that answers has in memory.
    """

    name: str
    tune: Tuning
    weights: Weights
    episodes: EpisodeEncoder
    how: Answering
    demonstrations: tuple[Example, ...] = ()
    front: DynamicCache | None = None

    def answer(self, loaded: Loaded, item: Example) -> tuple[Prediction, float]:
        """The answer to one item alone, and the seconds that it took."""
        model, groups = loaded.model, [Group(self.demonstrations, (item,))]
        with self.tune.attached(model, self.weights):
            if self.front is not None:
                keep_front(model, self.front)
            _wait(model.device)
            begun = time.perf_counter()
            (prediction,) = answer(loaded, self.episodes, groups, self.how, title="")
            _wait(model.device)
            return prediction, time.perf_counter() - begun


def measure(ground: Ground, prefix: Prefix, items: Sequence[Example], how: Answering) -> Json:
    """Score and median seconds for an item of each system, and how often two agree.

    The systems take turns at every item, one item at a time, so that what else the machine does
    hits all alike. The items fit behind prompt and demonstrations.
    """
    systems, loaded = _systems(ground, prefix, how), ground.loaded
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    found: dict[str, list[Prediction]] = {system.name: [] for system in systems}
    for system in systems:
        for item in items[:WARM_UP]:
            system.answer(loaded, item)
    progress = Progress("measuring", len(items))
    try:
        for number, item in enumerate(items):
            for place in range(len(systems)):  # each goes first as often as the others
                system = systems[(number + place) % len(systems)]
                prediction, spent = system.answer(loaded, item)
                found[system.name].append(prediction)
                seconds[system.name].append(spent)
            progress.advance(number + 1)
    finally:
        progress.close()
    rows = [_row(ground, each, items, found[each.name], seconds[each.name]) for each in systems]
    same = [a.text == b.text for a, b in zip(found[COMPILED], found[UNCOMPILED], strict=True)]
    return {
        "items": len(items),
        "language": ground.opened.record["target"],
        "metric": ground.opened.task.metric,
        "systems": rows,
        "agreement": sum(same) / len(same),
        "device": str(loaded.model.device),
        "threads": torch.get_num_threads(),
    }


def _systems(ground: Ground, prefix: Prefix, how: Answering) -> tuple[System, ...]:
    opened, loaded = ground.opened, ground.loaded
    own, behind = opened.episodes(loaded, tuned=True), prefix.episodes(ground)
    with prefix.tune.attached(loaded.model, prefix.weights):
        front = compiled_front(loaded.model, behind.encoder.demonstration_set(()).ids)
    weights, alone = opened.weights(loaded), opened.episodes(loaded, tuned=False)
    plain = dataclasses.replace(how, calibration="none")
    behind, own, alone = (reserved(each, how) for each in (behind, own, alone))
    return (
        System(COMPILED, prefix.tune, prefix.weights, behind, how, front=front),
        System(UNCOMPILED, opened.method.tune, weights, own, how, prefix.demonstrations),
        System(ZERO_SHOT, Untuned(), {}, alone, plain),
    )


def fitting(
    ground: Ground, prefix: Prefix, items: Sequence[Example], how: Answering
) -> tuple[Sequence[Example], int]:
    """The items that fit behind prompt and demonstrations, and how many do not.

    Raises:
        DataError: no item fits.
    """
    episodes = reserved(ground.opened.episodes(ground.loaded, tuned=True), how)
    kept, skipped = fit([Group(prefix.demonstrations, tuple(items))], episodes, skip=True)
    if not kept:
        one = min(skipped, key=lambda each: each.tokens)
        raise DataError(
            f"no item fits behind the soft prompt and the demonstrations: the shortest needs "
            f"{one.tokens} tokens in all, and at most {one.longest} fit; give fewer or shorter "
            "demonstrations"
        )
    return kept[0].targets, len(skipped)


def _row(
    ground: Ground,
    system: System,
    items: Sequence[Example],
    found: Sequence[Prediction],
    seconds: Sequence[float],
) -> Json:
    opened = ground.opened
    entries = [judged(a, item, opened.task) for a, item in zip(found, items, strict=True)]
    interval = bootstrap_interval(
        values_of(entries, opened.task.metric), seed=opened.record["seed"]
    )
    solved = [opened.task.render(one) for one in system.demonstrations]
    computed = len(system.episodes.encoder.demonstration_set(solved).ids)
    kept = system.front.get_seq_length() if system.front is not None else 0
    return {
        "name": system.name,
        **dataclasses.asdict(interval),
        "seconds": statistics.median(seconds),
        "front_tokens": computed - kept,
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
