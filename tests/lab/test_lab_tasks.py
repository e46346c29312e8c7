from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from isogloss.errors import ConfigError
from isogloss.lab.documents import Documents
from isogloss.lab.tasks import TASKS, LabTask, TaskSizes, label_words, write_task
from isogloss.lab.world import LABELS, RELATIONS, World, WorldSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.own_data import check_task
from isogloss.tasks.splits import make_split
from lab_reader import Reader

SIZES = TaskSizes(dominant_items=60, target_items=20, test_items=120)
BY_NAME = {task.name: task for task in TASKS}
CHOICES = ("choice", "choice-new")
LABELLED = ("label", "label-new")
SPANS = ("span", "span-new")


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(seed=6, languages=3))


@pytest.fixture(scope="module")
def written(world: World, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for task in TASKS:
        assert (
            write_task(folder / task.name, task, world, SIZES) == folder / task.name / "task.yaml"
        )
    return folder


def rows(written: Path, name: str, code: str, split: str) -> list[dict[str, object]]:
    text = (written / name / code / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def files(written: Path, world: World):
    """Gives (split, code, rows) of a task."""

    def give(name: str):
        for split in ("train", "test"):
            for code in world.codes:
                yield split, code, rows(written, name, code, split)

    return give


def test_there_are_two_tasks_of_each_shape_one_of_them_with_a_rule_of_its_own() -> None:
    assert Counter((task.shape, task.held_out) for task in TASKS) == {
        (shape, held_out): 1 for shape in ("choice", "label", "span") for held_out in (False, True)
    }
    assert set(BY_NAME) == {*CHOICES, *LABELLED, *SPANS}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_one_like_any_users(written: Path, world: World, task: LabTask) -> None:
    opened, problems, found = check_task(written / task.name)
    assert problems == []
    assert opened is not None
    assert (opened.kind, opened.dominant, opened.languages) == (task.shape, "a", ("a", "b", "c"))
    most = 60
    counts = {(row["language"], row["split"]): row["items"] for row in found}
    assert counts == {
        **{(code, "test"): 120 for code in "abc"},
        **{("a", "train"): most, ("b", "train"): 20, ("c", "train"): 20},
    }
    split = make_split(open_task(str(written / task.name), None, None), "c", seed=0)
    sizes = len(split.dominant), len(split.target), len(split.test), len(split.validation)
    assert sizes == (most, 20, 120, 0)


@pytest.mark.parametrize("name", BY_NAME)
def test_items_are_parallel_over_languages(written: Path, world: World, name: str) -> None:
    reader = Reader(world)
    for split in ("train", "test"):
        first = rows(written, name, "a", split)
        assert [row["id"] for row in first] == [f"{split}-{n}" for n in range(len(first))]
        for code in "bc":
            for row, own in zip(rows(written, name, code, split), first, strict=False):
                assert row["id"] == own["id"]
                for field in sorted(set(row) - {"id", "told"}):
                    pair = [reader.words(str(each[field])) for each in (own, row)]
                    assert [(w.sort, w.which) for w in pair[0]] == [
                        (w.sort, w.which) for w in pair[1]
                    ]
                    assert {w.code for w in pair[1]} <= {code, ""}


@pytest.mark.parametrize("name", CHOICES)
def test_the_things_of_training_and_test_are_others(written: Path, name: str) -> None:
    train = [row["premise"] for row in rows(written, name, "a", "train")]
    test = [row["premise"] for row in rows(written, name, "a", "test")]
    assert len(set(train)) == len(train) == 60, "each thing once: no demonstration tells"
    assert len(set(test)) == 30
    assert not set(train) & set(test)


@pytest.mark.parametrize("name", LABELLED)
def test_the_first_things_of_training_and_test_pairs_are_others(written: Path, name: str) -> None:
    train, test = ({r["premise"] for r in rows(written, name, "a", s)} for s in ("train", "test"))
    assert not train & test


def test_the_choice_task_asks_for_the_effect(world: World, files) -> None:
    reader = Reader(world)
    for split, code, found in files("choice"):
        wrongs = Counter()
        for row in found:
            assert row["question"] == "?"
            subject = reader.concept(row["premise"])
            wrong = row["choice2" if row["answer"] == "choice1" else "choice1"]
            assert reader.concept(row[row["answer"]]) == world.object("effect", subject)
            assert reader.concept(wrong) not in (subject, world.object("effect", subject))
            stands = [r for r in RELATIONS if world.object(r, subject) == reader.concept(wrong)]
            wrongs[stands[0] if stands else "another's"] += 1
            assert row["told"] == (("effect", subject) in world.told[code])
        if split == "test":
            assert 0.3 < wrongs["another's"] / len(found) < 0.7
            assert min(wrongs[r] for r in ("cause", "is-a", "located-in")) > 0.05 * len(found)
            assert 0.3 < sum(row["answer"] == "choice1" for row in found) / len(found) < 0.7


def test_the_new_choice_task_asks_for_what_is_not_the_effect(world: World, files) -> None:
    reader = Reader(world)
    for _, code, found in files("choice-new"):
        for row in found:
            subject = reader.concept(row["premise"])
            wrong = row["choice2" if row["answer"] == "choice1" else "choice1"]
            right = reader.concept(row[row["answer"]])
            assert reader.concept(wrong) == world.object("effect", subject)
            assert right in world.things
            assert all(world.object(relation, subject) != right for relation in RELATIONS)
            assert row["told"] == (("effect", subject) in world.told[code])


def test_the_label_task_tells_apart_effect_cause_and_kind(world: World, files) -> None:
    reader, seen = Reader(world), Counter()
    for split, code, found in files("label"):
        for row in found:
            first, second = reader.concept(row["premise"]), reader.concept(row["hypothesis"])
            (group,) = (r for r in RELATIONS if world.object(r, first) == second)
            assert row["answer"] == group
            assert row["told"] == ((group, first) in world.told[code])
            seen[group] += (split, code) == ("test", "a")
    assert set(seen) == {"effect", "cause", "is-a"}
    assert min(seen.values()) > 0.15 * SIZES.test_items


def test_the_new_label_task_tells_a_wrong_kind_from_the_right_one(world: World, files) -> None:
    reader, seen = Reader(world), Counter()
    for split, code, found in files("label-new"):
        for row in found:
            first, second = reader.concept(row["premise"]), reader.concept(row["hypothesis"])
            group = "none"
            if second in world.objects("is-a"):
                group = "is-a" if world.object("is-a", first) == second else "other-kind"
            else:
                assert second not in (world.object("effect", first), world.object("cause", first))
            assert row["answer"] == group
            known = group == "none" or ("is-a", first) in world.told[code]
            assert row["told"] == known
            seen[group] += (split, code) == ("test", "a")
    assert len(seen) == 3
    assert min(seen.values()) > 0.15 * SIZES.test_items


def passages(reader: Reader, found) -> list[tuple[list[str | None], list[str], dict]]:
    """Of each row the relations and objects that its passage says, all of the one named."""
    read = []
    for row in found:
        told = [sentence.split() for sentence in row["passage"].split(" .") if sentence]
        name, mark = row["question"].split()
        assert mark == "?"
        assert {who for who, _, _ in told} == {name}
        assert row["told"] is True, "a passage tells all"
        objects = [thing for _, _, thing in told]
        assert len(set(objects)) == 3
        read.append(([reader.relation(verb) for _, verb, _ in told], objects, row))
    return read


def test_the_span_task_asks_what_the_named_one_causes(world: World, files) -> None:
    reader, places = Reader(world), set()
    for _, _, found in files("span"):
        for relations, objects, row in passages(reader, found):
            assert set(relations) == {"effect", "cause", "located-in"}
            place = relations.index("effect")
            assert row["answer"] == objects[place]
            places.add(place)
    assert places == {0, 1, 2}


def test_the_new_span_task_asks_what_is_said_next(world: World, files) -> None:
    reader, places = Reader(world), set()
    for _, _, found in files("span-new"):
        for relations, objects, row in passages(reader, found):
            place = relations.index("effect")
            after = place + 1 if place < 2 else 0
            assert row["answer"] == objects[after]
            places.add(after)
    assert places == {0, 1, 2}


def test_what_was_not_told_is_marked_in_some_items_only(files) -> None:
    for name in (*CHOICES, *LABELLED):
        for split, code, found in files(name):
            told = [row["told"] for row in found]
            if code == "a":
                assert all(told)
            elif split == "test":
                assert 0.2 < sum(told) / len(told) < 1


@pytest.mark.parametrize("name", LABELLED)
def test_label_words_are_distinct_and_decided_by_the_seed(world: World, name: str) -> None:
    classes = BY_NAME[name].classes
    words = label_words(world, classes)
    assert tuple(words) == classes
    assert len(set(words.values())) == 3
    assert set(words.values()) <= set(LABELS)
    assert words == label_words(World(WorldSettings(seed=6)), classes)
    many = {tuple(label_words(World(WorldSettings(seed=s)), classes).values()) for s in range(5)}
    assert len(many) > 1


def test_writing_again_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = World(WorldSettings(seed=6, languages=3))
    for task in TASKS:
        write_task(tmp_path / task.name, task, again, SIZES)
    paths = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert paths == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert len(paths) == 6 * (1 + 2 * 3)
    assert all((written / path).read_bytes() == (tmp_path / path).read_bytes() for path in paths)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dominant_items": 0}, "dominant items is 0; it must be 1 or more"),
        ({"target_items": 0}, "target items is 0"),
        ({"test_items": -1}, "test items is -1"),
        ({"dominant_items": 5, "target_items": 6}, "target items is 6; it must be at most"),
    ],
)
def test_a_wrong_size_is_named(given: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TaskSizes(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("things", [12, 14])
def test_the_smallest_worlds_have_tasks_and_text_too(
    tmp_path: Path, things: int, seed: int
) -> None:
    least = WorldSettings(seed=seed, things=things, kinds=3, places=3, names=4, told=0.4)
    world = World(least)
    for task in TASKS:
        write_task(tmp_path / task.name, task, world, SIZES)
    documents = Documents(world)
    for number in range(80):
        assert all(islice(documents.pieces(number), 8))
