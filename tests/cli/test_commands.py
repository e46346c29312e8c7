"""Every command on tiny models: what it prints, what it writes, and that Python gives the same."""

from __future__ import annotations

import ast
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isogloss
from conftest import ARCHITECTURES, byte_level_tokenizer
from isogloss import evaluating, finished, placing, settings, training
from isogloss.cli import card, listings, report, tasks
from isogloss.cli.main import main
from isogloss.errors import ConfigError
from isogloss.methods.registry import METHODS
from isogloss.runs import read_lines
from isogloss.settings import EvaluateSettings, PredictSettings, TrainSettings
from xcopa_files import rows, write, write_xcopa

ITEM = dict(premise="It rained.", choice1="It dried.", choice2="It got wet.", question="effect")
FIELDS = [word for name, text in ITEM.items() for word in ("--field", f"{name}={text}")]
OPTIONS = ("choice1", "choice2")


@pytest.fixture(scope="module")
def xcopa(tmp_path_factory):
    return write_xcopa(tmp_path_factory.mktemp("xcopa"))


SHORT = dict(epochs=1, max_steps=2, batch_size=2, demonstrations=2, test_sets=2)


@pytest.fixture(scope="module")
def command(model_folder, xcopa):
    """Makes a training command for a folder of runs."""

    def make(out: Path, *more: object) -> list[str]:
        line = ["train", "xcopa", "--model", model_folder("llama"), "--target", "tr"]
        line += ["--data", xcopa, "--out", out]
        line += [
            word for name, value in SHORT.items() for word in (f"--{name.replace('_', '-')}", value)
        ]
        return [str(word) for word in (*line, *more)]

    return make


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """A run without scores, which no test may change."""
    out = tmp_path_factory.mktemp("runs")
    assert main(command(out)) == 0
    (folder,) = out.iterdir()
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run of a test's own."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


@pytest.fixture
def told(capsys):
    """Gives a command line and reads the one JSON value that it prints."""

    def tell(*line: object):
        capsys.readouterr()
        code = main([str(word) for word in (*line, "--json")])
        out, error = capsys.readouterr()
        assert code == 0, error
        assert out.endswith("\n")
        return json.loads(out)  # all of standard output: a second value would be an error

    return tell


@pytest.fixture
def said(capsys):
    """Gives a command line and reads what it prints for people, without line breaks."""

    def tell(*line: object) -> str:
        capsys.readouterr()
        code = main([str(word) for word in line])
        out, error = capsys.readouterr()
        assert code == 0, error
        return " ".join(out.split())

    return tell


def evaluation(run: Path, **setting: object) -> Path:
    """The one folder below evaluations whose scores were made with a setting."""
    found = []
    for path in (run / "evaluations").glob("*/scores.json"):
        recorded = json.loads(path.read_text())["setting"]
        if all(recorded[name] == value for name, value in setting.items()):
            found.append(path.parent)
    (folder,) = found
    return folder


def same_scores(first: list[dict], second: list[dict], tolerance: float = 1e-5) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        for option in OPTIONS:
            mine, theirs = one["log_probabilities"][option], other["log_probabilities"][option]
            assert mine == pytest.approx(theirs, rel=0, abs=tolerance)


# ---- help ------------------------------------------------------------------------------------

HELP = {
    ("train",): (settings, "TrainSettings"),
    ("evaluate",): (settings, "EvaluateSettings"),
    ("predict",): (settings, "PredictSettings"),
    ("report",): (report, "ReportSettings"),
    ("card",): (card, "CardCommand"),
    ("tasks", "list"): (tasks, "ListSettings"),
    ("tasks", "show"): (tasks, "ShowSettings"),
    ("tasks", "check"): (tasks, "CheckSettings"),
    ("languages",): (listings, "LanguagesSettings"),
    ("methods",): (listings, "MethodsSettings"),
    ("models",): (listings, "ModelsSettings"),
    ("runs",): (listings, "RunsSettings"),
}


