from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from isogloss import learning
from isogloss.errors import ConfigError, RunError
from isogloss.lab import pretraining
from isogloss.lab.pretraining import (
    PretrainSettings,
    build_model,
    pretrain,
    pretrain_together,
    record_of,
    same,
)
from isogloss.lab.rows import Rows, collate
from isogloss.lab.tokenizer import tokens
from isogloss.lab.world import World, WorldSettings
from isogloss.model.load import load
from isogloss.runs import file_digest, read_lines

TINY = PretrainSettings(steps=6, rows=4, length=32, width=32, layers=1, heads=2, save_every=3)
WORLD = WorldSettings(seed=3, dial=0.5)


@pytest.fixture(scope="module")
def world() -> World:
    return World(WORLD)


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test expects it."""


@pytest.fixture(scope="module")
def stopped(world: World, tmp_path_factory) -> Path:
    """A folder as a kill after the first whole checkpoint leaves it, with a half-written second."""
    folder = tmp_path_factory.mktemp("stopped") / "model"

    def mark_and_die(checkpoint: Path) -> None:
        if checkpoint.name != "checkpoint-3":
            raise Killed
        real_mark(checkpoint)

    real_mark = learning.mark_complete
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "mark_complete", mark_and_die)
        with pytest.raises(Killed):
            pretrain(world, TINY, folder)
    assert not (folder / "lab.json").exists()
    assert (folder / "pretraining" / "checkpoint-6").is_dir()
    (folder / "pretraining" / "checkpoint-6" / "model.safetensors").write_bytes(b"half")
    return folder


@pytest.fixture(scope="module")
def made(world: World, tmp_path_factory) -> Path:
    """A finished model, which no test may change."""
    folder = tmp_path_factory.mktemp("made") / "model"
    pretrain(world, TINY, folder)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(pretraining, "_LabTrainer", fail)


def recorded(folder: Path) -> dict[str, object]:
    return json.loads((folder / "lab.json").read_text(encoding="utf-8"))


def log_of(folder: Path) -> list[dict[str, float]]:
    return read_lines(folder / "pretraining" / "log.jsonl")


def test_what_is_recorded(made: Path, world: World) -> None:
    record = recorded(made)
    assert record["world"] == json.loads(json.dumps(dataclasses.asdict(WORLD)))
    training = dataclasses.asdict(TINY)
    del training["save_every"]  # decides no number of the model
    assert record["pretraining"] == training
    assert record["sha256"] == file_digest(made / "model.safetensors")
    assert record["processes"] == 1
    assert record["minutes"] >= 0
    assert set(record["versions"]) == {"isogloss", "torch", "transformers", "tokenizers"}
    model = AutoModelForCausalLM.from_pretrained(made)
    assert record["parameters"] == sum(each.numel() for each in model.parameters())


def test_the_folder_is_a_plain_model_folder(made: Path, world: World) -> None:
    plain = AutoModelForCausalLM.from_pretrained(made)
    tokenizer = AutoTokenizer.from_pretrained(made)
    loaded = load(str(made))
    assert loaded.model.config.model_type == "llama"
    assert plain.dtype == torch.bfloat16
    assert len(loaded.tokenizer) == len(tokenizer) == len(tokens(world))
    ids = tokenizer("red blue = up", return_tensors="pt")["input_ids"]
    assert ids.shape == (1, 5)
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits.float(), plain.float()(ids).logits)
    assert not list((made / "pretraining").glob("checkpoint-*"))


def test_the_same_command_makes_the_same_weights(made: Path, world: World, tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, save_every=100)
    again = pretrain(World(WORLD), settings, tmp_path)
    assert again["sha256"] == recorded(made)["sha256"]
    losses = [[entry["loss"] for entry in log_of(folder)] for folder in (made, tmp_path)]
    assert losses[0] == losses[1]


def test_training_changes_the_weights(made: Path, world: World) -> None:
    start = build_model(world, TINY)
    torch.testing.assert_close(start.state_dict(), build_model(world, TINY).state_dict())
    end = AutoModelForCausalLM.from_pretrained(made).float()
    moved = [
        not torch.allclose(one, end.state_dict()[name], atol=1e-3)
        for name, one in start.state_dict().items()
        if "norm" not in name
    ]
    assert all(moved)


def test_after_a_kill_the_same_command_comes_to_the_same_weights(
    made: Path, stopped: Path, world: World, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "model"))
    with (folder / "pretraining" / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "loss": 9.0, "seconds": 1.0}\n')  # after the last checkpoint
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        rows = pretraining.Rows.__getitem__
        patch.setattr(
            pretraining.Rows, "__getitem__", lambda self, n: begun.append(n) or rows(self, n)
        )
        record = pretrain(world, TINY, folder)
    assert record["sha256"] == recorded(made)["sha256"]
    assert file_digest(folder / "model.safetensors") == record["sha256"]
    assert 12 in begun, "went on with the fourth update"
    steps = [entry["step"] for entry in log_of(folder)]
    assert steps == [entry["step"] for entry in log_of(made)]
    assert all(entry["loss"] < 9 for entry in log_of(folder))


def test_another_setting_does_not_go_on_from_a_stopped_run(stopped: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "model"))
    with pytest.raises(RunError, match=r"found a model with dial 0\.5; expected 0\.1"):
        pretrain(World(dataclasses.replace(WORLD, dial=0.1)), TINY, folder)


def test_a_finished_folder_is_given_back(made: Path, world: World, no_training: None) -> None:
    seen = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert pretrain(world, TINY, made) == recorded(made)
    assert pretrain_together(world, TINY, made, processes=4) == recorded(made)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == seen


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 7}, "found a model with steps 6; expected 7"),
        ({"learning_rate": 0.1}, r"found a model with learning rate 0\.002; expected 0\.1"),
        ({"width": 64}, "found a model with width 32; expected 64"),
    ],
)
def test_another_training_in_the_folder_is_refused(
    made: Path, world: World, no_training: None, change: dict[str, object], said: str
) -> None:
    with pytest.raises(RunError, match=said):
        pretrain(world, dataclasses.replace(TINY, **change), made)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "found a model with seed 3; expected 4"),
        ({"orders": ("sov",)}, r"found a model with orders \['svo'\]; expected \['sov'\]"),
    ],
)
def test_another_world_in_the_folder_is_refused(
    made: Path, no_training: None, change: dict[str, object], said: str
) -> None:
    with pytest.raises(RunError, match=said):
        pretrain(World(dataclasses.replace(WORLD, **change)), TINY, made)


def test_changed_weights_are_found(own: Path, world: World, no_training: None) -> None:
    weights = own / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match=r"model\.safetensors: found weights that were changed"):
        pretrain(world, TINY, own)


def test_missing_weights_are_a_users_mistake(own: Path, world: World, no_training: None) -> None:
    (own / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors: found no weights"):
        pretrain(world, TINY, own)


def test_a_full_disk_is_said_clearly(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(learning, "mark_complete", no_room)
    with pytest.raises(RunError, match="No space left on device; free some room and give the same"):
        pretrain(world, TINY, tmp_path)


def test_two_processes_share_each_update_to_the_same_losses(
    made: Path, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = pretrain_together(world, TINY, tmp_path, processes=2)
    assert record["processes"] == 2
    assert recorded(tmp_path) == json.loads(json.dumps(record))
    heard = capfd.readouterr()
    assert heard.out == ""
    assert "Warning" not in heard.err
    assert heard.err.count("pre-training 6/6") == 1, "one of the processes speaks"
    one, two = log_of(made), log_of(tmp_path)
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two]
    for entry, other in zip(one, two, strict=True):
        assert math.isclose(entry["loss"], other["loss"], abs_tol=1e-5)
    models = [
        AutoModelForCausalLM.from_pretrained(each).float().state_dict() for each in (made, tmp_path)
    ]
    for name, weights in models[0].items():
        torch.testing.assert_close(weights, models[1][name], atol=2e-3, rtol=2e-2)


def test_rows_that_cannot_be_shared_evenly_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rows is 4; it must be a multiple of the processes, 3"):
        pretrain_together(world, TINY, tmp_path / "model", processes=3)
    with pytest.raises(ConfigError, match="processes is 0"):
        pretrain_together(world, TINY, tmp_path / "model", processes=0)
    assert not (tmp_path / "model").exists()


@pytest.fixture
def trainer(world: World, tmp_path: Path) -> Callable[..., torch.Tensor]:
    """The loss that training minimises, of a fresh model on the first rows."""
    made = pretraining._LabTrainer(world, TINY, tmp_path)

    def loss(rows: list) -> torch.Tensor:
        batch = collate(rows)
        return made.compute_loss(made.model.eval(), batch)

    loss.model = made.model
    return loss


def test_the_loss_is_what_a_slow_twin_comes_to(world: World, trainer) -> None:
    rows = [Rows(world, 8, 32)[number] for number in range(8)]
    loss = trainer(rows)
    means = []
    for row in rows:
        with torch.no_grad():
            logits = trainer.model(row.ids[None]).logits[0].double()
        total = weight = 0.0
        for place in range(1, len(row.ids)):
            counts = float(row.weights[place])
            total -= counts * float(logits[place - 1].log_softmax(-1)[row.ids[place]])
            weight += counts
        means.append(total / weight)
    assert loss.item() == pytest.approx(sum(means) / len(means), abs=1e-5)
    assert loss.requires_grad


def test_rows_come_in_their_order_each_once(world: World, tmp_path: Path, monkeypatch) -> None:
    batches = []
    compute = pretraining._LabTrainer.compute_loss

    def seen(self, model, inputs, *more, **named):
        batches.append(inputs["input_ids"].clone())
        return compute(self, model, inputs, *more, **named)

    monkeypatch.setattr(pretraining._LabTrainer, "compute_loss", seen)
    settings = dataclasses.replace(TINY, steps=3)
    pretrain(world, settings, tmp_path)
    rows = Rows(world, 12, 32)
    assert len(batches) == 3
    met = torch.cat(batches)
    assert torch.equal(met, torch.stack([rows[number].ids for number in range(12)]))


def test_two_records_are_the_same_or_not(world: World, made: Path) -> None:
    assert same(recorded(made), record_of(world, TINY))
    assert not same(recorded(made), record_of(world, dataclasses.replace(TINY, rows=8)))
    assert not same(recorded(made), record_of(World(WorldSettings(seed=4, dial=0.5)), TINY))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *[({name: 0}, f"{name.replace('_', ' ')} is 0; it must be 1 or more")
          for name in ("steps", "rows", "length", "width", "layers", "heads", "save_every")],
        ({"learning_rate": 0.0}, "learning rate is 0.0; it must be above 0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"width": 36, "heads": 4}, "width is 36; it must be a multiple of twice the heads, 4"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PretrainSettings(**given)
    assert said in str(caught.value)
