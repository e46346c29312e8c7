"""A method is a value (Table 2): which targets in which stages, what learns, in what context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isogloss.demonstrations.choose import Demonstrations
from isogloss.errors import ConfigError
from isogloss.methods.losses import AnswerLoss
from isogloss.tuning.tuning import Tuning

TargetLanguage = Literal["dominant", "target"]


@dataclass(frozen=True)
class Stage:
    """One pass of training: whose items are the targets, how long, at which learning rate."""

    targets: tuple[TargetLanguage, ...]
    epochs: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs is {self.epochs}; it must be 1 or more")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning rate is {self.learning_rate}; it must be above 0")


@dataclass(frozen=True)
class Method:
    """A way to transfer knowledge.

    `tune` says what learns, `context` which demonstrations stand before each target, `loss` what
    is learnt from an episode. `batch_size` counts targets per device.
    """

    name: str
    section: str
    summary: str
    stages: tuple[Stage, ...]
    tune: Tuning
    context: Demonstrations
    loss: AnswerLoss
    batch_size: int = 4

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError(f"method '{self.name}' has no stage")
        if self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}; it must be 1 or more")

    @property
    def learns_target(self) -> bool:
        """Whether any stage's targets are of the target language; direct transfer's are not."""
        return any("target" in stage.targets for stage in self.stages)
