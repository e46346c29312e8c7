"""Spans are exact, boundaries are token boundaries, and text never turns into control tokens."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import byte_level_tokenizer, sentencepiece_tokenizer
from isogloss.encoding import Encoder
from isogloss.errors import DataError, ModelError
from isogloss.tasks.example import Rendered

FIRST = Rendered(
    "1", "en", "Premise: The man turned on the faucet.\nAnswer:", " (A)", (" (A)", " (B)")
)
SECOND = Rendered("2", "tr", "Premise: Kız böcek buldu.\nAnswer:", " (B)", (" (A)", " (B)"))
TARGET = Rendered("3", "zh", "Premise: 那人打开水龙头。\nAnswer:", " (A)", (" (A)", " (B)"))
KINDS = {"byte-level": byte_level_tokenizer, "sentencepiece": sentencepiece_tokenizer}


@pytest.fixture(params=KINDS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    tokenizer = KINDS[request.param]()
    return Encoder(tokenizer, len(tokenizer), prompt_length=3)


def decoded(encoder: Encoder, ids) -> str:
    return encoder.tokenizer.decode([i for i in ids if i < encoder.vocabulary])


def test_spans_hold_just_their_text(encoder):
    front = encoder.demonstration_set([FIRST, SECOND])
    target = encoder.target(TARGET, 2)
    assert front.ids[: len(front.prompt)] == tuple(
        range(encoder.vocabulary, encoder.vocabulary + 3)
    )
    for sample, asked, answered in zip([FIRST, SECOND], front.inputs, front.answers, strict=True):
        assert decoded(encoder, front.ids[asked.start : asked.stop]) == sample.input
        end = answered.stop - 1
        # SentencePiece decoders strip the space of a first word, so compare with it stripped.
        assert decoded(encoder, front.ids[answered.start : end]).strip() == sample.answer.strip()
        assert front.ids[end] == encoder.end
    assert decoded(encoder, target.ids[target.input.start : target.input.stop]) == TARGET.input
    assert len(target.options) == 2
    assert target.answer == (*target.options[0], encoder.end)


def test_pieces_put_together_decode_to_the_whole_text(encoder):
    front = encoder.demonstration_set([FIRST, SECOND])
    target = encoder.target(TARGET, 2)
    whole = decoded(encoder, front.ids + target.ids + target.answer[:-1])
    written = "\n\n".join([FIRST.input + " (A)", SECOND.input + " (B)", TARGET.input + " (A)"])
    begin = encoder.tokenizer.bos_token or ""
    assert whole.removeprefix(begin) == written


def test_the_begin_token_stands_after_the_prompt_where_the_tokenizer_has_one():
    spm = sentencepiece_tokenizer()
    front = Encoder(spm, len(spm), prompt_length=3).demonstration_set([])
    assert front.ids == (*range(len(spm), len(spm) + 3), spm.bos_token_id)
    bpe = byte_level_tokenizer()
    assert len(Encoder(bpe, len(bpe), prompt_length=3).demonstration_set([]).ids) == 3


def test_a_samples_ids_do_not_depend_on_its_neighbours(encoder):
    alone = encoder.demonstration_set([SECOND])
    after = encoder.demonstration_set([FIRST, SECOND])
    span, later = alone.inputs[0], after.inputs[1]
    assert alone.ids[span.start : span.stop] == after.ids[later.start : later.stop]


def test_text_that_spells_a_control_token_stays_text(encoder):
    control = encoder.tokenizer.eos_token
    target = encoder.target(Rendered("9", "en", f"say {control} now", " yes"), 0)
    assert encoder.tokenizer.eos_token_id not in target.ids
    assert decoded(encoder, target.ids).lstrip() == f"say {control} now"


def test_an_answer_without_a_token_is_refused_by_name(encoder):
    with pytest.raises(DataError, match="'7' \\(tr\\).*no token"):
        encoder.target(Rendered("7", "tr", "text", " yes", (" yes", "")), 0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_chat_turns_are_the_templates_own(count):
    tokenizer = byte_level_tokenizer()
    encoder = Encoder(tokenizer, len(tokenizer), prompt_length=2, chat=True)
    solved = [FIRST, SECOND, FIRST][:count]
    front = encoder.demonstration_set(solved)
    target = encoder.target(TARGET, count)
    messages = []
    for sample in solved:
        messages += [
            {"role": "user", "content": sample.input},
            {"role": "assistant", "content": sample.answer.strip()},
        ]
    messages.append({"role": "user", "content": TARGET.input})
    wanted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode([*front.ids[2:], *target.ids]) == wanted
    for sample, span in zip(solved, front.answers, strict=True):
        assert tokenizer.decode(front.ids[span.start : span.stop - 1]) == sample.answer.strip()
        assert front.ids[span.stop - 1] == tokenizer.convert_tokens_to_ids("<|end|>")
    assert tokenizer.decode(target.ids[target.input.start : target.input.stop]) == TARGET.input


def test_chat_without_a_template_is_a_clear_error():
    tokenizer = sentencepiece_tokenizer()
    with pytest.raises(ModelError, match="chat template"):
        Encoder(tokenizer, len(tokenizer), chat=True).target(TARGET, 0)


def test_a_template_that_drops_turns_is_refused():
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    encoder = Encoder(tokenizer, len(tokenizer), chat=True)
    with pytest.raises(ModelError, match="plain text"):
        encoder.demonstration_set([FIRST])


def test_a_saved_tokenizer_encodes_the_same(tmp_path, encoder):
    encoder.tokenizer.save_pretrained(tmp_path)
    again = Encoder(AutoTokenizer.from_pretrained(tmp_path), encoder.vocabulary, 3)
    assert again.demonstration_set([FIRST]) == encoder.demonstration_set([FIRST])


def test_the_text_of_a_sequence_spells_its_ids(encoder):
    """Begin token, solved samples and target; the soft prompt is no text."""
    text = encoder.text([FIRST, SECOND], TARGET)
    begin = encoder.tokenizer.bos_token or ""
    solved = "".join(one.input + one.answer + "\n\n" for one in (FIRST, SECOND))
    assert text == begin + solved + TARGET.input
    assert encoder.text([FIRST, SECOND]) == begin + solved
    assert encoder.text([]) == begin
    front = encoder.demonstration_set([FIRST, SECOND])
    assert decoded(encoder, [*front.ids, *encoder.target(TARGET, 2).ids]) == text


def test_a_blank_line_without_a_token_is_spelled_by_the_end_token():
    core = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="</s>")
    encoder = Encoder(words, 3, prompt_length=2)
    text = encoder.text([FIRST], SECOND)
    assert "</s>Premise" in text
    ids = [*encoder.demonstration_set([FIRST]).ids[2:], *encoder.target(SECOND, 1).ids]
    assert words(text)["input_ids"] == ids
