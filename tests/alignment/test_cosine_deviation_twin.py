"""Cosine deviation (Appendix B.1) against the formula written out token by token."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import snapshot
from isogloss.alignment.cosine_deviation import (
    centred,
    comparable,
    deviations,
    draw_strangers,
    layer_deviations,
)

ATOL = 1e-6
LENGTHS = ((7, 5), (1, 12), (14, 16), (3, 1), (25, 22), (11, 10))
STRANGERS = (2, 4, 0, 5, 2, 1)


def cosine(one: list[float], two: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, two, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in two))


def nearness(token: list[float], sentence: list[list[float]], top: int) -> float:
    """cos(h, H; top-10): the mean of the highest cosines, of all where there are fewer."""
    best = sorted((cosine(token, other) for other in sentence), reverse=True)[:top]
    return sum(best) / len(best)


def twin(own: list[Tensor], other: list[Tensor], strangers, top: int = 10) -> Tensor:
    """B.1 by loops: random sentence of the dominant language minus the translation."""
    found = []
    for here, there, stranger in zip(own, other, strangers, strict=True):
        tokens = here.double().tolist()
        random_one, translation = own[stranger].double().tolist(), there.double().tolist()
        total = 0.0
        for token in tokens:
            total += nearness(token, random_one, top) - nearness(token, translation, top)
        found.append(total / len(tokens))
    return torch.tensor(found, dtype=torch.float64)


def twin_centred(own: list[Tensor], other: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    tokens = [token for sentence in (*own, *other) for token in sentence.double()]
    mean = sum(tokens) / len(tokens)
    return [one.double() - mean for one in own], [one.double() - mean for one in other]


def states(lengths=LENGTHS, width: int = 6, *, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    source = torch.Generator().manual_seed(seed)
    common = torch.randn(width, generator=source)  # real states lean one way

    def sentence(length: int) -> Tensor:
        return torch.randn(length, width, generator=source) + common

    return [sentence(n) for n, _ in lengths], [sentence(n) for _, n in lengths]


def tensor_of(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def check(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == torch.float64
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= ATOL


HAND_OWN = [tensor_of((1, 0), (0, 1)), tensor_of((3, 4))]
HAND_OTHER = [tensor_of((1, 0)), tensor_of((0, 2), (4, -3))]
# Pair 0: (.6 - 1 + .8 - 0) / 2. Pair 1: (.6 + .8) / 2 - (.8 + 0) / 2; with top 1: .8 - .8.
HAND = ((10, (0.2, 0.3)), (1, (0.2, 0.0)))


@pytest.mark.parametrize(("top", "wanted"), HAND)
def test_by_hand(top, wanted):
    wanted = torch.tensor(wanted, dtype=torch.float64)
    check(twin(HAND_OWN, HAND_OTHER, (1, 0), top), wanted)
    check(layer_deviations(HAND_OWN, HAND_OTHER, (1, 0), top=top), wanted)


@pytest.mark.parametrize("top", [1, 3, 10, 40])
def test_is_the_twin(top):
    own, other = states()
    wanted = twin(own, other, STRANGERS, top)
    assert wanted.abs().max() > 1e-2, "the twin itself says something"
    check(layer_deviations(own, other, STRANGERS, top=top), wanted)


def test_top_10_is_the_default():
    own, other = states()
    check(layer_deviations(own, other, STRANGERS), twin(own, other, STRANGERS, 10))


@pytest.mark.parametrize("memory", [1, 256, 1000, 5000, 2**30])
def test_memory_changes_nothing(memory):
    own, other = states()
    found = layer_deviations(own, other, STRANGERS, memory=memory)
    check(found, twin(own, other, STRANGERS))


class Largest(TorchDispatchMode):
    """The most bytes that any tensor made inside has."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return made


def test_no_matrix_is_larger_than_the_memory_stated():
    """The states have few bytes here; tokens x tokens of one pair would have 160 KB."""
    own, other = states([(200, 200)] * 4, width=2)
    with Largest() as free:
        wanted = layer_deviations(own, other, (1, 2, 3, 0))
    assert free.bytes >= 160_000, "the probe sees matrices"
    with Largest() as bound:
        found = layer_deviations(own, other, (1, 2, 3, 0), memory=40_000)
    assert bound.bytes <= 40_000
    check(found, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_cosines_are_not_rounded_to_the_states_type(dtype):
    own, other = states()
    own, other = [one.to(dtype) for one in own], [one.to(dtype) for one in other]
    check(layer_deviations(own, other, STRANGERS), twin(own, other, STRANGERS))


def test_large_and_small_states():
    own, other = states()
    wanted = twin(own, other, STRANGERS)
    for scale in (1e-6, 1e6):
        scaled = [one * scale for one in own], [one * scale for one in other]
        check(layer_deviations(*scaled, STRANGERS), wanted)


def test_the_length_of_a_token_changes_nothing():
    own, other = states()
    source = torch.Generator().manual_seed(9)

    def stretched(sentences):
        return [one * (0.1 + torch.rand(len(one), 1, generator=source) * 9) for one in sentences]

    found = layer_deviations(stretched(own), stretched(other), STRANGERS)
    check(found, twin(own, other, STRANGERS))


def test_rotations_and_the_order_of_tokens_change_nothing():
    own, other = states()
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4)))[0]
    turned = [one.flip(0) @ turn for one in own], [one.flip(0) @ turn for one in other]
    check(layer_deviations(*turned, STRANGERS), twin(own, other, STRANGERS))


