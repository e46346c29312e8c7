"""One point of `growth`, in a process of its own: the last line of its output is JSON.

python -m benchmarks.engine.growth_process FOLDER MODEL PART [PART ...] [--items FILE]

FOLDER holds the task in `task`; `predict` answers FILE by the run that `train` left there. A
part's memory is the peak above what was held before the first.
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
from isogloss import PredictSettings, TrainSettings
from isogloss.jobs import prepare
from isogloss.predicting import predict_to

PARTS = ("read", "train", "evaluate", "predict")
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
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--items", type=Path)
    given = parser.parse_args()
    task, out = str(given.folder / "task"), given.folder / "runs"
    settings = TrainSettings(task=task, model=given.model, out=out, **OPTIONS)
    isogloss.load(given.model)  # its libraries are not the items'
    base = held()
    work: dict[str, Callable[[], object]] = {
        "read": lambda: prepare(settings),
        "train": lambda: isogloss.train(task, model=given.model, out=out, **OPTIONS),
        "evaluate": lambda: isogloss.evaluate(_run(out), device="cpu"),
        "predict": lambda: predict_to(_asked(out, given.items), given.folder / "answers.jsonl"),
    }
    print(json.dumps({part: _part(base, work[part]) for part in given.parts}))


def _run(out: Path) -> isogloss.Run:
    (folder,) = out.iterdir()
    return isogloss.open_run(folder)


def _asked(out: Path, items: Path) -> PredictSettings:
    return PredictSettings(str(_run(out).folder), items=items, device="cpu")


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
