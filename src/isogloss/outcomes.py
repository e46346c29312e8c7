"""Outcomes (Section 6): what a system answered, item by item, read from its run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from isogloss.errors import RunError
from isogloss.evaluating import EVALUATIONS
from isogloss.runs import (
    PREDICTIONS,
    SCORES,
    Json,
    Run,
    key_of,
    open_run,
    read_json_file,
    read_lines,
)
from isogloss.scoring import COLUMNS

AS_GIVEN = "as given"  # how a setting was chosen where run.json says nothing else


@final
@dataclass(frozen=True)
class Place:
    """Where an outcome stands: the system's row, the base model, the test set, seed and share."""

    row: str
    model: str
    task: str
    language: str
    seed: int
    share: float = 1.0

    def __str__(self) -> str:
        share = "" if self.share == 1 else f", share {self.share:g}"
        return f"{self.row}, {self.model}, {self.task}, {self.language}, seed {self.seed}{share}"


@final
@dataclass(frozen=True)
class Outcome:
    """One system's answers to one test set.

    `values` holds each metric's value in [0, 1] by item id; `metric` is the task's own. `entries`
    are the lines of the predictions file. `facts` are what a reader wants beside the score:
    seconds, trained_parameters and added_tokens (None where the run does not say), prompt_tokens,
    demonstrations,
    chosen, skipped. `details` are all settings, flat, by name; `untuned` marks the base model.
    """

    place: Place
    method: str
    metric: str
    values: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, Any]
    folder: Path
    entries: Sequence[Json] = field(repr=False)
    record: Json = field(repr=False)
    setting: Json = field(repr=False)
    untuned: bool = False

    @property
    def items(self) -> frozenset[str]:
        """The ids of the test items."""
        return frozenset(self.values[self.metric])

    @property
    def score(self) -> float:
        """The mean over items of the task's metric, in [0, 1]."""
        values = self.values[self.metric].values()
        return sum(values) / len(values)

    @property
    def details(self) -> dict[str, str]:
        """Every setting that could tell two systems of one method apart."""
        return details(self.record, self.setting, untuned=self.untuned)


@final
@dataclass(frozen=True)
class Failure:
    """A cell that was tried and has no score."""

    place: Place
    reason: str


def read_outcome(folder: Path, evaluation: Path | None = None) -> Outcome:
    """The outcome of a run's main evaluation, or of the one in the folder `evaluation`.

    Raises:
        RunError: the run is missing, unfinished, not evaluated, or damaged.
    """
    run = open_run(folder)
    record = run.record
    if not record["finished"]:
        raise RunError(f"{folder} is not finished; give its training command again to go on")
    scores = _scores(run, evaluation)
    entries = _entries((evaluation or run.folder) / PREDICTIONS, scores["items"])
    place = Place(
        record["method"]["name"],
        short_model(record["source"]["model"]),
        scores["task"],
        scores["language"],
        record["seed"],
        record["share"],
    )
    return Outcome(
        place,
        record["method"]["name"],
        scores["metric"],
        _values(entries, scores["metrics"], folder),
        _facts(record, scores),
        folder,
        entries,
        record,
        scores["setting"],
    )


def untuned_outcomes(outcome: Outcome) -> Iterator[Outcome]:
    """The base model's own answers that stand beside a run's: `zero-shot` and `icl`.

    Raises:
        RunError: their files are damaged.
    """
    setting = outcome.setting
    folder = outcome.folder / EVALUATIONS / f"{setting['language']}-{key_of(setting)[:8]}"
    if not (folder / SCORES).is_file():
        return
    for row in read_json_file(folder / SCORES).get("baselines", []):
        entries = _entries(folder / f"{row['name']}.jsonl", row["items"])
        count = outcome.record["method"]["context"]["count"] if row["name"] == "icl" else 0
        shown = setting | {"demonstrations": "from-run" if count else "none"}
        spent = {"seconds": None, "trained_parameters": 0, "prompt_tokens": 0, "chosen": "untuned"}
        yield Outcome(
            Place(row["name"], *_rest(outcome.place)),
            row["name"],
            outcome.metric,
            _values(entries, outcome.values, folder),
            {**outcome.facts, **spent, "demonstrations": count, "skipped": row.get("skipped", 0)},
            outcome.folder,
            entries,
            outcome.record,
            shown,
            untuned=True,
        )


