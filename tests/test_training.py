"""Training: resume to the same numbers after SIGKILL, validation, accumulation, stages."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isogloss
from isogloss.learning import COMPLETE, last_checkpoint
from isogloss.methods.method import Stage
from isogloss.methods.published import METHODS, cl_icp
from isogloss.runs import open_run

# Runs a training command; dies by SIGKILL at the Nth call of a function.
KILLER = """
import os, signal, sys
from isogloss import learning
from isogloss.cli.main import main
where, count = sys.argv[1], int(sys.argv[2])
owner, name = {
    "within a step": (learning.EpisodeTrainer, "_sum"),
    "between steps": (learning.RunFolder, "on_log"),
    "in a checkpoint": (learning.EpisodeTrainer, "_save_optimizer_and_scheduler"),
    "never": (learning.EpisodeTrainer, "_sum"),
}[where]
plain, calls = getattr(owner, name), [0]
def deadly(*a, **k):
    calls[0] += 1
    result = plain(*a, **k)
    if where != "never" and calls[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, deadly)
sys.exit(main(sys.argv[3:]))
"""


def write_task(folder: Path, answers: dict[str, tuple[str, str]]) -> Path:
    """A small label task; `answers` of a split are those of even and odd items."""
    wording = '{input: "Text: {text}\\nIs it even?", answer: " {answer}"}'
    (folder / "task.yaml").write_text(
        "name: parity\nkind: label\ndominant: en\nlanguages: [en, tr]\nfields: [text]\n"
        f"answer: label\nid: id\noptions: ['yes', 'no']\nwording: {wording}\nmetric: accuracy\n"
        'files: "{language}/{split}.jsonl"\n'
    )
    sizes = {"en": {"train": 12, "test": 6}, "tr": {"train": 8, "validation": 6, "test": 6}}
    starts = {"train": 0, "validation": 50, "test": 100}
    for language, splits in sizes.items():
        (folder / language).mkdir()
        for split, count in splits.items():
            lines = [
                {
                    "id": f"i{n}",
                    "text": f"{language} number {n}",
                    "label": answers.get(split, ("yes", "no"))[n % 2],
                }
                for n in range(starts[split], starts[split] + count)
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / language / f"{split}.jsonl").write_text(text)
    return folder / "task.yaml"


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"), {})


def arguments(task: Path, model: Path, out: Path) -> list[str]:
    return [
        *("train", str(task), "--model", str(model), "--target", "tr", "--out", str(out)),
        *("--epochs", "4", "--demonstrations", "2", "--patience", "9", "--json"),
    ]


def carry_out(where: str, count: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLER, where, str(count), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=300,
    )


def result(out: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    (folder,) = out.iterdir()
    run = open_run(folder)
    assert run.finished
    log = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.log]
    return log, load_file(run.adapter / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def unbroken(task, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    done = carry_out("never", 0, arguments(task, model_folder("llama"), out))
    assert done.returncode == 0, done.stderr
    return result(out)


@pytest.mark.parametrize(
    ("where", "count"),
    [("within a step", 4), ("between steps", 8), ("in a checkpoint", 3)],
)
def test_a_killed_run_comes_to_the_same_numbers_bit_for_bit(
    where, count, task, model_folder, tmp_path, unbroken
):
    command = arguments(task, model_folder("llama"), tmp_path)
    killed = carry_out(where, count, command)
    assert killed.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    assert not open_run(folder).finished
    again = carry_out("never", 0, command)
    assert again.returncode == 0, again.stderr
    log, weights = result(tmp_path)
    assert log == unbroken[0]
    assert log[0]["step"] == 1
    assert torch.equal(weights["prompt_embeddings"], unbroken[1]["prompt_embeddings"])


def test_a_checkpoint_cut_off_while_written_is_not_used(tmp_path):
    for step, whole in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / COMPLETE).write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-6").exists()
    assert last_checkpoint(tmp_path / "none") is None


def test_the_same_command_twice_gives_the_same_numbers(task, model_folder, tmp_path, unbroken):
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        out=tmp_path,
        epochs=4,
        demonstrations=2,
        patience=9,
    )
    assert result(tmp_path)[0] == unbroken[0]
    assert run.record["sizes"] == {"dominant": 12, "target": 8, "validation": 6, "test": 6}


def test_validation_stops_early_and_keeps_the_best(model_folder, tmp_path):
    """Training says yes to all, validation no: first the form is learnt, then it gets worse."""
    contrary = {"train": ("yes", "yes"), "validation": ("no", "no")}
    task = write_task(tmp_path, contrary)
    common = dict(model=model_folder("llama"), target="tr", out=tmp_path / "runs")
    run = isogloss.train(
        task, epochs=30, demonstrations=2, patience=2, learning_rate=0.05, **common
    )
    losses = [entry["eval_loss"] for entry in run.log if "eval_loss" in entry]
    assert 3 <= len(losses) < 30, "it stopped early"
    assert losses[-1] > losses[-2] > losses[-3] == min(losses), "two epochs after the best"
    # The kept prompt is that of the best epoch: its validation loss, computed anew, is the least.
    again = isogloss.train(
        task,
        epochs=1,
        demonstrations=2,
        learning_rate=1e-12,
        prompt_start="file",
        prompt_file=str(run.adapter),
        **common,
    )
    first = next(entry["eval_loss"] for entry in again.log if "eval_loss" in entry)
    assert first == pytest.approx(min(losses), rel=1e-4)


def test_accumulated_batches_equal_one_large_batch(task, model_folder, tmp_path):
    common = dict(
        model=model_folder("llama"), target="tr", out=tmp_path, epochs=1, demonstrations=0
    )
    large = isogloss.train(task, batch_size=8, **common)
    small = isogloss.train(task, batch_size=2, gradient_accumulation=4, **common)
    first = [entry["loss"] for entry in large.log if "loss" in entry]
    second = [entry["loss"] for entry in small.log if "loss" in entry]
    assert len(first) == len(second) == 1
    assert first == pytest.approx(second, rel=1e-5)
    a, b = (load_file(r.adapter / "adapter_model.safetensors") for r in (large, small))
    torch.testing.assert_close(a["prompt_embeddings"], b["prompt_embeddings"], rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_changes_nothing(task, model_folder, tmp_path):
    common = dict(model=model_folder("gemma3"), target="tr", epochs=1, demonstrations=2)
    plain = isogloss.train(task, out=tmp_path / "a", **common)
    saving = isogloss.train(task, out=tmp_path / "b", gradient_checkpointing=True, **common)
    assert [e["loss"] for e in plain.log if "loss" in e] == pytest.approx(
        [e["loss"] for e in saving.log if "loss" in e], rel=1e-5
    )


def test_training_lowers_the_loss(task, model_folder, tmp_path):
    run = isogloss.train(
        task,
        model=model_folder("qwen3"),
        target="tr",
        out=tmp_path,
        epochs=15,
        demonstrations=2,
        learning_rate=0.05,
    )
    losses = [entry["loss"] for entry in run.log if "loss" in entry]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_bfloat16_trains_an_fp32_prompt(task, model_folder, tmp_path):
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        out=tmp_path,
        epochs=1,
        demonstrations=2,
        dtype="bfloat16",
    )
    vectors = load_file(run.adapter / "adapter_model.safetensors")["prompt_embeddings"]
    assert vectors.dtype == torch.float32
    assert run.record["model"]["dtype"] == "bfloat16"


def test_two_stages_follow_each_other(task, model_folder, tmp_path, monkeypatch):
    def two(name, kind):
        made = cl_icp(name, kind)
        return dataclasses.replace(
            made, stages=(Stage(("dominant",), 1, 1e-3), Stage(("target",), 2, 1e-3))
        )

    monkeypatch.setitem(METHODS, "two-stages", two)  # type: ignore[arg-type]
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        out=tmp_path,
        method="two-stages",
        demonstrations=2,
    )
    assert not list(run.folder.glob("stage-*")), "nothing kept for going on is left"
    steps = [(entry["stage"], entry["step"]) for entry in run.log if "loss" in entry]
    assert steps == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (1, 4)]


def test_trackers_write_where_the_run_is(task, model_folder, tmp_path):
    pytest.importorskip("tensorboard")
    run = isogloss.train(
        task,
        model=model_folder("llama"),
        target="tr",
        out=tmp_path,
        epochs=1,
        demonstrations=2,
        report_to=("tensorboard",),
    )
    assert list(run.folder.glob("**/events.out.tfevents*"))
    assert not list(run.folder.glob("**/checkpoint-*"))
