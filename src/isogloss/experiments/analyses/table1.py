"""Table 1: attention on demonstrations against their contribution (Section 5.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isogloss.diagnosing.diagnosis import diagnose
from isogloss.experiments.analyses.analysis import (
    LANGUAGES,
    SIZES,
    Analysis,
    Findings,
    kept,
    need_models,
    seed_of,
    wanted,
)
from isogloss.model.load import identify
from isogloss.outcomes import short_model
from isogloss.runs import Json
from isogloss.settings import DiagnoseSettings, ReproduceSettings

COUNT = {"xquad": 2}  # demonstrations; a third paragraph is long, and 3 elsewhere (Section 6.1)


def make(settings: ReproduceSettings, folder: Path) -> Findings:
    """A row for each model, task and language; its table is the leave-one-out form."""
    need_models(settings)
    cells = [
        (model, task, target)
        for model in settings.models
        for task, target in wanted(settings, tuple(LANGUAGES))
    ]
    found = {cell: _measured(settings, folder, *cell) for cell in cells}
    rows = tuple(_row(*cell, measure) for cell, measure in found.items())
    sentences = [_said(*cell, measure) for cell, measure in found.items()]
    content = {
        "measures": [
            {"model": short_model(model), "task": task, "target": target, **measure}
            for (model, task, target), measure in found.items()
        ]
    }
    return Findings(rows, tuple(sentences), (), content)


def _measured(
    settings: ReproduceSettings, folder: Path, model: str, task: str, target: str
) -> Json:
    given: dict[str, Any] = {
        "task": task,
        "target": target,
        "items": 0,
        "readers": settings.limit or SIZES[settings.scale],
        "demonstrations": COUNT.get(task, 3),
        "seed": seed_of(settings),
        "dtype": settings.dtype,
    }
    name = f"{Path(short_model(model)).name}-{task}-{target}"
    asked = {**given, "model": identify(model)}

    def measure() -> Any:
        place: dict[str, Any] = {
            "data": settings.data,
            "device": settings.device,
            "out": folder / "parts" / name,
        }
        made = diagnose(DiagnoseSettings(model=model, **given, **place))
        assert made.now.attention is not None, "readers were asked for"
        return made.now.attention

    return kept(folder / "parts" / f"{name}.json", asked, measure)


def _row(model: str, task: str, target: str, measure: Json) -> Json:
    relation = measure["leave_one_out"]["whole"]
    over = relation["difference"]
    return {
        "model": short_model(model),
        "task": task,
        "target": target,
        "targets": measure["targets"],
        "most": relation["most"]["value"],
        "least": relation["least"]["value"],
        "difference": over["value"],
        "low": over["low"],
        "high": over["high"],
        "most above": relation["above"]["value"],
        "rank correlation": relation["rank"]["value"],
        "solo difference": measure["solo"]["whole"]["difference"]["value"],
    }


def _said(model: str, task: str, target: str, measure: Json) -> str:
    over = measure["leave_one_out"]["whole"]["difference"]
    verdict = "above 0" if over["low"] > 0 else "below 0" if over["high"] < 0 else "not decided"
    slots = ", ".join(f"{slot['attention']['value']:.3f}" for slot in measure["slots"])
    return (
        f"{short_model(model)}, {task} {target}: attention on what contributes most, "
        f"less that on the least: {verdict} "
        f"({over['value']:+.4f} [{over['low']:+.4f}, {over['high']:+.4f}]); by slot {slots}."
    )


TABLE1 = Analysis(
    "table1",
    "Attention on demonstrations and their contribution",
    "5.2",
    make,
    ("models", "tasks", "targets", "limit"),
)
