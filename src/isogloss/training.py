"""The one training loop: (method, data, seed) to a run folder, on transformers' Trainer."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from isogloss.corpus import Corpus, LayerChoice, Sentences, choose_from, sample_sentences
from isogloss.demonstrations.choose import Group, Pool, chunks
from isogloss.demonstrations.pairs import pair_batches, translation_pairs
from isogloss.demonstrations.schedule import test_groups
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder, Schedule, Step, fit, plan
from isogloss.errors import ConfigError, DataError
from isogloss.languages import check_language
from isogloss.learning import Learning, clear, learn
from isogloss.methods.contrast import Contrast, contrast_layers
from isogloss.methods.method import Method, Stage
from isogloss.methods.registry import method as method_of
from isogloss.model.layers import blocks
from isogloss.model.load import (
    Loaded,
    identify,
    load,
    resolve_attention,
    resolve_device,
    resolve_dtype,
)
from isogloss.model.prompt import vocabulary_rows
from isogloss.objective import Objective
from isogloss.representation_shift import Shift, Shifter, shifting
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
from isogloss.tasks.example import Task
from isogloss.tasks.opening import data_folder, open_task
from isogloss.tasks.splits import Split, make_split
from isogloss.tuning.full import FullParameters
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


def train(settings: TrainSettings) -> Run:
    """Train, or go on with an unfinished run of the same settings, or give back a finished one.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    job = prepare(settings)
    folder = job.run.folder
    if not settings.force and (folder / RECORD).is_file() and job.run.finished:
        return job.run
    loaded = load(settings.model, settings.loading)
    try:
        _carry_out(job, loaded)
    except (OSError, SafetensorError) as error:
        raise cannot_go_on(folder, error) from error
    return job.run


def prepare(settings: TrainSettings) -> Job:
    """Open the task, split the data, settle the method, and find the run's folder."""
    benchmark = BenchmarkSettings(settings.raw_questions, settings.split_rule, settings.wording)
    task = open_task(settings.task, settings.data, benchmark)
    check_language(settings.target, task.languages, task.name)
    _check_device(settings.device)
    split = make_split(
        task, settings.target, seed=settings.seed, share=settings.share, limit=settings.limit
    )
    method = settle_method(settings, task)
    if method.contrast:
        translation_pairs(split.dominant, split.target)  # refused before a model is loaded
    deciding = _deciding(settings, task, split, method)
    key = _key(deciding)
    short = Path(settings.model.removeprefix("package:")).name.removesuffix(".gguf")
    name = f"{task.name}-{settings.target}-{method.name}-{short}-s{settings.seed}-{key[:8]}"
    record = {"key": key, **deciding, "source": _source(settings)}
    return Job(settings, task, split, method, record, Run(settings.out / name))


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


