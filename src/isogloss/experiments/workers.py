"""Many training runs of a grid at once: processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

import torch
from transformers.utils import logging

from isogloss.experiments.carrying_out import carry_out
from isogloss.experiments.grid import Cell

TRIES = 2  # a job whose worker dies is given to another, once
VISIBLE = "CUDA_VISIBLE_DEVICES"
KILLED = "its worker was killed twice (often for want of memory)"


@dataclass(frozen=True)
class Job:
    """Cells that share a training run, and what `carry_out` needs for them."""

    folder: Path
    cells: tuple[Cell, ...]
    place: dict[str, Any]
    judged: bool = False


@dataclass(frozen=True)
class Outcome:
    """A job that ended: carried out, or given up because its workers died, and of what."""

    job: Job
    died: str = ""


class Workers(ABC):
    """Where jobs are carried out."""

    @abstractmethod
    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Carry out the jobs, taking each when it can begin, and giving it as it ends."""


@final
class Here(Workers):
    """One job after another in this process."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Carry out the jobs in their order."""
        for job in jobs:
            carry_out(job.folder, job.cells, job.place, judged=job.judged)
            yield Outcome(job)


@final
class Processes(Workers):
    """`count` processes of this machine, which share its cores and GPUs; each has its own log."""

    def __init__(self, count: int) -> None:
        self.count, self.started = count, 0
        self._context = multiprocessing.get_context("spawn")

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Carry out the jobs; one whose worker is killed is taken up by another worker."""
        source, again, busy = iter(jobs), list[tuple[Job, int]](), list[_Busy]()

        def following() -> tuple[Job, int] | None:
            return again.pop() if again else next(((job, 1) for job in source), None)

        try:
            while True:
                while len(busy) < self.count and (given := following()):
                    busy.append(self._start(*given))
                if not busy:
                    return
                ready = wait([one.connection for one in busy])
                for one in [one for one in busy if one.connection in ready]:
                    if one.ended():
                        yield Outcome(one.job)
                        given = following()
                        if given and one.give(*given):
                            continue
                        again += [given] if given else []
                        one.dismiss()
                    elif one.attempt < TRIES:
                        again.append((one.job, one.attempt + 1))
                    else:
                        yield Outcome(one.job, KILLED)
                    busy.remove(one)
        finally:
            for one in busy:
                one.process.terminate()

    def _start(self, job: Job, attempt: int) -> _Busy:
        own, other = self._context.Pipe()
        logs = job.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        gpu = gpu_of(self.started, torch.cuda.device_count(), os.environ)
        given = (other, threads_of(self.count), logs)
        process = self._context.Process(target=_work, args=given, daemon=True)
        with _seeing(gpu):
            process.start()
        self.started += 1
        other.close()
        one = _Busy(own, process, job, attempt)
        one.give(job, attempt)
        return one


@dataclass
class _Busy:
    """A worker process with the job that it has."""

    connection: Connection
    process: Any
    job: Job
    attempt: int

    def ended(self) -> bool:
        """Whether the worker says that its job ended; a dead worker's pipe is closed."""
        try:
            self.connection.recv()
        except (EOFError, OSError):
            return False
        return True

    def give(self, job: Job, attempt: int) -> bool:
        """Give it a job; False where it is dead."""
        try:
            self.connection.send(job)
        except OSError:
            return False
        self.job, self.attempt = job, attempt
        return True

    def dismiss(self) -> None:
        """Let it end."""
        with suppress(OSError):
            self.connection.send(None)
        self.process.join()


def threads_of(workers: int) -> int:
    """How many of this machine's cores each of its workers has."""
    return max(1, (os.cpu_count() or 1) // workers)


def gpu_of(worker: int, gpus: int, environment: Mapping[str, str]) -> str | None:
    """The GPU that a worker may see: they take turns; None where there is none.

    >>> [gpu_of(worker, 2, {}) for worker in range(3)]
    ['0', '1', '0']
    >>> gpu_of(1, 2, {"CUDA_VISIBLE_DEVICES": "4,6"})
    '6'
    """
    if gpus == 0:
        return None
    visible = environment.get(VISIBLE)
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return names[worker % gpus].strip()


@contextmanager
def _seeing(gpu: str | None) -> Iterator[None]:
    """Processes started here see this GPU alone: what they import may look for GPUs at once."""
    before = os.environ.get(VISIBLE)
    if gpu is not None:
        os.environ[VISIBLE] = gpu
    try:
        yield
    finally:
        if gpu is not None:
            del os.environ[VISIBLE]
            os.environ.update({} if before is None else {VISIBLE: before})


def _work(connection: Connection, threads: int, logs: Path) -> None:
    """A worker's life: jobs until there are none, or until the command that started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (logs / f"worker-{os.getpid()}.log").open("a", encoding="utf-8", buffering=1) as stream:
        sys.stderr = sys.stdout = stream
        prepare(threads)
        while True:
            try:
                job = connection.recv()
            except (EOFError, OSError):
                return
            if job is None:
                return
            try:
                carry_out(job.folder, job.cells, job.place, judged=job.judged)
                connection.send(True)
            except OSError:
                return


def _end_with_parent() -> None:
    """End this process when its parent is gone: left alone, it would train against a new one."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by a process"
    parent.join()
    os._exit(1)


def prepare(threads: int) -> None:
    """Make a worker's process quiet and no wider than its share of the cores."""
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
