"""What a process of several does in the tests: it is forked from one that has imported all."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

import isogloss
from isogloss import learning, processes
from isogloss.cli import main as command_line
from isogloss.errors import RunError
from isogloss.objective import Objective


def train_all(jobs: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> None:
    """Train one job after the other; the second process is late at every checkpoint it reads."""
    _prepare(environment)
    if processes.rank() == 1:
        _slow(learning, "_take")
    for job in jobs.values():
        isogloss.train(**job)


def command(arguments: list[list[str]], environment: Mapping[str, str]) -> None:
    """A command line, that of the process's number or else the first."""
    _prepare(environment)
    own = arguments[processes.rank()] if len(arguments) > 1 else arguments[0]
    sys.exit(command_line.main(own))


def failing(arguments: list[str], how: str, at: int, environment: Mapping[str, str]) -> None:
    """A command whose second process is killed, or meets an error, at its `at`th portion."""
    _prepare(environment)
    plain, calls = Objective.value, [0]

    def value(*given: Any) -> torch.Tensor:
        calls[0] += 1
        if processes.rank() == 1 and calls[0] == at:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RunError("the second process cannot go on")
        return plain(*given)

    Objective.value = value  # type: ignore[method-assign,assignment]
    sys.exit(command_line.main(arguments))


def _prepare(environment: Mapping[str, str]) -> None:
    faulthandler.dump_traceback_later(300, exit=True)  # a hang is a failure
    torch.set_num_threads(1)
    os.environ.update(environment)


def _slow(owner: Any, name: str) -> None:
    plain = getattr(owner, name)

    def late(*given: Any) -> Any:
        time.sleep(0.5)
        return plain(*given)

    setattr(owner, name, late)
