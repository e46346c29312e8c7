"""A model in pieces, one on each device (FSDP2): what is asked of it otherwise than of a whole one.

A block is gathered while it computes; embedding, last norm and head are gathered together. What a
tuning puts into the model is whole on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel


def in_pieces(model: nn.Module) -> bool:
    """Whether the model is held in pieces."""
    return isinstance(model, FSDPModule)


def let_go(model: nn.Module) -> None:
    """Hold pieces only again: a pass without gradients keeps embedding and head gathered.

    While they are, the model's parameters are not those that learn.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """The embedding whole, for what is asked of it outside a forward pass; on all processes."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def plain_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """The model's class; torch gives a model in pieces one of its own, derived from it."""
    kinds = [kind for kind in type(model).__mro__ if not issubclass(kind, FSDPModule)]
    assert issubclass(kinds[0], PreTrainedModel), "a model of transformers"
    return kinds[0]


def whole_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """All parameters and buffers whole, on the CPU: of the main process; the others get nothing.

    A parameter that stands in several places is there once, under its first name.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    first = {name for name, _ in model.named_parameters()}
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)} - first
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, Tensor) and name not in again
    }


def piece_of(whole: Tensor, like: Tensor) -> Tensor:
    """The piece of a tensor that is this process's; the tensor where `like` is not in pieces."""
    moved = whole.detach().to(like.device, like.dtype)
    if not isinstance(like, DTensor):
        return moved
    return distribute_tensor(moved, like.device_mesh, like.placements)


def whole_of(value: Tensor) -> Tensor:
    """A tensor whole, on the CPU where it was in pieces; on all processes."""
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value
