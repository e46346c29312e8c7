from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from isogloss.lab.documents import CLASSES, MIXTURE, Documents
from isogloss.lab.tokenizer import pieces, tokens
from isogloss.lab.world import LABELS, RELATIONS, World, WorldSettings
from lab_reader import Read, Reader

MANY = 600
QUESTIONS = ("choice", "label", "span")


def documents_of(**settings: object) -> tuple[World, list[tuple[Read, ...]]]:
    world = World(WorldSettings(**settings))
    reader = Reader(world)
    return world, [reader.document(number) for number in range(MANY)]


@pytest.fixture(scope="module")
def loose():
    return documents_of(dial=0.0, languages=3)


@pytest.fixture(scope="module")
def tied():
    return documents_of(dial=1.0, languages=3)


@pytest.fixture(scope="module")
def between():
    return documents_of(dial=0.3)


def codes(document: tuple[Read, ...]) -> set[str]:
    return set().union(*(item.codes for item in document))


def of_sort(documents: list[tuple[Read, ...]], *sorts: str) -> list[tuple[Read, ...]]:
    found = [document for document in documents if document[0].sort in sorts]
    assert found
    return found


def test_a_document_follows_from_the_settings_and_its_number() -> None:
    settings = WorldSettings(seed=4, dial=0.5)
    one, other = Documents(World(settings)), Documents(World(settings))
    forth = {number: list(islice(one.pieces(number), 6)) for number in range(40)}
    back = {number: list(islice(other.pieces(number), 6)) for number in reversed(range(40))}
    assert forth == back
    assert len({tuple(text) for text in forth.values()}) == 40
    longer = list(islice(one.pieces(7), 20))
    assert longer[:6] == forth[7], "asking for more changes nothing before it"


def test_two_documents_read_in_turns_do_not_disturb_each_other() -> None:
    documents = Documents(World(WorldSettings(dial=0.5)))
    for number in range(0, 30, 2):
        first, second = documents.pieces(number), documents.pieces(number + 1)
        turns = [(next(first), next(second)) for _ in range(5)]
        assert [one for one, _ in turns] == list(islice(documents.pieces(number), 5))
        assert [two for _, two in turns] == list(islice(documents.pieces(number + 1), 5))


def test_every_sort_of_document_is_there_and_of_one_sort_only(loose) -> None:
    _, documents = loose
    assert sum(MIXTURE.values()) == pytest.approx(1)
    sorts = [{item.sort for item in document} for document in documents]
    assert all(len(each) == 1 for each in sorts)
    assert {"sentence", *QUESTIONS} <= set().union(*sorts)


@pytest.mark.parametrize("world_of_text", ["loose", "tied", "between"])
def test_withheld_facts_are_neither_told_nor_asked(world_of_text: str, request) -> None:
    world, documents = request.getfixturevalue(world_of_text)
    reader, checked = Reader(world), Counter()
    for document in documents:
        others = codes(document) - {"a"}
        if not others:
            continue
        (code,) = others
        asked = reader.facts_of(document)
        for facts in asked:
            assert any(fact in world.told[code] for fact in facts), (document[0].sort, facts)
        checked[document[0].sort, code] += len(asked)
    for sort in ("sentence", "choice", "label"):
        for code in world.codes[1:]:
            assert checked[sort, code] > 50


@pytest.mark.parametrize("world_of_text", ["loose", "tied"])
def test_what_is_asked_is_right(world_of_text: str, request) -> None:
    world, documents = request.getfixturevalue(world_of_text)
    for item in (item for document in documents for item in document):
        if item.sort in ("sentence", "choice") and item.relation:
            assert world.object(item.relation, item.subject) == item.thing
        if item.sort == "choice":
            assert item.wrong != item.thing


@pytest.mark.parametrize("world_of_text", ["loose", "tied"])
def test_the_items_of_a_choice_document_follow_one_rule(world_of_text: str, request) -> None:
    world, documents = request.getfixturevalue(world_of_text)
    reader, rules = Reader(world), Counter()
    for document in of_sort(documents, "choice"):
        assert len({item.relation for item in document}) == 1, "named in all items or in none"
        fitting = set(RELATIONS)
        for item in document:
            between = {r for r, _ in reader.facts_between(item.subject, item.thing)}
            against = {r for r, _ in reader.facts_between(item.subject, item.wrong)}
            assert not between & against
            fitting &= between
        assert len(fitting) == 1
        rules.update(fitting)
        if document[0].relation:
            assert fitting == {document[0].relation}
    assert set(rules) == set(RELATIONS)


@pytest.mark.parametrize("world_of_text", ["loose", "tied"])
def test_the_items_of_a_label_document_follow_one_rule(world_of_text: str, request) -> None:
    world, documents = request.getfixturevalue(world_of_text)
    reader, seen = Reader(world), Counter()
    for document in of_sort(documents, "label"):
        meaning: dict[str, str] = {}
        for item in document:
            facts = [r for r, _ in reader.facts_between(item.subject, item.thing)] or ["none"]
            (group,) = facts
            assert group in CLASSES
            assert item.label in LABELS
            assert meaning.setdefault(item.label, group) == group
        assert len(set(meaning.values())) == len(meaning) <= 3
        seen.update((label, group) for label, group in meaning.items())
    by_label = Counter(label for label, _ in seen)
    assert set(by_label) == set(LABELS)
    assert min(by_label.values()) > 1, "no label always means the same"


