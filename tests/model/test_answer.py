"""Generated spans: batching changes nothing, and a line's end stops them."""

from __future__ import annotations

import pytest
import torch

from conftest import byte_level_tokenizer, sentencepiece_tokenizer
from isogloss.model.answer import _until, complete, end_ids, generate, line_break_ids
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds


@pytest.mark.parametrize("size", [1, 2, 5])
def test_generation_does_not_depend_on_the_batch(loaded, size):
    tune = SoftPrompt(3)
    weights = tune.start(loaded.model, StartIds(tuple(range(10, 200))), seed=1)
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    sequences = [
        [*range(rows, rows + 3), *range(20, 30 + 9 * n)] for n in range(5)
    ]  # the longest is beyond Gemma's window
    end = loaded.tokenizer("\n\n")["input_ids"][0]
    stops = {end, *line_break_ids(loaded.tokenizer), loaded.tokenizer.eos_token_id}
    with tune.attached(loaded.model, weights):
        found = [
            ids
            for start in range(0, 5, size)
            for ids in generate(
                loaded.model,
                loaded.tokenizer,
                sequences[start : start + size],
                max_new_tokens=8,
                end=end,
            )
        ]
        wanted = [greedy(loaded, sequence, 8, stops) for sequence in sequences]
    assert found == wanted


def greedy(loaded, sequence, steps, stops):
    """One token at a time without a cache: the obvious way."""
    ids = list(sequence)
    for _ in range(steps):
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        if ids[-1] in stops:
            break
    return tuple(ids[len(sequence) :])


@pytest.fixture
def prompted_sequences(loaded):
    """A model with a soft prompt, and sequences of several lengths that begin with it."""
    tune = SoftPrompt(3)
    weights = tune.start(loaded.model, StartIds(tuple(range(10, 200))), seed=1)
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    with tune.attached(loaded.model, weights):
        yield loaded, [[*range(rows, rows + 3), *range(20, 30 + 9 * n)] for n in range(4)]


def test_a_models_own_settings_of_generation_are_not_ours(prompted_sequences):
    """A repetition penalty in generation_config.json would be taken over without a word."""
    loaded, sequences = prompted_sequences
    end = loaded.tokenizer("\n\n")["input_ids"][0]
    wanted = generate(loaded.model, loaded.tokenizer, sequences, max_new_tokens=8, end=end)
    loaded.model.generation_config.repetition_penalty = 5.0
    loaded.model.generation_config.no_repeat_ngram_size = 1
    found = generate(loaded.model, loaded.tokenizer, sequences, max_new_tokens=8, end=end)
    assert found == wanted


def test_completions_have_limits_of_their_own(prompted_sequences):
    loaded, sequences = prompted_sequences
    limits, stops = [1, 9, 4, 6], end_ids(loaded.model, loaded.tokenizer)
    found = complete(
        loaded.model, loaded.tokenizer, sequences, limits=limits, enough=lambda *_: False
    )
    wanted = [greedy(loaded, *one, stops) for one in zip(sequences, limits, strict=True)]
    assert found == wanted
    assert max(map(len, found)) > 6


def test_a_completion_stops_where_it_is_enough(prompted_sequences):
    """One sequence is stopped by what it wrote; its neighbours go on to their own ends."""
    loaded, sequences = prompted_sequences
    stops = end_ids(loaded.model, loaded.tokenizer)
    whole = [greedy(loaded, sequence, 8, stops) for sequence in sequences]
    mark = whole[1][2]
    cut = whole[1][: whole[1].index(mark) + 1]

    def enough(place, ids):
        return place == 1 and mark in ids

    found = complete(loaded.model, loaded.tokenizer, sequences, limits=[8] * 4, enough=enough)
    assert found == [whole[0], cut, *whole[2:]]


def test_a_completion_stops_at_an_end_token(prompted_sequences):
    loaded, sequences = prompted_sequences
    (whole,) = complete(
        loaded.model, loaded.tokenizer, sequences[:1], limits=[8], enough=lambda *_: False
    )
    loaded.model.generation_config.eos_token_id = whole[1]
    (found,) = complete(
        loaded.model, loaded.tokenizer, sequences[:1], limits=[8], enough=lambda *_: False
    )
    assert found == whole[: whole.index(whole[1]) + 1]


@pytest.mark.parametrize("make", [byte_level_tokenizer, sentencepiece_tokenizer])
def test_line_breaks_are_found_in_either_kind_of_vocabulary(make):
    tokenizer = make()
    found = set(line_break_ids(tokenizer))
    for text in ("a\n\nb", "a\nb"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found & set(ids), text
    assert not found & set(tokenizer("a b c", add_special_tokens=False)["input_ids"])


def test_ids_are_cut_at_the_first_stop():
    assert _until([4, 5, 6, 5], {5, 9}) == (4, 5)
    assert _until([4, 6], {5}) == (4, 6)
