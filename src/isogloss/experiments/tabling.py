"""The table of an experiment: what its runs scored, beside what the paper prints."""

from __future__ import annotations

from pathlib import Path

from isogloss.experiments.grid import Experiment
from isogloss.experiments.published_numbers import LLAMA, QWEN
from isogloss.experiments.reproducing import Reproduction
from isogloss.outcomes import Failure, Outcome, Place, read_outcome
from isogloss.runs import write_together
from isogloss.tables import Column, Row, Table, comma_separated, latex, make_table, markdown

# Which of the paper's models a model's numbers stand beside; any other one has its first.
PRINTED = {"qwen2.5-7b": QWEN, "llama-3.1-8b": LLAMA}


def table_of(made: Reproduction) -> Table:
    """The table of all cells that are done, with the failed ones and their reasons.

    Raises:
        RunError: predictions of a done cell are missing or damaged.
        DataError: runs were scored on different items.
    """
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for result in made.results:
        cell = result.cell
        place = Place(cell.row, _short(cell.model), cell.task, cell.language, cell.share)
        if result.state == "done":
            content = result.content
            folder = made.folder / content["run"] / content["evaluation"]
            outcomes.append(read_outcome(place, folder))
        elif result.state == "failed":
            failures.append(Failure(place, cell.seed, str(result.content.get("error"))))
    models = {_short(result.cell.model) for result in made.results}
    experiment = made.experiment
    return make_table(
        f"{experiment.name}: {experiment.title}",
        outcomes,
        baseline=experiment.baseline,
        rivals=experiment.rivals,
        failures=failures,
        order=[row.label for row in experiment.rows],
        published={key: score for model in models for key, score in _printed(experiment, model)},
    )


def write_tables(table: Table, folder: Path) -> tuple[Path, ...]:
    """Write table.md, table.tex and table.csv."""
    texts = {
        folder / "table.md": markdown(table),
        folder / "table.tex": latex(table),
        folder / "table.csv": comma_separated(table),
    }
    write_together(texts)
    return tuple(texts)


def _short(model: str) -> str:
    return Path(model.removeprefix("package:")).name.removesuffix(".gguf")


def _printed(experiment: Experiment, model: str) -> list[tuple[tuple[Row, Column], float]]:
    """The printed numbers that stand beside a model's."""
    printed = {key[0] for key in experiment.published}
    own = next((name for mark, name in PRINTED.items() if mark in model.lower()), LLAMA)
    beside = own if own in printed else next(iter(printed), "")
    return [
        (((model, 1.0, row), (task, language, metric)), score)
        for (name, row, task, language, metric), score in experiment.published.items()
        if name == beside
    ]
