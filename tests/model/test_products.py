"""Products by oneDNN are torch's, in values and gradients, and are used where they should be."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from conftest import byte_level_tokenizer
from isogloss.model import products
from isogloss.model.load import load
from isogloss.model.products import Linear, quicken

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


@pytest.fixture
def slow_torch(monkeypatch):
    monkeypatch.setattr(products, "torch_is_slow", lambda: True)


@pytest.fixture
def counted(monkeypatch):
    """The shapes that went through oneDNN."""
    seen, own = [], products.product

    def product(left, right, bias=None):
        seen.append((tuple(left.shape), tuple(right.shape)))
        return own(left, right, bias)

    monkeypatch.setattr(products, "product", product)
    return seen


def small_model(**named):
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 320, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=300, **sizes, **heads, **named)
    return AutoModelForCausalLM.from_config(config).eval()


def pair(given, made, *, bias):
    torch.manual_seed(1)
    theirs = nn.Linear(given, made, bias=bias)
    ours = copy.deepcopy(theirs)
    ours.__class__ = Linear
    return theirs, ours


def results(layer, input):
    input = input.detach().requires_grad_()
    (layer(input) ** 2).sum().backward()
    own = [each.grad for each in layer.parameters() if each.requires_grad]
    return [layer(input).detach(), input.grad, *own]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shape", [(5, 33), (2, 7, 33), (1, 33), (2, 0, 33)])
def test_values_and_gradients_are_those_of_torch(bias, frozen, shape, counted):
    for layer in (pairs := pair(33, 17, bias=bias)):
        layer.requires_grad_(not frozen)
    torch.manual_seed(2)
    input = torch.randn(shape)
    wanted = results(pairs[0], input)
    assert counted == []
    found = results(pairs[1], input)
    times = 3 if frozen else 4  # twice forward, for the input, for the weight
    assert len(counted) == (times if input.numel() else 0)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_tensors_in_any_order_of_memory_are_multiplied_right(counted):
    theirs, ours = pair(16, 8, bias=False)
    base = torch.randn(6, 4, 32)
    for input in (base.transpose(0, 1)[..., :16], base[::2, :, 16:], base[..., ::2]):
        torch.testing.assert_close(ours(input), theirs(input), rtol=1e-5, atol=1e-5)
        for one, other in zip(results(ours, input), results(theirs, input), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
            theirs.zero_grad()
            ours.zero_grad()
    assert counted


def test_a_weight_with_gaps_is_copied_first(monkeypatch):
    seen, own = [], torch.ops.mkldnn._linear_pointwise
    ops = types.SimpleNamespace(
        _linear_pointwise=lambda left, right, *rest: seen.append(right) or own(left, right, *rest)
    )
    monkeypatch.setattr(products.torch.ops, "mkldnn", ops)
    left, wide = torch.randn(3, 16), torch.randn(8, 32)
    dense = torch.randn(8, 16)
    for right in (wide[:, :16], dense, torch.randn(16, 8).t()):
        torch.testing.assert_close(products.product(left, right), left @ right.t())
    assert seen[0].is_contiguous()
    assert seen[1] is dense
    assert not seen[2].is_contiguous()


def test_gradients_of_gradients_are_those_of_torch():
    found = []
    for layer in pair(12, 9, bias=True):
        input = torch.linspace(-1, 1, 60).reshape(5, 12).requires_grad_()
        (first,) = torch.autograd.grad((layer(input) ** 3).sum(), input, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), [input, layer.weight]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_whole_models_logits_and_gradients_stay(slow_torch, counted):
    model = small_model()
    ids = torch.arange(40).reshape(2, 20)
    wanted = model(ids, labels=ids)
    wanted.loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters()}
    model.zero_grad()
    assert counted == []
    names = set(model.state_dict())
    assert quicken(model) is model
    assert set(model.state_dict()) == names
    found = model(ids, labels=ids)
    found.loss.backward()
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-5, atol=1e-5)
    for name, each in model.named_parameters():
        scale = float(gradients[name].abs().max())
        torch.testing.assert_close(each.grad, gradients[name], rtol=1e-3, atol=1e-5 * scale)
    small = [each for each in model.modules() if type(each) is nn.Linear]
    assert {each.out_features for each in small} == {128}  # keys and values: 32,768 parameters
    assert counted


def test_a_frozen_layer_holds_on_to_no_input():
    _, ours = pair(64, 64, bias=False)
    ours.requires_grad_(False)
    input = torch.randn(4, 64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each), lambda _: None):
        ours(input)
    assert [tuple(each.shape) for each in kept] == [(64, 64)]


def test_other_formats_and_autocast_stay_with_torch(counted):
    _, ours = pair(16, 8, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(torch.randn(3, 16)).dtype == torch.bfloat16
    assert ours.bfloat16()(torch.randn(3, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert counted == []


def test_a_compiled_layer_stays_with_torch():
    """Inductor has no way to compile the product of a turned weight."""
    theirs, ours = pair(16, 8, bias=False)
    seen = []

    def keep(graph, _):
        seen.append(graph.code)
        return graph.forward

    input = torch.randn(3, 16)
    compiled = torch.compile(ours, backend=keep)
    torch.testing.assert_close(compiled(input), theirs(input))
    assert len(seen) == 1
    assert "_linear_pointwise" not in seen[0]
    assert "_Product" not in seen[0]


def test_a_loaded_model_is_quickened_where_torch_is_slow(tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    for slow in (False, True):
        monkeypatch.setattr(products, "torch_is_slow", lambda slow=slow: slow)
        model = load(str(tmp_path)).model
        assert any(type(each) is Linear for each in model.modules()) == slow


@pytest.mark.parametrize(
    ("maker", "level", "slow"),
    [
        ("vendor_id\t: AuthenticAMD", "AVX512", True),
        ("vendor_id\t: AuthenticAMD", "AVX2", False),
        ("vendor_id\t: GenuineIntel", "AVX512", False),
    ],
)
def test_torch_is_slow_on_one_kind_of_processor(maker, level, slow, monkeypatch):
    monkeypatch.setattr(products, "_maker", lambda: maker)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    assert products.torch_is_slow.__wrapped__() is slow
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert products.torch_is_slow.__wrapped__() is False
