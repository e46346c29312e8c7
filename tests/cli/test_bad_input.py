"""A user's mistakes: exit code 2, a message that names the thing, and nothing else changed."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import resource
import shutil
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from conftest import byte_level_tokenizer, tiny_config, tiny_loaded
from isogloss import objective, runs
from isogloss.cli.main import main
from isogloss.model import load
from xcopa_files import write, write_xcopa

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FIELDS = ("premise=It rained.", "choice1=It dried.", "choice2=It got wet.", "question=effect")


@pytest.fixture(scope="module")
def shared_xcopa(tmp_path_factory):
    """Files that no test may change."""
    return write_xcopa(tmp_path_factory.mktemp("xcopa"))


@pytest.fixture
def xcopa(tmp_path):
    """Files that a test may spoil."""
    return write_xcopa(tmp_path / "data")


def command(model: Path, data: Path, out: Path, *more: object, task: str = "xcopa") -> list[str]:
    """A training command; what comes later wins over what came before."""
    line = ["train", task, "--model", model, "--target", "tr", "--data", data, "--out", out]
    line += ["--epochs", 1, "--max-steps", 2, "--batch-size", 2]
    line += ["--demonstrations", 2, "--test-sets", 2, "--json", *more]
    return [str(word) for word in line]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model_folder, shared_xcopa):
    """A trained and evaluated run, which no test may change."""
    out = tmp_path_factory.mktemp("runs")
    assert main(command(model_folder("llama"), shared_xcopa, out)) == 0
    (folder,) = out.iterdir()
    assert main(["evaluate", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / finished.name))


@pytest.fixture
def refused(capsys, tmp_path):
    """Gives a command line and asserts that it fails as a user's mistake should."""

    def check(line: list, *said: str, watch: Path = tmp_path, silent: bool = True) -> str:
        before = contents(watch)
        capsys.readouterr()
        code = main([str(word) for word in line])
        out, error = capsys.readouterr()
        assert code == 2, error
        assert not silent or out == "", "nothing on standard output"
        assert "Traceback" not in error
        assert 'File "' not in error
        for words in said:
            assert words in error
        assert contents(watch) == before, "the files are as they were"
        return error

    return check


# ---- settings --------------------------------------------------------------------------------

