"""What grows with the number of items: memory and time of reading, training and answering.

    python -m benchmarks.engine.growth --items 100 1000 10000 100000 --out FILE.json

For each number, a task with so many items in D_t and in the test set is written to disk. A process
of its own (`growth_process`) reads it, plans an epoch and makes one update, and answers all test
items; another answers as many new items from a file, by the run of the first number. The model is
tiny, so that next to nothing is the model's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.engine.entry import run
from benchmarks.engine.growth_process import PARTS
from benchmarks.engine.items import Maker, Sizes, write_items
from benchmarks.engine.lengths import FIELDS, read
from benchmarks.engine.rounds import ROOT, environment
from benchmarks.engine.shapes import made_words, model_folder
from isogloss import RunError

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """Measure what grows with the number of items."""

    items: tuple[int, ...] = (100, 1000, 10000, 100000)
    """Items of D_t and of the test set."""
    answered: int = 100000
    """Of more items than this, the test items are read but not answered."""
    task: str = "xcopa"
    """Whose lengths the items have."""
    seed: int = 42
    """Decides the items."""
    out: Path | None = None
    """JSON file for what was measured."""


def main(settings: Settings) -> None:
    transformers.utils.logging.disable_progress_bar()
    points = []
    with tempfile.TemporaryDirectory() as place:
        model = model_folder("tiny", Path(place) / "model", torch.float32)
        for count in settings.items:
            folder = Path(place) / str(count)
            write(folder / "task", count, settings)
            points.append(_measured(folder, model, count, settings))
    if settings.out:
        settings.out.write_text(json.dumps(points, indent=1), encoding="utf-8")
    print(table(points))


def write(folder: Path, count: int, settings: Settings) -> None:
    """A task of so many items in D_t and in the test set."""
    known = read(settings.task, "smollm2")
    maker = Maker(settings.task, (made_words(0), made_words(1)), known)
    write_items(folder, maker, Sizes(100, count, count), seed=settings.seed, data=None)


def _measured(folder: Path, model: Path, count: int, settings: Settings) -> Point:
    parts = ["read", "train", *(["evaluate"] if count <= settings.answered else [])]
    found = _process(folder, model, parts)
    first, (target, _) = folder.parent / str(settings.items[0]), FIELDS[settings.task]
    items = folder / "task" / target / "test.jsonl"
    found |= _process(first, model, ["predict", "--items", str(items)])
    print(json.dumps({"items": count} | found), flush=True)
    return {"items": count} | found


def _process(folder: Path, model: Path, parts: Sequence[str]) -> dict[str, Any]:
    module = "benchmarks.engine.growth_process"
    command = [sys.executable, "-m", module, str(folder), str(model), *parts]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if ended.returncode:
        raise RunError(f"measuring {folder.name} items failed:\n{ended.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def table(points: Sequence[Point]) -> str:
    """Markdown: each part's seconds and peak, and what one more item took since the row before."""
    heads = [f"{part}: {what}" for part in PARTS for what in ("s", "MB", "kB an item more")]
    lines = ["| items | " + " | ".join(heads) + " |", "|" + "---:|" * (len(heads) + 1)]
    before: Point | None = None
    for one in points:
        cells = [str(one["items"])]
        for part in PARTS:
            cells += _cells(one, before, part)
        lines.append("| " + " | ".join(cells) + " |")
        before = one
    return "\n".join(lines)


def _cells(one: Point, before: Point | None, part: str) -> list[str]:
    if part not in one:
        return [""] * 3
    found = one[part]
    cells = [f"{found['seconds']:.2f}", f"{found['memory'] / 1e6:.1f}"]
    if before is None or part not in before:
        return [*cells, ""]
    more = (found["memory"] - before[part]["memory"]) / (one["items"] - before["items"])
    return [*cells, f"{more / 1e3:.2f}"]


if __name__ == "__main__":
    run(main, Settings)
