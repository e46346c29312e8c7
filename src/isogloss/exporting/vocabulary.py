"""The kind `vocabulary-rows`: base model and tokenizer with the soft prompt as added tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from isogloss.exporting.checking import KEPT, compare
from isogloss.exporting.rows import Grown, add_rows, prompt_vectors
from isogloss.exporting.tokens import add_tokens, chat_with
from isogloss.exporting.work import Change, Work
from isogloss.model.answer import last_logits
from isogloss.model.prompt import vocabulary_rows
from isogloss.runs import Json
from isogloss.tuning.context_prompt import ContextPrompt


@contextmanager
def with_rows(work: Work) -> Iterator[Change]:
    """The base model with the soft prompt in its vocabulary.

    Raises:
        ModelError: model or tokenizer cannot be given rows.
    """
    model, tokenizer, sequences = work.loaded.model, work.loaded.tokenizer, work.sequences
    before = vocabulary_rows(model)
    with work.opened.tuned(work.loaded):
        vectors, own = prompt_vectors(model), last_logits(model, sequences, count=KEPT)
    tokens = dict(add_tokens(tokenizer, len(vectors)))
    ids, spelled = list(tokens.values()), "".join(tokens)
    grown = add_rows(model, vectors, ids, untie=work.settings.untie)
    never = sorted([*ids, *grown.unused])
    _suppress(model, never)
    places = dict(zip(range(before, before + len(ids)), ids, strict=True))
    placed = [[places.get(one, one) for one in row] for row in sequences]
    found = last_logits(model, placed, count=KEPT)
    if _prompts_chat(work):
        tokenizer.chat_template = chat_with(tokenizer.chat_template, spelled)
    yield Change(
        model,
        compare(own, found, never),
        places,
        spelled,
        own_tokenizer=True,
        content={"tokens": tokens, "never_generate": never, **_facts(work, grown, before)},
    )


def _facts(work: Work, grown: Grown, before: int) -> Json:
    return {
        "vocabulary": {
            "rows": vocabulary_rows(work.loaded.model),
            "base_rows": before,
            "spare_rows_used": grown.spare,
            "unused_rows": list(grown.unused),
        },
        "embedding_scale": grown.scale,
        "rounding": grown.rounding,
        "head": "tied" if grown.tied else "own",
        "chat_template": "begins with the prompt" if _prompts_chat(work) else "unchanged",
    }


def _prompts_chat(work: Work) -> bool:
    """Whether the chat template has the prompt in front; CPT's is a chat that has begun already."""
    solved = isinstance(work.opened.method.tune, ContextPrompt)
    return bool(work.opened.record["chat"]) and not solved


def _suppress(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Have transformers' `generate` never write these tokens, wherever the model is loaded."""
    settings = model.generation_config
    if settings is not None:
        settings.suppress_tokens = sorted({*(settings.suppress_tokens or ()), *ids})
