"""A finished run opened again: its task, data, method and model as they were at training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isogloss.answering import Answering
from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.episodes import EpisodeEncoder
from isogloss.errors import ConfigError, RunError
from isogloss.jobs import data_digests
from isogloss.methods.method import Method
from isogloss.methods.registry import method_from
from isogloss.model.load import Loaded, ModelOptions, identify, load, resolve_dtype, usable
from isogloss.pooling import make_pool
from isogloss.representation_shift import Shifter, load_vectors, shifting
from isogloss.runs import (
    Json,
    Run,
    finished_run,
)
from isogloss.settings import EvaluateSettings, PredictSettings
from isogloss.staging import episode_encoder
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.example import Task
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import Split, make_split
from isogloss.tuning.tuning import Weights


@dataclass(frozen=True)
class Opened:
    """A finished run with its task, data and method, checked to be what they were at training."""

    run: Run
    record: Json
    task: Task
    split: Split
    method: Method
    model_name: str
    dtype: str

    def load(self, device: str) -> Loaded:
        """The run's base model, by SDPA where the kernel it was trained with is not to be had."""
        recorded = self.record["model"]
        options = ModelOptions(
            dtype=self.dtype,  # type: ignore[arg-type]
            device=device,
            attention=recorded["attention"],
            quantization=recorded["quantization"],
            remote_code=recorded["remote_code"],
        )
        return load(self.model_name, usable(options))

    def weights(self, loaded: Loaded) -> Weights:
        """What was learnt."""
        return self.method.tune.load(self.run.adapter, loaded.model)

    @contextmanager
    def tuned(self, loaded: Loaded, weights: Weights | None = None) -> Iterator[Shifter | None]:
        """The base model with what was learnt in it, and with the method's shift."""
        tune, shift = self.method.tune, self.method.shift
        vectors = load_vectors(self.run.adapter) if shift and shift.back == "corpus" else None
        learnt = self.weights(loaded) if weights is None else weights
        with (
            tune.attached(loaded.model, learnt),
            shifting(loaded.model, shift, vectors) as shifter,
        ):
            yield shifter

    def pool(self, context: Demonstrations) -> Pool:
        """The training items that demonstrations come from (Section 6.1)."""
        return make_pool(self.split.dominant, self.split.target, context)

    def context(self, settings: EvaluateSettings | PredictSettings) -> Demonstrations:
        """The demonstrations that are asked for: the run's own, none, or others."""
        own = self.method.context
        if settings.demonstrations == "from-run":
            if settings.demonstration_languages is not None:
                raise ConfigError(
                    "demonstration languages say nothing of the run's own demonstrations; give "
                    "their number too, such as --demonstrations 3"
                )
            return own
        count = 0 if settings.demonstrations == "none" else settings.demonstrations
        languages = settings.demonstration_languages or own.languages
        return dataclasses.replace(own, count=count, languages=languages)

    def answering(self, settings: EvaluateSettings | PredictSettings) -> Answering:
        """How answers are found."""
        return Answering(
            settings.normalisation,
            settings.batch_size,
            settings.max_new_tokens,
            self.method.calibration,
        )

    def episodes(self, loaded: Loaded, *, tuned: bool) -> EpisodeEncoder:
        """The encoder of its episodes, with the soft prompt or without."""
        method = self.method if tuned else None
        return episode_encoder(
            self.task, loaded, method, self.record["chat"], self.record["max_length"]
        )


def open_finished(folder: str, *, model: str | None, data: str | None, dtype: str | None) -> Opened:
    """A finished run, refused where its model or data are not those it was trained with.

    Raises:
        RunError: the run is missing, unfinished or damaged, or model or data are others.
    """
    run = finished_run(folder)
    record = run.record
    source = record["source"]
    task = task_of(record, data)
    split = make_split(
        task,
        record["target"],
        seed=record["seed"],
        share=record["share"],
        limit=record["limit"],
        validation_language=record.get("validation_language"),
    )
    _check_data(run, record, split)
    name = model or source["model"]
    found = identify(name, remote_code=record["model"]["remote_code"])
    if found != record["model"]["fingerprint"]:
        raise RunError(
            f"{run.folder} was made with the model '{source['model']}'; '{name}' is "
            "another model (its files differ), and the adapter does not fit it"
        )
    wanted_dtype = dtype or record["model"]["dtype"]
    resolved = str(resolve_dtype(ModelOptions(dtype=wanted_dtype))).removeprefix("torch.")  # type: ignore[arg-type]
    return Opened(run, record, task, split, _method(record), name, resolved)


def _method(record: Json) -> Method:
    """The run's method, its shift at the layers that training chose."""
    method, layers = method_from(record["method"]), record.get("layers")
    if method.shift is None or layers is None:
        return method
    shift = dataclasses.replace(method.shift, layers=(layers["to"], layers["back"]))
    return dataclasses.replace(method, shift=shift)


def check_shift(opened: Opened, language: str) -> None:
    """Refuse a language that the run's shift has no vector of.

    Raises:
        ConfigError: the shift is by language vectors, which the run has of two languages.
    """
    shift, known = opened.method.shift, (opened.record["dominant"], opened.record["target"])
    if shift and shift.back == "corpus" and language not in known:
        raise ConfigError(
            f"the run shifts by language vectors, which it has of {' and '.join(known)}, not of "
            f"'{language}'; train it with that target"
        )


def task_of(record: Json, data: str | None) -> Task:
    """The task of a run's record, from where it was found or where its data is now."""
    recorded, source = record["task"]["settings"], record["source"]
    wanted = {"raw_questions", "split_rule", "wording"} & set(recorded)
    benchmark = BenchmarkSettings(**{name: recorded[name] for name in wanted})
    return open_task(source["task"], data or source["data"], benchmark)


def _check_data(run: Run, record: Json, split: Split) -> None:
    """Refuse data that changed since training; files may have moved."""
    then, now = record["data"], data_digests(split)
    changed = sorted(name for name in then if then[name] != now.get(name))
    if changed:
        raise RunError(
            f"{run.folder}: the data changed since training ({', '.join(changed)}); "
            "evaluate on the data it was trained with, or train again"
        )
