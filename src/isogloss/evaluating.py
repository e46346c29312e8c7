"""Evaluation (Section 6): a run folder to predictions and scores, with intervals and tests."""

from __future__ import annotations

import dataclasses
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy

from isogloss import processes
from isogloss.answering import Answering, answer, reserved
from isogloss.demonstrations.choose import Demonstrations, Group, chunks
from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import EpisodeEncoder, Skipped, fit
from isogloss.errors import DataError, RunError
from isogloss.finished import Opened, check_shift, open_finished
from isogloss.intervals import bootstrap_interval, mcnemar_exact, paired_bootstrap
from isogloss.items import WINDOW
from isogloss.languages import check_language
from isogloss.model.load import Loaded
from isogloss.representation_shift import Shifter
from isogloss.runs import (
    PREDICTIONS,
    SCORES,
    Json,
    Run,
    each_entry,
    each_line,
    json_text,
    key_of,
    read_json_file,
    read_lines,
    write_json_file,
    write_lines,
    write_together,
)
from isogloss.scoring import judged, values_of
from isogloss.settings import EvaluateSettings
from isogloss.shelf import Shelf
from isogloss.tasks.example import Example, Task
from isogloss.tasks.examples import Ids
from isogloss.tasks.splits import read_test
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.untuned import Untuned

EVALUATIONS = "evaluations"
PIECE = 512  # items with one demonstration set that are encoded together
Entries: TypeAlias = Sequence[Json]


@final
@dataclass(frozen=True)
class Scores:
    """The content of a scores.json: `value` in [0, 1] with its 95% interval, and how it was got.

    `folder` holds it, beside the predictions.
    """

    content: Json
    folder: Path

    @property
    def value(self) -> float:
        """The task's metric, in [0, 1]."""
        return float(self.content["value"])

    def rows(self) -> list[Json]:
        """One row a system: the run, then baselines.

        All have name, value, low, high and items; a baseline also the run's difference to it on
        the same items with its interval, p and the test's name, and how many items it skipped.
        """
        own = {name: self.content[name] for name in ("value", "low", "high", "items")}
        return [{"name": self.content["method"], **own}, *self.content.get("baselines", [])]

    def to_frame(self) -> Any:
        """The rows as a pandas frame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{row['name']}</th><td>{row['value']:.3f}</td>"
            f"<td>[{row['low']:.3f}, {row['high']:.3f}]</td></tr>"
            for row in self.rows()
        )
        head = f"{self.content['task']} {self.content['language']}: {self.content['metric']}"
        return f"<table><caption>{head}</caption>{body}</table>"


def evaluate(settings: EvaluateSettings) -> Scores:
    """Score a run, or give back the scores that are there already.

    Raises:
        IsoglossError: anything about the run, its model or data that stops the work.
    """
    processes.in_main("evaluate")
    opened = open_finished(
        settings.run, model=settings.model, data=settings.data, dtype=settings.dtype
    )
    language = settings.language or opened.record["target"]
    check_language(language, opened.task.languages, opened.task.name)
    check_shift(opened, language)
    setting = _setting(settings, opened, language)
    folder = opened.run.folder / EVALUATIONS / f"{language}-{key_of(setting)[:8]}"
    old = None if settings.force else _scored(folder)
    there = _scored(folder)
    baseline = settings.baseline or bool(there and there["baselines"])
    if old is None or (baseline and not old["baselines"]):
        wanted = dataclasses.replace(settings, baseline=baseline)
        old = _score(opened, wanted, setting, folder, old)
    _keep_main(opened.run, folder, old)
    return Scores(old, folder)


def _scored(folder: Path) -> Json | None:
    """The scores of a folder, or None where they or their predictions are missing or damaged."""
    try:
        content = read_json_file(folder / SCORES)
    except RunError:
        return None
    whole = {"setting", "items", "baselines", "skipped"} <= set(content)
    return content if whole and _count(folder) == content["items"] else None


def _count(folder: Path) -> int:
    return sum(1 for _ in each_entry(folder / PREDICTIONS))


def _setting(settings: EvaluateSettings, opened: Opened, language: str) -> Json:
    """Everything that decides the scores of a run's evaluation."""
    return {
        "language": language,
        "demonstrations": settings.demonstrations,
        "demonstration_languages": settings.demonstration_languages,
        "normalisation": settings.normalisation,
        "max_new_tokens": settings.max_new_tokens if opened.task.kind == "span" else None,
        "limit": settings.limit or opened.record["limit"],
        "too_long": settings.too_long,
        "dtype": opened.dtype,
        "adapter": opened.record["adapter"],
    }


