"""The engine's benchmark: Isogloss, PEFT with the Trainer, and transformers alone on one work.

    python -m benchmarks.engine
    python -m benchmarks.engine --model FOLDER --task xcopa --data FOLDER --updates 10 --items 64

Without --model and --data nothing is needed: weights are random, and items made up in the lengths
of the real ones. The programs take turns, each in a process of its own; their losses, learnt
prompts and answers are checked against each other, and the benchmark fails where they differ. Timed
is the training loop and the answering, without loading. The last line is JSON: how many times
faster Isogloss is, its time over the arithmetic floor's, and its peak memory above the weights over
PEFT's.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from benchmarks.engine.entry import run
from benchmarks.engine.making import make_work
from benchmarks.engine.ratios import last_line, ratios, table
from benchmarks.engine.rounds import run_rounds
from benchmarks.engine.work import Asked, asked_of


@dataclass(frozen=True)
class Settings(Asked):
    """Measure Isogloss against PEFT with the Trainer and against transformers alone."""

    rounds: int = 2
    """How often every program runs."""
    work: Path | None = None
    """Folder to keep the work and the runs in (a temporary one by default)."""
    out: Path | None = None
    """JSON file for all that was measured."""


def main(settings: Settings) -> None:
    asked = asked_of(settings)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        work = make_work(settings.work or Path(folder), asked)
        print(described(asked), flush=True)
        rounds = run_rounds(work, settings.rounds)
        found = ratios(work, rounds)
        print(table(work, rounds))
        print(json.dumps(found))
        if settings.out:
            content = {"asked": dataclasses.asdict(asked), "rounds": rounds, "ratios": found}
            settings.out.write_text(json.dumps(content, indent=1), encoding="utf-8")
        print(json.dumps(last_line(found)))


def described(asked: Asked) -> str:
    """The machine, the versions and the settings in a line."""
    place = torch.cuda.get_device_name() if asked.device != "cpu" else platform.processor()
    threads = asked.threads or torch.get_num_threads()
    return (
        f"{asked.model}, {asked.task}, k = {asked.demonstrations}, {asked.updates} updates of "
        f"{asked.targets} targets, {asked.items} items, {asked.dtype}; {place or 'CPU'}, {threads} "
        f"threads, torch {torch.__version__}, transformers {transformers.__version__}"
    )


if __name__ == "__main__":
    run(main, Settings)