SETTINGS = {
    "language by name": (["--target", "turkish"], "'turkish'", "did you mean 'tr'"),
    "language misspelt": (["--target", "tru"], "'tru'", "did you mean 'tr'"),
    "language not in the task": (["--target", "de"], "'de' (German)", "it has en, et"),
    "target is dominant": (["--target", "en"], "'en'", "dominant", "choose one of et"),
    "method": (["--method", "cl-ipc"], "'cl-ipc'", "did you mean 'cl-ict' or 'cl-icp'"),
    "wording": (["--wording", "fancy"], "'fancy'", "default", "harness"),
    "k above the pool": (["--demonstrations", "50"], "50 demonstrations", "lower --demonstrations"),
    "k below zero": (["--demonstrations", "-1"], "demonstrations is -1", "0 or more"),
    "share without an item": (["--share", "0.01"], "0.01", "8 training items", "at least 0.125"),
    "share above one": (["--share", "1.5"], "share is 1.5", "at most 1"),
    "share not a number": (["--share", "nan"], "share is nan"),
    "limit": (["--limit", "0"], "limit is 0", "1 or more"),
    "prompt above the context": (["--prompt-length", "5000"], "5000", "context of 2048"),
    "prompt above the vocabulary": (["--prompt-length", "500"], "500", "prompt"),
    "prompt of nothing": (["--prompt-length", "0"], "prompt length is 0", "at least 1"),
    "max length above the context": (["--max-length", "9999"], "9999", "context is 2048"),
    "item too long": (["--max-length", "40"], "item '", "(tr)", "at most 40", "--max-length"),
    "all items too long": (["--max-length", "40", "--too-long", "skip"], "no training item fits"),
    "test sets": (["--test-sets", "-1"], "test sets is -1", "0 (per item) or more"),
    "epochs": (["--epochs", "0"], "epochs is 0", "1 or more"),
    "learning rate": (["--learning-rate", "0"], "learning rate is 0", "above 0"),
    "learning rate not a number": (["--learning-rate", "nan"], "learning rate is nan"),
    "batch size": (["--batch-size", "0"], "batch size is 0", "1 or more"),
    "accumulation": (["--gradient-accumulation", "0"], "gradient accumulation is 0"),
    "shared demonstrations": (["--share-demonstrations", "0"], "share demonstrations is 0"),
    "loss weight": (["--demonstration-weight", "-1"], "demonstration weight is -1", "0 or more"),
    "start without its file": (["--prompt-start", "file"], "'file'", "prompt file"),
    "start from a missing file": (
        ["--prompt-start", "file", "--prompt-file", "/none/adapter"],
        "/none/adapter",
    ),
    "prompt length of all parameters": (
        ["--method", "mtl", "--prompt-length", "5"],
        "prompt length is a setting of soft prompts and prefixes; method 'mtl' tunes all param",
    ),
    "prompt start of all parameters": (
        ["--method", "tl", "--prompt-start", "vocabulary"],
        "prompt start is a setting of soft prompts; method 'tl'",
    ),
    "prompt file of all parameters": (
        ["--method", "ft", "--prompt-file", "/none/adapter"],
        "prompt file is a setting of soft prompts; method 'ft'",
    ),
    "all parameters of a quantised model": (
        ["--method", "mtl", "--quantization", "4bit"],
        "'mtl' tunes all parameters",
        "4 bits",
        "leave --quantization out",
    ),
    "all parameters in float16": (
        ["--method", "tl", "--dtype", "float16"],
        "'tl' tunes all parameters",
        "--dtype float32 or bfloat16",
    ),
    "weight of no loss": (
        ["--method", "mtl", "--demonstrations", "1", "--demonstration-weight", "2"],
        "demonstration loss is off",
        "--demonstration-loss all or last",
    ),
    "k above the pool, both languages": (
        ["--method", "mtl", "--demonstrations", "50"],
        "50 demonstrations",
        "lower --demonstrations",
    ),
    "seed": (["--seed", "-1"], "seed is -1"),
    "device of no kind": (["--device", "banana"], "'banana'", "expected auto, cpu, cuda"),
    "tracker": (["--report-to", "nowhere", "--seed", "9"], "nowhere", "tensorboard"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_cannot_be(case, refused, model_folder, shared_xcopa, finished):
    line, *said = SETTINGS[case]
    out = finished.parent
    refused(command(model_folder("llama"), shared_xcopa, out, *line), *said, watch=out)


CONTEXT = {
    "--demonstration-languages": "target",
    "--share-demonstrations": "1",
    "--test-sets": "per-item",
    "--demonstration-loss": "last",
    "--demonstration-weight": "1",
}


@pytest.mark.parametrize("setting", CONTEXT)
@pytest.mark.parametrize("method", ["direct-transfer", "ft", "tl", "mtl"])
def test_a_setting_of_demonstrations_without_any(
    setting, method, refused, model_folder, shared_xcopa, finished
):
    line = ["--method", method, setting, CONTEXT[setting]]
    said = f"{setting[2:].replace('-', ' ')} is a setting of demonstrations in context"
    out = finished.parent
    start = ["train", "xcopa", "--model", model_folder("llama"), "--target", "tr"]
    start += ["--data", shared_xcopa, "--out", out]
    has_none = f"method '{method}' has none unless --demonstrations is given"
    for more in ((), ("--demonstrations", 0)):
        refused([*start, *line, *more], said, has_none, watch=out)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--device", "cuda"], ("'cuda'", "no GPU", "use cpu")),
        (["--device", "mps"], ("'mps'",)),
        (["--quantization", "4bit"], ("quantization 4bit", "needs a GPU")),
    ],
)
def test_a_device_that_is_not_there(line, said, refused, model_folder, shared_xcopa, tmp_path):
    refused(command(model_folder("llama"), shared_xcopa, tmp_path / "runs", *line), *said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["train", "xcopa", "--target", "tr"], "--model"),
        (["train", "xcopa", "--model", "m", "--target", "tr", "--epochs", "three"], "three"),
        (["train", "xcopa", "--model", "m", "--target", "tr", "--epoch", "3"], "--epochs"),
        (["evaluate"], "required"),
        (["evaluate", "run", "--normalisation", "bytes"], "byte"),
        (["predict", "run", "--demonstrations", "some"], "from-run"),
        (["evalute", "run"], "evaluate"),
        ([], "train"),
    ],
)
def test_a_command_line_that_cannot_be_read(line, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line)
    out, error = capsys.readouterr()
    assert stopped.value.code == 2
    assert out == ""
    assert said in error
    assert "Traceback" not in error


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is there")
def test_a_tracker_that_is_not_installed(refused, model_folder, shared_xcopa, tmp_path):
    line = command(model_folder("llama"), shared_xcopa, tmp_path, "--report-to", "wandb")
    refused(line, "wandb", "pip install wandb")


