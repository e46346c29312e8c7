"""Questions about the world in the shapes of XCOPA, XNLI and XQuAD, and their one wording."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isogloss.lab.voice import Voice
from isogloss.lab.world import RELATIONS, Relation, World

Shape = Literal["choice", "label", "span"]
Class = Literal["effect", "cause", "is-a", "located-in", "other-kind", "none"]

UNSAID = "?"
"""Stands where the asked relation's word would: only the demonstrations say which it is."""
INPUTS: Mapping[Shape, str] = {
    "choice": "{premise} {question} {choice1} / {choice2} =",
    "label": "{premise} , {hypothesis}",
    "span": "{passage}\n{question} =",
}
ANSWER = " {answer}"


@dataclass(frozen=True)
class Item:
    """One question in words: the fields of its wording, and the answer's text."""

    shape: Shape
    fields: Mapping[str, str]
    answer: str

    @property
    def question(self) -> str:
        """The question as a prompt has it, up to the answer."""
        return INPUTS[self.shape].format(**self.fields)

    @property
    def solution(self) -> str:
        """The answer as a prompt has it, with the space before it."""
        return ANSWER.format(answer=self.answer)


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

    `none` is a pair of things that do not cause one another, `other-kind` a thing and a kind that
    it is not of.
    """
    if group == "none":
        first = source.choice(subjects)
        near = (first, world.object("effect", first), world.object("cause", first))
        return Labelled(first, source.choice([x for x in world.things if x not in near]), group)
    relation: Relation = "is-a" if group == "other-kind" else group
    first = source.choice([thing for thing in subjects if (relation, thing) in told])
    second = world.object(relation, first)
    if group == "other-kind":
        second = source.choice([kind for kind in world.objects("is-a") if kind != second])
    return Labelled(first, second, group)


@dataclass(frozen=True)
class Passage:
    """What is said of one name: a relation and an object each, and the place of the asked one."""

    name: int
    sentences: tuple[tuple[Relation, int], ...]
    asked: int

    def about(self, place: int) -> Passage:
        """The same passage, asking for what its sentence at `place` says."""
        return Passage(self.name, self.sentences, place)

    def item(self, voice: Voice, *, named: bool = False) -> Item:
        """The question in a voice; `named` says the relation that is asked for."""
        name = voice.name(self.name)
        told = [f"{voice.sentence(name, relation, o)} ." for relation, o in self.sentences]
        relation, thing = self.sentences[self.asked]
        question = f"{name} {voice.relation(relation) if named else UNSAID}"
        fields = {"passage": " ".join(told), "question": question}
        return Item("span", fields, voice.concept(thing))


def draw_passage(
    world: World, source: random.Random, relation: Relation, others: Sequence[Relation]
) -> Passage:
    """A passage about a name: a sentence with the asked relation and one with each other.

    Objects are drawn freely: a passage is no fact of the world, and must be read. None stands
    twice, so that an answer is found in one place only.
    """
    relations = [relation, *others]
    source.shuffle(relations)
    sentences: list[tuple[Relation, int]] = []
    for each in relations:
        free = set(world.objects(each)) - {thing for _, thing in sentences}
        sentences.append((each, source.choice(sorted(free))))
    name = source.randrange(world.settings.names)
    return Passage(name, tuple(sentences), relations.index(relation))