def documented(module, name: str) -> tuple[str, dict[str, tuple[str, bool]]]:
    """A class's docstring, and each field's text and whether it is positional, from its source."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    fields = {}
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = str(after.value.value)
            positional = "Positional" in ast.unparse(node.annotation)
            fields[ast.unparse(node.target)] = (text, positional)
    return ast.get_docstring(found) or "", fields


def test_help_of_every_verb_says_what_every_setting_does(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    seen = 0
    for verb, (module, name) in HELP.items():
        summary, fields = documented(module, name)
        with pytest.raises(SystemExit) as stopped:
            main([*verb, "--help"])
        assert stopped.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert summary in text
        for field, (about, positional) in fields.items():
            seen += 1
            assert about, f"{name}.{field} has no help text"
            assert " ".join(about.split()) in text, f"{name}.{field}"
            assert positional or f"--{field.replace('_', '-')}" in text, f"{name}.{field}"
    assert seen > 70


def test_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for verb in {verb[0] for verb in HELP}:
        assert verb in text


# ---- lists -----------------------------------------------------------------------------------


def test_tasks(told, said):
    assert {row["name"] for row in told("tasks")} == {"xcopa", "xnli", "xquad"}
    assert told("tasks") == told("tasks", "list")
    assert "xquad" in said("tasks")
    assert said("tasks") == said("tasks", "list")


def test_show_a_task(told, said, xcopa):
    line = ["tasks", "show", "xcopa", "--target", "tr", "--data", xcopa]
    shown = told(*line)
    assert shown["name"] == "xcopa"
    assert sorted(shown["sizes"].values()) == [0, 8, 10, 20]
    assert len(shown["prompts"]) == 3
    first = shown["prompts"][0]
    assert first["id"] == "test-0"
    assert first["answer"] == " (A)"
    assert first["prompt"].count("Premise:") == 2, "a demonstration and the item itself"
    assert first["prompt"].endswith(
        "Adam 0 musluğu açtı.\nQuestion: What is the effect?\n"
        "(A) Su aktı.\n(B) Musluk 0 kırıldı ve düştü.\nAnswer:"
    )
    more = told(*line, "--demonstrations", 4, "--wording", "harness")["prompts"][0]
    assert more["prompt"].count("\n\n") == 4
    assert more["answer"] == " su aktı."
    text = said(*line)
    for words in ("xcopa: choice, accuracy", "tr test: 10", "prompt 3", "[ (A)]"):
        assert words in text


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
files: "{language}/{split}.jsonl"
"""


@pytest.fixture
def own_task(tmp_path):
    """A label task of one's own, with validation data."""
    for language in ("en", "tr"):
        for split, count in (("train", 8), ("validation", 4), ("test", 6)):
            entries = [
                {
                    "id": f"{split}-{number}",
                    "text": f"{language} {split} where is parcel {number}",
                    "topic": ("delivery", "refund")[number % 2],
                }
                for number in range(count)
            ]
            write(tmp_path / "own" / language / f"{split}.jsonl", entries)
    path = tmp_path / "own" / "task.yaml"
    path.write_text(OWN_TASK, encoding="utf-8")
    return path


def test_check_ones_own_task(told, said, own_task):
    checked = told("tasks", "check", own_task)
    assert checked["name"] == "topics"
    assert checked["problems"] == []
    sizes = {(row["language"], row["split"]): row["items"] for row in checked["sizes"]}
    assert sizes["tr", "train"] == 8
    assert sizes["en", "test"] == 6
    assert "no problems found" in said("tasks", "check", own_task)
    shown = told("tasks", "show", own_task, "--target", "tr")
    assert shown["prompts"][0]["prompt"].endswith("Customer: tr test where is parcel 0\nTopic:")