def test_a_label_stands_unevenly_often_in_most_documents(loose) -> None:
    world, _ = loose
    reader, commonest = Reader(world), []
    for number in range(200):
        document = reader.document(number, 30)
        if document[0].sort == "label":
            counts = Counter(item.label for item in document)
            commonest.append(max(counts.values()) / counts.total())
    assert sum(share > 0.5 for share in commonest) > 0.6 * len(commonest)


def test_the_items_of_a_span_document_ask_one_relation(loose) -> None:
    world, documents = loose
    shown = {word: r for each in world.languages.values() for r, word in each.relations.items()}
    raw = Documents(world)
    for number, document in enumerate(documents):
        if document[0].sort != "span":
            continue
        fitting = set(RELATIONS)
        for piece in islice(raw.pieces(number), len(document)):
            passage, rest = piece.whole.strip().split("\n")
            question, answer = rest.split(" = ")
            name, asked = question.split()
            told = [sentence.split() for sentence in passage.split(" .") if sentence]
            objects = [thing for _, _, thing in told]
            assert len(set(objects)) == len(objects)
            about = {(shown[verb]) for who, verb, thing in told if (who, thing) == (name, answer)}
            assert len(about) == 1
            fitting &= about
            assert asked in ("?", *shown)
        assert len(fitting) == 1
        if document[0].relation:
            assert fitting == {document[0].relation}


def test_without_ties_no_document_has_words_of_two_languages(loose) -> None:
    _, documents = loose
    assert all(len(codes(document)) == 1 for document in documents)


def test_with_all_ties_every_document_is_of_the_dominant_language_and_another(tied) -> None:
    _, documents = tied
    found = [codes(document) for document in documents]
    assert all("a" in each and len(each) == 2 for each in found if len(each) > 1)
    # By chance all words of a short document can be of one language.
    assert sum(len(each) == 2 for each in found) > 0.97 * MANY
    partners = Counter(next(iter(each - {"a"})) for each in found if len(each) == 2)
    assert 0.4 < partners["b"] / partners.total() < 0.6


def test_the_share_of_tied_documents_is_the_dial(between) -> None:
    _, documents = between
    share = sum(len(codes(document)) == 2 for document in documents) / MANY
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / MANY) ** 0.5


@pytest.mark.parametrize("dominance", [0.65, 0.2])
def test_the_dominant_languages_share_is_its_setting(dominance: float) -> None:
    _, documents = documents_of(dominance=dominance, languages=3)
    by = Counter(next(iter(codes(document))) for document in documents)
    assert abs(by["a"] / MANY - dominance) < 4 * (dominance * (1 - dominance) / MANY) ** 0.5
    assert abs(by["b"] - by["c"]) < 4 * (MANY * (1 - dominance)) ** 0.5


def test_a_tie_in_parallel_says_each_item_in_one_language() -> None:
    _, documents = documents_of(dial=1.0, tie="parallel")
    for document in of_sort(documents, "sentence", *QUESTIONS):
        assert all(len(item.codes) == 1 for item in document)
    for document in of_sort(documents, "sentence"):
        for first, second in zip(document[::2], document[1::2], strict=True):
            assert (first.codes, second.codes) == ({"a"}, {"b"})
            said = [(each.subject, each.relation, each.thing) for each in (first, second)]
            assert said[0] == said[1]
    said_by = Counter(
        code
        for document in of_sort(documents, *QUESTIONS)
        for item in document
        for code in item.codes
    )
    assert 0.4 < said_by["a"] / said_by.total() < 0.6


def test_a_code_switched_tie_mixes_the_words_of_an_item() -> None:
    _, documents = documents_of(dial=1.0, tie="code-switched")
    items = [item for each in of_sort(documents, "sentence", *QUESTIONS) for item in each]
    mixed = sum(len(item.codes) == 2 for item in items)
    assert mixed > 0.5 * len(items)
    words = Counter(word.code for item in items for word in item.words if word.code)
    assert 0.47 < words["a"] / words.total() < 0.53
    for item in items:
        spoken: dict[tuple[str, object], str] = {}
        for word in item.words:
            code = spoken.setdefault((word.sort, word.which), word.code)
            assert code == word.code, "a concept has one language within an item"


def test_mixed_ties_are_of_both_sorts(tied) -> None:
    _, documents = tied
    asked = of_sort(documents, "choice", "span")
    switched = sum(any(len(item.codes) == 2 for item in document) for document in asked)
    assert 0.35 < switched / len(asked) < 0.65


@pytest.mark.parametrize("dial", [0.0, 0.5])
def test_every_word_of_the_text_is_a_token_of_the_world(dial: float) -> None:
    settings = WorldSettings(dial=dial, languages=3, anchors=0.2, suffixes=(False, True, True))
    world = World(settings)
    known, documents, used = set(tokens(world)), Documents(world), set()
    for number in range(400):
        for text in islice(documents.pieces(number), 12):
            used.update(pieces(text.whole))
    assert used <= known
    assert known - used == {"<s>", "</s>", "<unk>"}
