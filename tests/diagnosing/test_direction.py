"""Gradient alignment over a task's items: which items, which answers, what is compared."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from conftest import tiny_loaded
from helpers import items, snapshot
from isogloss.alignment.gradient_alignment import aligned
from isogloss.alignment.gradients import residual_gradients, soft_prompt_gradients
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.schedule import test_groups as groups_of
from isogloss.diagnosing.direction import Asked, Probed, direction, items_of
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import DataError
from isogloss.methods.losses import AnswerLoss
from isogloss.model.prompt import embedded, prompted, vocabulary_rows
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from number_task import write_numbers


@pytest.fixture
def task(tmp_path):
    return open_task(str(write_numbers(tmp_path)), None, BenchmarkSettings())


def asked_of(task, *, count: int = 0, loss: AnswerLoss | None = None) -> Asked:
    own = task.read("en", "train", seed=1).examples
    other = task.read("tr", "train", seed=1).examples
    unseen = task.read("tr", "test", seed=1).examples
    return Asked(
        language="en",
        dominant=own,
        target=other,
        unseen=unseen,
        pool=Pool(
            tuple(dataclasses.replace(one, id=f"d{one.id}") for one in own),
            tuple(dataclasses.replace(one, id=f"d{one.id}") for one in other),
        ),
        context=Demonstrations(count),
        loss=loss or AnswerLoss("off"),
        seed=3,
    )


def episodes_of(task, loaded, prompt_length: int) -> EpisodeEncoder:
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), prompt_length)
    return EpisodeEncoder(task, encoder, None)


@pytest.mark.parametrize("count", [0, 2])
def test_as_its_parts(task, count):
    loaded = tiny_loaded("qwen2")
    prompt = embedded(loaded.model, [5, 6, 7])
    episodes = episodes_of(task, loaded, 3)
    loss = AnswerLoss("all", 0.5) if count else AnswerLoss("off")
    asked = asked_of(task, count=count, loss=loss)
    before = snapshot(loaded)
    found = direction(loaded, episodes, asked, Probed("a prompt", prompt))
    assert snapshot(loaded) == before
    sides = []
    for side in (asked.dominant, asked.target, asked.unseen):
        groups = groups_of(side, asked.pool, asked.context, seed=3)
        encoded = [episodes.group(group) for group in groups]
        keys = [(one.id, one.language) for group in groups for one in group.targets]
        given = {"demonstration_answers": loss.places, "weight": loss.weight}
        gradients = soft_prompt_gradients(loaded.model, prompt, encoded, **given)
        with prompted(loaded.model, torch.nn.Parameter(prompt)):
            states = residual_gradients(loaded.model, encoded, layers=[1, 2], **given)
        sides.append((gradients, keys, states))
    (own, own_keys, own_states), (other, other_keys, other_states), (unseen, unseen_keys, _) = sides
    wanted = aligned(own, other, own_keys, other_keys, seed=3)
    assert found.alignment.cosine.value == pytest.approx(wanted.cosine.value, abs=1e-5)
    assert found.alignment.translations.value == pytest.approx(wanted.translations.value, abs=1e-5)
    held = aligned(own, unseen, own_keys, unseen_keys, seed=3)
    assert found.unseen.cosine.value == pytest.approx(held.cosine.value, abs=1e-5)
    for place, layer in enumerate(found.residual):
        middle = aligned(own_states[:, place], other_states[:, place], own_keys, other_keys, seed=3)
        assert layer.cosine.value == pytest.approx(middle.cosine.value, abs=1e-5)
    assert found.items == (12, 8)
    assert found.translations == 8
    assert found.excess.value == pytest.approx(
        found.alignment.cosine.value - found.floor.cosine.value, abs=1e-9
    )
    assert found.error == 0


def test_parameters_and_their_stated_error(task):
    loaded = tiny_loaded("llama")
    named = dict(loaded.model.named_parameters())
    few = {name: named[name] for name in list(named)[-3:]}
    asked = asked_of(task)
    found = direction(loaded, episodes_of(task, loaded, 0), asked, Probed("few", parameters=few))
    assert found.error == 0
    many = Probed("many", parameters=named)
    assert many.size is None, "a tiny model's parameters are kept whole"


def test_shuffled_answers_are_the_same_answers(task):
    """The floor is of the same items: were it another set, alignment would drop for no reason."""
    loaded = tiny_loaded("llama")
    asked = asked_of(task)
    same = tuple(dataclasses.replace(one, answers=("yes",)) for one in asked.target)
    all_alike = dataclasses.replace(asked, target=same)
    prompt = embedded(loaded.model, [5, 6, 7])
    found = direction(loaded, episodes_of(task, loaded, 3), all_alike, Probed("p", prompt))
    assert found.excess.value == pytest.approx(0, abs=1e-9)
    assert found.floor == found.alignment


def test_translations_come_first():
    own, other = items(30, "en"), items(10, "tr", start=20)
    chosen, target = items_of(own, other, 8, seed=1)
    assert len(chosen) == len(target) == 8
    assert {one.id for one in chosen} == {one.id for one in target}
    chosen, target = items_of(own, other, 15, seed=1)
    assert (len(chosen), len(target)) == (15, 10)
    assert {one.id for one in target} <= {one.id for one in chosen}
    assert items_of(own, other, 8, seed=2)[1] != items_of(own, other, 8, seed=1)[1]


def test_items_without_an_answer_are_left_out():
    blank = tuple(dataclasses.replace(one, answers=()) for one in items(3, "tr"))
    known = items(2, "tr", start=3)
    _, target = items_of(items(6, "en"), (*blank, *known), 9, seed=1)
    assert {one.id for one in target} == {one.id for one in known}


def test_too_few_items(task):
    loaded = tiny_loaded("llama")
    asked = dataclasses.replace(asked_of(task), target=asked_of(task).target[:3])
    with pytest.raises(DataError, match=r"need 4 answered items of the target language .* found 3"):
        direction(
            loaded,
            episodes_of(task, loaded, 0),
            asked,
            Probed("p", embedded(loaded.model, [5])),
        )
