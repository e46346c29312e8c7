"""Several processes that train one run together, one a device, as `accelerate launch` starts them.

Every process does the same work on its part of each batch; the main one alone writes the run's
folder and speaks. Where there is one process, nothing here does anything.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
from accelerate.utils import patch_environment
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from isogloss.errors import ConfigError, RunError

MEETING = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what a launcher says to each
PATIENCE = timedelta(days=30)  # the others wait as long as the main one, which may wait for a claim
SILENCE = 30  # seconds in which a launcher has ended a process whose fellow failed
LOST = re.compile(r"connection (closed|reset|refused)|broken pipe|nccl error|timed out", re.I)


def count() -> int:
    """How many processes work together; 1 where no launcher started more."""
    given = os.environ.get("WORLD_SIZE", "")
    return max(1, int(given)) if given.isdigit() else 1


def rank() -> int:
    """The number of this process, from 0."""
    given = os.environ.get("RANK", "")
    return int(given) if count() > 1 and given.isdigit() else 0


def is_main() -> bool:
    """Whether this process writes files and speaks."""
    return rank() == 0


def joined() -> bool:
    """Whether the processes have met."""
    return distributed.is_available() and distributed.is_initialized()


def alone(work: str) -> None:
    """Refuse work that is not shared among processes.

    Raises:
        ConfigError: there are several processes.
    """
    if count() > 1:
        raise ConfigError(
            f"{work} works in one process, and WORLD_SIZE says {count()}; only `train` is shared "
            f"among processes, so start {work} without accelerate launch or torchrun"
        )


def in_main(work: str) -> None:
    """Refuse work that one process does in the others.

    Raises:
        ConfigError: this is another process than the main one.
    """
    if not is_main():
        raise ConfigError(f"{work} works in one process; call it in the main one only (RANK 0)")


def join(device: torch.device) -> None:
    """Meet the other processes; each GPU process takes the GPU of its number on its machine.

    Raises:
        ConfigError: the environment does not say where they meet, or GPUs are too few.
        RunError: they do not come.
    """
    missing = [name for name in MEETING if name not in os.environ]
    if missing:
        raise ConfigError(
            f"several processes are asked (WORLD_SIZE is {count()}), but nothing says where they "
            f"meet: found no {', '.join(missing)}; start them with accelerate launch or torchrun, "
            "or for one process unset WORLD_SIZE and ACCELERATE_USE_FSDP"
        )
    if device.type == "cuda":
        place, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= there:
            raise ConfigError(
                f"process {place + 1} of this machine has no GPU of its own: torch sees {there}; "
                f"give --num_processes {there} to the launcher"
            )
        torch.cuda.set_device(place)
    if joined():
        return
    try:
        distributed.init_process_group("cuda:nccl,cpu:gloo" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"process {rank()} of {count()} could not meet the others: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def in_step() -> Iterator[None]:
    """Joint work: where another process ended meanwhile, that is said, and nothing hangs.

    Raises:
        RunError: another process ended.
    """
    if not joined():
        yield
        return
    # How the work is shared is ours to say: accelerate would wrap or load the model once more.
    own = {"ACCELERATE_USE_FSDP": "false", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}
    with patch_environment(**own):
        try:
            yield
        except RuntimeError as error:
            if not lost(error):
                raise
            raise RunError(
                "another process of this run ended, so this one cannot go on; where it has not "
                "said why, it was killed or had no memory left. Give the same command again: it "
                "goes on from the last whole checkpoint"
            ) from error


def lost(error: Exception) -> bool:
    """Whether it is the end of another process that this one met."""
    return joined() and bool(LOST.search(str(error)))


def tells() -> bool:
    """Whether this process is the one of several that says what went wrong.

    Before they meet, that is the main one, as all read the same command; then, the first that asks.
    """
    if count() == 1 or not joined():
        return is_main()
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=5)
        )
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(store.add(f"isogloss/told/{attempt}", 1)) == 1
    except (OSError, RuntimeError):
        return is_main()  # who held the store is gone


def fall_silent() -> None:
    """Let the process that tells end first: a launcher then ends all others at once."""
    time.sleep(SILENCE)


@cache
def _talk() -> distributed.ProcessGroup:
    """For words between processes, on the CPU, beside the group that moves tensors."""
    made: distributed.ProcessGroup = distributed.new_group(backend="gloo", timeout=PATIENCE)
    return made


def wait() -> None:
    """Go on when every process has come here."""
    if joined():
        distributed.barrier(_talk())


def decided(value: bool) -> bool:
    """What the main process says, for all."""
    if not joined():
        return value
    said = torch.tensor([value])
    distributed.broadcast(said, src=0, group=_talk())
    return bool(said)


def check_same(digest: str, what: str) -> None:
    """Refuse processes that would do different work; `digest` is hexadecimal.

    Raises:
        RunError: this process's digest is not the main one's.
    """
    if not joined():
        return
    own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)
    main = own.clone()
    distributed.broadcast(main, src=0, group=_talk())
    if not torch.equal(own, main):
        raise RunError(
            f"process {rank()} has other {what} than the main one; every machine needs the same "
            "files of data and model and the same versions of the packages"
        )


def total(value: float) -> float:
    """The sum over all processes."""
    if not joined():
        return value
    summed = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(summed, group=_talk())
    return float(summed)


def most(value: int) -> int:
    """The greatest of all processes."""
    if not joined():
        return value
    greatest = torch.tensor([value])
    distributed.all_reduce(greatest, op=distributed.ReduceOp.MAX, group=_talk())
    return int(greatest)


def as_main(tensors: Iterable[Tensor]) -> None:
    """Give tensors the main process's numbers, in place; those in pieces are everyone's already."""
    if joined():
        for tensor in tensors:
            if not isinstance(tensor, DTensor):
                distributed.broadcast(tensor.detach(), src=0)


def average(tensors: Iterable[Tensor]) -> None:
    """Give tensors the mean over all processes, in place."""
    given = list(tensors)
    work = [distributed.all_reduce(tensor, async_op=True) for tensor in given]
    for tensor, handle in zip(given, work, strict=True):
        handle.wait()
        tensor.div_(distributed.get_world_size())
