"""The linear layers' matrix products by oneDNN, where torch's own take the slow way.

torch multiplies float32 matrices by MKL, which runs its AVX2 code on processors that are not
Intel's, AVX-512 or not. oneDNN, which is in the same torch, runs AVX-512 wherever it is.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

WORTHWHILE = 2**16
"""Parameters of a layer from which on the faster product outweighs a Python call."""


class Linear(nn.Linear):
    """torch's linear layer, (..., in) to (..., out); float32 on a CPU is multiplied by oneDNN."""

    def forward(self, input: Tensor) -> Tensor:
        """The same values and gradients as torch's own, but for the order of the sums."""
        if torch.compiler.is_compiling() or not _is_ours(input, self.weight, self.bias):
            return super().forward(input)
        return _multiplied(input, self.weight, self.bias)


def quicken(model: PreTrainedModel) -> PreTrainedModel:
    """Give the model's linear layers the faster product, where this machine has one.

    They stay `nn.Linear`, with the same parameters under the same names. Layers on another device,
    of another number format or under `torch.compile` go on as before.
    """
    if torch_is_slow():
        for module in model.modules():
            if type(module) is nn.Linear and module.weight.numel() >= WORTHWHILE:
                module.__class__ = Linear
    return model


@functools.cache
def torch_is_slow() -> bool:
    """Whether this machine has AVX-512 that MKL leaves unused and oneDNN does not."""
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in _maker()
    )


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """`left @ right.T + bias`, (..., in) by (out, in), float32; without gradients."""
    if not (right.is_contiguous() or right.t().is_contiguous()):
        right = right.contiguous()  # with gaps in memory oneDNN takes hundreds of times as long
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input if weight.requires_grad else None, weight)
        return product(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (input, weight) = gradients, ctx.saved_tensors
        wanted: list[Tensor | None] = [None, None, None]
        if ctx.needs_input_grad[0]:
            wanted[0] = _multiplied(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            wanted[1] = _multiplied(_rows(gradient).t(), _rows(input).t())
        if ctx.needs_input_grad[2]:
            wanted[2] = _rows(gradient).sum(0)
        return tuple(wanted)


def _multiplied(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    found: Tensor = _Product.apply(left, right, bias)  # type: ignore[no-untyped-call]
    return found


def _is_ours(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    plain = all(
        type(each) in (Tensor, nn.Parameter)
        and each.dtype == torch.float32
        and each.device.type == "cpu"
        for each in (input, weight, bias)
        if each is not None
    )
    return plain and input.dim() > 1 and input.numel() > 0 and not torch.is_autocast_enabled("cpu")


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _maker() -> str:
    """What the processor says of its maker, `AuthenticAMD` or `GenuineIntel`."""
    told = Path("/proc/cpuinfo")
    return told.read_text(encoding="utf-8")[:400] if told.is_file() else platform.processor()
