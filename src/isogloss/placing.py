"""Where a run's model is: in one process or several, whole on each device or in pieces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from isogloss import processes
from isogloss.jobs import Job
from isogloss.model.load import Loaded, load, resolve_device
from isogloss.model.sharding import Sharding, asked_sharding, load_in_pieces
from isogloss.runs import claimed
from isogloss.settings import TrainSettings


def meet(settings: TrainSettings) -> Sharding | None:
    """Meet the other processes, if there are any; how the model is to be held in pieces.

    Raises:
        ConfigError: what a launcher asks for is not supported, or the processes cannot meet.
        RunError: they do not come.
    """
    sharding = asked_sharding()
    if sharding or processes.count() > 1:
        processes.join(resolve_device(settings.device))
    if sharding and sharding.one_reads and processes.is_main():
        print(
            "note: every process reads the whole model; fsdp_cpu_ram_efficient_loading is not used",
            file=sys.stderr,
        )
    return sharding


def place(job: Job, sharding: Sharding | None) -> Loaded:
    """The base model, whole or in pieces.

    Raises:
        IsoglossError: what loading finds.
    """
    _say_idle(job.method.batch_size)
    settings = job.settings
    if sharding is None:
        return load(settings.model, settings.loading)
    frozen = not job.method.tune.whole_model
    return load_in_pieces(settings.model, settings.loading, sharding, frozen=frozen)


def _say_idle(targets: int) -> None:
    count = processes.count()
    if count > targets and processes.is_main():
        print(
            f"note: a batch has fewer targets ({targets}) than there are processes ({count}), so "
            f"{count - targets} of these have nothing to do; raise --batch-size",
            file=sys.stderr,
        )


@contextmanager
def claimed_by_main(folder: Path) -> Iterator[None]:
    """The run's folder held by the main process, and the others waiting until it is.

    Raises:
        RunError: the claim cannot be written.
    """
    with claimed(folder) if processes.is_main() else nullcontext():
        processes.wait()
        yield