def test_a_prompt_file_of_another_width(refused, model_folder, shared_xcopa, finished, tmp_path):
    torch.manual_seed(0)
    config = tiny_config("llama", 420)
    config.hidden_size, config.head_dim = 16, 4
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "narrow")
    byte_level_tokenizer().save_pretrained(tmp_path / "narrow")
    start = ["--prompt-start", "file", "--prompt-file", finished / "adapter"]
    line = command(tmp_path / "narrow", shared_xcopa, tmp_path / "runs", *start)
    refused(line, str(finished / "adapter"), "32", "16")


@pytest.mark.parametrize("name", ["xcpoa", "none.yaml", "nothing-like-it"])
def test_an_unknown_task(name, refused, model_folder, shared_xcopa, tmp_path):
    said = {"xcpoa": "did you mean 'xcopa'", "none.yaml": "none.yaml"}.get(name, "xquad")
    line = command(model_folder("llama"), shared_xcopa, tmp_path / "runs", task=name)
    refused(line, name, said)


def test_an_out_that_is_a_file(refused, model_folder, shared_xcopa, tmp_path):
    file = tmp_path / "runs"
    file.write_text("mine")
    refused(command(model_folder("llama"), shared_xcopa, file), f"cannot write {file}")


def test_predictions_below_a_file(refused, finished, tmp_path):
    file = tmp_path / "mine"
    file.write_text("mine")
    pairs = [word for pair in FIELDS for word in ("--field", pair)]
    line = ["predict", finished, *pairs, "--out", file / "answers.jsonl", "--json"]
    refused(line, f"cannot write {file / 'answers.jsonl'}")
    refused([*line[:-2], tmp_path, "--json"], f"cannot write {tmp_path}")


# ---- data ------------------------------------------------------------------------------------


def test_a_missing_data_folder(refused, model_folder, tmp_path):
    missing = tmp_path / "none"
    error = refused(command(model_folder("llama"), missing, tmp_path / "runs"), str(missing))
    assert "data folder" in error


def test_a_missing_data_file(refused, model_folder, xcopa, tmp_path):
    (xcopa / "xcopa" / "tr" / "test.tr.jsonl").unlink()
    line = command(model_folder("llama"), xcopa, tmp_path / "runs")
    refused(line, "test.tr.jsonl", "'tr'", "https://github.com/cambridgeltl/xcopa")


def changed_line(path: Path, number: int, **values: object) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    entry = json.loads(lines[number - 1]) | values
    lines[number - 1] = json.dumps({name: one for name, one in entry.items() if one is not None})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_text(""), ("an empty file", "at least one item")),
        (lambda path: path.write_text("\n\n"), ("an empty file", "at least one item")),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), ("not UTF-8",)),
        (lambda path: path.write_text('{"idx": 0, "pre\n'), ("line 1", "broken JSON", "column")),
        (lambda path: path.write_text("[1, 2]\n"), ("line 1", "list", "one JSON object")),
        (lambda path: changed_line(path, 4, idx=2), ("line 4", "'idx'", "2 again", "line 3")),
        (lambda path: changed_line(path, 3, label=7), ("line 3", "'label'", "7", "0 or 1")),
        (lambda path: changed_line(path, 5, premise=None), ("line 5", "'premise'", "nothing")),
        (lambda path: changed_line(path, 5, choice1=" "), ("line 5", "'choice1'", "empty")),
        (lambda path: changed_line(path, 2, question="why"), ("line 2", "'question'", "'why'")),
    ],
)
def test_a_wrong_data_file(spoil, said, refused, model_folder, xcopa, tmp_path):
    path = xcopa / "xcopa" / "tr" / "val.tr.jsonl"
    spoil(path)
    line = command(model_folder("llama"), xcopa, tmp_path / "runs")
    refused(line, str(path), "found", "expected", *said)


def test_all_problems_at_once(refused, model_folder, xcopa, tmp_path):
    path = xcopa / "xcopa" / "tr" / "val.tr.jsonl"
    changed_line(path, 2, label=7)
    changed_line(path, 6, premise=None)
    line = command(model_folder("llama"), xcopa, tmp_path / "runs")
    refused(line, "2 problems", "line 2", "line 6")


OWN_TASK = """
name: topics
kind: label
dominant: en
languages: [en, tr]
fields: [text]
answer: topic
id: id
options: [delivery, refund]
wording:
  instruction: Say what the message is about.
  input: "Customer: {text}\\nTopic:"
  answer: " {answer}"
metric: accuracy
files: "{language}/{split}.{ending}"
"""


