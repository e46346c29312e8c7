"""Selection: candidates, folds, what is never looked at, and what a run says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isogloss
from helpers import items
from isogloss import selecting, training
from isogloss.candidates import candidates
from isogloss.cli.main import main
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import ConfigError, RunError
from isogloss.selecting import folds, trials_of
from isogloss.settings import TrainSettings
from isogloss.tasks.own_data import OwnTask
from number_task import SIZES, VALIDATED, write_numbers


def asked(*choose: str, **options) -> TrainSettings:
    return TrainSettings("task", "model", "tr", choose=choose, **options)


# ---- candidates ------------------------------------------------------------------------------


def test_candidates_are_every_combination():
    assert candidates(asked()) == ({},)
    made = candidates(asked("learning-rate=1e-3,5e-3", "epochs=3,8"))
    assert [tuple(one.values()) for one in made] == [
        (0.001, 3),
        (0.001, 8),
        (0.005, 3),
        (0.005, 8),
    ]
    assert list(made[0]) == ["learning_rate", "epochs"]
    (one, other) = candidates(asked("--test-sets=per-item, 4"))
    assert (one, other) == ({"test_sets": "per-item"}, {"test_sets": 4})
    (one, other) = candidates(asked("demonstration_languages=mixed,target"))
    assert other == {"demonstration_languages": "target"}


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (("epochs",), "expected OPTION=VALUE"),
        (("epoch=3,8",), "no setting 'epoch'; did you mean 'epochs'"),
        (("epochs=3",), "one value of epochs; give two or more.*--epochs 3"),
        (("epochs=3,3",), "a value of epochs twice"),
        (("epochs=3,4", "epochs=5,6"), "epochs twice"),
        (("epochs=3,many",), "'many' for epochs; it must be a whole number"),
        (("learning-rate=1e-3,nan",), "'nan' for learning rate; it must be a number"),
        (("demonstration-loss=all,some",), "'some' for demonstration loss; it must be all or"),
        (("chat=True,False",), "chat cannot be chosen"),
        (("model=a,b",), "model cannot be chosen"),
    ],
)
def test_candidates_that_cannot_be(choose, said):
    with pytest.raises(ConfigError, match=said):
        candidates(asked(*choose))


def test_an_option_is_given_or_chosen():
    with pytest.raises(ConfigError, match="epochs is both given and among"):
        candidates(asked("epochs=3,8", epochs=2))


# ---- folds -----------------------------------------------------------------------------------


def test_folds_part_the_ids_by_the_seed():
    made = items(13, "tr")
    parts = folds(made, 5, seed=1)
    assert sorted(len(part) for part in parts) == [2, 2, 3, 3, 3]
    assert sorted(name for part in parts for name in part) == sorted(item.id for item in made)
    assert folds(made[::-1], 5, seed=1) == parts, "by the seed's order, not the file's"
    assert folds(made, 5, seed=2) != parts
    assert folds((*made, *items(13, "en")), 5, seed=1) == parts, "items of one id are together"


def test_more_folds_than_items():
    with pytest.raises(ConfigError, match="5 folds asked of 4 training items; lower --folds"):
        folds(items(4, "tr"), 5, seed=1)
    with pytest.raises(ConfigError, match="cannot be chosen on 1 training item"):
        folds(items(1, "tr"), 2, seed=1)
    with pytest.raises(ConfigError, match="folds is 1"):
        asked(folds=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("validated"), VALIDATED)


def job(task: Path, model: Path, **options) -> training.Job:
    return training.prepare(TrainSettings(str(task), str(model), "tr", **options))


def ids(examples) -> set[str]:
    return {item.id for item in examples}


def test_a_fold_is_held_out_with_its_translations(plain, model_folder):
    whole = job(plain, model_folder("llama"), method="mtl", folds=4)
    trials = trials_of(whole)
    assert len(trials) == 4
    assert sorted(name for one in trials for name in ids(one.held_out)) == sorted(
        ids(whole.split.target)
    )
    for one in trials:
        assert {item.language for item in one.held_out} == {"tr"}
        assert len(one.held_out) == 2
        assert not ids(one.held_out) & (ids(one.split.target) | ids(one.split.dominant))
        assert (len(one.split.target), len(one.split.dominant)) == (6, 10)
        assert one.split.test == one.split.validation == ()


def test_direct_transfer_is_judged_in_the_dominant_language(plain, model_folder):
    trials = trials_of(job(plain, model_folder("llama"), method="direct-transfer", folds=3))
    assert [len(one.held_out) for one in trials] == [4, 4, 4]
    assert {item.language for one in trials for item in one.held_out} == {"en"}


def test_validation_items_come_before_folds(validated, model_folder):
    (one,) = trials_of(job(validated, model_folder("llama")))
    assert [item.id for item in one.held_out] == [f"i{number}" for number in range(50, 56)]
    assert (len(one.split.target), len(one.split.dominant), one.split.test) == (8, 12, ())


# ---- the choice ------------------------------------------------------------------------------

RATES = {"learning_rate": [1e-9, 0.05]}
COMMON = dict(target="tr", demonstrations=2, share_demonstrations=2, epochs=2, patience=9)


@pytest.fixture(scope="module")
def chosen(plain, model_folder, tmp_path_factory) -> isogloss.Run:
    out = tmp_path_factory.mktemp("chosen")
    model = model_folder("llama")
    return isogloss.train(plain, model=model, out=out, choose=RATES, folds=2, **COMMON)


def weights(run: isogloss.Run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def test_the_least_loss_wins_and_is_trained_on_all(chosen, plain, model_folder, tmp_path):
    record = chosen.record
    assert record["chosen"] == "by 2-fold cross-validation on D_t among 2 candidates"
    selection = record["selection"]
    assert (selection["by"], selection["language"], selection["folds"]) == (
        "cross-validation",
        "tr",
        2,
    )
    rows = selection["candidates"]
    assert [row["settings"] for row in rows] == [{"learning_rate": 1e-9}, {"learning_rate": 0.05}]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert selection["chosen"] == 1
    for row in rows:
        assert [one["items"] for one in row["folds"]] == [4, 4]
        assert row["items"] == 8
        for name in ("loss", "metric"):
            assert row[name] == pytest.approx(sum(one[name] for one in row["folds"]) / 2)
    assert record["method"]["stages"][0]["learning_rate"] == 0.05
    assert record["sizes"]["target"] == 8
    alone = isogloss.train(
        plain, model=model_folder("llama"), out=tmp_path, learning_rate=0.05, **COMMON
    )
    assert alone.folder.name != chosen.folder.name
    assert torch.equal(weights(alone)["prompt_embeddings"], weights(chosen)["prompt_embeddings"])
    assert alone.record["chosen"] == (
        "as given (epochs, learning rate, demonstrations, share demonstrations)"
    )
    assert "selection" not in alone.record


def test_a_folds_loss_is_that_of_a_task_of_its_own(chosen, plain, model_folder, tmp_path):
    """The fold's items written as a validation file, the rest as training files."""
    (ours, _) = folds(job(plain, model_folder("llama")).split.target, 2, seed=42)
    path = write_numbers(tmp_path / "task", left_out=ours)
    lines = (plain.parent / "tr" / "train.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["id"] in ours]
    (path.parent / "tr" / "validation.jsonl").write_text("\n".join(kept) + "\n")
    for place, rate in enumerate(RATES["learning_rate"]):
        run = isogloss.train(
            path, model=model_folder("llama"), out=tmp_path, learning_rate=rate, **COMMON
        )
        last = [entry["eval_loss"] for entry in run.log if "eval_loss" in entry][-1]
        row = chosen.record["selection"]["candidates"][place]["folds"][0]
        assert row["loss"] == pytest.approx(last, rel=1e-4)


def test_only_scores_are_kept_of_the_candidates(chosen):
    folders = sorted((chosen.folder / "selection").iterdir())
    assert [folder.name for folder in folders] == ["1-1", "1-2", "2-1", "2-2"]
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["judged.json", "log.jsonl"]
    assert not list(chosen.folder.glob("stage-*"))
    assert [one.name for one in isogloss.list_runs(chosen.folder.parent)] == [chosen.name]


def test_validation_chooses_as_runs_of_their_own_would(validated, model_folder, tmp_path):
    common = dict(model=model_folder("llama"), **COMMON)
    run = isogloss.train(validated, out=tmp_path, choose="learning-rate=1e-9,0.05", **common)
    rows = run.record["selection"]["candidates"]
    assert run.record["chosen"] == "by validation loss among 2 candidates"
    assert run.record["selection"]["folds"] is None
    for row in rows:
        alone = isogloss.train(validated, out=tmp_path, **row["settings"], **common)
        losses = [entry["eval_loss"] for entry in alone.log if "eval_loss" in entry]
        assert row["loss"] == pytest.approx(min(losses), rel=1e-4)
        assert row["folds"] == []
        assert alone.record["chosen"].endswith(
            "; of its epochs the one of the least validation loss"
        )
    best = min(rows, key=lambda row: row["loss"])
    assert run.record["selection"]["chosen"] == rows.index(best)


def test_test_items_decide_nothing(chosen, model_folder, tmp_path, monkeypatch):
    """With every test answer wrong the scores are the same, and no test item is encoded."""
    poisoned = write_numbers(tmp_path / "task", swapped=("test",))
    real, seen = EpisodeEncoder.group, set()

    def spy(self, group):
        seen.update(item.id for item in (*group.demonstrations, *group.targets))
        return real(self, group)

    monkeypatch.setattr(EpisodeEncoder, "group", spy)
    model = model_folder("llama")
    run = isogloss.train(poisoned, model=model, out=tmp_path, choose=RATES, folds=2, **COMMON)
    assert run.record["data"] != chosen.record["data"]
    assert run.record["selection"] == chosen.record["selection"]
    assert {f"i{number}" for number in range(8)} <= seen <= {f"i{number}" for number in range(12)}


def test_a_stopped_selection_goes_on(chosen, plain, model_folder, tmp_path, monkeypatch):
    real, calls = selecting.taught, []

    def stopped(one, loaded):
        calls.append(one.run.folder.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(one, loaded)

    monkeypatch.setattr(selecting, "taught", stopped)
    again = dict(model=model_folder("llama"), out=tmp_path, choose=RATES, folds=2, **COMMON)
    with pytest.raises(KeyboardInterrupt):
        isogloss.train(plain, **again)
    (folder,) = tmp_path.iterdir()
    assert isogloss.open_run(folder).finished is False
    calls.clear()
    monkeypatch.setattr(selecting, "taught", lambda *one: (calls.append(1), real(*one))[1])
    run = isogloss.train(plain, **again)
    assert len(calls) == 2, "those that were judged are not trained again"
    assert run.record["selection"] == chosen.record["selection"]
    assert torch.equal(weights(run)["prompt_embeddings"], weights(chosen)["prompt_embeddings"])
    calls.clear()
    isogloss.train(plain, **again)
    assert calls == []
    isogloss.train(plain, force=True, **again)
    assert len(calls) == 4


def test_what_decides_the_candidates_is_in_the_key(plain, validated, model_folder):
    def key(task: Path, *choose: str, **options) -> str:
        return job(task, model_folder("llama"), choose=choose, **options).record["key"]

    base = key(plain, "epochs=3,8")
    assert base != key(plain, "epochs=3,8,20")
    assert base != key(plain, "epochs=3,8", folds=4)
    assert base == key(plain, " --epochs=3, 8 ")
    assert key(validated, "epochs=3,8") == key(validated, "epochs=3,8", folds=4), "no folds there"
    assert key(plain) == key(plain, folds=4)


def test_what_is_no_setting_of_the_method(plain, model_folder):
    model = model_folder("llama")
    with pytest.raises(ConfigError, match="seed 1 and seed 2 learn the same; only what decides"):
        job(plain, model, choose=("seed=1,2",))
    with pytest.raises(ConfigError, match="prompt length is a setting of soft prompts"):
        job(plain, model, choose=("prompt-length=1,2",), method="ft")


def test_losses_that_are_no_numbers():
    rows = [{"loss": None}, {"loss": 2.0}, {"loss": 1.0}, {"loss": 1.0}]
    assert selecting._best(rows) == 2
    with pytest.raises(RunError, match="no candidate came to a finite loss"):
        selecting._best(rows[:1])


# ---- direct transfer sees no target-language data ---------------------------------------------


def test_direct_transfer_stops_by_the_dominant_language(
    validated, model_folder, tmp_path, monkeypatch
):
    real, read = OwnTask.read, []

    def spy(self, language, split, *, seed):
        read.append((language, split))
        return real(self, language, split, seed=seed)

    monkeypatch.setattr(OwnTask, "read", spy)
    common = dict(model=model_folder("llama"), target="tr", out=tmp_path, epochs=1)
    run = isogloss.train(validated, method="direct-transfer", **common)
    assert ("tr", "validation") not in read
    assert ("en", "validation") in read
    assert run.record["validation_language"] == "en"
    assert run.record["sizes"]["validation"] == 4
    assert any("eval_loss" in entry for entry in run.log)
    assert isogloss.evaluate(run).content["items"] == 6
    assert ("tr", "validation") not in read
    for method in ("ft", "tl", "mtl"):
        prepared = job(validated, model_folder("llama"), method=method)
        assert prepared.record["validation_language"] == "tr"
        assert {item.language for item in prepared.split.validation} == {"tr"}


def test_direct_transfer_without_dominant_validation_has_none(model_folder, tmp_path):
    only_target = {"en": SIZES["en"], "tr": VALIDATED["tr"]}
    path = write_numbers(tmp_path / "task", only_target)
    prepared = job(path, model_folder("llama"), method="direct-transfer")
    assert prepared.split.validation == ()


# ---- what is said ----------------------------------------------------------------------------


def test_where_settings_come_from(plain, model_folder, tmp_path):
    def said(**options) -> str:
        return selecting.as_given(job(plain, model_folder("llama"), **options))

    assert said(seed=3, out=tmp_path, epochs=20) == (
        "as published for xcopa (Appendix B.2); the paper does not have this task"
    ), "20 epochs are the published ones"
    assert said(epochs=3, max_steps=2) == "as given (max steps, epochs)"
    assert said(method="ft") == "the defaults of method 'ft', for which Appendix B.2 has no row"
    assert said(prompt_start="text") == "as given (prompt start)"


def test_the_command_line_says_it(plain, model_folder, tmp_path, capsys):
    line = ["train", plain, "--model", model_folder("llama"), "--target", "tr", "--out", tmp_path]
    line += ["--choose", "learning-rate=1e-9,0.05", "--folds", 2]
    line += ["--max-steps", 1, "--demonstrations", 0]
    assert main([str(word) for word in line]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "settings: by 2-fold cross-validation on D_t among 2 candidates" in out
    assert "held-out folds (tr); the metric is accuracy" in out
    assert re.search(r"learning rate .*loss .*metric .*items", out)
    assert main([*map(str, line), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["chosen"] == "by 2-fold cross-validation on D_t among 2 candidates"
    assert len(made["selection"]["candidates"]) == 2
    assert main(["evaluate", made["run"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == made["chosen"]
    assert main(["evaluate", made["run"]]) == 0
    assert f"settings chosen: {made['chosen']}" in " ".join(capsys.readouterr().out.split())
    assert main([*map(str, line), "--folds", "9"]) == 2
    assert "9 folds asked of 8 training items" in capsys.readouterr().err


def test_what_a_candidate_lacks_is_found_before_any_is_trained(plain, model_folder, tmp_path):
    with pytest.raises(ConfigError, match="^demonstrations 2 without fold 1: 1 demo"):
        isogloss.train(
            plain,
            model=model_folder("llama"),
            target="tr",
            out=tmp_path,
            choose={"demonstrations": [0, 2]},
            folds=2,
        )
    assert not list(tmp_path.iterdir())


def test_a_method_that_trains_nothing_chooses_too(plain, model_folder, tmp_path):
    """Each candidate's loss is that of a run of its own on the fold as validation items."""
    given = dict(target="tr", method="icl-mixed", out=tmp_path, model=model_folder("llama"))
    run = isogloss.train(plain, choose={"demonstrations": [1, 2]}, folds=2, **given)
    rows = run.record["selection"]["candidates"]
    losses = [row["loss"] for row in rows]
    assert losses[0] != losses[1]
    best = losses.index(min(losses))
    assert run.record["selection"]["chosen"] == best
    assert run.record["method"]["context"]["count"] == best + 1
    assert run.record["chosen"] == "by 2-fold cross-validation on D_t among 2 candidates"
    assert isogloss.evaluate(run).content["chosen"] == run.record["chosen"]
