"""CPT from training to prediction: what stands in its prompt, a kill, plain PEFT, mistakes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import CPTConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import isogloss
from helpers import parity_task
from isogloss import placing, staging, training
from isogloss.errors import ConfigError
from isogloss.judging import judge
from isogloss.learning import EpisodeTrainer
from isogloss.model.load import load
from isogloss.runs import open_run, read_lines
from isogloss.settings import TrainSettings
from isogloss.tuning.context_prompt import CHANGE_FILE


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return parity_task(tmp_path_factory.mktemp("task"))


def trained(task: Path, model: Path, out: Path, **options) -> isogloss.Run:
    common = dict(model=model, target="tr", out=out, method="cpt", epochs=1, demonstrations=2)
    return isogloss.train(task, **(common | options))


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_train_evaluate_predict_and_plain_peft(architecture, task, model_folder, tmp_path):
    run = trained(task, model_folder(architecture), tmp_path, learning_rate=0.01)
    scores = isogloss.evaluate(run, baseline=True)
    assert [row["name"] for row in scores.rows()] == ["cpt", "zero-shot"]
    tune = run.record["method"]["tune"]
    assert scores.content["added_tokens"] == pytest.approx(len(tune["tokens"]), abs=1.5)
    assert run.record["trained_parameters"] == len(tune["tokens"]) * 32
    first = run.predictions[0]
    job = training.prepare(settings(task, model_folder(architecture)))
    (item,) = [each for each in job.split.test if each.id == first["id"]]
    (found,) = isogloss.predict(run, [dict(item.fields)])
    assert found.log_probabilities == pytest.approx(first["log_probabilities"], rel=1e-4)
    again = trained(task, model_folder(architecture), tmp_path, learning_rate=0.01)
    assert again.folder == run.folder
    base = AutoModelForCausalLM.from_pretrained(model_folder(architecture))
    tokenizer = AutoTokenizer.from_pretrained(model_folder(architecture))
    peft = PeftModel.from_pretrained(base, str(run.adapter)).eval()
    question = job.task.render(item).input
    theirs = {}
    for option in item.options:
        ids = tokenizer(question, add_special_tokens=False).input_ids
        answer = tokenizer(f" {option}", add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = peft(input_ids=torch.tensor([ids + answer])).logits[0].log_softmax(-1)
        places = range(len(logits) - len(answer) - 1, len(logits) - 1)
        theirs[option] = sum(float(logits[p, t]) for p, t in zip(places, answer, strict=True))
    assert theirs == pytest.approx(first["log_probabilities"], rel=1e-4)


def settings(task: Path, model: Path, **options) -> TrainSettings:
    return TrainSettings(str(task), str(model), "tr", method="cpt", **options)


def test_what_stands_in_the_prompt_is_no_target(task, model_folder, tmp_path):
    run = trained(task, model_folder("llama"), tmp_path, demonstrations=3)
    shown = run.record["prompt_demonstrations"]
    assert len(shown) == 3
    assert {name[:2] for name in shown} == {"en", "tr"}
    ids = {name.partition("/")[2] for name in shown}
    lines = read_lines(run.folder / "demonstrations.jsonl")
    met = {name.partition("/")[2] for line in lines for name in line["targets"]}
    assert met
    assert not met & ids, "nor its translation"
    change = load_file(run.adapter / CHANGE_FILE)["delta"]
    assert change.abs().max() > 0
    other = trained(task, model_folder("llama"), tmp_path, demonstrations=3, seed=7)
    assert other.record["prompt_demonstrations"] != shown


def test_a_folds_prompt_holds_none_of_its_items(task, model_folder, tmp_path, monkeypatch):
    given = settings(task, model_folder("llama"), out=tmp_path, epochs=1, folds=2, demonstrations=2)
    run, seen = training.train(given), []
    plain = staging.drawn_demonstrations

    def spy(tune, context, split, *, seed):
        drawn = plain(tune, context, split, seed=seed)
        seen.append(({i.id for i in split.target}, {i.id for i in drawn}))
        return drawn

    monkeypatch.setattr(staging, "drawn_demonstrations", spy)
    found = judge(given, run)
    assert len(seen) == 2
    for learnt, drawn in seen:
        assert len(learnt) == len(found.values) / 2, "the other fold is not there"
        assert drawn <= learnt | {i.id for i in training.prepare(given).split.dominant}
        assert not drawn & (set(found.values) - learnt)


def test_the_first_updates_loss_is_that_of_plain_peft(task, model_folder, tmp_path):
    """The targets one by one through PEFT's model, before anything has moved."""
    run = trained(task, model_folder("llama"), tmp_path, batch_size=3, max_steps=1)
    tune = run.record["method"]["tune"]
    config = CPTConfig(
        task_type="CAUSAL_LM",
        cpt_token_ids=tune["tokens"],
        cpt_mask=[1] * len(tune["tokens"]),
        cpt_tokens_type_mask=tune["kinds"],
        opt_weighted_loss_type="decay",
        opt_loss_decay_factor=tune["decay"],
    )
    base = AutoModelForCausalLM.from_pretrained(model_folder("llama"))
    peft = get_peft_model(base, config).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    job = training.prepare(settings(task, model_folder("llama")))
    items = {f"{item.language}/{item.id}": item for item in job.split.target}
    lines = read_lines(run.folder / "demonstrations.jsonl")
    first = [name for line in lines if line["batch"] == 0 for name in line["targets"]]
    assert len(first) == 3
    losses = []
    for name in first:
        asked = tokenizer(job.task.render(items[name]).input).input_ids
        answer = tokenizer(f" {items[name].answers[0]}").input_ids
        answer += tokenizer("\n\n").input_ids[:1]
        ids = torch.tensor([asked + answer])
        labels = torch.tensor([[-100] * len(asked) + answer])
        with torch.no_grad():
            given = dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)
            losses.append(float(peft(**given).loss))
    assert run.log[0]["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


class Killed(BaseException):
    """Nobody catches it: the folder is all that is left."""


@pytest.mark.parametrize(
    ("where", "count"), [("compute_loss", 4), ("_save_optimizer_and_scheduler", 2)]
)
def test_a_killed_run_comes_to_the_same_numbers(
    where, count, task, model_folder, tmp_path, monkeypatch
):
    options = dict(epochs=3, batch_size=2, learning_rate=1e-2)
    model = model_folder("llama")
    whole = trained(task, model, tmp_path / "a", **options)
    plain, calls = getattr(EpisodeTrainer, where), []

    def deadly(*given, **named):
        calls.append(given)
        if len(calls) == count:
            raise Killed
        return plain(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(EpisodeTrainer, where, deadly)
        with pytest.raises(Killed):
            trained(task, model, tmp_path / "b", **options)
    (folder,) = (tmp_path / "b").iterdir()
    assert not open_run(folder).finished
    again = trained(task, model, tmp_path / "b", **options)
    wanted, found = (
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.log]
        for run in (whole, again)
    )
    assert found == wanted
    assert len(wanted) > 6
    for path in whole.adapter.glob("*.safetensors"):
        one, two = load_file(path), load_file(again.adapter / path.name)
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"prompt_length": 4}, "prompt length is a setting of soft prompts"),
        ({"share_demonstrations": 1}, "share demonstrations is a setting of demonstrat"),
        ({"demonstration_loss": "all"}, "demonstration loss is a setting of demonstrat"),
        ({"demonstrations": 0}, "demonstrations is 0; the prompt of CPT"),
    ],
)
def test_settings_that_say_nothing_or_make_no_sense(setting, said, task, model_folder):
    with pytest.raises(ConfigError, match=said):
        training.prepare(settings(task, model_folder("llama"), **setting))


def test_settings_reach_the_tuning_and_old_records_are_read(task, model_folder):
    job = training.prepare(settings(task, model_folder("llama"), demonstrations=2))
    assert job.method.tune.demonstrations == 2
    assert job.method.context.count == 0
    filled = dataclasses.replace(job.method.tune, tokens=[1, 2], kinds=[2, 4])
    record = dataclasses.asdict(dataclasses.replace(job.method, tune=filled))
    assert isogloss.methods.registry.method_from(record).tune == filled


@pytest.mark.parametrize("method", ["lora", "prompt-tuning", "cpt"])
def test_the_trainer_takes_a_quantised_model(method, task, model_folder, tmp_path, monkeypatch):
    """No GPU here: a model that says it is quantised meets the Trainer's own check."""

    class Quantiser:
        is_trainable, is_qat_trainable = True, False

    def marked(*given):
        loaded = load(*given)
        loaded.model.is_quantized, loaded.model.hf_quantizer = True, Quantiser()
        return loaded

    monkeypatch.setattr(placing, "load", marked)
    given = {} if method == "cpt" else {"demonstrations": None}
    run = trained(task, model_folder("llama"), tmp_path, method=method, max_steps=1, **given)
    assert run.finished