def write_own(folder: Path, ending: str = "csv") -> Path:
    """A label task of one's own; ids differ between splits and are parallel between languages."""
    folder.mkdir()
    (folder / "task.yaml").write_text(OWN_TASK.replace("{ending}", ending), encoding="utf-8")
    for language in ("en", "tr"):
        (folder / language).mkdir()
        for split, count in (("train", 8), ("validation", 2), ("test", 4)):
            lines = ["id,text,topic"]
            lines += [
                f"{split}-{number},{language} {split} {number},{('delivery', 'refund')[number % 2]}"
                for number in range(count)
            ]
            (folder / language / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id,text,topic", "id,text,subject", ("'topic'",)),
        (
            "tr train 3,refund",
            "tr train 3,money",
            ("line 5", "'topic'", "'money'", "delivery, refund"),
        ),
        ("train-3,", "train-2,", ("line 5", "'id'", "'train-2' again", "line 4")),
        ("tr train 3,", ",", ("line 5", "'text'")),
        ("tr train 3,", "", ("line 5", "'topic'")),
        ("tr train 3,refund", "tr train 3,refund,x", ("line 5", "more cells")),
    ],
)
def test_a_wrong_table_of_ones_own_task(old, new, said, refused, model_folder, tmp_path):
    folder = write_own(tmp_path / "own")
    task = str(folder / "task.yaml")
    assert main(["tasks", "check", task]) == 0
    path = folder / "tr" / "train.csv"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    line = command(model_folder("llama"), folder, tmp_path / "runs", task=task)
    refused(line, str(path), "found", "expected", *said)
    refused(["tasks", "check", task, "--json"], str(path), *said, silent=False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: label", "kind: lable", ("'kind'", "'lable'", "'label'")),
        ("fields: [text]", "feilds: [text]", ("feilds", "fields")),
        ("{text}", "{words}", ("words", "text")),
        ("dominant: en", "dominant: de", ("dominant", "'de'")),
        ("languages: [en, tr]", "languages: [en, tr", ("YAML",)),
        ("answer: topic", "answer:", ("answer",)),
        ("metric: accuracy", "metric: bleu", ("'bleu'", "accuracy")),
        ("name: topics", "name: !!python/object:os.system x", ("task.yaml",)),
    ],
)
def test_a_wrong_yaml_of_ones_own_task(old, new, said, refused, model_folder, tmp_path):
    folder = write_own(tmp_path / "own")
    path = folder / "task.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    line = command(model_folder("llama"), folder, tmp_path / "runs", task=str(path))
    refused(line, str(path), "found", "expected", *said)


# ---- models ----------------------------------------------------------------------------------


@pytest.fixture
def spoilt_model(model_folder, tmp_path):
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


def test_a_missing_model_folder(refused, shared_xcopa, tmp_path):
    missing = tmp_path / "none"
    line = command(missing, shared_xcopa, tmp_path / "runs")
    refused(line, f"no such model folder: {missing}")
    refused(["models", missing, "--json"], f"no such model folder: {missing}")


def test_a_name_that_is_neither_folder_nor_hub_id(refused, shared_xcopa, tmp_path, monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(load.AutoConfig, "from_pretrained", offline)
    line = command(Path("models/tiny"), shared_xcopa, tmp_path / "runs")
    refused(line, "models/tiny", "no such folder", "We couldn't connect to the hub")


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ("tokenizer*", ("no tokenizer", "tokenizer.json", "save_pretrained")),
        ("config.json", ("no config.json", "save_pretrained")),
        ("model.safetensors", ("safetensors",)),
    ],
)
def test_a_model_folder_with_something_missing(
    remove, said, refused, spoilt_model, shared_xcopa, tmp_path
):
    gone = list(spoilt_model.glob(remove))
    assert gone
    for path in gone:
        path.unlink()
    line = command(spoilt_model, shared_xcopa, tmp_path / "runs")
    refused(line, str(spoilt_model), *said)


def test_a_pickle_is_not_read(refused, spoilt_model, shared_xcopa, tmp_path):
    weights = tiny_loaded("llama").model.state_dict()
    torch.save(weights, spoilt_model / "pytorch_model.bin")
    (spoilt_model / "model.safetensors").unlink()
    line = command(spoilt_model, shared_xcopa, tmp_path / "runs")
    refused(line, str(spoilt_model), "safetensors")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("config.json", "{}"),
        ("tokenizer.json", "{"),
        ("model.safetensors", "damaged"),
    ],
)
def test_a_damaged_model_file(name, text, refused, spoilt_model, shared_xcopa, tmp_path):
    (spoilt_model / name).write_text(text)
    line = command(spoilt_model, shared_xcopa, tmp_path / "runs")
    refused(line, str(spoilt_model))


