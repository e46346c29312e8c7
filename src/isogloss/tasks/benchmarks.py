"""The registered benchmarks (Section 6.1) by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from isogloss.errors import ConfigError, suggestion
from isogloss.tasks.example import Task
from isogloss.tasks.sources import Source, check_folder
from isogloss.tasks.xcopa import Xcopa
from isogloss.tasks.xnli import Xnli
from isogloss.tasks.xquad import Xquad

BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "xcopa": "choose the cause or effect of a premise; 11 languages beside English, accuracy",
        "xnli": "does a hypothesis follow from a premise; 14 languages beside English, accuracy",
        "xquad": "answer a question from a paragraph; 11 languages beside English, F1",
    }
)


@final
@dataclass(frozen=True)
class BenchmarkSettings:
    """The settings of all benchmarks; each takes those that concern it.

    `raw_questions` keeps XCOPA's wrong questions, `split_rule` is XQuAD's ("article" or
    "paper"), `wording` is "default" or "harness".
    """

    raw_questions: bool = False
    split_rule: str = "article"
    wording: str = "default"


_DEFAULTS = BenchmarkSettings()


def load_benchmark(
    name: str, *, folder: Path | None, hub: bool, settings: BenchmarkSettings = _DEFAULTS
) -> Task:
    """A benchmark, read from a folder or from the hub.

    Raises:
        ConfigError: no benchmark has this name, a setting has no such value, or not exactly one
            of folder and hub is given.
        DataError: the folder is not there.
    """
    if name not in _MAKERS:
        known = ", ".join(_MAKERS)
        raise ConfigError(f"no benchmark '{name}'; there are {known}{suggestion(name, _MAKERS)}")
    if hub == (folder is not None):
        found = "both" if hub else "neither"
        raise ConfigError(
            f"{name} is read from a folder with its files or from the hub, but {found} was "
            "given; give one"
        )
    if folder is not None:
        check_folder(folder)
    return _MAKERS[name](folder, settings)


def _xcopa(folder: Source, settings: BenchmarkSettings) -> Task:
    return Xcopa(folder, raw_questions=settings.raw_questions, wording_name=settings.wording)


def _xnli(folder: Source, settings: BenchmarkSettings) -> Task:
    return Xnli(folder, wording_name=settings.wording)


def _xquad(folder: Source, settings: BenchmarkSettings) -> Task:
    return Xquad(folder, split_rule=settings.split_rule, wording_name=settings.wording)


_MAKERS: Mapping[str, Callable[[Source, BenchmarkSettings], Task]] = {
    "xcopa": _xcopa,
    "xnli": _xnli,
    "xquad": _xquad,
}
