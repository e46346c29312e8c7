"""The one training loop: (method, data, seed) to a run folder, on transformers' Trainer."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from isogloss.candidates import Candidate, candidates, in_words, settings_with
from isogloss.demonstrations.choose import Group, Pool, chunks
from isogloss.demonstrations.schedule import test_groups
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder, Schedule, fit, plan
from isogloss.errors import ConfigError
from isogloss.languages import check_language
from isogloss.learning import Learning, clear, learn, updates
from isogloss.methods.method import Method, Stage
from isogloss.methods.registry import method as method_of
from isogloss.model.load import (
    Loaded,
    identify,
    load,
    resolve_attention,
    resolve_device,
    resolve_dtype,
)
from isogloss.model.prompt import vocabulary_rows
from isogloss.runs import (
    ADAPTER,
    DEMONSTRATIONS,
    LOG,
    RECORD,
    Json,
    Run,
    cannot_go_on,
    clear_folder,
    digests,
    file_digest,
    key_of,
    write_json_file,
    write_lines,
)
from isogloss.settings import TrainSettings
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings
from isogloss.tasks.example import Example, Task
from isogloss.tasks.opening import data_folder, open_task
from isogloss.tasks.splits import Split, make_split
from isogloss.tuning.full import FullParameters
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds, Weights

COMMON_TOKENS = 5000  # Lester et al. 2021: a prompt starts from the vocabulary's most common pieces
VALIDATED = 8  # validation targets in a row: without demonstrations all would stand in one
D = TypeVar("D")
PACKAGES = ("isogloss", "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Job:
    """All that a training run is made of, resolved and checked before the model is loaded."""

    settings: TrainSettings
    task: Task
    split: Split
    method: Method
    record: Json
    run: Run


Settle = Callable[[Job, Loaded], Job]  # chooses among candidates, before the run itself is trained


def train(settings: TrainSettings, settle: Settle | None = None) -> Run:
    """Train, or go on with an unfinished run of the same settings, or give back a finished one.

    `settle` chooses among the candidates, where there are any; see `isogloss.selecting`.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    assert settle or not settings.choose, "isogloss.selecting.train chooses among candidates"
    job = prepare(settings)
    folder = job.run.folder
    if not settings.force and (folder / RECORD).is_file() and job.run.finished:
        return job.run
    loaded = load(settings.model, settings.loading)
    try:
        _carry_out(settle(job, loaded) if settle else job, loaded)
    except (OSError, SafetensorError) as error:
        raise cannot_go_on(folder, error) from error
    return job.run


def prepare(settings: TrainSettings) -> Job:
    """Open the task, split the data, settle the method, and find the run's folder."""
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    check_language(settings.target, task.languages, task.name)
    _check_device(settings.device)
    method = _first_of(settings, task)
    split = make_split(
        task,
        settings.target,
        seed=settings.seed,
        share=settings.share,
        limit=settings.limit,
        # A method that learns from D_s alone must not look at the target language to stop early.
        validation_language=settings.target if method.learns_target else task.dominant,
    )
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


def _check_device(asked: str) -> None:
    """Trainer computes on the first visible GPU, so another one is refused rather than ignored.

    Raises:
        ConfigError: a GPU other than the first.
    """
    index = resolve_device(asked).index
    if index:
        raise ConfigError(
            f"training uses the first visible GPU; set CUDA_VISIBLE_DEVICES={index} and give "
            "--device cuda"
        )


PROMPT_SETTINGS = {  # names of TrainSettings, and of SoftPrompt
    "prompt_length": "length",
    "prompt_start": "start_from",
    "prompt_file": "start_file",
}
CONTEXT_SETTINGS = (  # say nothing where there is no demonstration
    *("demonstration_languages", "share_demonstrations", "test_sets"),
    *("demonstration_loss", "demonstration_weight"),
)


def settle_method(settings: TrainSettings, task: Task) -> Method:
    """The published method with the user's own settings in place of the task's.

    Raises:
        ConfigError: a setting was given that the method does not have.
    """
    method = method_of(settings.method, task.name, task.kind)
    _check_had(settings, method)
    tests = 0 if settings.test_sets == "per-item" else settings.test_sets
    context = _replaced(
        method.context,
        count=settings.demonstrations,
        languages=settings.demonstration_languages,
        share=settings.share_demonstrations,
        test_sets=tests,
    )
    loss = _replaced(
        method.loss,
        demonstrations=settings.demonstration_loss,
        weight=settings.demonstration_weight,
    )
    if settings.demonstration_weight is not None and loss.demonstrations == "off":
        raise ConfigError(
            "demonstration weight says nothing while the demonstration loss is off; "
            "give --demonstration-loss all or last"
        )
    prompt = {own: getattr(settings, name) for name, own in PROMPT_SETTINGS.items()}
    stages = tuple(
        _replaced(stage, epochs=settings.epochs, learning_rate=settings.learning_rate)
        for stage in method.stages
    )
    return dataclasses.replace(
        method,
        context=context,
        loss=loss,
        tune=_replaced(method.tune, **prompt),
        stages=stages,
        batch_size=method.batch_size if settings.batch_size is None else settings.batch_size,
    )


