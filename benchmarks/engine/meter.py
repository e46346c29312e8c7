"""Time, tokens and peak memory of a piece of work, taken alike in every program.

Memory is what is held above the weights. On a GPU torch counts it. On a CPU it is the process's
resident set, whose peak Linux lets a process reset (clear_refs), so that loading does not count;
elsewhere the peak of the whole process stands in, loading included.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn
from transformers import PreTrainedModel

from isogloss.model.layers import blocks
from isogloss.model.prompt import embedding_width

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Spent:
    """What a part took: seconds, bytes above the weights, and what the model was given.

    `processor`: seconds of all its threads, which other work on the machine moves less; those that
    wait for each other count as busy. `tokens` went through the blocks, padding included; `logits`
    are rows of the output head.
    """

    seconds: float
    processor: float
    memory: int
    tokens: int
    logits: int


@final
class Meter:
    """Measures one part of a program, from the moment that its model is loaded."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self.tokens = self.logits = self.base = self.most = 0
        self.gpu = False

    def watch(self, model: PreTrainedModel) -> None:
        """Count what this model is given; its weights as they lie now are the base of memory."""
        self.gpu = model.device.type == "cuda"
        _warm(model)
        blocks(model)[0].register_forward_pre_hook(self._count_tokens, with_kwargs=True)
        model.get_output_embeddings().register_forward_hook(self._count_logits)
        give_back()
        self.base = held(gpu=self.gpu)
        reset_peak(gpu=self.gpu)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """What is inside counts."""
        settle()
        clock, processor = time.perf_counter(), time.process_time()
        yield
        settle()
        self.seconds += time.perf_counter() - clock
        self.processor += time.process_time() - processor
        self.most = max(self.most, peak(gpu=self.gpu))

    def spent(self) -> Spent:
        """What was measured so far."""
        memory = max(0, self.most - self.base)
        return Spent(self.seconds, self.processor, memory, self.tokens, self.logits)

    def _count_tokens(self, module: nn.Module, given: Any, named: Any) -> None:
        hidden = given[0] if given else named["hidden_states"]
        self.tokens += hidden.shape[0] * hidden.shape[1]

    def _count_logits(self, module: nn.Module, given: Any, made: torch.Tensor) -> None:
        self.logits += made.numel() // made.shape[-1]


def _warm(model: PreTrainedModel) -> None:
    """Touch every weight and every kernel once: files are read and code loaded when first used."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    start = torch.zeros(1, 8, embedding_width(model), device=model.device, dtype=model.dtype)
    start.requires_grad_(True)
    model(inputs_embeds=start, use_cache=False).logits.float().logsumexp(-1).sum().backward()
    for parameter in learning:
        parameter.requires_grad_(True)
    model.get_input_embeddings().weight.sum()


def give_back() -> None:
    """Let the process give back what it freed, where its C library can be told to."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def settle() -> None:
    """Wait for a GPU to have done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def held(*, gpu: bool = False) -> int:
    """Bytes held now."""
    if gpu:
        return int(torch.cuda.memory_allocated())
    return _status("VmRSS") if STATUS.is_file() else peak()


def peak(*, gpu: bool = False) -> int:
    """The most bytes held since the last reset."""
    if gpu:
        return int(torch.cuda.max_memory_allocated())
    if STATUS.is_file():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak(*, gpu: bool = False) -> None:
    """Begin counting the peak anew, where that can be done."""
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    elif RESET.is_file():
        RESET.write_text("5")


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found, f"Linux gives {name}"
    return int(found[1]) * 1024
