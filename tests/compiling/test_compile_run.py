"""Compiled runs answer as the uncompiled, choose sets honestly, and cost what zero-shot does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isogloss
from compiled_runs import answers, model_with_begin_token, opened, set_of, trained
from isogloss.cli.main import main
from isogloss.compiling import measuring
from isogloss.compiling.choosing import sample_of
from isogloss.compiling.sources import candidate_sets
from isogloss.demonstrations import schedule
from isogloss.runs import Run, key_of
from isogloss.scoring import option_loss, values_of
from isogloss.tasks.splits import read_test
from number_task import VALIDATED, write_numbers


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return model_with_begin_token(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def run(tmp_path_factory, base) -> Run:
    """CL-ICP with three demonstrations, on a task with validation items."""
    return trained(tmp_path_factory.mktemp("run"), base, validated=True, demonstrations=3)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, run) -> isogloss.CompiledRun:
    return isogloss.compile_run(run, out=tmp_path_factory.mktemp("out") / "compiled")


def test_it_answers_as_the_run_does_with_these_demonstrations(run, compiled):
    items = opened(run).split.test
    wanted, entries = answers(run, set_of(run, compiled.content), items)
    found = isogloss.predict(
        compiled.run, [{"id": one.id, "text": one.fields["text"]} for one in items]
    )
    for one, other in zip(found, wanted, strict=True):
        assert (one.id, one.prediction) == (other.id, other.prediction)
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)
    scores = isogloss.evaluate(compiled.run, baseline=True)
    assert scores.value == sum(values_of(entries, "accuracy")) / len(items)
    assert [row["name"] for row in scores.rows()] == ["cl-icp-compiled", "zero-shot"]
    assert scores.content["added_tokens"] == 0
    measured = {row["name"]: row for row in compiled.systems}
    assert measured["compiled"]["value"] == measured["uncompiled"]["value"] == scores.value
    assert measured["zero-shot"]["value"] == scores.rows()[1]["value"]
    assert compiled.content["measured"]["agreement"] == 1.0


def test_more_demonstrations_may_follow_it(run, compiled):
    """Behind the prefix they are the fourth and fifth solved items."""
    scores = isogloss.evaluate(compiled.run, demonstrations=2)
    made, own = opened(run), opened(compiled.run)
    inside, items = set_of(run, compiled.content), made.split.test
    context = own.context(isogloss.EvaluateSettings("x", demonstrations=2))
    groups = schedule.test_groups(items, own.pool(context), context, seed=42)
    values = []
    for group in groups:
        _, entries = answers(run, (*inside, *group.demonstrations), group.targets)
        values += values_of(entries, "accuracy")
    assert scores.value == sum(values) / len(values)


def test_from_run_is_the_first_of_the_sets_that_evaluation_draws(tmp_path, run, compiled):
    made = opened(run)
    first = next(number for number in range(1000) if schedule.set_number(f"x{number}", 16) == 0)
    items = [*made.split.test, *made.split.validation]
    asked = [isogloss.Example(f"x{first}", "tr", {"text": "?"}, ("yes", "no")), *items]
    groups = schedule.test_groups(
        asked, made.pool(made.method.context), made.method.context, seed=42
    )
    (wanted,) = (g.demonstrations for g in groups if any(t.id == f"x{first}" for t in g.targets))
    assert set_of(run, compiled.content) == wanted
    assert compiled.content["demonstrations_how"] == "drawn as test set 0, 42/test/0"
    assert compiled.content["chosen_by"] == "not chosen: there is one set"
    other = isogloss.compile_run(run, out=tmp_path / "other", seed=43, items=1)
    assert other.content["seed"] == 43
    assert set_of(run, other.content) != wanted


@pytest.mark.parametrize("validated", [True, False])
def test_auto_takes_the_best_on_held_out_items(tmp_path, base, run, validated, monkeypatch):
    if not validated:
        run = trained(tmp_path, base)
    seen = []
    real = isogloss.compiling.choosing.answer
    monkeypatch.setattr(
        isogloss.compiling.choosing,
        "answer",
        lambda loaded, episodes, groups, *rest, **more: (
            seen.extend(item.id for group in groups for item in group.targets),
            real(loaded, episodes, groups, *rest, **more),
        )[1],
    )
    content = isogloss.compile_run(
        run, out=tmp_path / "compiled", demonstrations="auto", candidates=4, items=4
    ).content
    made = opened(run)
    assert not set(seen) & {item.id for item in made.split.test}, "never by test items"
    held = made.split.validation if validated else made.split.target
    assert (content["chosen_by"] == "validation items") is validated
    assert ("outside the set" in content["chosen_by"]) is not validated
    rows = content["candidates"]
    assert len({tuple(row["demonstrations"]) for row in rows}) == len(rows) == 4
    pool = {
        f"{item.language}/{item.id}": item for item in (*made.split.dominant, *made.split.target)
    }
    for row in rows:
        inside = [pool[name] for name in row["demonstrations"]]
        left = [item for item in held if item.id not in {one.id for one in inside}]
        asked = sample_of(left, 4, seed=42)
        assert len(asked) == row["items"] == min(4, len(left))
        _, entries = answers(run, inside, asked)
        assert row["value"] == pytest.approx(sum(values_of(entries, "accuracy")) / len(entries))
        losses = [option_loss(entry) for entry in entries]
        assert row["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    best = max(range(4), key=lambda n: (rows[n]["value"], -rows[n]["loss"], -n))
    assert content["chosen"] == best
    names = [f"{one['language']}/{one['id']}" for one in content["demonstrations"]]
    assert names == rows[best]["demonstrations"]


def test_no_set_holds_the_translation_of_a_held_out_item(tmp_path, base):
    task = write_numbers(tmp_path / "task", VALIDATED)
    lines = [
        json.dumps({"id": f"i{number}", "text": f"en number {number}", "label": "yes"}) + "\n"
        for number in (*range(50, 56), *range(100, 106))
    ]
    with (tmp_path / "task" / "en" / "train.jsonl").open("a") as stream:
        stream.writelines(lines)
    run = isogloss.train(
        task, model=base, target="tr", out=tmp_path, method="icl-dominant", demonstrations=4
    )
    settings = isogloss.CompileSettings(
        str(run.folder), out=tmp_path / "out", demonstrations="auto", candidates=20
    )
    sets = candidate_sets(opened(run), settings, 42)
    names = {item.id for each in sets for item in each.demonstrations}
    assert len(sets) == 20
    assert names == {f"i{number}" for number in range(12)}


def test_a_file_of_solved_items(tmp_path, run):
    lines = [
        {"id": "mine", "language": "en", "text": "en number 700", "label": "yes"},
        {"text": "tr number 701", "label": "no"},
    ]
    jsonl, table = tmp_path / "solved.jsonl", tmp_path / "solved.csv"
    jsonl.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table.write_text("language,text,label\nen,en number 700,yes\n,tr number 701,no\n")
    found = {}
    for path in (jsonl, table):
        out = tmp_path / path.suffix[1:]
        content = isogloss.compile_run(run, out=out, demonstrations=path, items=2).content
        assert [one["language"] for one in content["demonstrations"]] == ["en", "tr"]
        assert content["demonstrations"][0]["input"] == "Text: en number 700\nIs it even?"
        assert content["demonstrations_from"] == str(path)
        assert content["measured"]["agreement"] == 1.0
        found[path.suffix] = load_file(out / "prefix.safetensors")
    assert all(torch.equal(found[".csv"][name], one) for name, one in found[".jsonl"].items())
    solved = [
        isogloss.Example(
            "x", line.get("language", "tr"), {"text": line["text"]}, ("yes", "no"), (line["label"],)
        )
        for line in lines
    ]
    items = opened(run).split.test
    wanted, _ = answers(run, solved, items)
    got = isogloss.predict(tmp_path / "csv", [dict(one.fields) for one in items])
    for one, other in zip(got, wanted, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def test_an_item_costs_the_tokens_that_it_costs_zero_shot(run, compiled, monkeypatch):
    """Counted where the model computes; the begin token is in the prefix already."""
    counted = {}
    real = measuring.System.answer

    def counting(system, loaded, item):
        tokens = []
        hook = loaded.model.model.register_forward_pre_hook(
            lambda _, __, given: tokens.append(given["input_ids"].shape[1]), with_kwargs=True
        )
        try:
            return real(system, loaded, item)
        finally:
            hook.remove()
            counted.setdefault(system.name, []).append((item.id, sum(tokens)))

    monkeypatch.setattr(measuring.System, "answer", counting)
    out = compiled.folder.parent / "again"
    content = isogloss.compile_run(run, out=out, items=4).content
    n = content["positions"]
    limited = isogloss.evaluate(out, limit=4)
    assert {each["id"] for each in isogloss.open_run(out).predictions} == {
        name for name, _ in counted["compiled"]
    }
    assert limited.value == content["measured"]["systems"][0]["value"]
    turns = {name: each[2:] for name, each in counted.items()}  # after the warm-up
    assert [len(each) for each in turns.values()] == [4, 4, 4]
    for (a, own), (b, whole), (c, alone) in zip(*turns.values(), strict=True):
        assert a == b == c
        assert own == alone - 1 == whole - n
    rows = {row["name"]: row["front_tokens"] for row in content["measured"]["systems"]}
    assert rows == {"compiled": 0, "uncompiled": n, "zero-shot": 1}


def test_what_is_written_down(run, compiled):
    content = json.loads((compiled.folder / "compiled.json").read_text())
    assert content == compiled.content
    record, old = compiled.run.record, run.record
    assert content["run_key"] == old["key"] == record["compiled_from"]["key"] != record["key"]
    assert content["seed"] == 42
    assert content["model_fingerprint"] == old["model"]["fingerprint"]
    assert content["adapter"] == record["adapter"]
    assert set(record["adapter"]) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "prefix.safetensors",
    }
    assert content["demonstrations_digest"] == key_of({"demonstrations": content["demonstrations"]})
    assert record["method"]["tune"] == {
        "length": content["positions"],
        "demonstrations": 3,
        "name": "compiled",
    }
    assert record["method"]["context"]["count"] == 0
    assert {p.name for p in compiled.folder.iterdir()} >= {"run.json", "compiled.json"}
    assert not (compiled.folder / "adapter").exists()


def test_the_same_command_gives_the_same_prefix(tmp_path, run, compiled):
    again = isogloss.compile_run(run, out=tmp_path / "again", items=1)
    assert again.content["adapter"] == compiled.content["adapter"]
    assert again.run.record["key"] == compiled.run.record["key"]


def test_its_card_tells_of_the_prefix_and_its_code_runs(
    tmp_path, compiled, base, monkeypatch, capsys
):
    folder = Path(shutil.copytree(compiled.folder, tmp_path / "compiled"))
    assert main(["card", str(folder), "--base-model", str(base)]) == 0
    text = (folder / "README.md").read_text()
    assert "The prefix has 3 solved items in it; a question follows it alone." in text
    assert isogloss.open_run(folder).finished
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    ids = names["ids"].input_ids
    for _ in range(4):
        with torch.no_grad():
            best = names["model"](input_ids=ids).logits[0, -1].argmax()
        ids = torch.cat([ids, best.reshape(1, 1)], dim=1)
    assert torch.equal(names["written"][0][: ids.shape[1]], ids[0])


def test_the_command_says_what_was_done(tmp_path, run, capsys):
    line = ["compile", str(run.folder), "--out", str(tmp_path / "out"), "--items", "3"]
    assert main([*line, "--demonstrations", "auto", "--candidates", "2"]) == 0
    told = capsys.readouterr().out
    for words in (
        "judged by validation items",
        "agree on 100.0% of the items",
        "uncompiled",
        "zero-shot",
        f'PeftModel.from_pretrained(base, "{tmp_path / "out"}")',
        f"next: isogloss evaluate {tmp_path / 'out'}",
    ):
        assert words in told
    assert main([*line, "--force", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["folder"] == str(tmp_path / "out")
    assert content["chosen"] == 0


def test_items_are_sampled_by_the_seed_and_their_ids(run):
    items = read_test(opened(run).task, "tr", seed=42).examples
    kept = sample_of(items, 3, seed=1)
    assert len(kept) == 3
    assert sample_of(items[::-1], 3, seed=1)[::-1] == kept
    assert sample_of(items, 99, seed=1) == items
