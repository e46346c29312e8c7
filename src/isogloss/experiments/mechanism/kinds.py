"""Gradient alignment by what the demonstration is: a translation, like, random, of another task.

In one episode with one demonstration of D_s (Section 5.2) the loss on the demonstration's answer
and that on the target's have a gradient each by the soft prompt. If related demonstrations align
them, the cosine of the two falls from translations to random ones.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from isogloss.alignment.gradients import ItemLoss, soft_prompt_gradients
from isogloss.demonstrations.ranking import Bm25
from isogloss.encoding import Encoder
from isogloss.episodes import sequence_length
from isogloss.errors import DataError
from isogloss.intervals import Interval, bootstrap_interval
from isogloss.model.load import Loaded
from isogloss.model.prompt import prompted
from isogloss.packing import EncodedGroup
from isogloss.settings import LEAST_ITEMS
from isogloss.tasks.example import Example, Task

Kind = Literal["parallel", "same topic", "random", "another task"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@final
@dataclass(frozen=True)
class KindMeasure:
    """One kind of demonstration over targets, each number with its 95% interval.

    `within`: cosine of the gradients of the demonstration's and of the target's answer in one
    episode. `towards`: that of the target's gradient and the mean one of D_s without demonstrations
    (without the target's translation). `loss`: of the target's answer, nats a token. `over_random`:
    `within` less that of a random demonstration of the same target.
    """

    kind: Kind
    within: Interval
    towards: Interval
    loss: Interval
    over_random: Interval


@final
@dataclass(frozen=True)
class Material:
    """The items that are met; `other` is another task with answered items, if there is one."""

    task: Task
    dominant: Sequence[Example]
    targets: tuple[Example, ...]
    other: tuple[Task, tuple[Example, ...]] | None = None


def by_kind(
    loaded: Loaded,
    encoder: Encoder,
    material: Material,
    prompt: Tensor,
    *,
    longest: int | None,
    seed: int,
) -> tuple[KindMeasure, ...]:
    """Measure every kind that all the targets have; `prompt` (m, width) stands in front.

    Raises:
        DataError: fewer than four targets have a translation and fit the model.
    """
    chosen = chosen_demonstrations(material, seed=seed)
    kinds = [kind for kind in KINDS if kind != "another task" or material.other]
    episodes: dict[Kind, list[EncodedGroup]] = {kind: [] for kind in kinds}
    fitting = []
    for target in material.targets:
        if target.id not in chosen:
            continue
        own = {kind: _episode(encoder, material, target, kind, chosen[target.id]) for kind in kinds}
        if any(longest is not None and _tokens(group) > longest for group in own.values()):
            continue
        fitting.append(target)
        for kind, group in own.items():
            episodes[kind].append(group)
    if len(fitting) < LEAST_ITEMS:
        raise DataError(
            f"{len(fitting)} answered targets have a translation and fit the model; "
            f"{LEAST_ITEMS} are the least. Give translated items one id, or shorter items"
        )
    towards = _others_mean(loaded, encoder, material, prompt, fitting)
    found = {kind: _measured(loaded, prompt, groups, towards) for kind, groups in episodes.items()}
    return tuple(
        KindMeasure(
            kind,
            _interval(within, seed),
            _interval(near, seed),
            _interval(loss, seed),
            _interval(within - found["random"][0], seed),
        )
        for kind, (within, near, loss) in found.items()
    )


def chosen_demonstrations(material: Material, *, seed: int) -> dict[str, Mapping[Kind, Example]]:
    """For each target with a translation in D_s, by its id, the demonstration of each kind.

    `same topic` is the item of D_s that is nearest to the translation by BM25; `random` is neither.
    """
    source = random.Random(f"{seed}/kinds")
    known = {item.id: item for item in material.dominant if item.answers}
    items = [known[name] for name in sorted(known)]
    ranking = Bm25(items)
    found: dict[str, Mapping[Kind, Example]] = {}
    for target in material.targets:
        own = known.get(target.id)
        if own is None or not target.answers or len(items) < 3:
            continue
        scores = ranking.scores(own)
        places = [place for place, item in enumerate(items) if item.id != own.id]
        near = items[max(places, key=lambda place: scores[place])]
        kinds: dict[Kind, Example] = {
            "parallel": own,
            "same topic": near,
            "random": source.choice([item for item in items if item.id not in (own.id, near.id)]),
        }
        if material.other:
            kinds["another task"] = source.choice(material.other[1])
        found[target.id] = kinds
    return found


def _episode(
    encoder: Encoder,
    material: Material,
    target: Example,
    kind: Kind,
    chosen: Mapping[Kind, Example],
) -> EncodedGroup:
    task = material.other[0] if material.other and kind == "another task" else material.task
    front = encoder.demonstration_set([task.render(chosen[kind])])
    return EncodedGroup(front, (encoder.target(material.task.render(target), 1),))


def _tokens(group: EncodedGroup) -> int:
    return sequence_length(group.demonstrations, group.targets[0])


def _others_mean(
    loaded: Loaded,
    encoder: Encoder,
    material: Material,
    prompt: Tensor,
    targets: Sequence[Example],
) -> Tensor:
    """For each target the mean gradient of D_s's items but its translation, (targets, m * width).

    Of as many items of D_s as there are targets, their translations first.
    """
    ids = {target.id for target in targets}
    known = [item for item in material.dominant if item.answers]
    known.sort(key=lambda item: (item.id not in ids, item.id))
    known = known[: max(len(targets), LEAST_ITEMS)]
    front = encoder.demonstration_set(())
    groups = [
        EncodedGroup(front, (encoder.target(material.task.render(item), 0),)) for item in known
    ]
    gradients = soft_prompt_gradients(loaded.model, prompt, groups)
    total = gradients.sum(dim=0)
    place = {item.id: row for row, item in enumerate(known)}
    means = []
    for target in targets:
        row = place.get(target.id)
        rest = total if row is None else total - gradients[row]
        means.append(rest / (len(known) - (row is not None)))
    return torch.stack(means)


def _measured(
    loaded: Loaded, prompt: Tensor, groups: Sequence[EncodedGroup], towards: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(targets,) each: cosine within the episode, cosine with D_s, and the target's loss."""
    own = soft_prompt_gradients(loaded.model, prompt, groups)
    both = soft_prompt_gradients(loaded.model, prompt, groups, demonstration_answers=None)
    # The item's loss is a sum, so what the demonstration's answer adds is its own gradient.
    within = cosine_similarity(both - own, own, dim=1)
    return within, cosine_similarity(own, towards, dim=1), item_losses(loaded, prompt, groups)


@torch.no_grad()
def item_losses(loaded: Loaded, prompt: Tensor | None, groups: Sequence[EncodedGroup]) -> Tensor:
    """The loss of each group's targets' answers, nats a token, (targets,).

    Without a `prompt`, ids of a soft prompt are those of one that is in the model.
    """
    loss = ItemLoss()
    if prompt is None:
        parts = [
            loss.values(loaded.model, *loss.packed(groups[at : at + loss.batch_size]))
            for at in range(0, len(groups), loss.batch_size)
        ]
        return torch.cat(parts).cpu()
    with prompted(loaded.model, torch.nn.Parameter(prompt, requires_grad=False)):
        return item_losses(loaded, None, groups)


def _interval(values: Tensor, seed: int) -> Interval:
    return bootstrap_interval(values.tolist(), seed=seed, resamples=5000)
