"""A method is a value (Table 2): which targets in which stages, what learns, in what context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isogloss.demonstrations.choose import Demonstrations
from isogloss.errors import ConfigError
from isogloss.methods.contrast import Contrast
from isogloss.methods.losses import AnswerLoss
from isogloss.representation_shift import Shift
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.tuning import Tuning
from isogloss.tuning.untuned import Untuned

TargetLanguage = Literal["dominant", "target"]
Calibration = Literal["none", "contextual"]


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
    is learnt from an episode. `batch_size` counts targets per device. `shift` moves hidden states,
    `contrast` draws translation pairs together. With `calibration` options are scored against what
    they get without content (Zhao et al. 2021). A method without stages trains nothing.
    """

    name: str
    section: str
    summary: str
    stages: tuple[Stage, ...]
    tune: Tuning
    context: Demonstrations
    loss: AnswerLoss
    batch_size: int = 4
    shift: Shift | None = None
    contrast: Contrast | None = None
    calibration: Calibration = "none"

    def __post_init__(self) -> None:
        made = isinstance(self.tune, Compiled)  # of a run with stages or without
        if not made and bool(self.stages) == isinstance(self.tune, Untuned):
            raise ConfigError(
                f"method '{self.name}' has {len(self.stages)} stages and tunes "
                f"{self.tune.learns}; stages and something to learn go together"
            )
        if self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}; it must be 1 or more")
        if self.shift and self.shift.back != "corpus" and self.context.count == 0:
            raise ConfigError(
                f"the shift '{self.shift.back}' moves a target to its demonstrations, and there "
                "are none; give --demonstrations, or --shift corpus or off"
            )
        moved = self.shift and self.shift.back != "corpus" and self.shift.towards == "dominant"
        if moved and self.context.languages == "target":
            raise ConfigError(
                "the shift moves a target to demonstrations of the dominant language, and there "
                "are none; give --demonstration-languages mixed or dominant, or another "
                "--shift-towards"
            )

    @property
    def learns_target(self) -> bool:
        """Whether any stage's targets are of the target language; direct transfer's are not."""
        return any("target" in stage.targets for stage in self.stages)

    @property
    def judged_on_target(self) -> bool:
        """Whether its settings may be chosen by items of the target language: not what transfers.

        Direct transfer is meant to see none; a method that trains nothing has nothing to transfer.
        """
        return not self.stages or self.learns_target
