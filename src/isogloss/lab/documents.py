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

from isogloss.lab.items import (
    Class,
    Item,
    Labelled,
    draw_choice,
    draw_labelled,
    draw_passage,
    draw_sentence,
)
from isogloss.lab.voice import Voice
from isogloss.lab.world import LABELS, RELATIONS, Language, Relation, World

Sort = Literal["facts", "repeat", "copy", "choice", "label", "span"]
MIXTURE: Mapping[Sort, float] = {
    "facts": 0.08,
    "repeat": 0.12,
    "copy": 0.1,
    "choice": 0.15,
    "label": 0.27,
    "span": 0.28,
}
NAMED = 0.3
"""Share of choice and span documents whose questions name the relation they ask for."""
AMBIGUOUS = 0.6
"""Share of a choice document's items that nothing but the asked relation decides."""
CLASSES: tuple[Class, ...] = ("effect", "cause", "is-a", "located-in", "none")
REPEATED = 0.5
"""Share of label documents that come back to a few pairs: copying comes before comparing."""
PASSAGES = ((1, False), (2, False), (3, False), (1, True), (2, True), (2, True), (2, True))
"""Names of a passage, and whether each has two sentences; the easy ones are learnt first."""
BREAK = "\n\n"


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


@final
@dataclass(frozen=True)
class Documents:
    """The pre-training text of a world, document by document."""

    world: World

    def pieces(self, number: int) -> Iterator[str]:
        """Document `number` without end, in pieces: sentences, or solved items with a break."""
        source = random.Random(f"{self.world.settings.seed}/document/{number}")
        sort = source.choices(list(MIXTURE), weights=list(MIXTURE.values()))[0]
        scene = self._scene(source)
        if sort == "facts":
            return self._sentences(scene)
        if sort == "repeat":
            return self._repeats(scene)
        rules = {
            "copy": self._copy,
            "choice": self._choice,
            "label": self._label,
            "span": self._span,
        }
        rule = rules[sort](scene)
        return (rule(scene.voice()).text + BREAK for _ in iter(int, 1))

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

    def _sentences(self, scene: Scene) -> Iterator[str]:
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
                yield f" {said} ."

    def _repeats(self, scene: Scene) -> Iterator[str]:
        """A few words in no order of sense, again and again: what copying is learnt from."""
        source, words = scene.source, []
        for _ in range(source.randint(4, 24)):
            language = source.choice(scene.languages)
            words.append(source.choice((*language.concepts, *language.names)))
        text = " " + " ".join(words)
        while True:
            yield text

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
        groups = source.sample(CLASSES, 3)
        words = dict(zip(groups, source.sample(LABELS, 3), strict=True))

        def draw() -> Labelled:
            group = source.choice(groups)
            return draw_labelled(self.world, source, group, self.world.things, scene.told)

        few = [draw() for _ in range(source.randint(3, 8))]
        again = source.random() < REPEATED

        def item(voice: Voice) -> Item:
            return (source.choice(few) if again else draw()).item(voice, words=words)

        return item

    def _span(self, scene: Scene) -> Callable[[Voice], Item]:
        source = scene.source
        relation, named = source.choice(RELATIONS), source.random() < NAMED
        names, both = source.choice(PASSAGES)
        return lambda voice: draw_passage(
            self.world, source, relation, names=names, both=both
        ).item(voice, named=named)

    def _copy(self, scene: Scene) -> Callable[[Voice], Item]:
        source = scene.source
        few = [draw_sentence(self.world, source) for _ in range(source.randint(2, 8))]
        return lambda voice: source.choice(few).item(voice)
