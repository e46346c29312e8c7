"""The report as one static HTML page that opens offline: nothing in it is fetched from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isogloss.gathering.grid import Gathered
from isogloss.outcomes import Outcome
from isogloss.reporting.comparisons import LEVEL, Line
from isogloss.reporting.diagnoses import Shown
from isogloss.reporting.drawing import Drawing
from isogloss.reporting.figures import POINTS
from isogloss.reporting.layout import Layout, connected
from isogloss.reporting.predictions import prediction_data, script_json
from isogloss.reporting.provenance import COLUMNS, data_files, models, versions, what_ran
from isogloss.reporting.rendering import (
    STATES,
    comparison_rows,
    footnotes,
    heads,
    legend,
    marks,
    percent,
)
from isogloss.reporting.tables import Table
from isogloss.reporting.texts import Texts

FOLDER = Path(__file__).parent / "template"


@final
@dataclass(frozen=True)
class Content:
    """All that the page shows."""

    title: str
    gathered: Gathered
    tables: Sequence[Table]
    figures: Sequence[Drawing]
    texts: Mapping[tuple[str, str], Texts]
    seed: int
    diagnoses: Sequence[Shown] = ()


def page(content: Content) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "marks": marks}
    gathered = content.gathered
    tuned = [each for each in gathered.outcomes if not each.untuned]
    placed = _placed(gathered)
    ran = what_ran(placed)
    data = prediction_data(placed, content.texts)
    return environment.get_template("page.html.j2").render(
        title=content.title,
        version=metadata.version("isogloss"),
        lede=lede(gathered),
        notes=gathered.notes,
        tables=_shown(content.tables),
        states=STATES,
        level=LEVEL,
        figures=content.figures,
        diagnoses=content.diagnoses,
        points=POINTS,
        text_notes=_text_notes(content.texts),
        predictions=Markup(script_json(data)),
        ran={
            line.group: [each for each in ran if each.line.group == line.group] for line in placed
        },
        cost_columns=COLUMNS,
        versions=versions(tuned),
        models=models(tuned),
        data=data_files(tuned),
        baseline=_baseline(content.tables),
        seed=content.seed,
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        js=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def lede(gathered: Gathered) -> str:
    """What was run and diagnosed, in a line."""
    diagnosed = _counted(len(gathered.diagnosed), "diagnosis", "diagnoses")
    if not (gathered.outcomes or gathered.failures):
        pairs = {(each.source, each.target) for each in gathered.diagnosed}
        models = _counted(len({each.model for each in gathered.diagnosed}), "model")
        return f"{diagnosed}, {models}, {_counted(len(pairs), 'pair')} of languages."
    places = [each.place for each in gathered.outcomes]
    places += [each.place for each in gathered.failures]
    folders = {each.folder for each in gathered.outcomes}
    counts = {
        "system": len({place.row for place in places}),
        "model": len({place.model for place in places}),
        "task": len({place.task for place in places}),
        "language": len({(place.task, place.language) for place in places}),
        "seed": len({place.seed for place in places}),
    }
    said = [_counted(count, name) for name, count in counts.items()]
    failed = len(gathered.failures)
    said += [_counted(len(folders), "run"), *([diagnosed] if gathered.diagnosed else [])]
    return ", ".join(said) + (f"; {failed} failed" if failed else "") + "."


def _counted(count: int, name: str, several: str = "") -> str:
    return f"{count} {name if count == 1 else several or name + 's'}"


def _shown(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Each table with what stands around it; a line of the legend stands under the first."""
    said: set[str] = set()
    made = []
    for table in tables:
        seeds = Counter(len(c.estimate.by_seed) for c in table.cells.values() if c.estimate)
        lines = [line for line in legend(table) if line not in said]
        said.update(lines)
        made.append(
            {
                "table": table,
                "heading": table.title.removeprefix("Scores: "),
                "heads": heads(table),
                "legend": lines,
                "notes": footnotes(table),
                "tests": comparison_rows(table),
                "seeds": seeds.most_common(1)[0][0] if seeds else 0,
                "uneven": len(seeds) > 1,
            }
        )
    return made


def _placed(gathered: Gathered) -> dict[Line, list[Outcome]]:
    """The outcomes by row, in the tables' order of rows and languages."""
    placed = {}
    for layout in map(Layout, connected(gathered)):
        for line in layout.lines:
            placed[line] = [
                layout.found[line, task, language][seed]
                for task, languages in layout.languages.items()
                for language in languages
                for seed in sorted(layout.found.get((line, task, language), {}))
            ]
    return {line: outcomes for line, outcomes in placed.items() if outcomes}


def _text_notes(texts: Mapping[tuple[str, str], Texts]) -> list[str]:
    """Why items of a test set are shown without their texts."""
    return [
        f"{task}, {language}: ids and answers only; {each.missing}."
        for (task, language), each in texts.items()
        if each.missing
    ]


def _baseline(tables: Sequence[Table]) -> str:
    rows = [c.against.row for t in tables for c in t.comparisons if c.question == "baseline"]
    return rows[0] if rows else "mtl"
