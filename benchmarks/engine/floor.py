"""The arithmetic floor: the least number of operations, at the rate that this machine multiplies.

Training: 4 N T + 4 V d P. N: parameters of the transformer blocks, without embeddings; T: tokens
with every demonstration set once; V x d: the output head; P: predicted tokens. A matrix multiplied
costs 2 operations a parameter and token, once forward and once for the gradient of its input; none
for the weights, which are frozen. Evaluation: half of that. Attention's own products are left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.engine.meter import settle
from benchmarks.engine.work import Least, Work
from isogloss.model.layers import blocks
from isogloss.model.products import product

SECONDS = 3.0  # of measuring
REPEATS = 5  # at least
COPIES = 4  # of a block's weights, so that they do not all stay in the processor's cache


def operations(parameters: int, head: int, least: Least, *, training: bool) -> int:
    """The floor's operations: (4 if training else 2) (N T + V d P).

    >>> operations(10, 6, Least(tokens=3, predicted=2), training=True)
    168
    """
    each = 4 if training else 2
    return each * (parameters * least.tokens + head * least.predicted)


def sizes(work: Work) -> tuple[int, int]:
    """N, the parameters of the model's blocks, and V d, those of its output head."""
    model = _skeleton(work)
    parameters = sum(each.numel() for each in blocks(model).parameters())
    return parameters, model.get_output_embeddings().weight.numel()


def _skeleton(work: Work) -> nn.Module:
    config = AutoConfig.from_pretrained(work.model)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@dataclass(frozen=True)
class Rate:
    """Operations a second, by the clock and by the processor's time."""

    seconds: float
    processor: float


def matmul_rate(work: Work) -> Rate:
    """How fast a block's matrices are multiplied, forward and for the gradient of the input.

    The products are as tall as the mean update of this work with demonstrations shared, and made
    as Isogloss makes them: by torch, or by oneDNN where that is faster.
    """
    multiply = product if work.asked.quick else torch.nn.functional.linear
    tokens = max(1, work.least_train.tokens // len(work.updates))
    shapes = [
        tuple(each.shape) for each in blocks(_skeleton(work))[0].parameters() if each.ndim == 2
    ]
    made = {"dtype": work.asked.format, "device": work.asked.device}
    weights = [torch.randn(shape, **made) for _ in range(COPIES) for shape in shapes]
    inputs = {width: torch.randn(tokens, width, **made) for shape in shapes for width in shape}
    count = sum(4 * tokens * weight.numel() for weight in weights)
    _pass(multiply, weights, inputs)
    found: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(found) < REPEATS or time.perf_counter() - begun < SECONDS:
        settle()
        clock, processor = time.perf_counter(), time.process_time()
        _pass(multiply, weights, inputs)
        settle()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return Rate(*(count / statistics.median(side) for side in zip(*found, strict=True)))


@torch.no_grad()
def _pass(
    multiply: Callable[[Tensor, Tensor], Tensor], weights: list[Tensor], inputs: dict[int, Tensor]
) -> None:
    for weight in weights:
        made, given = weight.shape
        multiply(inputs[given], weight)
        multiply(inputs[made], weight.T)