def _check_had(settings: TrainSettings, method: Method) -> None:
    """Refuse settings that would say nothing of this method, rather than pass over them."""
    if not isinstance(method.tune, SoftPrompt):
        _refuse(settings, PROMPT_SETTINGS, "soft prompts", f"tunes {method.tune.learns}")
    if method.context.count == 0 and not settings.demonstrations:
        lacks = "has none unless --demonstrations is given"
        _refuse(settings, CONTEXT_SETTINGS, "demonstrations in context", lacks)
    if isinstance(method.tune, FullParameters):
        _check_formats(settings, method)


def _check_formats(settings: TrainSettings, method: Method) -> None:
    """Refuse number formats in which all parameters cannot learn."""
    if settings.quantization != "none":
        raise ConfigError(
            f"method '{method.name}' tunes all parameters, which a model held in "
            f"{settings.quantization.removesuffix('bit')} bits does not allow; "
            "leave --quantization out, or take a method with a soft prompt"
        )
    if settings.dtype == "float16":  # Adam's squared gradients are nothing there, and divided by
        raise ConfigError(
            f"method '{method.name}' tunes all parameters, which float16 is too coarse for; "
            "give --dtype float32 or bfloat16"
        )


def _refuse(settings: TrainSettings, names: Iterable[str], whose: str, instead: str) -> None:
    for name in names:
        if getattr(settings, name) is not None:
            raise ConfigError(
                f"{name.replace('_', ' ')} is a setting of {whose}; "
                f"method '{settings.method}' {instead}"
            )


def _replaced(value: D, **given: Any) -> D:
    """The dataclass with the settings that were given (not None) in place of its own."""
    chosen = {name: setting for name, setting in given.items() if setting is not None}
    return dataclasses.replace(value, **chosen)  # type: ignore[type-var]


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
        "validation_language": settings.target if method.learns_target else task.dominant,
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
    return key_of(deciding | {"method": method, "prompt_file": contents})


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


def _carry_out(job: Job, loaded: Loaded) -> None:
    """Train every stage and write the run folder."""
    method, folder = job.method, job.run.folder
    begun = time.time()
    trained = learn_stages(job, loaded)
    method.tune.save(trained.weights, folder / ADAPTER, loaded.model)
    if method.tune.whole_model:
        loaded.tokenizer.save_pretrained(folder / ADAPTER)
    spent = {"seconds": round(time.time() - begun, 1), "peak_memory_bytes": peak_memory()}
    files = [path for path in sorted((folder / ADAPTER).iterdir()) if path.is_file()]
    adapter = {path.name: file_digest(path) for path in files}
    write_json_file(
        folder / RECORD, trained.record | {"finished": True, "adapter": adapter} | spent
    )
    for number in range(len(method.stages)):
        clear(folder / f"stage-{number}")


@dataclass(frozen=True)
class Trained:
    """The weights that a job came to, its record so far, and what its last stage was."""

    weights: Weights
    record: Json
    last: Learning


def learn_stages(job: Job, loaded: Loaded) -> Trained:
    """Train every stage, or go on; what was learnt is in memory and in each stage's folder."""
    method = job.method
    episodes = episode_encoder(job.task, loaded, method, job.settings.chat, job.settings.max_length)
    schedules = [_schedule(job, stage, episodes) for stage in method.stages]
    record = job.record | _description(job, loaded, schedules)
    start = _start_ids(job, episodes, loaded)
    weights = method.tune.start(loaded.model, start, seed=job.settings.seed)
    _begin(job, record, schedules)
    with method.tune.attached(loaded.model, weights):
        for number, (stage, schedule) in enumerate(zip(method.stages, schedules, strict=True)):
            learning = _learning(job, loaded, episodes, stage, schedule, weights, number)
            learn(learning)
    return Trained(weights, record, learning)


def rehearse(job: Job, loaded: Loaded) -> None:
    """Plan an epoch of every stage, so that what cannot be carried out is found before any work.

    Raises:
        IsoglossError: what `plan` finds.
    """
    settings = job.settings
    episodes = episode_encoder(job.task, loaded, job.method, settings.chat, settings.max_length)
    for stage in job.method.stages:
        _schedule(job, dataclasses.replace(stage, epochs=1), episodes)