def test_every_problem_of_ones_own_task_at_once(own_task, capsys):
    path = own_task.parent / "tr" / "train.jsonl"
    path.write_text(path.read_text().replace('"refund"', '"money"'), encoding="utf-8")
    assert main(["tasks", "check", str(own_task), "--json"]) == 2
    out, error = capsys.readouterr()
    problems = json.loads(out)["problems"]
    assert len(problems) == 4
    assert [problem["line"] for problem in problems] == [2, 4, 6, 8]
    assert {problem["file"] for problem in problems} == {str(path)}
    assert "4 problems" in error
    assert error.count("'money'") == 4


def test_ones_own_task_from_training_to_prediction(told, own_task, model_folder, tmp_path):
    line = ["train", own_task, "--model", model_folder("llama"), "--target", "tr"]
    line += ["--out", tmp_path / "runs", "--demonstrations", 2, "--batch-size", 4, "--epochs", 2]
    run = told(*line)["run"]
    log = read_lines(Path(run) / "log.jsonl")
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [2, 4]
    scores = told("evaluate", run, "--baseline")
    assert (scores["task"], scores["metric"], scores["items"]) == ("topics", "accuracy", 6)
    (answer,) = told("predict", run, "--field", "text=where is it")["predictions"]
    assert answer["prediction"] in ("delivery", "refund")
    assert answer["prediction"] == answer["text"]


def test_languages(told, said):
    listed = told("languages")
    turkish = next(row for row in listed if row["code"] == "tr")
    assert turkish["name"] == "Turkish"
    assert set(turkish) == {"code", "name", "script", "dominance"}
    assert "Swahili" in said("languages")


def test_methods(told, said):
    listed = told("methods")
    assert isinstance(listed, list)
    assert {"name", "section", "summary"} <= set(listed[0])
    assert [row["name"] for row in listed] == list(METHODS)
    assert len(listed) >= 23
    text = said("methods")
    assert all(row["name"] in text and row["section"] in text for row in listed)


def test_models(told, said, model_folder, tmp_path):
    assert len(told("models")) == len(ARCHITECTURES)
    assert "llama" in said("models")
    folder = model_folder("llama")
    row = told("models", folder)
    wanted = dict(architecture="llama", layers=3, width=32, vocabulary=420, context=2048)
    assert row.items() >= wanted.items()
    assert row["name"] == str(folder)
    assert row["chat_template"] is True
    assert len(row["fingerprint"]) == 64
    assert "architecture: llama" in said("models", folder)
    saved = tmp_path / "saved"
    assert told("models", folder, "--save", saved)["saved"] == str(saved)
    again = told("models", saved)
    assert {name: again[name] for name in (*wanted, "parameters")} == {
        name: row[name] for name in (*wanted, "parameters")
    }


def test_runs(told, said, run, tmp_path):
    (row,) = told("runs", run.parent)
    assert row["name"] == run.name
    assert row["folder"] == str(run)
    assert row["finished"] is True
    assert row["value"] is None
    scores = told("evaluate", run)
    (row,) = told("runs", run.parent)
    assert (row["metric"], row["value"]) == ("accuracy", scores["value"])
    assert run.name in said("runs", run.parent)
    assert told("runs", tmp_path / "none") == []
    assert "no runs in" in said("runs", tmp_path / "none")


# ---- training --------------------------------------------------------------------------------


def test_train(told, command, tmp_path):
    made = told(*command(tmp_path / "runs"))
    run = Path(made["run"])
    assert run.parent == tmp_path / "runs"
    assert (made["finished"], made["steps"], made["skipped"]) == (True, 2, 0)
    assert math.isfinite(made["loss"])
    assert made["sizes"] == {"dominant": 20, "target": 8, "validation": 0, "test": 10}
    record = json.loads((run / "run.json").read_text())
    assert record["finished"] is True
    assert record["method"]["context"]["count"] == 2
    assert sorted(record["adapter"]) == ["adapter_config.json", "adapter_model.safetensors"]
    assert [entry["step"] for entry in read_lines(run / "log.jsonl")] == [1, 2]
    lines = read_lines(run / "demonstrations.jsonl")
    assert all(len(line["demonstrations"]) == 2 for line in lines)
    for line in lines:
        shown = {name.partition("/")[2] for name in line["demonstrations"]}
        assert not shown & {name.partition("/")[2] for name in line["targets"]}
    assert sorted(path.name for path in run.iterdir()) == [
        "adapter",
        "demonstrations.jsonl",
        "log.jsonl",
        "run.json",
    ]


