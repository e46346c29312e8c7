"""The one training loop: (method, data, seed) to a run folder, on transformers' Trainer."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError

from isogloss.candidates import Candidate, candidates, in_words, settings_with
from isogloss.corpus import Corpus, LayerChoice, Sentences, choose_from, sample_sentences
from isogloss.demonstrations.choose import Group, Pool, chunks
from isogloss.demonstrations.pairs import pair_batches, translation_pairs
from isogloss.demonstrations.schedule import test_groups
from isogloss.encoding import Encoder
from isogloss.episodes import EpisodeEncoder, Schedule, Step, fit, plan
from isogloss.errors import ConfigError, DataError
from isogloss.languages import check_language
from isogloss.learning import Learning, clear, learn, updates
from isogloss.methods.contrast import contrast_layers
from isogloss.methods.cpt import drawn_demonstrations, prompt_answers, without_targets
from isogloss.methods.method import Method, Stage
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
from isogloss.pooling import make_pool
from isogloss.representation_shift import Shift, Shifter, shifting
from isogloss.runs import (
    ADAPTER,
    DEMONSTRATIONS,
    LOG,
    RECORD,
    Json,
    Run,
    cannot_go_on,
    claimed,
    clear_folder,
    digests,
    file_digest,
    key_of,
    write_json_file,
    write_lines,
)
from isogloss.settings import TrainSettings
from isogloss.settling import settle_method
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings
from isogloss.tasks.example import Example, Task
from isogloss.tasks.opening import data_folder, open_task
from isogloss.tasks.splits import Split, make_split
from isogloss.tuning.context_prompt import ContextPrompt
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


Settle = Callable[
    [Job, Loaded | None], Job
]  # chooses among candidates, before the run itself is trained


def train(settings: TrainSettings, settle: Settle | None = None) -> Run:
    """Train, or go on with an unfinished run of the same settings, or give back a finished one.

    `settle` chooses among the candidates, where there are any; see `isogloss.selecting`.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    assert settle or not settings.choose, "isogloss.selecting.train chooses among candidates"
    job = prepare(settings)
    folder = job.run.folder
    if _is_done(job):
        return job.run
    try:
        needed = job.method.stages or settings.choose
        loaded = load(settings.model, settings.loading) if needed else None
        with claimed(folder):
            if _is_done(job):
                return job.run  # by another process, which was waited for
            settled = settle(job, loaded) if settle else job
            if loaded and job.method.stages:
                _carry_out(settled, loaded)
            else:
                _write_down(settled)
    except (OSError, SafetensorError) as error:
        raise cannot_go_on(folder, error) from error
    return job.run


def _is_done(job: Job) -> bool:
    """Whether the run is finished and may be given back."""
    there = (job.run.folder / RECORD).is_file()
    return not job.settings.force and there and job.run.finished


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


def _carry_out(job: Job, loaded: Loaded) -> None:
    """Train every stage and write the run folder."""
    method, folder = job.method, job.run.folder
    begun = time.time()
    with taught(job, loaded) as trained:
        trained.job.method.tune.save(trained.weights, folder / ADAPTER, loaded.model)
        if trained.objective.corpus:
            trained.objective.corpus.vectors().save(folder / ADAPTER)
    if method.tune.whole_model:
        loaded.tokenizer.save_pretrained(folder / ADAPTER)
    spent = {"seconds": round(time.time() - begun, 1), "peak_memory_bytes": peak_memory()}
    files = [path for path in sorted((folder / ADAPTER).iterdir()) if path.is_file()]
    adapter = {path.name: file_digest(path) for path in files}
    finished = {"finished": True, "adapter": adapter} | spent
    write_json_file(folder / RECORD, trained.record | finished)
    for number in range(len(method.stages)):
        clear(folder / f"stage-{number}")


@dataclass(frozen=True)
class Trained:
    """The weights that a job came to, its record so far, and what was asked of the model.

    `job` is the one that was given, with a prompt of demonstrations filled in where it has one.
    """

    job: Job
    weights: Weights
    record: Json
    objective: Objective


@contextmanager
def taught(job: Job, loaded: Loaded) -> Iterator[Trained]:
    """The model with all that a job learns in it: trained, or gone on with; undone at the end."""
    job = _with_prompt(job, loaded)
    settings, method = job.settings, job.method
    episodes = episode_encoder(job.task, loaded, method, settings.chat, settings.max_length)
    schedules = [_schedule(job, stage, episodes) for stage in method.stages]
    steps = [_steps(job, each, episodes, number) for number, each in enumerate(schedules)]
    needs = method.shift or (method.contrast and method.contrast.layers == "block")
    plain = (
        sample_sentences(job.split, episodes, settings.target, seed=settings.seed) if needs else {}
    )
    choice = _layers(method, loaded, plain) if needs else None
    described = _description(job, str(loaded.model.device), schedules)
    counts = {"updates": [updates(own, settings) for own in steps]}
    record = job.record | described | counts | _layers_record(choice)
    weights = method.tune.start(loaded.model, _start_ids(job, episodes, loaded), seed=settings.seed)
    record["trained_parameters"] = sum(each.numel() for each in weights.values())
    with (
        method.tune.attached(loaded.model, weights),
        shifting(loaded.model, placed(method.shift, choice)) as shifter,
    ):
        corpus = _corpus(job, shifter, plain)
        objective = _objective(job, loaded, episodes, choice, shifter, corpus)
        _begin(job, record, schedules)
        for number, schedule in enumerate(schedules):
            between = schedule.between_validations * len(steps[number]) // len(schedule.filled)
            learn(_learning(job, loaded, objective, steps[number], between, weights, number))
        if corpus:
            corpus.renew()
        yield Trained(job, weights, record, objective)