def encoder() -> BertForMaskedLM:
    size = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return BertForMaskedLM(BertConfig(vocab_size=420, **size))


def sequence_to_sequence() -> T5ForConditionalGeneration:
    size = dict(d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    return T5ForConditionalGeneration(T5Config(vocab_size=420, **size))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (encoder, ("bert", "BertForMaskedLM", "not a causal")),
        (sequence_to_sequence, ("t5", "sequence-to-sequence")),
    ],
)
def test_a_model_of_another_kind(make, said, refused, shared_xcopa, tmp_path):
    folder = tmp_path / "model"
    make().save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    line = command(folder, shared_xcopa, tmp_path / "runs")
    refused(line, str(folder), "a causal language model is needed", *said)


def test_a_model_is_not_saved_over_a_file(refused, model_folder, tmp_path):
    file = tmp_path / "mine"
    file.write_text("mine")
    refused(["models", model_folder("llama"), "--save", file, "--json"], str(file))
    refused(["models", model_folder("llama"), "--save", file / "below", "--json"], str(file))


# ---- runs ------------------------------------------------------------------------------------


def change_record(run: Path, *without: str, **values: object) -> None:
    """Change entries of run.json, or take them out."""
    content = json.loads((run / "run.json").read_text()) | values
    kept = {name: value for name, value in content.items() if name not in without}
    (run / "run.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_folder_that_is_no_finished_run(verb, refused, run, tmp_path):
    more = ["--json", *(word for pair in FIELDS for word in ("--field", pair))]
    more = more if verb == "predict" else ["--json"]
    refused([verb, tmp_path / "none", *more], "no such run folder", str(tmp_path / "none"))
    refused([verb, tmp_path, *more], str(tmp_path), "not a run folder", "run.json")
    change_record(run, finished=False)
    refused([verb, run, *more], str(run), "not finished", "training command again")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", ("damaged file", "expected JSON")),
        ("", ("damaged file", "expected JSON")),
        ("[]", ("list", "expected an object")),
        ("{}", ("found no", "finished", "method")),
    ],
)
def test_a_broken_run_json(text, said, refused, run, model_folder, shared_xcopa):
    (run / "run.json").write_text(text)
    refused(["evaluate", run, "--json"], str(run / "run.json"), *said)


@pytest.mark.parametrize(
    "name", ["seed", "source", "model", "data", "adapter", "share", "limit", "chat", "notes"]
)
def test_a_run_json_with_an_entry_missing(name, refused, run):
    change_record(run, name)
    refused(["evaluate", run, "--json"], str(run / "run.json"), f"found no {name}")


def test_training_over_a_broken_run_json(refused, run, model_folder, shared_xcopa):
    (run / "run.json").write_text("{")
    line = command(model_folder("llama"), shared_xcopa, run.parent)
    refused(line, str(run / "run.json"), "damaged file")


def test_a_broken_run_does_not_hide_the_others(run, capsys):
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "scores.json").write_text("{")
    for text in ("{", "{}", "[]", (run / "run.json").read_text()):
        (broken / "run.json").write_text(text)
        capsys.readouterr()
        assert main(["runs", str(run.parent), "--json"]) == 0
        out, error = capsys.readouterr()
        assert [row["name"] for row in json.loads(out)] == [run.name]
        assert str(broken) in error


def test_another_model_than_the_runs(refused, run, model_folder, tmp_path):
    other = tiny_loaded("llama")
    with torch.no_grad():
        other.model.get_input_embeddings().weight[0, 0] += 1
    other.model.save_pretrained(tmp_path / "weights")
    other.tokenizer.save_pretrained(tmp_path / "weights")
    for model in (model_folder("qwen2"), tmp_path / "weights"):
        line = ["evaluate", run, "--model", model, "--force", "--json"]
        refused(line, str(run), str(model), "another model")


def test_the_runs_model_is_gone(refused, run, tmp_path):
    missing = str(tmp_path / "gone")
    content = json.loads((run / "run.json").read_text())
    change_record(run, source=content["source"] | {"model": missing})
    refused(["evaluate", run, "--json"], missing)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "config"])
