"""Examples on disk are those in memory, and their ids are found without being held."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from types import MappingProxyType

import pytest

from isogloss.tasks import examples
from isogloss.tasks.example import Example
from isogloss.tasks.examples import Ids, Shelved, chosen, joined, order_by_id, without_ids

NAMES = ["b", "a", "ä", "b", "", "kız\u2028", "a", "c10", "c9", "東京", "b"]


def item(name: str, language: str = "tr") -> Example:
    fields = MappingProxyType({"text": f"about {name}", "more": "x"})
    return Example(name, language, fields, ("0", "1"), ("1",))


MADE = tuple(item(name) for name in NAMES)


@pytest.fixture(params=["alike", "told apart"])
def hashes(request, monkeypatch):
    """As they are, and with one hash for several ids: those must still be told apart."""
    if request.param == "alike":
        monkeypatch.setattr(examples, "hash", len, raising=False)


def shelved(items=MADE):
    kept = Shelved()
    for one in items:
        kept.add(one)
    return kept


@pytest.fixture
def kept(monkeypatch, hashes):
    monkeypatch.setattr(examples, "HELD", 3)
    return shelved()


def test_they_come_back_as_they_were(kept):
    assert kept.plain() is kept
    assert tuple(kept) == MADE
    assert kept == MADE
    assert kept != MADE[:-1]
    assert kept != (*MADE[:-1], item("other"))
    assert (len(kept), kept[-1], kept[4]) == (len(MADE), MADE[-1], MADE[4])
    assert kept[1:8:2] == MADE[1:8:2]
    assert kept[1:8][2:4] == MADE[1:8][2:4]
    with pytest.raises(IndexError):
        kept[len(MADE)]
    with pytest.raises(TypeError):
        kept[5].fields["text"] = ""


def test_few_are_a_plain_tuple():
    assert shelved().plain() == MADE
    assert type(shelved().plain()) is tuple


def test_some_and_several_are_those_of_the_tuples(kept):
    places = [9, 0, 0, 4]
    assert type(chosen(kept, places)) is not tuple
    assert chosen(kept, places) == tuple(MADE[place] for place in places)
    assert chosen(chosen(kept, places), [3, 0]) == (MADE[4], MADE[9])
    assert chosen(MADE, places) == tuple(chosen(kept, places))
    assert joined(kept, (), MADE[:2], kept[2:4]) == MADE + MADE[:2] + MADE[2:4]
    assert joined(kept, MADE)[len(MADE) + 1] == MADE[1]
    assert joined(MADE, MADE[:1]) == MADE + MADE[:1]
    assert type(joined(MADE, MADE[:1])) is tuple
    assert without_ids(kept, {"b", "none"}) == tuple(one for one in MADE if one.id != "b")
    assert without_ids(kept, ()) is kept


def in_two(kept):
    return joined(kept[:4], kept[4:])


@pytest.mark.parametrize("view", [lambda kept: kept, tuple, in_two])
def test_ids_are_where_they_stand(kept, view):
    ids = Ids(view(kept))
    for name in {*NAMES, "none", "c"}:
        assert ids.places(name) == tuple(at for at, each in enumerate(NAMES) if each == name)
        assert (name in ids) == (name in NAMES)
    assert ids.repeated() == [name for name, count in Counter(NAMES).items() if count > 1]
    other = Ids(tuple(item(name) for name in ("c9", "d", "a", "none", "", "a")))
    assert ids.shared(other) == ["", "a", "c9"]
    assert other.shared(ids) == ["", "a", "c9"]
    assert Ids(()).shared(ids) == Ids(()).repeated() == []


@pytest.mark.parametrize("held", [1, 2, 5, 100])
def test_the_order_is_by_id_and_then_language(monkeypatch, held):
    monkeypatch.setattr(examples, "HELD", held)
    source = random.Random(held)
    several = [item(name, code) for name in {*NAMES} for code in ("tr", "en")]
    source.shuffle(several)
    wanted = sorted(range(len(several)), key=lambda at: (several[at].id, several[at].language))
    assert list(order_by_id(several)) == wanted
    assert list(order_by_id(shelved(several))) == wanted
    assert list(order_by_id(())) == []


def test_memory_holds_neither_texts_nor_ids(monkeypatch):
    """30 bytes an example, whose text alone has 500."""
    monkeypatch.setattr(examples, "HELD", 10)
    tracemalloc.start()
    try:
        kept = shelved(
            Example(f"a long id of number {number}", "tr", {"text": "x" * 500}, ("0", "1"), ("1",))
            for number in range(5000)
        )
        held, _ = tracemalloc.get_traced_memory()
        part = chosen(kept, range(5000))
        both, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(part) == 5000
    assert held < 30 * 5000 + 20_000
    assert both - held < 10 * 5000 + 20_000
