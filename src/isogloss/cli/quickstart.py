"""`isogloss quickstart`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isogloss.cli.diagnose import tell
from isogloss.cli.output import print_json, print_table, say
from isogloss.lab.quickstart import Quickstart, quickstart


@dataclass(frozen=True)
class QuickstartSettings:
    """Diagnose a shipped tiny model and compare three methods on it, offline, in about a minute."""

    dial: Literal["low", "middle", "high"] = "middle"
    """How closely pre-training tied the two languages."""
    task: str = "span"
    """Task of the lab: choice, label, span, or with a rule that no document has: choice-new ..."""
    seed: int = 42
    """Decides every random choice."""
    out: Path = Path("quickstart")
    """Folder for all that is written."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""


def run(settings: QuickstartSettings) -> None:
    """Run it and print the diagnosis, the table, what was written, and what to type next."""
    told = None if settings.json else tell
    made = quickstart(
        settings.out, dial=settings.dial, task=settings.task, seed=settings.seed, tell=told
    )
    if settings.json:
        print_json(
            {
                "diagnosis": made.diagnosis.content,
                "rows": made.rows,
                "seconds": round(made.seconds, 1),
                "task": str(made.task),
                "model": str(made.model),
                "runs": {name: str(each.folder) for name, each in made.runs.items()},
            }
        )
        return
    _tell(made)


def _tell(made: Quickstart) -> None:
    columns = ("name", "value", "low", "high", "items")
    print_table(f"{made.task.name}: a to b (95% interval)", made.rows, columns)
    say(f"{made.seconds:.0f} s; written to {made.folder}:")
    say(f"  model  {made.model}")
    say(f"  task   {made.task / 'task.yaml'}")
    say(f"  diagnosis       {made.diagnosis.folder}")
    for name, each in made.runs.items():
        say(f"  {name:<15} {each.folder}")
    folder = made.runs["cl-icp"].folder
    say("next:")
    say(f"  isogloss tasks show {made.task} --target b")
    say(f"  isogloss evaluate {folder} --demonstrations none")
    say("  isogloss quickstart --dial low")
