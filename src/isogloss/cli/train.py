"""`isogloss train`."""

from __future__ import annotations

from isogloss.cli.output import print_json, say
from isogloss.runs import Run
from isogloss.settings import TrainSettings
from isogloss.training import train


def run(settings: TrainSettings) -> None:
    """Train, and say where the run folder is and what to do with it."""
    result = train(settings)
    record = result.record
    if settings.json:
        log = [entry for entry in result.log if "loss" in entry]
        print_json(
            {
                "run": str(result.folder),
                "finished": record["finished"],
                "steps": log[-1]["step"] if log else 0,
                "loss": log[-1]["loss"] if log else None,
                "seconds": record["seconds"],
                "sizes": record["sizes"],
                "notes": record["notes"],
                "skipped": len(record["skipped"]),
            }
        )
        return
    _tell(result)


def _tell(result: Run) -> None:
    record = result.record
    sizes = ", ".join(f"{name} {size}" for name, size in record["sizes"].items())
    say(f"items: {sizes}")
    for note, count in record["notes"].items():
        say(f"{note}: {count}")
    if record["skipped"]:
        say(f"skipped as too long: {len(record['skipped'])} (listed in run.json)")
    if record["method"]["tune"]["name"] == "full" and record["model"]["dtype"] != "float32":
        say(
            f"note: in {record['model']['dtype']} an update much smaller than its weight is "
            "rounded away; --dtype float32 keeps it"
        )
    layers = record.get("layers")
    if layers:
        say(f"shift: from layer {layers['to']} to {layers['back']} ({layers['how']})")
    done = f"trained in {record['seconds']} s" if record["method"]["stages"] else "nothing to train"
    say(f"{done}; run folder: {result.folder}")
    say(f"next: isogloss evaluate {result.folder} --baseline")
