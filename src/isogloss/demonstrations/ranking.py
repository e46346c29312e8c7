"""Which training items are nearest to an item: BM25 over character n-grams.

Robertson and Zaragoza 2009. N-grams of characters need no tokenizer and no word list of a language,
and find names and numbers across languages.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import final

from isogloss.tasks.example import Example

KEPT_TEXTS = 1024  # texts whose scores are remembered, or as many as there are items
SHORTEST, LONGEST = 2, 4  # characters of an n-gram
K1, B = 1.2, 0.75


class Ranking(ABC):
    """How near each of a fixed list of items is to another item."""

    items: tuple[Example, ...]

    @abstractmethod
    def scores(self, example: Example) -> Sequence[float]:
        """The nearness of each item, in their order; greater is nearer."""


def text_of(example: Example) -> str:
    """All of an item's fields, in the order of their names."""
    return "\n".join(example.fields[name] for name in sorted(example.fields))


def forget(found: dict[str, list[float]], items: int) -> None:
    """Make room for one more text's scores: what answers for weeks must not grow."""
    if len(found) >= max(KEPT_TEXTS, items):
        del found[next(iter(found))]


def character_ngrams(text: str) -> Counter[str]:
    """The n-grams of 2 to 4 characters within words, a word's ends marked by a space.

    >>> sorted(character_ngrams("Ab"))
    [' a', ' ab', ' ab ', 'ab', 'ab ', 'b ']
    """
    counts: Counter[str] = Counter()
    for word in text.lower().split():
        marked = f" {word} "
        for size in range(SHORTEST, LONGEST + 1):
            counts.update(marked[at : at + size] for at in range(len(marked) - size + 1))
    return counts


@final
class Bm25(Ranking):
    """Okapi BM25 with the inverse frequency that is never below zero."""

    def __init__(self, items: Sequence[Example]) -> None:
        self.items = tuple(items)
        documents = [character_ngrams(text_of(item)) for item in items]
        lengths = [sum(document.values()) for document in documents]
        mean = sum(lengths) / len(lengths) if lengths else 1.0
        self._norms = [K1 * (1 - B + B * length / mean) for length in lengths]
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, document in enumerate(documents):
            for gram, count in document.items():
                self._postings[gram].append((place, count))
        self._found: dict[str, list[float]] = {}

    def scores(self, example: Example) -> Sequence[float]:
        """BM25 of each item for the example's text; the same text is computed once."""
        text = text_of(example)
        if text not in self._found:
            forget(self._found, len(self.items))
            totals = [0.0] * len(self.items)
            for gram in character_ngrams(text):
                rows = self._postings.get(gram, [])
                inverse = math.log(1 + (len(self.items) - len(rows) + 0.5) / (len(rows) + 0.5))
                for place, count in rows:
                    totals[place] += inverse * count * (K1 + 1) / (count + self._norms[place])
            self._found[text] = totals
        return self._found[text]
