"""Eq. 3: the drop of the loss that gradient alignment foretells, against the one that is had."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from isogloss.alignment.gradients import ItemLoss
from isogloss.alignment.taylor import (
    Loss,
    TaylorCheck,
    descended,
    expanded_gradient,
    gradient_of,
    taylor_check,
)
from isogloss.demonstrations.choose import Group
from isogloss.diagnosing.direction import items_of
from isogloss.diagnosing.states import PROBE, probe_prompt
from isogloss.experiments.analyses.analysis import LANGUAGES, Analysis, Findings, seed_of, wanted
from isogloss.model.load import Loaded, ModelOptions, identify, load
from isogloss.model.prompt import prompted
from isogloss.outcomes import short_model
from isogloss.packing import EncodedGroup
from isogloss.reporting.theory_figures import draw_equation3
from isogloss.runs import Json
from isogloss.settings import ReproduceSettings
from isogloss.staging import episode_encoder
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split

STEPS = 5
LINEAR_RATES = (0.04, 0.02, 0.01, 0.005, 0.0025)
PROMPT_RATES = (0.08, 0.04, 0.02, 0.01, 0.005)  # of the vectors' norm over the gradient's
CORRELATION = 0.8
ITEMS = 16


def linear_check(seed: int) -> tuple[TaylorCheck, Json]:
    """A linear model of 8 weights: D_s and D_t of 40 items with a set correlation."""
    source = torch.Generator().manual_seed(seed)
    own = torch.randn(40, 8, generator=source, dtype=torch.float64)
    noise = torch.randn(40, 8, generator=source, dtype=torch.float64)
    other = CORRELATION * own + (1 - CORRELATION**2) ** 0.5 * noise
    best = torch.randn(8, generator=source, dtype=torch.float64)
    start = torch.zeros(8, dtype=torch.float64)

    def loss(features: Tensor) -> Loss:
        return lambda w: ((features @ (w - best)) ** 2).mean()

    check = taylor_check(loss(own), loss(other), start, learning_rates=LINEAR_RATES, steps=STEPS)
    expansions = {}
    for name, losses in (("FT", [loss(other)]), ("MTL", [loss(own), loss(other)])):
        rate = LINEAR_RATES[-1]
        together = _sum(losses)
        parts = expanded_gradient(losses, start, rate * STEPS)
        there = gradient_of(together, descended(together, start, rate, STEPS))
        size = float(there.norm())
        expansions[name] = {
            "without the term": float((there - parts["gradient"]).norm()) / size,
            "with it": float((there - parts["expansion"]).norm()) / size,
        }
    return check, expansions


def _sum(losses: Sequence[Loss]) -> Loss:
    return lambda w: torch.stack([loss(w) for loss in losses]).sum()


def prompt_check(
    loaded: Loaded, settings: ReproduceSettings, task: str, target: str
) -> TaylorCheck:
    """A soft prompt in a language model: descends on items of D_s, and is watched on D_t's."""
    opened = open_task(task, settings.data, BenchmarkSettings())
    seed = seed_of(settings)
    split = make_split(opened, target, seed=seed)
    own, other = items_of(split.dominant, split.target, settings.limit or ITEMS, seed=seed)
    plain = episode_encoder(opened, loaded, None, False, None)
    encoder = dataclasses.replace(plain.encoder, prompt_length=PROBE.length)
    episodes = dataclasses.replace(plain, encoder=encoder)
    train, held = ([episodes.group(Group((), (item,))) for item in side] for side in (own, other))
    start = probe_prompt(loaded, seed)
    own_loss, other_loss = (_prompt_loss(loaded, each, start.shape) for each in (train, held))
    point = start.flatten()
    # Rates are relative: a step of one moves the prompt by its own length.
    scale = float(point.norm() / gradient_of(own_loss, point).norm()) / STEPS
    rates = [share * scale for share in PROMPT_RATES]
    return taylor_check(own_loss, other_loss, point, learning_rates=rates, steps=STEPS, exact=False)


def _prompt_loss(loaded: Loaded, groups: Sequence[EncodedGroup], shape: torch.Size) -> Loss:
    """The mean answer loss of the groups' targets as a function of the flat prompt."""
    item_loss = ItemLoss()
    packed = [
        item_loss.packed(groups[at : at + item_loss.batch_size])
        for at in range(0, len(groups), item_loss.batch_size)
    ]

    def loss(flat: Tensor) -> Tensor:
        vectors = cast(nn.Parameter, flat.reshape(shape))  # read only, so any tensor will do
        with prompted(loaded.model, vectors):
            parts = [item_loss.values(loaded.model, *each).sum() for each in packed]
        return torch.stack(parts).sum() / len(groups)

    return loss


def make(settings: ReproduceSettings, folder: Path) -> Findings:
    """On the linear model, and on a soft prompt in each model that is named.

    In all tasks and languages that are asked for; in the first one where none is.
    """
    places = list(wanted(settings, tuple(LANGUAGES)))
    for model in settings.models:
        identify(model)  # refused before anything is measured
    seed = settings.seeds[0] if settings.seeds else 0
    linear, expansions = linear_check(seed)
    checks = {"linear model": linear}
    for model in settings.models:
        loaded = load(model, ModelOptions(settings.dtype, settings.device))
        for task, target in places if settings.tasks or settings.targets else places[:1]:
            name = f"{short_model(model)}, {task} {target}"
            checks[name] = prompt_check(loaded, settings, task, target)
    rows = tuple(
        {
            "of": name,
            "learning rate": row.learning_rate,
            "measured": row.measured,
            "first order": row.first,
            "second order": row.second,
            "error 1": row.errors[0],
            "error 2": row.errors[1],
        }
        for name, check in checks.items()
        for row in check.rows
    )
    sentences = [
        f"{name}: g_train . g_t is {check.alignment:+.3g}; the errors of the first and second "
        f"order fall as the learning rate to the power {check.orders[0]:.2f} and "
        f"{check.orders[1]:.2f} (2 and 3 in theory)."
        for name, check in checks.items()
    ]
    sentences += [
        f"{name}, linear model: the gradient after {STEPS} steps is off by "
        f"{each['without the term']:.1%} of its length without Eq. 3's term and by "
        f"{each['with it']:.2%} with it."
        for name, each in expansions.items()
    ]
    if not settings.models:
        sentences.append("With --models MODEL the same is done for a soft prompt in that model.")
    content = {"checks": {name: asdict(check) for name, check in checks.items()}, "seed": seed}
    content["expansions"] = expansions
    return Findings(rows, tuple(sentences), (draw_equation3(checks),), content)


EQ3 = Analysis(
    "eq3",
    "The loss drop that gradient alignment foretells",
    "5.1, A.2",
    make,
    ("models", "tasks", "targets", "limit"),
)
