"""Pre-training of the lab's models: a tiny Llama on a world's text, on transformers' Trainer.

A stopped run goes on from its last whole checkpoint when its command is given again. Under
`torchrun` or `accelerate launch` any number of processes share each batch, to the same losses.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from isogloss.errors import ConfigError, RunError
from isogloss.lab.rows import Rows, collate
from isogloss.lab.tokenizer import BEGIN, END, build_tokenizer, tokens
from isogloss.lab.world import World, WorldSettings
from isogloss.learning import Checkpoints, last_checkpoint
from isogloss.progress import Progress
from isogloss.runs import (
    Json,
    append_line,
    cannot_go_on,
    file_digest,
    json_text,
    read_json_file,
    read_lines,
    write_json_file,
    write_lines,
)
from isogloss.settings import check_positive

RECORD, LOG, WEIGHTS = "lab.json", "log.jsonl", "model.safetensors"
PACKAGES = ("isogloss", "torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class PretrainSettings:
    """The model and its pre-training."""

    steps: int = 6000
    """Updates."""
    rows: int = 8
    """Documents of an update, over all processes together."""
    length: int = 128
    """Tokens of a document."""
    learning_rate: float = 2e-3
    """Peak learning rate, reached after 300 updates and held for 70% of all."""
    width: int = 128
    """Numbers in a hidden state."""
    layers: int = 4
    """Blocks of the model."""
    heads: int = 4
    """Attention heads of a block."""
    save_every: int = 500
    """Updates between checkpoints."""

    def __post_init__(self) -> None:
        check_positive(self, ("steps", "rows", "length", "width", "layers", "heads", "save_every"))
        if not self.learning_rate > 0:
            raise ConfigError(f"learning rate is {self.learning_rate}; it must be above 0")
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width is {self.width}; it must be a multiple of twice the heads, {self.heads}"
            )


WARM_UP, STEADY = 300, 0.7


def pretrain(world: World, settings: PretrainSettings, folder: Path) -> Json:
    """Make the model of a world in `folder`, or go on, or give back the record of a finished one.

    `folder` becomes a plain transformers model folder with lab.json, the record, beside it.
    Checkpoints and the log are kept below `folder`/pretraining.

    Raises:
        RunError: the folder holds another model, or cannot be written.
        ConfigError: the rows of an update cannot be shared evenly among the processes.
    """
    deciding = record_of(world, settings)
    if (folder / RECORD).is_file():
        return _finished(folder, deciding)
    work = folder / "pretraining"
    _begin(work, deciding)
    try:
        trainer = _LabTrainer(world, settings, work)
        resume = last_checkpoint(work)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if trainer.is_world_process_zero():
            return _finish(trainer, world, folder, deciding)
    except (OSError, SafetensorError) as error:
        raise cannot_go_on(folder, error) from error
    return deciding


def pretrain_together(
    world: World, settings: PretrainSettings, folder: Path, processes: int
) -> Json:
    """`pretrain` in this many processes of this machine.

    Raises:
        ConfigError: `processes` is below 1.
        RunError: a process failed; it has said why.
    """
    check_processes(processes)
    if processes == 1 or (folder / RECORD).is_file():
        return pretrain(world, settings, folder)
    check_processes(processes, settings)
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"lab-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        results = elastic_launch(launch, _share)(world.settings, settings, folder, processes)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise RunError(f"a process of pre-training failed: {failure.message}") from None
    return dict(results[0])


@record
def _share(world: WorldSettings, settings: PretrainSettings, folder: Path, processes: int) -> Json:
    """One process's part."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    return pretrain(World(world), settings, folder)


def check_processes(processes: int, settings: PretrainSettings | None = None) -> None:
    """Whether there are any, and whether they can share these settings' rows evenly.

    Raises:
        ConfigError: they cannot.
    """
    if processes < 1:
        raise ConfigError(f"processes is {processes}; it must be 1 or more")
    if settings and settings.rows % processes:
        raise ConfigError(
            f"rows is {settings.rows}; it must be a multiple of the processes, {processes}"
        )


def record_of(world: World, settings: PretrainSettings) -> Json:
    """Everything that decides a model's numbers."""
    training = dataclasses.asdict(settings)
    del training["save_every"]
    return {"world": dataclasses.asdict(world.settings), "pretraining": training}


def command_of(world: World, settings: PretrainSettings) -> str:
    """The command that makes a model, with every setting that is not the default.

    >>> command_of(World(WorldSettings(dial=0.1, orders=("svo", "sov"))), PretrainSettings())
    'isogloss lab pretrain --out MODEL --dial 0.1 --orders svo sov'
    """
    words = ["isogloss lab pretrain --out MODEL"]
    for given, usual in ((world.settings, WorldSettings()), (settings, PretrainSettings())):
        for name, value in dataclasses.asdict(given).items():
            if value != getattr(usual, name):
                many = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, many)]
    return " ".join(words)


def _finished(folder: Path, deciding: Json) -> Json:
    record = read_json_file(folder / RECORD)
    _check_same(folder / RECORD, record, deciding)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise RunError(f"{weights}: found no weights; remove {folder} to make them again")
    if record.get("sha256") != file_digest(weights):
        raise RunError(
            f"{weights}: found weights that were changed since they were made "
            f"(their SHA-256 is not the one in {RECORD}); remove {folder} to make them again"
        )
    return record


def _begin(work: Path, deciding: Json) -> None:
    started = work / RECORD
    if started.is_file():
        _check_same(started, read_json_file(started), deciding)
    else:
        write_json_file(started, deciding)


