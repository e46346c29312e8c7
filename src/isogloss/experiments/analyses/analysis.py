"""What an analysis is, and how what it found is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, RunError
from isogloss.experiments.published_numbers import XCOPA, XNLI, XQUAD
from isogloss.reporting.drawing import Drawing
from isogloss.runs import Json, json_text, read_json_file, write_json_file, write_together
from isogloss.settings import ReproduceSettings

ANALYSIS = "analysis.json"
LANGUAGES: Mapping[str, tuple[str, ...]] = {"xquad": XQUAD, "xcopa": XCOPA, "xnli": XNLI}
SIZES = {"smoke": 24, "small": 100, "paper": 500}  # targets or sentence pairs of a measurement


@final
@dataclass(frozen=True)
class Findings:
    """What an analysis found: rows for a table, sentences, figures, and everything else."""

    rows: tuple[Json, ...]
    sentences: tuple[str, ...]
    drawings: tuple[Drawing, ...]
    content: Json


@final
@dataclass(frozen=True)
class Analysis:
    """One of them by name; `make` measures it, keeping parts below a folder so as to go on."""

    name: str
    title: str
    section: str
    make: Callable[[ReproduceSettings, Path], Findings]


def folder_of(name: str, settings: ReproduceSettings) -> Path:
    """Where an analysis is kept."""
    return settings.out or Path("reproductions") / f"{name}-{settings.scale}"


def carried_out(analysis: Analysis, settings: ReproduceSettings) -> Findings:
    """Measure, and write analysis.json and the figures.

    Raises:
        IsoglossError: anything about models, data or runs that stops the work.
    """
    folder = folder_of(analysis.name, settings)
    found = analysis.make(settings, folder)
    texts: dict[Path, str] = {
        folder / ANALYSIS: json_text(
            {
                "analysis": analysis.name,
                "title": analysis.title,
                "section": analysis.section,
                "rows": list(found.rows),
                "sentences": list(found.sentences),
                **found.content,
            }
        )
    }
    for drawing in found.drawings:
        texts[folder / "figures" / f"{drawing.name}.svg"] = drawing.file
    write_together(texts)
    try:
        for drawing in found.drawings:
            (folder / "figures" / f"{drawing.name}.png").write_bytes(drawing.png)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error
    return found


def wanted(settings: ReproduceSettings, tasks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The tasks and languages that are asked for.

    Raises:
        ConfigError: none of them.
    """
    pairs = [
        (task, language)
        for task in tasks
        if not settings.tasks or task in settings.tasks
        for language in LANGUAGES[task]
        if not settings.targets or language in settings.targets
    ]
    if not pairs:
        raise ConfigError(
            f"{settings.experiment} has no {' or '.join(settings.tasks or tasks)} in "
            f"{' or '.join(settings.targets)}; it has "
            + "; ".join(f"{task} in {', '.join(LANGUAGES[task])}" for task in tasks)
        )
    yield from pairs


def need_models(settings: ReproduceSettings) -> None:
    """Refuse to measure without a model.

    Raises:
        ConfigError: says what to give.
    """
    if not settings.models:
        raise ConfigError("no model to run: give --models with one or more")


def kept(path: Path, asked: Json, measure: Callable[[], Any]) -> Json:
    """What was measured for the same question before, or is measured now and kept."""
    if path.is_file():
        try:
            content = read_json_file(path)
        except RunError:
            content = {}  # cut off while it was written
        if content.get("asked") == json.loads(json.dumps(asked)):
            return dict(content["found"])
    found = measure()
    plain: Json = json.loads(json.dumps(dict(found) if isinstance(found, dict) else asdict(found)))
    write_json_file(path, {"asked": asked, "found": plain})
    return plain