def test_a_pair_is_not_moved_by_its_neighbours():
    own, other = states()
    alone = layer_deviations([own[1], own[4]], [other[1], other[4]], (1, 0))
    check(alone[:1], twin(own, other, STRANGERS)[1:2])


def test_a_sentence_is_nearest_to_itself():
    own, _ = states()
    found = layer_deviations(own, own, STRANGERS, top=1)
    assert (found <= ATOL).all()
    nearest = [
        sum(nearness(token, own[stranger].tolist(), 1) - 1 for token in here.tolist()) / len(here)
        for here, stranger in zip(own, STRANGERS, strict=True)
    ]
    check(found, torch.tensor(nearest, dtype=torch.float64))


def test_a_translation_no_nearer_than_the_stranger_gives_zero():
    own, _ = states()
    same = [own[stranger] for stranger in STRANGERS]
    check(layer_deviations(own, same, STRANGERS), torch.zeros(len(own), dtype=torch.float64))


def test_the_sign_turns_where_stranger_and_translation_change_places():
    own, other = states([(8, 9), (9, 8)])
    once = layer_deviations([own[0], own[1]], [other[0], own[0]], (1, 0))[0]
    turned = layer_deviations([own[0], other[0]], [own[1], own[0]], (1, 0))[0]
    assert abs(float(once)) > 1e-3
    assert float(once) == pytest.approx(-float(turned), abs=ATOL)


def test_centred_by_hand():
    """Of three tokens, not of two sentences: the mean is (3, 3)."""
    own, other = [tensor_of((1, 1))], [tensor_of((3, 5), (5, 3))]
    one, two = centred(own, other)
    assert [len(one), len(two)] == [1, 1]
    assert torch.equal(one[0].float(), tensor_of((-2, -2)))
    assert torch.equal(two[0].float(), tensor_of((0, 2), (2, 0)))
    assert torch.equal(own[0], tensor_of((1, 1))), "what was given is as it was"
    assert torch.equal(other[0], tensor_of((3, 5), (5, 3)))


def test_centred_is_the_twin():
    own, other = states()
    wanted_own, wanted_other = twin_centred(own, other)
    for found, wanted in zip(centred(own, other), (wanted_own, wanted_other), strict=True):
        for one, two in zip(found, wanted, strict=True):
            assert (one.double() - two).abs().max() <= ATOL
    wanted = twin(wanted_own, wanted_other, STRANGERS)
    check(layer_deviations(*centred(own, other), STRANGERS), wanted)
    assert (wanted - twin(own, other, STRANGERS)).abs().max() > 1e-2, "centring is not nothing"


def test_comparable_lengths_are_measured_by_the_other_language():
    #      n_t = 10: 8 to 12 tokens          n_t = 12: 15 is too long, though 3 <= 20% of 15
    own = [8, 12, 7, 13, 10, 15, 4, 6, 3, 7, 1, 2]
    other = [10, 10, 10, 10, 10, 12, 5, 5, 5, 5, 1, 1]
    assert comparable(own, other) == [0, 1, 4, 6, 7, 10]
    assert comparable(own, other, tolerance=0.3) == [0, 1, 2, 3, 4, 5, 6, 7, 10]
    assert comparable(own, other, tolerance=0.0) == [4, 10]


def test_comparable_at_every_edge():
    pairs = [(own, other) for other in range(1, 130) for own in range(1, 160)]
    found = comparable([own for own, _ in pairs], [other for _, other in pairs])
    assert found == [n for n, (own, other) in enumerate(pairs) if 5 * abs(own - other) <= other]


def candidates(own, other, place, share=5) -> set[int]:
    """By whole numbers: 20% is a fifth."""
    return {
        n
        for n, length in enumerate(own)
        if n != place and share * abs(length - other[place]) <= other[place]
    }


