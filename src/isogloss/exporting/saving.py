"""An export's folder: written beside its place and put there whole, readable by older programs."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel

from isogloss.errors import ConfigError, RunError
from isogloss.runs import Json, read_json_file, write_json_file

CONFIG = "config.json"
LICENSES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "TERMS*")


def check_free(folder: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        ConfigError: there is something of that name.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} is there already; give another --out, or remove it first")


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name once everything is in it.

    Raises:
        RunError: the disk refuses, or something got the name meanwhile.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        yield beside
        check_free(folder)
        beside.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write {folder}: {reason}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write the model, with the names that older programs read rotary frequencies by.

    transformers 5 writes `rope_parameters`, of which transformers 4 and what is built on it know
    nothing: they would compute with default frequencies, without a word.
    """
    model.save_pretrained(folder)
    config = read_json_file(folder / CONFIG)
    write_json_file(folder / CONFIG, config | _older_names(config.get("rope_parameters")))


def _older_names(rope: Json | None) -> Json:
    if not rope:
        return {}
    if "full_attention" in rope:  # Gemma 3: layers with a window have frequencies of their own
        local = rope.get("sliding_attention", {})
        named = {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
        return _older_names(rope["full_attention"]) | named
    names = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    scaled = scaling.get("rope_type", "default") != "default"
    return names | ({"rope_scaling": scaling} if scaled else {})


def copy_licenses(model: str, folder: Path) -> list[str]:
    """Copy what lies beside the base model about its license, and say what was found."""
    place = Path(model).expanduser()
    if place.is_dir():
        found = sorted({path for name in LICENSES for path in place.glob(name) if path.is_file()})
        for path in found:
            shutil.copyfile(path, folder / f"BASE_{path.name}")
        return [f"BASE_{path.name}" for path in found]
    return []


def stated_license(model: str) -> str | None:
    """The license that the Python package of a base model states."""
    if not model.startswith("package:"):
        return None
    try:
        facts = importlib.metadata.metadata(model.removeprefix("package:")).json
    except importlib.metadata.PackageNotFoundError:
        return None
    stated = str(facts.get("license_expression") or facts.get("license") or "")
    return stated.strip().partition("\n")[0] or None
