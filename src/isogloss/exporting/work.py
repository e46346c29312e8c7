"""What every kind of export is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from isogloss.exporting.checking import COMPUTED, Checked, Trials
from isogloss.finished import Opened
from isogloss.model.load import Loaded
from isogloss.runs import Json
from isogloss.settings import ExportSettings


@dataclass(frozen=True)
class Work:
    """A finished run, its base model, and prompts to hold the export against."""

    settings: ExportSettings
    opened: Opened
    loaded: Loaded
    trials: Trials

    @property
    def sequences(self) -> list[tuple[int, ...]]:
        """The ids of the prompts that are passed through the model."""
        return [prompt.ids for prompt in self.trials.prompts[:COMPUTED]]


@dataclass(frozen=True)
class Change:
    """The model to be written.

    `places`: the exported id of each soft-prompt id. `spelled` is the soft prompt as text. Where
    `own_tokenizer`, the tokenizer is not the base's any more: it puts nothing in front of a text.
    `content` is what only this kind has to say in export.json.
    """

    model: PreTrainedModel
    checked: Checked
    places: Mapping[int, int] = field(default_factory=dict)
    spelled: str = ""
    own_tokenizer: bool = False
    content: Json = field(default_factory=dict)

    def placed(self, ids: Sequence[int]) -> list[int]:
        """Ids of the run as those of the exported vocabulary."""
        return [self.places.get(one, one) for one in ids]
