"""Fig. 2c in the lab: the dial, the cosine deviation it leaves, and what comes of transfer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from isogloss.correlations import Correlation, correlation
from isogloss.diagnosing.closeness import Closeness, closeness
from isogloss.diagnosing.parallel_text import from_files
from isogloss.encoding import Encoder
from isogloss.experiments.reproducing import Reproduction
from isogloss.experiments.tabling import tables_of
from isogloss.gathering.grid import labels_of
from isogloss.lab.making import PARALLEL
from isogloss.lab.shipped import world_of
from isogloss.lab.studying import REPORT, WORLD
from isogloss.model.load import load
from isogloss.model.prompt import vocabulary_rows
from isogloss.outcomes import Place
from isogloss.reporting.drawing import save
from isogloss.reporting.layout import group_of
from isogloss.reporting.scatter import Axes, Point, scatter
from isogloss.runs import Json, json_text
from isogloss.statistics import Estimate

PAIRS = 200
SEED = 0
NAME = "fig2c"


def deviation_figure(made: Reproduction) -> Json:
    """Measure every model's cosine deviation, and draw the scores by it; written in the report.

    Raises:
        RunError: nothing was run, or the figure cannot be written.
    """
    (table, *_) = tables_of(made)
    models = labels_of([result.cell.model for result in made.results])
    measured = {label: _closeness(made.folder, model) for model, label in models.items()}
    of_group = _models_of_groups(made, models)
    rows: list[Json] = []
    points = []
    for line in table.lines:
        cells = [cell for (own, _), cell in table.cells.items() if own == line]
        estimate = cells[0].estimate if cells else None
        if estimate is None:
            continue
        model = of_group[line.group]
        close = measured[model].deviation
        series = line.row + line.group.removeprefix(model)
        rows.append(_row(model, series, measured[model], estimate))
        points.append(
            Point(
                model,
                series,
                (close.value, close.low, close.high),
                (100 * estimate.value, 100 * estimate.low, 100 * estimate.high),
            )
        )
    drawing = scatter(
        points, NAME, made.experiment.title, Axes("cosine deviation", "score on the target, %")
    )
    found = {row: _correlation(row, rows) for row in dict.fromkeys(row["row"] for row in rows)}
    content: Json = {
        "rows": rows,
        "models": len(models),
        "correlations": {row: asdict(one) for row, one in found.items() if one},
        "said": "; ".join(f"{row} {one.rank:+.2f}" for row, one in found.items() if one)
        or "too few models, or scores that are all the same",
        "closeness": {
            label: json.loads(json.dumps(asdict(each))) for label, each in measured.items()
        },
    }
    save(made.folder / REPORT, [drawing], {made.folder / f"{NAME}.json": json_text(content)})
    return content


def _models_of_groups(made: Reproduction, labels: Mapping[str, str]) -> dict[str, str]:
    """The model of each of a table's groups, which name the share of D_t where it has several."""
    found: dict[str, str] = {}
    for result in made.results:
        label = labels[result.cell.model]
        place = Place(**(result.cell.place | {"model": label}))
        found |= {group_of(place, shares=shares): label for shares in (False, True)}
    return found


def _closeness(folder: Path, model: str) -> Closeness:
    codes = world_of(Path(model)).codes
    text = from_files([folder / WORLD / PARALLEL], codes[0], codes[1]).sampled(PAIRS, seed=SEED)
    loaded = load(model)
    return closeness(
        loaded, Encoder(loaded.tokenizer, vocabulary_rows(loaded.model)), text, seed=SEED
    )


def _row(model: str, row: str, close: Closeness, estimate: Estimate) -> Json:
    return {
        "model": model,
        "row": row,
        "cosine deviation": close.deviation.value,
        "deviation low": close.deviation.low,
        "deviation high": close.deviation.high,
        "centred": close.centred.value,
        "retrieval": close.best.retrieval.value,
        "score": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }


def _correlation(row: str, rows: Sequence[Json]) -> Correlation | None:
    own = [one for one in rows if one["row"] == row]
    if len(own) < 3:
        return None
    found = correlation(
        [one["cosine deviation"] for one in own], [one["score"] for one in own], seed=SEED
    )
    return found if found.known else None
