"""A model in the states that are measured: as it is, and as a run's training left it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from torch import Tensor

from isogloss.diagnosing.direction import Probed
from isogloss.errors import ConfigError
from isogloss.finished import Opened
from isogloss.methods.method import Method
from isogloss.model.load import Loaded
from isogloss.representation_shift import Shifter
from isogloss.settings import DiagnoseSettings
from isogloss.tuning.adapter_files import PROMPT_KEY
from isogloss.tuning.full import FullParameters
from isogloss.tuning.lora import Lora
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import StartIds, Tuning, Weights
from isogloss.tuning.untuned import Untuned

PROBE = SoftPrompt(10)  # what gradients are taken by where a method has no prompt: CL-ICP's length
COMMON_TOKENS = 5000


@final
@dataclass(frozen=True)
class State:
    """A model with what gradients are taken by.

    `prompt_length`: vectors of the soft prompt that a run learnt. `probe_length`: those that stand
    in front where gradients are taken; a mere probe is in front nowhere else. `shifter` is what
    moves target samples, where the method has a shift.
    """

    probed: Probed
    method: Method | None
    prompt_length: int
    probe_length: int
    shifter: Shifter | None = None

    def rest(self) -> None:
        """Let no shift take part in the passes that follow."""
        if self.shifter:
            self.shifter.rest()


@contextmanager
def found(settings: DiagnoseSettings, opened: Opened | None, loaded: Loaded) -> Iterator[State]:
    """The base model, and what gradients are by: of a run its parameters at their start."""
    method = opened.method if opened else None
    tune = method.tune if method else _asked(settings)
    if isinstance(tune, SoftPrompt):
        tune = dataclasses.replace(tune, start_from="vocabulary", start_file="")
    weights = started(tune, loaded, settings.seed)
    probed = _probed(settings, tune, weights, loaded)
    with tune.attached(loaded.model, weights):
        yield State(probed, method, 0, _length(tune, probed))


@contextmanager
def tuned(settings: DiagnoseSettings, opened: Opened, loaded: Loaded) -> Iterator[State]:
    """The model as training left it."""
    tune = opened.method.tune
    weights = opened.weights(loaded)
    with opened.tuned(loaded, weights) as shifter:
        probed = _probed(settings, tune, weights, loaded)
        probed = dataclasses.replace(probed, meet=shifter.meet if shifter else None)
        length = _length(tune, probed)
        yield State(probed, opened.method, tune.prompt_length, length, shifter)


def _asked(settings: DiagnoseSettings) -> Tuning:
    """What is probed where there is no run; a soft prompt need not be in the model for it."""
    tunes: dict[str, Tuning] = {"lora": Lora(), "full": FullParameters()}
    return tunes.get(settings.gradients, Untuned())


def check_gradients(settings: DiagnoseSettings, opened: Opened | None) -> None:
    """Refuse gradients by parameters that a run does not tune.

    Raises:
        ConfigError: it does not tune them.
    """
    if opened is None or settings.gradients == "soft-prompt":
        return
    tune = opened.method.tune
    own = {Lora: "lora", FullParameters: "full"}.get(type(tune))
    if settings.gradients != own:
        known = " or ".join(filter(None, ("soft-prompt", own)))
        raise ConfigError(
            f"gradients is '{settings.gradients}', but the run tunes {tune.learns}; give {known}"
        )


def _probed(settings: DiagnoseSettings, tune: Tuning, weights: Weights, loaded: Loaded) -> Probed:
    if isinstance(tune, SoftPrompt):
        return Probed(f"a soft prompt of {tune.length}", prompt=weights[PROMPT_KEY].detach())
    large = isinstance(tune, (Lora, FullParameters, Untuned))
    if large and settings.gradients == "soft-prompt":
        vectors = probe_prompt(loaded, settings.seed)
        return Probed(f"a soft prompt of {PROBE.length} vocabulary vectors", prompt=vectors)
    # A prefix, or a prompt of demonstrations, has few parameters: they are always what is met.
    return Probed(tune.learns, parameters=dict(weights))


def _length(tune: Tuning, probed: Probed) -> int:
    return tune.prompt_length if probed.prompt is None else len(probed.prompt)


def probe_prompt(loaded: Loaded, seed: int) -> Tensor:
    """The soft prompt that gradients are taken by where there is none, (m, width)."""
    return started(PROBE, loaded, seed)[PROMPT_KEY].detach()


def started(tune: Tuning, loaded: Loaded, seed: int) -> Weights:
    """Fresh parameters; a soft prompt starts from ordinary tokens of the vocabulary."""
    special = set(loaded.tokenizer.all_special_ids)
    rows = min(COMMON_TOKENS, len(loaded.tokenizer))
    common = tuple(number for number in range(rows) if number not in special)
    return tune.start(loaded.model, StartIds(common), seed=seed)
