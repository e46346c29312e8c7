from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from isogloss.lab.probing import SHAPES, Episode, answered_rightly, episodes, probe
from isogloss.lab.tokenizer import build_tokenizer, tokens
from isogloss.lab.world import LABELS, RELATIONS, World, WorldSettings
from isogloss.model.load import Loaded
from lab_reader import Read, Reader

COUNT = 150


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(seed=2))


@pytest.fixture(scope="module")
def tokenizer(world: World):
    return build_tokenizer(world)


def read(world: World, episode: Episode) -> list[Read]:
    """The demonstrations and, last, the target with its answer."""
    reader = Reader(world)
    text = f"{episode.text} {episode.answer}\n\n"
    return [reader.read(f"{item}\n\n") for item in text.split("\n\n")[:-1]]


def drawn(world: World, shape: str, code: str, shots: int) -> list[Episode]:
    return list(episodes(world, shape, code, shots, count=COUNT))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shots", [0, 1, 3])
def test_an_episode_has_its_demonstrations_and_an_open_question(
    world: World, shape: str, shots: int
) -> None:
    made = drawn(world, shape, "b", shots)
    assert len(made) == COUNT
    for episode in made:
        assert episode.text.endswith(" =") or shape == "label"
        items = read(world, episode)
        assert [item.sort for item in items] == [shape] * (shots + 1)
        assert all(item.codes == {"b"} for item in items)
        assert all(item.relation is None for item in items), "no question names its relation"


def test_episodes_follow_from_the_seed(world: World) -> None:
    again = World(WorldSettings(seed=2, dial=0.9))
    other = World(WorldSettings(seed=3))
    for shape in SHAPES:
        assert drawn(world, shape, "b", 3) == drawn(again, shape, "b", 3)
        assert drawn(world, shape, "b", 3) != drawn(other, shape, "b", 3)
        assert len({episode.text for episode in drawn(world, shape, "b", 3)}) == COUNT
    few = list(episodes(world, "choice", "a", 1, count=5))
    assert few == drawn(world, "choice", "a", 1)[:5]


@pytest.mark.parametrize("code", ["a", "b"])
def test_a_choice_episode_asks_one_relation_and_only_that_decides(world: World, code: str) -> None:
    reader, rules, ambiguous = Reader(world), Counter(), 0
    for episode in drawn(world, "choice", code, 3):
        fitting = set(RELATIONS)
        items = read(world, episode)
        for item in items:
            facts = list(reader.facts_between(item.subject, item.thing))
            assert any(fact in world.told[code] for fact in facts)
            fitting &= {relation for relation, _ in facts}
        assert len(fitting) == 1
        rules.update(fitting)
        *_, target = items
        ambiguous += any(reader.facts_between(target.subject, target.wrong))
        assert set(episode.options) == {
            world.languages[code].concepts[number] for number in (target.thing, target.wrong)
        }
        assert episode.answer == world.languages[code].concepts[target.thing]
        assert set(episode.options) <= set(episode.text.split("\n\n")[-1].split())
    assert set(rules) == set(RELATIONS)
    assert ambiguous == COUNT


@pytest.mark.parametrize("code", ["a", "b"])
def test_a_label_episode_has_one_meaning_for_each_label(world: World, code: str) -> None:
    reader, meanings = Reader(world), set()
    for episode in drawn(world, "label", code, 3):
        meaning: dict[str, str] = {}
        for item in read(world, episode):
            facts = list(reader.facts_between(item.subject, item.thing))
            assert not facts or any(fact in world.told[code] for fact in facts)
            group = facts[0][0] if facts else "none"
            assert meaning.setdefault(item.label, group) == group
            assert item.label in episode.options
        assert len(set(meaning.values())) == len(meaning)
        assert len(set(episode.options)) == 3
        assert set(episode.options) <= set(LABELS)
        meanings.update(meaning.items())
    assert len(meanings) == 15, "each of three labels means each of five classes"


