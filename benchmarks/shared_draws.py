"""What sharing a demonstration draw costs and saves: learning curves for groups of 1, 4 and 8.

    python benchmarks/shared_draws.py --out shared-draws

CL-ICP on the lab's `span` with its middle model, batches of 8 targets, one draw of demonstrations
for each target, for 4 or for all 8 of a batch; each seed's runs meet the same targets in the same
order. Prints the training loss of the last ten updates at equal updates and at equal seconds,
and the scores, as Markdown; a finished run is not run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

import isogloss
from isogloss.intervals import Interval, bootstrap_interval
from isogloss.lab.making import write_world
from isogloss.lab.shipped import shipped, world_of
from isogloss.lab.tasks import TaskSizes
from isogloss.runs import LOG, read_lines

SHARES = (1, 4, 8)
BATCH = 8
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
Curve = list[tuple[int, float, float]]  # updates, seconds, loss


def train(settings: argparse.Namespace, share: int, seed: int) -> Any:
    """The run of one group size and seed."""
    world = settings.out / "world"
    write_world(world, world_of(shipped("middle")), TaskSizes(target_items=settings.items))
    return isogloss.train(
        world / "tasks" / "span",
        model=shipped("middle"),
        target="b",
        method="cl-icp",
        epochs=settings.epochs,
        learning_rate=1e-2,
        batch_size=BATCH,
        share_demonstrations=share,
        seed=seed,
        out=settings.out / f"runs-{share}",
    )


def curve(folder: Path, smooth: int = 10) -> Curve:
    """Updates, seconds and the mean training loss of the last updates."""
    rows = [row for row in read_lines(folder / LOG) if "loss" in row]
    found = []
    for place, row in enumerate(rows):
        last = [each["loss"] for each in rows[max(0, place - smooth + 1) : place + 1]]
        found.append((row["step"], row["seconds"], float(numpy.mean(last))))
    return found


def at(values: Curve, column: int, limit: float) -> float:
    """The loss when updates (column 0) or seconds (column 1) have come to a limit."""
    reached = [row for row in values if row[column] <= limit] or values[:1]
    return reached[-1][2]


def shown(values: Sequence[float]) -> str:
    """A mean with its interval over seeds."""
    found: Interval = bootstrap_interval(list(values), seed=0)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> int:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--items", type=int, default=200, help="training items of the target")
    parser.add_argument("--out", type=Path, default=Path("shared-draws"))
    settings = parser.parse_args()
    curves: dict[int, list[Curve]] = {}
    scores: dict[int, list[float]] = {}
    # Seed by seed, so that what else the machine does meets all group sizes alike.
    for seed in range(42, 42 + settings.seeds):
        for share in SHARES:
            run = train(settings, share, seed)
            curves.setdefault(share, []).append(curve(run.folder))
            found = isogloss.evaluate(run, max_new_tokens=4)
            scores.setdefault(share, []).append(100 * found.content["value"])
    updates = min(each[-1][0] for own in curves.values() for each in own)
    seconds = min(float(numpy.mean([each[-1][1] for each in own])) for own in curves.values())
    names = [f"{share} {'target' if share == 1 else 'targets'} a draw" for share in SHARES]
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(SHARES))
    for part in FRACTIONS:
        for column, limit, unit in ((0, part * updates, "updates"), (1, part * seconds, "s")):
            cells = [shown([at(each, column, limit) for each in curves[n]]) for n in SHARES]
            print(f"| loss after {limit:.0f} {unit} | " + " | ".join(cells) + " |")
    ends = [shown([each[-1][1] for each in curves[n]]) for n in SHARES]
    print("| seconds in all | " + " | ".join(ends) + " |")
    print("| F1, % | " + " | ".join(shown(scores[n]) for n in SHARES) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
