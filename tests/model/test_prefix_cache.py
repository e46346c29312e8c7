"""What stands behind a kept front: the numbers of the whole sequence, on every architecture."""

from __future__ import annotations

import pytest
import torch

from conftest import ARCHITECTURES, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for, groups_for, plain_log_probability
from isogloss.errors import ModelError
from isogloss.model.answer import generate, stop_ids, token_log_probabilities
from isogloss.model.generation import continued
from isogloss.model.load import Loaded
from isogloss.model.prefix_cache import compiled_front, copied, front_cache, keys_and_values
from isogloss.packing import EncodedGroup, pack
from isogloss.tuning.soft_prompt import KEY, SoftPrompt
from isogloss.tuning.tuning import StartIds

IDS = StartIds(tuple(range(300, 500)))


@pytest.fixture(params=ARCHITECTURES)
def loaded(request) -> Loaded:
    return tiny_loaded(request.param, sentencepiece_tokenizer())


def group_and_prompt(loaded: Loaded) -> tuple[EncodedGroup, torch.nn.Parameter]:
    """A soft prompt and two demonstrations: longer than Gemma's window of 24."""
    prompt = SoftPrompt(5).start(loaded.model, IDS, seed=1)[KEY]
    (group,) = groups_for(encoder_for(loaded, 5), groups=1)
    assert len(group.demonstrations.ids) > 2 * 24
    return group, prompt


@pytest.mark.parametrize(
    ("layout", "attention"), [("tree", "sdpa"), ("tree", "eager"), ("rows", "sdpa")]
)
def test_options_behind_a_front_have_the_numbers_of_the_whole_sequence(loaded, layout, attention):
    loaded.model.set_attn_implementation(attention)
    group, prompt = group_and_prompt(loaded)
    front = group.demonstrations
    with torch.no_grad(), SoftPrompt(5).attached(loaded.model, {KEY: prompt}):
        for part in (len(front.ids), 7):  # all of the front, and its beginning
            cache = front_cache(loaded.model, front.ids[:part])
            batch, answers = pack([group.behind(part)], options=True, layout=layout)
            found = token_log_probabilities(loaded.model, batch, cache)
            again = token_log_probabilities(loaded.model, batch, cache)
            assert torch.equal(found, again), "a front is not used up"
            assert cache.get_seq_length() == part
    wanted = [
        plain_log_probability(
            loaded,
            prompt.detach(),
            front,
            group.targets[answer.target],
            group.targets[answer.target].options[answer.place],
        )
        for answer in answers
    ]
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-4)


def test_a_front_is_whole_in_every_layer(loaded):
    """Behind a window too, where the model's own cache drops the first keys."""
    group, prompt = group_and_prompt(loaded)
    ids = group.demonstrations.ids
    with SoftPrompt(5).attached(loaded.model, {KEY: prompt}):
        pairs = keys_and_values(front_cache(loaded.model, ids))
    assert len(pairs) == 3
    assert all(tuple(each.shape) == (1, 2, len(ids), 8) for pair in pairs for each in pair)


def test_text_behind_a_front_is_written_as_behind_the_whole(loaded):
    """As transformers writes it behind single whole sequences; targets of several lengths."""
    group, prompt = group_and_prompt(loaded)
    encoder = encoder_for(loaded, 5)
    targets = [target.ids for target in group.targets]
    how = {"max_new_tokens": 8, "end": encoder.end}
    with SoftPrompt(5).attached(loaded.model, {KEY: prompt}):
        front = front_cache(loaded.model, group.demonstrations.ids)
        wanted = [
            generate(loaded.model, loaded.tokenizer, [group.demonstrations.ids + ids], **how)[0]
            for ids in targets
        ]
        found = continued(
            loaded.model,
            targets,
            front=front,
            max_new_tokens=8,
            stops=stop_ids(loaded.model, loaded.tokenizer, encoder.end),
        )
    assert found == wanted
    assert front.get_seq_length() == len(group.demonstrations.ids)


def test_a_copy_grows_by_itself(loaded):
    cache = front_cache(loaded.model, range(10, 20))
    own = copied(cache, rows=3)
    assert own.layers[0].keys.shape[0] == 3
    with torch.no_grad():
        loaded.model(torch.zeros((3, 2), dtype=torch.long), past_key_values=own)
    assert (own.get_seq_length(), cache.get_seq_length()) == (12, 10)


def test_without_a_compiled_prefix_there_is_no_compiled_front(loaded):
    assert compiled_front(loaded.model, [1, 2, 3]) is None
    prompt = SoftPrompt(5).start(loaded.model, IDS, seed=1)
    with SoftPrompt(5).attached(loaded.model, prompt):
        first = encoder_for(loaded, 5).vocabulary
        assert compiled_front(loaded.model, range(first, first + 5)) is None


def test_a_model_that_keeps_a_state_is_refused():
    loaded = tiny_loaded("llama")
    loaded.model.config.layer_types = ["linear_attention"] * 3
    with pytest.raises(ModelError, match="keeps a state that is no keys and values"):
        front_cache(loaded.model, [1, 2, 3])