def test_a_finished_run_is_not_trained_again(told, command, run, monkeypatch):
    before = (run / "run.json").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("nothing is loaded for a finished run")

    with monkeypatch.context() as patch:
        patch.setattr(placing, "load", never)
        again = told(*command(run.parent))
        assert again["run"] == str(run)
        assert told(*command(run.parent, "--device", "cpu", "--save-every", 1))["run"] == str(run)
    assert (run / "run.json").read_bytes() == before


def test_force_trains_again_from_the_start(told, command, run, monkeypatch):
    adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    told("evaluate", run)
    real, learnt = training.learn, []
    monkeypatch.setattr(training, "learn", lambda learning: (learnt.append(1), real(learning)))
    again = told(*command(run.parent, "--force"))
    assert learnt == [1]
    assert again["run"] == str(run)
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == adapter
    assert not (run / "scores.json").exists(), "scores of the old adapter are gone"


@pytest.mark.parametrize(
    "more",
    [
        ("--seed", 1),
        ("--share", 0.5),
        ("--demonstrations", 1),
        ("--demonstration-languages", "target"),
        ("--prompt-length", 3),
        ("--wording", "harness"),
        ("--raw-questions",),
        ("--chat",),
        ("--test-sets", "per-item"),
        ("--demonstration-loss", "off"),
        ("--limit", 6),
        ("--max-length", 900),
        ("--patience", 2),
    ],
)
def test_another_setting_is_another_run(more, command, trained, told, monkeypatch, tmp_path):
    """Only the folder's name is wanted here, so nothing is trained."""
    found = []

    def stop(job: training.Job, *_: object) -> None:
        found.append(job.run.name)
        raise ConfigError("enough")

    monkeypatch.setattr(training, "_carry_out", stop)
    assert main(command(tmp_path, *more)) == 2
    assert main(command(tmp_path)) == 2
    assert found[0] != found[1] == trained.name


def test_train_tells_people_what_to_do_next(said, command, run):
    text = said(*command(run.parent))
    assert f"isogloss evaluate {run}" in text
    assert "target 8" in text


def test_gradient_checkpointing_changes_no_number_beyond_float_error(told, command, run, tmp_path):
    slow = Path(told(*command(tmp_path / "a", "--gradient-checkpointing"))["run"])
    found, wanted = (
        load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (slow, run)
    )
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)


FULL = ("--method", "mtl", "--epochs", 1, "--max-steps", 2, "--learning-rate", 1e-3)


def test_all_parameters_from_training_to_prediction(told, said, xcopa, model_folder, tmp_path):
    line = ["train", "xcopa", "--model", model_folder("llama"), "--target", "tr", "--data", xcopa]
    line += ["--out", tmp_path, *FULL]
    made = told(*line)
    run = Path(made["run"])
    assert run.name.startswith("xcopa-tr-mtl-")
    assert (made["finished"], made["steps"]) == (True, 2)
    assert told(*line)["run"] == str(run), "a finished run is given back"
    record = json.loads((run / "run.json").read_text())
    assert record["method"]["tune"] == {"name": "full"}
    first = told("evaluate", run)
    lines = read_lines(run / "predictions.jsonl")
    again = told("evaluate", run, "--force", "--batch-size", 3)
    assert again["value"] == first["value"]
    same_scores(read_lines(run / "predictions.jsonl"), lines)
    (zero,) = told("evaluate", run, "--baseline")["baselines"]
    assert zero["name"] == "zero-shot", "without demonstrations there is no other baseline"
    (folder,) = (run / "evaluations").iterdir()
    assert (
        read_lines(folder / "zero-shot.jsonl")[0]["log_probabilities"]
        != (lines[0]["log_probabilities"])
    )
    (row,) = told("runs", tmp_path)
    assert (row["method"], row["value"]) == ("mtl", first["value"])
    (answer,) = told("predict", run, *FIELDS)["predictions"]
    assert answer["prediction"] in OPTIONS
    text = said(*line)
    assert "isogloss evaluate" in text
    assert "rounded away" not in text
    assert "in bfloat16 an update" in said(*line, "--dtype", "bfloat16")


