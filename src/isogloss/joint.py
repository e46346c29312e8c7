"""What several processes need of transformers' Trainer so that they take one step together.

Learnt parameters that are whole on every device have their gradients averaged here, once an
update; those in pieces are averaged by FSDP2 itself. accelerate is kept from wrapping the model: a
loss is made of several passes, which its wrapper would not see, and on CPUs it shards nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from isogloss import processes
from isogloss.model.pieces import in_pieces, piece_of, whole_of

Item = TypeVar("Item")
PREPARED = "_is_accelerate_prepared"  # accelerate leaves what has it as it is


@contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """The model as accelerate takes it for its own already; undone at the end."""
    if not processes.joined():
        yield
        return
    setattr(model, PREPARED, True)
    try:
        yield
    finally:
        delattr(model, PREPARED)


def average_gradients(weights: Mapping[str, nn.Parameter]) -> None:
    """Give every process the mean gradient of the parameters that are whole."""
    whole = [parameter for parameter in weights.values() if not isinstance(parameter, DTensor)]
    processes.average(each.grad for each in whole if each.grad is not None)


def total_of(items: Sequence[Item], judge: Callable[[Item], float]) -> float:
    """The sum of a number over items, which are divided among the processes.

    All make the same number of passes, as a model in pieces needs.
    """
    own = items[processes.rank() :: processes.count()]
    summed = sum(judge(item) for item in own)
    for _ in range(-(-len(items) // processes.count()) - len(own)):
        judge(items[0])
    return processes.total(summed)


def keep_whole(optimizer: Optimizer, model: nn.Module) -> None:
    """Have an optimiser's state saved whole, so that a checkpoint fits any number of devices.

    `state_dict` has to be called on all processes then.
    """
    if not in_pieces(model):
        return
    optimizer.register_state_dict_post_hook(_gather)
    optimizer.register_load_state_dict_pre_hook(_cut)


def _gather(_: Optimizer, content: dict[str, Any]) -> dict[str, Any]:
    states = {
        number: {name: _whole(value) for name, value in own.items()}
        for number, own in content["state"].items()
    }
    return content | {"state": states}


def _cut(optimizer: Optimizer, content: dict[str, Any]) -> dict[str, Any]:
    """The state with tensors in pieces, as their parameters are; counts stay."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    numbers = [number for group in content["param_groups"] for number in group["params"]]
    of = dict(zip(numbers, parameters, strict=True))
    states = {
        number: {
            name: piece_of(value, of[number]) if _is_like(value, of[number]) else value
            for name, value in own.items()
        }
        for number, own in content["state"].items()
    }
    return content | {"state": states}


def _whole(value: Any) -> Any:
    return whole_of(value) if isinstance(value, Tensor) else value


def _is_like(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape
