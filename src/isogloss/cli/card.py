"""`isogloss card`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from isogloss.card.facts import CardSettings
from isogloss.card.pushing import check_repository, push
from isogloss.card.writing import write_card
from isogloss.cli.output import print_json, say
from isogloss.errors import ConfigError


@dataclass(frozen=True)
class CardCommand:
    """Write a run's model card beside its adapter, and upload both."""

    run: tyro.conf.Positional[str]
    """Run folder."""
    license: str | None = None
    """License of what was learnt, by the hub's name for it, such as apache-2.0."""
    base_model: str | None = None
    """Hub id of the base model, where the run's was a folder or a file."""
    data: str | None = None
    """The task's data, where it has moved."""
    push: str | None = None
    """Upload to this repository of the hub, OWNER/NAME; the token is that of huggingface_hub."""
    private: bool = False
    """Make a new repository private."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def __post_init__(self) -> None:
        if self.private and self.push is None:
            raise ConfigError("--private is about a repository; give --push OWNER/NAME with it")


def run(settings: CardCommand) -> None:
    """Write the card, upload it if asked, and say what is still missing."""
    if settings.push is not None:
        check_repository(settings.push)
    asked = CardSettings(settings.license, settings.base_model, settings.push, settings.data)
    card = write_card(settings.run, asked)
    place = None
    if settings.push is not None:
        place = push(
            settings.run, settings.push, base_model=settings.base_model, private=settings.private
        )
    if settings.json:
        print_json({"card": str(card.path), "pushed": place, "notes": list(card.notes)})
        return
    say(f"written: {card.path}")
    for note in card.notes:
        say(f"note: {note}")
    if place:
        say(f"uploaded: {place}")
