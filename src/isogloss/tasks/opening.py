"""From the name a user gives to a task: a benchmark, or the YAML file of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

from isogloss.errors import ConfigError, DataError, suggestion
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings, load_benchmark
from isogloss.tasks.example import Task
from isogloss.tasks.own_data import load_task

DATA_VARIABLE = "ISOGLOSS_DATA"


def open_task(name: str, data: str | None, settings: BenchmarkSettings) -> Task:
    """The task of a name.

    `data` is the folder of a benchmark's files, or "hub" to load them from the hub; without it
    the environment variable ISOGLOSS_DATA and then ./data are tried.

    Raises:
        ConfigError: there is no such task.
        DataError: the data folder or the YAML file is missing or wrong.
    """
    if name in BENCHMARKS:
        if data == "hub":
            return load_benchmark(name, folder=None, hub=True, settings=settings)
        return load_benchmark(name, folder=data_folder(data), hub=False, settings=settings)
    path = Path(name)
    if path.is_dir() and (path / "task.yaml").is_file():
        path = path / "task.yaml"
    if path.suffix.lower() in (".yaml", ".yml"):
        return load_task(path)
    raise ConfigError(
        f"no task '{name}'; give one of {', '.join(BENCHMARKS)} or the YAML file of your own task"
        + suggestion(name, BENCHMARKS)
    )


def data_folder(given: str | None) -> Path:
    """The folder of benchmark files.

    Raises:
        DataError: none was given and none is at the usual places, or the one given is missing.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise DataError(f"no such data folder: {given}")
        return Path(given)
    usual = [Path(os.environ[DATA_VARIABLE])] if os.environ.get(DATA_VARIABLE) else []
    for folder in (*usual, Path("data")):
        if folder.is_dir():
            return folder
    raise DataError(
        f"no data folder: give --data FOLDER (the benchmark's files in their release formats), "
        f"set {DATA_VARIABLE}, put them in ./data, or give --data hub to load from the hub"
    )
