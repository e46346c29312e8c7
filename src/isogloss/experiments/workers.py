"""Many training runs of a grid at once: processes of this machine, or Ray's."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

import torch
from transformers.utils import logging

from isogloss.errors import ConfigError
from isogloss.experiments.carrying_out import carry_out
from isogloss.experiments.grid import Cell

TRIES = 2  # a job whose worker dies is given to another, once


@dataclass(frozen=True)
class Job:
    """Cells that share a training run, and what `carry_out` needs for them."""

    folder: Path
    cells: tuple[Cell, ...]
    place: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A job that ended: carried out, or given up because its workers died."""

    job: Job
    died: bool


class Workers(ABC):
    """Where jobs are carried out."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Carry out the jobs, giving each as it ends."""


@final
class Here(Workers):
    """One job after another in this process."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Carry out the jobs in their order."""
        for job in jobs:
            carry_out(job.folder, job.cells, job.place)
            yield Outcome(job, died=False)


@final
class Processes(Workers):
    """`count` processes of this machine, which share its cores; each has a log of its own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._context = multiprocessing.get_context("spawn")

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Carry out the jobs; one whose worker is killed is taken up by another worker."""
        waiting = [(job, 1) for job in reversed(jobs)]
        busy: list[_Busy] = []
        try:
            while waiting or busy:
                while waiting and len(busy) < self.count:
                    busy.append(self._start(*waiting.pop()))
                ready = wait([one.connection for one in busy])
                for one in [one for one in busy if one.connection in ready]:
                    if one.ended():
                        yield Outcome(one.job, died=False)
                        if waiting and one.give(*waiting[-1]):
                            waiting.pop()
                            continue
                        one.dismiss()
                    elif one.attempt < TRIES:
                        waiting.append((one.job, one.attempt + 1))
                    else:
                        yield Outcome(one.job, died=True)
                    busy.remove(one)
        finally:
            for one in busy:
                one.process.terminate()

    def _start(self, job: Job, attempt: int) -> _Busy:
        own, other = self._context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.count)
        logs = job.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        process = self._context.Process(target=_work, args=(other, threads, logs), daemon=True)
        process.start()
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


def _work(connection: Connection, threads: int, logs: Path) -> None:
    """A worker's life: jobs until there are none."""
    with (logs / f"worker-{os.getpid()}.log").open("a", encoding="utf-8", buffering=1) as stream:
        sys.stderr = sys.stdout = stream
        _prepare(threads)
        while True:
            try:
                job = connection.recv()
            except (EOFError, OSError, KeyboardInterrupt):
                return
            if job is None:
                return
            try:
                carry_out(job.folder, job.cells, job.place)
                connection.send(True)
            except (OSError, KeyboardInterrupt):
                return


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@final
class Ray(Workers):
    """A Ray cluster at an address, or one started on this machine (`local`).

    Every machine of it must see the same files under the same paths.
    """

    def __init__(self, address: str, count: int) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--ray needs its package: pip install 'isogloss[ray]'")
        self.address, self.count = address, count

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Carry out the jobs; Ray gives one whose worker dies to another."""
        import ray

        self._connect(ray)
        task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_ray_work)
        running = {task.remote(job): job for job in jobs}
        try:
            while running:
                (reference, *_), _ = ray.wait(list(running))
                job = running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.WorkerCrashedError:
                    yield Outcome(job, died=True)
                else:
                    yield Outcome(job, died=False)
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.address == "local":
                ray.init(num_cpus=self.count, **quiet)
            else:
                ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"cannot reach Ray at '{self.address}': {reason}") from None


def _ray_work(job: Job) -> None:
    _prepare(1)
    carry_out(job.folder, job.cells, job.place)
