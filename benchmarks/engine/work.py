"""The work that every program does: episodes from Isogloss' own schedule, written out as numbers.

A work folder holds `work.json`, the soft prompt that training starts from, the task that Isogloss
reads, and the model's folder where its weights are made up.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.engine.items import Sizes
from benchmarks.engine.lengths import FIELDS
from isogloss import ModelOptions
from isogloss.model.kernels import Kernel
from isogloss.model.load import resolve_dtype
from isogloss.model.products import torch_is_slow
from isogloss.tuning.adapter_files import read_prompt

WORK, START, FIRST_RUN = "work.json", "start.safetensors", "run-0"
EVALUATED_TOGETHER = 8  # items of Isogloss, sequences of the others: what all have by default
NEW_TOKENS = 48  # of a generated span at most, Isogloss' default


@dataclass(frozen=True)
class Asked:
    """What is measured.

    `model` is a shape's name or a folder, `data` a folder of releases (without it items are made
    up). `targets` of a batch, `share` of them with one demonstration set; `sets` demonstration sets
    at test. `scale` makes made-up items longer. `loss`: which demonstrations' answers are learnt.
    `products` torch keeps Isogloss from multiplying by oneDNN where it would; with `checkpointing`
    it computes activations anew in the backward pass. `attention` is the kernel of Isogloss alone.
    """

    model: str = "smollm2-135m"
    task: str = "xcopa"
    data: str | None = None
    demonstrations: int = 3
    prompt_length: int = 10
    targets: int = 4
    share: int = 4
    updates: int = 4
    items: int = 32
    sets: int = 1
    scale: float = 1.0
    loss: str = "all"
    learning_rate: float = 1e-3
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 0
    products: Literal["auto", "torch"] = "auto"
    attention: Kernel = "auto"
    checkpointing: bool = False
    seed: int = 42

    @property
    def options(self) -> ModelOptions:
        """How Isogloss loads the model."""
        return ModelOptions(dtype=self.dtype, device=self.device)  # type: ignore[arg-type]

    @property
    def format(self) -> torch.dtype:
        """The model's number format."""
        return resolve_dtype(self.options)

    @property
    def quick(self) -> bool:
        """Whether Isogloss multiplies by oneDNN in this work."""
        here = self.device == "cpu" and self.format == torch.float32
        return here and self.products == "auto" and torch_is_slow()


def asked_of(settings: Asked) -> Asked:
    """The settings of the work alone, of settings that say more."""
    return Asked(**{one.name: getattr(settings, one.name) for one in dataclasses.fields(Asked)})


@dataclass(frozen=True)
class Episode:
    """One sequence less its soft prompt. `answers`: [start, stop) of each answer, y_t's last."""

    ids: Sequence[int]
    answers: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Question:
    """A test item less the soft prompt: `ids` up to its answer, and the options, none for spans."""

    id: str
    ids: Sequence[int]
    options: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Least:
    """What must be computed at least, with demonstrations shared: tokens and predicted tokens."""

    tokens: int
    predicted: int


@dataclass(frozen=True)
class Work:
    """All that a program needs. `stops`: the tokens that end a generated span."""

    folder: Path
    model: Path
    asked: Asked
    updates: Sequence[Sequence[Episode]]
    questions: Sequence[Question]
    stops: Sequence[int]
    least_train: Least
    least_evaluate: Least

    @property
    def start(self) -> Tensor:
        """The soft prompt that training starts from, fp32, (m, width)."""
        return read_prompt(self.folder / START)

    @property
    def run(self) -> Path:
        """The run folder that is evaluated: Isogloss' first."""
        return next((self.folder / FIRST_RUN).iterdir())

    def settings(self, out: Path) -> dict[str, Any]:
        """The options of `isogloss.train` for this work."""
        asked, (target, _) = self.asked, FIELDS[self.asked.task]
        per_epoch = -(-Sizes().target // asked.targets)
        return {
            "task": str(self.folder / "task"),
            "model": str(self.model),
            "target": target,
            "epochs": -(-asked.updates // per_epoch),
            "max_steps": asked.updates,
            "batch_size": asked.targets,
            "demonstrations": asked.demonstrations,
            "share_demonstrations": asked.share,
            "test_sets": asked.sets,
            "prompt_length": asked.prompt_length,
            "prompt_start": "file",
            "prompt_file": str(self.folder / START),
            "demonstration_loss": asked.loss,
            "learning_rate": asked.learning_rate,
            "gradient_checkpointing": asked.checkpointing,
            "seed": asked.seed,
            "dtype": asked.dtype,
            "device": asked.device,
            "attention": asked.attention,
            "out": out,
        }


def write(work: Work) -> None:
    """Write `work.json`."""
    content = dataclasses.asdict(work) | {"folder": str(work.folder), "model": str(work.model)}
    (work.folder / WORK).write_text(json.dumps(content), encoding="utf-8")


def read(folder: Path) -> Work:
    """The work of a folder."""
    content = json.loads((folder / WORK).read_text(encoding="utf-8"))
    return Work(
        folder=folder,
        model=Path(content["model"]),
        asked=Asked(**content["asked"]),
        updates=[[Episode(**one) for one in batch] for batch in content["updates"]],
        questions=[Question(**one) for one in content["questions"]],
        stops=content["stops"],
        least_train=Least(**content["least_train"]),
        least_evaluate=Least(**content["least_evaluate"]),
    )
