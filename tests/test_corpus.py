"""Plain sentences for layers and language vectors: which, how many, and when they are made anew."""

from __future__ import annotations

import dataclasses
import json
from types import MappingProxyType

import pytest
import torch

from conftest import tiny_config, tiny_loaded
from helpers import items
from isogloss.alignment.layer_choice import choose_layers, layer_distances
from isogloss.corpus import LEAST, SENTENCES, Corpus, LayerChoice, choose_from, sample_sentences
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import ConfigError, DataError
from isogloss.model.load import Loaded
from isogloss.model.prompt import vocabulary_rows
from isogloss.representation_shift import Shift, Shifter, shifting
from isogloss.tasks.example import Example, Task, Wording
from isogloss.tasks.splits import Split


class Plain(Task):
    """A task whose items are their texts."""

    name, kind, metric, dominant, languages = "plain", "label", "accuracy", "en", ("en", "tr")

    def read(self, language, split, *, seed):
        raise NotImplementedError

    def wording(self, language):
        return Wording("{text}")

    def parse(self, record, language):
        raise NotImplementedError


def split_of(dominant, target) -> Split:
    return Split(tuple(dominant), tuple(target), (), (), (), MappingProxyType({}))


def episodes_of(loaded: Loaded, longest: int | None = None, prompt: int = 0) -> EpisodeEncoder:
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), prompt)
    return EpisodeEncoder(Plain(), encoder, longest)


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return tiny_loaded("llama")


def numbers(episodes: EpisodeEncoder, sentences) -> list[str]:
    """The number at the end of each sentence, which is its item's."""
    decode = episodes.encoder.tokenizer.decode
    return [decode(list(ids)).rpartition(" ")[2] for ids in sentences]


def sampled(split: Split, episodes: EpisodeEncoder, seed: int = 1):
    return sample_sentences(split, episodes, "tr", seed=seed)


# Which sentences.


def test_translations_stand_side_by_side(tiny):
    """Of 30 English and 20 Turkish items 14 share an id: these alone, in one order."""
    episodes = episodes_of(tiny)
    found = sampled(split_of(items(30, "en"), items(20, "tr", start=16)), episodes)
    own, other = (numbers(episodes, found[code]) for code in ("en", "tr"))
    assert list(found) == ["en", "tr"]
    assert own == other
    assert sorted(own) == sorted(str(n) for n in range(16, 30))
    assert own != sorted(own)


@pytest.mark.parametrize(
    ("shared", "target", "parallel"), [(LEAST, 20, True), (LEAST - 1, 20, False), (3, 3, True)]
)
def test_few_translations_are_not_enough_unless_all_are(tiny, shared, target, parallel):
    split = split_of(items(30, "en"), items(target, "tr", start=30 - shared))
    found = sampled(split, episodes_of(tiny))
    counts = {code: len(own) for code, own in found.items()}
    assert counts == ({"en": shared, "tr": shared} if parallel else {"en": 30, "tr": target})


def test_at_most_128_by_the_seed_and_not_by_the_order_of_files(tiny):
    episodes = episodes_of(tiny)
    own, other = items(200, "en"), items(150, "tr")
    found = sampled(split_of(own, other), episodes)
    assert {len(side) for side in found.values()} == {SENTENCES} == {128}
    turned = split_of(reversed(own), reversed(other))
    assert sampled(turned, episodes) == found
    assert sampled(split_of(own, other), episodes, seed=2) != found


def long_ones(count: int, language: str, wanted: set[int]) -> tuple[Example, ...]:
    return tuple(
        dataclasses.replace(item, fields={"text": f"{'very ' * 40}long {number}"})
        if number in wanted
        else item
        for number, item in enumerate(items(count, language))
    )


