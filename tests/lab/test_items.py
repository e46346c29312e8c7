from __future__ import annotations

import random
from collections import Counter

import pytest

from isogloss.lab.items import (
    Choice,
    Item,
    Labelled,
    Passage,
    draw_choice,
    draw_labelled,
    draw_passage,
)
from isogloss.lab.voice import Voice
from isogloss.lab.world import RELATIONS, Language, World, WorldSettings

A = Language(
    "a",
    ("sun", "heat", "star", "sky"),
    {"effect": "makes", "cause": "from", "is-a": "is", "located-in": "in"},
    ("Ann", "Bob"),
)
B = Language(
    "b",
    ("gunes", "isi", "yildiz", "gok"),
    {"effect": "yapar", "cause": "den", "is-a": "dir", "located-in": "de"},
    ("Ayse", "Can"),
    "sov",
    "-yib",
)


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(seed=2))


def solved(item: Item) -> str:
    return item.question + item.solution


def test_the_wording_of_each_shape() -> None:
    voice = Voice.of(A)
    choice = Choice(0, "effect", 1, 2, right_first=True)
    assert solved(choice.item(voice)) == "sun ? heat / star = heat"
    assert solved(choice.item(voice, named=True)) == "sun makes heat / star = heat"
    other = Choice(0, "effect", 1, 2, right_first=False).item(voice)
    assert solved(other) == "sun ? star / heat = heat"
    assert (other.fields["choice1"], other.fields["choice2"]) == ("star", "heat")
    words = {"effect": "red", "none": "blue"}
    assert solved(Labelled(0, 1, "effect").item(voice, words=words)) == "sun , heat red"
    assert solved(Labelled(0, 3, "none").item(voice, words=words)) == "sun , sky blue"
    passage = Passage(1, (("is-a", 2), ("effect", 0), ("located-in", 3)), 2)
    told = "Bob is star . Bob makes sun . Bob in sky .\n"
    assert solved(passage.item(voice)) == told + "Bob ? = sky"
    assert solved(passage.item(voice, named=True)) == told + "Bob in = sky"


def test_another_language_has_its_own_order_and_suffix_in_sentences_only() -> None:
    voice = Voice.of(B)
    passage = Passage(0, (("is-a", 2), ("located-in", 3)), 0)
    told = "Ayse yildiz -yib dir . Ayse gok -yib de .\n"
    assert solved(passage.item(voice, named=True)) == told + "Ayse dir = yildiz"
    choice = Choice(0, "effect", 1, 2, right_first=True).item(voice)
    assert solved(choice) == "gunes ? isi / yildiz = isi"


def test_asking_for_what_another_sentence_says() -> None:
    passage = Passage(1, (("is-a", 2), ("located-in", 3)), 1)
    assert passage.about(0) == Passage(1, (("is-a", 2), ("located-in", 3)), 0)


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("code", ["a", "b"])
def test_the_wrong_option_of_an_ambiguous_choice_stands_in_another_relation(
    world: World, relation: str, code: str
) -> None:
    source, told = random.Random(0), world.told[code]
    by = Counter()
    for _ in range(400):
        drawn = draw_choice(world, source, relation, world.things, told, ambiguous=True)
        assert (relation, drawn.subject) in told
        assert drawn.right == world.object(relation, drawn.subject)
        (other,) = (r for r in RELATIONS if world.object(r, drawn.subject) == drawn.wrong)
        assert other != relation
        assert (other, drawn.subject) in told
        by[other] += 1
        by["right first"] += drawn.right_first
    assert min(by[other] for other in RELATIONS if other != relation) > 80
    assert 150 < by["right first"] < 250


def test_others_say_which_relations_the_wrong_option_may_stand_in(world: World) -> None:
    for number in range(100):
        source = random.Random(number)
        drawn = draw_choice(
            world,
            source,
            "effect",
            world.things,
            world.told["a"],
            ambiguous=True,
            others=("effect", "cause"),
        )
        assert drawn.wrong == world.object("cause", drawn.subject)


@pytest.mark.parametrize("relation", RELATIONS)
def test_only_knowledge_decides_the_other_choices(world: World, relation: str) -> None:
    source, told = random.Random(1), world.told["b"]
    for _ in range(800):
        drawn = draw_choice(world, source, relation, world.things, told, ambiguous=False)
        assert (relation, drawn.subject) in told
        assert drawn.right == world.object(relation, drawn.subject)
        assert drawn.wrong in world.objects(relation)
        assert drawn.wrong not in (drawn.right, drawn.subject)
        assert all(world.object(other, drawn.subject) != drawn.wrong for other in RELATIONS)


