"""Items and answers beyond what is held in memory: the same examples, episodes and scores."""

from __future__ import annotations

import json

import pytest

import isogloss
from isogloss import evaluating
from isogloss.demonstrations.choose import Group
from isogloss.evaluating import _windows
from isogloss.tasks import examples
from isogloss.tasks.example import Example
from isogloss.tasks.own_data import load_task
from number_task import write_numbers

METHODS = (
    *("cl-icp", "cl-icp-s", "cpt", "icl-retrieved"),
    *("mid-align", "mtl", "shifcon", "zero-shot"),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_numbers(tmp_path_factory.mktemp("task"))


def made(task, model, out, method):
    more = {} if method in ("icl-retrieved", "zero-shot") else {"epochs": 1}
    more |= {"share_demonstrations": 2} if method == "cl-icp" else {}
    run = isogloss.train(task, model=model, target="tr", method=method, out=out, **more)
    isogloss.evaluate(run, baseline=True)
    return run


def demonstrations(run):
    path = run.folder / "demonstrations.jsonl"
    return path.read_text() if path.is_file() else None


def content(run):
    """What a run's record and scores say, but for times and places."""
    record = {k: v for k, v in run.record.items() if k not in ("seconds", "peak_memory_bytes")}
    scores = json.loads((run.folder / "scores.json").read_text())
    scores = {k: v for k, v in scores.items() if k not in ("seconds", "run")}
    return record, scores, demonstrations(run)


def test_items_beyond_the_held_ones_are_the_same_examples(task, monkeypatch):
    held = load_task(task).read("tr", "train", seed=0).examples
    monkeypatch.setattr(examples, "HELD", 3)
    kept = load_task(task).read("tr", "train", seed=0).examples
    assert (type(held), type(kept)) == (tuple, examples.Shelved)
    assert kept == held
    assert kept[1:-1] == held[1:-1]
    assert kept != held[:-1]
    assert [kept[place] is kept[place] for place in range(5)] == [True] * 3 + [False] * 2
    assert [load_task(task).render(each) for each in kept] == [
        load_task(task).render(each) for each in held
    ]
    with pytest.raises(TypeError):
        kept[-1].fields["n"] = "2"


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_disk_is_the_run_in_memory(method, task, model_folder, tmp_path, monkeypatch):
    """Texts on disk from the third item on, and answers in windows of three with pieces of two."""
    model = model_folder("llama")
    wanted = made(task, model, tmp_path / "held", method)
    monkeypatch.setattr(examples, "HELD", 2)
    monkeypatch.setattr(evaluating, "WINDOW", 3)
    monkeypatch.setattr(evaluating, "PIECE", 2)
    asked, own = [], evaluating.answer

    def answer(loaded, episodes, groups, *rest, **named):
        asked.append(sum(len(group.targets) for group in groups))
        return own(loaded, episodes, groups, *rest, **named)

    monkeypatch.setattr(evaluating, "answer", answer)
    found = made(task, model, tmp_path / "kept", method)
    assert max(asked) <= 3
    assert len(asked) > 2
    assert content(found) == content(wanted)
    for one, other in zip(found.predictions, wanted.predictions, strict=True):
        scores, others = one.pop("log_probabilities"), other.pop("log_probabilities")
        assert one == other
        assert scores == pytest.approx(others, abs=1e-4)  # other items beside it in its batch


def test_windows_hold_whole_groups_and_no_more_than_they_may(monkeypatch):
    monkeypatch.setattr(evaluating, "WINDOW", 5)

    def group(count):
        return Group((), tuple(Example(str(n), "tr", {}) for n in range(count)))

    sizes = [3, 2, 1, 4, 5, 1]
    windows = list(_windows([group(count) for count in sizes]))
    assert [[len(each.targets) for each in window] for window in windows] == [
        [3, 2],
        [1, 4],
        [5],
        [1],
    ]


def test_skipped_items_leave_no_gap(task, model_folder, tmp_path, monkeypatch):
    """Every entry stays with its item where others are left out and answers come in windows."""
    path = write_numbers(tmp_path / "task")
    test = path.parent / "tr" / "test.jsonl"
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    field = load_task(path).schema.fields[0]
    rows[1][field] = "word " * 3000
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(evaluating, "WINDOW", 2)
    monkeypatch.setattr(evaluating, "PIECE", 1)
    run = isogloss.train(
        path, model=model_folder("llama"), target="tr", method="zero-shot", out=tmp_path / "runs"
    )
    isogloss.evaluate(run, too_long="skip")
    kept = [row["id"] for number, row in enumerate(rows) if number != 1]
    assert [entry["id"] for entry in run.predictions] == kept
