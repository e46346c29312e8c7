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

import torch
from safetensors import SafetensorError

from isogloss import processes
from isogloss.corpus import Corpus, LayerChoice, Sentences, choose_from, sample_sentences
from isogloss.demonstrations.choose import Pool
from isogloss.demonstrations.schedule import test_groups
from isogloss.episodes import EpisodeEncoder
from isogloss.jobs import Job, prepare
from isogloss.learning import Learning, clear, learn, updates
from isogloss.methods.contrast import contrast_layers
from isogloss.methods.cpt import prompt_answers
from isogloss.methods.method import Method
from isogloss.model.layers import blocks
from isogloss.model.load import Loaded
from isogloss.model.pieces import in_pieces
from isogloss.objective import Objective
from isogloss.placing import claimed_by_main, meet, place
from isogloss.planning import Schedule, Steps
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
    file_digest,
    lines_key,
    write_json_file,
    write_lines,
)
from isogloss.settings import TrainSettings
from isogloss.staging import episode_encoder, schedule_of, steps_of, validation_groups, with_prompt
from isogloss.tuning.context_prompt import ContextPrompt
from isogloss.tuning.tuning import StartIds, Weights

COMMON_TOKENS = 5000  # Lester et al. 2021: a prompt starts from the vocabulary's most common pieces
PACKAGES = ("isogloss", "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
# Chooses among candidates, before the run itself is trained.
Settle = Callable[[Job, Loaded | None], Job]


def train(settings: TrainSettings, settle: Settle | None = None) -> Run:
    """Train, or go on with an unfinished run of the same settings, or give back a finished one.

    `settle` chooses among the candidates, where there are any; see `isogloss.selecting`.

    Raises:
        IsoglossError: anything about the settings, data, model or disk that stops the work.
    """
    assert settle or not settings.choose, "isogloss.selecting.train chooses among candidates"
    sharding = meet(settings)
    with processes.in_step():
        job = prepare(settings)
        processes.check_same(job.record["key"], "settings, data or model files")
        if _is_done(job):
            return job.run
        try:
            needed = job.method.stages or settings.choose
            loaded = place(job, sharding) if needed else None
            with claimed_by_main(job.run.folder):
                if not _is_done(job):  # by another command, which was waited for
                    _work(settle(job, loaded) if settle else job, loaded)
        except (OSError, SafetensorError) as error:
            raise cannot_go_on(job.run.folder, error) from error
    return job.run


def _work(job: Job, loaded: Loaded | None) -> None:
    """Train what there is to train, and have the run's folder whole."""
    if loaded and job.method.stages:
        _carry_out(job, loaded)
    elif processes.is_main():
        _write_down(job)
    processes.wait()


def _is_done(job: Job) -> bool:
    """Whether the run is finished and may be given back, as the main process sees it."""
    there = (job.run.folder / RECORD).is_file()
    return processes.decided(not job.settings.force and there and job.run.finished)


def _carry_out(job: Job, loaded: Loaded) -> None:
    """Train every stage and write the run folder."""
    folder = job.run.folder
    begun = time.time()
    with taught(job, loaded) as trained:
        trained.job.method.tune.save(trained.weights, folder / ADAPTER, loaded.model)
        if trained.objective.corpus and processes.is_main():
            trained.objective.corpus.vectors().save(folder / ADAPTER)
    memory = processes.most(peak_memory())
    spent = {"seconds": round(time.time() - begun, 1), "peak_memory_bytes": memory}
    if processes.is_main():
        _finish(trained, loaded, spent)


def _finish(trained: Trained, loaded: Loaded, spent: Json) -> None:
    """Write what belongs to what was learnt, then that the run is finished."""
    method, folder = trained.job.method, trained.job.run.folder
    if method.tune.whole_model:
        loaded.tokenizer.save_pretrained(folder / ADAPTER)
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
    job = with_prompt(job, loaded)
    settings, method = job.settings, job.method
    episodes = episode_encoder(job.task, loaded, method, settings.chat, settings.max_length)
    schedules = [schedule_of(job, stage, episodes) for stage in method.stages]
    steps = [steps_of(job, each, episodes, number) for number, each in enumerate(schedules)]
    needs = method.shift or (method.contrast and method.contrast.layers == "block")
    plain = (
        sample_sentences(job.split, episodes, settings.target, seed=settings.seed) if needs else {}
    )
    choice = _layers(method, loaded, plain) if needs else None
    described = _description(job, str(loaded.model.device), schedules)
    described["in_pieces"] = in_pieces(loaded.model)
    counts = {"updates": [updates(own, settings) for own in steps]}
    record = job.record | described | counts | _layers_record(choice)
    weights = method.tune.start(loaded.model, _start_ids(job, episodes, loaded), seed=settings.seed)
    processes.as_main(weights.values())
    record["trained_parameters"] = sum(each.numel() for each in weights.values())
    with (
        method.tune.attached(loaded.model, weights),
        shifting(loaded.model, placed(method.shift, choice)) as shifter,
    ):
        corpus = _corpus(job, shifter, plain)
        objective = _objective(job, loaded, episodes, choice, shifter, corpus)
        _begin(job, record, schedules)
        for number, schedule in enumerate(schedules):
            between = schedule.between_validations * len(steps[number]) // schedule.filled
            learn(_learning(job, loaded, objective, steps[number], between, weights, number))
        if corpus:
            corpus.renew()
        yield Trained(job, weights, record, objective)


def _write_down(job: Job) -> None:
    """The run folder of a method that trains nothing."""
    folder = job.run.folder
    (folder / ADAPTER).mkdir(parents=True, exist_ok=True)
    spent = {"seconds": 0.0, "peak_memory_bytes": 0, "trained_parameters": 0}
    write_json_file(
        folder / RECORD, job.record | _description(job, "none", ()) | {"finished": True} | spent
    )


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
        "processes": processes.count(),
        "in_pieces": False,
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
        "adapter": {},
    }


def _layers(method: Method, loaded: Loaded, plain: Sentences) -> LayerChoice:
    """L_to and L_back: those that were given, else those where the languages are closest."""
    if method.shift and method.shift.layers:
        return LayerChoice(*method.shift.layers, "as given")
    choice = choose_from(loaded.model, plain)
    chosen = torch.tensor([choice.to, choice.back], device=loaded.model.device)
    processes.as_main([chosen])
    return dataclasses.replace(choice, to=int(chosen[0]), back=int(chosen[1]))


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

    def lines() -> Iterator[Json]:
        for number, schedule in enumerate(schedules):
            yield from schedule.lines(number)

    if processes.count() > 1:
        processes.check_same(lines_key(lines()), "demonstrations")
    if processes.is_main():
        write_json_file(folder / RECORD, record)
        if job.settings.force:
            clear_folder(folder, keep=RECORD)
        write_lines(folder / DEMONSTRATIONS, lines())
    processes.wait()


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
    plain = dataclasses.replace(encoder, prompt_length=0, solved=0)
    front = plain.demonstration_set(demonstrations)
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
    steps: Steps,
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


def peak_memory() -> int:
    """The most memory held so far, in bytes: of the GPU where one was used, else of the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
