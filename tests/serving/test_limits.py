"""What is refused before the model is asked, what is counted, and how a server stops."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

import isogloss
from helpers import parity_task
from serving_runs import ask, at_once, stand_in

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("limits")
    task = parity_task(folder)
    model = model_folder("llama")
    return isogloss.train(task, model=model, target="tr", method="zero-shot", out=folder / "runs")


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def until(condition, seconds=10.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


def counts(client, **headers) -> dict[tuple, float]:
    """Every sample of /metrics by its name and the values of its labels."""
    reply = client.get("/metrics", headers=headers)
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_a_full_queue_says_come_again(run, threads):
    with stand_in(run, queue=2, batch_size=1) as (client, model):
        model.hold()
        under_way = threads.submit(ask, client, "first")
        assert model.began.wait(10)
        waiting = [threads.submit(ask, client, f"next {n}") for n in range(2)]
        until(lambda: len(client.app.state.service.waiting) == 2)
        assert counts(client)["isogloss_queue_requests",] == 2
        assert counts(client)["isogloss_open_requests",] == 3
        full = ask(client, "too many")
        model.may.set()
        assert [one.result(10).status_code for one in (under_way, *waiting)] == [200] * 3
        assert ask(client, "later").status_code == 200
    assert full.status_code == 429
    assert full.headers["retry-after"] == "1"
    error = full.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
    assert "too many" not in model.seen


def test_what_takes_too_long_is_given_up_and_leaves_the_queue(run, threads):
    with stand_in(run, timeout=0.3, batch_size=1) as (client, model):
        model.hold()
        computed = threads.submit(ask, client, "computed")
        assert model.began.wait(10)
        waited = ask(client, "waited")
        assert len(client.app.state.service.waiting) == 0, "its work was dropped"
        assert computed.result(10).status_code == waited.status_code == 504
        model.may.set()
        until(lambda: ask(client, "later").status_code == 200)
    assert waited.json()["error"]["code"] == "timeout"
    assert "0.3 seconds" in waited.json()["error"]["message"]
    assert "waited" not in model.seen


def test_a_body_has_a_largest_size(run):
    with stand_in(run, max_body_kb=2) as (client, model):
        large = client.post("/v1/predict", json={"text": "x" * 3000})
        small = client.post("/v1/predict", json={"text": "x" * 1900})
    assert large.status_code == 413
    assert large.json()["error"]["code"] == "body_too_large"
    assert "2 KiB" in large.json()["error"]["message"]
    assert small.status_code == 200
    assert model.batches == [["x" * 1900]]


@pytest.mark.parametrize(("pieces", "status"), [(3, 413), (1, 400)])
def test_a_body_of_no_announced_length_is_read_up_to_its_limit(run, pieces, status):
    """Three pieces of 900 bytes are too much for 2 KiB, and a fourth is not asked for."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asked, sent = [], []

    async def receive():
        asked.append(1)
        return {"type": "http.request", "body": b"x" * 900, "more_body": len(asked) < pieces + 1}

    async def send(message):
        sent.append(message)

    with stand_in(run, max_body_kb=2) as (client, model):
        asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == status
    assert len(asked) == (3 if status == 413 else 2)
    assert model.batches == []


def test_only_json_is_taken(run):
    """A browser's page may send a form to this machine unasked, but no JSON."""
    with stand_in(run) as (client, model):
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            reply = client.post(
                "/v1/predict", content='{"text": "a"}', headers={"Content-Type": kind}
            )
            assert reply.status_code == 415
            assert "application/json" in reply.json()["error"]["message"]
        kind = {"Content-Type": "application/json; charset=utf-8"}
        assert client.post("/v1/predict", content='{"text": "a"}', headers=kind).status_code == 200
    assert model.batches == [["a"]]


