"""`isogloss languages | methods | models | runs`: what there is."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from safetensors import SafetensorError

from isogloss.cli.output import print_json, print_table, say
from isogloss.errors import ConfigError, ModelError, RunError
from isogloss.languages import LANGUAGES
from isogloss.methods.registry import METHODS
from isogloss.model.load import ARCHITECTURES, Loaded, describe, load
from isogloss.runs import list_runs, open_run


@dataclass(frozen=True)
class LanguagesSettings:
    """List the languages Isogloss knows by code, with script and dominance."""

    json: bool = False
    """Print one JSON list and nothing else on standard output."""


@dataclass(frozen=True)
class MethodsSettings:
    """List the methods, each with its section of the paper."""

    json: bool = False
    """Print one JSON list and nothing else on standard output."""


@dataclass(frozen=True)
class ModelsSettings:
    """List the tested architectures, or load a model and say what it is."""

    model: tyro.conf.Positional[str | None] = None
    """Model folder, .gguf file, package:NAME, or hub id to look at."""
    save: Path | None = None
    """Write the model here as a plain folder (a GGUF file then loads many times faster)."""
    json: bool = False
    """Print JSON and nothing else on standard output."""


@dataclass(frozen=True)
class RunsSettings:
    """List the runs of a folder with their scores."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """Folder that holds run folders."""
    json: bool = False
    """Print one JSON list and nothing else on standard output."""


def languages(settings: LanguagesSettings) -> None:
    """Print the languages."""
    rows = [dataclasses.asdict(language) for language in LANGUAGES]
    if settings.json:
        print_json(rows)
        return
    print_table("languages", rows, ("code", "name", "script", "dominance"))


def methods(settings: MethodsSettings) -> None:
    """Print the methods."""
    made = [make("xcopa", "choice") for make in METHODS.values()]
    rows = [{"name": m.name, "section": m.section, "summary": m.summary} for m in made]
    if settings.json:
        print_json(rows)
        return
    print_table("methods", rows, ("name", "section", "summary"))


def models(settings: ModelsSettings) -> None:
    """Print the tested architectures, or one model's description."""
    if settings.model is None:
        if settings.save is not None:
            raise ConfigError(
                "--save needs the model to write: isogloss models MODEL --save FOLDER"
            )
        rows = [{"name": name, "models": models} for name, models in ARCHITECTURES.items()]
        if settings.json:
            print_json(rows)
            return
        print_table(
            "tested architectures (any causal model may be given)", rows, ("name", "models")
        )
        return
    loaded = load(settings.model)
    row = {
        "name": settings.model,
        **describe(loaded.model.config),
        "parameters": loaded.model.num_parameters(),
        "chat_template": loaded.tokenizer.chat_template is not None,
        "fingerprint": loaded.fingerprint,
    }
    if settings.save is not None:
        _save(loaded, settings.save)
        row["saved"] = str(settings.save)
    if settings.json:
        print_json(row)
        return
    for name, value in row.items():
        say(f"{name.replace('_', ' ')}: {value}")


def _save(loaded: Loaded, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write the model to {folder}: {error}") from error


def runs(settings: RunsSettings) -> None:
    """Print the runs of a folder."""
    rows = []
    for run in list_runs(settings.folder):
        try:
            rows.append(open_run(run.folder).summary())
        except RunError as error:
            print(f"isogloss: passed over: {error}", file=sys.stderr)
    if settings.json:
        print_json(rows)
        return
    if not rows:
        say(f"no runs in {settings.folder}")
        return
    columns = ("name", "finished", "metric", "value", "low", "high")
    print_table(f"runs in {settings.folder}", rows, columns)
