"""Low-resource shares and --match-steps: numbers of updates computed by hand."""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

import isogloss
from conftest import byte_level_tokenizer
from isogloss import staging, training
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import DataError
from isogloss.learning import updates
from isogloss.planning import Schedule, plan
from isogloss.settings import TrainSettings
from isogloss.tasks.own_data import load_task
from isogloss.tasks.splits import make_split
from isogloss.tasks.xcopa import Xcopa
from number_task import VALIDATED, write_numbers


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    """D_s of 12 items and D_t of 8."""
    return write_numbers(tmp_path_factory.mktemp("task"))


def schedule(
    task: Path, count: int, *, longest: int | None = None, long: int | None = None, **options
) -> Schedule:
    """The schedule of `count` items of D_t, of which item `long` has a text of 300 letters."""
    read = load_task(task)
    targets = list(read.read("tr", "train", seed=1).examples[:count])
    if long is not None:
        targets[long] = dataclasses.replace(targets[long], fields={"text": "abc" * 100})
    encoder = Encoder(byte_level_tokenizer(), 420, 1)
    options = dict(epochs=2, batch_size=3, seed=1, skip=longest is not None) | options
    context = Demonstrations(0)
    return plan(targets, Pool((), ()), context, EpisodeEncoder(read, encoder, longest), **options)


def sizes(made: Schedule) -> list[int]:
    return [sum(len(group.targets) for group in batch) for batch in made.batches]


def test_passes_are_added_and_the_last_is_cut_off(task):
    assert sizes(schedule(task, 8)) == [3, 3, 2] * 2
    # 4 items: two batches a pass; the six batches of 8 items are three passes.
    assert sizes(schedule(task, 4, like=8)) == [3, 1, 3, 1, 3, 1]
    # One epoch of 8 items is three batches: one pass and a half.
    assert sizes(schedule(task, 4, like=8, epochs=1)) == [3, 1, 3]
    assert sizes(schedule(task, 1, like=8)) == [1] * 6
    assert list(schedule(task, 8, like=8).batches) == list(schedule(task, 8).batches)
    made = schedule(task, 4, like=8)
    assert (made.batches_per_epoch, made.between_validations) == (2, 3)
    assert [line["epoch"] for line in made.lines(0)] == [0, 0, 1, 1, 2, 2]
    first, second = ([g.targets for b in made.batches[s : s + 2] for g in b] for s in (0, 2))
    assert first != second, "each pass has an order of its own"


def test_a_batch_is_made_when_it_is_asked_for_and_always_the_same(task):
    made = schedule(task, 8)
    kept = list(made.batches)
    assert [made.batches[place] for place in (5, 0, 3, 0)] == [kept[at] for at in (5, 0, 3, 0)]
    assert made.batches[1:3] == kept[1:3]
    steps = made.steps((), alternate=False)
    assert [step.groups for step in steps] == kept
    assert ([step.epoch for step in steps], steps.longest_epoch) == ([0, 0, 0, 1, 1, 1], 3)
    with pytest.raises(IndexError):
        made.batches[6]


