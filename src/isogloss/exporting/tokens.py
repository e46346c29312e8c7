"""Added tokens for a soft prompt, and a tokenizer that makes a prompt's text the ids of training.

In training the soft prompt stands before the begin token, and every text stands inside a sequence.
The exported tokenizer therefore puts nothing in front of what it is given: neither a begin token,
which the prompt's text spells in its place, nor a space mark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, final

from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from isogloss.errors import ModelError
from isogloss.runs import Json, read_json_file, write_json_file, write_together

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
# Read by every release of transformers as "what tokenizer.json says, and no more".
PLAIN_CLASS = "PreTrainedTokenizerFast"


def add_tokens(tokenizer: PreTrainedTokenizerBase, length: int) -> tuple[tuple[str, int], ...]:
    """Names and ids of `length` new control tokens, added to the tokenizer.

    Raises:
        ModelError: the tokenizer is not of the kind that tokenizer.json holds.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"a {type(tokenizer).__name__} cannot be given added tokens that other programs read; "
            "expected a tokenizer with a tokenizer.json"
        )
    names = free_names(tokenizer, length)
    made = [AddedToken(name, special=True, normalized=False) for name in names]
    tokenizer.add_tokens(made, special_tokens=True)
    known = tokenizer.get_vocab()
    return tuple((name, int(known[name])) for name in names)


def free_names(tokenizer: PreTrainedTokenizerBase, length: int) -> list[str]:
    """Names that the vocabulary does not have: `<|isogloss_0|>`, ... or with a number more."""
    known = tokenizer.get_vocab()
    for mark in chain([""], count(2)):
        names = [f"<|isogloss{mark}_{number}|>" for number in range(length)]
        if not any(name in known for name in names):
            return names
    raise AssertionError("some number is free")


def chat_with(template: Any, prefix: str) -> Any:
    """A chat template, or several by name, with the soft prompt's tokens in front."""
    if isinstance(template, dict):
        return {name: chat_with(one, prefix) for name, one in template.items()}
    return f"{prefix}{template}" if template else template


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, *, keep_begin: bool) -> None:
    """Write the tokenizer's files, for transformers of any release and for llama.cpp's converter.

    With `keep_begin` it goes on putting a begin token in front of plain text.
    """
    tokenizer.save_pretrained(folder)
    content, config = read_json_file(folder / TOKENIZER), read_json_file(folder / CONFIG)
    _without_marks(content)
    config |= {
        "tokenizer_class": PLAIN_CLASS,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(number): _added(token) for number, token in tokenizer.added_tokens_decoder.items()
        },
    }
    if not keep_begin:
        content["post_processor"] = None
        config |= {"add_bos_token": False, "add_eos_token": False}
    write_together({folder / TOKENIZER: json.dumps(content, ensure_ascii=False)})
    write_json_file(folder / CONFIG, config)


@final
@dataclass(frozen=True)
class Reader:
    """A saved tokenizer, as a program that knows nothing of us uses it.

    With `special` it may put in front of a text what it puts in front of every text.
    """

    tokenizer: PreTrainedTokenizerBase
    special: bool

    @staticmethod
    def of(folder: Path, *, special: bool) -> Reader:
        """The tokenizer of a folder."""
        return Reader(AutoTokenizer.from_pretrained(folder), special)

    def ids(self, text: str, *, inside: bool = False) -> list[int]:
        """The ids of a text at a sequence's beginning, or inside it."""
        special = self.special and not inside
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])


def _added(token: AddedToken) -> Json:
    names = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {name: getattr(token, name) for name in names}


def _without_marks(content: Json) -> None:
    """Take out of tokenizer.json what puts a space mark in front of a text."""
    parts = list(_parts(content.get("normalizer"), "normalizers"))
    kept = [part for part in parts if part["type"] != "Prepend"]
    if kept != parts:
        content["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    for part in _parts(content.get("pre_tokenizer"), "pretokenizers"):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
            part.pop("add_prefix_space", None)
        if part["type"] == "ByteLevel":
            part["add_prefix_space"] = False


def _parts(part: Json | None, inside: str) -> Iterator[Json]:
    """The parts of a normalizer or pre-tokenizer, sequences opened."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for one in part[inside]:
        yield from _parts(one, inside)
