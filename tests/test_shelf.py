"""Values on disk come back as they were, in the order asked for."""

from __future__ import annotations

import random
import threading
import tracemalloc
from pathlib import Path

import pytest

from isogloss.errors import ConfigError
from isogloss.shelf import Shelf

FULL = Path("/dev/full")
VALUES = [{"text": 'kız\u2028 "ab"\n', "n": 1.1}, [1, None, True], "", {}, "東京", -0.1]


def filled(values):
    made = Shelf()
    for value in values:
        made.add(value)
    return made


def test_values_come_back_as_they_were():
    kept = filled(VALUES)
    assert list(kept) == VALUES
    assert (len(kept), kept[-1], kept[1:3]) == (6, VALUES[-1], VALUES[1:3])
    for place in (6, -7):
        with pytest.raises(IndexError):
            kept[place]


def test_values_can_be_added_after_others_were_read():
    kept = filled(VALUES[:2])
    assert kept[0] == VALUES[0]
    kept.add("later")
    assert [kept[2], kept[0], kept[1]] == ["later", *VALUES[:2]]


def test_another_order_is_of_the_same_values_and_outlives_the_first():
    kept = filled(VALUES)
    other = kept.in_order([4, 0, 0])
    assert kept[0] == VALUES[0]  # what one reads is not what the other holds
    del kept
    assert list(other) == [VALUES[4], VALUES[0], VALUES[0]]


def test_threads_read_at_once():
    kept = filled([str(number) * 50 for number in range(300)])
    wrong = []

    def read(seed):
        source = random.Random(seed)
        for _ in range(500):
            place = source.randrange(300)
            if kept[place] != str(place) * 50:
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_does_not_hold_the_values():
    tracemalloc.start()
    try:
        kept = filled("x" * 1000 for _ in range(5000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 5000
    assert held < 40 * 5000


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_full_disk_is_said():
    kept = Shelf()
    kept._file.close()
    kept._file = FULL.open("r+b", buffering=0)
    told = r"cannot keep items in \S+ \(No space left on device\).*TMPDIR"
    with pytest.raises(ConfigError, match=told):
        kept.add("x" * 100)