def rehearse(job: Job, loaded: Loaded) -> None:
    """Plan an epoch of every stage, so that what cannot be carried out is found before any work.

    Raises:
        IsoglossError: what `plan` finds.
    """
    job = _with_prompt(job, loaded)
    settings = job.settings
    episodes = episode_encoder(job.task, loaded, job.method, settings.chat, settings.max_length)
    for number, stage in enumerate(job.method.stages):
        once = _schedule(job, dataclasses.replace(stage, epochs=1), episodes)
        _steps(job, once, episodes, number)


def _write_down(job: Job) -> None:
    """The run folder of a method that trains nothing."""
    folder = job.run.folder
    (folder / ADAPTER).mkdir(parents=True, exist_ok=True)
    spent = {"seconds": 0.0, "peak_memory_bytes": 0, "trained_parameters": 0}
    write_json_file(
        folder / RECORD, job.record | _description(job, "none", ()) | {"finished": True} | spent
    )


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
    tune = method.tune if method else None
    solved = tune.demonstrations if isinstance(tune, ContextPrompt) else 0
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), length, chat, solved)
    return EpisodeEncoder(task, encoder, longest)


def _with_prompt(job: Job, loaded: Loaded) -> Job:
    """The job with the demonstrations that CPT's prompt is made of; they are no targets."""
    tune, settings = job.method.tune, job.settings
    if not isinstance(tune, ContextPrompt):
        return job
    plain = episode_encoder(job.task, loaded, None, settings.chat, settings.max_length)
    drawn = drawn_demonstrations(tune, job.method.context, job.split, seed=settings.seed)
    front = plain.encoder.demonstration_set([job.task.render(item) for item in drawn])
    method = dataclasses.replace(job.method, tune=tune.filled(front))
    record = job.record | {
        "method": dataclasses.asdict(method),
        "prompt_demonstrations": [f"{item.language}/{item.id}" for item in drawn],
    }
    split = without_targets(job.split, drawn)
    return dataclasses.replace(job, method=method, record=record, split=split)


def _schedule(job: Job, stage: Stage, episodes: EpisodeEncoder) -> Schedule:
    languages = {"dominant": job.split.dominant, "target": job.split.target}
    targets = [item for language in stage.targets for item in languages[language]]
    matched = job.record["match_steps"] and "target" in stage.targets
    return plan(
        targets,
        make_pool(job.split.dominant, job.split.target, job.method.context),
        job.method.context,
        episodes,
        epochs=stage.epochs,
        batch_size=job.method.batch_size,
        seed=job.settings.seed,
        skip=job.settings.too_long == "skip",
        like=len(targets) + _full_target(job) - len(job.split.target) if matched else None,
    )


def _full_target(job: Job) -> int:
    """The items of D_t that a share of 1 would have."""
    whole = int(job.split.notes["D_t pool"])
    return min(whole, job.settings.limit or whole)


def _description(job: Job, device: str, schedules: Sequence[Schedule]) -> Json:
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
        "device": device,
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
        prompt_answers=(
            prompt_answers(method.tune) if isinstance(method.tune, ContextPrompt) else ()
        ),
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
        dataclasses.replace(
            job.method.context,
            count=min(1, job.method.context.count),
            choose="random",
            encoder="",
        ),
        seed=job.settings.seed,
    )
    demonstrations = [job.task.render(item) for group in groups for item in group.demonstrations]
    front = dataclasses.replace(encoder, prompt_length=0, solved=0).demonstration_set(
        demonstrations
    )
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
    between: int,
    weights: Weights,
    number: int,
) -> Learning:
    settings, method = job.settings, job.method
    return Learning(
        loaded=loaded,
        tune=method.tune,
        weights=weights,
        objective=objective,
        steps=steps,
        between_validations=between,
        validation=validation_groups(job, job.split.validation, objective.episodes),
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


def validation_groups(
    job: Job, items: Sequence[Example], episodes: EpisodeEncoder
) -> tuple[Group, ...]:
    """Held-out items with demonstration sets of the training items, in runs that fit in a row."""
    pool = make_pool(job.split.dominant, job.split.target, job.method.context)
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