@pytest.mark.parametrize("group", [*RELATIONS, "other-kind", "none"])
def test_a_labelled_pair_is_of_its_class(world: World, group: str) -> None:
    source, told = random.Random(0), world.told["b"]
    for _ in range(300):
        drawn = draw_labelled(world, source, group, range(10, 40), told)
        assert drawn.group == group
        assert drawn.first in range(10, 40)
        assert drawn.first != drawn.second
        if group in RELATIONS:
            assert drawn.second == world.object(group, drawn.first)
            assert (group, drawn.first) in told
            continue
        assert not any(world.object(r, drawn.first) == drawn.second for r in RELATIONS)
        if group == "other-kind":
            assert drawn.second in world.objects("is-a")
            assert ("is-a", drawn.first) in told
        else:
            assert drawn.second in world.things


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_answer_is_found_once_in_its_passage(world: World, relation: str, count: int) -> None:
    source = random.Random(0)
    others = [each for each in RELATIONS if each != relation][:count]
    asked_places = set()
    for _ in range(150):
        passage = draw_passage(world, source, relation, others)
        assert sorted(each for each, _ in passage.sentences) == sorted([relation, *others])
        objects = [thing for _, thing in passage.sentences]
        assert len(set(objects)) == len(objects)
        assert all(thing in world.objects(each) for each, thing in passage.sentences)
        assert passage.sentences[passage.asked][0] == relation
        item = passage.item(Voice.of(world.languages["b"]))
        assert item.fields["passage"].split().count(item.answer) == 1
        assert item.fields["question"].split()[0] == world.languages["b"].names[passage.name]
        asked_places.add(passage.asked)
    assert asked_places == set(range(count + 1))


def test_a_passage_is_no_fact_of_the_world(world: World) -> None:
    source = random.Random(0)
    things = Counter(draw_passage(world, source, "is-a", ()).sentences[0][1] for _ in range(400))
    assert set(things) == set(world.objects("is-a"))
    assert max(things.values()) < 2 * min(things.values()) + 20


def test_a_mixed_voice_keeps_a_word_in_one_language_for_as_long_as_it_lasts(world: World) -> None:
    languages = tuple(world.languages.values())
    spoken = set()
    for number in range(200):
        voice = Voice(languages, random.Random(number))
        first = [voice.concept(each) for each in range(12)]
        assert [voice.concept(each) for each in range(12)] == first
        assert voice.name(3) == voice.name(3)
        assert voice.relation("cause") == voice.relation("cause")
        codes = tuple(
            next(each.code for each in languages if each.concepts[place] == word)
            for place, word in enumerate(first)
        )
        spoken.add(codes)
    counts = Counter(code for codes in spoken for code in codes)
    assert len(spoken) > 180, "each voice mixes anew"
    assert 0.45 < counts["a"] / counts.total() < 0.55


def test_a_mixed_choice_repeats_its_answer_as_it_stands_among_the_options(world: World) -> None:
    languages = tuple(world.languages.values())
    for number in range(200):
        source = random.Random(number)
        told = world.told["b"]
        drawn = draw_choice(world, source, "is-a", world.things, told, ambiguous=True)
        item = drawn.item(Voice(languages, source))
        assert item.answer in (item.fields["choice1"], item.fields["choice2"])
        drawn_passage = draw_passage(world, source, "is-a", ("effect", "located-in"))
        passage = drawn_passage.item(Voice(languages, source), named=True)
        assert passage.fields["passage"].split().count(passage.answer) == 1
        name, relation = passage.fields["question"].split()
        assert f" {name} " in f" {passage.fields['passage']} "
        assert passage.fields["passage"].split().count(relation) == 1


def test_order_and_suffix_of_a_mixed_voice_are_of_one_language() -> None:
    said = set()
    for number in range(300):
        voice = Voice((A, B), random.Random(number))
        said.add(voice.sentence(voice.concept(0), "is-a", 2))
    # Three words in two languages each, in each of two orders, one of them with a suffix.
    assert len(said) == 2 * 2**3
    assert {sentence.endswith(("dir", " is")) for sentence in said} == {True, False}
    assert all(("-yib" in sentence) == sentence.endswith(("dir", " is")) for sentence in said)
