"""The queue and the worker: bounds, batches of one kind, and one bad request among good ones."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from isogloss.errors import DataError
from isogloss.serving.engine import _each
from isogloss.serving.waiting import Closed, Full, Items, Prompt, Prompts, Waiting, Work
from isogloss.serving.worker import Worker
from isogloss.tasks.example import Example


def items(*names: str) -> Work:
    return Work(Items(tuple(Example(name, "tr", {}) for name in names)))


def prompts(*texts: str) -> Work:
    return Work(Prompts(tuple(Prompt(text, 1) for text in texts)))


def queue(*works: Work) -> Waiting:
    waiting = Waiting(10)
    for work in works:
        waiting.add(work)
    return waiting


def test_batches_are_of_one_kind_and_first_come_first_served():
    a, b, c, d, e = items("a"), prompts("b"), items("c", "c"), items("d"), prompts("e")
    waiting = queue(a, b, c, d, e)
    assert waiting.take(3, 0) == [a, c], "d would be a fourth item"
    assert waiting.take(3, 0) == [b, e]
    assert waiting.take(3, 0) == [d]
    assert len(waiting) == 0


def test_later_small_ones_do_not_overtake():
    a, big, c = items("a"), items(*"bcdef"), items("g")
    waiting = queue(a, big, c)
    assert waiting.take(4, 0) == [a]
    assert waiting.take(4, 0) == [big], "more than a batch, so alone"
    assert waiting.take(4, 0) == [c]


def test_there_is_room_for_so_many():
    waiting = Waiting(2)
    first = items("a")
    waiting.add(first)
    waiting.add(items("b"))
    with pytest.raises(Full):
        waiting.add(items("c"))
    waiting.drop(first)
    waiting.add(items("c"))
    assert len(waiting) == 2
    waiting.drop(first)  # is no longer there


def test_a_lone_request_waits_for_others_and_enough_do_not_wait():
    waiting = queue(items("a"))
    began = time.monotonic()
    assert len(waiting.take(3, 0.15)) == 1
    assert time.monotonic() - began > 0.1
    waiting = queue(items("a"), items("b", "c"))
    began = time.monotonic()
    assert len(waiting.take(3, 5)) == 2
    assert time.monotonic() - began < 2
    waiting = queue(items("a"))
    threading.Timer(0.05, lambda: waiting.add(items("b", "c"))).start()
    began = time.monotonic()
    assert len(waiting.take(3, 20)) == 2
    assert time.monotonic() - began < 10


def test_what_waited_for_the_model_does_not_wait_again():
    began = time.monotonic()
    waiting = queue(replace(items("a"), came=began - 20))
    assert len(waiting.take(3, 20)) == 1
    assert time.monotonic() - began < 10


def test_a_closed_queue_wakes_who_takes_and_takes_nothing_in():
    waiting = queue(items("a"))
    found = []
    taker = threading.Thread(target=lambda: found.append(waiting.take(3, 30)))
    taker.start()
    time.sleep(0.05)
    (left,) = waiting.close()
    taker.join(5)
    assert not taker.is_alive()
    assert found == [[]]
    assert len(left.asked) == 1
    with pytest.raises(Closed):
        waiting.add(items("b"))


def test_one_that_fails_does_not_harm_the_others():
    asked = []

    def compute(requests):
        asked.append(len(requests))
        if 3 in requests:
            raise MemoryError("three")
        return [10 * one for one in requests]

    found = _each(compute, [1, 2, 3, 4, 5])
    assert [found[n] for n in (0, 1, 3, 4)] == [10, 20, 40, 50]
    assert isinstance(found[2], MemoryError)
    assert max(asked[1:]) <= 3, "halves, not the same again"
    assert _each(compute, []) == []


def worker_for(answers, **more) -> Worker:
    counted: list[tuple[int, int]] = []
    worker = Worker(
        Waiting(10), answers, most=4, seconds=0, seen=lambda *sizes: counted.append(sizes)
    )
    worker.counted = counted
    return worker


def test_a_worker_outlives_its_failures(caplog):
    def answers(requests):
        if len(requests[0]) == 2:
            raise ValueError("broken")
        return [DataError("yours") if r.examples[0].id == "bad" else ["fine"] for r in requests]

    worker = worker_for(answers)
    works = [items("a", "b"), items("bad"), items("c")]
    for work in works:
        worker.waiting.add(work)
    worker.start()
    with pytest.raises(ValueError, match="broken"):
        works[0].future.result(5)
    again = items("d")
    worker.waiting.add(again)
    assert again.future.result(5) == ["fine"]
    assert worker.alive
    assert worker.stop(RuntimeError(), 5)
    assert "broken" in caplog.text, "our own mistakes are logged"
    assert "yours" not in caplog.text, "a user's are not"


def test_what_was_given_up_is_not_computed():
    seen = []
    worker = worker_for(lambda requests: [seen.append(len(r)) or ["x"] for r in requests])
    gone, kept = items("a", "b"), items("c")
    for work in (gone, kept):
        worker.waiting.add(work)
    assert gone.future.cancel()
    worker.start()
    assert kept.future.result(5) == ["x"]
    assert worker.stop(RuntimeError(), 5)
    assert seen == [1]
    assert worker.counted == [(1, 1)]


def test_a_stop_fails_what_is_left_and_what_is_computed():
    may, began = threading.Event(), threading.Event()

    def answers(requests):
        began.set()
        may.wait(5)
        return [["late"]] * len(requests)

    worker = worker_for(answers)
    now, later = items("a"), prompts("b")
    worker.waiting.add(now)
    worker.waiting.add(later)
    worker.start()
    assert began.wait(5)
    assert not worker.stop(RuntimeError("stopped"), 0.05), "it is still at work"
    for work in (now, later):
        with pytest.raises(RuntimeError, match="stopped"):
            work.future.result(0)
    may.set()
    worker.thread.join(5)
    assert not worker.alive
