"""The models that come with the package: one world at three places of the dial."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from isogloss.errors import RunError, no_such
from isogloss.lab.pretraining import RECORD, PretrainSettings, record_of, same
from isogloss.lab.world import World, world_settings_from
from isogloss.runs import Json, read_json_file

FOLDER = Path(__file__).parent / "models"
DIALS = ("low", "middle", "high")


def shipped(dial: str) -> Path:
    """The model folder of a place of the dial.

    Raises:
        ConfigError: there is no model of that name.
    """
    if dial not in DIALS:
        raise no_such("dial", dial, DIALS)
    return FOLDER / dial


def world_of(folder: Path) -> World:
    """The world whose text a lab model was pre-trained on.

    Raises:
        RunError: the folder is no lab model's.
    """
    path = folder / RECORD
    if not path.is_file():
        raise RunError(f"{folder} is no model of the lab: it holds no {RECORD}")
    return World(world_settings_from(read_json_file(path).get("world"), str(path)))


def shipped_like(world: World, settings: PretrainSettings) -> Path | None:
    """The shipped model that these settings would make, if there is one."""
    wanted = record_of(world, settings)
    for dial in DIALS:
        if (FOLDER / dial / RECORD).is_file() and same(_record(dial), wanted):
            return FOLDER / dial
    return None


def copy_model(source: Path, folder: Path) -> None:
    """Copy a lab model's files, whole or not at all.

    Raises:
        RunError: the folder cannot be written.
    """
    ready = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.copytree(source, ready, dirs_exist_ok=True)
        os.replace(ready, folder)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(ready, ignore_errors=True)


def _record(dial: str) -> Json:
    return read_json_file(FOLDER / dial / RECORD)
