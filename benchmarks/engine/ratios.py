"""What the rounds come to: Isogloss against the other programs and against the arithmetic floor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engine.floor import operations, sizes
from benchmarks.engine.rounds import Round
from benchmarks.engine.work import Least, Work

PARTS = ("train", "evaluate")
# The last line of `make bench`, in this order.
GOALS = (
    "train_vs_peft",
    "train_vs_transformers",
    "evaluate_vs_peft",
    "train_vs_floor",
    "memory_vs_peft",
)


def floors(work: Work, measured: Round) -> dict[str, float]:
    """The seconds of the arithmetic floor of each part in a round."""
    parameters, head = sizes(work)
    generated = measured.get("transformers", {}).get("answers", {}).get("generated", 0)
    asked = work.least_evaluate
    least = {
        "train": work.least_train,
        "evaluate": Least(asked.tokens + generated, asked.predicted + generated),
    }
    return {
        part: operations(parameters, head, least[part], training=part == "train")
        / measured["rate"]["rate"]
        for part in PARTS
    }


def ratios(work: Work, rounds: Sequence[Round]) -> dict[str, float]:
    """Medians over rounds of each round's ratios.

    PART_vs_PROGRAM is how many times faster Isogloss is; PART_vs_floor how many times slower than
    the floor; memory_vs_PROGRAM Isogloss' peak above the weights in training over the program's.
    """
    found = {
        f"{part}_vs_floor": _median(
            rounds, lambda one, part=part: _seconds(one, "isogloss", part) / floors(work, one)[part]
        )
        for part in PARTS
    }
    for name in (name for name in rounds[0] if name not in ("isogloss", "rate")):
        for part in PARTS:
            found[f"{part}_vs_{name}"] = _median(
                rounds,
                lambda one, part=part, name=name: (
                    _seconds(one, name, part) / _seconds(one, "isogloss", part)
                ),
            )
        found[f"memory_vs_{name}"] = _median(
            rounds, lambda one, name=name: _memory(one, "isogloss") / _memory(one, name)
        )
    return {name: round(value, 3) for name, value in found.items()}


def last_line(found: dict[str, float]) -> dict[str, float]:
    """The goals' numbers alone."""
    return {name: found[name] for name in GOALS}


def table(work: Work, rounds: Sequence[Round]) -> str:
    """One Markdown line a program and part: medians over rounds."""
    lines = ["| part | program | s | least | most | tokens | head rows | MB above weights |"]
    lines.append("|---|---|" + "---:|" * 6)
    for part in PARTS:
        for name in (name for name in rounds[0] if name != "rate"):
            spent = [one[name][part] for one in rounds]
            seconds = [one["seconds"] for one in spent]
            cells = [statistics.median(seconds), min(seconds), max(seconds)]
            counted = [spent[0]["tokens"], spent[0]["logits"]]
            memory = statistics.median(one["memory"] for one in spent) / 1e6
            texts = [f"{cell:.2f}" for cell in cells] + [str(count) for count in counted]
            lines.append(f"| {part} | {name} | " + " | ".join(texts) + f" | {memory:.0f} |")
        floor = statistics.median(floors(work, one)[part] for one in rounds)
        least = work.least_train if part == "train" else work.least_evaluate
        lines.append(f"| {part} | floor | {floor:.2f} | | | {least.tokens} | {least.predicted} | |")
    return "\n".join(lines)


def _median(rounds: Sequence[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(of(one) for one in rounds)


def _seconds(one: Round, name: str, part: str) -> Any:
    return one[name][part]["seconds"]


def _memory(one: Round, name: str) -> Any:
    return max(1, one[name]["train"]["memory"])