TUNE_SETTINGS = {  # names of TrainSettings, their names in a tuning, and whose they are
    "prompt_length": ("length", "soft prompts and prefixes"),
    "prompt_start": ("start_from", "soft prompts"),
    "prompt_file": ("start_file", "soft prompts"),
    "lora_rank": ("rank", "LoRA"),
    "lora_alpha": ("alpha", "LoRA"),
    "lora_dropout": ("dropout", "LoRA"),
}
SHIFT_SETTINGS = {  # names of TrainSettings, and of Shift
    "shift_layers": "layers",
    "shift_towards": "towards",
    "shift_tokens": "tokens",
    "shift_scale": "scale",
}
CONTRAST_SETTINGS = {  # names of TrainSettings, and of Contrast
    "contrast_weight": "weight",
    "contrast_temperature": "temperature",
    "contrast_pairs": "pairs",
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
    tune = {own: getattr(settings, name) for name, (own, _) in TUNE_SETTINGS.items()}
    stages = tuple(
        _replaced(stage, epochs=settings.epochs, learning_rate=settings.learning_rate)
        for stage in method.stages
    )
    return dataclasses.replace(
        method,
        context=context,
        loss=loss,
        tune=_replaced(method.tune, **tune),
        stages=stages,
        shift=_settle_shift(settings, method),
        contrast=_settle_contrast(settings, method),
        batch_size=method.batch_size if settings.batch_size is None else settings.batch_size,
    )


def _settle_shift(settings: TrainSettings, method: Method) -> Shift | None:
    """The method's shift with the user's own settings; `--shift` gives one to a method without."""
    shift = method.shift
    if settings.shift == "off":
        shift = None
    elif settings.shift is not None:
        shift = dataclasses.replace(shift or Shift(), back=settings.shift)
    if shift is None:
        lacks = "has none " + ("with --shift off" if settings.shift else "without --shift")
        _refuse(settings, SHIFT_SETTINGS, "the representation shift", lacks)
        return None
    if shift.back == "corpus":
        whose = "a shift to the demonstrations"
        _refuse(settings, ("shift_towards",), whose, "shifts by language vectors")
    given = {own: getattr(settings, name) for name, own in SHIFT_SETTINGS.items()}
    return _replaced(shift, **given)


def _settle_contrast(settings: TrainSettings, method: Method) -> Contrast | None:
    if method.contrast is None:
        _refuse(settings, CONTRAST_SETTINGS, "contrastive learning", "has none")
        return None
    given = {own: getattr(settings, name) for name, own in CONTRAST_SETTINGS.items()}
    return _replaced(method.contrast, **given)


def _check_had(settings: TrainSettings, method: Method) -> None:
    """Refuse settings that would say nothing of this method, rather than pass over them."""
    has = {field.name for field in dataclasses.fields(method.tune)}  # type: ignore[arg-type]
    for name, (own, whose) in TUNE_SETTINGS.items():
        if own not in has:
            _refuse(settings, (name,), whose, f"tunes {method.tune.learns}")
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
        "max_steps": settings.max_steps,
        "method": dataclasses.asdict(method),
        "gradient_accumulation": settings.gradient_accumulation,
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
    """The run's key: a method's description does not count, a prompt file's content does."""
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
    settings, method, folder = job.settings, job.method, job.run.folder
    begun = time.time()
    episodes = episode_encoder(job.task, loaded, method, settings.chat, settings.max_length)
    schedules = [_schedule(job, stage, episodes) for stage in method.stages]
    steps = [_steps(job, each, episodes, number) for number, each in enumerate(schedules)]
    needs = method.shift or (method.contrast and method.contrast.layers == "block")
    plain = (
        sample_sentences(job.split, episodes, settings.target, seed=settings.seed) if needs else {}
    )
    choice = _layers(method, loaded, plain) if needs else None
    record = job.record | _description(job, loaded, schedules) | _layers_record(choice)
    weights = method.tune.start(loaded.model, _start_ids(job, episodes, loaded), seed=settings.seed)
    shift = placed(method.shift, choice)
    with (
        method.tune.attached(loaded.model, weights),
        shifting(loaded.model, shift) as shifter,
    ):
        corpus = _corpus(job, shifter, plain)
        objective = _objective(job, loaded, episodes, choice, shifter, corpus)
        _begin(job, record, schedules)
        for number in range(len(method.stages)):
            learn(_learning(job, loaded, objective, steps[number], weights, number))
        method.tune.save(weights, folder / ADAPTER, loaded.model)
        if corpus and shifter and shifter.vectors:
            corpus.renew()
            shifter.vectors.save(folder / ADAPTER)
    if method.tune.whole_model:
        loaded.tokenizer.save_pretrained(folder / ADAPTER)
    spent = {"seconds": round(time.time() - begun, 1), "peak_memory_bytes": peak_memory()}
    files = [path for path in sorted((folder / ADAPTER).iterdir()) if path.is_file()]
    adapter = {path.name: file_digest(path) for path in files}
    write_json_file(folder / RECORD, record | {"finished": True, "adapter": adapter} | spent)
    for number in range(len(method.stages)):
        clear(folder / f"stage-{number}")


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
    return plan(
        [item for language in stage.targets for item in languages[language]],
        Pool(job.split.dominant, job.split.target),
        job.method.context,
        episodes,
        epochs=stage.epochs,
        batch_size=job.method.batch_size,
        seed=job.settings.seed,
        skip=job.settings.too_long == "skip",
    )


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
        "notes": dict(split.notes),
        "skipped": [dataclasses.asdict(item) for s in schedules for item in s.skipped],
        "device": str(loaded.model.device),
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
        "adapter": {},
    }


