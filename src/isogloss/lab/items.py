"""Questions about the world in the shapes of XCOPA, XNLI and XQuAD, and their one wording."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isogloss.lab.voice import Voice
from isogloss.lab.world import RELATIONS, Relation, World

Shape = Literal["choice", "label", "span", "copy"]
Class = Literal["effect", "cause", "is-a", "located-in", "same-kind", "none"]

UNSAID = "?"
"""Stands where the asked relation's word would: only the demonstrations say which it is."""
INPUTS: Mapping[Shape, str] = {
    "choice": "{premise} {question} {choice1} / {choice2} =",
    "label": "{premise} , {hypothesis} =",
    "span": "{passage}\n{question} =",
    "copy": "{question} =",
}
ANSWER = " {answer}"


@dataclass(frozen=True)
class Item:
    """One question in words: the fields of its wording, and the answer's text."""

    shape: Shape
    fields: Mapping[str, str]
    answer: str

    @property
    def text(self) -> str:
        """The question solved, as a prompt has it."""
        return (INPUTS[self.shape] + ANSWER).format(**self.fields, answer=self.answer)


@dataclass(frozen=True)
class Choice:
    """Which of two stands in `relation` to `subject`: `right`, not `wrong`."""

    subject: int
    relation: Relation
    right: int
    wrong: int
    right_first: bool

    def item(self, voice: Voice, *, named: bool = False) -> Item:
        """The question in a voice; `named` says the relation that is asked for."""
        first, second = (self.right, self.wrong) if self.right_first else (self.wrong, self.right)
        fields = {
            "premise": voice.concept(self.subject),
            "question": voice.relation(self.relation) if named else UNSAID,
            "choice1": voice.concept(first),
            "choice2": voice.concept(second),
        }
        return Item("choice", fields, voice.concept(self.right))


def draw_choice(
    world: World,
    source: random.Random,
    relation: Relation,
    subjects: Sequence[int],
    told: frozenset[tuple[Relation, int]],
    *,
    ambiguous: bool,
    others: Sequence[Relation] = RELATIONS,
) -> Choice:
    """A question about one of `subjects` by facts that are `told`.

    Ambiguous: the wrong option stands in another relation (one of `others`) to the same subject,
    so both would do if the relation is not known; only where nothing else is told of any subject
    it cannot. Otherwise it stands in the asked relation to another thing and in none to this one,
    so that the fact itself must be known.
    """
    rivals = [other for other in others if other != relation]
    asked = [thing for thing in subjects if (relation, thing) in told]
    if ambiguous:
        asked = [x for x in asked if any((other, x) in told for other in rivals)] or asked
    subject = source.choice(asked)
    right = world.object(relation, subject)
    rest = [other for other in rivals if (other, subject) in told]
    if ambiguous and rest:
        wrong = world.object(source.choice(rest), subject)
    else:
        near = {subject, *(world.object(other, subject) for other in RELATIONS)}
        wrong = right
        while wrong in near:
            wrong = source.choice(world.objects(relation))
    return Choice(subject, relation, right, wrong, source.random() < 0.5)


@dataclass(frozen=True)
class Labelled:
    """Two concepts and how the second stands to the first."""

    first: int
    second: int
    group: Class

    def item(self, voice: Voice, *, words: Mapping[Class, str]) -> Item:
        """The question in a voice; `words` has a label for each class."""
        fields = {"premise": voice.concept(self.first), "hypothesis": voice.concept(self.second)}
        return Item("label", fields, words[self.group])


def draw_labelled(
    world: World,
    source: random.Random,
    group: Class,
    subjects: Sequence[int],
    told: frozenset[tuple[Relation, int]],
) -> Labelled:
    """A pair of concepts of a class.

    `none` and `same-kind` are pairs of things that do not cause one another.
    """
    if group != "none" and group != "same-kind":
        first = source.choice([thing for thing in subjects if (group, thing) in told])
        return Labelled(first, world.object(group, first), group)
    first = source.choice(subjects)
    near = (first, world.object("effect", first), world.object("cause", first))
    others = [thing for thing in world.things if thing not in near]
    if group == "same-kind":
        kind = world.object("is-a", first)
        others = [thing for thing in others if world.object("is-a", thing) == kind]
    return Labelled(first, source.choice(others), group)


@dataclass(frozen=True)
class Sentence:
    """A name, a relation and what stands in it, for once and for this document only."""

    name: int
    relation: Relation
    thing: int

    def item(self, voice: Voice) -> Item:
        """The sentence as a question without a passage: only an earlier answer can tell."""
        question = f"{voice.name(self.name)} {voice.relation(self.relation)}"
        return Item("copy", {"question": question}, voice.concept(self.thing))


@dataclass(frozen=True)
class Passage:
    """Sentences about names, and the place of the one that is asked about."""

    sentences: tuple[tuple[int, Relation, int], ...]
    asked: int

    def about_first(self) -> Passage:
        """The same passage, asking for the first thing said of the name that is asked about."""
        name = self.sentences[self.asked][0]
        first = next(place for place, (each, _, _) in enumerate(self.sentences) if each == name)
        return Passage(self.sentences, first)

    def item(self, voice: Voice, *, named: bool = False) -> Item:
        """The question in a voice; `named` says the relation that is asked for."""
        told = [f"{voice.sentence(voice.name(n), r, o)} ." for n, r, o in self.sentences]
        name, relation, thing = self.sentences[self.asked]
        question = f"{voice.name(name)} {voice.relation(relation) if named else UNSAID}"
        return Item("span", {"passage": " ".join(told), "question": question}, voice.concept(thing))


def draw_sentence(world: World, source: random.Random) -> Sentence:
    """A sentence about a name."""
    relation = source.choice(RELATIONS)
    return Sentence(
        source.randrange(world.settings.names), relation, source.choice(world.objects(relation))
    )


def draw_passage(
    world: World,
    source: random.Random,
    relation: Relation,
    others: Sequence[Relation] = RELATIONS,
    *,
    names: int = 2,
    both: bool = True,
) -> Passage:
    """A passage about names, one sentence each with the asked relation; objects are drawn freely.

    With `both` each name has a second sentence with another relation, so that a name alone does
    not say what is asked. No object stands twice: an answer is found in one place only.
    """
    other = source.choice([one for one in others if one != relation])
    chosen = source.sample(range(world.settings.names), names)
    relations = (relation, other) if both else (relation,)
    about = [(name, each) for name in chosen for each in relations]
    source.shuffle(about)
    sentences: list[tuple[int, Relation, int]] = []
    for name, each in about:
        free = set(world.objects(each)) - {thing for _, _, thing in sentences}
        sentences.append((name, each, source.choice(sorted(free))))
    places = [place for place, (_, each, _) in enumerate(sentences) if each == relation]
    return Passage(tuple(sentences), source.choice(places))
