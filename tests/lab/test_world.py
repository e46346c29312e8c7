from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import isogloss
from isogloss.errors import ConfigError, RunError
from isogloss.lab.documents import Documents
from isogloss.lab.world import (
    LABELS,
    RELATIONS,
    Language,
    World,
    WorldSettings,
    world_settings_from,
)

SEEDS = (0, 1, 5)
# The package is entered by its path, so that the new process need not import what it lacks no use.
TWIN = """
import hashlib, itertools, sys, types
package = types.ModuleType("isogloss")
package.__path__ = [sys.argv[1]]
sys.modules["isogloss"] = package
from isogloss.lab.documents import Documents
from isogloss.lab.world import World, WorldSettings
world = World(WorldSettings(seed=3, dial=0.5, languages=3, anchors=0.2))
print(DIGEST(world, Documents(world)))
"""


def digest(world: World, documents: Documents) -> str:
    import hashlib
    import itertools

    told = [sorted(world.told[code]) for code in world.codes]
    text = [list(itertools.islice(documents.pieces(number), 8)) for number in range(60)]
    parts = (world.facts, told, world.vocabulary, text)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def test_a_world_and_its_text_are_the_same_in_another_process() -> None:
    program = TWIN.replace("DIGEST(", "digest(").replace(
        "world = World", inspect.getsource(digest) + "\nworld = World", 1
    )
    made = set()
    for hash_seed in ("1", "2"):
        place = str(Path(isogloss.__file__).parent)
        line = [sys.executable, "-c", program, place]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
        made.add(done.stdout.strip())
    world = World(WorldSettings(seed=3, dial=0.5, languages=3, anchors=0.2))
    assert made == {digest(world, Documents(world))}


def test_another_seed_is_another_world() -> None:
    one, other = World(WorldSettings(seed=0)), World(WorldSettings(seed=1))
    assert one.vocabulary != other.vocabulary
    assert one.facts != other.facts


@pytest.mark.parametrize("seed", SEEDS)
def test_the_dial_and_the_tie_change_no_fact_and_no_word(seed: int) -> None:
    plain = World(WorldSettings(seed=seed))
    tied = World(WorldSettings(seed=seed, dial=0.7, tie="parallel", dominance=0.5))
    assert (plain.facts, plain.told) == (tied.facts, tied.told)
    assert plain.languages == tied.languages


@pytest.mark.parametrize("seed", SEEDS)
def test_languages_have_no_word_in_common_without_anchors(seed: int) -> None:
    world = World(WorldSettings(seed=seed, languages=4, suffixes=(True,)))
    words = []
    for language in world.languages.values():
        words += [*language.concepts, *language.relations.values(), *language.names]
        words.append(language.suffix)
    assert len(words) == len(set(words)) == 4 * (90 + 8 + 8 + 4 + 8 + 1)
    assert not set(words) & set(LABELS)
    assert sorted(world.vocabulary) == sorted([*words, *LABELS])
    assert not any(mark in word for word in words for mark in " .,/=?\n<>")


@pytest.mark.parametrize(("share", "count"), [(0.25, 26), (0.1, 11), (0.5, 53), (1, 106)])
def test_anchors_are_the_same_concepts_in_all_languages(share: float, count: int) -> None:
    world = World(WorldSettings(anchors=share, languages=3))
    a, b, c = world.languages.values()
    same = [n for n in range(106) if a.concepts[n] == b.concepts[n]]
    assert len(same) == count
    assert same == [n for n in range(106) if a.concepts[n] == c.concepts[n]]
    assert len(set(a.concepts) & set(b.concepts)) == count
    assert not set(a.names) & set(b.names)
    assert not set(a.relations.values()) & set(b.relations.values())
    assert len(world.vocabulary) == 106 + 2 * (106 - count) + 3 * (4 + 8) + len(LABELS)


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_are_one_cycle_and_causes_the_way_back(seed: int) -> None:
    world = World(WorldSettings(seed=seed, things=13, kinds=3))
    thing, walked = 0, []
    for _ in range(13):
        walked.append(thing)
        after = world.object("effect", thing)
        assert world.object("cause", after) == thing
        assert after != thing
        thing = after
    assert thing == 0
    assert sorted(walked) == list(world.things)


@pytest.mark.parametrize(("things", "kinds", "places"), [(48, 8, 8), (20, 3, 6), (38, 9, 4)])
def test_kinds_and_places_are_dealt_evenly(things: int, kinds: int, places: int) -> None:
    world = World(WorldSettings(things=things, kinds=kinds, places=places))
    for relation, number, start in (
        ("is-a", kinds, things),
        ("located-in", places, things + kinds),
    ):
        assert world.objects(relation) == range(start, start + number)
        dealt = Counter(world.object(relation, thing) for thing in world.things)
        assert set(dealt) == set(world.objects(relation))
        assert max(dealt.values()) - min(dealt.values()) <= 1
    assert world.objects("effect") == world.objects("cause") == world.things == range(things)


