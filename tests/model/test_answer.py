"""Generated spans: batching changes nothing, and a line's end stops them."""

from __future__ import annotations

import pytest

from conftest import byte_level_tokenizer, sentencepiece_tokenizer
from helpers import greedy
from isogloss.model.answer import _until, generate, line_break_ids
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
        wanted = [greedy(loaded.model, sequence, 8, stops) for sequence in sequences]
    assert found == wanted


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
