"""What the rounds come to: Isogloss against the other programs and against the arithmetic floor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

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


def floors(work: Work, measured: Round, time: str = "seconds") -> dict[str, float]:
    """The seconds of the arithmetic floor of each part in a round, or of the processor's."""
    parameters, head = sizes(work)
    generated = measured.get("transformers", {}).get("answers", {}).get("generated", 0)
    asked = work.least_evaluate
    least = {
        "train": work.least_train,
        "evaluate": Least(asked.tokens + generated, asked.predicted + generated),
    }
    return {
        part: operations(parameters, head, least[part], training=part == "train")
        / measured["rate"][time]
        for part in PARTS
    }


def ratios(work: Work, rounds: Sequence[Round]) -> dict[str, float]:
    """Medians over rounds of each round's ratios, three digits.

    PART_vs_PROGRAM is how many times faster Isogloss is; PART_vs_floor how many times slower than
    the floor; memory_vs_PROGRAM Isogloss' peak above the weights in training over the program's.
    Those that end in _cpu are by the processor's time.
    """
    each = [_of_round(work, one) for one in rounds]
    return {name: round(statistics.median(one[name] for one in each), 3) for name in each[0]}


def _of_round(work: Work, one: Round) -> dict[str, float]:
    others = [name for name in one if name not in ("isogloss", "rate")]
    found = {}
    for time, ending in (("seconds", ""), ("processor", "_cpu")):
        floor = floors(work, one, time)
        for part in PARTS:
            own = one["isogloss"][part][time]
            found[f"{part}_vs_floor{ending}"] = own / floor[part]
            for name in others:
                found[f"{part}_vs_{name}{ending}"] = one[name][part][time] / own
    memory = {name: max(1, one[name]["train"]["memory"]) for name in (*others, "isogloss")}
    return found | {f"memory_vs_{name}": memory["isogloss"] / memory[name] for name in others}


def last_line(found: dict[str, float]) -> dict[str, float]:
    """The goals' numbers alone."""
    return {name: found[name] for name in GOALS}


def table(work: Work, rounds: Sequence[Round]) -> str:
    """One Markdown line a program and part: medians over rounds."""
    head = "s | least | most | CPU s | tokens | head rows | MB above weights"
    lines = [f"| part | program | {head} |", "|---|---|" + "---:|" * 7]
    for part in PARTS:
        for name in (name for name in rounds[0] if name != "rate"):
            spent = [one[name][part] for one in rounds]
            seconds = [one["seconds"] for one in spent]
            processor = statistics.median(one["processor"] for one in spent)
            cells = [statistics.median(seconds), min(seconds), max(seconds), processor]
            counted = [spent[0]["tokens"], spent[0]["logits"]]
            memory = statistics.median(one["memory"] for one in spent) / 1e6
            texts = [f"{cell:.2f}" for cell in cells] + [str(count) for count in counted]
            lines.append(f"| {part} | {name} | " + " | ".join(texts) + f" | {memory:.0f} |")
        clock, processor = (
            statistics.median(floors(work, one, time)[part] for one in rounds)
            for time in ("seconds", "processor")
        )
        least = work.least_train if part == "train" else work.least_evaluate
        counts = f"{least.tokens} | {least.predicted}"
        lines.append(f"| {part} | floor | {clock:.2f} | | | {processor:.2f} | {counts} | |")
    return "\n".join(lines)
