"""Measured reference values that come with the package: what a number is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from isogloss.runs import read_json_file

PLACE = Path(__file__).parent / "references.json"


@final
@dataclass(frozen=True)
class Transfer:
    """What methods came to there, in [0, 1], by name: the task's metric, its mean over seeds."""

    scores: dict[str, float]
    seeds: int
    items: int

    @property
    def gain(self) -> float:
        """Direct transfer's score less the untuned model's."""
        return self.scores["direct-transfer"] - self.scores["zero-shot"]

    @property
    def best(self) -> str:
        """The method that scored highest."""
        return max(self.scores, key=self.scores.__getitem__)


@final
@dataclass(frozen=True)
class Reference:
    """One model and pair of languages that was measured; None where a number was not.

    `command` is what gave the numbers.
    """

    model: str
    source: str
    target: str
    task: str
    command: str
    deviation: float
    centred: float
    retrieval: float
    cosine: float | None
    excess: float | None
    reading: float | None
    transfer: Transfer | None

    @property
    def name(self) -> str:
        """Model, languages and task in a few words."""
        return f"{self.model} {self.source}-{self.target} ({self.task})"


@cache
def references() -> tuple[Reference, ...]:
    """All of them, in the file's order."""
    found = []
    for row in read_json_file(PLACE)["references"]:
        transfer = Transfer(**row["transfer"]) if row.get("transfer") else None
        found.append(Reference(**(row | {"transfer": transfer})))
    return tuple(found)


@final
@dataclass(frozen=True)
class Standing:
    """How many of the references a number is below, and which of them it is nearest to."""

    below: int
    of: int
    nearest: Reference

    @property
    def third(self) -> str:
        """In which third of the references it is: low, middle or high."""
        share = self.below / self.of  # of those that are higher
        return "low" if share > 2 / 3 else "middle" if share >= 1 / 3 else "high"


def standing(value: float, name: str, among: Sequence[Reference]) -> Standing | None:
    """Where a number stands among the references' numbers of this name; None without three.

    Tasks of one model and pair of languages may share their text: one number of theirs counts once.
    """
    once = {
        (each.model, each.source, each.target, getattr(each, name)): each
        for each in reversed(among)
        if getattr(each, name) is not None
    }
    known = [(key[-1], each) for key, each in reversed(once.items())]
    if len(known) < 3:
        return None
    below = sum(value < number for number, _ in known)
    nearest = min(known, key=lambda pair: abs(pair[0] - value))[1]
    return Standing(below, len(known), nearest)
