"""FlexAttention where there is no GPU: written out in plain operators, with gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import flex_attention as of_torch
from transformers import AutoModelForCausalLM
from transformers.integrations import flex_attention as of_transformers

from conftest import byte_level_tokenizer, tiny_config
from isogloss.model import flex_attention
from isogloss.model.load import Loaded


@pytest.fixture
def written_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No compiler, and torch's refusal of gradients on a CPU left out; notes each call's queries.

    What is left is the mask, the scores' scale and the sharing of heads, as on a GPU.
    """
    asked: list[int] = []

    def plain(query: Any, key: Any, value: Any, training: bool = False, **named: Any) -> Any:
        asked.append(query.shape[2])
        return of_torch.flex_attention(query, key, value, **named)

    forward = of_transformers.flex_attention_forward
    monkeypatch.setattr(of_torch, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(of_torch, "_validate_device", lambda *_: None)
    monkeypatch.setattr(of_transformers, "compile_friendly_flex_attention", plain)
    monkeypatch.setattr(flex_attention, "_compiled", lambda: forward)
    return asked


def wide_loaded(architecture: str) -> Loaded:
    """A tiny model with heads as wide as a GPU needs them."""
    tokenizer = byte_level_tokenizer()
    config = tiny_config(architecture, len(tokenizer))
    config.hidden_size, config.head_dim, config.initializer_range = 64, 16, 0.2
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return Loaded(f"wide-{architecture}", model, tokenizer, "0" * 64)
