"""`isogloss predict`."""

from __future__ import annotations

from isogloss.cli.output import print_json, print_table, say
from isogloss.predicting import predict
from isogloss.settings import PredictSettings


def run(settings: PredictSettings) -> None:
    """Answer new items and print or write the answers."""
    entries = [prediction.entry() for prediction in predict(settings)]
    if settings.json:
        print_json({"run": settings.run, "predictions": entries})
        return
    if settings.out:
        say(f"{len(entries)} predictions written: {settings.out}")
        return
    print_table("predictions", entries, ("id", "language", "prediction", "text"))
