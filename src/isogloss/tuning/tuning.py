"""What learns: a tuning makes the parameters, attaches them to a model, saves and loads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel

Weights = dict[str, nn.Parameter]  # the learning parameters by name


@dataclass(frozen=True)
class StartIds:
    """Token ids that parameters may start from.

    `common` are ordinary tokens of the vocabulary, `instruction` the task's instruction, `labels`
    its answer options, `demonstrations` one demonstration set.
    """

    common: tuple[int, ...]
    instruction: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    demonstrations: tuple[int, ...] = ()


class Tuning(ABC):
    """Which parameters learn, as a value: settings only, the weights live outside it.

    `learns` says in words what learns. `whole_model` is whether `save` writes a whole model's
    folder, which a tokenizer belongs to, and not an adapter in PEFT's format.
    """

    name: str
    learns: ClassVar[str]
    whole_model: ClassVar[bool] = False

    @property
    @abstractmethod
    def prompt_length(self) -> int:
        """Soft-prompt vectors in front of every sequence, m; 0 where there are none."""

    @abstractmethod
    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """Fresh parameters, decided by the seed."""

    @abstractmethod
    def attached(
        self, model: PreTrainedModel, weights: Weights
    ) -> AbstractContextManager[PreTrainedModel]:
        """The model with the parameters in place and everything else frozen, undone at the end."""

    @abstractmethod
    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """Write the parameters to a folder, for plain PEFT or transformers to load."""

    @abstractmethod
    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """Read parameters that `save` wrote.

        Raises:
            ModelError: a missing or damaged file, or parameters of another model's shape.
        """
