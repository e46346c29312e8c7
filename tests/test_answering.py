"""Answers do not depend on what is kept or on how many are asked at once; kept fronts save work."""

from __future__ import annotations

import dataclasses
import inspect
from itertools import takewhile

import pytest
import torch

from conftest import ARCHITECTURES, tiny_loaded
from helpers import encoder_for, greedy, groups_for, plain_log_probability
from isogloss.asking import Model, Place, chosen, runs
from isogloss.batching import Batching
from isogloss.errors import ModelError
from isogloss.model.answer import line_break_ids, stop_ids
from isogloss.model.generation import continued
from isogloss.model.prefix_cache import front_cache
from isogloss.packing import EncodedGroup
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds

PROMPT = SoftPrompt(5)
IDS = StartIds(tuple(range(10, 200)))


def counted(loaded, monkeypatch) -> list[int]:
    """The tokens of every pass through the model, padding among them."""
    found: list[int] = []
    own = type(loaded.model).forward

    def forward(self, input_ids=None, **given):
        found.append(input_ids.numel())
        return own(self, input_ids=input_ids, **given)

    forward.__signature__ = inspect.signature(own)
    monkeypatch.setattr(type(loaded.model), "forward", forward)
    return found


def option_sums(model: Model, groups, size: int) -> dict[Place, list[float]]:
    found: dict[Place, list[float]] = {}

    def work(run):
        first = groups[run[0].group]
        if len({place.group for place in run}) == 1 and len(first.targets) > len(run):
            model.keep(first.demonstrations)
        return dict(zip(run, model.options(chosen(groups, run)), strict=True))

    for part in runs(groups, Batching(size), work):
        found |= part
    return found


@pytest.mark.parametrize("size", [1, 3, 8, 50])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_are_those_of_single_passes(architecture, size):
    """Fronts of one set are kept at sizes 1 and 3, and none at 50; beyond Gemma's window."""
    loaded = tiny_loaded(architecture)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    groups = groups_for(encoder_for(loaded), groups=2, targets=4)
    assert max(len(group.demonstrations.ids) for group in groups) > 24
    with torch.no_grad(), PROMPT.attached(loaded.model, weights):
        found = option_sums(Model(loaded, "en", None), groups, size)
    assert len(found) == 8
    for place, sums in found.items():
        group = groups[place.group]
        target = group.targets[place.target]
        wanted = [
            plain_log_probability(loaded, weights[KEY], group.demonstrations, target, option).sum()
            for option in target.options
        ]
        wanted = torch.stack(wanted).tolist()
        assert sums == pytest.approx(wanted, abs=1e-4), place


def test_a_front_is_read_once(loaded, monkeypatch):
    """12 targets of one set, 4 in a pass: the front, and each target's own tokens."""
    (group,) = groups_for(encoder_for(loaded, 0), groups=1, targets=12)
    group = Model(loaded, "en", None).laid(group)
    tokens = counted(loaded, monkeypatch)
    option_sums(Model(loaded, "en", None), [group], 4)
    front, ordered = len(group.demonstrations.ids), sorted(group.targets, key=lambda t: len(t.ids))
    chunks = [ordered[first : first + 4] for first in (0, 4, 8)]
    assert tokens == [front, *(own_tokens(chunk) for chunk in chunks)]
    del tokens[:]
    option_sums(Model(loaded, "en", None), [group], 12)
    assert tokens == [front + own_tokens(ordered)], "where all fit, nothing is kept"


def own_tokens(targets) -> int:
    """What targets cost together: their common beginning once, options less the last token."""
    columns = zip(*(target.ids for target in targets), strict=False)
    common = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    each = [len(t.ids) - common + sum(len(option) - 1 for option in t.options) for t in targets]
    return common + sum(each)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_texts_are_those_of_single_passes(loaded, size, kept):
    """Texts end at different steps; the rows that go on are not disturbed."""
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    front = [*range(rows, rows + 5), *range(20, 50)]  # longer than Gemma's window
    sequences = [list(range(30 + n, 33 + 4 * n)) for n in range(5)]
    with PROMPT.attached(loaded.model, weights):
        free = [greedy(loaded.model, front + each, 12, set()) for each in sequences]
        stops = {free[0][3], free[1][6], free[2][0]}
        wanted = [greedy(loaded.model, front + each, 12, stops) for each in sequences]
        cache = front_cache(loaded.model, front) if kept else None
        found = []
        for start in range(0, 5, size):
            asked = [each if kept else front + each for each in sequences[start : start + size]]
            found += continued(loaded.model, asked, front=cache, max_new_tokens=12, stops=stops)
    assert found == wanted
    assert len({len(each) for each in wanted}) > 1, "some end early"
    if cache is not None:
        assert cache.get_seq_length() == len(front), "what is kept does not grow"


def test_rows_that_have_ended_cost_nothing(loaded, monkeypatch):
    sequences = [[20, 21, 22], [30, 31, 32], [40, 41, 42]]
    free = [greedy(loaded.model, each, 8, set()) for each in sequences]
    stops = {free[0][0]}
    alive = [each for each in free if free[0][0] not in each]
    tokens = counted(loaded, monkeypatch)
    continued(loaded.model, sequences, front=None, max_new_tokens=8, stops=stops)
    assert tokens[0] == 9
    assert sum(tokens[1:]) <= 7 * 2, alive


def test_the_stops_are_the_end_and_every_line_break(loaded):
    found = stop_ids(loaded.model, loaded.tokenizer, 7)
    assert {7, loaded.tokenizer.eos_token_id} | set(line_break_ids(loaded.tokenizer)) <= found


# ---- runs and memory -----------------------------------------------------------------------------


def sets(*sizes: int) -> list[EncodedGroup]:
    """Groups of so many targets each, the front of each another."""
    loaded = tiny_loaded("llama")
    groups = groups_for(encoder_for(loaded, 0), groups=len(sizes), targets=max(sizes))
    return [
        dataclasses.replace(group, targets=group.targets[:size])
        for group, size in zip(groups, sizes, strict=True)
    ]


def test_runs_hold_one_large_group_or_several_small_ones():
    groups = sets(5, 1, 1, 1, 5)
    found = list(runs(groups, Batching(3), lambda run: [place.group for place in run]))
    assert sorted(map(len, found)) == [2, 2, 3, 3, 3]
    large = [run for run in found if {0, 4} & set(run)]
    assert all(len(set(run)) == 1 for run in large)
    assert {1, 2, 3} in [set(run) for run in found]


def test_where_memory_runs_out_half_as_many_go_on(capsys):
    """8 and 4 do not fit, 2 do: nothing is lost, asked twice or put elsewhere, and it is said."""
    tried = []

    def work(run):
        tried.append(len(run))
        if len(run) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(run)

    batching = Batching(8)
    found = [one for run in batching.over(range(20), work, lambda *_: True) for one in run]
    assert found == list(range(20))
    assert tried == [8, 4, *[2] * 10]
    said = capsys.readouterr().err
    assert "memory ran out with 8 items at once; going on with 4" in said
    assert "memory ran out with 4 items at once; going on with 2" in said


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_a_single_item_that_does_not_fit_is_said(error):
    def work(run):
        raise error

    with pytest.raises(ModelError, match="memory runs out with a single item"):
        list(Batching(2).over([1, 2], work, lambda *_: True))


def test_other_errors_go_through():
    def work(run):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Batching(2).over([1], work, lambda *_: True))