def test_the_tuned_model_answers_as_a_model_of_its_own(told, xcopa, model_folder, tmp_path):
    """The run's answers are those of its adapter folder taken as an untuned model."""
    start = ["train", "xcopa", "--target", "tr", "--data", xcopa, "--out", tmp_path, *FULL]
    run = Path(told(*start, "--model", model_folder("gemma3"))["run"])
    told("evaluate", run)
    other = Path(told(*start, "--model", run / "adapter")["run"])
    told("evaluate", other, "--baseline")
    (folder,) = (other / "evaluations").iterdir()
    same_scores(read_lines(folder / "zero-shot.jsonl"), read_lines(run / "predictions.jsonl"))


def test_a_changed_weight_file_is_refused(told, xcopa, model_folder, tmp_path, capsys):
    start = ["train", "xcopa", "--target", "tr", "--data", xcopa, "--out", tmp_path, *FULL]
    run = Path(told(*start, "--model", model_folder("llama"))["run"])
    path = run / "adapter" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["evaluate", str(run)]) == 2
    assert f"{path}: found a file that is damaged or was changed" in capsys.readouterr().err


# ---- evaluation ------------------------------------------------------------------------------


def test_evaluate(told, run):
    scores = told("evaluate", run)
    assert scores == json.loads((run / "scores.json").read_text())
    assert (scores["task"], scores["language"], scores["metric"]) == ("xcopa", "tr", "accuracy")
    assert scores["items"] == 10
    assert 0 <= scores["low"] <= scores["value"] <= scores["high"] <= 1
    lines = read_lines(run / "predictions.jsonl")
    assert [line["id"] for line in lines] == [f"test-{number}" for number in range(10)]
    for number, line in enumerate(lines):
        assert line["language"] == "tr"
        assert line["answer"] == OPTIONS[number // 2 % 2]
        assert set(line["log_probabilities"]) == set(OPTIONS)
        best = max(OPTIONS, key=line["log_probabilities"].__getitem__)
        assert line["prediction"] == best
        assert line["text"] == {"choice1": "(A)", "choice2": "(B)"}[best]
        assert line["correct"] is (best == line["answer"])
    assert scores["value"] == pytest.approx(sum(line["correct"] for line in lines) / 10)


def test_evaluating_twice_scores_once(told, run, monkeypatch):
    first = told("evaluate", run)

    def never(*_: object) -> None:
        raise AssertionError("nothing is scored twice")

    with monkeypatch.context() as patch:
        patch.setattr(finished, "load", never)
        assert told("evaluate", run) == first
    real, scored = evaluating.answer, []
    monkeypatch.setattr(
        evaluating, "answer", lambda *given, **named: (scored.append(1), real(*given, **named))[1]
    )
    again = told("evaluate", run, "--force")
    assert scored == [1]
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


def test_baselines(told, said, run, monkeypatch):
    plain = told("evaluate", run)
    real, titles = evaluating.answer, []

    def noted(*given: object, title: str, **named: object):
        titles.append(title)
        return real(*given, title=title, **named)

    monkeypatch.setattr(evaluating, "answer", noted)
    scores = told("evaluate", run, "--baseline")
    assert titles == ["zero-shot", "icl"], "the run's own scores are there already"
    assert [row["name"] for row in scores["baselines"]] == ["zero-shot", "icl"]
    for row in scores["baselines"]:
        assert row["items"] == 10
        assert 0 < row["p"] <= 1
        assert "McNemar" in row["test"]
        assert row["difference"] == pytest.approx(scores["value"] - row["value"])
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert {name: scores[name] for name in ("value", "low", "high")} == {
        name: plain[name] for name in ("value", "low", "high")
    }
    assert scores == json.loads((run / "scores.json").read_text())
    assert told("evaluate", run) == scores, "a later plain evaluation keeps them"
    assert len(titles) == 2
    text = said("evaluate", run, "--baseline")
    for words in ("cl-icp", "zero-shot", "icl", str(run)):
        assert words in text


def test_another_language(told, run):
    main_scores = told("evaluate", run)
    english = told("evaluate", run, "--language", "en")
    assert (english["language"], english["target"], english["items"]) == ("en", "tr", 10)
    folder = evaluation(run, language="en")
    assert english == json.loads((folder / "scores.json").read_text())
    assert {line["language"] for line in read_lines(folder / "predictions.jsonl")} == {"en"}
    assert json.loads((run / "scores.json").read_text()) == main_scores


@pytest.fixture(scope="module")
def harness(command, tmp_path_factory):
    """A run whose options are sentences, so that their lengths differ."""
    out = tmp_path_factory.mktemp("harness")
    assert main(command(out, "--wording", "harness")) == 0
    (folder,) = out.iterdir()
    return folder


def test_normalisations(told, harness, tmp_path):
    run = Path(shutil.copytree(harness, tmp_path / "run"))
    whole = told("evaluate", run)
    lines = {"sum": read_lines(run / "predictions.jsonl")}
    for name in ("token", "byte"):
        other = told("evaluate", run, "--normalisation", name)
        folder = evaluation(run, normalisation=name)
        assert other == json.loads((folder / "scores.json").read_text())
        lines[name] = read_lines(folder / "predictions.jsonl")
    assert json.loads((run / "scores.json").read_text()) == whole, "the main scores stay"
    assert read_lines(run / "predictions.jsonl") == lines["sum"]
    tokenizer = byte_level_tokenizer()
    for number, line in enumerate(lines["sum"]):
        texts = (
            f" su aktı{', çok aktı' * (number % 3)}.",
            f" musluk {number} kırıldı ve düştü.",
        )
        for option, text in zip(OPTIONS, texts, strict=True):
            value = line["log_probabilities"][option]
            per_byte = lines["byte"][number]["log_probabilities"][option]
            per_token = lines["token"][number]["log_probabilities"][option]
            tokens = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            assert per_byte == pytest.approx(value / len(text.encode()))
            assert per_token == pytest.approx(value / tokens)
    assert len(" su aktı.".encode()) == 10, "ı has two bytes"


def test_letters_are_normalised_by_their_length(told, run):
    told("evaluate", run)
    told("evaluate", run, "--normalisation", "byte")
    other = read_lines(evaluation(run, normalisation="byte") / "predictions.jsonl")
    for line, changed in zip(read_lines(run / "predictions.jsonl"), other, strict=True):
        for option in OPTIONS:  # " (A)" and " (B)": four bytes
            value = line["log_probabilities"][option]
            assert changed["log_probabilities"][option] == pytest.approx(value / 4)


def test_the_main_scores_come_last_and_win(told, run):
    """Until the main evaluation is made, another stands in; then it never does again."""
    standing_in = told("evaluate", run, "--demonstrations", "none")
    assert json.loads((run / "scores.json").read_text()) == standing_in
    whole = told("evaluate", run)
    assert json.loads((run / "scores.json").read_text()) == whole
    told("evaluate", run, "--limit", 3)
    told("evaluate", run, "--demonstrations", "none", "--force")
    assert json.loads((run / "scores.json").read_text()) == whole
    assert len(read_lines(run / "predictions.jsonl")) == 10


def test_without_demonstrations(told, run):
    told("evaluate", run)
    none = told("evaluate", run, "--demonstrations", "none")
    assert none["setting"]["demonstrations"] == "none"
    lines = read_lines(evaluation(run, demonstrations="none") / "predictions.jsonl")
    with_them = read_lines(run / "predictions.jsonl")
    assert any(
        abs(one["log_probabilities"]["choice1"] - other["log_probabilities"]["choice1"]) > 1e-3
        for one, other in zip(lines, with_them, strict=True)
    )


@pytest.mark.parametrize("demonstrations", ["from-run", "none"])
def test_scores_do_not_depend_on_the_batch_size(demonstrations, told, run):
    found = []
    for size in (1, 4, 8):
        line = ["evaluate", run, "--demonstrations", demonstrations, "--batch-size", size]
        told(*line, "--force")
        folder = evaluation(run, demonstrations=demonstrations)
        found.append(read_lines(folder / "predictions.jsonl"))
    same_scores(found[0], found[1])
    same_scores(found[0], found[2])


def test_evaluate_elsewhere(told, run, xcopa, model_folder, tmp_path):
    """Data and model may move; only their content counts."""
    here = told("evaluate", run)
    data = shutil.copytree(xcopa, tmp_path / "data")
    model = shutil.copytree(model_folder("llama"), tmp_path / "model")
    there = told("evaluate", run, "--data", data, "--model", model, "--force")
    assert there["value"] == here["value"]


# ---- prediction ------------------------------------------------------------------------------


def test_predict_fields_and_files_give_the_same(told, said, run, tmp_path):
    by_field = told("predict", run, *FIELDS)
    assert by_field["run"] == str(run)
    (one,) = by_field["predictions"]
    assert one["prediction"] in OPTIONS
    assert one["language"] == "tr"
    lines = write(tmp_path / "items.jsonl", [ITEM])
    comma, tab = tmp_path / "items.csv", tmp_path / "items.tsv"
    comma.write_text(",".join(ITEM) + "\n" + ",".join(ITEM.values()) + "\n")
    tab.write_text("\t".join(ITEM) + "\n" + "\t".join(ITEM.values()) + "\n")
    for path in (lines, comma, tab):
        (other,) = told("predict", run, "--items", path)["predictions"]
        assert other["log_probabilities"] == one["log_probabilities"]
    text = said("predict", run, *FIELDS)
    assert one["text"] in text


def test_predict_agrees_with_evaluate(told, run, tmp_path):
    """Without demonstrations the test items are the same question asked twice."""
    told("evaluate", run, "--demonstrations", "none")
    items = [{name: value for name, value in row.items() if name != "label"} for row in rows(10)]
    path = write(tmp_path / "items.jsonl", items)
    line = ["predict", run, "--items", path, "--demonstrations", "none"]
    answers = told(*line)["predictions"]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(10)]
    same_scores(answers, read_lines(run / "predictions.jsonl"))
    same_scores(answers, told(*line, "--batch-size", 1)["predictions"])


