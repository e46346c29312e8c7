"""What `isogloss diagnose` refuses: with the file and line, before it writes anything."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import PreTrainedModel

import isogloss
from isogloss.alignment import contribution
from isogloss.cli.main import main
from isogloss.diagnosing import diagnosis
from isogloss.diagnosing.parallel_text import from_files
from isogloss.errors import DataError
from number_task import write_numbers
from refusing import refused

ENGLISH = [f"The old man number {n} went home." for n in range(24)]
TURKISH = [f"Adam {n} eve gitti." for n in range(24)]


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with a good table, a good task, and files that each have one fault."""
    lines = {
        "en.txt": ENGLISH,
        "short.txt": TURKISH[:20],
        "holes.txt": [*TURKISH[:6], "", *TURKISH[7:9], " ", *TURKISH[10:]],
        "good.tsv": table(ENGLISH, TURKISH),
        "few.tsv": table(ENGLISH[:19], TURKISH[:19]),
        "repeated.tsv": table(ENGLISH[:19] * 3, TURKISH[:19] * 3),
        "long.tsv": table(ENGLISH[:19] + ["so " * 3000] * 5, TURKISH),
        "same.tsv": table(ENGLISH, ENGLISH),
        "twice.tsv": ["en\ten\ttr", *(f"{one}\t{one}\t{one}" for one in ENGLISH)],
        "head.tsv": ["en\ttr"],
        "one.tsv": ["en", *ENGLISH],
    }
    for name, text in lines.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    (tmp_path / "empty.tsv").write_text("\n\n")
    latin = "\n".join(table(["One.", "Two."], ["Bir.", "ıki."]))
    (tmp_path / "latin.tsv").write_bytes(latin.encode("iso8859-9"))
    sizes = {"en": {"train": 24, "test": 4}, "tr": {"train": 24, "test": 4}}
    write_numbers(tmp_path / "task", sizes)
    return tmp_path


def table(own: list[str], other: list[str]) -> list[str]:
    return ["en\ttr", *map("\t".join, zip(own, other, strict=True))]


@pytest.fixture
def asked(files, model_folder):
    """The command line for these words; names of files in the folder stand for their paths."""

    def line(*words: object, model: object = None) -> list[object]:
        named = [files / str(word) if (files / str(word)).exists() else word for word in words]
        given = ["--model", model or model_folder("llama"), "--out", files / "out"]
        return ["diagnose", *given, *named]

    return line


# ---- parallel text -------------------------------------------------------------------------------

TEXTS = {
    "en.txt short.txt": ("short.txt: found 20 lines; expected 24, as many as", "en.txt has"),
    "en.txt holes.txt": (
        "isogloss: 2 problems:",
        "holes.txt, line 7: found an empty line; expected a sentence, as the other file has",
        "holes.txt, line 10: found an empty line",
    ),
    "holes.txt en.txt": ("holes.txt, line 7: found an empty line",),
    "en.txt en.txt": (
        "en.txt and en.txt: found the same text in both languages",
        "expected each sentence's translation",
    ),
    "same.tsv": ("same.tsv: found the same text in both languages",),
    "en.txt none.txt": ("none.txt: found no such file; expected a readable file",),
    "one.txt other.txt": (
        "isogloss: 2 problems:",
        "one.txt: found no such file",
        "other.txt: found no such file",
    ),
    "none.tsv": ("none.tsv: found no such file",),
    "task": ("task: found a folder; expected a file",),
    "empty.tsv": ("empty.tsv: found an empty file",),
    "latin.tsv": ("latin.tsv, line 3: found bytes that are not UTF-8", "expected UTF-8"),
    "one.tsv": ("one.tsv, line 1: found the columns en; expected one column 'tr'",),
    "twice.tsv": ("twice.tsv, line 1: found the columns en, en, tr; expected one column 'en'",),
    "head.tsv": ("head.tsv: found 0 sentence pairs; 20 are the least", "--parallel"),
    "few.tsv": ("few.tsv: found 19 sentence pairs; 20 are the least", "--parallel"),
    "repeated.tsv": ("repeated.tsv: found 19 sentence pairs; 20 are the least",),
    "en.txt en.txt en.txt": ("found 3 files",),
}


@pytest.mark.parametrize("text", TEXTS)
def test_parallel_text(text, asked, files, capsys):
    """Before the model is even looked for: there is none of this name."""
    line = asked("--target", "tr", "--parallel", *text.split(), model=files / "no-model")
    refused(capsys, files, line, *TEXTS[text])


def test_good_text_gets_as_far_as_the_model(asked, files, capsys):
    line = asked("--target", "tr", "--parallel", "good.tsv", model=files / "no-model")
    refused(capsys, files, line, "no such model folder", "no-model")


def test_sentences_that_do_not_fit_the_model(asked, files, capsys):
    line = asked("--target", "tr", "--parallel", "long.tsv")
    refused(
        capsys,
        files,
        line,
        "long.tsv: found 19 sentence pairs; 20 are the least",
        "Of 24 pairs the others do not fit the model's context of 2048 tokens",
    )


def test_a_sentence_that_is_its_own_translation_may_be(files):
    """A name or a number is the same in both languages; only a whole text is not."""
    path = files / "partly.tsv"
    path.write_text("\n".join(table(ENGLISH, [*TURKISH[:3], *ENGLISH[3:]])))
    assert len(from_files([path], "en", "tr").own) == 24


def test_a_line_of_bytes_that_are_no_text_is_named(files):
    path = files / "bom.tsv"
    path.write_bytes(b"\xef\xbb\xbfen\ttr\nOne.\tBir.\n\n\xff\n")
    with pytest.raises(DataError, match=r"bom\.tsv, line 4: found bytes that are not UTF-8"):
        from_files([path], "en", "tr")


