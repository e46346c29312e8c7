"""How cost grows with demonstrations, targets of a batch, prompt tokens and sequence length.

    python -m benchmarks.engine.curves --out FILE.json

measures every point of every axis, all else as `python -m benchmarks.engine` has it, and prints
Markdown for RESULTS.md; the file holds all that was measured. `python -m benchmarks.engine.growth`
does the same for the number of items.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from benchmarks.engine.entry import run
from benchmarks.engine.making import make_work
from benchmarks.engine.program import PROGRAMS
from benchmarks.engine.ratios import PARTS, floors
from benchmarks.engine.rounds import Round, run_rounds
from benchmarks.engine.shapes import model_folder
from benchmarks.engine.work import Asked, Work, asked_of

# What grows, in the words of the table, and where it is measured.
AXES: Mapping[str, tuple[str, Sequence[float]]] = {
    "demonstrations": ("demonstrations, k", (0, 1, 2, 4, 8, 16)),
    "targets": ("targets of a batch, all with one demonstration set", (1, 2, 4, 8, 16)),
    "prompt_length": ("prompt tokens, m", (1, 10, 50, 100)),
    "scale": ("length of the items' fields, times", (0.5, 1, 2, 4)),
}


@dataclass(frozen=True)
class Settings(Asked):
    """Measure how cost grows along axes."""

    updates: int = 2
    """Updates of training at each point."""
    items: int = 8
    """Items of evaluation at each point."""
    axes: tuple[str, ...] = tuple(AXES)
    """What grows: demonstrations, targets, prompt_length, scale."""
    programs: tuple[str, ...] = tuple(PROGRAMS)
    """Which programs are measured; isogloss is always one, and the first."""
    rounds: int = 1
    """How often every program runs at each point."""
    out: Path | None = None
    """JSON file for all that was measured."""


def main(settings: Settings) -> None:
    transformers.utils.logging.disable_progress_bar()
    content: dict[str, Any] = {"asked": dataclasses.asdict(asked_of(settings))}
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(settings.model, Path(folder) / "model", settings.format)
        asked = dataclasses.replace(asked_of(settings), model=str(model))
        for axis in settings.axes:
            content[axis] = [
                {"value": value}
                | _measured(Path(folder) / f"{axis}-{value}", _at(asked, axis, value), settings)
                for value in AXES[axis][1]
            ]
            tables.append(table(AXES[axis][0], content[axis]))
            if settings.out:  # after every axis, so that what is there is not lost
                settings.out.write_text(json.dumps(content, indent=1), encoding="utf-8")
    print("\n\n".join(tables))


def _at(asked: Asked, axis: str, value: float) -> Asked:
    """What is asked at a point of an axis."""
    if axis == "targets":
        return dataclasses.replace(asked, targets=int(value), share=int(value))
    return dataclasses.replace(asked, **{axis: value})


def _measured(folder: Path, asked: Asked, settings: Settings) -> dict[str, Any]:
    work = make_work(folder, asked)
    programs = ("isogloss", *(name for name in settings.programs if name != "isogloss"))
    rounds = run_rounds(work, settings.rounds, programs)
    return point(work, rounds[-1])


def point(work: Work, measured: Round) -> dict[str, Any]:
    """Seconds for each update and item, and memory, of each program; tokens of a mean episode."""
    episodes = [one for update in work.updates for one in update]
    counts = {"train": len(work.updates), "evaluate": len(work.questions)}
    floor = floors(work, measured)
    found: dict[str, Any] = {
        "tokens": sum(len(one.ids) for one in episodes) / len(episodes) + work.asked.prompt_length,
        "floor": {part: floor[part] / counts[part] for part in PARTS},
    }
    for name in (name for name in measured if name != "rate"):
        own = measured[name]
        found[name] = {part: own[part]["seconds"] / counts[part] for part in PARTS}
        found[name]["memory"] = own["train"]["memory"]
    return found


def table(title: str, points: Sequence[Mapping[str, Any]]) -> str:
    """An axis as Markdown: seconds an update and an item, megabytes above the weights."""
    programs = [name for name in PROGRAMS if name in points[0]]
    head = [f"s an update, {name}" for name in (*programs, "floor")]
    head += [f"s an item, {name}" for name in (*programs, "floor")]
    head += [f"MB, {name}" for name in programs]
    lines = [f"| {title} | tokens | " + " | ".join(head) + " |", "|" + "---:|" * (len(head) + 2)]
    for one in points:
        cells = [f"{one['value']:g}", f"{one['tokens']:.0f}"]
        cells += [f"{one[name][part]:.3f}" for part in PARTS for name in (*programs, "floor")]
        cells += [f"{one[name]['memory'] / 1e6:.0f}" for name in programs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, Settings)
