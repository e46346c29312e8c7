"""What a card is made from: a finished run, its scores and task, and what a user adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isogloss.runs import Json, Run
from isogloss.tasks.example import Task

DATASETS: Mapping[str, str] = {  # the benchmarks' places on the hub
    "xcopa": "cambridgeltl/xcopa",
    "xnli": "facebook/xnli",
    "xquad": "google/xquad",
}


@dataclass(frozen=True)
class CardSettings:
    """What a card says beside what the run folder knows.

    `base_model` is the hub id of the base model, where the run's was a folder or file; `place` is
    the repository that the card goes to.
    """

    license: str | None = None
    base_model: str | None = None
    place: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a card is made of."""

    run: Run
    record: Json
    scores: Json | None
    task: Task

    @property
    def whole(self) -> bool:
        """Whether what was learnt is a whole model and not an adapter."""
        return "adapter_config.json" not in self.record["adapter"]

    def base(self, settings: CardSettings) -> str | None:
        """The hub id of the base model, or None where it is a folder or file of this machine."""
        return settings.base_model or hub_id(self.record["source"]["model"])

    def name(self, settings: CardSettings) -> str:
        """What the card is called."""
        return (settings.place or self.run.name).rpartition("/")[2]


def hub_id(source: str) -> str | None:
    """A model's source if it is a hub id, not a folder, a file or a package."""
    local = source.startswith(("package:", ".", "/", "~")) or source.endswith(".gguf")
    return None if local or source.count("/") > 1 or Path(source).exists() else source