def test_a_damaged_adapter(damage, refused, run):
    path = run / "adapter" / "adapter_model.safetensors"
    whole = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(whole[:-8] + bytes(byte ^ 255 for byte in whole[-8:]))
    elif damage == "truncated":
        path.write_bytes(whole[:-40])
    elif damage == "missing":
        path.unlink()
    else:
        path = run / "adapter" / "adapter_config.json"
        path.write_text(path.read_text().replace("10", "11"))
    error = refused(["evaluate", run, "--force", "--json"], str(path), "--force")
    assert ("no such" if damage == "missing" else "damaged or was changed") in error


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"baselines": []}'])
def test_damaged_scores_are_made_anew(text, run, capsys):
    (inner,) = (run / "evaluations").glob("*/scores.json")
    for path in (inner, run / "scores.json"):
        path.write_text(text)
        capsys.readouterr()
        assert main(["evaluate", str(run), "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)
        assert scores == json.loads(path.read_text())
        assert scores["items"] == 10


def test_predictions_that_lost_their_end_are_made_anew(run, capsys):
    (path,) = (run / "evaluations").glob("*/predictions.jsonl")
    whole = runs.read_lines(path)
    for kept in ("", path.read_text()[:300]):
        path.write_text(kept)
        assert main(["evaluate", str(run), "--baseline", "--json"]) == 0
        assert [one["id"] for one in runs.read_lines(path)] == [one["id"] for one in whole]
        assert len(runs.read_lines(run / "predictions.jsonl")) == 10
        capsys.readouterr()


def test_a_damaged_log_stops_nobody(run, model_folder, shared_xcopa, capsys):
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-20] + b"\xff\xfe")
    assert main(command(model_folder("llama"), shared_xcopa, run.parent)) == 0
    assert json.loads(capsys.readouterr().out)["finished"] is True


@pytest.mark.parametrize("name", ["xcopa/tr/val.tr.jsonl", "xcopa/tr/test.tr.jsonl"])
def test_data_that_changed_since_training(name, refused, run, xcopa):
    changed_line(xcopa / name, 3, premise="Something else happened.")
    line = ["evaluate", run, "--data", xcopa, "--json"]
    refused(line, str(run), "data changed since training", Path(name).name, "train again")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--language", "turkish"], ("'turkish'", "did you mean 'tr'")),
        (["--language", "de"], ("'de' (German)",)),
        (["--language", "sw"], ("'sw'", "test.sw.jsonl")),
        (["--limit", "0"], ("limit is 0",)),
        (["--batch-size", "0"], ("batch size is 0",)),
        (["--max-new-tokens", "0"], ("max new tokens is 0",)),
        (["--data", "/none"], ("/none",)),
        (["--model", "/none"], ("/none",)),
    ],
)
def test_an_evaluation_that_cannot_be(line, said, refused, finished):
    refused(["evaluate", finished, *line, "--json"], *said, watch=finished)


# ---- new items -------------------------------------------------------------------------------

