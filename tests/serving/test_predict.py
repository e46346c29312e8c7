"""/v1/predict: what `isogloss predict` answers, whoever asks at the same time."""

from __future__ import annotations

import json
from functools import partial

import pytest

import isogloss
from helpers import parity_task
from serving_runs import ask, at_once, served
from xcopa_files import write_xcopa

TEXTS = [f"tr {'so ' * (n % 4)}{n}" for n in range(60, 66)]
PROMPTS = ["The man", "Adam musluğu açtı. Kız", "yes"]
SPAN = """name: colour
kind: span
dominant: en
languages: [en, tr]
fields: [text]
answer: label
id: id
wording:
  input: "Text: {text}\\nWhich?"
files: "{language}/{split}.jsonl"
"""
METHODS = {
    "cl-icp": {},  # a soft prompt and demonstrations
    "cl-icp-s": {},  # the same, shifted
    "mtl-lora": {},
    "mtl": {},  # all parameters
    "prefix-tuning": {},
    "cpt": {"demonstrations": 2},  # a prompt that is demonstrations
    "icl-retrieved": {},  # nothing learnt, demonstrations of each item's own
    "icl-calibrated": {},
}


@pytest.fixture(scope="module")
def train(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("served")
    task = parity_task(folder)

    def make(method="cl-icp", architecture="llama", **given):
        trains = {} if method.startswith("icl") else {"max_steps": 1, "epochs": 1}
        options = {"method": method, "out": folder / "runs"} | trains | given
        return isogloss.train(task, model=model_folder(architecture), target="tr", **options)

    return make


def same(entry: dict, wanted: dict) -> None:
    assert {k: v for k, v in entry.items() if k != "log_probabilities"} == {
        k: v for k, v in wanted.items() if k != "log_probabilities"
    }
    scores = wanted.get("log_probabilities", {})
    assert entry.get("log_probabilities", {}) == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_as_predict_whatever_the_batch(train, method):
    """One item a request, all requests at once, against one call of predict for each.

    Of every kind of run; each completes texts too, as alone.
    """
    run = train(method, **METHODS[method])
    wanted = [isogloss.predict(run, [{"text": text}])[0].entry() for text in TEXTS]
    assert len({json.dumps(one["log_probabilities"]) for one in wanted}) == len(TEXTS)
    with served(run, wait_ms=200, batch_size=4) as client:
        replies = at_once([partial(ask, client, text) for text in TEXTS])
        counted = client.app.state.service.metrics.registry.get_sample_value
        assert counted("isogloss_batch_requests_count") < len(TEXTS), "some came together"
        assert counted("isogloss_batch_items_sum") == len(TEXTS)
        texts = partial(client.post, "/v1/completions")
        bodies = [{"model": run.name, "prompt": p, "max_tokens": 5} for p in (*PROMPTS, PROMPTS)]
        *alone, together = [texts(json=body).json()["choices"] for body in bodies]
    assert [one["text"] for one in together] == [one["text"] for (one,) in alone]
    assert all(one["text"] for one in together)
    assert [reply.status_code for reply in replies] == [200] * len(TEXTS)
    for reply, entry in zip(replies, wanted, strict=True):
        assert reply.json()["run"] == run.name
        (found,) = reply.json()["predictions"]
        same(found, entry)


@pytest.mark.parametrize("architecture", ["gemma3"])
def test_other_architectures(train, architecture):
    run = train(architecture=architecture)
    wanted = [isogloss.predict(run, [{"text": text}])[0].entry() for text in TEXTS[:4]]
    with served(run, wait_ms=200) as client:
        for reply, entry in zip(
            at_once([partial(ask, client, text) for text in TEXTS[:4]]), wanted, strict=True
        ):
            same(reply.json()["predictions"][0], entry)


def test_lists_keep_their_order_and_ids(train):
    run = train()
    lists = [
        [{"text": TEXTS[0], "id": "z"}, {"text": TEXTS[1], "id": "a", "label": "yes"}],
        [{"text": text, "id": f"i{n}"} for n, text in enumerate(TEXTS[:6])],  # training items' ids
        [{"text": TEXTS[0]}, {"text": TEXTS[0]}],
    ]
    wanted = [[one.entry() for one in isogloss.predict(run, items)] for items in lists]
    with served(run, wait_ms=200, batch_size=64) as client:
        post = partial(client.post, "/v1/predict")
        replies = at_once([partial(post, json=items) for items in lists])
    for reply, entries in zip(replies, wanted, strict=True):
        found = reply.json()["predictions"]
        assert [one["id"] for one in found] == [one["id"] for one in entries]
        for one, entry in zip(found, entries, strict=True):
            same(one, entry)


def test_spans_are_written(tmp_path, model_folder):
    (tmp_path / "task.yaml").write_text(SPAN)
    for language in ("en", "tr"):
        (tmp_path / language).mkdir()
        for split in ("train", "test"):
            lines = [
                json.dumps({"id": f"{split}{n}", "text": f"{language} {n}", "label": f"red {n}"})
                for n in range(8)
            ]
            (tmp_path / language / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    run = isogloss.train(
        tmp_path,
        model=model_folder("llama"),
        target="tr",
        max_steps=1,
        demonstrations=2,
        out=tmp_path / "runs",
    )
    items = [{"text": f"tr {'and ' * n}{n}"} for n in range(5)]
    wanted = [isogloss.predict(run, [item], max_new_tokens=6)[0].entry() for item in items]
    assert any(one["text"] for one in wanted)
    with served(run, wait_ms=200, max_new_tokens=6) as client:
        post = partial(client.post, "/v1/predict")
        replies = at_once([partial(post, json=item) for item in items])
    for reply, entry in zip(replies, wanted, strict=True):
        (found,) = reply.json()["predictions"]
        assert found == entry
        assert "log_probabilities" not in found


def test_settings_and_languages_are_those_of_predict(train):
    run = train()
    options = dict(demonstrations="none", normalisation="byte")
    (own,) = isogloss.predict(run, [{"text": TEXTS[0]}], language="en", **options)
    with served(run, **options) as client:
        reply = ask(client, TEXTS[0], params={"language": "en"})
        refused = ask(client, TEXTS[0], params={"language": "de"})
    same(reply.json()["predictions"][0], own.entry())
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert error["param"] == "language"
    assert "'de'" in error["message"]


@pytest.fixture(scope="module")
def xcopa_run(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("xcopa")
    options = dict(method="zero-shot", data=str(write_xcopa(folder / "data")), out=folder / "runs")
    return isogloss.train("xcopa", model=model_folder("llama"), target="tr", **options)


def test_all_faults_of_all_items_come_at_once(xcopa_run):
    good = dict(premise="a", choice1="b", choice2="c", question="cause")
    items = [
        {"premise": "a", "choice1": 3, "question": "why"},
        good,
        "text",
        good | {"premise": "half \ud800"},
    ]
    with served(xcopa_run) as client:
        reply = client.post(
            "/v1/predict",
            content=json.dumps(items),
            headers={"Content-Type": "application/json"},
        )
        well = client.post("/v1/predict", json=good)
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert error["code"] == "invalid_items"
    assert error["type"] == "invalid_request_error"
    found = {(one["item"], one["field"]): one for one in error["problems"]}
    assert set(found) == {
        (1, "choice1"),
        (1, "choice2"),
        (1, "question"),
        (3, None),
        (4, "premise"),
    }
    assert found[1, "question"]["found"] == "'why'"
    assert found[1, "question"]["expected"] == "'cause' or 'effect'"
    assert found[3, None]["found"] == "'text'"
    assert "line 1, field 'question': found 'why'" in error["message"]
    assert well.status_code == 200
    assert well.json()["predictions"][0]["prediction"] in ("choice1", "choice2")


def test_what_is_no_request(xcopa_run):
    with served(xcopa_run, max_items=2) as client:
        cases = {
            "[]": (422, "no items"),
            "[{": (400, "broken JSON"),
            "": (400, "found nothing"),
            "[{}, {}, {}]": (400, "at most 2"),
            "[" * 100_000: (400, ""),
            "7": (422, "found 7"),
        }
        for body, (status, said) in cases.items():
            reply = client.post(
                "/v1/predict", content=body, headers={"Content-Type": "application/json"}
            )
            assert reply.status_code == status, body[:20]
            assert said in reply.json()["error"]["message"]


def test_an_item_that_does_not_fit_says_how_long_it_is(train):
    run = train(max_length=200)
    with served(run, wait_ms=200) as client:
        long, short = at_once(
            [partial(ask, client, "tr " + "so " * 300), partial(ask, client, TEXTS[0])]
        )
    assert short.status_code == 200, "its neighbour is answered"
    assert long.status_code == 400
    error = long.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "item '1' needs" in error["message"]
    assert "at most 200 fit" in error["message"]
