"""FlexAttention gives what SDPA gives, and leaves out the blocks that nobody sees."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask
from transformers import AutoModelForCausalLM, Gemma2Config
from transformers.integrations.flex_attention import flex_attention_forward

from conftest import ARCHITECTURES, tiny_loaded
from flexing import wide_loaded, written_out
from helpers import encoder_for, groups_for
from isogloss.alignment.attention import late_attention
from isogloss.encoding import EncodedSet, EncodedTarget, Span
from isogloss.errors import ModelError
from isogloss.methods.losses import answer_loss
from isogloss.model import flex_attention
from isogloss.model.answer import generate, token_log_probabilities
from isogloss.model.attention import FULL, SLIDING, default_layout, masks
from isogloss.model.flex_attention import FLEX
from isogloss.model.generation import continued
from isogloss.model.layers import padded, sentence_means
from isogloss.model.prefix_cache import front_cache
from isogloss.model.tree_attention import trunks_apart
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds

__all__ = ["written_out"]
PROMPT = SoftPrompt(5)
IDS = StartIds(tuple(range(10, 200)))
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="it is compiled for a GPU")


def by_both(model, work):
    """What `work` gives by the model's own kernel, and by FlexAttention."""
    wanted = work()
    model.set_attn_implementation(FLEX)
    return wanted, work()