def test_pairs_stand_beside_the_batch_or_after_it(task):
    made = schedule(task, 4, batch_size=1, epochs=2, long=1, longest=40)
    kept = [number for number, batch in enumerate(made.batches) if batch]
    assert len(kept) == 6
    pairs = [(f"pair {number}",) for number in range(8)]
    beside = made.steps(pairs, alternate=False)
    assert [(step.groups, step.pairs) for step in beside] == [
        (made.batches[number], pairs[number]) for number in kept
    ]
    after = made.steps(pairs, alternate=True)
    assert [(step.groups, step.pairs) for step in after] == [
        each for number in kept for each in ((made.batches[number], ()), ((), pairs[number]))
    ]
    assert [step.epoch for step in after] == [number // 4 for number in kept for _ in range(2)]
    assert (beside.longest_epoch, after.longest_epoch) == (3, 6)


def test_memory_does_not_hold_the_epochs(task):
    def held(epochs: int) -> int:
        tracemalloc.start()
        try:
            made = schedule(task, 8, epochs=epochs)
            assert sum(1 for batch in made.batches if batch) == 3 * epochs
            gc.collect()  # what Python keeps for the next objects
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    held(1)  # what is made once
    assert held(400) - held(4) < 30 * 3 * 396  # 30 bytes a batch


def test_batches_left_empty_are_made_up_for(task):
    """An item too long to fit leaves its batch empty, which is no update."""
    made = schedule(task, 4, like=8, batch_size=1, epochs=1, long=1, longest=40)
    assert [item.id for item in made.skipped] == ["i1"]
    assert sum(map(bool, made.batches)) == 8
    assert len(made.batches) in (10, 11), "two whole passes and two of the third's three"
    assert (made.filled, len(made.steps((), alternate=False))) == (8, 8)
    assert all(step.groups for step in made.steps((), alternate=False))
    with pytest.raises(DataError, match="no training item fits"):
        schedule(task, 4, like=8, longest=5)


@pytest.mark.parametrize(
    ("method", "share", "accumulated", "wanted"),
    [
        # Batches of 4, 2 epochs. D_t of 8, 2 and 6 items: 4, 2 and 4 batches.
        ("cl-icp", 1.0, 1, [4]),
        ("cl-icp", 0.25, 1, [2]),
        ("cl-icp", 0.75, 1, [4]),
        ("ft", 0.25, 3, [1]),  # 2 batches in updates of 3
        ("ft", 1.0, 3, [2]),  # 4 batches in updates of 3
        ("mtl", 1.0, 1, [10]),  # 12 + 8 items are 5 batches
        ("mtl", 0.25, 1, [8]),  # 12 + 2 items are 4 batches
        ("mtl", 1.0, 4, [3]),
        ("mtl", 0.25, 4, [2]),
        ("tl", 1.0, 1, [6, 4]),
        ("tl", 0.25, 1, [6, 2]),
        ("direct-transfer", 1.0, 2, [3]),
        ("direct-transfer", 0.25, 2, [3]),
    ],
)
def test_updates_of_a_share(method, share, accumulated, wanted, task, model_folder):
    def count(**options) -> list[int]:
        settings = TrainSettings(
            str(task),
            str(model_folder("llama")),
            "tr",
            method=method,
            epochs=2,
            gradient_accumulation=accumulated,
            demonstrations=0,
            **options,
        )
        return _updates(training.prepare(settings))

    assert count(share=share) == wanted
    assert count(share=share, match_steps=True) == count(share=1.0)
    assert count(share=share, match_steps=True, max_steps=2) == [min(2, n) for n in count()]


def _updates(job: training.Job) -> list[int]:
    episodes = EpisodeEncoder(job.task, Encoder(byte_level_tokenizer(), 420, 1), None)
    made = [staging.schedule_of(job, stage, episodes) for stage in job.method.stages]
    return [updates(one.steps((), alternate=False), job.settings) for one in made]


def test_a_limit_is_not_made_up_for(task, model_folder):
    """With at most 4 items of a set, all of D_t are 4."""
    settings = TrainSettings(
        str(task),
        str(model_folder("llama")),
        "tr",
        method="ft",
        epochs=2,
        batch_size=1,
        share=0.25,
        limit=4,
        match_steps=True,
    )
    assert _updates(training.prepare(settings)) == [8]


def test_a_run_does_as_many_updates_and_says_so(task, model_folder, tmp_path):
    common = dict(model=model_folder("llama"), target="tr", out=tmp_path, method="mtl", epochs=1)
    common |= dict(gradient_accumulation=2)
    small, matched, whole = (
        isogloss.train(task, **common, **options)
        for options in ({"share": 0.25}, {"share": 0.25, "match_steps": True}, {})
    )
    steps = [[e["step"] for e in run.log if "loss" in e] for run in (small, matched, whole)]
    assert [len(one) for one in steps] == [2, 3, 3]
    assert [run.record["updates"] for run in (small, matched, whole)] == [[2], [3], [3]]
    assert [run.record["match_steps"] for run in (small, matched, whole)] == [False, True, False]
    assert matched.record["sizes"]["target"] == 2
    assert len({run.record["key"] for run in (small, matched, whole)}) == 3
    assert isogloss.evaluate(matched).content["items"] == 6


def test_where_nothing_is_to_match_it_is_the_same_run(task, model_folder):
    def key(**options) -> str:
        settings = TrainSettings(str(task), str(model_folder("llama")), "tr", **options)
        return training.prepare(settings).record["key"]

    assert key(match_steps=True) == key()
    only = dict(method="direct-transfer", share=0.5)
    assert key(match_steps=True, **only) == key(**only)
    assert key(match_steps=True, share=0.5) != key(share=0.5)


def test_validation_comes_as_often_as_with_all_of_the_data(model_folder, tmp_path):
    path = write_numbers(tmp_path / "task", VALIDATED)
    common = dict(model=model_folder("llama"), target="tr", method="ft", epochs=3, patience=9)
    common |= dict(out=tmp_path, batch_size=2)
    found = []
    for options in ({"share": 0.25, "match_steps": True}, {}):
        run = isogloss.train(path, **common, **options)
        found.append([entry["step"] for entry in run.log if "eval_loss" in entry])
    assert found == [[4, 8, 12]] * 2


SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def test_the_papers_shares_of_xcopa(real_data):
    """Fig. 5: of 100 items, nested for a seed."""
    read = Xcopa(real_data)
    for seed in (42, 43):
        kept = [
            {item.id for item in make_split(read, "tr", seed=seed, share=share).target}
            for share in SHARES
        ]
        assert [len(one) for one in kept] == [10, 25, 50, 75, 100]
        assert all(small < large for small, large in pairwise(kept))


def test_the_papers_shares_of_few_items(task):
    read = load_task(task)
    counts = [len(make_split(read, "tr", seed=1, share=share).target) for share in SHARES]
    assert counts == [1, 2, 4, 6, 8]
