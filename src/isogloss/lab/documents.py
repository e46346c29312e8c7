"""Pre-training text: facts, passages and sequences of solved items, one document a row.

In-context learning comes from documents in which many items share a rule that nothing but the
items themselves gives away (Xie et al. 2022; Chan et al. 2022). Document n follows from the
world's seed and n alone, so any process can make any part of the text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, final

from isogloss.encoding import SEPARATOR
from isogloss.lab.items import (
    Class,
    Item,
    Labelled,
    draw_choice,
    draw_labelled,
    draw_passage,
)
from isogloss.lab.voice import Voice
from isogloss.lab.world import LABELS, RELATIONS, Language, Relation, World

Sort = Literal["facts", "choice", "label", "span"]
MIXTURE: Mapping[Sort, float] = {"facts": 0.1, "choice": 0.18, "label": 0.47, "span": 0.25}
NAMED = 0.3
"""Share of choice and span documents whose questions name the relation they ask for."""
AMBIGUOUS = 0.6
"""Share of a choice document's items that nothing but the asked relation decides."""
CLASSES: tuple[Class, ...] = ("effect", "cause", "none", "is-a", "located-in")
REPEATED = 0.5
"""Share of label documents that come back to a few pairs: copying comes before comparing."""
EASY = 0.5
"""Share of label documents in which a kind, a place and a thing have three labels."""
SENTENCES = (1, 2, 3)
"""Sentences of a span document's passages, evenly drawn."""


@dataclass(frozen=True)
class Scene:
    """A document's languages, whether it mixes them word by word, and the facts it may tell."""

    languages: tuple[Language, ...]
    switched: bool
    told: frozenset[tuple[Relation, int]]
    source: random.Random

    def voice(self) -> Voice:
        """Who says the next item: one of the languages, or all of them mixed."""
        if self.switched or len(self.languages) == 1:
            return Voice(self.languages, self.source)
        return Voice((self.source.choice(self.languages),), self.source)


@dataclass(frozen=True)
class Piece:
    """A part of a document: text, then what answers it, then the rest; most may be empty."""

    text: str
    answer: str = ""
    rest: str = ""

    @property
    def whole(self) -> str:
        """The piece as it stands in the document."""
        return self.text + self.answer + self.rest


@final
@dataclass(frozen=True)
class Documents:
    """The pre-training text of a world, document by document."""

    world: World

    def pieces(self, number: int) -> Iterator[Piece]:
        """Document `number` without end, in pieces: sentences, or solved items with a break."""
        source = random.Random(f"{self.world.settings.seed}/document/{number}")
        sort = source.choices(list(MIXTURE), weights=list(MIXTURE.values()))[0]
        scene = self._scene(source)
        if sort == "facts":
            return self._sentences(scene)
        rules = {
            "choice": self._choice,
            "label": self._label,
            "span": self._span,
        }
        rule = rules[sort](scene)
        return (_solved(rule(scene.voice())) for _ in iter(int, 1))

    def _scene(self, source: random.Random) -> Scene:
        world, settings = self.world, self.world.settings
        first, *others = world.languages.values()
        if source.random() >= settings.dial:
            share = (1 - settings.dominance) / len(others)
            weights = [settings.dominance] + [share] * len(others)
            one = source.choices([first, *others], weights)[0]
            return Scene((one,), False, world.told[one.code], source)
        ties = ("code-switched", "parallel") if settings.tie == "mixed" else (settings.tie,)
        switched = source.choice(ties) == "code-switched"
        other = source.choice(others)
        return Scene((first, other), switched, world.told[other.code], source)

    def _sentences(self, scene: Scene) -> Iterator[Piece]:
        """Facts in sentences; parallel text says each in one language, then in the other."""
        facts = sorted(scene.told, key=lambda fact: (RELATIONS.index(fact[0]), fact[1]))
        while True:
            relation, thing = scene.source.choice(facts)
            singly = [(language,) for language in scene.languages]
            for languages in [scene.languages] if scene.switched else singly:
                voice = Voice(languages, scene.source)
                said = voice.sentence(
                    voice.concept(thing), relation, self.world.object(relation, thing)
                )
                yield Piece(f" {said} .")

    def _choice(self, scene: Scene) -> Callable[[Voice], Item]:
        source = scene.source
        relation, named = source.choice(RELATIONS), source.random() < NAMED

        def item(voice: Voice) -> Item:
            ambiguous = source.random() < AMBIGUOUS
            things = self.world.things
            drawn = draw_choice(
                self.world, source, relation, things, scene.told, ambiguous=ambiguous
            )
            return drawn.item(voice, named=named)

        return item

    def _label(self, scene: Scene) -> Callable[[Voice], Item]:
        source = scene.source
        groups = sorted(source.sample(CLASSES, 3), key=CLASSES.index)
        if source.random() < EASY:
            groups = [source.choice(CLASSES[:3]), *CLASSES[3:]]
        words = dict(zip(groups, source.sample(LABELS, 3), strict=True))

        # Seldom evenly many: copying the commonest label comes first, telling them apart after.
        weights = [source.random() ** 2 for _ in groups]

        def draw() -> Labelled:
            group = source.choices(groups, weights)[0]
            return draw_labelled(self.world, source, group, self.world.things, scene.told)

        few = [draw() for _ in range(source.randint(2, 5))]
        again = source.random() < REPEATED

        def item(voice: Voice) -> Item:
            return (source.choice(few) if again else draw()).item(voice, words=words)

        return item

    def _span(self, scene: Scene) -> Callable[[Voice], Item]:
        source = scene.source
        relation, named = source.choice(RELATIONS), source.random() < NAMED
        rest = [each for each in RELATIONS if each != relation]
        others = source.sample(rest, source.choice(SENTENCES) - 1)
        return lambda voice: draw_passage(self.world, source, relation, others).item(
            voice, named=named
        )


def _solved(item: Item) -> Piece:
    return Piece(item.question, item.solution, SEPARATOR)
