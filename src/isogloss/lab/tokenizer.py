"""A tokenizer with one token a word, and tokens for line breaks."""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from isogloss.lab.world import World

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MARKS = ("\n\n", "\n", ".", ",", "/", "=", "?")
PIECE = r"\n\n|\n|[^\s]+"


def tokens(world: World) -> tuple[str, ...]:
    """All tokens in the order of their ids: control tokens, marks, then the world's words."""
    return (BEGIN, END, UNKNOWN, *MARKS, *world.vocabulary)


def pieces(text: str) -> list[str]:
    r"""The tokens of a text, as the tokenizer cuts it.

    >>> pieces("lapo ? = teli\n\n")
    ['lapo', '?', '=', 'teli', '\n\n']
    """
    return re.findall(PIECE, text)


def build_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The tokenizer of a world: a word is a token, a blank line is one, other space is none."""
    ids = {token: number for number, token in enumerate(tokens(world))}
    made = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, ids[BEGIN])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=END,
        clean_up_tokenization_spaces=False,
    )