def episode_encoder(
    task: Task, loaded: Loaded, method: Method | None, chat: bool, max_length: int | None
) -> EpisodeEncoder:
    """The encoder of a run's episodes; without a method there is no soft prompt.

    Raises:
        ConfigError: `max_length` is more than the model's context.
    """
    context = loaded.context
    if max_length is not None and context is not None and max_length > context:
        raise ConfigError(f"max length is {max_length}, but the model's context is {context}")
    length = method.tune.prompt_length if method else 0
    longest = max_length or context
    if longest is not None and length >= longest:
        raise ConfigError(f"a soft prompt of {length} leaves no room in a context of {longest}")
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), length, chat)
    return EpisodeEncoder(task, encoder, longest)


def _schedule(job: Job, stage: Stage, episodes: EpisodeEncoder) -> Schedule:
    languages = {"dominant": job.split.dominant, "target": job.split.target}
    targets = [item for language in stage.targets for item in languages[language]]
    matched = job.record["match_steps"] and "target" in stage.targets
    return plan(
        targets,
        Pool(job.split.dominant, job.split.target),
        job.method.context,
        episodes,
        epochs=stage.epochs,
        batch_size=job.method.batch_size,
        seed=job.settings.seed,
        skip=job.settings.too_long == "skip",
        like=len(targets) - len(job.split.target) + _whole_target(job) if matched else None,
    )


def _whole_target(job: Job) -> int:
    """How many items D_t would have at a share of 1."""
    pool = int(job.split.notes["D_t pool"])
    return min(pool, job.settings.limit or pool)


def _description(job: Job, loaded: Loaded, schedules: Sequence[Schedule]) -> Json:
    """What is worth knowing of a run beside what decides it."""
    split = job.split
    return {
        "finished": False,
        "sizes": {
            "dominant": len(split.dominant),
            "target": len(split.target),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        "updates": [updates(schedule, job.settings) for schedule in schedules],
        "notes": dict(split.notes),
        "skipped": [dataclasses.asdict(item) for s in schedules for item in s.skipped],
        "device": str(loaded.model.device),
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
        "adapter": {},
    }


def _begin(job: Job, record: Json, schedules: Sequence[Schedule]) -> None:
    """Write the record and the drawn demonstrations, unless an earlier start has."""
    folder = job.run.folder
    write_json_file(folder / RECORD, record)
    if job.settings.force:
        clear_folder(folder, keep=RECORD)
    lines = [line for number, each in enumerate(schedules) for line in each.lines(number)]
    write_lines(folder / DEMONSTRATIONS, lines)


def _start_ids(job: Job, episodes: EpisodeEncoder, loaded: Loaded) -> StartIds:
    encoder, split = episodes.encoder, job.split
    special = set(loaded.tokenizer.all_special_ids)
    rows = min(COMMON_TOKENS, len(loaded.tokenizer))
    example = job.task.render(split.target[0])
    groups = test_groups(
        split.target[:1],
        Pool(split.dominant, split.target[1:]),
        dataclasses.replace(job.method.context, count=min(1, job.method.context.count)),
        seed=job.settings.seed,
    )
    demonstrations = [job.task.render(item) for group in groups for item in group.demonstrations]
    front = dataclasses.replace(encoder, prompt_length=0).demonstration_set(demonstrations)
    return StartIds(
        common=tuple(number for number in range(rows) if number not in special),
        instruction=encoder.text_ids(job.task.wording(job.settings.target).instruction),
        labels=tuple(token for text in example.options for token in encoder.text_ids(text)),
        demonstrations=tuple(token for token in front.ids if token not in special),
    )


def _learning(
    job: Job,
    loaded: Loaded,
    episodes: EpisodeEncoder,
    stage: Stage,
    schedule: Schedule,
    weights: Weights,
    number: int,
) -> Learning:
    return Learning(
        loaded=loaded,
        tune=job.method.tune,
        weights=weights,
        loss=job.method.loss,
        demonstrations=job.method.context.count,
        episodes=episodes,
        schedule=schedule,
        validation=validation_groups(job, job.split.validation, episodes),
        learning_rate=stage.learning_rate,
        settings=job.settings,
        log=job.run.folder / LOG,
        checkpoints=job.run.folder / f"stage-{number}",
        stage=number,
    )


def validation_groups(
    job: Job, items: Sequence[Example], episodes: EpisodeEncoder
) -> tuple[Group, ...]:
    """Held-out items with demonstration sets of the training items, in runs that fit in a row."""
    pool = Pool(job.split.dominant, job.split.target)
    groups = test_groups(items, pool, job.method.context, seed=job.settings.seed)
    fitting, _ = fit(groups, episodes, skip=job.settings.too_long == "skip")
    return tuple(
        Group(group.demonstrations, targets)
        for group in fitting
        for targets in chunks(group.targets, VALIDATED)
    )


def peak_memory() -> int:
    """The most memory held so far, in bytes: of the GPU where one was used, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
