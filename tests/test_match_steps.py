"""Low-resource shares with the updates of a full one, and whose items choose the epoch."""

from __future__ import annotations

import itertools
import json

import pytest

import isogloss
from helpers import parity_task
from isogloss.runs import read_lines
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split


@pytest.fixture
def task(tmp_path):
    folder = tmp_path / "task"
    folder.mkdir()
    return parity_task(folder)


@pytest.fixture
def train(task, model_folder, tmp_path):
    def train(method, **options):
        given = {"model": model_folder("llama"), "target": "tr", "out": tmp_path / "runs"}
        return isogloss.train(task, method=method, batch_size=3, **(given | options))

    return train


def updates(run) -> list[int]:
    """Updates of each stage."""
    steps: dict[int, int] = {}
    for entry in run.log:
        if "loss" in entry:
            steps[entry["stage"]] = entry["step"]
    return [steps[stage] for stage in sorted(steps)]


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("ft", [8]),  # 2 epochs of ceil(10 / 3)
        ("mtl", [14]),  # 2 epochs of ceil(20 / 3)
        ("tl", [8, 8]),
        ("direct-transfer", [8]),
        ("cl-icp", [8]),
    ],
)
def test_updates_are_those_of_the_full_share(method, wanted, train):
    # One of 3 targets leaves two others of D_t to be its demonstrations.
    alone = {"share_demonstrations": 1} if method == "cl-icp" else {}
    full = train(method, epochs=2, **alone)
    few = train(method, epochs=2, share=0.3, match_steps=True, **alone)
    assert updates(full) == updates(few) == wanted
    assert few.record["sizes"]["target"] == 3
    fewer = train(method, epochs=2, share=0.3, **alone)
    # Where nothing is made up for, it is the same run.
    assert (fewer.folder == few.folder) == (method == "direct-transfer")
    if method == "ft":
        assert updates(fewer) == [2]
    if method == "direct-transfer":
        assert updates(fewer) == wanted


def test_the_last_pass_is_cut_off(train):
    run = train("ft", epochs=1, share=0.7, match_steps=True)
    lines = read_lines(run.folder / "demonstrations.jsonl")
    assert [(line["epoch"], line["batch"]) for line in lines] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    first = [one for line in lines[:3] for one in line["targets"]]
    assert len(first) == len(set(first)) == 7


def test_with_gradient_accumulation_too(train):
    full = train("mtl", epochs=2, gradient_accumulation=2)
    few = train("mtl", epochs=2, share=0.2, match_steps=True, gradient_accumulation=2)
    assert updates(full) == updates(few) == [7]


def test_a_limit_limits_the_full_share_too(train):
    assert updates(train("ft", epochs=1, limit=6, share=0.3, match_steps=True)) == [2]


def test_shares_of_one_seed_are_nested(real_data):
    task = open_task("xcopa", str(real_data), BenchmarkSettings())
    for seed in (42, 43):
        kept = [
            {item.id for item in make_split(task, "tr", seed=seed, share=share).target}
            for share in (0.1, 0.25, 0.5, 0.75, 1.0)
        ]
        assert [len(ids) for ids in kept] == [10, 25, 50, 75, 100]
        assert all(a < b for a, b in itertools.pairwise(kept))


def test_direct_transfer_chooses_its_epoch_without_the_target_language(task, train):
    """Its validation is the dominant language's, and where there is none, none."""
    for code in ("en", "tr"):
        lines = [{"id": f"v{n}", "text": f"{code} {n}", "label": "yes"} for n in range(4)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (task.parent / code / "validation.jsonl").write_text(text)
    losses = {}
    for language in ("both", "tr changed", "en changed", "tr alone"):
        if language == "tr changed":
            path = task.parent / "tr" / "validation.jsonl"
            path.write_text(path.read_text().replace('"yes"', '"no"'))
        if language == "en changed":
            path = task.parent / "en" / "validation.jsonl"
            path.write_text(path.read_text().replace('"yes"', '"no"'))
        if language == "tr alone":
            (task.parent / "en" / "validation.jsonl").unlink()
        run = train("direct-transfer", epochs=1)
        losses[language] = [e["eval_loss"] for e in run.log if "eval_loss" in e]
    assert losses["both"] == losses["tr changed"] != []
    assert losses["en changed"] != losses["both"]
    assert losses["tr alone"] == []
