"""The representation shift: the formulas of Section 5.2, by hand and against a slow twin."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from conftest import ARCHITECTURES, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for, sample
from isogloss.errors import ConfigError, ModelError
from isogloss.model.answer import answer_sums, generate, token_log_probabilities
from isogloss.model.layers import blocks, read
from isogloss.packing import EncodedGroup, pack
from isogloss.representation_shift import (
    LanguageVectors,
    Shift,
    language_vectors,
    load_vectors,
    shifting,
)
from isogloss.spans import left_padded
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds

TO, BACK = 1, 2
LAYERS = (TO, BACK)
READINGS = ("unshifted", "running", "undo", "corpus", "none")
PROMPT = SoftPrompt(3)
IDS = StartIds(tuple(range(10, 200)))


def vectors_for(loaded) -> LanguageVectors:
    width = loaded.model.config.hidden_size
    source = torch.Generator().manual_seed(5)
    means = {code: torch.randn(2, width, generator=source) for code in ("en", "tr")}
    return LanguageVectors(LAYERS, "en", means)


def made(loaded, back="unshifted", **given):
    """The context of a shift, with language vectors where the reading has them."""
    vectors = vectors_for(loaded) if back == "corpus" else None
    return shifting(loaded.model, Shift(back, layers=LAYERS, **given), vectors)


@contextmanager
def seen(model):
    """The hidden states with which blocks begin, after any shift, by layer."""
    states: dict[int, torch.Tensor] = {}

    def keep(layer):
        def hook(_, args, kwargs):
            states[layer] = args[0] if args else kwargs["hidden_states"]

        return hook

    hooks = [
        blocks(model)[layer].register_forward_pre_hook(keep(layer), with_kwargs=True)
        for layer in range(len(blocks(model)))
    ]
    yield states
    for hook in hooks:
        hook.remove()


def mixed_groups(loaded, prompt=0) -> list[EncodedGroup]:
    """Two sets of demonstrations of both languages, three Turkish targets each."""
    encoder = encoder_for(loaded, prompt)
    made = []
    for group in range(2):
        solved = [sample(10 * group), sample(10 * group + 4, "tr"), sample(10 * group + 2)]
        asked = [encoder.target(sample(50 + 9 * group + n, "tr"), 3) for n in range(3)]
        made.append(EncodedGroup(encoder.demonstration_set(solved), tuple(asked)))
    return made


def states_of(loaded, batch, back, **given):
    with torch.no_grad(), made(loaded, back, **given) as shifter, seen(loaded.model) as states:
        shifter.meet(batch)
        token_log_probabilities(loaded.model, batch)
    return states


def plain_states(loaded, batch):
    with torch.no_grad(), seen(loaded.model) as states:
        token_log_probabilities(loaded.model, batch)
    return states


def gaps(hidden, batch) -> torch.Tensor:
    """sentpool(H_d) - sentpool(H_t) of each sample, by loops."""
    spans, found = batch.spans, []
    for number in range(len(spans.sample_tree)):
        tree = spans.sample_tree[number]
        solved = [d for d in range(len(spans.dominant)) if spans.demonstration_tree[d] == tree]
        tokens = torch.stack([spans.demonstration == d for d in solved]).any(0)
        asked = (spans.sample == number) & spans.asked
        found.append(hidden[tokens].mean(0) - hidden[asked].mean(0))
    return torch.stack(found)


@pytest.fixture
def batch(loaded):
    return pack(mixed_groups(loaded), dominant="en")[0]


def close(found, wanted) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# The six properties that every reading must have.


@pytest.mark.parametrize("back", ["unshifted", "running", "undo", "none"])
def test_right_after_l_to_the_gap_is_nothing(loaded, batch, back):
    before = gaps(plain_states(loaded, batch)[TO], batch)
    assert before.norm(dim=1).min() > 0.1
    after = gaps(states_of(loaded, batch, back)[TO], batch)
    close(after, torch.zeros_like(after))


def test_running_doubles_the_gap_that_is_there(loaded, batch):
    with_none = gaps(states_of(loaded, batch, "none")[BACK], batch)
    close(gaps(states_of(loaded, batch, "running")[BACK], batch), 2 * with_none)


def test_undo_adds_nothing_in_all(loaded, batch):
    plain, moved = plain_states(loaded, batch), states_of(loaded, batch, "undo")
    none = states_of(loaded, batch, "none")
    close((moved[TO] - plain[TO]) + (moved[BACK] - none[BACK]), torch.zeros_like(plain[TO]))


def test_unshifted_adds_the_gap_of_a_plain_pass(loaded, batch):
    reference = gaps(plain_states(loaded, batch)[BACK], batch)
    none, moved = states_of(loaded, batch, "none"), states_of(loaded, batch, "unshifted")
    added = moved[BACK] - none[BACK]
    for number, gap in enumerate(reference):
        own = added[batch.spans.sample == number]
        close(own, -gap.expand_as(own))


@pytest.mark.parametrize("back", READINGS)
def test_demonstrations_are_as_they_were_bit_for_bit(loaded, batch, back):
    plain, moved = plain_states(loaded, batch), states_of(loaded, batch, back)
    others = batch.real & (batch.spans.sample < 0)
    assert others.sum() > 50
    for layer, states in plain.items():
        assert torch.equal(states[others], moved[layer][others])
        assert layer < TO or not torch.equal(states, moved[layer])


def test_a_target_of_the_same_mean_is_not_moved(loaded):
    encoder = encoder_for(loaded, 0)
    front = encoder.demonstration_set([sample(3)])
    target = encoder.target(sample(3, "tr"), 1)
    batch, _ = pack([EncodedGroup(front, (target,))], dominant="en")
    plain = plain_states(loaded, batch)[TO]
    with made(loaded, "none") as shifter:
        shifter.meet(batch)
        hidden = plain.clone()
        spans = batch.spans
        gap = gaps(hidden, batch)[0]
        hidden[(spans.sample == 0)] += gap  # now of the same mean
        close(shifter.edits()[TO](hidden), hidden)


# Layouts, the slow twin, generation.


def pooled(hidden, front, solved, shift, choice) -> torch.Tensor:
    """sentpool(H_d), from the columns of each demonstration."""
    means = [hidden[0, one].mean(0) for one in solved]
    if shift.towards == "samples":
        return torch.stack(means).mean(0)
    if shift.towards == "nearest":
        return means[choice]
    wanted = ("en",) if shift.towards == "dominant" else ("en", "tr")
    columns = []
    for one, code in zip(solved, front.languages, strict=True):
        columns += one if code in wanted else []
    return hidden[0, columns].mean(0)


def twin(loaded, front, target, tokens, shift, vectors=None) -> torch.Tensor:
    """Log p of an answer's tokens: one unpadded sequence, states moved as the paper writes it."""
    ids = [*front.ids, *target.ids, *tokens[:-1]]
    start = len(front.ids)
    own = list(range(start, start + len(target.ids)))
    # The first token of the sequence is left out of every mean.
    solved = [list(range(max(span.start, 1), span.stop)) for span in front.inputs]
    shifted = slice(start, None) if shift.tokens == "sample" else own
    arguments = {"input_ids": torch.tensor([ids])}
    plain = read(loaded.model, arguments, LAYERS)
    asked = plain[TO][0, own].mean(0)
    far = [float((plain[TO][0, one].mean(0) - asked).norm()) for one in solved]
    choice, added = far.index(min(far)), {}

    def gap(hidden):
        return pooled(hidden, front, solved, shift, choice) - hidden[0, own].mean(0)

    def addition(layer, hidden):
        if shift.back == "corpus":
            difference = vectors.difference()
            return difference[0] if layer == TO else -difference[1]
        if layer == TO:
            return gap(hidden)
        back = {"unshifted": -gap(plain[BACK]), "running": -gap(hidden), "undo": -added[TO]}
        return back.get(shift.back, torch.zeros(()))

    def move(layer):
        def hook(_, args, kwargs):
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            added[layer] = addition(layer, hidden)
            hidden[0, shifted] += shift.scale * added[layer]
            if args:
                return (hidden, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": hidden}

        return hook

    hooks = [
        blocks(loaded.model)[layer].register_forward_pre_hook(move(layer), with_kwargs=True)
        for layer in LAYERS
    ]
    logits = loaded.model(**arguments).logits[0].log_softmax(-1)
    for hook in hooks:
        hook.remove()
    at = len(ids) - len(tokens)
    return sum(logits[at + n, token] for n, token in enumerate(tokens))


SHIFTS = [Shift(back, layers=LAYERS) for back in READINGS] + [
    Shift("unshifted", towards="samples", layers=LAYERS),
    Shift("running", towards="dominant", layers=LAYERS),
    Shift("unshifted", towards="nearest", layers=LAYERS),
    Shift("unshifted", tokens="input", scale=0.5, layers=LAYERS),
]


@pytest.mark.parametrize("layout", ["tree", "packed", "rows"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_reading_equals_the_slow_twin(architecture, layout):
    tokenizer = sentencepiece_tokenizer() if architecture == "gemma3" else None
    loaded = tiny_loaded(architecture, tokenizer)
    groups = mixed_groups(loaded)
    batch, _ = pack(groups, layout=layout, options=True, dominant="en")
    for shift in SHIFTS:
        vectors = vectors_for(loaded) if shift.back == "corpus" else None
        with torch.no_grad(), shifting(loaded.model, shift, vectors) as shifter:
            shifter.meet(batch)
            found = answer_sums(token_log_probabilities(loaded.model, batch), batch)
        with torch.no_grad():
            wanted = [
                twin(loaded, g.demonstrations, target, option, shift, vectors)
                for g in groups
                for target in g.targets
                for option in target.options[1:]
            ]
        assert len(wanted) == 12
        asked = found.reshape(-1, 3)[:, 1:].reshape(-1)
        torch.testing.assert_close(asked, torch.stack(wanted), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("back", READINGS)
def test_cached_generation_equals_whole_passes(loaded, back):
    """Each generated token is the likeliest after a whole pass over all before it."""
    encoder = encoder_for(loaded, 0)
    groups = mixed_groups(loaded)
    prompts = [(group.demonstrations, target) for group in groups for target in group.targets[:2]]
    vectors = vectors_for(loaded) if back == "corpus" else None
    shift = Shift(back, layers=LAYERS)
    with shifting(loaded.model, shift, vectors) as shifter:
        written = generate(
            loaded.model,
            loaded.tokenizer,
            [front.ids + target.ids for front, target in prompts],
            max_new_tokens=4,
            end=encoder.end,
            meet=lambda ids, mask: shifter.meet_prompts(left_padded(prompts, "en"), ids, mask),
        )
    assert sum(map(len, written)) > 10
    for (front, target), tokens in zip(prompts, written, strict=True):
        with torch.no_grad():
            own = float(twin(loaded, front, target, tokens, shift, vectors))
            for place in range(len(tokens)):
                before = tokens[:place]
                scores = [
                    float(twin(loaded, front, target, (*before, token), shift, vectors))
                    for token in (tokens[place], 7, 90, 200)
                ]
                assert scores[0] >= max(scores) - 1e-3
        assert own < 0


# Gradients.


@pytest.mark.parametrize("back", READINGS)
def test_only_the_prompt_learns_and_running_has_gradients_of_its_own(loaded, back):
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    batch, _ = pack(mixed_groups(loaded, 3), dominant="en")

    def gradient(detach):
        with PROMPT.attached(loaded.model, weights), made(loaded, back, detach=detach) as shifter:
            shifter.meet(batch)
            loss = -token_log_probabilities(loaded.model, batch).mean()
            return torch.autograd.grad(loss, weights[KEY])[0]

    kept, flowing, usual = gradient(True), gradient(False), gradient(None)
    assert kept.abs().max() > 0
    assert torch.equal(usual, flowing if back == "running" else kept)
    assert torch.equal(kept, flowing) == (back == "corpus")
    assert all(p.grad is None for p in loaded.model.parameters())


def test_recomputed_activations_are_shifted_too(loaded):
    """Gradient checkpointing runs the blocks again after the pass is over."""
    weights = PROMPT.start(loaded.model, IDS, seed=1)
    batch, _ = pack(mixed_groups(loaded, 3), dominant="en")

    def gradient(back):
        with PROMPT.attached(loaded.model, weights), made(loaded, back) as shifter:
            shifter.meet(batch)
            loss = -token_log_probabilities(loaded.model, batch).mean()
            return torch.autograd.grad(loss, weights[KEY])[0]

    plain = {back: gradient(back) for back in ("unshifted", "running")}
    loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    loaded.model.train()
    for back, wanted in plain.items():
        torch.testing.assert_close(gradient(back), wanted)


# Edges.


def test_without_demonstrations_nothing_is_moved(loaded):
    groups = groups_for(encoder_for(loaded, 0), demonstrations=0)
    batch, _ = pack(groups, dominant="en")
    plain = plain_states(loaded, batch)
    for back in ("unshifted", "running", "undo", "none"):
        moved = states_of(loaded, batch, back)
        assert all(torch.equal(moved[layer], plain[layer]) for layer in plain)


def test_corpus_leaves_the_dominant_language_alone(loaded):
    encoder = encoder_for(loaded, 0)
    targets = tuple(encoder.target(sample(n, code), 0) for n, code in enumerate(("en", "tr")))
    batch, _ = pack([EncodedGroup(encoder.demonstration_set([]), targets)], dominant="en")
    plain, moved = plain_states(loaded, batch), states_of(loaded, batch, "corpus")
    english = batch.spans.sample == 0
    assert torch.equal(plain[TO][english], moved[TO][english])
    difference = vectors_for(loaded).difference()
    turkish = batch.spans.sample == 1
    close(moved[TO][turkish] - plain[TO][turkish], difference[0].expand(turkish.sum(), -1))


def test_the_model_is_itself_again(loaded, batch):
    before = plain_states(loaded, batch)
    states_of(loaded, batch, "unshifted")
    with pytest.raises(AttributeError), made(loaded) as shifter:
        shifter.meet(None)
    after = plain_states(loaded, batch)
    assert all(torch.equal(before[layer], after[layer]) for layer in before)


def test_the_first_token_is_in_no_mean():
    loaded = tiny_loaded("gemma3", sentencepiece_tokenizer())
    no_begin = tiny_loaded("llama")
    for one in (loaded, no_begin):
        batch, _ = pack(mixed_groups(one), layout="packed", dominant="en")
        first = batch.positions == 0
        assert first.sum() == 2
        assert (batch.spans.demonstration[first] < 0).all()
        assert not batch.spans.asked[first].any()


def test_language_vectors_are_means_of_means(loaded, tmp_path):
    sentences = {
        "en": [(20, 21, 22, 23), (30, 31)],
        "tr": [(40, 41, 42), (50, 51, 52, 53, 54), (60, 61)],
    }
    found = language_vectors(loaded.model, sentences, "en", LAYERS)
    for code, own in sentences.items():
        for place, layer in enumerate(LAYERS):
            with torch.no_grad():
                means = [
                    read(loaded.model, {"input_ids": torch.tensor([ids])}, [layer])[layer][
                        0, 1:
                    ].mean(0)
                    for ids in own
                ]
            close(found.means[code][place], torch.stack(means).mean(0))
    found.save(tmp_path)
    again = load_vectors(tmp_path)
    assert again.layers == LAYERS
    assert again.dominant == "en"
    assert torch.equal(again.difference(), found.difference())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"back": "away"}, "shift back is 'away'; it must be unshifted or running or undo"),
        ({"towards": "all"}, "shift towards is 'all'"),
        ({"layers": (4, 2)}, "shift layers are 4 and 2; the first must be 1 or more"),
        ({"layers": (0, 2)}, "shift layers are 0 and 2"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Shift(**settings)


def test_layers_that_the_model_lacks_are_refused(loaded):
    with (
        pytest.raises(
            ConfigError, match="shift layers are 1 and 3, but the model's last layer is 2"
        ),
        shifting(loaded.model, Shift(layers=(1, 3))),
    ):
        pass


def test_damaged_vectors_are_said(tmp_path):
    with pytest.raises(ModelError, match="no such file of language vectors"):
        load_vectors(tmp_path)
    (tmp_path / "language_vectors.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"language_vectors.safetensors: found a damaged file"):
        load_vectors(tmp_path)
