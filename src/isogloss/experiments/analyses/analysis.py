"""What an analysis is, and how what it found is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

from isogloss.errors import ConfigError, RunError, no_such
from isogloss.experiments.published_numbers import XCOPA, XNLI, XQUAD
from isogloss.model.load import identify
from isogloss.reporting.drawing import Drawing, save
from isogloss.runs import Json, json_text, read_json_file, write_json_file
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
    """One of them by name; `make` measures it, keeping parts below a folder so as to go on.

    `uses` names the settings that decide what it finds, of those that only some analyses have.
    """

    name: str
    title: str
    section: str
    make: Callable[[ReproduceSettings, Path], Findings]
    uses: tuple[str, ...]


def folder_of(name: str, settings: ReproduceSettings) -> Path:
    """Where an analysis is kept."""
    return settings.out or Path("reproductions") / f"{name}-{settings.scale}"


def carried_out(analysis: Analysis, settings: ReproduceSettings) -> Findings:
    """Measure, and write analysis.json and the figures.

    Raises:
        IsoglossError: anything about models, data or runs that stops the work.
    """
    check_options(analysis, settings)
    folder = folder_of(analysis.name, settings)
    found = analysis.make(settings, folder)
    keep(found, folder, (analysis.name, analysis.title, analysis.section))
    return found


SOME = ("models", "runs", "tasks", "targets", "rows", "limit", "epochs", "workers", "ray")
"""Settings that not every analysis uses; of `seeds` most use one, and those of `uses` all."""


def check_options(analysis: Analysis, settings: ReproduceSettings) -> None:
    """Refuse options that would change nothing.

    Raises:
        ConfigError: names all of them.
    """
    plain = {field.name: field.default for field in fields(settings)}
    idle = [
        name
        for name in SOME
        if name not in analysis.uses and getattr(settings, name) != plain[name]
    ]
    if idle:
        known = ", ".join(f"--{name}" for name in (*SOME, "seeds") if name in analysis.uses)
        raise ConfigError(
            f"{analysis.name} does not use {', '.join(f'--{name}' for name in idle)}; leave it out"
            + (f" ({analysis.name} has {known})" if known else "")
        )
    if len(settings.seeds) > 1 and "seeds" not in analysis.uses:
        found = " ".join(map(str, settings.seeds))
        raise ConfigError(f"{analysis.name} takes one seed; found --seeds {found}")


def keep(found: Findings, folder: Path, called: tuple[str, str, str]) -> None:
    """Write what was found: analysis.json with its name, title and section, and the figures.

    Raises:
        RunError: the folder cannot be written.
    """
    content: Json = dict(zip(("analysis", "title", "section"), called, strict=True))
    content |= {"rows": list(found.rows), "sentences": list(found.sentences)}
    save(folder, found.drawings, {folder / ANALYSIS: json_text(content | found.content)})


def seed_of(settings: ReproduceSettings) -> int:
    """The first of the seeds that are asked for."""
    return settings.seeds[0] if settings.seeds else 42


def wanted(settings: ReproduceSettings, tasks: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The tasks and languages that are asked for.

    Raises:
        ConfigError: one that there is not, or no such task in such a language.
    """
    languages = sorted({language for codes in LANGUAGES.values() for language in codes})
    for what, given, there in (
        ("task", settings.tasks, tasks),
        ("target language", settings.targets, languages),
    ):
        for one in given:
            if one not in there:
                raise no_such(f"{what} in {settings.experiment}", one, there)
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
    """Refuse to measure without a model, or with one that there is not.

    Raises:
        ConfigError: says what to give.
        ModelError: there is no such model.
    """
    if not settings.models:
        raise ConfigError("no model to run: give --models with one or more")
    for model in settings.models:
        identify(model)


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
