"""`isogloss predict`."""

from __future__ import annotations

from isogloss.cli.output import print_json, print_table, say
from isogloss.predicting import predict, predict_to
from isogloss.settings import PredictSettings


def run(settings: PredictSettings) -> None:
    """Answer new items and print or write the answers."""
    if settings.out and not settings.json:
        say(f"{predict_to(settings, settings.out)} predictions written: {settings.out}")
        return
    entries = [prediction.entry() for prediction in predict(settings)]
    if settings.json:
        print_json({"run": settings.run, "predictions": entries})
        return
    print_table("predictions", entries, ("id", "language", "prediction", "text"))
