"""`isogloss layers`."""

from __future__ import annotations

import dataclasses

from isogloss.cli.output import print_json, print_table, say
from isogloss.layering import find_layers
from isogloss.settings import LayersSettings

WIDEST = 40  # columns of the longest bar


def run(settings: LayersSettings) -> None:
    """Print the distance of the languages at each layer, and the layers chosen."""
    choice = find_layers(settings)
    if settings.json:
        print_json(dataclasses.asdict(choice))
        return
    most = max(choice.distances, default=1.0) or 1.0
    rows = [
        {
            "layer": layer,
            "distance": distance,
            "": "█" * round(WIDEST * distance / most),
            "chosen": {choice.to: "L_to", choice.back: "L_back"}.get(
                layer, "│" if choice.to < layer < choice.back else None
            ),
        }
        for layer, distance in enumerate(choice.distances, start=1)
    ]
    if rows:
        title = "distance of the two languages' sentence vectors at each layer"
        print_table(title, rows, ("layer", "distance", "chosen", ""))
    say(f"L_to {choice.to}, L_back {choice.back} ({choice.how})")
    if settings.plot is not None:
        say(f"written: {settings.plot}")
