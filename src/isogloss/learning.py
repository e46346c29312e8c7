"""One stage of training on transformers' Trainer: batches of episodes, checkpoints, early stopping.

Every batch follows from the seed, so a run that was killed meets the same episodes again and comes
to the same numbers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from isogloss import processes
from isogloss.demonstrations.choose import Group
from isogloss.errors import RunError
from isogloss.joint import average_gradients, keep_whole, left_alone, total_of
from isogloss.model.load import Loaded
from isogloss.model.pieces import in_pieces, let_go
from isogloss.model.tree_attention import trunks_apart
from isogloss.objective import Objective
from isogloss.planning import Step, Steps
from isogloss.portions import Portion, portions
from isogloss.progress import Progress
from isogloss.runs import (
    append_line,
    file_digest,
    read_json_file,
    read_lines,
    write_json_file,
    write_lines,
)
from isogloss.settings import TrainSettings
from isogloss.tuning.tuning import Tuning, Weights

DONE = "done"  # a finished stage's weights, until the run is finished
COMPLETE = "complete"  # written last into a checkpoint: without it the checkpoint is not used


@dataclass(frozen=True)
class Learning:
    """All that one stage needs; `weights` are attached to the model and change in place."""

    loaded: Loaded
    tune: Tuning
    weights: Weights
    objective: Objective
    steps: Steps
    between_validations: int
    validation: tuple[Group, ...]
    learning_rate: float
    settings: TrainSettings
    log: Path
    checkpoints: Path
    stage: int

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; where some hold nothing, of the longest epoch."""
        return self.steps.longest_epoch


def learn(learning: Learning) -> None:
    """Train a stage, from its last whole checkpoint if there is one; `weights` hold the result."""
    done = learning.checkpoints / DONE
    if is_complete(done):
        _take(learning, done)
        return
    if learning.objective.corpus:
        learning.objective.corpus.epoch = None  # a new stage has epochs of its own
    model = learning.loaded.model
    resume = _resume(learning)
    try:
        with (
            _checkpointed(model, learning.settings.gradient_checkpointing),
            left_alone(model),
            trunks_apart(model),
        ):
            with _said_tunable(model):
                trainer = EpisodeTrainer(learning)
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    finally:
        model.eval()  # the Trainer leaves a model in training mode
    _keep(learning, done)
    processes.wait()  # another process may still read the best checkpoint
    if processes.is_main():
        mark_complete(done)
        for path in learning.checkpoints.glob("checkpoint-*"):
            shutil.rmtree(path)
    processes.wait()


def _resume(learning: Learning) -> Path | None:
    """The checkpoint to go on from, the same for all processes; the main one puts files right."""
    if processes.is_main():
        learning.checkpoints.mkdir(parents=True, exist_ok=True)
        found = last_checkpoint(learning.checkpoints)
        _cut_log(learning, int(found.name.rpartition("-")[2]) if found else 0)
    processes.wait()
    return last_checkpoint(learning.checkpoints)


def clear(checkpoints: Path) -> None:
    """Remove what a stage kept for going on, once the run is finished; trackers' files stay."""
    shutil.rmtree(checkpoints / DONE, ignore_errors=True)
    if checkpoints.is_dir() and not any(checkpoints.iterdir()):
        checkpoints.rmdir()


def _take(learning: Learning, folder: Path) -> None:
    """Set the weights to those saved in a folder."""
    saved = learning.tune.load(folder, learning.loaded.model)
    with torch.no_grad():
        for name, parameter in learning.weights.items():
            parameter.copy_(saved[name])
    let_go(learning.loaded.model)
    if learning.objective.corpus:
        learning.objective.corpus.load(folder)


def _keep(learning: Learning, folder: Path) -> None:
    """Save the weights, and the language vectors of a shift by them."""
    learning.tune.save(learning.weights, folder, learning.loaded.model)
    if learning.objective.corpus and processes.is_main():
        learning.objective.corpus.save(folder)