def test_long_ones_are_left_out_with_their_translations(tiny):
    episodes = episodes_of(tiny, longest=30)
    split = split_of(long_ones(20, "en", {3, 4}), long_ones(20, "tr", {4, 5, 6}))
    found = sampled(split, episodes)
    own, other = (numbers(episodes, found[code]) for code in ("en", "tr"))
    assert own == other, "still translations of each other"
    assert set(own) == {str(n) for n in range(20)} - {"3", "4", "5", "6"}
    assert all(len(ids) <= 30 for side in found.values() for ids in side)


def test_long_ones_leave_their_place_to_others(tiny):
    own, other = (long_ones(150, code, set(range(20))) for code in ("en", "tr"))
    found = sampled(split_of(own, other), episodes_of(tiny, longest=30))
    assert [len(side) for side in found.values()] == [128, 128]


def test_sentences_are_inputs_alone(tiny):
    """No soft prompt, no answer, no chat turns."""
    split = split_of(items(9, "en"), items(9, "tr"))
    plain = sampled(split, episodes_of(tiny))
    prompted = episodes_of(tiny, prompt=5)
    chatty = dataclasses.replace(prompted, encoder=dataclasses.replace(prompted.encoder, chat=True))
    assert sampled(split, chatty) == plain
    decode = tiny.tokenizer.decode
    assert {decode(list(ids)) for ids in plain["tr"]} == {f"tr text {n}" for n in range(9)}


# Which layers.


def deep(count: int):
    """A tiny Llama of `count` blocks."""
    config = tiny_config("llama", 300)
    config.num_hidden_layers = count
    config.initializer_range = 0.3
    torch.manual_seed(7)
    return type(tiny_loaded("llama").model)(config).eval()


def random_sentences(count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=source).tolist()
    return tuple(
        tuple(torch.randint(5, 290, (length,), generator=source).tolist()) for length in lengths
    )


def test_layers_are_those_of_the_least_distance():
    model = deep(8)
    sentences = {"en": random_sentences(20, 1), "tr": random_sentences(19, 2)}
    choice = choose_from(model, sentences)
    means = []
    for own in sentences.values():
        with torch.no_grad():
            states = [
                model(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in own
            ]
        # Neither the embedding's output nor what follows the last block.
        rows = [torch.stack([one[layer][0, 1:].mean(0) for layer in range(1, 8)]) for one in states]
        means.append(torch.stack(rows))
    wanted = layer_distances(*means)
    assert choice.distances == pytest.approx(wanted, rel=1e-3)
    assert (choice.to, choice.back) == choose_layers(wanted, 8)
    assert choice.how == "least distance over 20 and 19 sentences"
    assert choice == choose_from(model, sentences)


@pytest.mark.parametrize("counts", [(7, 20), (20, 7), (20, 0)])
def test_with_few_sentences_the_usual_layers(counts):
    sentences = dict(zip(("en", "tr"), map(random_sentences, counts, (1, 2)), strict=True))
    choice = choose_from(deep(10), sentences)
    assert (choice.to, choice.back, choice.distances) == (4, 7, ())
    assert "40% and 70% of the depth: fewer than 8 items" in choice.how


def test_a_model_of_two_blocks_has_no_room():
    for count in (3, 20):
        sentences = {code: random_sentences(count, 1) for code in ("en", "tr")}
        with pytest.raises(ConfigError, match="at least 3 layers; this one has 2"):
            choose_from(deep(2), sentences)


def test_a_choice_is_json():
    choice = LayerChoice(1, 2, "as given", (0.5,))
    record = json.loads(json.dumps(dataclasses.asdict(choice)))
    assert LayerChoice(**(record | {"distances": tuple(record["distances"])})) == choice


# When language vectors are made.

SIDES = {"en": random_sentences(5, 1), "tr": random_sentences(11, 2)}


def slow_vectors(model) -> dict[str, torch.Tensor]:
    found = {}
    for code, own in SIDES.items():
        with torch.no_grad():
            states = [
                model(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in own
            ]
        found[code] = torch.stack(
            [torch.stack([one[n][0, 1:].mean(0) for one in states]).mean(0) for n in (1, 2)]
        )
    return found


def corpus_of(shifter: Shifter | None, *, moving: bool) -> Corpus:
    assert shifter is not None
    return Corpus(shifter, SIDES, "en", moving=moving)


def disturbed(model) -> None:
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1.5)


SHIFT = Shift("corpus", layers=(1, 2))


def test_vectors_are_made_anew_where_an_epoch_begins():
    model = deep(3)
    with shifting(model, SHIFT) as shifter:
        corpus = corpus_of(shifter, moving=True)
        assert shifter.vectors is None
        seen = []
        for epoch in (0, 0, 1, 1, 2):
            corpus.begin(epoch)
            seen.append(shifter.vectors.means["tr"].clone())
            disturbed(model)
    assert torch.equal(seen[0], seen[1]), "not within one"
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[3], seen[4])


