"""Runs the programs on a work folder in turns, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.engine.agreement import Measured, disagreements
from benchmarks.engine.program import PROGRAMS, RATE
from benchmarks.engine.work import Work
from isogloss import RunError

ROOT = Path(__file__).resolve().parents[2]
Round = dict[str, Any]  # by program, and the rate


def run_rounds(work: Work, rounds: int, programs: Sequence[str] = tuple(PROGRAMS)) -> list[Round]:
    """What every program measured in every round; every other round goes backwards.

    Isogloss is first in the first round, as its run is what all evaluate.

    Raises:
        RunError: a program failed, or came to other numbers than Isogloss.
    """
    found = []
    for number in range(rounds):
        order = [*programs, RATE] if number % 2 == 0 else [RATE, *reversed(programs)]
        found.append({name: run_program(work, name, number) for name in order})
        _check(work, found[-1], number)
    return found


def _place(work: Work, name: str, number: int) -> Path:
    return work.folder / f"{name}-{number}.json"


def run_program(work: Work, name: str, number: int) -> Any:
    out = _place(work, name, number)
    module = "benchmarks.engine.program"
    command = [sys.executable, "-m", module, name, str(work.folder), "--out", str(out)]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(work.asked.threads), capture_output=True, text=True
    )
    if ended.returncode:
        raise RunError(f"the program '{name}' failed:\n{ended.stderr[-3000:]}")
    found = json.loads(out.read_text(encoding="utf-8"))
    print(f"round {number + 1}, {name}: {_described(found)}", flush=True)
    return found


def environment(threads: int = 0) -> dict[str, str]:
    """The environment as it is here, with the asked number of threads and quieter libraries."""
    given = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    if threads:
        given["OMP_NUM_THREADS"] = str(threads)
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **given, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _described(found: Measured) -> str:
    if "train" not in found:
        return f"{found['seconds'] / 1e9:.1f} billion operations a second"
    parts = [
        f"{part} {found[part]['seconds']:.2f} s ({found[part]['processor']:.2f} of the processor), "
        f"{found[part]['memory'] / 1e6:.0f} MB"
        for part in ("train", "evaluate")
    ]
    return "; ".join(parts)


def _check(work: Work, measured: Round, number: int) -> None:
    own = measured["isogloss"]
    start, mine = work.start, prompt(work, "isogloss", number)
    wrong = []
    for name in set(measured) - {"isogloss", RATE}:
        prompts = (start, prompt(work, name, number), mine)
        wrong += disagreements(name, measured[name], own, work.asked.dtype, prompts)
    if wrong:
        raise RunError("the programs did not do the same work:\n" + "\n".join(wrong))


def prompt(work: Work, name: str, number: int) -> Any:
    return load_file(_place(work, name, number).with_suffix(".safetensors"))["prompt"]