ITEM = dict(premise="It rained.", choice1="It dried.", choice2="It got wet.", question="effect")
HEADER = "premise,choice1,choice2,question\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", json.dumps(ITEM | {"choice2": None}), ("line 1", "'choice2'", "nothing")),
        ("a.jsonl", json.dumps(ITEM) + '\n{"premise": "It', ("line 2", "broken JSON")),
        ("a.jsonl", json.dumps(ITEM | {"question": "why"}), ("line 1", "'question'", "'why'")),
        ("a.jsonl", "", ("an empty file",)),
        ("a.csv", "premise,choice1,question\nIt rained,b,cause\n", ("line 2", "'choice2'")),
        ("a.csv", HEADER + "It rained,b,c,cause,more\n", ("line 2", "more cells", "4 columns")),
        ("a.csv", HEADER, ("no items",)),
        ("a.tsv", HEADER + "It rained,b,c,cause\n", ("line 2", "'choice1'")),
        ("a.xlsx", "x", ("'.xlsx'", ".jsonl, .csv or .tsv")),
        ("a", "x", ("a", ".jsonl, .csv or .tsv")),
    ],
)
def test_items_that_cannot_be_answered(name, text, said, refused, finished, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("mine")
    line = ["predict", finished, "--items", path, "--out", answers, "--json"]
    error = refused(line, *said)
    assert name in error or "no items" in said


def test_items_given_in_a_wrong_way(refused, finished, tmp_path):
    pairs = [word for pair in FIELDS for word in ("--field", pair)]
    path = write(tmp_path / "items.jsonl", [ITEM])
    advice = ("--items FILE", "--field NAME=TEXT")
    predict = ["predict", finished, "--json"]
    refused(predict, *advice)
    refused([*predict, "--items", path, *pairs], *advice)
    refused([*predict, "--items", tmp_path / "none.jsonl"], "none.jsonl", "no such file")
    refused([*predict, "--items", tmp_path], str(tmp_path))
    refused([*predict, *pairs[:-2]], "'question'", "nothing")
    refused([*predict, *pairs, "--field", "premise"], "'premise'", "NAME=TEXT")
    refused([*predict, *pairs, "--language", "turkish"], "did you mean 'tr'")


def test_a_new_item_that_is_too_long(refused, finished, tmp_path):
    long = ITEM | {"id": "mine", "premise": "It rained. " * 900}
    path = write(tmp_path / "items.jsonl", [ITEM, long])
    line = ["predict", finished, "--items", path, "--json"]
    error = refused(line, "item 'mine'", "tokens", "at most 2048", "--demonstrations none")
    assert "--too-long" not in error, "predict has no such option"


# ---- the disk and the keyboard ---------------------------------------------------------------


class FullDisk:
    """Files of one name cannot be written, from the given attempt on."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, attempt: int = 1) -> None:
        self.name, self.left, self.hits = name, attempt, 0
        self.opened: dict[int, Path] = {}
        self.open, self.fsync = Path.open, os.fsync
        patch.setattr(Path, "open", lambda *given, **named: self.opening(*given, **named))
        patch.setattr(runs.os, "fsync", self.syncing)

    def opening(self, path: Path, mode: str = "r", **named: str) -> IO[Any]:
        if "a" in mode:
            self.meet(path)
        stream = self.open(path, mode, **named)
        self.opened[stream.fileno()] = path
        return stream

    def syncing(self, number: int) -> None:
        self.meet(self.opened[number])
        self.fsync(number)

    def meet(self, path: Path) -> None:
        if path.name == self.name or path.name.startswith(f".{self.name}."):
            self.left -= 1
            if self.left <= 0:
                self.hits += 1
                raise NO_ROOM


@pytest.mark.parametrize(
    ("name", "attempt"),
    [("run.json", 1), ("run.json", 2), ("demonstrations.jsonl", 1), ("log.jsonl", 3)],
)
def test_a_disk_that_is_full_in_training(
    name, attempt, model_folder, shared_xcopa, finished, run, monkeypatch, capsys
):
    """log.jsonl is written when a stage begins, then an entry an update: 3 is the second one."""
    line = command(model_folder("llama"), shared_xcopa, run.parent, "--seed", 7)
    before = contents(run)
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, name, attempt)
        capsys.readouterr()
        assert main(line) == 2
        assert disk.hits >= 1
    out, error = capsys.readouterr()
    assert out == ""
    assert name in error
    assert "No space left" in error
    assert "Traceback" not in error
    assert contents(run) == before
    assert main(line) == 0
    made = Path(json.loads(capsys.readouterr().out)["run"])
    assert made.parent == run.parent
    assert len(runs.read_lines(made / "log.jsonl")) == 2
    assert not list(made.rglob(".*")), "nothing half-written is left"
    assert contents(run) == before


@pytest.mark.parametrize(("length", "most"), [(10, 1000), (10, 3000), (100, 9000)])
def test_a_disk_that_is_truly_full(length, most, model_folder, shared_xcopa, run, capsys):
    """No file may grow beyond a size, which the record, the optimiser or the adapter meets."""
    more = ("--seed", 8, "--prompt-length", length)
    line = command(model_folder("llama"), shared_xcopa, run.parent, *more)
    before = contents(run)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, old[1]))
        code = main(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    out, error = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert str(run.parent) in error
    assert "cannot write" in error
    assert "Traceback" not in error
    assert main(line) == 0
    assert contents(run) == before


@pytest.mark.parametrize("name", ["predictions.jsonl", "scores.json"])
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_disk_that_is_full_in_evaluation(name, attempt, run, monkeypatch, capsys):
    """Each file is written twice: below evaluations, then as the run's own."""
    line = ["evaluate", str(run), "--limit", "4", "--force", "--json"]
    shutil.rmtree(run / "evaluations")
    scores = json.loads((run / "scores.json").read_text())
    # As if of fewer items, so that the new scores may take their place.
    (run / "scores.json").write_text(json.dumps(scores | {"items": 3}))
    before = {path: path.read_bytes() for path in (run / "predictions.jsonl", run / "scores.json")}
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, name, attempt)
        capsys.readouterr()
        assert main(line) == 2
        assert disk.hits >= 1
    out, error = capsys.readouterr()
    assert out == ""
    assert name in error
    assert "No space left" in error
    assert {path: path.read_bytes() for path in before} == before
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "scores.json").read_text())
    assert len(runs.read_lines(run / "predictions.jsonl")) == 4