def _score(
    opened: Opened, settings: EvaluateSettings, setting: Json, folder: Path, old: Json | None
) -> Json:
    begun = time.time()
    seed = opened.record["seed"]
    items = read_test(opened.task, setting["language"], seed=seed, limit=setting["limit"]).examples
    loaded = opened.load(settings.device)
    how = opened.answering(settings)
    context = opened.context(settings)
    bench = _Bench(opened, loaded, items, how, context, settings.too_long == "skip")
    if old is None:
        entries, skipped = bench.tuned()
        write_lines(folder / PREDICTIONS, entries)
    else:
        entries, skipped = read_lines(folder / PREDICTIONS), old["skipped"]
    content = _content(opened, setting, entries, skipped, seed)
    content["added_tokens"] = bench.added_tokens()
    content["baselines"] = _baselines(bench, folder, entries, seed) if settings.baseline else []
    content["seconds"] = round(time.time() - begun, 1)
    write_json_file(folder / SCORES, content)
    return content


@dataclass(frozen=True)
class _Bench:
    """Test items to be answered under several systems that meet the same demonstration sets."""

    opened: Opened
    loaded: Loaded
    items: Sequence[Example]
    how: Answering
    context: Demonstrations
    skip: bool

    def tuned(self) -> tuple[Entries, list[Json]]:
        """Entries of the trained run, and the items skipped."""
        with self.opened.tuned(self.loaded) as shifter:
            episodes = self.opened.episodes(self.loaded, tuned=True)
            return self._entries(episodes, self.context, self.how, shifter, title="scoring")

    def added_tokens(self) -> float:
        """Tokens in front of an item's answer beyond those of asking it alone, mean over items.

        A compiled prefix adds none: its keys and values are there.
        """
        own, alone = (self.opened.episodes(self.loaded, tuned=tuned) for tuned in (True, False))
        more = [
            _tokens(own, each) - _tokens(alone, Group((), each.targets))
            for each in self._pieces(self.context)
        ]
        tune = self.opened.method.tune
        there = tune.length if isinstance(tune, Compiled) else 0
        return max(0.0, sum(more) / len(self.items) - there)

    def untuned(self, *, none: bool, title: str) -> tuple[Entries, list[Json]]:
        """Entries of the untuned model, and the items skipped."""
        context = dataclasses.replace(self.context, count=0) if none else self.context
        how = dataclasses.replace(self.how, calibration="none")
        episodes = self.opened.episodes(self.loaded, tuned=False)
        return self._entries(episodes, context, how, None, title=title)

    def _entries(
        self,
        episodes: EpisodeEncoder,
        context: Demonstrations,
        how: Answering,
        shifter: Shifter | None,
        *,
        title: str,
    ) -> tuple[Entries, list[Json]]:
        episodes = reserved(episodes, how)
        groups, skipped = self._groups(context, episodes)
        ids = Ids(self.items)
        answered, places = Shelf(), array("Q")
        count = sum(len(group.targets) for group in groups)
        for window in _windows(groups):
            last = len(answered) + sum(len(group.targets) for group in window)
            of = f" {len(answered) + 1} to {last} of {count}" if count > WINDOW else ""
            for prediction in answer(
                self.loaded, episodes, window, how, shifter, title=f"{title}{of}"
            ):
                (place,) = ids.places(prediction.id)
                answered.add(judged(prediction, self.items[place], self.opened.task))
                places.append(place)
        entries = answered.in_order(numpy.argsort(places))
        return entries, [dataclasses.asdict(item) for item in skipped]

    def _groups(
        self, settings: Demonstrations, episodes: EpisodeEncoder
    ) -> tuple[list[Group], list[Skipped]]:
        kept, skipped = fit(self._pieces(settings), episodes, skip=self.skip)
        if not kept:
            raise DataError("no test item fits the model's context; lower --demonstrations")
        return kept, skipped

    def _pieces(self, settings: Demonstrations) -> list[Group]:
        """The items with their demonstration sets, in groups that are small enough to encode."""
        seed = self.opened.record["seed"]
        groups = test_groups(self.items, self.opened.pool(settings), settings, seed=seed)
        return [
            Group(each.demonstrations, targets)
            for each in groups
            for targets in chunks(each.targets, PIECE)
        ]