def test_vectors_equal_single_passes_without_shift():
    model = deep(3)
    with shifting(model, SHIFT) as shifter:
        corpus = corpus_of(shifter, moving=True)
        for epoch in range(2):  # the second time there are vectors, which must not be added
            corpus.begin(epoch)
            for code, wanted in slow_vectors(model).items():
                torch.testing.assert_close(
                    shifter.vectors.means[code], wanted, rtol=1e-4, atol=1e-4
                )
            disturbed(model)
        difference = shifter.vectors.difference()
        assert not difference.requires_grad
        assert difference.shape == (2, 32)


def test_a_soft_prompts_vectors_are_made_once():
    model = deep(3)
    with shifting(model, SHIFT) as shifter:
        corpus = corpus_of(shifter, moving=False)
        corpus.begin(0)
        first = shifter.vectors
        corpus.begin(1)
        assert shifter.vectors is first


def test_making_vectors_leaves_the_model_in_its_mode():
    model = deep(3)
    for training in (True, False):
        model.train(training)
        model.model.layers[0].self_attn.attention_dropout = 0.5
        with shifting(model, SHIFT) as shifter:
            corpus = corpus_of(shifter, moving=True)
            corpus.renew()
            first = shifter.vectors
            corpus.renew()
            assert torch.equal(first.difference(), shifter.vectors.difference()), "no dropout"
        assert model.training is training
        assert model.model.layers[1].training is training


def test_a_checkpoint_gives_vectors_and_epoch_back(tmp_path):
    model = deep(3)
    with shifting(model, SHIFT) as shifter:
        corpus = corpus_of(shifter, moving=True)
        corpus.begin(3)
        corpus.save(tmp_path)
        kept = shifter.vectors.difference()
    disturbed(model)
    with shifting(model, SHIFT) as shifter:
        again = corpus_of(shifter, moving=True)
        again.load(tmp_path)
        assert again.epoch == 3
        again.begin(3)
        assert torch.equal(shifter.vectors.difference(), kept), "those of the model back then"
        assert (shifter.vectors.layers, shifter.vectors.dominant) == ((1, 2), "en")
        again.begin(4)
        assert not torch.equal(shifter.vectors.difference(), kept)


def test_the_same_vectors_are_the_same_file(tmp_path):
    """A run's record holds the file's digest, so one content must have one."""
    written = set()
    with shifting(deep(3), SHIFT) as shifter:
        corpus = corpus_of(shifter, moving=True)
        corpus.begin(0)
        for _ in range(12):
            corpus.save(tmp_path)
            written.add((tmp_path / "language_vectors.safetensors").read_bytes())
    assert len(written) == 1


def test_a_language_without_a_sentence_has_no_vector():
    with (
        shifting(deep(3), SHIFT) as shifter,
        pytest.raises(DataError, match="no training item in 'tr' fits the model's context"),
    ):
        Corpus(shifter, {"en": SIDES["en"], "tr": ()}, "en", moving=True)