def test_predict_to_a_file(told, said, run, tmp_path):
    path = write(tmp_path / "items.jsonl", [ITEM, ITEM | {"id": "mine", "premise": "It snowed."}])
    answers = tmp_path / "below" / "answers.jsonl"
    printed = told("predict", run, "--items", path, "--out", answers)
    assert read_lines(answers) == printed["predictions"]
    assert [answer["id"] for answer in printed["predictions"]] == ["1", "mine"]
    assert f"2 predictions written: {answers}" in said(
        "predict", run, "--items", path, "--out", answers
    )


def test_predict_in_another_language_and_normalisation(told, run):
    (one,) = told("predict", run, *FIELDS)["predictions"]
    (english,) = told("predict", run, *FIELDS, "--language", "en")["predictions"]
    assert english["language"] == "en"
    (per_byte,) = told("predict", run, *FIELDS, "--normalisation", "byte")["predictions"]
    for option in OPTIONS:
        value = one["log_probabilities"][option]
        assert per_byte["log_probabilities"][option] == pytest.approx(value / 4)


# ---- from Python -----------------------------------------------------------------------------


def test_python_gives_the_same(told, run, xcopa, model_folder, tmp_path, capsys):
    made = isogloss.train(
        "xcopa",
        model=model_folder("llama"),
        target="tr",
        data=str(xcopa),
        out=str(tmp_path / "python"),
        **SHORT,
    )
    assert made.finished
    assert made.name == run.name
    adapter = Path("adapter", "adapter_model.safetensors")
    assert (made.folder / adapter).read_bytes() == (run / adapter).read_bytes()
    scores = isogloss.evaluate(made, baseline=True)
    theirs = told("evaluate", run, "--baseline")
    for name in ("value", "low", "high", "items", "baselines", "metrics", "setting"):
        assert scores.content[name] == theirs[name]
    assert scores.value == theirs["value"]
    assert made.predictions == read_lines(run / "predictions.jsonl")
    answers = isogloss.predict(made, [ITEM, ITEM])
    (printed,) = told("predict", run, *FIELDS)["predictions"]
    assert answers[0].prediction == printed["prediction"]
    assert isogloss.predict(str(run), [ITEM])[0].log_probabilities == printed["log_probabilities"]
    capsys.readouterr()
    isogloss.evaluate(run, force=True)
    assert capsys.readouterr().out == "", "the library prints nothing on standard output"
    assert isogloss.open_run(run).name == run.name
    assert [one.name for one in isogloss.list_runs(run.parent)] == [run.name]


