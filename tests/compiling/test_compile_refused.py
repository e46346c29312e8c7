"""What cannot be compiled, and what is wrong with files and folders, is said in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

import isogloss
from compiled_runs import trained
from isogloss.cli.main import main
from isogloss.compiling import checking, compiling
from isogloss.runs import Run
from isogloss.tuning.compiled import Compiled

UNTRAINED = {"max_steps": None, "learning_rate": None, "share_demonstrations": None}


@pytest.fixture(scope="module")
def base(model_folder) -> Path:
    return model_folder("llama")


@pytest.fixture(scope="module")
def run(tmp_path_factory, base) -> Run:
    """In-context learning: nothing is trained, and there is a set to compile."""
    return trained(tmp_path_factory.mktemp("run"), base, method="icl-mixed", **UNTRAINED)


@pytest.fixture
def said(capsys, tmp_path) -> Callable[..., str]:
    """Compiles, and gives what was said where it was refused."""

    def compiling_of(run: Run | Path, *more: str, out: Path | None = None) -> str:
        folder = run.folder if isinstance(run, Run) else run
        line = ["compile", str(folder), "--out", str(out or tmp_path / "out"), "--items", "1"]
        assert main([*line, *more]) == 2
        return capsys.readouterr().err.split("isogloss: ", 1)[1]

    return compiling_of


def test_runs_that_no_prefix_can_stand_for(tmp_path, base, run, said):
    shifted = trained(tmp_path / "s", base, method="cl-icp-s", shift_layers=(1, 2))
    assert "shifts the target's hidden states (method 'cl-icp-s')" in said(shifted)
    alone = UNTRAINED | {"demonstrations": None}
    nothing = trained(tmp_path / "z", base, method="zero-shot", **alone)
    assert "has neither a soft prompt nor demonstrations" in said(nothing)
    assert "has no demonstrations to choose" in said(nothing, "--demonstrations", "auto")
    nearest = trained(tmp_path / "n", base, method="icl-retrieved", **UNTRAINED)
    assert "chooses each item's own demonstrations (bm25)" in said(nearest)
    done = isogloss.compile_run(nearest, out=tmp_path / "auto", demonstrations="auto", items=1)
    assert done.content["measured"]["agreement"] == 1.0
    assert "is compiled already; give the run that it was made from" in said(done.folder)
    low_rank = trained(tmp_path / "l", base, method="lora", **{"demonstrations": 2}, max_steps=1)
    record = low_rank.record
    record["model"]["quantization"] = "4bit"
    (low_rank.folder / "run.json").write_text(json.dumps(record))
    assert "low-rank updates beside a model held in 4bit" in said(low_rank)


def test_folders_that_are_not_for_a_compiled_run(tmp_path, run, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    assert "holds other files; give --out a new or empty folder" in said(run, out=tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert "is a file; give --out a folder" in said(run, out=tmp_path / "full" / "mine.txt")
    assert "is the run itself" in said(run, out=run.folder)
    made = isogloss.compile_run(run, out=tmp_path / "made", items=1)
    assert "holds a compiled run already; give another --out, or --force" in said(
        run, out=made.folder
    )
    (made.folder / "evaluations").mkdir()
    again = isogloss.compile_run(run, out=made.folder, items=1, seed=9, force=True)
    assert again.content["seed"] == 9
    assert not (made.folder / "evaluations").exists(), "scores of the earlier one are gone"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "solved.jsonl: found no such file"),
        ("", "solved.jsonl: found an empty file"),
        ('{"text": "x", "label"', "line 1: found broken JSON"),
        ('{"text": "x", "label": "perhaps"}', "line 1, field 'label': found 'perhaps'"),
        ('{"text": "x"}', "line 1, field 'label': found no answer; expected the right answer"),
        ('{"label": "yes"}', "line 1, field 'text': found no value for it"),
        (
            '{"text": "x", "label": "yes", "language": "qq"}',
            "line 1, field 'language': found 'qq'; expected one of en, tr",
        ),
        (
            '{"text": "x", "label": "yes"}\n{"id": "i103", "text": "y", "label": "no"}',
            "line 2: found an item of the test set ('i103')",
        ),
        (
            '{"id": "new", "text": "tr number 104", "label": "no"}',
            "line 1: found an item of the test set ('i104')",
        ),
        (
            '{"language": "en", "text": "en number 105", "label": "no"}',
            "line 1: found an item of the test set ('i105')",
        ),
    ],
)
def test_files_of_demonstrations(tmp_path, run, said, content, words):
    path = tmp_path / "solved.jsonl"
    if content is not None:
        path.write_text(content)
    assert words in said(run, "--demonstrations", str(path))
    assert not (tmp_path / "out").exists()


def test_all_problems_of_a_file_at_once(tmp_path, run, said):
    path = tmp_path / "solved.csv"
    path.write_text("text,label,language\na,yes,xx\nb,maybe,tr\nc,,tr\n")
    found = said(run, "--demonstrations", str(path))
    assert found.startswith("3 problems:")
    assert all(f"line {number}" in found for number in (2, 3, 4))


def test_a_line_without_id_is_not_taken_for_a_test_item_of_that_id(tmp_path, base, said):
    """Such an item has its line for an id, and test items may be called 1, 2, 3."""
    run = trained(tmp_path, base, method="icl-mixed", **UNTRAINED)
    for path in (tmp_path / "task").glob("*/test.jsonl"):
        path.write_text(path.read_text().replace('"i10', '"'))
    shutil.rmtree(tmp_path / "runs")
    run = isogloss.train(
        tmp_path / "task", model=base, target="tr", out=tmp_path / "runs", method="icl-mixed"
    )
    path = tmp_path / "solved.jsonl"
    path.write_text("".join(f'{{"text": "z {n}", "label": "no"}}\n' for n in range(3)))
    assert isogloss.compile_run(run, out=tmp_path / "out", demonstrations=path, items=1)
    path.write_text('{"id": "3", "text": "z", "label": "no"}\n')
    assert "found an item of the test set ('3')" in said(
        run, "--demonstrations", str(path), "--force"
    )


def test_too_long(tmp_path, base, said):
    run = trained(tmp_path, base, method="icl-mixed", **UNTRAINED, max_length=150)
    path = tmp_path / "solved.jsonl"
    short, long = "a cat", "a very long story " * 60
    rows = [
        {"id": text[:2] + str(len(text)), "text": text, "label": "no"} for text in (short, long)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = said(run, "--demonstrations", str(path))
    assert "and a sequence at most 150, so no item fits behind it" in found
    assert "the longest demonstration, 'a 1080' (tr), has" in found
    rows[1]["text"] = "so very long " * 10
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = said(run, "--demonstrations", str(path))
    assert "no item fits behind the soft prompt and the demonstrations: the shortest needs" in found
    assert "at most 150 fit" in found


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("--candidates", "0"), "candidates is 0; it must be 1 or more"),
        (("--items", "0"), "items is 0; it must be 1 or more"),
        (("--max-new-tokens", "0"), "max new tokens is 0"),
        (("--seed=-1",), "seed is -1; it must be 0 or more"),
    ],
)
def test_settings(run, said, setting, words):
    assert words in said(run, *setting)


def test_a_set_that_leaves_no_room_is_not_chosen(tmp_path, base, said):
    run = trained(tmp_path, base, method="icl-mixed", **UNTRAINED, max_length=40)
    found = said(run, "--demonstrations", "auto", "--candidates", "2")
    assert "no candidate leaves room for an item" in found


def test_a_stopped_compile_is_no_run_and_is_taken_up_again(tmp_path, run, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    out, line = tmp_path / "out", ["compile", str(run.folder), "--items", "1", "--out"]
    with monkeypatch.context() as patched:
        patched.setattr(compiling, "measure", stopped)
        assert main([*line, str(out)]) == 130
    assert main(["evaluate", str(out)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main([*line, str(out)]) == 0


def test_what_is_damaged_later_is_noticed(tmp_path, run, said, capsys):
    made = isogloss.compile_run(run, out=tmp_path / "made", items=1)
    with (made.folder / "prefix.safetensors").open("ab") as stream:
        stream.write(b"x")
    assert main(["evaluate", str(made.folder)]) == 2
    assert "prefix.safetensors: found a file that is damaged" in capsys.readouterr().err


def test_where_peft_fails_our_own_file_stays(tmp_path, run, monkeypatch, capsys):
    @contextmanager
    def failing(*_):
        raise RuntimeError("no room for it\nat all")
        yield

    monkeypatch.setattr(checking, "_peft", failing)
    out = tmp_path / "out"
    assert main(["compile", str(run.folder), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "not for PEFT: PEFT fails on it (no room for it); Isogloss reads" in told
    content = json.loads((out / "compiled.json").read_text())
    assert (content["peft"], content["peft_difference"]) == (False, None)
    assert list(content["adapter"]) == ["prefix.safetensors"]
    assert not (out / "adapter_config.json").exists()
    assert isogloss.evaluate(out).value == content["measured"]["systems"][0]["value"]
    assert main(["card", str(out)]) == 2
    assert "a compiled run whose prefix PEFT cannot hold" in capsys.readouterr().err


def test_where_peft_gives_other_logits_it_gets_no_adapter(tmp_path, run, monkeypatch):
    @contextmanager
    def unprefixed(model, folder):
        yield model

    monkeypatch.setattr(checking, "_peft", unprefixed)
    content = isogloss.compile_run(run, out=tmp_path / "out", items=1).content
    assert content["peft_why_not"].startswith("in PEFT its logits are up to ")


def test_a_model_that_answers_otherwise_is_refused(run, said, monkeypatch):
    real = Compiled.read

    def wrong(tune, model, ids):
        weights = real(tune, model, ids)
        weights["keys.1"].mul_(1.5)
        return weights

    monkeypatch.setattr(Compiled, "read", wrong)
    assert "answers otherwise behind a compiled prefix (logits are up to" in said(run)


def test_there_is_nothing_to_diagnose_in_it(tmp_path, run, capsys):
    made = isogloss.compile_run(run, out=tmp_path / "made", items=1)
    pairs = [f"the old man number {n}\tihtiyar adam numara {n}" for n in range(24)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["en\ttr", *pairs]) + "\n")
    line = ["diagnose", "--run", str(made.folder), "--parallel", str(tmp_path / "pairs.tsv")]
    assert main([*line, "--readers", "0"]) == 2
    assert "give the run that it was compiled from" in capsys.readouterr().err
