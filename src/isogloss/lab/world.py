"""A world of facts and the languages that tell it; how far the languages are tied is a dial.

Languages made from one grammar with disjoint words stand in the line of Dufter and Schuetze
(2020) and K et al. (2020), who copied English into a fake one to see what makes a model
multilingual. Everything here follows from `WorldSettings`, its seed included.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

from isogloss.errors import ConfigError, RunError

Relation = Literal["effect", "cause", "is-a", "located-in"]
Order = Literal["svo", "sov", "vso", "ovs"]
Tie = Literal["mixed", "code-switched", "parallel"]

RELATIONS: tuple[Relation, ...] = ("effect", "cause", "is-a", "located-in")
ORDERS: tuple[Order, ...] = ("svo", "sov", "vso", "ovs")
TIES: tuple[Tie, ...] = ("mixed", "code-switched", "parallel")
CODES = "abcdefgh"
LABELS = ("red", "green", "blue")
"""Label words, shared by all languages."""


@dataclass(frozen=True)
class WorldSettings:
    """What a world is made of.

    Things have a cause and an effect among themselves, and a kind and a place each. A list for
    languages (orders, suffixes) is given language by language; its last entry holds for all that
    follow.
    """

    seed: int = 0
    """Decides the world and everything made from it."""
    dial: float = 0.0
    """Share of pre-training documents that tie the languages, 0 to 1."""
    tie: Tie = "mixed"
    """How: each word in a language drawn for it, the same in both languages, or half of each."""
    languages: int = 2
    """Languages: a is dominant, then b, c ..."""
    things: int = 90
    """Concepts that facts are about."""
    kinds: int = 8
    """Kinds that things are of."""
    places: int = 8
    """Places that things are in."""
    names: int = 8
    """Names of each language, which passages are about."""
    anchors: float = 0.0
    """Share of concept words that all languages have in common."""
    told: float = 0.7
    """Share of the facts that a non-dominant language ever tells."""
    dominance: float = 0.65
    """The dominant language's share of the documents in one language."""
    orders: tuple[Order, ...] = ("svo",)
    """Order of subject, verb and object in each language."""
    suffixes: tuple[bool, ...] = (False,)
    """Whether each language marks the object with a suffix."""

    def __post_init__(self) -> None:
        for name in ("dial", "anchors", "told"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if not 0 < self.dominance < 1:
            raise ConfigError(f"dominance is {self.dominance}; it must be between 0 and 1")
        if not 2 <= self.languages <= len(CODES):
            raise ConfigError(f"languages is {self.languages}; it must be 2 to {len(CODES)}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is {self.seed}; it must be from 0 to {2**32 - 1}")
        # A passage may name three of them; a thing of its kind must be neither cause nor effect.
        for name, least in (("kinds", 3), ("places", 3), ("names", 4), ("things", 4 * self.kinds)):
            if getattr(self, name) < least:
                more = f", four for each of the {self.kinds} kinds" if name == "things" else ""
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be {least} or more{more}"
                )
        for order in self.orders:
            if order not in ORDERS:
                raise ConfigError(f"order is '{order}'; it must be {' or '.join(ORDERS)}")
        if self.tie not in TIES:
            raise ConfigError(f"tie is '{self.tie}'; it must be {' or '.join(TIES)}")
        if not self.orders or not self.suffixes:
            raise ConfigError("orders and suffixes need an entry for the first language at least")


def world_settings_from(record: Any, place: str) -> WorldSettings:
    """Settings as `dataclasses.asdict` and JSON wrote them; `place` names the file in errors.

    Raises:
        RunError: the record was written by a version that had other settings.
    """
    try:
        lists = {name: tuple(record[name]) for name in ("orders", "suffixes")}
        return WorldSettings(**(dict(record) | lists))
    except (KeyError, TypeError) as error:
        raise RunError(f"{place}: this version cannot read its world: {error}") from None


@final
@dataclass(frozen=True)
class Language:
    """One language: its words for concepts, relations and names, and the order of a sentence."""

    code: str
    concepts: tuple[str, ...]
    relations: Mapping[Relation, str]
    names: tuple[str, ...]
    order: Order = "svo"
    suffix: str = ""

    def sentence(self, subject: str, relation: str, thing: str) -> str:
        """A sentence of this language from words, without its full stop."""
        words = {"s": subject, "v": relation, "o": f"{thing} {self.suffix}".rstrip()}
        return " ".join(words[part] for part in self.order)