@contextmanager
def _said_tunable(model: PreTrainedModel) -> Iterator[None]:
    """Tell the Trainer that a quantised model has something that learns: it only knows PEFT's."""
    if not getattr(model, "is_quantized", False):
        yield
        return
    own = model._hf_peft_config_loaded
    model._hf_peft_config_loaded = True
    try:
        yield
    finally:
        model._hf_peft_config_loaded = own


@contextmanager
def _checkpointed(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Recompute activations in the backward pass, where that is wanted; undone at the end."""
    cached = getattr(model.config, "use_cache", None)
    if wanted:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if cached is not None:  # the Trainer turned it off, and what is saved would keep that
            model.config.use_cache = cached
        if wanted:
            model.gradient_checkpointing_disable()


def mark_complete(folder: Path) -> None:
    """Say that a folder of saved weights is whole, with the digests of its files."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    write_json_file(folder / COMPLETE, {path.name: file_digest(path) for path in files})


def is_complete(folder: Path) -> bool:
    """Whether every file is as it was when the folder was marked as complete."""
    try:
        digests = read_json_file(folder / COMPLETE)
    except RunError:
        return False
    files = {folder / name: digest for name, digest in digests.items()}
    return all(path.is_file() and file_digest(path) == digest for path, digest in files.items())


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; those cut off while being written are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in found:
        if not is_complete(path):
            shutil.rmtree(path)
    whole = [path for path in found if path.is_dir()]
    return whole[-1] if whole else None


def _cut_log(learning: Learning, step: int) -> None:
    """Drop what a killed run logged after the checkpoint that training goes on from."""
    kept = [
        entry
        for entry in read_lines(learning.log)
        if (entry["stage"], entry["step"]) <= (learning.stage, step)
    ]
    write_lines(learning.log, kept)


@final
class Portions(Dataset[Portion]):
    """The steps of a stage in their order, each as its portions, which accelerate deals out."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps, self.processes = steps, processes.count()

    def __len__(self) -> int:
        return len(self.steps) * self.processes

    def __getitem__(self, number: int) -> Portion:
        step, place = divmod(number, self.processes)
        return portions(self.steps[step], step, self.processes)[place]


@final
class EpisodeTrainer(Trainer):
    """transformers' Trainer over batches of episodes, with our loss and small checkpoints."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.batches = 1  # with pairs, of the update that is being computed
        super().__init__(
            model=learning.loaded.model,
            args=_arguments(learning),
            train_dataset=Portions(learning.steps),
            eval_dataset=list(learning.validation) or None,
            data_collator=self._collate,
        )
        # Our loss is divided by all targets of an update, not once per batch.
        self.loss_is_scaled_for_ga = True
        self._set_callbacks()
        if processes.count() > 1:  # dropout: not the same masks everywhere
            torch.manual_seed(learning.settings.seed + processes.rank())

    def _set_callbacks(self) -> None:
        self.pop_callback(PrinterCallback)
        self.pop_callback(ProgressCallback)
        self.add_callback(RunFolder(self.learning))
        if self.learning.validation:
            self.add_callback(EarlyStoppingCallback(self.learning.settings.patience))

    def _collate(self, own: Sequence[Portion]) -> dict[str, Any]:
        (portion,) = own
        return self.learning.objective.tensors(portion)

    def _get_train_sampler(
        self, train_dataset: Dataset[Any] | None = None
    ) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(Portions(self.learning.steps))

    def create_optimizer(self, *given: Any) -> torch.optim.Optimizer:
        """The Trainer's optimiser, over what learns."""
        let_go(self.learning.loaded.model)
        made: torch.optim.Optimizer = super().create_optimizer(*given)
        keep_whole(made, self.learning.loaded.model)
        return made

    def training_step(self, *given: Any, **named: Any) -> Tensor:
        """A forward and backward pass; gradients are averaged after the last one of an update."""
        loss: Tensor = super().training_step(*given, **named)
        if processes.joined() and self.accelerator.sync_gradients:
            average_gradients(self.learning.weights)
        return loss

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The batches of one update, and how many targets they hold in all processes together."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.batches = sum("pairs" in batch for batch in batches)
        return batches, sum(int(batch["targets"]) for batch in batches)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The portion's share of the loss of an update, which is a mean over all its targets.

        Times the processes, as gradients and logged losses are means over them.
        """
        assert not return_outputs, "no outputs are asked"
        targets = int(inputs["targets"] if num_items_in_batch is None else num_items_in_batch)
        share = self.learning.objective.value(inputs, targets, self.batches)
        return share * processes.count()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The validation targets' mean answer loss, in nats."""
        metrics = {"eval_loss": validation_loss(self.learning.objective, self.learning.validation)}
        self.learning.loaded.model.train()
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint; on a full disk torch raises RuntimeError, not OSError."""
        try:
            super()._save_checkpoint(model, trial)
            processes.wait()  # until every process's files are whole
        except (OSError, RuntimeError) as error:
            if processes.lost(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise RunError(
                f"cannot write a checkpoint in {self.learning.checkpoints} ({reason}); free some "
                "room and give the same command again: it goes on from the last whole checkpoint"
            ) from error

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Keep what is learnt; all processes take part."""
        _keep(self.learning, Path(output_dir or self.learning.checkpoints))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if in_pieces(self.learning.loaded.model) and self.optimizer and not self.args.should_save:
            self.optimizer.state_dict()  # a part in gathering what the main process writes
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        _take(self.learning, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            self._load_from_checkpoint(self.state.best_model_checkpoint)


def validation_loss(objective: Objective, groups: Sequence[Group]) -> float:
    """The groups' targets' mean answer loss under attached weights, in nats."""
    objective.model.eval()
    with torch.no_grad():
        total = total_of(groups, objective.judge)
    return total / sum(len(group.targets) for group in groups)


class Checkpoints(TrainerCallback):
    """Marks whole checkpoints, and takes the progress bar down that a subclass opens."""

    progress: Progress | None = None

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as whole."""
        if state.is_world_process_zero:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the progress bar."""
        if self.progress:
            self.progress.close()


@final
class RunFolder(Checkpoints):
    """Keeps log.jsonl, marks whole checkpoints, and shows progress."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.per_epoch = learning.per_epoch
        self.begun = time.time()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the progress bar."""
        self.progress = Progress("training", state.max_steps, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Append an entry to log.jsonl."""
        if not state.is_world_process_zero:
            return
        values = {name: value for name, value in (logs or {}).items() if name != "epoch"}
        if "train_runtime" in values:
            return  # the Trainer's closing summary, which run.json has
        batches = state.global_step * args.gradient_accumulation_steps
        entry = {
            "stage": self.learning.stage,
            "step": state.global_step,
            "epoch": round(batches / self.per_epoch, 4),
            **values,
            "seconds": round(time.time() - self.begun, 2),
        }
        append_line(self.learning.log, entry)
        if self.progress and "loss" in values:
            self.progress.advance(state.global_step, f"loss {values['loss']:.3f}")


def updates(steps: Sequence[Step], settings: TrainSettings) -> int:
    """How many updates a stage has, if it does not stop early."""
    whole = -(-len(steps) // settings.gradient_accumulation)
    return min(whole, settings.max_steps or whole)


def _arguments(learning: Learning) -> TrainingArguments:
    settings = learning.settings
    steps = updates(learning.steps, settings)
    epoch = max(1, learning.between_validations // settings.gradient_accumulation)
    validated = bool(learning.validation)
    every = min(steps, epoch if validated or not settings.save_every else settings.save_every)
    arguments = TrainingArguments(
        output_dir=str(learning.checkpoints),
        per_device_train_batch_size=1,  # an item of the dataset is a batch of targets already
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=learning.learning_rate,
        # Where Appendix B.2 is silent: the Trainer's AdamW, linear decay, no warm-up, clip at 1.
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_steps=steps,
        logging_steps=1,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        eval_strategy="steps" if validated else "no",
        eval_steps=every,
        load_best_model_at_end=validated,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=str(learning.loaded.model.device) == "cpu",
        remove_unused_columns=False,  # our batches are not the model's arguments
        report_to=list(settings.report_to) or "none",
        run_name=learning.log.parent.name,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = 1  # several GPUs are for `accelerate launch`, never torch's DataParallel
    return arguments
