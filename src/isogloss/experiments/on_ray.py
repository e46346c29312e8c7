"""Training runs of a grid on a Ray cluster (extra `ray`)."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any, final

from isogloss.errors import ConfigError
from isogloss.experiments.carrying_out import carry_out
from isogloss.experiments.workers import KILLED, TRIES, Job, Outcome, Workers, prepare, threads_of

REACHED = 10  # seconds in which a cluster must answer


@final
class Ray(Workers):
    """A Ray cluster at an address, or one started on this machine (`local`).

    Every machine of it must see the same files under the same paths. With `gpu`, a job has a GPU
    of its own where the cluster has any.
    """

    def __init__(self, address: str, count: int, *, gpu: bool) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--ray needs its package: pip install 'isogloss[ray]'")
        _check_reachable(address)
        self.address, self.count, self.gpu = address, count, gpu

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Carry out the jobs; Ray gives one whose worker dies to another.

        What Ray itself prints goes where progress goes: standard output is the table's.
        """
        with redirect_stdout(sys.stderr):
            yield from self._run(jobs)

    def _run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        import ray

        self._connect(ray)
        remote: Any = ray.remote
        options = ray_options(self.gpu, ray.cluster_resources())
        task = remote(max_retries=TRIES - 1, **options)(_ray_work)
        threads = threads_of(self.count) if self.address == "local" else 1
        running = {task.remote(job, threads): job for job in jobs}
        try:
            while running:
                (reference, *_), _ = ray.wait(list(running))
                job = running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.WorkerCrashedError:
                    yield Outcome(job, KILLED)
                except ray.exceptions.RayError as error:  # no memory, a machine that is gone ...
                    yield Outcome(job, _ray_reason(error))
                else:
                    yield Outcome(job)
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address == "local":
            quiet |= {"num_cpus": self.count, "include_dashboard": False}
        try:
            ray.init(address=self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"cannot reach Ray at '{self.address}': {reason}") from None


def _check_reachable(address: str) -> None:
    """Refuse at once a place where nothing listens: Ray itself tries for minutes.

    Raises:
        ConfigError: nothing listens at HOST:PORT.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return  # `local`, or `auto` for the cluster that this machine is part of
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"cannot reach Ray at '{address}': {error}; give the HOST:PORT that `ray start --head` "
            "shows, or local"
        ) from None


def _ray_reason(error: Exception) -> str:
    """Why Ray gave a job up; of an error in our own code, which only other code there can raise."""
    cause = getattr(error, "cause", None) or error
    reason = str(cause).strip().partition("\n")[0]
    return f"Ray gave it up ({type(cause).__name__}: {reason})"


def ray_options(gpu: bool, resources: Mapping[str, float]) -> dict[str, int]:
    """What a job asks of Ray, which hides all GPUs from a job that asks for none.

    >>> ray_options(True, {"CPU": 8.0, "GPU": 2.0}), ray_options(False, {"CPU": 8.0, "GPU": 2.0})
    ({'num_cpus': 1, 'num_gpus': 1}, {'num_cpus': 1, 'num_gpus': 0})
    """
    return {"num_cpus": 1, "num_gpus": int(gpu and resources.get("GPU", 0) >= 1)}


def _ray_work(job: Job, threads: int) -> None:
    prepare(threads)
    carry_out(job.folder, job.cells, job.place, judged=job.judged)
