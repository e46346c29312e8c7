"""From settings to a job: task, data, method, record and folder, before a model is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from isogloss.candidates import Candidate, candidates, in_words, settings_with
from isogloss.demonstrations.pairs import translation_pairs
from isogloss.errors import ConfigError
from isogloss.languages import check_language
from isogloss.methods.method import Method
from isogloss.model.load import (
    ModelOptions,
    check_attention,
    identify,
    resolve_attention,
    resolve_device,
    resolve_dtype,
)
from isogloss.runs import (
    Json,
    Run,
    digests,
    file_digest,
    key_of,
)
from isogloss.settings import TrainSettings
from isogloss.settling import settle_method
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings
from isogloss.tasks.example import Task
from isogloss.tasks.opening import data_folder, open_task
from isogloss.tasks.splits import Split, make_split


@dataclass(frozen=True)
class Job:
    """All that a training run is made of, resolved and checked before the model is loaded."""

    settings: TrainSettings
    task: Task
    split: Split
    method: Method
    record: Json
    run: Run


def prepare(settings: TrainSettings) -> Job:
    """Open the task, split the data, settle the method, and find the run's folder."""
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    check_language(settings.target, task.languages, task.name)
    _check_device(settings.loading)
    method = _first_of(settings, task)
    split = make_split(
        task,
        settings.target,
        seed=settings.seed,
        share=settings.share,
        limit=settings.limit,
        # A method that learns from D_s alone must not look at the target language to stop early.
        validation_language=settings.target if method.judged_on_target else task.dominant,
    )
    if method.contrast:
        translation_pairs(split.dominant, split.target)  # refused before a model is loaded
    deciding = _deciding(settings, task, split, method)
    key = _key(deciding)
    short = Path(settings.model.removeprefix("package:")).name.removesuffix(".gguf")
    name = f"{task.name}-{settings.target}-{method.name}-{short}-s{settings.seed}-{key[:8]}"
    record = {"key": key, **deciding, "source": _source(settings)}
    return Job(settings, task, split, method, record, Run(settings.out / name))


def _first_of(settings: TrainSettings, task: Task) -> Method:
    """The method, with the values of the first candidate, once all candidates are checked.

    Raises:
        ConfigError: two candidates would learn the same, as a setting is none of the method's.
    """
    seen: dict[str, Candidate] = {}
    for candidate in candidates(settings):
        deciding = learning_settings(settings_with(settings, candidate), task)
        same = seen.setdefault(key_of(deciding), candidate)
        if same is not candidate:
            names = [name for name, value in candidate.items() if value != same[name]]
            raise ConfigError(
                f"--choose has {' and '.join(names).replace('_', ' ')}, but {in_words(same)} and "
                f"{in_words(candidate)} learn the same; only what decides how method "
                f"'{settings.method}' learns can be chosen"
            )
    return settle_method(settings_with(settings, candidates(settings)[0]), task)


def learning_settings(settings: TrainSettings, task: Task) -> Json:
    """What settings come to that say how a method learns: the part of the record to be chosen."""
    return {
        "max_steps": settings.max_steps,
        "method": dataclasses.asdict(settle_method(settings, task)),
        "gradient_accumulation": settings.gradient_accumulation,
    }


def _check_device(asked: ModelOptions) -> None:
    """Trainer computes on the first visible GPU, so another one is refused rather than ignored.

    Raises:
        ConfigError: a GPU other than the first; of several processes, each takes its own. Or the
            attention kernel cannot work on the device.
    """
    check_attention(asked)
    index = resolve_device(asked.device).index
    if index:
        raise ConfigError(
            f"training uses the first visible GPU; set CUDA_VISIBLE_DEVICES={index} and give "
            "--device cuda"
        )


def _deciding(settings: TrainSettings, task: Task, split: Split, method: Method) -> Json:
    """Everything that decides the numbers; its hash is the run's key."""
    loading = settings.loading
    return {
        "task": {
            "name": task.name,
            "kind": task.kind,
            "metric": task.metric,
            "settings": dict(task.settings()),
        },
        "dominant": task.dominant,
        "target": settings.target,
        "seed": settings.seed,
        "share": float(settings.share),
        "limit": settings.limit,
        "match_steps": settings.match_steps and settings.share < 1 and method.learns_target,
        "choose": [dict(one) for one in candidates(settings)] if settings.choose else [],
        "folds": settings.folds if settings.choose and not split.validation else None,
        "validation_language": settings.target if method.judged_on_target else task.dominant,
        **learning_settings(settings_with(settings, candidates(settings)[0]), task),
        "patience": settings.patience,
        "chat": settings.chat,
        "max_length": settings.max_length,
        "too_long": settings.too_long,
        "model": {
            "fingerprint": identify(settings.model, remote_code=settings.remote_code),
            "dtype": str(resolve_dtype(loading)).removeprefix("torch."),
            "attention": resolve_attention(loading),
            "quantization": loading.quantization,
            "remote_code": settings.remote_code,
        },
        "data": data_digests(split),
    }


def data_digests(split: Split) -> dict[str, str]:
    """SHA-256 of the data read: by file, or of all items together where they came from the hub."""
    if split.files:
        return digests(split.files)
    items = [*split.dominant, *split.target, *split.validation, *split.test]
    return {"items": key_of({"items": [dataclasses.asdict(item) for item in items]})}


def _key(deciding: Json) -> str:
    """The run's key: a method's description does not count, a prompt file's content does.

    Settings that came later count only where they are used, so older runs keep their keys.
    """
    plain = {
        **{"match_steps": False, "choose": [], "folds": None},
        "validation_language": deciding["target"],
    }
    deciding = {k: v for k, v in deciding.items() if k not in plain or v != plain[k]}
    method = {k: v for k, v in deciding["method"].items() if k not in ("section", "summary")}
    contents = _contents(method["tune"].get("start_file"))
    encoder = method["context"]["encoder"]
    read = {"prompt_file": contents, "encoder": identify(encoder) if encoder else None}
    return key_of(deciding | {"method": method} | read)


def _contents(place: str | None) -> list[str]:
    """SHA-256 of a prompt file, or of the weights in an adapter's folder; none without a place."""
    if not place:
        return []  # Path("") would be the folder that the command is given in
    start = Path(place)
    files = sorted(start.glob("*.safetensors")) if start.is_dir() else [start]
    return [file_digest(path) for path in files if path.is_file()]


def _source(settings: TrainSettings) -> Json:
    """Where task, data and model were found; not in the key, as moving them changes nothing."""
    data = settings.data
    if data is None and settings.task in BENCHMARKS:
        data = str(data_folder(None))
    places = {"task": settings.task, "data": data, "model": settings.model}
    return {
        name: str(Path(place).resolve()) if place and Path(place).exists() else place
        for name, place in places.items()
    }
