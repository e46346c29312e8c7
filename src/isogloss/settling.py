"""From settings to the method of a run: the published one, with what was given in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

from isogloss.errors import ConfigError
from isogloss.methods.contrast import Contrast
from isogloss.methods.method import Method
from isogloss.methods.registry import method as method_of
from isogloss.representation_shift import Shift
from isogloss.settings import TrainSettings
from isogloss.tasks.example import Task
from isogloss.tuning.context_prompt import ContextPrompt
from isogloss.tuning.full import FullParameters

D = TypeVar("D")

TUNE_SETTINGS = {  # names of TrainSettings, their names in a tuning, and whose they are
    "prompt_length": ("length", "soft prompts and prefixes"),
    "prompt_start": ("start_from", "soft prompts"),
    "prompt_file": ("start_file", "soft prompts"),
    "lora_rank": ("rank", "LoRA"),
    "lora_alpha": ("alpha", "LoRA"),
    "lora_dropout": ("dropout", "LoRA"),
}
SHIFT_SETTINGS = {  # names of TrainSettings, and of Shift
    "shift_layers": "layers",
    "shift_towards": "towards",
    "shift_tokens": "tokens",
    "shift_scale": "scale",
}
CONTRAST_SETTINGS = {  # names of TrainSettings, and of Contrast
    "contrast_weight": "weight",
    "contrast_temperature": "temperature",
    "contrast_pairs": "pairs",
}
CONTEXT_SETTINGS = (  # say nothing where there is no demonstration
    *("demonstration_languages", "share_demonstrations", "test_sets"),
    *("demonstration_loss", "demonstration_weight", "demonstration_choice", "encoder"),
)
TRAINING_SETTINGS = (  # say nothing where nothing is trained
    *("epochs", "learning_rate", "batch_size", "max_steps", "save_every"),
    *("demonstration_loss", "demonstration_weight", "share_demonstrations"),
)


def settle_method(settings: TrainSettings, task: Task) -> Method:
    """The published method with the user's own settings in place of the task's.

    Raises:
        ConfigError: a setting was given that the method does not have.
    """
    method = method_of(settings.method, task.name, task.kind)
    _check_had(settings, method)
    in_prompt = isinstance(method.tune, ContextPrompt)
    tests = 0 if settings.test_sets == "per-item" else settings.test_sets
    context = _replaced(
        method.context,
        count=None if in_prompt else settings.demonstrations,
        languages=settings.demonstration_languages,
        share=settings.share_demonstrations,
        test_sets=tests,
        choose=settings.demonstration_choice,
        encoder=settings.encoder,
    )
    loss = _replaced(
        method.loss,
        demonstrations=settings.demonstration_loss,
        weight=settings.demonstration_weight,
    )
    if settings.demonstration_weight is not None and loss.demonstrations == "off":
        raise ConfigError(
            "demonstration weight says nothing while the demonstration loss is off; "
            "give --demonstration-loss all or last"
        )
    tune = {own: getattr(settings, name) for name, (own, _) in TUNE_SETTINGS.items()}
    tune["demonstrations"] = settings.demonstrations if in_prompt else None
    stages = tuple(
        _replaced(stage, epochs=settings.epochs, learning_rate=settings.learning_rate)
        for stage in method.stages
    )
    if settings.calibration == "contextual" and task.kind == "span":
        raise ConfigError(
            "contextual calibration compares options, and a span task has none; leave it out"
        )
    return dataclasses.replace(
        method,
        context=context,
        loss=loss,
        tune=_replaced(method.tune, **tune),
        stages=stages,
        shift=_settle_shift(settings, method),
        contrast=_settle_contrast(settings, method),
        batch_size=method.batch_size if settings.batch_size is None else settings.batch_size,
        calibration=settings.calibration or method.calibration,
    )


def _settle_shift(settings: TrainSettings, method: Method) -> Shift | None:
    """The method's shift with the user's own settings; `--shift` gives one to a method without."""
    shift = method.shift
    if settings.shift == "off":
        shift = None
    elif settings.shift is not None:
        shift = dataclasses.replace(shift or Shift(), back=settings.shift)
    if shift is None:
        lacks = "has none " + ("with --shift off" if settings.shift else "without --shift")
        _refuse(settings, SHIFT_SETTINGS, "the representation shift", lacks)
        return None
    if shift.back == "corpus":
        whose = "a shift to the demonstrations"
        _refuse(settings, ("shift_towards",), whose, "shifts by language vectors")
    given = {own: getattr(settings, name) for name, own in SHIFT_SETTINGS.items()}
    return _replaced(shift, **given)


def _settle_contrast(settings: TrainSettings, method: Method) -> Contrast | None:
    if method.contrast is None:
        _refuse(settings, CONTRAST_SETTINGS, "contrastive learning", "has none")
        return None
    given = {own: getattr(settings, name) for name, own in CONTRAST_SETTINGS.items()}
    return _replaced(method.contrast, **given)


def _check_had(settings: TrainSettings, method: Method) -> None:
    """Refuse settings that would say nothing of this method, rather than pass over them."""
    if not method.stages:
        _refuse(settings, TRAINING_SETTINGS, "training", "trains nothing")
    has = {field.name for field in dataclasses.fields(method.tune)}  # type: ignore[arg-type]
    for name, (own, whose) in TUNE_SETTINGS.items():
        if own not in has:
            _refuse(settings, (name,), whose, f"tunes {method.tune.learns}")
    if isinstance(method.tune, ContextPrompt):  # of the demonstrations, their languages count
        tunes = f"tunes {method.tune.learns}"
        _refuse(settings, CONTEXT_SETTINGS[1:], "demonstrations in context", tunes)
    elif method.context.count == 0 and not settings.demonstrations:
        lacks = "has none unless --demonstrations is given"
        _refuse(settings, CONTEXT_SETTINGS, "demonstrations in context", lacks)
    if isinstance(method.tune, FullParameters):
        _check_formats(settings, method)


def _check_formats(settings: TrainSettings, method: Method) -> None:
    """Refuse number formats in which all parameters cannot learn."""
    if settings.quantization != "none":
        raise ConfigError(
            f"method '{method.name}' tunes all parameters, which a model held in "
            f"{settings.quantization.removesuffix('bit')} bits does not allow; "
            "leave --quantization out, or take a method with a soft prompt"
        )
    if settings.dtype == "float16":  # Adam's squared gradients are nothing there, and divided by
        raise ConfigError(
            f"method '{method.name}' tunes all parameters, which float16 is too coarse for; "
            "give --dtype float32 or bfloat16"
        )


def _refuse(settings: TrainSettings, names: Iterable[str], whose: str, instead: str) -> None:
    for name in names:
        if getattr(settings, name) is not None:
            raise ConfigError(
                f"{name.replace('_', ' ')} is a setting of {whose}; "
                f"method '{settings.method}' {instead}"
            )


def _replaced(value: D, **given: Any) -> D:
    """The dataclass with the settings that were given (not None) in place of its own."""
    chosen = {name: setting for name, setting in given.items() if setting is not None}
    return dataclasses.replace(value, **chosen)  # type: ignore[type-var]