def _rest(place: Place) -> tuple[str, str, str, int, float]:
    return place.model, place.task, place.language, place.seed, place.share


def short_model(name: str) -> str:
    """A model's name as a label.

    >>> short_model("meta-llama/Llama-3.1-8B"), short_model("/models/tiny.gguf")
    ('Llama-3.1-8B', 'tiny')
    """
    return Path(name.removeprefix("package:")).name.removesuffix(".gguf")


def _scores(run: Run, evaluation: Path | None) -> Json:
    path = (evaluation or run.folder) / SCORES
    if not path.is_file():
        raise RunError(f"{run.folder} has no scores; run: isogloss evaluate {run.folder}")
    scores = read_json_file(path)
    missing = {"task", "language", "metric", "metrics", "items", "setting"} - set(scores)
    if missing:
        raise RunError(f"{path}: found no {', '.join(sorted(missing))}; expected a run's scores")
    return scores


def _entries(path: Path, count: int) -> list[Json]:
    entries = read_lines(path)
    if len(entries) != count or not entries:
        raise RunError(
            f"{path}: found {len(entries)} predictions; expected {count} as in scores.json; "
            "evaluate again with --force"
        )
    return entries


def _values(
    entries: Sequence[Json], metrics: Mapping[str, Any], where: Path
) -> dict[str, dict[str, float]]:
    try:
        return {
            name: {entry["id"]: float(entry[COLUMNS.get(name, name)]) for entry in entries}
            for name in metrics
        }
    except KeyError as error:
        raise RunError(
            f"{where}: found a prediction without {error}; evaluate again with --force"
        ) from None


def _facts(record: Json, scores: Json) -> dict[str, Any]:
    method = record["method"]
    none = scores["setting"]["demonstrations"] == "none"
    return {
        "seconds": record.get("seconds"),
        "trained_parameters": record.get("trained_parameters"),
        "added_tokens": scores.get("added_tokens"),
        "prompt_tokens": method["tune"].get("length", 0),
        "demonstrations": 0 if none else method["context"]["count"],
        "chosen": record.get("chosen", AS_GIVEN),
        "skipped": len(scores.get("skipped", [])),
    }


_NAMES = {  # how a setting is called in a row's label
    "context.count": "k",
    "context.languages": "demonstrations",
    "context.share": "sharing",
    "evaluation.demonstrations": "demonstrations at test",
    "evaluation.limit": "test limit",
    "evaluation.too_long": "too long at test",
    "tune.name": "tuning",
    "tune.length": "prompt",
    "loss.demonstrations": "demonstration loss",
}
_OF_RUN = ("gradient_accumulation", "patience", "chat", "max_length", "too_long", "max_steps")
_OF_MODEL = ("dtype", "attention", "quantization")
_ELSEWHERE = ("adapter", "dtype", "language")


def details(record: Json, setting: Json, *, untuned: bool) -> dict[str, str]:
    """The settings of a run and its evaluation by name, flat; of the base model those it has."""
    method = {k: v for k, v in record["method"].items() if k not in ("name", "section", "summary")}
    if untuned:
        icl = setting["demonstrations"] == "from-run"
        method = {"context": method["context"]} if icl else {}
    tree: Json = {
        **method,
        "evaluation": {k: v for k, v in setting.items() if k not in _ELSEWHERE},
        "task": record["task"]["settings"],
        "model": {name: record["model"].get(name) for name in _OF_MODEL},
    }
    if not untuned:
        tree |= {name: record.get(name) for name in (*_OF_RUN, "limit")}
    if record["target"] != setting["language"] and not untuned:
        tree["trained for"] = record["target"]
    return {_NAMES.get(name, name.split(".")[-1]): text for name, text in _flat(tree)}


def _flat(tree: Mapping[str, Any], front: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{front}{name}.")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for number, each in enumerate(value):
                yield from _flat(each, f"{front}stage {number + 1} " if len(value) > 1 else front)
        else:
            yield f"{front}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(str(each) for each in value)
    return "none" if value is None else str(value)
