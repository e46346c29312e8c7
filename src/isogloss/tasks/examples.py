"""Examples in their order, of which memory holds the first ones: further ones are on disk.

Twenty-four bytes an example stay in memory: where it is on disk, and a number by which its id is
found.
"""

from __future__ import annotations

import heapq
import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, MutableSequence, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias, final

import numpy

from isogloss.lazy import Lazy, Part
from isogloss.shelf import Shelf
from isogloss.tasks.example import Example

HELD = 4096  # examples of a file that are in memory
Numbers: TypeAlias = "numpy.ndarray[Any, numpy.dtype[numpy.int64]]"


@final
class Shelved(Lazy[Example]):
    """Examples as they were added, the first `HELD` in memory."""

    def __init__(self) -> None:
        self._held: list[Example] = []
        self._shelf: Shelf | None = None
        self._hashes = array("q")

    def add(self, example: Example) -> None:
        """Keep one more.

        Raises:
            ConfigError: there is no room for it on the disk.
        """
        self._hashes.append(hash(example.id))
        if len(self._held) < HELD:
            self._held.append(example)
            return
        self._shelf = self._shelf or Shelf()
        texts = (example.fields, example.options, example.answers)
        self._shelf.add([example.id, example.language, *map(_plain, texts)])

    def plain(self) -> Sequence[Example]:
        """The same examples, as a tuple where memory holds all of them."""
        return self if self._shelf else tuple(self._held)

    def at(self, place: int) -> Example:
        """The example at a place from 0 on."""
        if place < len(self._held):
            return self._held[place]
        assert self._shelf is not None, "beyond the held ones there is a shelf"
        name, language, fields, options, answers = self._shelf[place - len(self._held)]
        return Example(name, language, MappingProxyType(fields), tuple(options), tuple(answers))

    def hashes(self) -> Numbers:
        """The hash of each example's id, (examples,)."""
        return numpy.array(self._hashes, dtype=numpy.int64)

    def __len__(self) -> int:
        return len(self._hashes)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, MappingProxyType) else value


@final
class _Joined(Lazy[Example]):
    """Examples one after another."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self.parts = parts

    def at(self, place: int) -> Example:
        for part in self.parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(place)

    def hashes(self) -> Numbers:
        return numpy.concatenate([hashes_of(part) for part in self.parts])

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def chosen(examples: Sequence[Example], places: Iterable[int]) -> Sequence[Example]:
    """The examples at these places, in this order; a tuple where memory holds them anyway."""
    if not isinstance(examples, Lazy):
        return tuple(examples[place] for place in places)
    return Part(examples, places if isinstance(places, range) else array("q", places))


def joined(*parts: Sequence[Example]) -> Sequence[Example]:
    """The examples of all parts, one after another; a tuple where memory holds them anyway."""
    if any(isinstance(part, Lazy) for part in parts):
        return _Joined([part for part in parts if part])
    return tuple(example for part in parts for example in part)


def drawn(examples: Sequence[Example], count: int, source: random.Random) -> Sequence[Example]:
    """At most `count` of the examples, decided by the source and the ids, in their order."""
    if count >= len(examples):
        return examples
    order = order_by_id(examples)
    source.shuffle(order)
    return chosen(examples, sorted(order[:count]))


def without_ids(examples: Sequence[Example], ids: Collection[str]) -> Sequence[Example]:
    """The examples that have none of these ids."""
    if not ids:
        return examples
    return chosen(examples, (at for at, each in enumerate(examples) if each.id not in ids))


def hashes_of(examples: Sequence[Example]) -> Numbers:
    """The hash of each example's id, (examples,); the same in one process only."""
    if isinstance(examples, Part):
        found: Numbers = hashes_of(examples.whole)[numpy.asarray(examples.places)]
        return found
    if isinstance(examples, (Shelved, _Joined)):
        return examples.hashes()
    return numpy.fromiter((hash(each.id) for each in examples), numpy.int64, len(examples))


@final
class Ids:
    """Where each id stands among examples, found without holding the ids."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    @cached_property
    def _order(self) -> tuple[array[int], array[int]]:
        """The hashes in order, and the place of each."""
        hashes = hashes_of(self.examples)
        places = numpy.argsort(hashes, kind="stable").astype(numpy.int64)
        # Not numpy's: a search in those costs ten times as much.
        return array("q", hashes[places].tobytes()), array("q", places.tobytes())

    def places(self, name: str) -> tuple[int, ...]:
        """The places of the examples of an id, in order."""
        hashes, places = self._order
        first = bisect_left(hashes, hash(name))
        found = places[first : bisect_right(hashes, hash(name), lo=first)]
        return tuple(place for place in found if self.examples[place].id == name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.places(name))

    def repeated(self) -> list[str]:
        """The ids of more than one example, in the order in which they first occur."""
        hashes, places = map(numpy.asarray, self._order)
        again = hashes[1:] == hashes[:-1]
        both = numpy.union1d(places[1:][again], places[:-1][again])
        return list(dict.fromkeys(n for n in self._names(both) if len(self.places(n)) > 1))

    def shared(self, other: Ids) -> list[str]:
        """The ids that `other` has too, in order."""
        common = numpy.isin(hashes_of(self.examples), other._order[0]).nonzero()[0]
        return sorted({name for name in self._names(common) if name in other})

    def _names(self, places: Numbers) -> Iterable[str]:
        return (self.examples[int(place)].id for place in places)


def order_by_id(examples: Sequence[Example]) -> MutableSequence[int]:
    """The examples' places in order of id, then of language.

    >>> order_by_id([Example("b", "en", {}), Example("a", "tr", {}), Example("a", "en", {})])
    array('Q', [2, 1, 0])
    """
    runs = [_run(examples, start) for start in range(0, len(examples), HELD)]
    return array("Q", (place for _, _, place in heapq.merge(*runs)))


def _run(examples: Sequence[Example], start: int) -> Sequence[Any]:
    """Id, language and place of `HELD` examples from the start on, in order."""
    places = range(len(examples))[start : start + HELD]
    found = sorted([examples[at].id, examples[at].language, at] for at in places)
    if len(examples) <= HELD:
        return found
    shelf = Shelf()
    for one in found:
        shelf.add(one)
    return shelf
