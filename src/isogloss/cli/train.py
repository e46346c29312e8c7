"""`isogloss train`."""

from __future__ import annotations

from isogloss import processes
from isogloss.cli.output import print_json, print_table, say
from isogloss.runs import Json, Run
from isogloss.selecting import train
from isogloss.settings import TrainSettings


def run(settings: TrainSettings) -> None:
    """Train, and say where the run folder is and what to do with it."""
    result = train(settings)
    if not processes.is_main():
        return
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
                "chosen": record.get("chosen"),
                "selection": record.get("selection"),
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
    _tell_choice(record)
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


def _tell_choice(record: Json) -> None:
    """How the settings were chosen, and what each candidate came to."""
    selection = record.get("selection")
    if selection:
        rows = [
            {**row["settings"], **{name: row[name] for name in ("loss", "metric", "items")}}
            | {"chosen": place == selection["chosen"] or None}
            for place, row in enumerate(selection["candidates"])
        ]
        where = "validation" if selection["by"] == "validation" else "held-out folds"
        title = f"{where} ({selection['language']}); the metric is {selection['metric']}"
        print_table(title, rows, tuple(rows[0]))
    say(f"settings: {record.get('chosen', 'how they were chosen is not recorded')}")
