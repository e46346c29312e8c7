"""README.md beside an adapter: what was learnt from what, how it was chosen, what it scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isogloss.card.facts import CardSettings, Facts
from isogloss.card.front import front
from isogloss.card.text import text
from isogloss.errors import RunError
from isogloss.finished import task_of
from isogloss.runs import finished_run, write_together

CARD = "README.md"


@dataclass(frozen=True)
class Card:
    """A written card: its file, its text, and what a user may still want to do about it."""

    path: Path
    text: str
    notes: tuple[str, ...]


def write_card(folder: str | Path, settings: CardSettings | None = None) -> Card:
    """Write the card of a finished run into its adapter's folder, over an older one.

    Raises:
        RunError: the run is missing, unfinished or damaged.
        DataError: the task is not where it was; its wording stands in the card.
    """
    run, asked = finished_run(folder), settings or CardSettings()
    if run.adapter == run.folder and "adapter_config.json" not in run.record["adapter"]:
        raise RunError(
            f"{run.folder} is a compiled run whose prefix PEFT cannot hold, so nobody could load "
            "it by a card; give the run that it was compiled from"
        )
    facts = Facts(run, run.record, run.scores, task_of(run.record, asked.data))
    head = front(facts, asked).to_yaml(line_break="\n")
    content = f"---\n{head}\n---\n\n{text(facts, asked)}"
    path = run.adapter / CARD
    write_together({path: content})
    return Card(path, content, tuple(_notes(facts, asked)))


def _notes(facts: Facts, settings: CardSettings) -> Iterable[str]:
    if facts.scores is None:
        yield "the run has no scores; `isogloss evaluate` makes them, and then the card again"
    if not settings.license:
        yield "no license is stated; --license ID states one (that of the base model may bind you)"
    if not facts.base(settings):
        yield "the base model is no hub id; --base-model ID says what others are to load"
