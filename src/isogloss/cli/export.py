"""`isogloss export`."""

from __future__ import annotations

from isogloss.cli.output import print_json, say
from isogloss.exporting.exporting import export
from isogloss.settings import ExportSettings


def run(settings: ExportSettings) -> None:
    """Write the folder, and say what to send and what to look out for."""
    made = export(settings)
    if settings.json:
        print_json({"folder": str(made.folder), **made.content})
        return
    say(f"written: {made.folder}")
    names = list(made.content.get("tokens", ()))
    if names:
        ends = (names[0], " ... ", names[-1]) if len(names) > 2 else names
        begin = made.content["prompt"]["begin"] or ""
        say(f"put in front of every prompt, as in export.json: {''.join(ends)}{begin}")
    for note in made.notes:
        say(f"note: {note}")
    say(f"how to serve it: {made.folder / 'README.md'}")
