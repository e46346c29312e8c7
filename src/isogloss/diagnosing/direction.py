"""Does training on one language push the other the right way? Gradient alignment (Eq. 1)."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from isogloss.alignment.gradient_alignment import Alignment, aligned, ceiling, excess
from isogloss.alignment.gradients import (
    SKETCH,
    ItemLoss,
    probe_gradients,
    tuned_gradients,
)
from isogloss.alignment.pair_draws import Key
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import EpisodeEncoder, fit
from isogloss.errors import DataError
from isogloss.intervals import Interval
from isogloss.methods.losses import AnswerLoss
from isogloss.model.layers import blocks
from isogloss.model.load import Loaded
from isogloss.packing import Batch, EncodedGroup
from isogloss.settings import LEAST_ITEMS
from isogloss.tasks.example import Example

EXACT = 1_000_000  # parameters whose gradients are kept whole
RESIDUAL_RESAMPLES = 500
Learning = Literal["soft-prompt", "lora", "full"]


@final
@dataclass(frozen=True)
class Probed:
    """What is differentiated: a soft prompt's vectors (m, width), or parameters of the model.

    `meet` is shown each batch before its pass, as a representation shift needs it.
    """

    what: str
    prompt: Tensor | None = None
    parameters: Mapping[str, nn.Parameter] = dataclasses.field(default_factory=dict)
    meet: Callable[[Batch], object] | None = None

    @property
    def size(self) -> int | None:
        """Numbers of a projected gradient; None where it is exact."""
        numbers = sum(each.numel() for each in self.parameters.values())
        return None if self.prompt is not None or numbers <= EXACT else SKETCH


@final
@dataclass(frozen=True)
class ResidualLayer:
    """The alignment of gradients by the hidden states of one layer, comparable among methods."""

    layer: int
    cosine: Interval
    corrected: Interval | None


@final
@dataclass(frozen=True)
class Direction:
    """Gradients of items in the dominant language (A) against those in the target language (B).

    `alignment`: A against B. `ceiling`: what noise would leave of a cosine of 1.
    `floor`: A against B with its answers shuffled among the items, and `excess` by how much the
    cosine is above that: what is the task's, and not the answers' form alone. `unseen`: A against
    held-out items of the target language, None where there are none. `error`: the standard error
    that a random projection adds to a cosine, 0 where gradients are exact.
    """

    what: str
    items: tuple[int, int]
    translations: int
    demonstrations: int
    alignment: Alignment
    ceiling: float
    floor: Alignment
    excess: Interval
    unseen: Alignment | None
    residual: tuple[ResidualLayer, ...]
    error: float
    skipped: int


@final
@dataclass(frozen=True)
class Asked:
    """The items of a measurement, and how an episode is made of each.

    `pool` holds what demonstrations are drawn from by `context`; `loss` is an item's loss,
    `language` the dominant one's code.
    """

    language: str
    dominant: tuple[Example, ...]
    target: tuple[Example, ...]
    unseen: tuple[Example, ...]
    pool: Pool
    context: Demonstrations
    loss: AnswerLoss
    seed: int


def items_of(
    dominant: Sequence[Example], target: Sequence[Example], count: int, *, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """At most `count` items of either language, translations of each other as far as there are."""
    source = random.Random(f"{seed}/gradients")
    chosen = _drawn([item for item in target if item.answers], count, source)
    ids = {item.id for item in chosen}
    known = [item for item in dominant if item.answers]
    same = [item for item in known if item.id in ids]
    others = [item for item in known if item.id not in ids]
    return (*same, *_drawn(others, count - len(same), source)), tuple(chosen)


def _drawn(items: Sequence[Example], count: int, source: random.Random) -> list[Example]:
    ordered = sorted(items, key=lambda item: item.id)
    return source.sample(ordered, min(count, len(ordered)))


def direction(loaded: Loaded, episodes: EpisodeEncoder, asked: Asked, probed: Probed) -> Direction:
    """Measure it, in the model as it is (tuned or not).

    Raises:
        DataError: fewer than four items of a language fit the model.
    """
    sides = [asked.dominant, asked.target, _shuffled(asked.target, asked.seed), asked.unseen]
    groups, keys, skipped = [], [], 0
    for side in sides:
        encoded, names, left_out = _encoded(side, episodes, asked)
        groups.append(encoded)
        keys.append(names)
        skipped += left_out
    for language, names in zip(("dominant", "target"), keys[:2], strict=True):
        if len(names) < LEAST_ITEMS:
            raise DataError(
                f"gradients need {LEAST_ITEMS} answered items of the {language} language that "
                f"fit the model; found {len(names)}. Give more items, or --items 0 to leave "
                "gradients out"
            )
    found = [_gradients(loaded, probed, each, asked) for each in groups]
    (own, _), (other, _), (shuffled, _), (unseen, _) = found
    seed = asked.seed
    return Direction(
        what=probed.what,
        items=(len(own), len(other)),
        translations=len({name for name, _ in keys[0]} & {name for name, _ in keys[1]}),
        demonstrations=asked.context.count,
        alignment=aligned(own, other, keys[0], keys[1], seed=seed),
        ceiling=ceiling(own, other, seed=seed),
        floor=aligned(own, shuffled, keys[0], keys[2], seed=seed),
        excess=_excess(own, other, shuffled, keys, seed),
        unseen=(
            aligned(own, unseen, keys[0], keys[3], seed=seed)
            if len(unseen) >= LEAST_ITEMS
            else None
        ),
        residual=_residual(found[0][1], found[1][1], keys, seed),
        error=(2 / probed.size) ** 0.5 if probed.size else 0.0,
        skipped=skipped,
    )


def _excess(
    own: Tensor, other: Tensor, shuffled: Tensor, keys: Sequence[list[Key]], seed: int
) -> Interval:
    """Over the target items that fit with either answer."""
    place = {key: row for row, key in enumerate(keys[2])}
    rows = [row for row, key in enumerate(keys[1]) if key in place]
    names = [keys[1][row] for row in rows]
    turned = shuffled[[place[key] for key in names]]
    return excess(own, other[rows], turned, keys[0], names, seed=seed)


def _residual(
    own: Tensor, other: Tensor, keys: Sequence[list[Key]], seed: int
) -> tuple[ResidualLayer, ...]:
    """From gradients (items, layers, width) by the states of layers 1, 2 ..."""
    found = []
    for place in range(own.shape[1]):
        measured = aligned(
            own[:, place],
            other[:, place],
            keys[0],
            keys[1],
            seed=seed,
            resamples=RESIDUAL_RESAMPLES,
        )
        found.append(ResidualLayer(place + 1, measured.cosine, measured.corrected))
    return tuple(found)


def _gradients(
    loaded: Loaded, probed: Probed, groups: Sequence[EncodedGroup], asked: Asked
) -> tuple[Tensor, Tensor]:
    """By what is probed, (items, ...), and by hidden states, (items, layers, width)."""
    if not groups:
        return torch.zeros(0, 1), torch.zeros(0, 0, 1)
    loss = ItemLoss(asked.loss.places, asked.loss.weight, dominant=asked.language, meet=probed.meet)
    layers = range(1, len(blocks(loaded.model)))
    by_prompt, by_state = probe_gradients(
        loaded.model, probed.prompt, groups, layers=layers, loss=loss
    )
    if probed.prompt is not None:
        return by_prompt, by_state
    by_parameters = tuned_gradients(
        loaded.model, probed.parameters, groups, loss=loss, size=probed.size
    )
    return by_parameters, by_state


def _encoded(
    items: Sequence[Example], episodes: EpisodeEncoder, asked: Asked
) -> tuple[list[EncodedGroup], list[Key], int]:
    """The items' episodes, the items' keys in their order, and how many were too long."""
    if not items:
        return [], [], 0
    groups = test_groups(items, asked.pool, asked.context, seed=asked.seed)
    fitting, skipped = fit(groups, episodes, skip=True)
    keys = [(item.id, item.language) for group in fitting for item in group.targets]
    return [episodes.group(group) for group in fitting], keys, len(skipped)


def _shuffled(items: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """The items with their answers dealt out anew among them."""
    answers = [item.answers for item in items]
    random.Random(f"{seed}/shuffled").shuffle(answers)
    return tuple(
        dataclasses.replace(item, answers=given) for item, given in zip(items, answers, strict=True)
    )