def learnt(model, weights, batch, answers):
    """Loss, log-probabilities, and the gradient of the soft prompt."""
    values = token_log_probabilities(model, batch)
    marks = torch.tensor([answer.kind == "demonstration" for answer in answers])
    loss = answer_loss(values, batch, marks.to(model.device), 0.5)
    (gradient,) = torch.autograd.grad(loss, weights[KEY])
    return loss.detach(), values.detach(), gradient


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("groups", "how"),
    [
        (1, {}),
        (3, {}),
        (2, {"layout": "packed"}),
        (2, {"layout": "rows"}),
        (2, {"options": True}),
        (1, {"options": True}),
    ],
)
def test_losses_and_gradients_are_sdpas(architecture, groups, how, written_out):
    """Beyond Gemma's window of 24, in rows of other lengths and in one."""
    loaded = tiny_loaded(architecture)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    made = groups_for(encoder_for(loaded), groups=groups)
    batch, answers = pack(made, demonstration_answers=None, **how)
    with PROMPT.attached(loaded.model, weights):
        wanted, found = by_both(loaded.model, lambda: learnt(loaded.model, weights, batch, answers))
    assert written_out == [batch.ids.shape[1]] * 3, "one call in each layer, none by SDPA"
    assert default_layout(loaded.model) == "tree"
    torch.testing.assert_close(found[:2], wanted[:2], rtol=1e-5, atol=1e-5)
    largest = float(wanted[2].abs().max())
    torch.testing.assert_close(found[2], wanted[2], rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_behind_a_kept_front(architecture, written_out):
    """Options scored, and texts written, by fewer queries than keys."""
    loaded = tiny_loaded(architecture)
    model = loaded.model
    weights = PROMPT.start(model, IDS, seed=1)
    (group,) = groups_for(encoder_for(loaded), groups=1)
    front = group.demonstrations.ids

    def work():
        cache = front_cache(model, front)
        batch, _ = pack([group.behind(len(front))], options=True)
        scores = token_log_probabilities(model, batch, cache)
        targets = [target.ids for target in group.targets]
        return scores, continued(model, targets, front=cache, max_new_tokens=6, stops={})

    with torch.no_grad(), PROMPT.attached(model, weights):
        wanted, found = by_both(model, work)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert found[1] == wanted[1]
    assert 1 in written_out, "a token at a time"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_that_the_model_makes_itself(architecture, written_out):
    """Sequences padded on the right, on the left, and a token at a time behind a cache."""
    loaded = tiny_loaded(architecture)
    model = loaded.model
    sequences = [tuple(range(5, 5 + length)) for length in (40, 9, 27)]

    def work():
        means = sentence_means(model, *padded(sequences), (1, 3))
        texts = generate(model, loaded.tokenizer, sequences, max_new_tokens=5, end=0)
        return [means, *late_attention(model, sequences, [2, 1, 1])], texts

    with torch.no_grad():
        wanted, found = by_both(model, work)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert found[1] == wanted[1]
    assert written_out


def test_what_else_a_model_asks_of_its_attention(written_out):
    """Gemma 2 bends its scores, which SDPA leaves out and eager attention does."""
    torch.manual_seed(7)
    config = Gemma2Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=8,
        attn_logit_softcapping=0.5,
        query_pre_attn_scalar=2,
        initializer_range=0.2,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    batch, _ = pack([tree_of(40, 3, 20)])
    with torch.no_grad():
        wanted, found = by_both(model, lambda: token_log_probabilities(model, batch))
        for layer in model.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        other = token_log_probabilities(model, batch)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert float((other - found).abs().max()) > 1e-3, "it makes a difference"


def tree_of(trunk: int, branches: int, length: int) -> EncodedGroup:
    """A front, and targets with an answer of one token and no token in common."""
    front = EncodedSet(tuple(range(trunk)), Span(0, 0), (), (), ())
    targets = (
        EncodedTarget(str(one), "tr", tuple(range(one, one + length)), Span(0, length), (1,), ())
        for one in range(branches)
    )
    return EncodedGroup(front, tuple(targets))


def blocks(mask: BlockMask) -> list[list[str]]:
    """Each block of the first row: `#` seen whole, `+` in part, `.` not at all."""
    rows, columns = (-(-length // 128) for length in mask.shape[-2:])
    drawn = [["."] * columns for _ in range(rows)]
    kinds = {
        "+": (mask.kv_num_blocks, mask.kv_indices),
        "#": (mask.full_kv_num_blocks, mask.full_kv_indices),
    }
    for mark, (counts, places) in kinds.items():
        for row in range(rows):
            for column in places[0, 0, row, : int(counts[0, 0, row])].tolist():
                drawn[row][column] = mark
    return ["".join(row) for row in drawn]


def test_what_nobody_sees_is_not_computed():
    """A trunk of two blocks with three branches of one, and the same tree behind another."""
    model = tiny_loaded("llama", attention=FLEX).model
    tree = tree_of(256, 3, 128)
    batch, _ = pack([tree])
    found = masks(model, batch.visible, batch.positions)
    assert blocks(found) == ["+....", "#+...", "##+..", "##.+.", "##..+"]
    assert found.sparsity() == pytest.approx(100 * (1 - 12 / 25))
    twice, _ = pack([tree, tree_of(128, 1, 128)], layout="packed")
    mask = masks(model, twice.visible, twice.positions)
    own = ["+......", "#+.....", "##+....", "##.+...", "##..+.."]
    assert blocks(mask) == [*own, ".....+.", ".....#+"]


def test_a_window_leaves_out_what_is_far():
    """By positions: every branch begins where the trunk ends."""
    model = tiny_loaded("gemma3", attention=FLEX).model
    batch, _ = pack([tree_of(256, 3, 128)])
    found = masks(model, batch.visible, batch.positions)
    assert blocks(found[FULL]) == ["+....", "#+...", "##+..", "##.+.", "##..+"]
    assert blocks(found[SLIDING]) == ["+....", "++...", ".++..", ".+.+.", ".+..+"]


def test_padding_sees_itself():
    model = tiny_loaded("llama", attention=FLEX).model
    batch, _ = pack([tree_of(140, 1, 300), tree_of(20, 1, 20)])
    mask = masks(model, batch.visible, batch.positions)
    assert bool((mask.kv_num_blocks + mask.full_kv_num_blocks).all())


def test_it_is_left_alone_where_sdpa_takes_trunks_apart():
    model = tiny_loaded("llama", attention=FLEX).model
    with trunks_apart(model):
        assert model.config._attn_implementation == FLEX


@pytest.fixture
def by_torch(monkeypatch, written_out):
    """Traced and guarded by torch's compiler, but run as it stands; gives the graphs so far."""
    graphs = []

    def noted(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(flex_attention_forward, fullgraph=True, backend=noted)
    monkeypatch.setattr(flex_attention, "_compiled", lambda: compiled)
    yield graphs
    torch._dynamo.reset()


def attended(
    rows: int, queries: int, keys: int, *, gradient: bool, softcap: float | None = None
) -> None:
    """One pass of a layer with four heads of queries and two of keys, against the formula."""
    query, key, value = (
        torch.randn(rows, heads, length, 16, requires_grad=gradient)
        for heads, length in ((4, queries), (2, keys), (2, keys))
    )
    visible = torch.ones(rows, queries, keys, dtype=torch.bool).tril(keys - queries)
    mask, module = flex_attention.block_mask(visible), torch.nn.Module().eval()
    with torch.set_grad_enabled(gradient):
        found, _ = flex_attention.flex_attention(
            module, query, key, value, mask, scaling=0.5, softcap=softcap
        )
    key, value = (each.repeat_interleave(2, dim=1) for each in (key, value))
    scores = 0.5 * query @ key.transpose(2, 3)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    wanted = scores.masked_fill(~visible[:, None], -torch.inf).softmax(dim=-1) @ value
    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_compiled_is_an_error(by_torch, monkeypatch):
    """torch alone would go on, with all scores of all tokens in memory."""
    monkeypatch.setattr(flex_attention, "KINDS", 1)
    attended(2, 130, 130, gradient=False)
    with pytest.raises(ModelError, match=r"cannot be compiled here \(.*\); give attention sdpa"):
        attended(1, 200, 130, gradient=False)
    assert len(by_torch) == 1


@pytest.mark.slow
def test_a_run_and_its_evaluation_have_more_kinds_of_shapes_than_torch_compiles(by_torch):
    for rows, queries, keys in ((4, 300, 300), (1, 500, 500), (3, 90, 90), (1, 100, 100)):
        attended(rows, queries, keys, gradient=True)  # training
        attended(rows, queries + 3, keys + 3, gradient=True)
    for rows, queries, keys in ((1, 300, 300), (2, 310, 310), (8, 90, 300), (1, 91, 303)):
        attended(rows, queries, keys, gradient=False)  # fronts, and options behind them
    for rows, keys in ((8, 200), (7, 201), (1, 202), (1, 203)):
        attended(rows, 1, keys, gradient=False)  # texts
    assert torch._dynamo.config.recompile_limit < len(by_torch) <= 16


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("c++") is None, reason="torch compiles for a CPU by a C++ compiler"
)
def test_compiled_for_a_cpu():
    """Values alone: torch has no gradients of it there. Of three models, one after the other."""
    torch._dynamo.reset()
    for rows, queries, keys in ((2, 150, 150), (3, 300, 300), (2, 30, 200)):
        attended(rows, queries, keys, gradient=False)
    for softcap in (2.0, 3.0):
        attended(2, 150, 150, gradient=False, softcap=softcap)


@NO_GPU
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_compiled_on_a_gpu(architecture, dtype, off):
    """Values and gradients, of more tokens than a block has, several shapes one after the other."""
    loaded = wide_loaded(architecture)
    loaded.model.to("cuda", dtype)
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    for groups, how in ((1, {}), (3, {}), (2, {"layout": "packed"})):
        made = groups_for(encoder_for(loaded), groups=groups, targets=4)
        batch, answers = pack(made, demonstration_answers=None, **how)
        batch = batch.to("cuda")
        assert batch.ids.shape[1] > 128
        loaded.model.set_attn_implementation("sdpa")
        with PROMPT.attached(loaded.model, weights):
            wanted, found = by_both(
                loaded.model, lambda of=(batch, answers): learnt(loaded.model, weights, *of)
            )
        for one, other in zip(found, wanted, strict=True):
            largest = float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=0, atol=off * largest)
