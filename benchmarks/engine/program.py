"""One program on one work folder, in a process of its own.

    python -m benchmarks.engine.program NAME FOLDER --out FILE

trains and evaluates, or for `rate` measures how fast this machine multiplies matrices, and writes
what was measured as JSON, and what was learnt beside it as safetensors.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.engine import isogloss_program, peft_program, transformers_program, work
from benchmarks.engine.floor import matmul_rate
from benchmarks.engine.meter import Meter

PROGRAMS = {
    "isogloss": isogloss_program,
    "peft": peft_program,
    "transformers": transformers_program,
}
RATE = "rate"


def measure(name: str, given: work.Work, prompt: Path) -> dict[str, Any]:
    """Training and evaluation by one program; the prompt that it learnt goes to a file."""
    program, meter = PROGRAMS[name], Meter()
    learnt = program.train(given, meter)
    found: dict[str, Any] = {"train": dataclasses.asdict(meter.spent()), "losses": learnt.losses}
    save_file({"prompt": learnt.prompt.contiguous()}, prompt)
    meter = Meter()
    answers = program.evaluate(given, meter)
    return found | {
        "evaluate": dataclasses.asdict(meter.spent()),
        "answers": dataclasses.asdict(answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*PROGRAMS, RATE])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    settings = parser.parse_args()
    given = work.read(settings.folder)
    if given.asked.threads:
        torch.set_num_threads(given.asked.threads)
    if settings.name == RATE:
        found: dict[str, Any] = dataclasses.asdict(matmul_rate(given))
    else:
        found = measure(settings.name, given, settings.out.with_suffix(".safetensors"))
    settings.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