# ---- languages, fields and numbers ---------------------------------------------------------------

SETTINGS = {
    "--target tr --source tr --parallel good.tsv": ("source and target are both 'tr'",),
    "--target en --task task": ("source and target are both 'en'",),
    "--target turkish --task task": ("has no 'turkish'; it has en, tr", "did you mean 'tr'"),
    "--target de --task task": ("has no 'de' (German); it has en, tr",),
    "--target de --parallel good.tsv": ("good.tsv, line 1", "expected one column 'de'"),
    "--target tr --task task --field txt": ("no field in numbers 'txt'; there is text", "'text'?"),
    "--target tr --task nothing": ("no task 'nothing'",),
    "--target tr --parallel good.tsv --pairs 19": ("pairs is 19; 20 are the least",),
    "--target tr --task task --items -1": ("items is -1; it must be 0 or more",),
    "--target tr --task task --readers -1": ("readers is -1; it must be 0 or more",),
    "--target tr --task task --demonstrations 1": ("attention compares 2 or more", "--readers 0"),
    "--target tr --task task --items 3": (
        "items is 3; it must be 4 or more",
        "0 leaves gradients out",
    ),
    "--target tr --task task --items 0 --demonstrations 99": (
        "99 demonstrations asked",
        "lower --demonstrations",
    ),
}


@pytest.mark.parametrize("words", SETTINGS)
def test_settings(words, asked, files, capsys):
    refused(capsys, files, asked(*words.split()), *SETTINGS[words])


def test_items_that_do_not_fit_the_model(asked, files, capsys):
    """Questions of more tokens than the model has; the parallel text is short."""
    for path in files.glob("task/*/train.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        long = [row | {"text": row["text"] + " so" * 3000} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in long))
    line = asked("--target", "tr", "--task", "task", "--parallel", "good.tsv")
    refused(
        capsys,
        files,
        [*line, "--readers", "0"],
        "gradients need 4 answered items of the dominant language that fit the model; found 0",
    )
    refused(
        capsys,
        files,
        [*line, "--items", 0],
        "no target fits the model's context with 3 demonstrations",
        "--readers 0",
    )


# ---- attention -----------------------------------------------------------------------------------


def refuse_eager(model: PreTrainedModel, name: str) -> None:
    if name == "eager":
        raise ValueError(f"{type(model).__name__} has no eager attention")
    model.config._attn_implementation = name


def test_a_model_without_eager_attention(asked, files, capsys, monkeypatch):
    """Refused before anything is measured, with the option that does without; which then does."""
    monkeypatch.setattr(PreTrainedModel, "set_attn_implementation", refuse_eager)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    line = asked("--target", "tr", "--task", "task", "--items", 4)
    with monkeypatch.context() as early:
        early.setattr(diagnosis, "closeness", never)
        refused(
            capsys,
            files,
            line,
            "attention can only be looked at with eager attention",
            "LlamaForCausalLM has no eager attention",
            "--readers 0",
        )
    assert main([str(word) for word in [*line, "--readers", 0]]) == 0
    assert json.loads((files / "out" / "diagnosis.json").read_text())["now"]["attention"] is None


def test_a_model_that_keeps_its_attention_back(asked, files, capsys, monkeypatch):
    own = contribution.late_attention

    def blind(model: PreTrainedModel, *given: object) -> object:
        decoder = model.get_decoder()
        forward = decoder.forward
        with monkeypatch.context() as inside:
            inside.setattr(
                decoder,
                "forward",
                lambda *a, **k: dataclasses.replace(forward(*a, **k), attentions=None),
            )
            return own(model, *given)

    monkeypatch.setattr(contribution, "late_attention", blind)
    line = asked("--target", "tr", "--task", "task", "--items", 0, "--readers", 2)
    refused(capsys, files, line, "its eager attention gives no weights", "--readers 0")


# ---- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def run(files, model_folder) -> Path:
    """A finished run of the good task."""
    made = isogloss.train(
        files / "task",
        model=model_folder("llama"),
        target="tr",
        method="cl-icp",
        max_steps=1,
        prompt_length=2,
        demonstrations=2,
        out=files / "runs",
    )
    return made.folder


def test_runs(run, files, capsys, model_folder):
    line = ["diagnose", "--run", run]
    refused(capsys, files, [*line, "--task", files / "task"], "a run has its task and languages")
    refused(capsys, files, [*line, "--target", "tr"], "a run has its task and languages")
    refused(capsys, files, [*line, "--field", "txt"], "no field in numbers 'txt'", "'text'?")
    refused(capsys, files, [*line, "--model", model_folder("qwen2")], "is another model")
    refused(capsys, files, ["diagnose", "--run", files / "no-run"], "no such run folder")
    refused(capsys, files, ["diagnose", "--run", files / "task"], "is not a run folder")


def test_an_unfinished_run(run, files, capsys):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": False}))
    refused(capsys, files, ["diagnose", "--run", run], f"{run} is not finished", "to go on")


def test_data_that_changed_since_training(run, files, capsys):
    path = files / "task" / "tr" / "train.jsonl"
    path.write_text(path.read_text().replace("number 3", "number three"))
    refused(capsys, files, ["diagnose", "--run", run], "the data changed since training")


def test_a_folder_that_cannot_be_written(asked, files, capsys):
    line = asked("--target", "tr", "--parallel", "good.tsv", "--out", files / "en.txt")
    refused(capsys, files, line, "cannot write", "en.txt")