def test_a_span_episode_asks_one_relation(world: World) -> None:
    words = {word: r for r, word in world.languages["b"].relations.items()}
    rules = Counter()
    for episode in drawn(world, "span", "b", 3):
        assert episode.options == ()
        fitting = set(RELATIONS)
        for item in f"{episode.text} {episode.answer}".split("\n\n"):
            passage, rest = item.split("\n")
            question, answer = rest.split(" = ")
            told = [sentence.split() for sentence in passage.split(" .") if sentence]
            assert len(told) == 3
            found = [
                words[v] for n, v, thing in told if (n, thing) == (question.split()[0], answer)
            ]
            assert len(found) == 1
            fitting &= set(found)
        assert fitting
        rules.update(fitting)
    assert set(rules) == set(RELATIONS)


@pytest.mark.parametrize("shape", ["choice", "label"])
@pytest.mark.parametrize("code", ["a", "b"])
def test_a_demonstration_never_speaks_of_what_the_target_speaks_of(
    world: World, shape: str, code: str
) -> None:
    for episode in drawn(world, shape, code, 3):
        *shown, target = read(world, episode)
        concepts = {word.which for word in target.words if word.sort == "concept"}
        for item in shown:
            assert not concepts & {word.which for word in item.words if word.sort == "concept"}


def tiny_model(world: World) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens(world)),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


def test_answers_are_those_of_a_slow_twin(world: World, tokenizer) -> None:
    model = tiny_model(world)
    asked = [
        episode
        for shots in (0, 3)
        for shape in SHAPES
        for episode in episodes(world, shape, "b", shots, count=30)
    ]
    names, wanted, best = tokens(world), [], []
    for episode in asked:
        ids = tokenizer(episode.text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0, -1].tolist()
        allowed = episode.options or names
        best.append(max(allowed, key=lambda word: logits[names.index(word)]))
        wanted.append(float(best[-1] == episode.answer))
    assert answered_rightly(model, tokenizer, asked) == wanted
    assert 0 < sum(wanted) < len(wanted)
    # The same questions with the twin's own answers are all right, in any order.
    sure = [Episode(each.text, word, each.options) for each, word in zip(asked, best, strict=True)]
    assert answered_rightly(model, tokenizer, sure[::-1]) == [1.0] * len(asked)


class Oracle:
    """A model that knows the answer of each text, and gives some other token nothing of note."""

    device = "cpu"

    def __init__(self, world: World, tokenizer, *, right: bool) -> None:
        self.size, self.answers = len(tokens(world)), {}
        for shape in SHAPES:
            for code in world.codes:
                for shots in (1, 3):  # without demonstrations the same question has two answers
                    for each in episodes(world, shape, code, shots, count=12):
                        ids = tokenizer(each.text)["input_ids"]
                        self.answers[tuple(ids)] = tokenizer.convert_tokens_to_ids(each.answer)
        self.sign = 1.0 if right else -1.0

    def __call__(self, batch: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        logits = torch.zeros((*batch.shape, self.size))
        for row, ids in enumerate(batch.tolist()):
            for stop in range(1, len(ids) + 1):
                answer = self.answers.get(tuple(ids[:stop]))
                if answer is not None:
                    logits[row, stop - 1, answer] = self.sign
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("right", [True, False])
def test_a_model_that_knows_scores_one_and_its_opposite_none(
    world: World, tokenizer, right: bool
) -> None:
    loaded = Loaded("oracle", Oracle(world, tokenizer, right=right), tokenizer, "0")
    rows = probe(loaded, world, items=12, shots=(1, 3))
    cells = [(row["shape"], row["language"], row["demonstrations"]) for row in rows]
    assert cells == [(s, c, k) for s in ("choice", "label", "span") for c in "ab" for k in (1, 3)]
    assert [row["value"] for row in rows] == [float(right)] * 12
    assert all(row["items"] == 12 and row["low"] <= row["value"] <= row["high"] for row in rows)


def test_the_number_of_demonstrations_is_the_callers(world: World, tokenizer) -> None:
    rows = probe(Loaded("tiny", tiny_model(world), tokenizer, "0"), world, items=4, shots=(2,))
    assert [row["demonstrations"] for row in rows] == [2] * 6
