"""Hidden states of single layers: those of transformers, read without the blocks behind them."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from isogloss.errors import ModelError
from isogloss.model.layers import blocks, edited, padded, read, sentence_means

LAYERS = (0, 1, 2)
SENTENCES = ((20, 21, 22, 23, 24, 25), (30, 31), (40, 41, 42, 43), (50, 51, 52))


@contextmanager
def counted(model):
    """How often each block ran."""
    runs = [0] * len(blocks(model))

    def keep(number):
        def hook(*_):
            runs[number] += 1

        return hook

    hooks = [
        block.register_forward_hook(keep(number)) for number, block in enumerate(blocks(model))
    ]
    yield runs
    for hook in hooks:
        hook.remove()


def hooks_of(model) -> int:
    return sum(len(block._forward_pre_hooks) for block in blocks(model))


def ids_of(loaded, length: int = 40) -> torch.Tensor:
    """Longer than the tiny Gemma's window of 24."""
    source = torch.Generator().manual_seed(3)
    return torch.randint(5, 200, (2, length), generator=source)


def test_read_is_output_hidden_states(loaded):
    ids = ids_of(loaded)
    mask = torch.ones_like(ids)
    mask[1, 30:] = 0
    arguments = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        wanted = loaded.model(**arguments, output_hidden_states=True).hidden_states
        found = read(loaded.model, arguments, LAYERS)
    assert len(wanted) == 4, "and the last is after the final norm"
    assert sorted(found) == list(LAYERS)
    for layer in LAYERS:
        assert torch.equal(found[layer], wanted[layer])
        assert not torch.equal(wanted[layer], wanted[layer + 1])


@pytest.mark.parametrize(("layers", "runs"), [((0,), 0), ((1,), 1), ((2, 1), 2), ((0, 2), 2)])
def test_blocks_behind_the_last_asked_layer_do_not_run(loaded, layers, runs):
    with torch.no_grad(), counted(loaded.model) as ran:
        found = read(loaded.model, {"input_ids": ids_of(loaded)}, layers)
    assert ran == [1] * runs + [0] * (3 - runs)
    assert set(found) == set(layers)


def test_gradients_flow_through_what_is_read(loaded):
    states = read(loaded.model, {"input_ids": ids_of(loaded)}, [2])[2]
    states.square().sum().backward()
    reached = [name for name, p in loaded.model.named_parameters() if p.grad is not None]
    assert any("layers.1." in name for name in reached)
    assert not any("layers.2." in name or "model.norm" in name for name in reached)
    loaded.model.zero_grad()


def test_reading_leaves_no_trace(loaded):
    ids = ids_of(loaded)
    with torch.no_grad():
        before = loaded.model(ids).logits
        read(loaded.model, {"input_ids": ids}, LAYERS)
        assert hooks_of(loaded.model) == 0
        assert torch.equal(loaded.model(ids).logits, before)


def test_errors_leave_no_trace(loaded):
    ids = ids_of(loaded)

    def broken(_):
        raise ValueError("an edit's own fault")

    with torch.no_grad():
        before = loaded.model(ids).logits
        with pytest.raises(ValueError, match="own fault"), edited(loaded.model, {1: broken}):
            loaded.model(ids)
        with pytest.raises(ValueError), edited(loaded.model, {0: lambda h: h + 1}):
            raise ValueError
        # A layer that there is not, after hooks on others that there are.
        with pytest.raises(IndexError):
            read(loaded.model, {"input_ids": ids}, (0, 1, 7))
        with pytest.raises((TypeError, IndexError, ValueError, RuntimeError)):
            read(loaded.model, {"input_ids": torch.tensor([[10**6]])}, (1,))
        assert hooks_of(loaded.model) == 0
        assert torch.equal(loaded.model(ids).logits, before)


def test_an_edit_is_seen_by_its_block_and_by_all_behind_it(loaded):
    """transformers records what a block gives, so an edit where the next begins is not in it."""
    ids = ids_of(loaded)
    with torch.no_grad():
        plain = loaded.model(ids, output_hidden_states=True)
        with edited(loaded.model, {1: lambda h: h + 1.0, 2: lambda h: None}):
            moved = loaded.model(ids, output_hidden_states=True)
    assert torch.equal(moved.hidden_states[0], plain.hidden_states[0])
    assert torch.equal(moved.hidden_states[1], plain.hidden_states[1])
    assert not torch.allclose(moved.hidden_states[2], plain.hidden_states[2])
    # By hand: the states moved, given to the blocks from there on.
    given = plain.hidden_states[1] + 1.0
    with torch.no_grad(), edited(loaded.model, {1: lambda _: given}):
        torch.testing.assert_close(loaded.model(ids).logits, moved.logits)
    with torch.no_grad(), edited(loaded.model, {2: lambda _: moved.hidden_states[2]}):
        torch.testing.assert_close(loaded.model(ids).logits, moved.logits)
    assert not torch.allclose(moved.logits, plain.logits)


