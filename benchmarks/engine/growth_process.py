"""One point of `growth`, in a process of its own: the last line of its output is JSON.

python -m benchmarks.engine.growth_process FOLDER MODEL [--answer]

FOLDER holds the task in `task`. A part's memory is the peak above what was held before the first.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import isogloss
from benchmarks.engine.meter import give_back, held, peak, reset_peak
from isogloss import TrainSettings
from isogloss.jobs import prepare

PARTS = ("read", "train", "evaluate")
# Nearly nothing for the model: one short demonstration, one update, no log-probabilities of more.
OPTIONS: dict[str, Any] = {
    "target": "tr",
    "epochs": 1,
    "max_steps": 1,
    "demonstrations": 1,
    "prompt_length": 1,
    "device": "cpu",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--answer", action="store_true", help="answer the test items too")
    given = parser.parse_args()
    task, out = str(given.folder / "task"), given.folder / "runs"
    settings = TrainSettings(task=task, model=given.model, out=out, **OPTIONS)
    isogloss.load(given.model)  # its libraries are not the items'
    base = held()
    found = {"read": _part(base, lambda: prepare(settings))}
    runs: list[isogloss.Run] = []
    found["train"] = _part(
        base, lambda: runs.append(isogloss.train(task, model=given.model, out=out, **OPTIONS))
    )
    if given.answer:
        found["evaluate"] = _part(base, lambda: isogloss.evaluate(runs[0], device="cpu"))
    print(json.dumps(found))


def _part(base: int, work: Callable[[], object]) -> dict[str, float]:
    give_back()
    reset_peak()
    begun = time.perf_counter()
    made = work()
    spent = {"seconds": time.perf_counter() - begun, "memory": peak() - base}
    del made
    return spent


if __name__ == "__main__":
    main()