@pytest.mark.parametrize("share", [0.7, 0.25, 1.0])
def test_what_is_told_of_the_facts(share: float) -> None:
    world = World(WorldSettings(told=share, languages=3))
    every = {(relation, thing) for relation in RELATIONS for thing in world.things}
    assert world.told["a"] == every
    for code in "bc":
        base = {fact for fact in world.told[code] if fact[0] != "cause"}
        assert len(base) == round(share * 3 * 90)
        for thing in world.things:
            effect = world.object("effect", thing)
            assert world.tells(code, "effect", thing) == world.tells(code, "cause", effect)
    assert (world.told["b"] == world.told["c"]) == (share == 1)


@pytest.mark.parametrize("seed", range(8))
def test_facts_are_withheld_singly(seed: int) -> None:
    world = World(WorldSettings(seed=seed))
    told = Counter(relation for relation, _ in world.told["b"])
    for relation in RELATIONS:
        assert 0.4 * 90 < told[relation] < 90, "neither all of a relation nor almost none"
    by_thing = Counter(thing for relation, thing in world.told["b"] if relation != "cause")
    assert {1, 2, 3} <= set(by_thing.values())


SENTENCES = [
    ("svo", "", "sun makes heat"),
    ("sov", "", "sun heat makes"),
    ("vso", "", "makes sun heat"),
    ("ovs", "", "heat makes sun"),
    ("svo", "-xa", "sun makes heat -xa"),
    ("sov", "-xa", "sun heat -xa makes"),
    ("vso", "-xa", "makes sun heat -xa"),
    ("ovs", "-xa", "heat -xa makes sun"),
]


@pytest.mark.parametrize(("order", "suffix", "sentence"), SENTENCES)
def test_a_sentence_in_each_order(order: str, suffix: str, sentence: str) -> None:
    language = Language("a", (), {}, (), order, suffix)
    assert language.sentence("sun", "makes", "heat") == sentence


def test_the_last_order_and_suffix_hold_for_all_that_follow() -> None:
    settings = WorldSettings(languages=4, orders=("svo", "ovs"), suffixes=(False, True))
    made = World(settings).languages.values()
    assert [language.order for language in made] == ["svo", "ovs", "ovs", "ovs"]
    assert [bool(language.suffix) for language in made] == [False, True, True, True]
    longer = WorldSettings(languages=2, orders=("sov", "vso", "ovs"))
    assert [language.order for language in World(longer).languages.values()] == ["sov", "vso"]


WRONG = [
    ({"dial": 2}, "dial is 2"),
    ({"dial": -0.1}, "dial is -0.1"),
    ({"dial": float("nan")}, "dial is nan"),
    ({"anchors": 1.5}, "anchors is 1.5"),
    ({"told": -1}, "told is -1"),
    ({"dominance": 0}, "dominance is 0"),
    ({"dominance": 1}, "dominance is 1"),
    ({"languages": 1}, "languages is 1; it must be 2 to 8"),
    ({"languages": 9}, "languages is 9"),
    ({"things": 31}, "things is 31; it must be 32 or more, four for each of the 8 kinds"),
    ({"kinds": 2}, "kinds is 2; it must be 3 or more"),
    ({"places": 2}, "places is 2"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 2**32}, "seed is 4294967296; it must be from 0 to 4294967295"),
    ({"names": 3}, "names is 3"),
    ({"orders": ("svo", "osv")}, "order is 'osv'; it must be svo or sov or vso or ovs"),
    ({"orders": ()}, "orders"),
    ({"suffixes": ()}, "suffixes"),
    ({"tie": "loose"}, "tie is 'loose'; it must be mixed or code-switched or parallel"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_a_wrong_setting_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorldSettings(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.01])
def test_a_language_that_tells_next_to_nothing_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=f"told is {share}; that leaves language b too few facts"):
        World(WorldSettings(told=share))


def test_settings_come_back_from_json() -> None:
    settings = WorldSettings(seed=4, dial=0.3, orders=("svo", "sov"), suffixes=(False, True))
    record = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert world_settings_from(record, "lab.json") == settings
    for wrong in (None, {}, {**record, "moons": 2}):
        with pytest.raises(RunError, match=r"lab\.json: this version cannot read its world"):
            world_settings_from(wrong, "lab.json")
