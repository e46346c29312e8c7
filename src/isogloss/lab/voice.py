"""Who speaks: one language, or several mixed word by word."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import final

from isogloss.lab.world import Language, Relation


@final
class Voice:
    """Says concepts, names and sentences of one item or sentence.

    With several languages each word is in a language drawn for it, and stays in it for as long
    as the voice lasts; order and suffix are those of the first one drawn.
    """

    def __init__(self, languages: Sequence[Language], source: random.Random) -> None:
        self._languages, self._source = languages, source
        self._base = self._drawn()
        self._said: dict[tuple[str, int | Relation], str] = {}

    @classmethod
    def of(cls, language: Language) -> Voice:
        """One language's voice."""
        return cls((language,), random.Random(0))

    def concept(self, number: int) -> str:
        """The word for a concept."""
        return self._word("concept", number)

    def name(self, number: int) -> str:
        """A name."""
        return self._word("name", number)

    def relation(self, relation: Relation) -> str:
        """The word for a relation."""
        return self._word("relation", relation)

    def sentence(self, subject: str, relation: Relation, thing: int) -> str:
        """A sentence about a subject that is a word already."""
        return self._base.sentence(subject, self.relation(relation), self.concept(thing))

    def _drawn(self) -> Language:
        if len(self._languages) == 1:
            return self._languages[0]
        return self._source.choice(self._languages)

    def _word(self, sort: str, which: int | Relation) -> str:
        if (sort, which) not in self._said:
            language = self._drawn()
            if isinstance(which, str):
                word = language.relations[which]
            else:
                word = (language.concepts if sort == "concept" else language.names)[which]
            self._said[sort, which] = word
        return self._said[sort, which]
