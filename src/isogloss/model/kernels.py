"""Attention kernels by name, and what each needs of a machine and of a model."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch
from transformers import PretrainedConfig

from isogloss.errors import ConfigError
from isogloss.model.flex_attention import FLEX

Kernel = Literal["auto", "sdpa", "eager", "flash_attention_2", "flex_attention"]
LEAST_WIDTH = 16  # of a head: the GPU's matrix units take no less


def implementation(kernel: str) -> str:
    """What transformers calls a kernel."""
    return FLEX if kernel == "flex_attention" else kernel


def lacking(kernel: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """What a kernel needs and has not got here, in words; None where it can work."""
    if kernel not in ("flash_attention_2", "flex_attention"):
        return None
    if device.type != "cuda":
        return f"needs a GPU, and the device is {device}"
    if kernel == "flex_attention":
        if torch.__version__ < "2.7":  # compared as versions are
            return f"needs torch 2.7 or newer, and this is {torch.__version__}"
        return None if _installed("triton") else "needs triton, which torch for Linux comes with"
    if not _installed("flash_attn") and not _installed("kernels"):
        return "needs its package: pip install flash-attn"
    if dtype == torch.float32:
        return "has no float32; give dtype bfloat16"
    return None


def check_fits(kernel: str, config: PretrainedConfig) -> None:
    """Refuse a model that FlexAttention cannot compute, before its weights are read.

    Raises:
        ConfigError: heads that are too narrow, or dropout of what is attended to.
    """
    if kernel != "flex_attention":
        return
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if width < LEAST_WIDTH:
        raise ConfigError(
            f"attention flex_attention needs heads of {LEAST_WIDTH} numbers or more, and this "
            f"model's have {width}; give attention sdpa"
        )
    for name in ("attention_dropout", "attn_pdrop"):
        dropout = getattr(text, name, None)
        if dropout:
            raise ConfigError(
                f"attention flex_attention has no dropout, and this model's {name} is {dropout}; "
                "give attention sdpa"
            )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