def test_the_token_opens_all_but_health(run):
    with stand_in(run, token=TOKEN) as (client, model):
        wrong = (
            None,
            TOKEN,
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            "Bearer ü",
        )
        for header in wrong:
            given = {} if header is None else {"Authorization": header.encode()}
            replies = [
                client.get(path, headers=given) for path in ("/v1/models", "/metrics", "/no")
            ]
            replies.append(ask(client, "a", headers=given))
            for reply in replies:
                assert reply.status_code == 401, header
                assert reply.headers["www-authenticate"] == "Bearer"
                assert reply.json()["error"]["code"] == "invalid_api_key"
            assert client.get("/health", headers=given).status_code == 200
        right = {"Authorization": f"bearer {TOKEN}"}
        assert ask(client, "a", headers=right).status_code == 200
        assert client.get("/v1/models", headers=right).status_code == 200
        assert counts(client, **right)["isogloss_requests_total", "/v1/predict", "401"] == len(
            wrong
        )
    assert model.batches == [["a"]]


def test_unknown_paths_and_methods(run):
    with stand_in(run) as (client, _):
        missing, wrong = client.get("/v1/chat/completions"), client.get("/v1/predict")
        schema = client.get("/openapi.json").json()
        found = counts(client)
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["error"]["code"] == "no_such_path"
    assert wrong.json()["error"]["code"] == "method_not_allowed"
    assert {"/v1/predict", "/v1/completions", "/health"} <= set(schema["paths"])
    assert found["isogloss_requests_total", "other", "404"] == 1


def test_requests_and_batches_are_counted(run):
    with stand_in(run, batch_size=3, wait_ms=1000) as (client, model):
        at_once([partial(ask, client, f"{n}") for n in range(3)])
        assert client.post("/v1/predict", json={"txt": "a"}).status_code == 422
        found = counts(client)
    assert len(model.batches) == 1
    assert found["isogloss_requests_total", "/v1/predict", "200"] == 3
    assert found["isogloss_requests_total", "/v1/predict", "422"] == 1
    assert found["isogloss_request_seconds_count", "/v1/predict"] == 4
    assert 0 < found["isogloss_request_seconds_sum", "/v1/predict"] < 60
    assert found["isogloss_batch_requests_sum",] == 3
    assert found["isogloss_batch_items_count",] == 1
    assert found["isogloss_queue_requests",] == 0
    assert found["isogloss_open_requests",] == 0


def test_a_stopping_server_finishes_and_takes_nothing_new(run, threads):
    with stand_in(run, batch_size=1) as (client, model):
        service = client.app.state.service
        assert client.get("/health").json() == {"status": "ready"}
        model.hold()
        under_way = [threads.submit(ask, client, f"{n}") for n in range(3)]
        until(lambda: len(service.waiting) == 2)
        service.stopping = True
        refused = [ask(client, "new"), client.get("/v1/models")]
        health = client.get("/health")
        assert counts(client)["isogloss_open_requests",] == 3
        model.may.set()
        assert [one.result(10).status_code for one in under_way] == [200] * 3
    assert [reply.status_code for reply in refused] == [503, 503]
    assert refused[0].json()["error"]["code"] == "stopping"
    assert health.status_code == 503
    assert health.json() == {"status": "stopping"}
    assert sorted(model.seen) == ["0", "1", "2"]


def test_a_mistake_of_ours_is_told_as_one(run, caplog):
    with stand_in(run) as (client, model):
        model.answers = None
        client.app.state.service.worker.answers = lambda requests: 1 / 0
        reply = ask(client, "a")
        assert client.get("/health").status_code == 200
    assert reply.status_code == 500
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "failed")
    assert "ZeroDivisionError" in error["message"]
    assert "division by zero" in caplog.text


def test_a_dead_worker_is_not_healthy(run):
    with stand_in(run) as (client, _):
        client.app.state.service.waiting.close()
        client.app.state.service.worker.thread.join(5)
        reply = client.get("/health")
        refused = ask(client, "a")
    assert (reply.status_code, reply.json()) == (503, {"status": "failed"})
    assert refused.status_code == 503
