"""A sentence encoder of the user's choice, to find the demonstrations nearest to an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from isogloss.demonstrations.ranking import Ranking, forget, text_of
from isogloss.errors import ModelError
from isogloss.tasks.example import Example

AT_ONCE = 16  # sentences in a batch


@final
class EncoderRanking(Ranking):
    """Cosines of mean-pooled sentence vectors, as most multilingual encoders are made for."""

    def __init__(self, name: str, items: Sequence[Example]) -> None:
        self.items = tuple(items)
        self._name = name
        self._encoder = _load(name)
        self._vectors = self._encode([text_of(item) for item in items])
        self._found: dict[str, list[float]] = {}

    def scores(self, example: Example) -> Sequence[float]:
        """The cosine of each item with the example; the same text is computed once."""
        text = text_of(example)
        if text not in self._found:
            forget(self._found, len(self.items))
            self._found[text] = (self._vectors @ self._encode([text])[0]).tolist()
        return self._found[text]

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> Tensor:
        """(texts, width), of length 1."""
        model, tokenizer = self._encoder
        longest = getattr(model.config, "max_position_embeddings", None)
        parts = []
        for at in range(0, len(texts), AT_ONCE):
            batch = tokenizer(
                list(texts[at : at + AT_ONCE]),
                return_tensors="pt",
                padding=True,
                truncation=longest is not None,
                max_length=longest and longest - 2,  # some encoders count positions from 2
            )
            states = model(**batch).last_hidden_state.float()
            real = batch["attention_mask"][..., None].float()
            parts.append((states * real).sum(dim=1) / real.sum(dim=1))
        return torch.nn.functional.normalize(torch.cat(parts), dim=1)


def _load(name: str) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    try:
        config = AutoConfig.from_pretrained(name)
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(f"'{name}' is a sequence-to-sequence model; give a sentence encoder")
        model = AutoModel.from_pretrained(name, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"cannot load the sentence encoder '{name}': {reason}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer
