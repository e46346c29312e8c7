"""Added tokens, and a tokenizer that puts nothing in front of a text."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conftest import byte_level_tokenizer, sentencepiece_tokenizer, tiny_loaded
from helpers import encoder_for
from isogloss.exporting.tokens import Reader, add_tokens, chat_with, save_tokenizer

TEXTS = ("Premise: the man paid.", "Answer", " (A)", "那人打开水龙头")


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2 in its newer files: the space mark comes from the pre-tokenizer."""
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", "<s>", "▁", *"abcP:▁ter"])}
    core = Tokenizer(models.BPE(dict(vocabulary), [], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", unk_token="<unk>")


def prefixed_tokenizer() -> PreTrainedTokenizerFast:
    """As RoBERTa: a space before the first word."""
    tokenizer = byte_level_tokenizer()
    core = tokenizer.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


KINDS = {
    "byte-level": byte_level_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
    "metaspace": metaspace_tokenizer,
    "prefixed": prefixed_tokenizer,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_behind_added_tokens_is_as_inside_a_sequence(kind, tmp_path):
    tokenizer = KINDS[kind]()
    encoder = encoder_for(tiny_loaded("llama", tokenizer), prompt_length=3)
    inside = [list(encoder.text_ids(text)) for text in TEXTS]
    known = len(tokenizer)
    tokens = add_tokens(tokenizer, 3)
    assert tokens == tuple((f"<|isogloss_{n}|>", known + n) for n in range(3))
    save_tokenizer(tokenizer, tmp_path, keep_begin=False)
    reader = Reader.of(tmp_path, special=True)
    for text, ids in zip(TEXTS, inside, strict=True):
        spelled = "".join(name for name, _ in tokens)
        assert reader.ids(spelled + text) == [known, known + 1, known + 2, *ids]
        assert reader.ids(text, inside=True) == ids


def test_a_kept_begin_token_is_put_there_or_asked_away(tmp_path):
    tokenizer = sentencepiece_tokenizer()
    add_tokens(tokenizer, 1)
    save_tokenizer(tokenizer, tmp_path, keep_begin=True)
    begin = tokenizer.bos_token_id
    assert Reader.of(tmp_path, special=True).ids("<|isogloss_0|>a")[0] == begin
    assert Reader.of(tmp_path, special=False).ids("<|isogloss_0|>a")[0] == 637


def test_files_say_it_to_programs_of_any_age(tmp_path):
    """transformers 4 knows no TokenizersBackend; llama.cpp's converter reads these entries."""
    tokenizer = sentencepiece_tokenizer()
    add_tokens(tokenizer, 2)
    save_tokenizer(tokenizer, tmp_path, keep_begin=False)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["add_bos_token"] is config["add_eos_token"] is config["add_prefix_space"] is False
    added = config["added_tokens_decoder"]["638"]
    assert added["content"] == "<|isogloss_1|>"
    assert added["special"] is True
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["post_processor"] is None
    assert AutoTokenizer.from_pretrained(tmp_path).bos_token == "<bos>", "still known by its name"


def test_text_may_go_on_spelling_other_control_tokens(tmp_path):
    """An added token leaves the ids of all other tokens as they are."""
    tokenizer = byte_level_tokenizer()
    before = tokenizer.get_vocab()
    add_tokens(tokenizer, 2)
    save_tokenizer(tokenizer, tmp_path, keep_begin=False)
    after = AutoTokenizer.from_pretrained(tmp_path).get_vocab()
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_names_that_are_taken_are_passed_over():
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<|isogloss_1|>", "<|isogloss2_0|>"], special_tokens=True)
    assert [name for name, _ in add_tokens(tokenizer, 2)] == ["<|isogloss3_0|>", "<|isogloss3_1|>"]


def test_chat_templates_begin_with_the_prompt():
    assert chat_with(None, "<p>") is None
    assert chat_with("{{ x }}", "<p>") == "<p>{{ x }}"
    assert chat_with({"default": "a", "tools": "b"}, "<p>") == {"default": "<p>a", "tools": "<p>b"}
