"""Closeness of two languages: lengths, layers, clusters and what is refused."""

from __future__ import annotations

import pytest
import torch

from conftest import tiny_loaded
from helpers import encoder_for
from isogloss.alignment.cosine_deviation import comparable, deviations, draw_strangers
from isogloss.diagnosing.closeness import closeness
from isogloss.diagnosing.parallel_text import ParallelText
from isogloss.errors import DataError
from isogloss.model.prompt import embedded, prompted


def text_of(count: int, *, longer: int = 0) -> ParallelText:
    own = tuple(f"The man number {n} {'went ' * (n % 3)}home." for n in range(count))
    other = tuple(f"Adam {n} {'gitti ' * (n % 3)}eve.{' Evet.' * longer}" for n in range(count))
    return ParallelText(own, other, tuple(f"i{n // 2}" for n in range(count)), "here")


def test_the_numbers_are_those_of_the_measure():
    loaded = tiny_loaded("llama")
    encoder = encoder_for(loaded, 0)
    text = text_of(40)
    found = closeness(loaded, encoder, text, seed=3, tolerance=0.5)
    own, other = ([encoder.text_ids(s) for s in side] for side in (text.own, text.other))
    lengths = [[len(ids) - 1 for ids in side] for side in (own, other)]
    strangers = draw_strangers(*lengths, tolerance=0.5, seed=3)
    kept = [p for p in comparable(*lengths, tolerance=0.5) if strangers[p] is not None]
    assert found.matched == len(kept) < found.pairs == 40
    every = [place if place is not None else 0 for place in strangers]
    wanted = deviations(loaded.model, own, other, every)[kept]
    centre = deviations(loaded.model, own, other, every, centre=True)[kept]
    assert found.deviation.value == pytest.approx(float(wanted.mean()), abs=1e-9)
    assert found.centred.value == pytest.approx(float(centre.mean()), abs=1e-9)
    assert [each.layer for each in found.layers] == [1, 2]
    for place, each in enumerate(found.layers):
        assert each.deviation.value == pytest.approx(float(wanted[:, place].mean()), abs=1e-9)
        assert each.deviation.low <= each.deviation.value <= each.deviation.high
    assert found.tokens == tuple(pytest.approx(sum(side) / 40) for side in lengths)


def test_every_layer_has_the_embeddings_and_the_last_norms():
    loaded = tiny_loaded("gemma3")
    found = closeness(loaded, encoder_for(loaded, 0), text_of(24), seed=1, every_layer=True)
    assert [each.layer for each in found.layers] == [0, 1, 2, 3]
    # They are shown, and count in no mean: numbers can be held against those of inner layers.
    plain = closeness(loaded, encoder_for(loaded, 0), text_of(24), seed=1)
    assert found.layers[1:-1] == plain.layers == found.inner == plain.inner
    for name in ("deviation", "centred", "unmatched", "best"):
        assert getattr(found, name) == getattr(plain, name), name


def test_lengths_that_cannot_be_matched_are_said():
    loaded = tiny_loaded("llama")
    found = closeness(loaded, encoder_for(loaded, 0), text_of(24, longer=8), seed=1)
    assert found.note.startswith("only 0 pairs are of comparable length (within 20%)")
    assert found.matched == 24
    assert found.deviation == found.unmatched


def test_a_language_against_itself_is_as_close_as_can_be():
    loaded = tiny_loaded("qwen3")
    text = text_of(24)
    same = ParallelText(text.own, text.own, text.clusters, "here")
    found = closeness(loaded, encoder_for(loaded, 0), same, seed=1)
    assert found.deviation.high < 0
    assert found.best.retrieval.value == 1


def test_a_soft_prompt_stands_in_front():
    """With a prompt the states are other ones, and none of its own are counted."""
    loaded = tiny_loaded("llama")
    prompt = torch.nn.Parameter(embedded(loaded.model, [9, 8, 7, 6, 5]))
    with prompted(loaded.model, prompt):
        found = closeness(loaded, encoder_for(loaded, 5), text_of(24), seed=1, tolerance=0.6)
    plain = closeness(loaded, encoder_for(loaded, 0), text_of(24), seed=1, tolerance=0.6)
    # The first word is left out of a plain sentence; after a prompt no word is.
    assert found.tokens == tuple(length + 1 for length in plain.tokens)
    assert found.deviation.value != pytest.approx(plain.deviation.value, abs=1e-6)


def test_too_few_pairs():
    loaded = tiny_loaded("llama")
    with pytest.raises(DataError, match=r"here: found 19 sentence pairs; 20 are the least"):
        closeness(loaded, encoder_for(loaded, 0), text_of(19), seed=1)


def test_intervals_draw_whole_clusters():
    """Doubling every pair in its own cluster changes no interval; as new clusters they narrow."""
    loaded = tiny_loaded("llama")
    text = text_of(24)

    def wide(names: tuple[str, ...]) -> float:
        twice = ParallelText(text.own * 2, text.other * 2, names, "here")
        found = closeness(loaded, encoder_for(loaded, 0), twice, seed=1, tolerance=9).centred
        return found.high - found.low

    once = tuple(f"i{n}" for n in range(24))
    more = (*once, *(f"j{n}" for n in range(24)))
    assert wide(once * 2) > 1.2 * wide(more)
