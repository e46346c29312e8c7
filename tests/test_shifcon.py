"""ShifCon end to end: loss and gradient of a plain twin, vectors by epochs, going on, scores."""

from __future__ import annotations

import dataclasses
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import isogloss
from isogloss import learning, placing, training
from isogloss.cli.main import main
from isogloss.demonstrations.pairs import pair_batches, translation_pairs
from isogloss.errors import ConfigError, DataError, RunError
from isogloss.methods.contrast import Contrast
from isogloss.methods.published import shifcon
from isogloss.methods.registry import METHODS
from isogloss.objective import Objective
from isogloss.representation_shift import VECTORS_FILE
from isogloss.runs import Run
from shift_twin import Plain, batches_of, deep_model, item_of, parity_task, saved, steps_of

TO, BACK = LAYERS = (1, 4)
PAIRS = range(8)  # the ids that both languages have
STILL = 1e-12  # a learning rate below float32's precision: every step has the first weights


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return deep_model(tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return parity_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def plain(model) -> Plain:
    return Plain(model)


def trained(task: Path, model: Path, out: Path, **options) -> Run:
    given = {"method": "shifcon", "epochs": 1, "shift_layers": LAYERS, "learning_rate": 1e-3}
    return isogloss.train(task, model=model, target="tr", out=out, **(given | options))


@pytest.fixture(scope="module")
def still(task, model, tmp_path_factory) -> Run:
    """One epoch at a learning rate of nothing."""
    return trained(task, model, tmp_path_factory.mktemp("still"), learning_rate=STILL)


@pytest.fixture(scope="module")
def finished(task, model, tmp_path_factory) -> Run:
    return trained(task, model, tmp_path_factory.mktemp("finished"), epochs=2)


def answers(plain: Plain, groups, vectors) -> list[torch.Tensor]:
    names = [name for group in groups for name in group["targets"]]
    return [plain.shifted_answer(name, vectors, LAYERS) for name in names]


# Loss and gradient.


def test_loss_and_gradient_of_every_update_are_those_of_plain_transformers(still, plain):
    """0.5 * answers (the target's shifted by constants) + 2.0 * contrast of L_to .. L_back - 1."""
    vectors = plain.vectors(PAIRS, LAYERS)
    batches, steps = batches_of(still), steps_of(still)
    assert len(batches) == len(steps) == 5
    languages = [item_of(name)[0] for groups in batches for g in groups for name in g["targets"]]
    assert (languages.count("en"), languages.count("tr")) == (12, 8)
    for groups, step in zip(batches, steps, strict=True):
        loss = 0.5 * torch.stack(answers(plain, groups, vectors)).mean()
        loss = loss + 2.0 * plain.contrast(PAIRS, (1, 2, 3))
        assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert step["grad_norm"] == pytest.approx(plain.gradient_norm(loss), rel=1e-4)


def test_the_users_numbers_are_those_of_the_loss(task, model, plain, tmp_path):
    options = {"contrast_weight": 3, "contrast_temperature": 0.2, "contrast_pairs": 3}
    options |= {"shift": "off", "shift_layers": None, "learning_rate": STILL}
    run = trained(task, model, tmp_path, **options)
    job = training.prepare(isogloss.TrainSettings(str(task), str(model), "tr", method="shifcon"))
    pairs = translation_pairs(job.split.dominant, job.split.target)
    met = pair_batches(pairs, size=3, count=5, seed="42/pairs/0")
    none = {code: torch.zeros(2, 32) for code in ("en", "tr")}
    to, back = run.record["layers"]["to"], run.record["layers"]["back"]
    with torch.no_grad():
        for groups, own, step in zip(batches_of(run), met, steps_of(run), strict=True):
            loss = 0.5 * torch.stack(answers(plain, groups, none)).mean()
            numbers = [int(item.id[1:]) for item, _ in own]
            loss += 3 * plain.contrast(numbers, tuple(range(to, back)), 0.2)
            assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert not (run.adapter / VECTORS_FILE).exists()


def test_accumulated_batches_are_averaged(task, model, plain, tmp_path):
    """Answers over all targets of an update, 8 or the last 4; contrast over its batches."""
    options = {"gradient_accumulation": 2, "contrast_pairs": 3, "learning_rate": STILL}
    run = trained(task, model, tmp_path, **options)
    job = training.prepare(isogloss.TrainSettings(str(task), str(model), "tr", method="shifcon"))
    pairs = translation_pairs(job.split.dominant, job.split.target)
    met = pair_batches(pairs, size=3, count=5, seed="42/pairs/0")
    vectors = plain.vectors(PAIRS, LAYERS)
    batches = batches_of(run)
    with torch.no_grad():
        values = [answers(plain, groups, vectors) for groups in batches]
        contrasts = [
            plain.contrast([int(item.id[1:]) for item, _ in own], (1, 2, 3)) for own in met
        ]
    wanted = []
    for update in ((0, 1), (2, 3), (4,)):
        own = torch.stack([value for n in update for value in values[n]]).mean()
        wanted.append(float(0.5 * own + 2.0 * sum(contrasts[n] for n in update) / len(update)))
    assert [step["loss"] for step in steps_of(run)] == pytest.approx(wanted, rel=1e-5)


def hooks_run_again(monkeypatch) -> None:
    """As in transformers before 5.23: the checkpoint holds a block with its hooks."""
    forward = LlamaDecoderLayer.forward
    monkeypatch.setattr(LlamaDecoderLayer, "forward", getattr(forward, "__wrapped__", forward))

    def call(layer, *given, **named):
        plain = partial(nn.Module.__call__, layer, **named)
        if layer.gradient_checkpointing and layer.training:
            return layer._gradient_checkpointing_func(plain, *given)
        return plain(*given)

    monkeypatch.setattr(LlamaDecoderLayer, "__call__", call)


@pytest.mark.parametrize("again", [False, True])
def test_recomputed_activations_change_nothing(again, task, model, tmp_path, finished, monkeypatch):
    """Contrastive passes are without shift, and come between the answers' and their gradient."""
    if again:
        hooks_run_again(monkeypatch)
    options = {"epochs": 2, "max_steps": 3, "gradient_checkpointing": True}
    saving = trained(task, model, tmp_path / "a", **options)
    plain = trained(task, model, tmp_path / "b", **(options | {"gradient_checkpointing": False}))
    for name in ("loss", "grad_norm"):
        values = [[step[name] for step in steps_of(run)] for run in (saving, plain)]
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert steps_of(plain)[0] == steps_of(finished)[0]


# Language vectors.


class Seen:
    """What each step was given: its epoch, the weights, and the vectors that it shifted by."""

    def __init__(self, monkeypatch) -> None:
        self.steps: list[tuple[int, dict, torch.Tensor]] = []
        plain = Objective.value

        def value(objective, content, *rest):
            loss = plain(objective, content, *rest)
            weights = {n: p.detach().clone() for n, p in objective.model.named_parameters()}
            difference = objective.shifter.vectors.difference().clone()
            self.steps.append((int(content["epoch"]), weights, difference))
            return loss

        monkeypatch.setattr(Objective, "value", value)


def slow_difference(plain: Plain, weights) -> torch.Tensor:
    plain.model.load_state_dict(weights, strict=False)
    vectors = plain.vectors(PAIRS, LAYERS)
    return vectors["en"] - vectors["tr"]


def test_vectors_are_those_of_the_epochs_first_weights(task, model, tmp_path, monkeypatch):
    seen = Seen(monkeypatch)
    run = trained(task, model, tmp_path, epochs=2)
    assert [epoch for epoch, _, _ in seen.steps] == [0] * 5 + [1] * 5
    plain = Plain(model)
    for first in (0, 5):
        wanted = slow_difference(plain, seen.steps[first][1])
        for _, _, difference in seen.steps[first : first + 5]:
            torch.testing.assert_close(difference, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(seen.steps[0][2], seen.steps[5][2], rtol=1e-2)
    # Those that are saved are of the saved weights.
    kept = saved(run, VECTORS_FILE)
    last = slow_difference(plain, saved(run, "model.safetensors"))
    torch.testing.assert_close(kept["en"] - kept["tr"], last, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(last, seen.steps[5][2], rtol=1e-2)


# Going on after a kill.


def killed(where: int, work) -> None:
    """Carry out in a child that dies by SIGKILL within the Nth step."""
    child = os.fork()
    if child == 0:
        plain, calls = Objective.value, []

        def deadly(*given):
            calls.append(plain(*given))
            if len(calls) == where:
                os.kill(os.getpid(), signal.SIGKILL)
            return calls[-1]

        Objective.value = deadly  # type: ignore[method-assign]
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or torch.cuda.is_available(),
    reason="autograd's threads for a GPU do not survive a fork",
)


@needs_fork
@pytest.mark.parametrize(("at", "checkpoint"), [(4, 3), (8, 6)])
def test_a_run_killed_within_an_epoch_comes_to_the_same_numbers(
    task, model, tmp_path, finished, at, checkpoint
):
    """After the 3rd or 6th update, each inside an epoch whose vectors were made before it."""

    def again() -> Run:
        return trained(task, model, tmp_path, epochs=2, save_every=3)

    killed(at, again)
    (folder,) = tmp_path.iterdir()
    assert not Run(folder).finished
    assert (folder / "stage-0" / f"checkpoint-{checkpoint}" / VECTORS_FILE).is_file()
    resumed = again()
    assert steps_of(resumed) == steps_of(finished)
    assert [step["step"] for step in steps_of(resumed)] == list(range(1, 11))
    assert resumed.record["adapter"] == finished.record["adapter"], "file by file"


@needs_fork
def test_a_new_stage_begins_with_vectors_of_its_own(task, model, tmp_path, monkeypatch):
    """TL with a shift by language vectors, killed in its second stage, after a checkpoint there."""

    def work(out: Path) -> Run:
        return trained(task, model, out, method="tl", shift="corpus", save_every=1)

    killed(5, lambda: work(tmp_path / "broken"))
    resumed = work(tmp_path / "broken")
    seen = Seen(monkeypatch)
    unbroken = work(tmp_path / "unbroken")
    assert [step["stage"] for step in steps_of(unbroken)] == [0, 0, 0, 1, 1]
    for first in (0, 3):
        _, weights, difference = seen.steps[first]
        wanted = slow_difference(Plain(model), weights)
        torch.testing.assert_close(difference, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(seen.steps[0][2], seen.steps[3][2], rtol=1e-2)
    assert steps_of(resumed) == steps_of(unbroken)
    assert resumed.record["adapter"] == unbroken.record["adapter"]


def test_the_same_command_twice_gives_the_same_files(task, model, tmp_path, finished):
    again = trained(task, model, tmp_path, epochs=2)
    assert again.record["adapter"] == finished.record["adapter"]
    assert steps_of(again) == steps_of(finished)


def test_the_best_epoch_is_kept_with_its_vectors(model, tmp_path, monkeypatch):
    """Training says yes to all, validation no: it gets worse, and stops."""
    contrary = {"train": ("yes", "yes"), "validation": ("no", "no")}
    task = parity_task(tmp_path / "task", validation=range(50, 53), answers=contrary)
    snapshots, plain_evaluate = [], learning.EpisodeTrainer.evaluate

    def evaluate(trainer, *given, **named):
        metrics = plain_evaluate(trainer, *given, **named)
        own = trainer.learning.loaded.model.named_parameters()
        snapshots.append((metrics["eval_loss"], {n: p.detach().clone() for n, p in own}))
        return metrics

    monkeypatch.setattr(learning.EpisodeTrainer, "evaluate", evaluate)
    run = trained(task, model, tmp_path / "runs", epochs=9, learning_rate=0.01, patience=2)
    losses = [loss for loss, _ in snapshots]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 9, "two epochs after the best"
    weights = saved(run, "model.safetensors")
    assert all(torch.equal(weights[name], snapshots[best][1][name]) for name in weights)
    kept = saved(run, VECTORS_FILE)
    wanted = slow_difference(Plain(model), snapshots[best][1])
    torch.testing.assert_close(kept["en"] - kept["tr"], wanted, rtol=1e-3, atol=1e-4)


# Scores.


def test_scores_are_those_of_the_saved_files_in_plain_transformers(finished):
    """The target's items are shifted, English ones are not; and a second time it is the same."""
    plain, kept = Plain(finished.adapter), saved(finished, VECTORS_FILE)
    gap = kept["en"] - kept["tr"]
    moved = {TO: gap[0], BACK: -gap[1]}
    for language, moves in (("tr", moved), ("en", {})):
        scores = isogloss.evaluate(finished, language=language)
        entries = {e["id"]: e["log_probabilities"] for e in predictions(finished, language)}
        assert len(entries) == 5
        for name, found in entries.items():
            for option, value in found.items():
                with torch.no_grad():
                    wanted = plain.log_probabilities(
                        (language, int(name[1:])), f" {option}", moves, end=False
                    ).sum()
                assert value == pytest.approx(float(wanted), rel=1e-4, abs=1e-4)
        for size in (1, 4):
            again = isogloss.evaluate(finished, language=language, force=True, batch_size=size)
            assert again.rows() == scores.rows()
            for entry in predictions(finished, language):
                wanted = entries[entry["id"]]
                assert entry["log_probabilities"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def predictions(run: Run, language: str) -> list[dict]:
    (folder,) = (run.folder / "evaluations").glob(f"{language}-*")
    return learning.read_lines(folder / "predictions.jsonl")


def test_a_new_item_is_answered_as_a_test_item_is(finished):
    isogloss.evaluate(finished)
    texts = {e["id"]: e for e in predictions(finished, "tr")}
    items = [{"text": "Text: so sayı 100\nIs it even?"}, {"text": "Text: sayı 102\nIs it even?"}]
    found = isogloss.predict(finished, items)
    for prediction, name in zip(found, ("i100", "i102"), strict=True):
        wanted = texts[name]["log_probabilities"]
        assert prediction.log_probabilities == pytest.approx(wanted, rel=1e-4)


def test_a_language_without_vectors_is_refused(finished):
    wanted = "language vectors, which it has of en and tr, not of 'sw'; train it with that target"
    with pytest.raises(ConfigError, match=wanted):
        isogloss.evaluate(finished, language="sw")
    with pytest.raises(ConfigError, match=wanted):
        isogloss.predict(finished, [{"text": "a"}], language="sw")
    assert not list(finished.folder.glob("evaluations/sw-*"))


def test_changed_vectors_are_found(task, model, tmp_path):
    run = trained(task, model, tmp_path, max_steps=1)
    assert VECTORS_FILE in run.record["adapter"]
    path = run.adapter / VECTORS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match=rf"{VECTORS_FILE}: found a file that is damaged"):
        isogloss.evaluate(run)
    path.unlink()
    with pytest.raises(RunError, match=rf"no such adapter file: .*{VECTORS_FILE}"):
        isogloss.evaluate(run)


# Data.


def test_without_shared_ids_it_is_refused_before_a_model_is_loaded(
    model, tmp_path, monkeypatch, capsys
):
    task = parity_task(tmp_path / "task", dominant=range(12), target=range(20, 28))
    monkeypatch.setattr(placing, "load", None)
    out = tmp_path / "runs"
    given = ["--model", str(model), "--target", "tr", "--method", "shifcon", "--out", str(out)]
    assert main(["train", str(task), *given]) == 2
    error = capsys.readouterr().err
    assert "contrastive learning needs translation pairs, and 0 of the training items" in error
    assert "Traceback" not in error
    assert not out.exists()


def test_pairs_that_do_not_fit_are_refused_and_nothing_is_written(model, tmp_path):
    """Items 2, 5, 8, ... are the longest: of the two shared ones none fits."""
    task = parity_task(tmp_path / "task", dominant=range(9), target=(2, 5, 20, 21))
    options = {"too_long": "skip", "max_length": 24}
    with pytest.raises(DataError, match="needs two translation pairs, and 0 of the 2"):
        trained(task, model, tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_a_limit_keeps_pairs_where_both_languages_have_the_same_ids(model, plain, tmp_path):
    task = parity_task(tmp_path / "task", target=range(12))
    run = trained(task, model, tmp_path / "runs", limit=4, learning_rate=STILL)
    sizes = run.record["sizes"]
    assert (sizes["dominant"], sizes["target"], sizes["test"]) == (4, 4, 4)
    names = {name for groups in batches_of(run) for g in groups for name in g["targets"]}
    numbers = sorted({item_of(name)[1] for name in names})
    assert len(numbers) == 4
    vectors = plain.vectors(numbers, LAYERS)
    with torch.no_grad():
        for groups, step in zip(batches_of(run), steps_of(run), strict=True):
            loss = 0.5 * torch.stack(answers(plain, groups, vectors)).mean()
            loss += 2.0 * plain.contrast(numbers, (1, 2, 3))
            assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert len(isogloss.evaluate(run).content["metrics"]) == 1
    assert len(predictions(run, "tr")) == 4


# Updates in turn.


@pytest.fixture
def alternating(monkeypatch):
    def made(name, kind):
        contrast = Contrast(alternate=True, layers="middle", temperature=0.1)
        return dataclasses.replace(shifcon(name, kind), contrast=contrast)

    monkeypatch.setitem(METHODS, "shifcon", made)


def test_updates_in_turn(task, model, plain, tmp_path, alternating, still):
    run = trained(task, model, tmp_path, learning_rate=STILL)
    assert batches_of(run) == batches_of(still)
    steps = steps_of(run)
    assert len(steps) == 10
    vectors = plain.vectors(PAIRS, LAYERS)
    with torch.no_grad():
        contrast = float(2.0 * plain.contrast(PAIRS, (3,), 0.1))
        wanted = [
            loss
            for groups in batches_of(run)
            for loss in (
                float(0.5 * torch.stack(answers(plain, groups, vectors)).mean()),
                contrast,
            )
        ]
    assert [step["loss"] for step in steps] == pytest.approx(wanted, rel=1e-5)
    assert [step["epoch"] for step in steps] == [n / 10 for n in range(1, 11)]
    # What is behind the middle has no gradient from a contrast there: the norm is another.
    norms = [step["grad_norm"] for step in steps]
    assert max(norms[1::2]) - min(norms[1::2]) < 1e-4 < abs(norms[0] - norms[1])


def test_updates_in_turn_with_accumulation_have_one_of_each(task, model, tmp_path, alternating):
    """Two batches an update: its answers' mean, and the contrast of its one batch of pairs."""
    one = trained(task, model, tmp_path / "a", learning_rate=STILL)
    two = trained(task, model, tmp_path / "b", learning_rate=STILL, gradient_accumulation=2)
    losses = [step["loss"] for step in steps_of(one)]
    wanted = [a + b for a, b in zip(losses[::2], losses[1::2], strict=True)]
    assert [step["loss"] for step in steps_of(two)] == pytest.approx(wanted, rel=1e-5)