def _layers(method: Method, loaded: Loaded, plain: Sentences) -> LayerChoice:
    """L_to and L_back: those that were given, else those where the languages are closest."""
    if method.shift and method.shift.layers:
        return LayerChoice(*method.shift.layers, "as given")
    return choose_from(loaded.model, plain)


def _layers_record(choice: LayerChoice | None) -> Json:
    return {"layers": dataclasses.asdict(choice) if choice else None}


def placed(shift: Shift | None, choice: LayerChoice | None) -> Shift | None:
    """The shift at the layers of a run."""
    if shift is None or choice is None:
        return shift
    return dataclasses.replace(shift, layers=(choice.to, choice.back))


def _corpus(job: Job, shifter: Shifter | None, plain: Sentences) -> Corpus | None:
    if shifter is None or shifter.shift.back != "corpus":
        return None
    # Soft-prompt vectors do not change what the model makes of a sentence without them.
    moving = job.method.tune.prompt_length == 0
    return Corpus(shifter, plain, job.task.dominant, moving=moving)


def _objective(
    job: Job,
    loaded: Loaded,
    episodes: EpisodeEncoder,
    choice: LayerChoice | None,
    shifter: Shifter | None,
    corpus: Corpus | None,
) -> Objective:
    method = job.method
    layers: tuple[int, ...] = ()
    if method.contrast:
        block = (choice.to, choice.back) if choice else None
        layers = contrast_layers(method.contrast.layers, block, len(blocks(loaded.model)))
    return Objective(
        model=loaded.model,
        episodes=episodes,
        loss=method.loss,
        demonstrations=method.context.count,
        shifter=shifter,
        corpus=corpus,
        contrast=method.contrast,
        layers=layers,
    )


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
    objective: Objective,
    steps: tuple[Step, ...],
    weights: Weights,
    number: int,
) -> Learning:
    settings, method = job.settings, job.method
    pool = Pool(job.split.dominant, job.split.target)
    validation = test_groups(job.split.validation, pool, method.context, seed=settings.seed)
    fitting, _ = fit(validation, objective.episodes, skip=settings.too_long == "skip")
    parts = [
        Group(group.demonstrations, targets)
        for group in fitting
        for targets in chunks(group.targets, VALIDATED)
    ]
    return Learning(
        loaded=loaded,
        tune=method.tune,
        weights=weights,
        objective=objective,
        steps=steps,
        validation=tuple(parts),
        learning_rate=method.stages[number].learning_rate,
        settings=settings,
        log=job.run.folder / LOG,
        checkpoints=job.run.folder / f"stage-{number}",
        stage=number,
    )


def _steps(job: Job, schedule: Schedule, episodes: EpisodeEncoder, number: int) -> tuple[Step, ...]:
    """The schedule's batches, with batches of translation pairs where the method contrasts them."""
    contrast = job.method.contrast
    if contrast is None:
        return tuple(schedule.steps((), alternate=False))
    pairs = translation_pairs(job.split.dominant, job.split.target)
    fitting = tuple(pair for pair in pairs if len(episodes.sentences(pair)) == len(pair))
    if len(fitting) < 2:
        raise DataError(
            f"contrastive learning needs two translation pairs, and {len(fitting)} of the "
            f"{len(pairs)} there are fit the model's context; give shorter items, or raise "
            "--max-length if the model allows"
        )
    batches = pair_batches(
        fitting,
        size=contrast.pairs,
        count=len(schedule.batches),
        seed=f"{job.settings.seed}/pairs/{number}",
    )
    return tuple(schedule.steps(batches, alternate=contrast.alternate))


def peak_memory() -> int:
    """The most memory held so far, in bytes: of the GPU where one was used, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
