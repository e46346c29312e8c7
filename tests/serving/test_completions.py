"""/v1/completions: what plain PEFT and transformers write, in OpenAI's form."""

from __future__ import annotations

import json
from functools import partial

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import isogloss
from conftest import byte_level_tokenizer, sentencepiece_tokenizer, tiny_loaded
from helpers import greedy, parity_task
from isogloss.serving.completing import Opening
from isogloss.serving.waiting import Prompt
from serving_runs import ask, at_once, served

PROMPTS = ["The man", "Customer: where is my", "Adam musluğu açtı. Kız", "one two three four five"]


@pytest.fixture(scope="module")
def train(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("completing")
    task = parity_task(folder)

    def make(method="cl-icp", model=None, **given):
        options = {"method": method, "max_steps": 1, "epochs": 1, "out": folder / "runs"} | given
        return isogloss.train(task, model=model or model_folder("llama"), target="tr", **options)

    return make


@pytest.fixture(scope="module")
def run(train):
    """A soft prompt of ten vectors."""
    return train(learning_rate=0.5)


def complete(client, prompt, **given):
    name = client.get("/v1/models").json()["data"][0]["id"]
    body = {"model": name, "prompt": prompt, "temperature": 0} | given
    reply = client.post("/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def completer_of(client):
    return client.app.state.service.worker.answers.__self__.completer


def plain(run, model_folder, prompts, steps):
    """Plain PEFT's ids, of the saved adapter, without our code."""
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    model = PeftModel.from_pretrained(base, run.adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    ends = {tokenizer.eos_token_id}
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
    return tokenizer, ids, [list(greedy(model, own, steps, ends)) for own in ids]


def test_the_soft_prompt_stands_in_front_as_in_plain_peft(run, model_folder):
    tokenizer, ids, written = plain(run, model_folder("llama"), PROMPTS, 9)
    base = AutoModelForCausalLM.from_pretrained(model_folder("llama"))
    assert list(greedy(base, ids[0], 9, {0})) != written[0], "the prompt matters"
    with served(run, wait_ms=200) as client:
        replies = at_once([partial(complete, client, text, max_tokens=9) for text in PROMPTS])
        together = complete(client, PROMPTS, max_tokens=9)
    for reply, own, wanted in zip(replies, ids, written, strict=True):
        (choice,) = reply["choices"]
        assert choice["text"] == tokenizer.decode(wanted, skip_special_tokens=True)
        assert choice["finish_reason"] == ("length" if wanted[-1] else "stop")
        assert reply["usage"] == {
            "prompt_tokens": 10 + len(own),
            "completion_tokens": len(wanted),
            "total_tokens": 10 + len(own) + len(wanted),
        }
    texts = [reply["choices"][0]["text"] for reply in replies]
    assert [one["text"] for one in together["choices"]] == texts
    assert [one["index"] for one in together["choices"]] == [0, 1, 2, 3]
    total = sum(reply["usage"]["total_tokens"] for reply in replies)
    assert together["usage"]["total_tokens"] == total


def test_the_form_is_openais(run):
    with served(run) as client:
        (model,) = client.get("/v1/models").json()["data"]
        reply = complete(client, "The man", max_tokens=2, user="u", seed=3, n=1, stream=False)
    assert model["id"] == run.name
    assert model["object"] == "model"
    assert set(reply) == {"id", "object", "created", "model", "choices", "usage"}
    assert reply["object"] == "text_completion"
    assert reply["model"] == run.name
    assert reply["id"].startswith("cmpl-")
    assert set(reply["choices"][0]) == {"text", "index", "logprobs", "finish_reason"}
    assert reply["choices"][0]["logprobs"] is None


def test_limits_and_stops_are_each_requests_own(run):
    with served(run, wait_ms=200) as client:
        whole = complete(client, "The man", max_tokens=12)["choices"][0]["text"]
        stop = whole[4:6]
        cut = whole[: whole.index(stop)]
        calls = [
            partial(complete, client, "The man", max_tokens=12, stop=stop),
            partial(complete, client, "The man", max_tokens=12, stop=["never\n", stop]),
            partial(complete, client, "The man", max_tokens=3),
            partial(complete, client, "The man", max_tokens=12, stop="never\n"),
            partial(complete, client, "The man", max_tokens=12, stop=None),
        ]
        found = [reply["choices"][0] for reply in at_once(calls)]
        usage = complete(client, "The man", max_tokens=12, stop=stop)["usage"]
        default = complete(client, "The man", max_tokens=None)["usage"]["completion_tokens"]
    assert [one["text"] for one in found[:2]] == [cut, cut]
    assert [one["finish_reason"] for one in found[:3]] == ["stop", "stop", "length"]
    assert whole.startswith(found[2]["text"])
    assert len(found[2]["text"]) < len(whole)
    assert [one["text"] for one in found[3:]] == [whole, whole]
    assert usage["completion_tokens"] < 12, "no token was written after the stop"
    assert default == 16


def test_an_end_token_ends_it(tmp_path, train):
    """Its own token is counted and not written."""
    made = tiny_loaded("llama")
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    run = train("zero-shot", model=tmp_path, max_steps=None, epochs=None)
    with served(run) as client:
        free = complete(client, "The man", max_tokens=8)["choices"][0]
        ids = made.tokenizer("The man")["input_ids"]
        written = list(greedy(made.model, ids, 8, {0}))
        ended = completer_of(client)
        ended.answerer.loaded.model.generation_config.eos_token_id = written[2]
        ended.ends = {written[2]}
        reply = complete(client, "The man", max_tokens=8)
    assert free["text"] == made.tokenizer.decode(written)
    assert free["finish_reason"] == "length"
    place = written.index(written[2])
    assert reply["choices"][0] == {
        "text": made.tokenizer.decode(written[:place]),
        "index": 0,
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert reply["usage"]["completion_tokens"] == place + 1


@pytest.mark.parametrize("make", [byte_level_tokenizer, sentencepiece_tokenizer])
def test_words_are_joined_as_the_tokenizer_joins_them(tmp_path, train, make):
    """Decoded alone, SentencePiece's text would lose its first space; so prompt and text go along.

    What goes along may begin within a character that has several tokens.
    """
    made = tiny_loaded("llama", make())
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    run = train("zero-shot", model=tmp_path, max_steps=None, epochs=None)
    with served(run) as client:
        completer = completer_of(client)
        for prompt in ("The woman", "yes", "", "Kız, ğğğğğğğ", "打开水龙头喷口流出"):
            for written in (" retired", "retired", " 水", ", so water", "\nA"):
                opening = Opening(Prompt(prompt, 9), (), completer.encoder.text_ids(prompt))
                ids = completer.encoder.text_ids(written)
                if prompt or written[0] != " ":
                    assert completer._text(opening, ids) == written, (prompt, written)
        own = [*completer.front, *completer.encoder.text_ids("The woman")]
        wanted = list(greedy(made.model, own, 6, {made.tokenizer.eos_token_id}))
        found = complete(client, "The woman", max_tokens=6)["choices"][0]["text"]
    whole = made.tokenizer.decode([*own, *wanted], skip_special_tokens=True)
    assert "The woman" + found == whole


def test_nothing_is_shifted_and_shifted_work_is_left_as_it_was(train):
    """A shift has no target sample in a completion; predictions before and after are the same."""
    run = train("cl-icp-s", learning_rate=0.5, shift="corpus")
    plain_run = train("cl-icp", learning_rate=0.5)
    with served(run) as client:
        before = ask(client, "tr 7").json()
        found = complete(client, PROMPTS, max_tokens=6)["choices"]
        after = ask(client, "tr 7").json()
        wanted = peft_texts(completer_of(client).answerer.opened, PROMPTS, 6)
    assert [one["text"] for one in found] == wanted
    assert before["predictions"][0]["log_probabilities"] == pytest.approx(
        after["predictions"][0]["log_probabilities"], abs=1e-6
    )
    assert plain_run.name != run.name


def peft_texts(opened, prompts, steps):
    folder = opened.model_name
    tokenizer, _, written = plain(opened.run, folder, prompts, steps)
    return [tokenizer.decode(ids, skip_special_tokens=True) for ids in written]


def test_completions_and_predictions_wait_in_one_queue(run):
    wanted = isogloss.predict(run, [{"text": "tr 7"}])[0].entry()
    with served(run, wait_ms=100) as client:
        text = complete(client, "The man")["choices"][0]["text"]
        calls = [partial(ask, client, "tr 7"), partial(complete, client, "The man")] * 3
        replies = at_once(calls)
    for predicted, completed in zip(replies[::2], replies[1::2], strict=True):
        (found,) = predicted.json()["predictions"]
        assert found["log_probabilities"] == pytest.approx(wanted["log_probabilities"], abs=1e-4)
        assert completed["choices"][0]["text"] == text


REFUSED = {
    "temperature": (0.7, "0 (the most probable token), or to be left out"),
    "n": (2, "1, or to be left out"),
    "best_of": (2, "1, or to be left out"),
    "top_p": (0.9, "1, or to be left out"),
    "stream": (True, "false, or to be left out"),
    "echo": (True, "false, or to be left out"),
    "logprobs": (1, "to be left out"),
    "suffix": ("x", "to be left out"),
    "logit_bias": ({"5": 1}, "to be left out"),
    "presence_penalty": (0.5, "0, or to be left out"),
    "frequency_penalty": (0.5, "0, or to be left out"),
    "stop": (["a", "b", "c", "d", "e"], "at most 4 texts"),
    "max_tokens": (0, "greater than or equal to 1"),
    "prompt": ([], "a text or a list of one or more texts"),
    "temprature": (0, "no such field"),
}


def test_what_is_not_served_is_refused_by_name(run):
    with served(run) as client:
        for name, (value, said) in REFUSED.items():
            body = {"model": run.name, "prompt": "a", name: value}
            reply = client.post("/v1/completions", json=body)
            assert reply.status_code == 400, name
            error = reply.json()["error"]
            assert set(error) == {"message", "type", "param", "code", "problems"}
            assert error["type"] == "invalid_request_error"
            assert error["param"] == name
            assert said in error["message"]
        both = client.post("/v1/completions", json={"prompt": [1, 2], "n": 3}).json()["error"]
    assert [one["field"] for one in both["problems"]] == ["model", "prompt", "n"]


def test_other_refusals_say_why(run):
    cases = [
        ({"model": "gpt"}, 404, "model_not_found", run.name),
        ({"max_tokens": 33}, 400, "too_many_tokens", "at most 32"),
        ({"prompt": ["a"] * 5}, 400, "too_many_prompts", "at most 4"),
        ({"prompt": "so " * 3000}, 400, "context_length_exceeded", "at most 2048 fit"),
        ({"prompt": "half \ud800"}, 400, "invalid_request", "of whole Unicode"),
    ]
    with served(run, max_tokens=32, max_items=4) as client:
        for given, status, code, said in cases:
            body = json.dumps({"model": run.name, "prompt": "a"} | given)
            headers = {"Content-Type": "application/json"}
            reply = client.post("/v1/completions", content=body, headers=headers)
            assert reply.status_code == status, reply.text
            assert reply.json()["error"]["code"] == code
            assert said in reply.json()["error"]["message"]


def test_prompt_and_completion_together_must_fit(run):
    """2048 positions: the ten of the soft prompt, the text's, and what may be written."""
    with served(run, max_tokens=1000) as client:
        completer = completer_of(client)
        text = "so " * 800
        room = 2048 - 10 - len(completer.encoder.text_ids(text))
        assert 16 < room < 1000
        body = {"model": run.name, "prompt": text, "stop": "e"}
        over = client.post("/v1/completions", json=body | {"max_tokens": room + 1})
        error = over.json()["error"]
        assert over.status_code == 400
        assert "2049 in all, but at most 2048 fit" in error["message"]
