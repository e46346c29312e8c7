"""`isogloss report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from isogloss.cli.output import print_json, print_table, say
from isogloss.reporting.making import Report, ReportOptions, report
from isogloss.reporting.rendering import legend, plain_rows


@dataclass(frozen=True)
class ReportSettings:
    """Compare evaluated runs, and show diagnoses: one HTML page, tables and figures."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, diagnoses or experiments, or with runs or diagnoses anywhere below them."""
    out: Path = Path("report")
    """Folder for the report; an earlier report there is replaced."""
    baseline: str | None = None
    """Row or method that all others are tested against ('mtl' where there is one)."""
    title: str | None = None
    """Title of the page."""
    hide_texts: bool = False
    """Show items' ids and answers only, not their texts."""
    seed: int = 0
    """Decides the resampling."""
    json: bool = False
    """Print one JSON object, the content of report.json, and nothing else on standard output."""


def run(settings: ReportSettings) -> None:
    """Write the report, print its main table, and say where it is."""
    options = ReportOptions(settings.title, settings.baseline, settings.hide_texts, settings.seed)
    made = report(settings.runs, settings.out, options)
    if settings.json:
        print_json({"report": str(made.page), **made.content})
        return
    _tell(made)


def _tell(made: Report) -> None:
    for table in made.tables:
        rows = plain_rows(table)
        print_table(f"{table.title}, % (95% interval)", rows, list(rows[0]))
    for line in legend(made.tables[0]) if made.tables else ():
        say(line)
    for note in made.content["notes"]:
        say(f"note: {note}")
    for failure in made.content["failures"]:
        where = ", ".join(str(failure[name]) for name in ("row", "model", "task", "language"))
        say(f"failed: {where}, seed {failure['seed']}: {failure['reason']}")
    if made.content["diagnoses"]:
        say("diagnoses: " + "; ".join(each["title"] for each in made.content["diagnoses"]))
    say(f"written: {made.page}")