def test_paths_may_be_text_or_paths(run, xcopa, model_folder, tmp_path):
    model = model_folder("llama")
    options = dict(SHORT, data=xcopa, out=run.parent)
    assert isogloss.train("xcopa", model=str(model), target="tr", **options).folder == run
    content = isogloss.evaluate(run, model=model, data=xcopa).content
    assert content["items"] == 10
    for answers in (str(tmp_path / "a.jsonl"), tmp_path / "b.jsonl"):
        isogloss.predict(run, [ITEM], out=answers, model=model, data=xcopa)
        assert len(read_lines(Path(answers))) == 1


def test_an_unknown_option_suggests_a_near_one(run, tmp_path):
    with pytest.raises(ConfigError, match="'epoch'.*did you mean 'epochs'"):
        isogloss.train("xcopa", model="none", target="tr", epoch=3)
    with pytest.raises(ConfigError, match="'normalization'.*did you mean 'normalisation'"):
        isogloss.evaluate(run, normalization="byte")
    with pytest.raises(ConfigError, match="'batchsize'.*did you mean 'batch_size'"):
        isogloss.predict(run, [ITEM], batchsize=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"normalisation": "bytes"}, "byte"),
        ({"demonstrations": "all"}, "from-run"),
        ({"too_long": "drop"}, "skip"),
    ],
)
def test_a_wrong_value_in_python(options, said, run):
    """What the command line's parser refuses, Python refuses too."""
    with pytest.raises(ConfigError, match=said):
        isogloss.evaluate(run, **options)


def test_frames_and_notebooks(run):
    pandas = pytest.importorskip("pandas")
    scores = isogloss.evaluate(run, baseline=True)
    frame = scores.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["name"]) == ["cl-icp", "zero-shot", "icl"]
    assert frame["value"][0] == scores.value
    shown = scores._repr_html_()
    assert shown.startswith("<table>")
    assert "zero-shot" in shown
    opened = isogloss.open_run(run)
    assert len(opened.to_frame()) == 10
    assert set(opened.to_frame().columns) >= {"id", "prediction", "answer", "correct"}
    assert f"{scores.value}" in opened._repr_html_()


def test_settings_are_all_named_once():
    """The API takes the command line's names: every class of settings has the common ones."""
    for kind in (TrainSettings, EvaluateSettings, PredictSettings):
        names = set(kind.__dataclass_fields__)
        assert {"device", "dtype", "data", "model", "batch_size", "json"} <= names