def _windows(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups that are answered together; their texts and tokens are held as long."""
    window: list[Group] = []
    for group in groups:
        if window and sum(len(each.targets) for each in (*window, group)) > WINDOW:
            yield window
            window = []
        window.append(group)
    yield window


def _tokens(episodes: EpisodeEncoder, group: Group) -> int:
    """The tokens that stand before the answers of a group's targets, in all."""
    encoded = episodes.group(group)
    return sum(len(encoded.demonstrations.ids) + len(each.ids) for each in encoded.targets)


def _content(
    opened: Opened, setting: Json, entries: Entries, skipped: list[Json], seed: int
) -> Json:
    task, record = opened.task, opened.record
    metrics = ["accuracy"] if task.kind != "span" else ["f1", "exact_match"]
    metrics += [name for name in ("f1_mixed", "exact_match_mixed") if name in entries[0]]
    intervals = {
        name: dataclasses.asdict(bootstrap_interval(values_of(entries, name), seed=seed))
        for name in metrics
    }
    return {
        "task": task.name,
        "language": setting["language"],
        "metric": task.metric,
        **intervals[task.metric],
        "metrics": intervals,
        "interval": "95% percentile bootstrap over items",
        "run": str(opened.run.folder),
        "method": record["method"]["name"],
        "model": record["source"]["model"],
        "target": record["target"],
        "seed": seed,
        "chosen": record.get("chosen", "not recorded"),
        "setting": setting,
        "notes": record["notes"],
        "skipped": skipped,
    }


def _baselines(bench: _Bench, folder: Path, entries: Entries, seed: int) -> list[Json]:
    """The untuned model's scores on the same items, each tested against the run's."""
    rows = []
    untuned = isinstance(bench.opened.method.tune, Untuned)
    systems = [("zero-shot", True), ("icl", False)]
    if bench.context.count == 0:
        systems = systems[:1]  # without demonstrations both are one
    if untuned and bench.how.calibration == "none":
        systems = systems[:-1]  # it is the run itself
    for name, none in systems:
        found, skipped = bench.untuned(none=none, title=name)
        write_lines(folder / f"{name}.jsonl", found)
        compared = _compared(entries, found, bench.opened.task, seed)
        rows.append({"name": name, **compared, "skipped": len(skipped)})
    return rows


def _compared(entries: Entries, found: Entries, task: Task, seed: int) -> Json:
    """A baseline's score, and the run's difference to it on the items that both answered."""
    interval = bootstrap_interval(values_of(found, task.metric), seed=seed)
    both = {entry["id"] for entry in entries} & {entry["id"] for entry in found}
    own = values_of((entry for entry in entries if entry["id"] in both), task.metric)
    other = values_of((entry for entry in found if entry["id"] in both), task.metric)
    if task.kind == "span":
        test = paired_bootstrap(own, other, seed=seed)
    else:
        test = mcnemar_exact([v == 1 for v in own], [v == 1 for v in other], seed=seed)
    difference = {
        "difference": test.difference,
        "difference_low": test.low,
        "difference_high": test.high,
        "p": test.p,
        "test": test.test,
    }
    return dataclasses.asdict(interval) | difference


def _keep_main(run: Run, folder: Path, content: Json) -> None:
    """Copy the scores to the run's own scores.json, unless a fuller evaluation is there.

    The main evaluation is the target language with the run's demonstrations and summed
    log-probabilities; until there is one, the latest stands in.
    """
    there = _scored(run.folder)
    rank = _rank(run, content)
    if there is not None and _rank(run, there) > rank:
        return
    texts: dict[Path, Iterable[str]] = {
        run.folder / PREDICTIONS: each_line(each_entry(folder / PREDICTIONS)),
        run.folder / SCORES: json_text(content),
    }
    write_together(texts)


def _rank(run: Run, content: Json) -> tuple[bool, int]:
    setting = content["setting"]
    main = setting["language"] == run.record["target"] and setting["demonstrations"] == "from-run"
    return main and setting["normalisation"] == "sum", content["items"]
