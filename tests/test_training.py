"""Training: resume to the same numbers after SIGKILL, validation, accumulation, stages."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import isogloss
from isogloss import placing, staging, training
from isogloss.errors import ConfigError
from isogloss.learning import COMPLETE, last_checkpoint
from isogloss.methods.method import Stage
from isogloss.methods.published import cl_icp
from isogloss.methods.registry import METHODS
from isogloss.runs import open_run, read_lines

# Runs a training command; dies by SIGKILL at the Nth call of a function.
KILLER = """
import os, signal, sys
from isogloss import learning
from isogloss.cli.main import main
where, count = sys.argv[1], int(sys.argv[2])
owner, name = {
    "within a step": (learning.Objective, "value"),
    "between steps": (learning.RunFolder, "on_log"),
    "in a checkpoint": (learning.EpisodeTrainer, "_save_optimizer_and_scheduler"),
    "never": (learning.Objective, "value"),
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
    (weights,) = run.adapter.glob("*.safetensors")
    return log, load_file(weights)


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


# ---- all parameters --------------------------------------------------------------------------


def full_arguments(task: Path, model: Path, out: Path) -> list[str]:
    return [
        *("train", str(task), "--model", str(model), "--target", "tr", "--out", str(out)),
        *("--method", "tl", "--epochs", "2", "--learning-rate", "1e-3", "--json"),
    ]


@pytest.fixture(scope="module")
def unbroken_full(task, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    done = carry_out("never", 0, full_arguments(task, model_folder("llama"), out))
    assert done.returncode == 0, done.stderr
    return result(out)


@pytest.mark.parametrize(
    ("where", "count", "stage"), [("in a checkpoint", 2, 0), ("within a step", 9, 1)]
)
def test_a_killed_run_of_all_parameters_comes_to_the_same_numbers(
    where, count, stage, task, model_folder, tmp_path, unbroken_full
):
    command = full_arguments(task, model_folder("llama"), tmp_path)
    killed = carry_out(where, count, command)
    assert killed.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    assert open_run(folder).log[-1]["stage"] == stage
    assert list(folder.glob(f"stage-{stage}/checkpoint-*")), "there is one to go on from"
    again = carry_out("never", 0, command)
    assert again.returncode == 0, again.stderr
    log, weights = result(tmp_path)
    assert log == unbroken_full[0]
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4]
    assert weights.keys() == unbroken_full[1].keys()
    assert all(torch.equal(weights[name], unbroken_full[1][name]) for name in weights)


def trained(task: Path, model: Path, out: Path, method: str, **options) -> isogloss.Run:
    common = dict(model=model, target="tr", out=out, method=method, patience=9)
    return isogloss.train(task, **(common | options))


def parameters(run: isogloss.Run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "model.safetensors")


def test_one_update_is_that_of_plain_transformers_and_adamw(task, model_folder, tmp_path):
    """The same four items in one padded batch: loss, clipped gradient and AdamW by hand."""
    options = dict(epochs=1, max_steps=1, learning_rate=1e-3)
    run = trained(task, model_folder("llama"), tmp_path, "mtl", **options)
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    model = AutoModelForCausalLM.from_pretrained(model_folder("llama")).train()
    asked = [line for line in run_lines(run) if line["batch"] == 0]
    sequences, starts = [], []
    for name in [name for line in asked for name in line["targets"]]:
        language, _, number = name.partition("/i")
        text = f"Text: {language} number {number}\nIs it even?"
        answer = " no" if int(number) % 2 else " yes"
        before = tokenizer(text).input_ids
        # The answer ends with the first token of the blank line between examples.
        sequences.append([*before, *tokenizer(answer).input_ids, tokenizer("\n\n").input_ids[0]])
        starts.append(len(before))
    width = max(len(ids) for ids in sequences)
    padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in sequences])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sequences])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    values = model(input_ids=padded, attention_mask=mask).logits.log_softmax(-1)
    losses = [
        -torch.stack([values[row, at - 1, ids[at]] for at in range(start, len(ids))]).mean()
        for row, (ids, start) in enumerate(zip(sequences, starts, strict=True))
    ]
    loss = sum(losses) / len(losses)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    assert len(sequences) == 4
    assert run.log[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    before = load_file(model_folder("llama") / "model.safetensors")
    for name, value in parameters(run).items():
        wanted = model.get_parameter(name).detach()
        assert (wanted - before[name]).abs().max() > 9e-4, name
        # Adam divides by the gradient's size: where that is about nothing, so is the agreement.
        clear = model.get_parameter(name).grad.abs() > 1e-5
        assert clear.float().mean() > 0.5, name
        torch.testing.assert_close(value[clear], wanted[clear], rtol=0, atol=1e-5)


def run_lines(run: isogloss.Run) -> list[dict]:
    return read_lines(run.folder / "demonstrations.jsonl")


def test_each_method_meets_its_own_items(task, model_folder, tmp_path):
    wanted = {
        "direct-transfer": [{"en": 12}],
        "ft": [{"tr": 8}],
        "tl": [{"en": 12}, {"tr": 8}],
        "mtl": [{"en": 12, "tr": 8}],
    }
    for method, stages in wanted.items():
        run = trained(task, model_folder("llama"), tmp_path, method, epochs=2)
        lines = run_lines(run)
        assert not any(line["demonstrations"] for line in lines)
        for stage, counts in enumerate(stages):
            for epoch in range(2):
                met = [
                    name
                    for line in lines
                    if (line["stage"], line["epoch"]) == (stage, epoch)
                    for name in line["targets"]
                ]
                assert Counter(name[:2] for name in met) == counts
                assert len(set(met)) == len(met)
        if method == "mtl":
            batches = [line["targets"] for line in lines]
            assert any(len({name[:2] for name in batch}) == 2 for batch in batches), "both in one"
            assert batches[: len(batches) // 2] != batches[len(batches) // 2 :], "a new order"
        assert lines[-1]["stage"] == len(stages) - 1


def test_the_second_stage_starts_from_the_end_of_the_first(task, model_folder, tmp_path):
    """TL is direct transfer, and then FT of the model that it gave."""
    options = dict(epochs=1, learning_rate=1e-3)
    whole = trained(task, model_folder("llama"), tmp_path / "a", "tl", **options)
    first = trained(task, model_folder("llama"), tmp_path / "b", "direct-transfer", **options)
    second = trained(task, first.adapter, tmp_path / "c", "ft", **options)
    alone = trained(task, model_folder("llama"), tmp_path / "d", "ft", **options)
    weights, wanted = parameters(whole), parameters(second)
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    losses = [entry["loss"] for entry in whole.log if "loss" in entry]
    parts = [entry["loss"] for run in (first, second) for entry in run.log if "loss" in entry]
    assert losses == parts
    assert not torch.equal(parameters(alone)["model.norm.weight"], weights["model.norm.weight"])


def test_training_leaves_the_base_model_as_it_was(task, model_folder, tmp_path, monkeypatch):
    real, seen = placing.load, []
    monkeypatch.setattr(placing, "load", lambda *given: (seen.append(real(*given)), seen[-1])[1])
    run = trained(task, model_folder("gemma3"), tmp_path, "mtl", epochs=1, learning_rate=1e-3)
    (loaded,) = seen
    before = load_file(model_folder("gemma3") / "model.safetensors")
    own = dict(loaded.model.named_parameters())
    assert all(torch.equal(own[name], before[name]) for name in before)
    assert not any(module.training for module in loaded.model.modules())
    after = parameters(run)
    assert after.keys() == before.keys()
    assert not any(torch.equal(after[name], before[name]) for name in before), "everything learnt"


def test_a_trained_model_is_a_whole_one_with_its_tokenizer(task, model_folder, tmp_path):
    run = trained(task, model_folder("qwen2"), tmp_path, "ft", epochs=1, learning_rate=1e-3)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(run.record["adapter"])
    assert set(run.record["adapter"]) == {path.name for path in run.adapter.iterdir()}
    model = AutoModelForCausalLM.from_pretrained(run.adapter)
    assert model.config.use_cache is True, "as the base's, though the Trainer turns it off"
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    start = tokenizer("Text: is it\nIs it even?").input_ids
    scores = []
    for ids in (tokenizer(word).input_ids for word in (" yes", " no")):
        with torch.no_grad():
            values = model(torch.tensor([start + ids])).logits[0].log_softmax(-1)
        places = range(len(start) - 1, len(start) + len(ids) - 1)
        scores.append(sum(float(values[at, token]) for at, token in zip(places, ids, strict=True)))
    (answer,) = isogloss.predict(run, [{"text": "is it"}])
    assert list(answer.log_probabilities.values()) == pytest.approx(scores, rel=1e-5)


def test_demonstrations_in_context_of_both_languages(task, model_folder, tmp_path):
    """MTL with demonstrations: none is the target or its translation, and none is learnt."""
    options = dict(epochs=2, demonstrations=2, learning_rate=1e-3)
    run = trained(task, model_folder("llama"), tmp_path, "mtl", **options)
    lines = run_lines(run)
    for line in lines:
        assert {name[:2] for name in line["demonstrations"]} == {"en", "tr"}
        shown = {name.partition("/")[2] for name in line["demonstrations"]}
        assert not shown & {name.partition("/")[2] for name in line["targets"]}
    assert run.record["method"]["loss"]["demonstrations"] == "off"
    plain = trained(task, model_folder("llama"), tmp_path, "mtl", epochs=2, learning_rate=1e-3)
    assert run.folder != plain.folder
    more = trained(
        task, model_folder("llama"), tmp_path, "mtl", demonstration_loss="all", **options
    )
    assert more.log[0]["loss"] > run.log[0]["loss"], "the demonstrations' answers are added"


def test_all_parameters_with_accumulation_and_checkpointing(task, model_folder, tmp_path):
    options = dict(epochs=1, learning_rate=1e-3)
    large = trained(task, model_folder("llama"), tmp_path, "ft", batch_size=8, **options)
    small = trained(
        task,
        model_folder("llama"),
        tmp_path,
        "ft",
        batch_size=2,
        gradient_accumulation=4,
        gradient_checkpointing=True,
        **options,
    )
    first, second = ([e["loss"] for e in run.log if "loss" in e] for run in (large, small))
    assert len(first) == 1
    assert first == pytest.approx(second, rel=1e-5)
    norms = [run.log[0]["grad_norm"] for run in (large, small)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_validation_loss_does_not_depend_on_its_rows(task, model_folder, tmp_path, monkeypatch):
    options = dict(epochs=1, max_steps=1, learning_rate=1e-3)
    one = trained(task, model_folder("llama"), tmp_path / "a", "ft", **options)
    monkeypatch.setattr(staging, "VALIDATED", 4)
    two = trained(task, model_folder("llama"), tmp_path / "b", "ft", **options)
    first, second = (
        [entry["eval_loss"] for entry in run.log if "eval_loss" in entry] for run in (one, two)
    )
    assert len(first) == 1
    assert first == pytest.approx(second, rel=1e-5)


def test_the_key_does_not_depend_on_where_one_stands(task, model_folder, tmp_path, monkeypatch):
    def key() -> str:
        settings = isogloss.TrainSettings(str(task), str(model_folder("llama")), "tr")
        return training.prepare(settings).record["key"]

    first = key()
    (tmp_path / "mine.safetensors").write_bytes(b"anything")
    monkeypatch.chdir(tmp_path)
    assert key() == first


def test_several_processes_that_cannot_meet_are_refused(task, model_folder, tmp_path, monkeypatch):
    """Each would learn alone from its own gradients."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="found no RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        isogloss.train(task, model=model_folder("llama"), target="tr", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
