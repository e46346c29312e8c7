"""`isogloss reproduce`."""

from __future__ import annotations

from dataclasses import asdict

from isogloss.cli.output import print_json, say
from isogloss.experiments.grid import SCALES
from isogloss.experiments.reproducing import Reproduction, plan, reproduce
from isogloss.settings import ReproduceSettings


def run(settings: ReproduceSettings) -> None:
    """Carry out an experiment, or say what it would be, and print its table."""
    made = plan(settings) if settings.plan else reproduce(settings)
    if settings.json:
        print_json(_content(made))
        return
    say(f"{made.experiment.name}: {made.experiment.title} (Section {made.experiment.section})")
    say(f"{settings.scale}: {SCALES[settings.scale].what}")
    counts = ", ".join(f"{made.count(state)} {state}" for state in ("done", "failed", "left"))
    say(f"{len(made.results)} cells: {counts}; folder: {made.folder}")


def _content(made: Reproduction) -> dict[str, object]:
    cells = [
        asdict(result.cell) | {"state": result.state, **result.content} for result in made.results
    ]
    return {"experiment": made.experiment.name, "folder": str(made.folder), "cells": cells}