def test_strangers_are_other_sentences_as_long_as_the_translation():
    source = random.Random(5)
    own = [source.randint(3, 40) for _ in range(60)] + [200]
    other = [source.randint(3, 40) for _ in range(60)] + [200]
    for seed in range(20):
        drawn = draw_strangers(own, other, seed=seed)
        assert len(drawn) == 61
        for place, stranger in enumerate(drawn):
            allowed = candidates(own, other, place)
            assert stranger in allowed if allowed else stranger is None
        assert drawn[60] is None, "nothing but itself is as long"


def test_strangers_of_any_length():
    drawn = draw_strangers([3, 50, 9], [30, 2, 100], tolerance=None, seed=1)
    assert all(stranger in {0, 1, 2} - {place} for place, stranger in enumerate(drawn))
    assert draw_strangers([7], [7], tolerance=None, seed=1) == [None]
    assert draw_strangers([7], [7], seed=1) == [None]


def test_strangers_come_from_the_seed():
    lengths = [10] * 40
    drawn = draw_strangers(lengths, lengths, seed=3)
    assert drawn == draw_strangers(lengths, lengths, seed=3)
    assert drawn != draw_strangers(lengths, lengths, seed=4)
    assert len(set(drawn)) > 10, "not one stranger for all"


@pytest.mark.parametrize("tolerance", [0.2, None])
def test_every_stranger_is_as_likely(tolerance):
    own, other = [10, 10, 11, 9, 12, 30], [10, 10, 10, 10, 10, 10]
    near = {0, 2, 3, 4} | (set() if tolerance else {5})
    seeds = 600
    drawn = Counter(
        draw_strangers(own, other, tolerance=tolerance, seed=seed)[1] for seed in range(seeds)
    )
    assert set(drawn) == near
    share = 1 / len(near)
    for count in drawn.values():
        assert abs(count - seeds * share) < 4.5 * math.sqrt(seeds * share * (1 - share))


# Some longer than the tiny Gemma's window of 24, one of two tokens, lengths mixed.
SENTENCES = ((9, 12), (2, 4), (33, 30), (15, 2), (6, 7), (28, 41), (12, 9))
OTHERS = (4, 6, 5, 2, 0, 2, 3)


def sentence_ids() -> tuple[list[list[int]], list[list[int]]]:
    source = random.Random(11)

    def ids(length: int) -> list[int]:
        return [source.randrange(5, 200) for _ in range(length)]

    return [ids(n) for n, _ in SENTENCES], [ids(n) for _, n in SENTENCES]


@torch.no_grad()
def plain_states(model, ids: list[int], layer: int) -> Tensor:
    """Of one unpadded sentence, less its first token, by transformers alone."""
    return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0, 1:]


def twin_deviations(model, own_ids, other_ids, strangers, layers, *, centre=False) -> Tensor:
    columns = []
    for layer in layers:
        own = [plain_states(model, ids, layer) for ids in own_ids]
        other = [plain_states(model, ids, layer) for ids in other_ids]
        if centre:
            own, other = twin_centred(own, other)
        columns.append(twin(own, other, strangers))
    return torch.stack(columns, dim=1)


def test_of_a_model_is_the_twin(loaded):
    own, other = sentence_ids()
    # First: transformers leaves hooks of its own behind where it records states.
    wanted = twin_deviations(loaded.model, own, other, OTHERS, (1, 2))
    before = snapshot(loaded)
    found = deviations(loaded.model, own, other, OTHERS)
    check(found, wanted)
    assert not found.requires_grad
    assert snapshot(loaded) == before


def test_of_a_model_centred_at_every_layer(loaded):
    """Layer 0: the embeddings. Layer 3 of three blocks: after the final norm."""
    own, other = sentence_ids()
    layers = (3, 0, 1)
    found = deviations(loaded.model, own, other, OTHERS, layers=layers, centre=True)
    wanted = twin_deviations(loaded.model, own, other, OTHERS, layers, centre=True)
    check(found, wanted)
    plain = deviations(loaded.model, own, other, OTHERS, layers=layers[:1])
    check(plain, twin_deviations(loaded.model, own, other, OTHERS, layers[:1]))
    assert (plain - wanted[:, :1]).abs().max() > 1e-3


def test_batches_and_memory_change_nothing_of_a_model(loaded):
    own, other = sentence_ids()
    at_once = deviations(loaded.model, own, other, OTHERS)
    for batch_size, memory in ((1, 2**14), (3, 2**31), (8, 2**12)):
        found = deviations(loaded.model, own, other, OTHERS, batch_size=batch_size, memory=memory)
        check(found, at_once)
