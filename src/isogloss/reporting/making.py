"""The report: from runs and diagnoses to a page, tables, figures and all numbers in one file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, RunError
from isogloss.gathering.folders import gather
from isogloss.gathering.grid import Gathered
from isogloss.reporting.diagnoses import shown_diagnoses
from isogloss.reporting.drawing import Drawing, save
from isogloss.reporting.figures import figures
from isogloss.reporting.layout import check_baseline
from isogloss.reporting.page import Content, page
from isogloss.reporting.rendering import RENDERERS, cell_rows, comparison_rows, csv_text
from isogloss.reporting.tables import Published, Table, score_tables
from isogloss.reporting.texts import Texts, item_texts
from isogloss.runs import Json, json_text, read_json_file

NUMBERS, PAGE = "report.json", "index.html"


@final
@dataclass(frozen=True)
class Report:
    """A report that was written: its folder, its tables, and all numbers as in report.json."""

    folder: Path
    tables: tuple[Table, ...]
    content: Json

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / PAGE


@final
@dataclass(frozen=True)
class ReportOptions:
    """How a report is made."""

    title: str | None = None
    """Title of the page."""
    baseline: str | None = None
    """Row or method that all others are tested against ('mtl' where there is one)."""
    hide_texts: bool = False
    """Show items' ids and answers only, not their texts."""
    seed: int = 0
    """Decides the resampling."""
    published: Published = field(default_factory=dict)
    """Published numbers in percent by (group, row, task, language or "average", metric)."""


def report(runs: Sequence[Path], out: Path, options: ReportOptions) -> Report:
    """Write a report of runs, diagnoses, folders with either below them, experiments' folders.

    Raises:
        IsoglossError: nothing to report, runs that cannot be compared, a baseline that is not
            there, or a folder that cannot be written.
    """
    if not runs:
        raise ConfigError("nothing to report: give run folders, or a folder with runs below it")
    _check_free(out)
    gathered = gather(runs)
    if options.baseline:
        check_baseline(gathered, options.baseline)
    own, others = score_tables(
        gathered,
        baseline=options.baseline,
        published={**gathered.published, **options.published},
        seed=options.seed,
    )
    tables = (*own, *others)
    drawings = figures(own, gathered.outcomes)
    texts = _hidden(gathered) if options.hide_texts else item_texts(gathered.outcomes)
    title = options.title or gathered.title or "Cross-lingual transfer"
    diagnoses = shown_diagnoses(gathered.diagnosed)
    shown = Content(title, gathered, tables, drawings, texts, options.seed, diagnoses)
    content = _numbers(shown)
    _write(out, page(shown), tables, _drawings(shown), content)
    return Report(out, tables, content)


def _hidden(gathered: Gathered) -> dict[tuple[str, str], Texts]:
    places = [outcome.place for outcome in gathered.outcomes]
    return {(p.task, p.language): Texts(missing="texts were left out") for p in places}


def _drawings(shown: Content) -> list[Drawing]:
    return [*shown.figures, *(each.drawing for each in shown.diagnoses)]


def _numbers(shown: Content) -> Json:
    gathered = shown.gathered
    return {
        "title": shown.title,
        "notes": list(gathered.notes),
        "tables": {
            table.name: {"cells": cell_rows(table), "tests": comparison_rows(table)}
            for table in shown.tables
        },
        "outcomes": [
            {
                **asdict(outcome.place),
                "method": outcome.method,
                "untuned": outcome.untuned,
                "run": str(outcome.folder),
                "items": len(outcome.items),
                "means": {
                    name: sum(values.values()) / len(values)
                    for name, values in outcome.values.items()
                },
                "facts": dict(outcome.facts),
                "settings": outcome.details,
            }
            for outcome in gathered.outcomes
        ],
        "failures": [{**asdict(f.place), "reason": f.reason} for f in gathered.failures],
        "diagnoses": [each.numbers for each in shown.diagnoses],
        "figures": [drawing.name for drawing in _drawings(shown)],
    }


# ---- writing ---------------------------------------------------------------------------------


def _check_free(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier report.

    Raises:
        ConfigError: says what to do.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out is {out}, which is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not _is_report(out):
        raise ConfigError(
            f"--out is {out}, which holds other files than a report's; give a new or empty folder"
        )


def _is_report(out: Path) -> bool:
    try:
        return {"tables", "outcomes"} <= set(read_json_file(out / NUMBERS))
    except RunError:
        return False


def _write(
    out: Path, html: str, tables: Sequence[Table], drawings: Sequence[Drawing], content: Any
) -> None:
    """Write the report; report.json first, so that a folder cut off is known as a report's."""
    texts = {out / NUMBERS: json_text(content), out / PAGE: html}
    for table in tables:
        for kind, rendered in RENDERERS.items():
            texts[out / "tables" / f"{table.name}.{kind}"] = rendered(table)
        tests = csv_text(comparison_rows(table))
        texts[out / "tables" / f"{table.name}-tests.csv"] = tests
    for folder in ("tables", "figures"):  # those of an earlier report
        shutil.rmtree(out / folder, ignore_errors=True)
    save(out, drawings, texts)
