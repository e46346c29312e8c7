"""The mechanism: kinds of demonstrations, alignment at equal loss, alignment against later gain."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

import isogloss
from helpers import encoder_for, parallel_parity, plain_log_probability
from isogloss.cli.main import main
from isogloss.errors import ConfigError, DataError, RunError
from isogloss.experiments.mechanism.before import Probe, Start, foretold, starts
from isogloss.experiments.mechanism.during import Moment, at_equal_loss, rows_of
from isogloss.experiments.mechanism.kinds import (
    KINDS,
    Material,
    by_kind,
    chosen_demonstrations,
    item_losses,
)
from isogloss.intervals import Interval
from isogloss.lab.mechanism import MechanismPlan, mechanism
from isogloss.model.prompt import embedded
from isogloss.packing import EncodedGroup
from isogloss.runs import read_json_file
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Example
from isogloss.tasks.opening import open_task
from report_runs import first_of, write_run

INTERVALS = ("cosine", "excess", "deviation")

# ---- kinds of demonstrations ---------------------------------------------------------------------


def material(tmp_path, *, targets: int = 6, other: bool = True) -> Material:
    task = open_task(str(parallel_parity(tmp_path / "parity")), None, BenchmarkSettings())
    dominant = task.read("en", "train", seed=0).examples
    own = task.read("tr", "train", seed=0).examples[:targets]
    return Material(task, dominant, own, (task, dominant[:3]) if other else None)


def test_each_kind_is_what_it_says(tmp_path):
    asked = material(tmp_path)
    words = {item.id: item.fields["text"] for item in asked.dominant}
    found = chosen_demonstrations(asked, seed=3)
    assert set(found) == {item.id for item in asked.targets}
    for name, kinds in found.items():
        assert tuple(kinds) == KINDS
        assert kinds["parallel"].id == name
        assert kinds["parallel"].language == "en"
        assert len({kinds[kind].id for kind in ("parallel", "same topic", "random")}) == 3
        assert kinds["another task"] in asked.other[1]
        shared = [
            sum(word in words[name].split() for word in words[kinds[kind].id].split())
            for kind in ("same topic", "random")
        ]
        assert shared[0] >= shared[1], "the nearest shares at least as many words"
    assert chosen_demonstrations(asked, seed=3) == found
    assert chosen_demonstrations(asked, seed=4) != found


def test_targets_without_a_translation_or_an_answer_are_left_out(tmp_path):
    asked = material(tmp_path)
    first, second, *rest = asked.targets
    stranger = dataclasses.replace(first, id="nobody")
    silent = dataclasses.replace(second, answers=())
    mixed = dataclasses.replace(asked, targets=(stranger, silent, *rest))
    assert set(chosen_demonstrations(mixed, seed=0)) == {item.id for item in rest}


def gradients_by_hand(loaded, encoder, task, shown, target: Example, prompt):
    """Of the demonstration's answer loss and of the target's, by one plain pass each."""
    front = encoder.demonstration_set([task.render(shown)])
    asked = encoder.target(task.render(target), 1)
    vectors = prompt.clone().requires_grad_(True)
    own = -plain_log_probability(loaded, vectors, front, asked, asked.answer).mean()
    (by_target,) = torch.autograd.grad(own, vectors)
    # The same text up to the demonstration's answer, as a target of its own without demonstrations.
    alone = encoder.target(task.render(shown), 0)
    bare = encoder.demonstration_set(())
    (span,) = front.answers
    answer = front.ids[span.start : span.stop]
    text = front.ids[len(bare.ids) : span.start]
    assert tuple(text) == tuple(alone.ids)
    first = -plain_log_probability(loaded, vectors, bare, alone, answer).mean()
    (by_demonstration,) = torch.autograd.grad(first, vectors)
    return by_demonstration.flatten(), by_target.flatten(), float(own.detach())


def test_cosines_and_losses_equal_plain_autograd(loaded, tmp_path):
    asked = material(tmp_path, targets=4, other=False)
    encoder = encoder_for(loaded, 3)
    prompt = embedded(loaded.model, [5, 6, 7])
    found = by_kind(loaded, encoder, asked, prompt, longest=None, seed=1)
    assert [each.kind for each in found] == ["parallel", "same topic", "random"]
    chosen = chosen_demonstrations(asked, seed=1)
    for measure in found:
        cosines, losses = [], []
        for target in asked.targets:
            shown = chosen[target.id][measure.kind]
            first, second, loss = gradients_by_hand(
                loaded, encoder, asked.task, shown, target, prompt
            )
            cosines.append(float(torch.cosine_similarity(first, second, dim=0)))
            losses.append(loss)
        assert measure.within.value == pytest.approx(sum(cosines) / 4, abs=1e-4)
        assert measure.loss.value == pytest.approx(sum(losses) / 4, abs=1e-5)
        assert measure.within.low <= measure.within.value <= measure.within.high
    nothing = found[-1].over_random
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    assert found[0].over_random.value == pytest.approx(
        found[0].within.value - found[-1].within.value, abs=1e-6
    )


def test_towards_leaves_the_translation_out(loaded, tmp_path):
    asked = material(tmp_path, targets=4, other=False)
    encoder = encoder_for(loaded, 3)
    prompt = embedded(loaded.model, [5, 6, 7])
    (measure, *_) = by_kind(loaded, encoder, asked, prompt, longest=None, seed=1)
    front = encoder.demonstration_set(())
    cosines = []
    for target in asked.targets:
        others = [
            item
            for item in asked.dominant
            if item.id in {each.id for each in asked.targets} - {target.id}
        ]
        rows = []
        for item in others:
            vectors = prompt.clone().requires_grad_(True)
            alone = encoder.target(asked.task.render(item), 0)
            loss = -plain_log_probability(loaded, vectors, front, alone, alone.answer).mean()
            rows.append(torch.autograd.grad(loss, vectors)[0].flatten())
        shown = chosen_demonstrations(asked, seed=1)[target.id]["parallel"]
        own = gradients_by_hand(loaded, encoder, asked.task, shown, target, prompt)[1]
        mean = torch.stack(rows).mean(dim=0)
        cosines.append(float(torch.cosine_similarity(own, mean, dim=0)))
    assert measure.towards.value == pytest.approx(sum(cosines) / 4, abs=1e-4)


def test_losses_do_not_depend_on_how_many_stand_together(loaded, tmp_path):
    asked = material(tmp_path, targets=10, other=False)
    encoder = encoder_for(loaded, 3)
    prompt = embedded(loaded.model, [5, 6, 7])
    front = encoder.demonstration_set(())
    groups = [
        EncodedGroup(front, (encoder.target(asked.task.render(item), 0),)) for item in asked.targets
    ]
    together = item_losses(loaded, prompt, groups)
    alone = torch.cat([item_losses(loaded, prompt, [group]) for group in groups])
    assert torch.allclose(together, alone, atol=1e-5)


def test_too_few_that_fit_are_refused(loaded, tmp_path):
    asked = material(tmp_path, targets=6)
    prompt = embedded(loaded.model, [5, 6, 7])
    with pytest.raises(DataError, match="0 answered targets have a translation and fit"):
        by_kind(loaded, encoder_for(loaded, 3), asked, prompt, longest=5, seed=0)


# ---- at equal loss -------------------------------------------------------------------------------


def course(method: str, seed: int, points) -> list[Moment]:
    return [Moment(method, seed, n, loss, cos, 10 * cos) for n, (loss, cos) in enumerate(points)]


def test_equal_loss_by_hand():
    """CL-ICP's alignment is loss + 1, MTL's is loss; both spans meet from 1 to 2."""
    found = course("cl-icp", 1, [(2.0, 3.0), (0.5, 1.5)])
    found += course("mtl-prompt", 1, [(4.0, 4.0), (1.0, 1.0)])
    equal = at_equal_loss(found)
    assert equal is not None
    assert equal.seeds == 1
    assert equal.span == (1.0, 2.0)
    assert equal.cosine.value == pytest.approx(1.0)
    assert equal.residual.value == pytest.approx(10.0)
    # Where the lines cross in the middle, the difference is none.
    crossed = course("cl-icp", 1, [(2.0, 1.0), (1.0, 0.0)])
    crossed += course("mtl-prompt", 1, [(2.0, 0.0), (1.0, 1.0)])
    assert at_equal_loss(crossed).cosine.value == pytest.approx(0.0, abs=1e-12)


def test_seeds_whose_losses_do_not_meet_do_not_count():
    apart = course("cl-icp", 1, [(1.0, 0.0), (0.5, 0.0)])
    apart += course("mtl-prompt", 1, [(3.0, 0.0), (2.0, 0.0)])
    assert at_equal_loss(apart) is None
    assert at_equal_loss(course("cl-icp", 1, [(1.0, 0.0), (0.5, 0.0)])) is None
    meeting = course("cl-icp", 2, [(2.0, 1.0), (1.0, 1.0)])
    meeting += course("mtl-prompt", 2, [(2.0, 0.5), (1.0, 0.5)])
    equal = at_equal_loss([*apart, *meeting])
    assert (equal.seeds, equal.cosine.value) == (1, pytest.approx(0.5))


def test_rows_are_means_over_seeds():
    found = [*course("cl-icp", 1, [(2.0, 0.0)]), *course("cl-icp", 2, [(4.0, 1.0)])]
    (row,) = rows_of(found)
    assert (row["loss"], row["cosine"], row["seeds"]) == (3.0, 0.5, 2)


# ---- before transfer -----------------------------------------------------------------------------


def start(cosine: float, gain: float) -> Start:
    one = Interval(cosine, cosine, cosine, 4)
    gains = {"mtl": (gain, gain, gain)}
    return Start(("m", "t", f"{cosine}"), one, one, -cosine, one, gains)


def test_what_alignment_foretells_by_hand():
    found = foretold([start(0.1, 1.0), start(0.2, 2.0), start(0.3, 4.0)])
    assert found["mtl"]["cosine"].rank == pytest.approx(1.0)
    assert found["mtl"]["residual"].rank == pytest.approx(-1.0)
    assert found["mtl"]["cosine"].p == pytest.approx(2 / 6), "two of six orders are as far"
    assert foretold([start(0.1, 1.0), start(0.2, 2.0)]) == {}


# ---- as a user gives it --------------------------------------------------------------------------


def test_a_run_and_the_base_model_are_met(tmp_path, capsys, model_folder):
    task = parallel_parity(tmp_path / "parity")
    given = {"model": model_folder("llama"), "target": "tr", "out": tmp_path / "runs"}
    scores = {}
    for seed in (1, 2):
        run = isogloss.train(task, **given, method="mtl", max_steps=1, seed=seed)
        made = isogloss.evaluate(run, baseline=True)
        scores[seed] = {row["name"]: row["value"] for row in made.rows()}
    asked = ["reproduce", "mechanism", "--runs", str(tmp_path / "runs"), "--limit", "6"]
    asked += ["--out", str(tmp_path / "out"), "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["starts"]
    assert row["place"][1:] == ["parity", "tr"]
    gains = [scores[seed]["mtl"] - scores[seed]["zero-shot"] for seed in (1, 2)]
    assert row["gains"]["mtl"] == pytest.approx([sum(gains) / 2, min(gains), max(gains)])
    direct = isogloss.diagnose(
        model_folder("llama"),
        target="tr",
        task=task,
        items=6,
        readers=0,
        seed=42,
        out=tmp_path / "direct",
    )
    assert row["cosine"]["value"] == direct.now.direction.alignment.cosine.value
    assert row["deviation"]["value"] == direct.now.closeness.deviation.value
    assert (tmp_path / "out" / "figures" / "mechanism-before.svg").is_file()


def test_two_folders_may_hold_the_same_run(tmp_path, monkeypatch):
    """As two studies do; each run counts once."""
    for name in ("one", "two"):
        for seed in (1, 2):
            write_run(tmp_path / name, "mtl", seed=seed, right=first_of(40))
    for seed in (1, 2):
        write_run(tmp_path / "two", "zero-shot", seed=seed, right=first_of(10 * seed))
    measured = {name: {"value": 0.1, "low": 0.0, "high": 0.2, "items": 4} for name in INTERVALS}
    probe = Probe(4, 1, (), tmp_path, lambda *given: measured | {"residual": 0.3})
    (found,) = starts((tmp_path / "one", tmp_path / "two"), probe)
    assert found.gains["mtl"] == pytest.approx((25 / 60, 20 / 60, 30 / 60))


def test_both_tasks_meet_each_other(tmp_path, capsys, model_folder):
    tasks = [str(parallel_parity(tmp_path / name)) for name in ("one", "two")]
    asked = ["reproduce", "mechanism", "--models", str(model_folder("llama")), "--tasks", *tasks]
    asked += ["--targets", "tr", "--limit", "5", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "another task" in shown
    kinds = read_json_file(tmp_path / "out" / "analysis.json")["kinds"]
    assert len(kinds) == 2
    for rows in kinds.values():
        assert [row["kind"] for row in rows] == list(KINDS)
        assert all(row["within"]["items"] == 5 for row in rows)


def test_the_labs_command_goes_on_where_it_was(tmp_path, monkeypatch):
    plan = MechanismPlan(
        tasks=("label", "span"), models=("middle",), steps=(1, 3), seeds=(1,), items=5
    )
    found = mechanism(plan, tmp_path / "m")
    assert len(found.content["moments"]) == 2
    for moments in found.content["moments"].values():
        assert [(each["method"], each["steps"]) for each in moments] == [
            ("cl-icp", 1),
            ("cl-icp", 3),
            ("mtl-prompt", 1),
            ("mtl-prompt", 3),
        ]
        assert all(each["loss"] > 0 for each in moments)
    from isogloss.experiments.mechanism import during

    monkeypatch.setattr(during.selecting, "train", lambda settings: pytest.fail("trained again"))
    again = mechanism(plan, tmp_path / "m")
    assert again.content == found.content
    assert (tmp_path / "m" / "figures" / "mechanism-during.svg").is_file()


def test_what_is_refused(tmp_path, capsys, model_folder):
    def said(*words) -> str:
        assert main(["reproduce", "mechanism", *map(str, words)]) == 2
        return capsys.readouterr().err

    assert "nothing to measure: give --models" in said("--out", tmp_path)
    model = model_folder("llama")
    assert "give --targets" in said("--models", model, "--tasks", parallel_parity(tmp_path / "p"))
    assert "mechanism has no xcopa in es" in said(
        "--models", model, "--tasks", "xcopa", "--targets", "es"
    )
    own = ["--models", model, "--tasks", tmp_path / "p", "--targets", "sw", "--out", tmp_path / "o"]
    assert "'sw'" in said(*own)
    write_run(tmp_path / "runs", "mtl")
    assert "both a trained method and zero-shot" in said(
        "--runs", tmp_path / "runs", "--out", tmp_path / "o"
    )
    with pytest.raises(ConfigError, match="no task 'spam'"):
        mechanism(MechanismPlan(tasks=("spam",)), tmp_path / "m")
    with pytest.raises(RunError, match="both a trained"):
        starts((tmp_path / "runs",), Probe(4, 1, (), tmp_path, lambda *given: {}))
