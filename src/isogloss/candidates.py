"""Candidates for a run's settings, as a user writes them: every combination of the values given."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from isogloss.errors import ConfigError, suggestion
from isogloss.settings import TrainSettings

Value = int | float | str
Candidate = Mapping[str, Value]  # a value for each of the settings that are chosen


def candidates(settings: TrainSettings) -> tuple[Candidate, ...]:
    """Every combination of `--choose`, the last option's values changing fastest.

    Raises:
        ConfigError: an option that there is none of, that is no number or choice, that is given
            twice, or values that it cannot have.
    """
    values: dict[str, tuple[Value, ...]] = {}
    for text in settings.choose:
        name, found = _option(text, settings)
        if name in values:
            raise ConfigError(f"--choose has {_shown(name)} twice; give all its values at once")
        values[name] = found
    return tuple(
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    )


def settings_with(settings: TrainSettings, candidate: Candidate) -> TrainSettings:
    """The settings with one candidate's values, and nothing left to choose."""
    values: dict[str, Any] = dict(candidate)
    return dataclasses.replace(settings, choose=(), **values)


def in_words(candidate: Candidate) -> str:
    """A candidate as people read it.

    >>> in_words({"learning_rate": 0.001, "epochs": 3})
    'learning rate 0.001, epochs 3'
    """
    return ", ".join(f"{_shown(name)} {value}" for name, value in candidate.items())


def _option(text: str, settings: TrainSettings) -> tuple[str, tuple[Value, ...]]:
    """An option and its values: `learning-rate=1e-3,5e-3`."""
    given, equals, listed = text.partition("=")
    name = given.strip().removeprefix("--").replace("-", "_")
    kinds = get_type_hints(TrainSettings)
    if not equals:
        raise ConfigError(f"--choose has '{text}'; expected OPTION=VALUE,VALUE")
    if name not in kinds:
        raise ConfigError(f"--choose has no setting '{given}'{suggestion(name, kinds)}")
    values = tuple(_value(name, word.strip(), kinds[name]) for word in listed.split(","))
    default = {one.name: one.default for one in dataclasses.fields(TrainSettings)}[name]
    if getattr(settings, name) != default:
        raise ConfigError(f"{_shown(name)} is both given and among what is to be chosen")
    if len(values) < 2:
        option = name.replace("_", "-")
        raise ConfigError(
            f"--choose has one value of {_shown(name)}; give two or more to choose among, or "
            f"--{option} {listed} alone"
        )
    if len(set(values)) < len(values):
        raise ConfigError(f"--choose has a value of {_shown(name)} twice: {listed}")
    return name, values


def _value(name: str, word: str, kind: Any) -> Value:
    """A word as the setting's type reads it."""
    parts = set(get_args(kind) or (kind,)) if get_origin(kind) is not Literal else {kind}
    names = [one for part in parts if get_origin(part) is Literal for one in get_args(part)]
    if not names and not parts & {int, float}:
        raise ConfigError(
            f"{_shown(name)} cannot be chosen: it is neither a number nor one of a few names"
        )
    if word in names:
        return word
    try:
        if int in parts:
            return int(word)
        if float in parts and math.isfinite(number := float(word)):
            return number
    except ValueError:
        pass
    numbers = ["a whole number"] if int in parts else ["a number"] if float in parts else []
    expected = " or ".join([*numbers, *sorted(names)])
    raise ConfigError(f"--choose has '{word}' for {_shown(name)}; it must be {expected}")


def _shown(name: str) -> str:
    return name.replace("_", " ")
