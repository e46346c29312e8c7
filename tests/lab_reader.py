"""An independent reader of the lab's text: from words back to concepts, relations and facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from isogloss.lab.documents import Documents
from isogloss.lab.world import RELATIONS, World

MARKS = (".", ",", "/", "=", "?")


@dataclass(frozen=True)
class Word:
    """What a word of a world without anchors means, and in which language."""

    code: str
    sort: str  # concept, relation, name, suffix or label
    which: object


@dataclass(frozen=True)
class Read:
    """One sentence or solved item: `sort` is sentence, choice, label or span."""

    sort: str
    subject: int = -1
    relation: str | None = None  # None: not said
    thing: int = -1  # what stands in the relation, or the answer
    wrong: int = -1
    label: str = ""
    words: tuple[Word, ...] = ()

    @property
    def codes(self) -> set[str]:
        return {word.code for word in self.words if word.code}


class Reader:
    def __init__(self, world: World) -> None:
        assert world.settings.anchors == 0
        self.world, self.meaning = world, {}
        for code, language in world.languages.items():
            for number, word in enumerate(language.concepts):
                self.meaning[word] = Word(code, "concept", number)
            for relation, word in language.relations.items():
                self.meaning[word] = Word(code, "relation", relation)
            for number, word in enumerate(language.names):
                self.meaning[word] = Word(code, "name", number)
            if language.suffix:
                self.meaning[language.suffix] = Word(code, "suffix", "")

    def words(self, text: str) -> tuple[Word, ...]:
        said = [word for word in text.split() if word not in MARKS]
        return tuple(self.meaning.get(word, Word("", "label", word)) for word in said)

    def concept(self, word: str) -> int:
        return self._which(word, "concept")

    def relation(self, word: str) -> str | None:
        return None if word == "?" else self._which(word, "relation")

    def _which(self, word: str, sort: str):
        assert self.meaning[word].sort == sort, word
        return self.meaning[word].which

    def read(self, piece: str) -> Read:
        words = self.words(piece)
        if piece.rstrip(" ").endswith(" ."):
            concepts = [word.which for word in words if word.sort == "concept"]
            (relation,) = (word.which for word in words if word.sort == "relation")
            assert len(concepts) == 2, piece
            place = [word.sort for word in words if word.sort != "suffix"].index("relation")
            assert place == 1, "only for languages of the order svo"
            return Read("sentence", concepts[0], relation, concepts[1], words=words)
        assert piece.endswith("\n\n")
        solved = piece.removesuffix("\n\n")
        if "," in solved.split():
            first, _, second, answer = solved.split()
            pair = self.concept(first), None, self.concept(second)
            return Read("label", *pair, label=answer, words=words)
        asked, answer = solved.split(" = ")
        if "\n" in asked:
            relation = self.relation(asked.split()[-1])
            return Read("span", relation=relation, thing=self.concept(answer), words=words)
        subject, relation, first, mark, second = asked.split()
        assert mark == "/"
        assert answer in (first, second)
        wrong = second if answer == first else first
        asked_of = self.concept(subject), self.relation(relation)
        return Read("choice", *asked_of, self.concept(answer), self.concept(wrong), words=words)

    def document(self, number: int, pieces: int = 12) -> tuple[Read, ...]:
        drawn = islice(Documents(self.world).pieces(number), pieces)
        return tuple(self.read(piece.whole) for piece in drawn)

    def facts_between(self, subject: int, thing: int) -> Iterator[tuple[str, int]]:
        for relation in RELATIONS:
            if subject in self.world.things and self.world.object(relation, subject) == thing:
                yield relation, subject

    def facts_of(self, items: Iterable[Read]) -> list[list[tuple[str, int]]]:
        """For each sentence and question the facts that it may stand on; one of them is meant."""
        needed = []
        for item in items:
            if item.sort in ("sentence", "choice", "label"):
                facts = list(self.facts_between(item.subject, item.thing))
                if item.relation:
                    facts = [fact for fact in facts if fact[0] == item.relation]
                if item.sort != "label" or facts:
                    needed.append(facts)
        return needed