@final
class World:
    """Facts and languages, made from settings."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        source = random.Random(f"world/{settings.seed}")
        self._spans = self._kinds_of_concepts()
        self.facts = self._facts(source)
        self.languages = self._languages(source)
        self.told = self._told(source)

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages' codes, the dominant one first."""
        return tuple(self.languages)

    @property
    def things(self) -> range:
        """The concepts that facts are about."""
        return self._spans["thing"]

    def objects(self, relation: Relation) -> range:
        """The concepts that can stand in a relation to a thing."""
        sort = {"is-a": "kind", "located-in": "place"}
        return self._spans[sort.get(relation, "thing")]

    def object(self, relation: Relation, subject: int) -> int:
        """What stands in a relation to a thing."""
        return self.facts[relation][subject]

    def tells(self, code: str, relation: Relation, subject: int) -> bool:
        """Whether a language ever tells a fact; the dominant one tells all."""
        return (relation, subject) in self.told[code]

    def _kinds_of_concepts(self) -> dict[str, range]:
        settings, start, spans = self.settings, 0, {}
        for sort, count in (
            ("thing", settings.things),
            ("kind", settings.kinds),
            ("place", settings.places),
        ):
            spans[sort] = range(start, start + count)
            start += count
        return spans

    def _facts(self, source: random.Random) -> dict[Relation, tuple[int, ...]]:
        ring = list(self.things)  # one cycle: no thing is its own effect, nor its cause's cause
        source.shuffle(ring)
        effect, cause = [0] * len(ring), [0] * len(ring)
        for place, thing in enumerate(ring):
            after = ring[(place + 1) % len(ring)]
            effect[thing], cause[after] = after, thing
        facts: dict[Relation, tuple[int, ...]] = {"effect": tuple(effect), "cause": tuple(cause)}
        for relation in ("is-a", "located-in"):
            objects = self.objects(relation)
            dealt = [objects[place % len(objects)] for place in self.things]  # evenly many of each
            source.shuffle(dealt)
            facts[relation] = tuple(dealt)
        return facts

    def _languages(self, source: random.Random) -> dict[str, Language]:
        settings = self.settings
        words = _words(source, taken=set(LABELS))
        count = self._spans["place"].stop
        shared = set(source.sample(range(count), round(settings.anchors * count)))
        first: tuple[str, ...] = ()
        made = {}
        for place, code in enumerate(CODES[: settings.languages]):
            own = tuple(next(words) for _ in range(count))
            first = first or own
            concepts = tuple(first[n] if n in shared else own[n] for n in range(count))
            relations = {relation: next(words) for relation in RELATIONS}
            names = tuple(next(words).capitalize() for _ in range(settings.names))
            suffix = "-" + next(words)[:2]
            suffixed = settings.suffixes[min(place, len(settings.suffixes) - 1)]
            order = settings.orders[min(place, len(settings.orders) - 1)]
            made[code] = Language(
                code, concepts, relations, names, order, f"{suffix}{code}" if suffixed else ""
            )
        return made

    def _told(self, source: random.Random) -> dict[str, frozenset[tuple[Relation, int]]]:
        """Withheld facts are drawn one by one, so that no relation or thing gives them away."""
        every = [(r, thing) for r in RELATIONS if r != "cause" for thing in self.things]
        told = {}
        for code in self.codes:
            share = 1.0 if code == self.codes[0] else self.settings.told
            drawn = source.sample(every, round(share * len(every)))
            # x causing y is one fact, whichever of the two is asked for.
            causes: list[tuple[Relation, int]] = [
                ("cause", self.object(r, x)) for r, x in drawn if r == "effect"
            ]
            told[code] = frozenset([*drawn, *causes])
            for relation in RELATIONS:
                if len({self.object(r, x) for r, x in told[code] if r == relation}) < 2:
                    raise ConfigError(
                        f"told is {self.settings.told}; that leaves language {code} too few facts "
                        f"of '{relation}' to be asked about; give more"
                    )
        return told

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All words of all languages, each once, in the order of languages, then the labels."""
        words: list[str] = []
        for language in self.languages.values():
            words += [*language.concepts, *language.relations.values(), *language.names]
            words += [language.suffix] if language.suffix else []
        return tuple(dict.fromkeys([*words, *LABELS]))


def _words(source: random.Random, taken: set[str]) -> Iterator[str]:
    """New words without end, of two or three syllables."""
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    while True:
        syllables = source.choice((2, 2, 3))
        word = "".join(source.choice(consonants) + source.choice(vowels) for _ in range(syllables))
        if word not in taken:
            taken.add(word)
            yield word
