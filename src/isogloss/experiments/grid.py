"""Experiments: a table or figure as rows, tasks and languages, and its cells at a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from isogloss.errors import ConfigError, no_such
from isogloss.methods.registry import METHODS
from isogloss.runs import key_of

Size = Literal["smoke", "small", "paper"]


@dataclass(frozen=True)
class Row:
    """A line of a table: a method with what it has otherwise than its published settings.

    `train` and `evaluate` are names and values of TrainSettings and EvaluateSettings.
    """

    label: str
    method: str
    train: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A table or figure: its rows over the languages of its tasks, and shares of D_t.

    `published`: what the paper prints, in percent, by (model, row, task, language, metric); empty
    for figures, whose numbers the text does not print. `averages` are the printed ones, by
    (model, row, task, metric). `baseline` is the row that the others are tested against.
    """

    name: str
    title: str
    section: str
    rows: tuple[Row, ...]
    languages: Mapping[str, tuple[str, ...]]
    baseline: str
    shares: tuple[float, ...] = (1.0,)
    published: Mapping[tuple[str, str, str, str, str], float] = field(default_factory=dict)
    averages: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much of an experiment is run: seeds, items, epochs, and the settings of every run."""

    name: Size
    seeds: tuple[int, ...]
    limit: int | None
    epochs: int | None
    train: Mapping[str, Any]
    what: str


SCALES: Mapping[Size, Scale] = {
    "smoke": Scale(
        "smoke",
        (42,),
        100,
        3,
        {},
        "one seed, at most 100 items of each set, 3 epochs: hours on a CPU with a small model",
    ),
    "small": Scale(
        "small", (42, 43, 44), None, None, {}, "three seeds, all items, published epochs: one GPU"
    ),
    # What the paper most likely ran: XQuAD's random split, XCOPA's questions as released, a draw of
    # demonstrations for every target.
    "paper": Scale(
        "paper",
        (42, 43, 44),
        None,
        None,
        {"split_rule": "paper", "raw_questions": True, "share_demonstrations": 1},
        "the paper's own settings: Section 6.1, Appendix B.2",
    ),
}


@dataclass(frozen=True)
class Cell:
    """One number of a table, for one model, language and seed, as settings of two commands."""

    row: str
    model: str
    task: str
    language: str
    seed: int
    share: float
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """What tells this cell from all others: of its model, not the name but the files."""
        deciding = asdict(self)
        if self.fingerprint:
            del deciding["model"]
        return key_of(deciding)[:16]

    @property
    def place(self) -> dict[str, Any]:
        """Where in the table the cell stands."""
        settings = ("train", "evaluate", "fingerprint")
        return {name: value for name, value in asdict(self).items() if name not in settings}

    @property
    def training(self) -> str:
        """What tells its training run from all others; cells with the same one share the run."""
        shown = {name: value for name, value in asdict(self).items() if name in _TRAINING}
        return key_of(shown)[:16]


_TRAINING = ("model", "fingerprint", "task", "language", "seed", "share", "train")


@dataclass(frozen=True)
class Choice:
    """Which part of an experiment is asked for; None is all of it.

    `models` are names with their fingerprints.
    """

    models: Mapping[str, str]
    tasks: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    limit: int | None = None
    epochs: int | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)


def cells_of(experiment: Experiment, scale: Scale, choice: Choice) -> list[Cell]:
    """The cells of an experiment in the order to run them: a whole table of the first seed first.

    Raises:
        ConfigError: a task, language or row that the experiment does not have.
    """
    _check_choice(experiment, choice)
    cells = []
    for seed in choice.seeds or scale.seeds:
        for model in choice.models:
            for task, language in _wanted(experiment, choice):
                for share in experiment.shares:
                    cells += [
                        _cell(row, scale, choice, (model, task, language, seed, share))
                        for row in experiment.rows
                        if not choice.rows or row.label in choice.rows
                    ]
    return cells


def _wanted(experiment: Experiment, choice: Choice) -> list[tuple[str, str]]:
    """The tasks and languages that are asked for."""
    return [
        (task, language)
        for task, languages in experiment.languages.items()
        for language in languages
        if not choice.tasks or task in choice.tasks
        if not choice.targets or language in choice.targets
    ]


def _cell(row: Row, scale: Scale, choice: Choice, place: tuple[str, str, str, int, float]) -> Cell:
    train: dict[str, Any] = {"method": row.method, **scale.train, **row.train, **choice.train}
    model, task, *_ = place
    published = METHODS[row.method](task, "choice")  # the kind says nothing of a benchmark
    epochs = choice.epochs or scale.epochs
    if epochs and published.stages:
        train["epochs"] = epochs
    if not published.stages or not published.context.count:
        train.pop("share_demonstrations", None)  # such a method does not have it
    limit = choice.limit or scale.limit
    if limit:
        train["limit"] = limit
    evaluate = {**row.evaluate, **choice.evaluate}
    return Cell(row.label, *place, train, evaluate, choice.models[model])


def _check_choice(experiment: Experiment, choice: Choice) -> None:
    languages = sorted({code for codes in experiment.languages.values() for code in codes})
    labels = [row.label for row in experiment.rows]
    asked: tuple[tuple[str, Sequence[str] | None, Sequence[str]], ...] = (
        (f"task in {experiment.name}", choice.tasks, list(experiment.languages)),
        (f"target language in {experiment.name}", choice.targets, languages),
        (f"row in {experiment.name}", choice.rows, labels),
    )
    for what, given, known in asked:
        for one in given or ():
            if one not in known:
                raise no_such(what, one, known)
    if not _wanted(experiment, choice):
        targets = " or ".join(choice.targets or ())
        raise ConfigError(
            f"{experiment.name} has no {' or '.join(choice.tasks or ())} in {targets}; it has "
            + "; ".join(f"{task} in {', '.join(has)}" for task, has in experiment.languages.items())
        )
    if not choice.models:
        raise ConfigError("no model to run: give --models with one or more")
