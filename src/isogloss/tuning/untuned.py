"""Nothing learns: for the methods that only ask the model (Fig. 3)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from transformers import PreTrainedModel

from isogloss.tuning.tuning import StartIds, Tuning, Weights


@final
@dataclass(frozen=True)
class Untuned(Tuning):
    """The model as it is."""

    name: str = "none"

    learns: ClassVar[str] = "nothing"

    @property
    def prompt_length(self) -> int:
        """0: there is no soft prompt."""
        return 0

    def start(self, model: PreTrainedModel, ids: StartIds, *, seed: int) -> Weights:
        """No parameters."""
        return {}

    def attached(
        self, model: PreTrainedModel, weights: Weights
    ) -> AbstractContextManager[PreTrainedModel]:
        """The model itself."""
        return nullcontext(model)

    def save(self, weights: Weights, folder: Path, model: PreTrainedModel) -> None:
        """An empty folder."""
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, folder: Path, model: PreTrainedModel) -> Weights:
        """No parameters."""
        return {}
