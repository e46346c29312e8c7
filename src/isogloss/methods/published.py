"""The paper's methods with its settings (Section 6.1, Appendix B.2), each cited where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from isogloss.demonstrations.choose import Demonstrations
from isogloss.errors import ConfigError, suggestion
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method, Stage
from isogloss.tasks.example import Kind
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import Tuning


@dataclass(frozen=True)
class _Preset:
    epochs: int
    prompt_length: int
    demonstrations: int


# Appendix B.2, row CL-ICP: learning rate 1e-3, batch 4 per device.
CL_ICP_LEARNING_RATE = 1e-3
CL_ICP: Mapping[str, _Preset] = {
    "xquad": _Preset(epochs=5, prompt_length=1, demonstrations=1),
    "xcopa": _Preset(epochs=20, prompt_length=10, demonstrations=3),
    "xnli": _Preset(epochs=20, prompt_length=10, demonstrations=3),
}


def cl_icp(task: str, kind: Kind) -> Method:
    """CL-ICP without representation shift (Section 5.2), with the task's numbers of Appendix B.2.

    A task that the paper does not have takes XQuAD's numbers for spans and XCOPA's otherwise.
    The loss on every demonstration is the paper's main table; Appendix C leaves it out.
    """
    preset = CL_ICP.get(task) or CL_ICP["xquad" if kind == "span" else "xcopa"]
    return Method(
        name="cl-icp",
        section="5.2",
        summary="soft prompts learnt with demonstrations of both languages in context",
        stages=(Stage(("target",), preset.epochs, CL_ICP_LEARNING_RATE),),
        tune=SoftPrompt(preset.prompt_length),
        context=Demonstrations(preset.demonstrations, "mixed"),
        loss=AnswerLoss("all", 1.0),
    )


METHODS: Mapping[str, Callable[[str, Kind], Method]] = {"cl-icp": cl_icp}


def method(name: str, task: str, kind: Kind) -> Method:
    """The published method of this name with its settings for a task.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise ConfigError(f"no method '{name}'; there is {known}{suggestion(name, METHODS)}")
    return METHODS[name](task, kind)


TUNINGS: Mapping[str, type[Tuning]] = {"soft-prompt": SoftPrompt}


def method_from(record: Mapping[str, Any]) -> Method:
    """The method that a run folder recorded with `dataclasses.asdict`.

    Raises:
        ConfigError: the record was written by a version that had other settings.
    """
    try:
        stages = tuple(
            Stage(**(stage | {"targets": tuple(stage["targets"])})) for stage in record["stages"]
        )
        tune = TUNINGS[record["tune"]["name"]](**record["tune"])
        context, loss = Demonstrations(**record["context"]), AnswerLoss(**record["loss"])
        parts = {"stages": stages, "tune": tune, "context": context, "loss": loss}
        return Method(**(dict(record) | parts))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"this version cannot read the run's method: {error}") from None