def _check_same(path: Path, found: Json, deciding: Json) -> None:
    """Refuse to go on in the folder of another model."""
    there, wanted = _flat(found), _flat(deciding)
    for name, value in wanted.items():
        if there.get(name) != value:
            raise RunError(
                f"{path}: found a model with {name.replace('_', ' ')} {there.get(name)}; expected "
                f"{value}, as asked for; give another folder for another model"
            )


def same(record: Json, other: Json) -> bool:
    """Whether two records are of the same model."""
    return _flat(record) == _flat(other)


def _flat(record: Json) -> Json:
    """A record's settings by name, as JSON has them."""
    parts = json.loads(json_text(record))
    return {**parts.get("world", {}), **parts.get("pretraining", {})}


SPREAD = 0.08
"""Standard deviation of all weights at the start: at 0.02 small models learn to copy far later."""


def build_model(world: World, settings: PretrainSettings) -> LlamaForCausalLM:
    """A fresh model, fp32, decided by the world's seed.

    Two things in the start make copying come sooner, and with it learning in context. Embeddings
    have a vector in common: without biases, attention by position alone has nothing else to hold
    on to. And an output projection is the transpose of the values', so that a head passes on what
    it attends to.
    """
    set_seed(world.settings.seed)
    names = tokens(world)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=settings.width,
        intermediate_size=2 * settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=512,
        initializer_range=SPREAD,
        tie_word_embeddings=True,
        bos_token_id=names.index(BEGIN),
        eos_token_id=names.index(END),
        pad_token_id=names.index(END),
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.add_(SPREAD * torch.randn(settings.width))
        for block in model.model.layers:
            block.self_attn.o_proj.weight.copy_(block.self_attn.v_proj.weight.T)
    return model


@final
class _LabTrainer(Trainer):
    """transformers' Trainer over rows in their order, with answers counting more than the rest."""

    def __init__(self, world: World, settings: PretrainSettings, work: Path) -> None:
        self.settings = settings
        arguments = _arguments(world, settings, work)
        self.rows = Rows(world, settings.steps * settings.rows, settings.length)
        super().__init__(
            model=build_model(world, settings),
            args=arguments,
            train_dataset=self.rows,
            data_collator=collate,
        )
        self.pop_callback(PrinterCallback)
        self.pop_callback(ProgressCallback)
        self.add_callback(_Work(work, settings.steps))

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.rows)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean over rows of each row's weighted mean loss, in nats."""
        ids, weights = inputs["input_ids"], inputs["weights"][:, 1:]
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view_as(weights)
        return ((losses * weights).sum(1) / weights.sum(1)).mean()


@final
class _Work(Checkpoints):
    """Keeps the log, marks whole checkpoints, and shows progress."""

    def __init__(self, work: Path, steps: int) -> None:
        self.log, self.steps = work / LOG, steps
        self.before, self.begun = 0.0, time.time()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Drop what was logged after the checkpoint that training goes on from."""
        if not state.is_world_process_zero:
            return
        kept = [entry for entry in read_lines(self.log) if entry["step"] <= state.global_step]
        write_lines(self.log, kept)
        self.before, self.begun = (kept[-1]["seconds"] if kept else 0.0), time.time()
        self.progress = Progress("pre-training", self.steps, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Append an entry to the log."""
        if self.progress is None or "loss" not in (logs or {}):
            return
        seconds = round(self.before + time.time() - self.begun, 1)
        loss = (logs or {})["loss"]
        append_line(self.log, {"step": state.global_step, "loss": loss, "seconds": seconds})
        self.progress.advance(state.global_step, f"loss {loss:.3f}")


def _arguments(world: World, settings: PretrainSettings, work: Path) -> TrainingArguments:
    steady = int(STEADY * settings.steps)
    warm = min(WARM_UP, steady)
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=settings.rows,
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={
            "num_decay_steps": settings.steps - steady,
            "decay_type": "linear",
            "min_lr_ratio": 0.02,
        },
        warmup_steps=warm,
        adam_beta2=0.98,
        weight_decay=0.01,
        max_grad_norm=1.0,
        logging_steps=min(100, settings.steps),
        save_strategy="steps",
        save_steps=min(settings.save_every, settings.steps),
        save_total_limit=2,
        seed=world.settings.seed,
        data_seed=world.settings.seed,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,  # there are none, and looking for them warns
    )
    arguments._n_gpu = min(1, arguments.n_gpu)
    count = arguments.world_size
    check_processes(count, settings)
    arguments.per_device_train_batch_size = settings.rows // count
    return arguments


def _finish(trainer: _LabTrainer, world: World, folder: Path, deciding: Json) -> Json:
    """Write the model in bf16, its tokenizer and its record, and remove the checkpoints."""
    work = folder / "pretraining"
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.config.use_cache = True  # the Trainer turned it off
    model.to(torch.bfloat16).save_pretrained(folder)
    build_tokenizer(world).save_pretrained(folder)
    log = read_lines(work / LOG)
    made = deciding | {
        "command": command_of(world, trainer.settings),
        "minutes": round(log[-1]["seconds"] / 60, 1) if log else 0.0,
        "processes": trainer.args.world_size,
        "parameters": sum(each.numel() for each in model.parameters()),
        "sha256": file_digest(folder / WEIGHTS),
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }
    write_json_file(folder / RECORD, made)
    for path in work.glob("checkpoint-*"):
        shutil.rmtree(path)
    return read_json_file(folder / RECORD)
