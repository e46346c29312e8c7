"""What can go wrong at a user's hands, said so that the user can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: where it stands, what was found, what was expected.

    >>> print(Problem("tr/train.jsonl", "no 'intent'", "a value for every item", 7, "intent"))
    tr/train.jsonl, line 7, field 'intent': found no 'intent'; expected a value for every item
    """

    file: str
    found: str
    expected: str
    line: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        where = self.file
        if self.line is not None:
            where += f", line {self.line}"
        if self.field is not None:
            where += f", field '{self.field}'"
        return f"{where}: found {self.found}; expected {self.expected}"


class IsoglossError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with 2."""


class ConfigError(IsoglossError):
    """A setting, or a combination of settings, that cannot be carried out."""


class DataError(IsoglossError):
    """Data that cannot be read; `problems` lists every one found, not only the first."""

    def __init__(self, problems: Sequence[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            self.problems: tuple[Problem, ...] = ()
            super().__init__(problems)
            return
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TooLong(DataError):
    """An item or a text that does not fit into the model's context."""


class ModelError(IsoglossError):
    """A model, tokenizer or adapter that cannot be loaded or does not fit the work."""


class RunError(IsoglossError):
    """A run folder that is missing, unfinished, damaged or made by something else."""


def suggestion(given: str, known: Iterable[str]) -> str:
    """The end of an error message: near names, or nothing where none is near.

    >>> suggestion("xcpoa", ["xcopa", "xnli"])
    "; did you mean 'xcopa'?"
    >>> suggestion("something", ["xcopa", "xnli"])
    ''
    """
    near = difflib.get_close_matches(given.lower(), list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    return "; did you mean " + " or ".join(f"'{name}'" for name in near) + "?"


def no_such(what: str, given: str, known: Iterable[str]) -> ConfigError:
    """The error to raise where something is asked for by a name that nothing has.

    >>> str(no_such("dial", "hihg", ["low", "high"]))
    "no dial 'hihg'; there is low, high; did you mean 'high'?"
    """
    names = list(known)
    listed = ", ".join(names)
    return ConfigError(f"no {what} '{given}'; there is {listed}{suggestion(given, names)}")
