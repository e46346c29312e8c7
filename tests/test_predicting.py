"""Prediction: items of one request do not disturb each other, nor do requests that are joined."""

from __future__ import annotations

import json
import os
import threading

import pytest

import isogloss
from helpers import parity_task
from isogloss import predicting
from isogloss.errors import DataError, TooLong
from isogloss.finished import open_finished
from isogloss.settings import PredictSettings
from isogloss.tasks.reading import Record

CHOICE = """name: ends
kind: choice
dominant: en
languages: [en, tr]
fields: [text]
options: [first, second]
answer: label
id: id
wording:
  input: "{text}"
  answer: " {answer}"
files: "{language}/{split}.jsonl"
"""


@pytest.fixture(scope="module")
def choice_run(tmp_path_factory, model_folder):
    """A task whose prompt does not say what there is to choose from."""
    folder = tmp_path_factory.mktemp("ends")
    (folder / "task.yaml").write_text(CHOICE)
    for language in ("en", "tr"):
        (folder / language).mkdir()
        for split in ("train", "test"):
            lines = [
                json.dumps(
                    {
                        "id": f"{split}{n}",
                        "text": f"{language} {n} is",
                        "first": f"red {n}",
                        "second": f"far away {n}",
                        "label": "first",
                    }
                )
                for n in range(8)
            ]
            (folder / language / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return isogloss.train(
        folder, model=model_folder("llama"), target="tr", method="icl-mixed", out=folder / "runs"
    )


@pytest.fixture(scope="module")
def parity(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("parity")
    task = parity_task(folder)
    model = model_folder("llama")
    return isogloss.train(task, model=model, target="tr", method="icl-mixed", out=folder / "runs")


def test_items_that_read_alike_keep_their_own_options(choice_run):
    items = [
        {"text": "tr 3 is", "first": "near", "second": "a long way off from here"},
        {"text": "tr 3 is", "first": "blue as the sea", "second": "up"},
    ]
    alone = [isogloss.predict(choice_run, [item])[0] for item in items]
    together = isogloss.predict(choice_run, items)
    assert alone[0].log_probabilities != pytest.approx(alone[1].log_probabilities, abs=0.1)
    for one, other in zip(together, alone, strict=True):
        assert one.text == other.text
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def test_joined_requests_get_what_each_gets_alone(parity):
    """Ids of one request's items leave training items out of its own demonstrations only."""
    taken = [f"i{n}" for n in range(4)]  # with these left out, its demonstrations are others
    requests = [
        [{"text": "tr 70"}, {"text": "tr so 71"}],
        [{"id": name, "text": f"tr 7{n}"} for n, name in enumerate(taken)],
        [{"text": "tr 70"}],
    ]
    alone = [isogloss.predict(parity, items) for items in requests]
    opened = open_finished(str(parity.folder), model=None, data=None, dtype=None)
    with predicting.answering(opened, PredictSettings(str(parity.folder))) as answerer:
        asked = []
        for items in requests:
            records = [Record("items", n, item) for n, item in enumerate(items, start=1)]
            asked.append(answerer.asked(predicting.parse_items(opened, records)))
        joined = answerer.answers(asked)
        (again,) = answerer.answers(asked[1:2])
    assert [item.id for item in joined[1]] == taken
    assert [item.id for item in again] == taken
    scores = [[one.log_probabilities for one in found] for found in (alone[1], alone[0])]
    assert scores[0][0] != pytest.approx(scores[1][0], abs=1e-3), "the sets differ"
    for found, wanted in zip([*joined, again], [*alone, alone[1]], strict=True):
        for one, other in zip(found, wanted, strict=True):
            assert (one.id, one.prediction) == (other.id, other.prediction)
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def test_no_asked_item_demonstrates_another(parity):
    """Whatever its place in the request, an item's id is left out of all sets of the request."""
    taken = [f"i{n}" for n in range(6)]
    records = [Record("items", n, {"id": name, "text": f"tr {n}"}) for n, name in enumerate(taken)]
    opened = open_finished(str(parity.folder), model=None, data=None, dtype=None)
    with predicting.answering(opened, PredictSettings(str(parity.folder))) as answerer:
        for order in (records, records[::-1]):
            asked = answerer.asked(predicting.parse_items(opened, order))
            shown = {item.id for group in asked.groups for item in group.demonstrations}
            assert shown <= {f"i{n}" for n in range(6, 10)}
            assert len(shown) > 1


def test_what_is_remembered_does_not_grow(parity, monkeypatch):
    monkeypatch.setattr("isogloss.encoding.KEPT_PIECES", 7)
    opened = open_finished(str(parity.folder), model=None, data=None, dtype=None)
    with predicting.answering(opened, PredictSettings(str(parity.folder))) as answerer:
        for n in range(40):
            record = Record("items", 1, {"id": f"i{n}", "text": f"tr {n}"})
            answerer.asked(predicting.parse_items(opened, [record]))
        assert len(answerer.episodes.encoder._pieces) == 7
        assert len(answerer._pools) <= predicting.POOLS
        record = Record("items", 1, {"text": "tr 0"})
        (found,) = answerer.answers([answerer.asked(predicting.parse_items(opened, [record]))])
    assert found[0].log_probabilities == pytest.approx(
        isogloss.predict(parity, [{"text": "tr 0"}])[0].log_probabilities, abs=1e-4
    )


def test_progress_is_for_the_command_only(parity, capsys):
    isogloss.predict(parity, [{"text": "tr 70"}])
    assert "answering 1/1" in capsys.readouterr().err
    opened = open_finished(str(parity.folder), model=None, data=None, dtype=None)
    with predicting.answering(opened, PredictSettings(str(parity.folder))) as answerer:
        records = [Record("items", 1, {"text": "tr 70"})]
        answerer.answers([answerer.asked(predicting.parse_items(opened, records))], title="")
    assert "answering" not in capsys.readouterr().err


# ---- items of any number -------------------------------------------------------------------------


def windowed(monkeypatch, size: int) -> None:
    for module in ("items", "predicting"):
        monkeypatch.setattr(f"isogloss.{module}.WINDOW", size)


def items_file(folder, count: int, first: str = "tr 70"):
    """Items of which the third and the last have ids of training items."""
    lines = [{"id": f"n{n}", "text": f"tr {'so ' * (n % 3)}7{n}"} for n in range(count)]
    lines[2]["id"], lines[-1]["id"], lines[0]["text"] = "i1", "i7", first
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_do_not_depend_on_how_many_items_are_held(parity, tmp_path, monkeypatch):
    settings = PredictSettings(str(parity.folder), items=items_file(tmp_path, 8))
    wanted = [prediction.entry() for prediction in predicting.predict(settings)]
    windowed(monkeypatch, 3)
    out = tmp_path / "there" / "answers.jsonl"
    assert predicting.predict_to(settings, out) == 8
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["id"] for one in found] == [one["id"] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        own, whole = one.pop("log_probabilities"), other.pop("log_probabilities")
        assert own == pytest.approx(whole, abs=1e-4)
        assert one == other
    assert list(out.parent.iterdir()) == [out]


def test_what_was_answered_stays_where_it_stops(parity, tmp_path, monkeypatch, capsys):
    windowed(monkeypatch, 3)
    answers, asked = predicting.Answerer.answers, []

    def stopped(self, requests, **named):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(answers(self, requests, **named))
        return asked[-1]

    monkeypatch.setattr(predicting.Answerer, "answers", stopped)
    settings = PredictSettings(str(parity.folder), items=items_file(tmp_path, 8))
    out = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        predicting.predict_to(settings, out)
    assert not out.exists()
    assert len((tmp_path / "a.part").read_text().splitlines()) == 6
    assert f"what was done before is in {tmp_path / 'a.part'}" in capsys.readouterr().err


def test_an_item_that_is_too_long_is_found_before_the_first_answer(parity, tmp_path, monkeypatch):
    windowed(monkeypatch, 3)
    path = items_file(tmp_path, 8)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[6]["text"] = "tr so " * 3000
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(predicting.Answerer, "answers", lambda *_, **__: pytest.fail("answered"))
    with pytest.raises(TooLong, match="item 'n6' needs"):
        predicting.predict_to(PredictSettings(str(parity.folder), items=path), tmp_path / "a")


def test_every_wrong_item_is_named_at_once(parity, tmp_path, monkeypatch):
    windowed(monkeypatch, 3)
    path = items_file(tmp_path, 8)
    lines = path.read_text().splitlines()
    lines[1], lines[7] = '{"text": 1', '{"id": "x"}'
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        predicting.predict_to(PredictSettings(str(parity.folder), items=path), tmp_path / "a")
    assert [problem.line for problem in caught.value.problems] == [2, 8]


def test_items_of_a_pipe_are_read_once(parity, tmp_path):
    pipe, path = tmp_path / "pipe.jsonl", items_file(tmp_path, 4)
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_text(path.read_text()))
    writing.start()
    settings = PredictSettings(str(parity.folder), items=pipe)
    assert predicting.predict_to(settings, tmp_path / "a") == 4
    writing.join()