def test_a_disk_that_is_full_at_predictions_for_new_items(finished, tmp_path, monkeypatch, capsys):
    answers = tmp_path / "answers.jsonl"
    answers.write_text("earlier")
    pairs = [word for pair in FIELDS for word in ("--field", pair)]
    line = ["predict", str(finished), "--out", str(answers), "--json", *pairs]
    with monkeypatch.context() as patch:
        FullDisk(patch, "answers.jsonl")
        capsys.readouterr()
        assert main(line) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert str(answers) in error
    assert answers.read_text() == "earlier"
    assert main(line) == 0
    assert len(runs.read_lines(answers)) == 1


def test_force_keeps_the_old_run_until_it_can_begin(
    run, model_folder, shared_xcopa, monkeypatch, capsys
):
    line = command(model_folder("llama"), shared_xcopa, run.parent, "--force")
    before = contents(run)
    with monkeypatch.context() as patch:
        FullDisk(patch, "run.json")
        assert main(line) == 2
    assert contents(run) == before
    assert main(line) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert (run / adapter).read_bytes() == before[adapter], "the same seed, the same numbers"


def test_ctrl_c_and_going_on(run, model_folder, shared_xcopa, tmp_path, monkeypatch, capsys):
    more = ("--max-steps", 4, "--save-every", 1)
    line = command(model_folder("llama"), shared_xcopa, run.parent, *more)
    before = contents(run)
    real, calls = objective.answer_loss, []

    def interrupted(*given: object) -> torch.Tensor:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "answer_loss", interrupted)
        capsys.readouterr()
        assert main(line) == 130
    out, error = capsys.readouterr()
    assert out == ""
    assert "stopped" in error
    assert "same command" in error
    assert "Traceback" not in error
    assert contents(run) == before

    calls.clear()

    def counted(*given: object) -> torch.Tensor:
        calls.append(given)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "answer_loss", counted)
        assert main(line) == 0
    assert len(calls) == 2, "two updates were done before"
    made = Path(json.loads(capsys.readouterr().out)["run"])
    assert [entry["step"] for entry in runs.read_lines(made / "log.jsonl")] == [1, 2, 3, 4]

    straight = command(model_folder("llama"), shared_xcopa, tmp_path / "straight", *more)
    assert main(straight) == 0
    whole = Path(json.loads(capsys.readouterr().out)["run"])
    adapter = Path("adapter", "adapter_model.safetensors")
    assert (made / adapter).read_bytes() == (whole / adapter).read_bytes()
    losses = [
        [entry["loss"] for entry in runs.read_lines(one / "log.jsonl")] for one in (made, whole)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_not_gone_on_from(
    name, model_folder, shared_xcopa, finished, tmp_path, monkeypatch
):
    """A file cut short after the checkpoint was whole, as a crash of the machine may leave it."""
    line = command(model_folder("llama"), shared_xcopa, tmp_path / "runs", "--save-every", 1)
    real, calls = objective.answer_loss, []

    def interrupted(*given: object) -> torch.Tensor:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "answer_loss", interrupted)
        assert main(line) == 130
    (path,) = (tmp_path / "runs").glob(f"*/stage-0/checkpoint-1/{name}")
    path.write_bytes(path.read_bytes()[:50])
    assert main(line) == 0
    made = tmp_path / "runs" / finished.name
    assert [entry["step"] for entry in runs.read_lines(made / "log.jsonl")] == [1, 2]
    adapter = Path("adapter", "adapter_model.safetensors")
    assert (made / adapter).read_bytes() == (finished / adapter).read_bytes()


def test_some_items_too_long_and_skipped(model_folder, xcopa, tmp_path, capsys, refused):
    long = "The man opened the tap, and then he opened it again. " * 20
    changed_line(xcopa / "xcopa" / "tr" / "test.tr.jsonl", 3, premise=long)
    more = ["--max-length", 700, "--demonstrations", 1, "--demonstration-languages", "dominant"]
    line = command(model_folder("llama"), xcopa, tmp_path / "runs", *more)
    changed_line(xcopa / "xcopa" / "tr" / "val.tr.jsonl", 5, premise=long)
    refused(line, "item 'val-4' (tr)", "at most 700", "--too-long skip")
    capsys.readouterr()
    assert main([*line, "--too-long", "skip"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["skipped"] == 1
    (skipped,) = json.loads((Path(told["run"]) / "run.json").read_text())["skipped"]
    assert (skipped["id"], skipped["language"], skipped["longest"]) == ("val-4", "tr", 700)
    assert skipped["tokens"] > 700
    refused(["evaluate", told["run"], "--json"], "item 'test-2' (tr)", "--too-long skip")
    assert main(["evaluate", told["run"], "--too-long", "skip", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["items"] == 9
    assert [item["id"] for item in scores["skipped"]] == ["test-2"]