def test_reading_within_an_edit(loaded):
    """What is read at the edited layer is from before the edit, behind it from after."""
    ids = ids_of(loaded)
    with torch.no_grad():
        plain = read(loaded.model, {"input_ids": ids}, [1, 2])
        with edited(loaded.model, {1: lambda h: h + 1.0}):
            within = read(loaded.model, {"input_ids": ids}, [1, 2])
    assert torch.equal(within[1], plain[1])
    assert not torch.allclose(within[2], plain[2])


def test_models_of_another_build_are_refused():
    class Odd:
        config = SimpleNamespace(model_type="odd")

        def get_decoder(self):
            return nn.Linear(2, 2)

    with pytest.raises(ModelError, match="the layers of a odd model cannot be reached"):
        blocks(Odd())  # type: ignore[arg-type]


# Sentence means.


def test_padded():
    ids, real = padded([(5, 6, 7), (8,), (9, 4)])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0], [9, 4, 0]]
    assert real.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert ids.dtype == real.dtype == torch.long


def loops(loaded, sentence, layers) -> torch.Tensor:
    """Of one sentence alone: the mean over all tokens but the first."""
    with torch.no_grad():
        states = loaded.model(torch.tensor([sentence]), output_hidden_states=True).hidden_states
    means = []
    for layer in layers:
        total = torch.zeros(states[layer].shape[-1])
        for place in range(1, len(sentence)):
            total += states[layer][0, place]
        means.append(total / (len(sentence) - 1))
    return torch.stack(means)


def test_sentence_means_are_those_of_each_sentence_alone(loaded):
    """Whatever stands beside a sentence, and however much padding it has."""
    long = tuple(range(60, 110))
    for layers in ((2, 1), (0, 1, 2)):
        with torch.no_grad():
            found = sentence_means(loaded.model, *padded([*SENTENCES, long]), layers)
        assert found.shape == (5, len(layers), 32)
        assert found.dtype == torch.float32
        for own, sentence in zip(found, [*SENTENCES, long], strict=True):
            torch.testing.assert_close(own, loops(loaded, sentence, layers), rtol=1e-4, atol=1e-4)


def test_what_padding_holds_says_nothing(loaded):
    ids, real = padded(SENTENCES)
    with torch.no_grad():
        plain = sentence_means(loaded.model, ids, real, (1, 2))
        filled = sentence_means(loaded.model, ids.masked_fill(real == 0, 77), real, (1, 2))
        alone = sentence_means(loaded.model, ids[[1]], real[[1]], (1, 2))
    assert torch.equal(plain, filled)
    torch.testing.assert_close(plain[[1]], alone, rtol=1e-4, atol=1e-4)


def test_the_first_token_is_in_no_mean(loaded):
    """At layer 0 nothing has been mixed yet: another first token changes nothing at all."""
    ids, real = padded(SENTENCES)
    other = ids.clone()
    other[:, 0] = 99
    with torch.no_grad():
        first, second = (sentence_means(loaded.model, x, real, (0, 1)) for x in (ids, other))
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])


def test_gradients_flow_through_means(loaded):
    sentence_means(loaded.model, *padded(SENTENCES), (1,)).square().sum().backward()
    grads = {name for name, p in loaded.model.named_parameters() if p.grad is not None}
    assert any("layers.0." in name for name in grads)
    assert not any("layers.1." in name for name in grads)
    loaded.model.zero_grad()


def test_half_precision_states_are_averaged_in_fp32(loaded):
    half = loaded.model.bfloat16()
    with torch.no_grad():
        found = sentence_means(half, *padded([tuple(range(20, 60))]), (1,))
        states = half(torch.tensor([list(range(20, 60))]), output_hidden_states=True)
    assert found.dtype == torch.float32
    wanted = states.hidden_states[1][0, 1:].float().mean(0)
    torch.testing.assert_close(found[0, 0], wanted, rtol=2e-2, atol=2e-2)
