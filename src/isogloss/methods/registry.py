"""All methods by name, and back from a run's record to its method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isogloss.demonstrations.choose import Demonstrations
from isogloss.errors import ConfigError, no_such
from isogloss.methods.contrast import Contrast
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method, Stage
from isogloss.methods.parameter_efficient import (
    cl_ict,
    cl_ict_lora,
    cl_ict_prompt,
    cpt,
    dora,
    lora,
    mid_align,
    mtl_lora,
    mtl_prompt,
    prefix_tuning,
    prompt_tuning,
)
from isogloss.methods.published import cl_icp, cl_icp_s, direct_transfer, ft, mtl, shifcon, tl
from isogloss.methods.training_free import (
    icl_calibrated,
    icl_dominant,
    icl_mixed,
    icl_retrieved,
    icl_target,
    zero_shot,
)
from isogloss.representation_shift import Shift
from isogloss.tasks.example import Kind
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.context_prompt import ContextPrompt
from isogloss.tuning.full import FullParameters
from isogloss.tuning.lora import Lora
from isogloss.tuning.prefix import Prefix
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import Tuning
from isogloss.tuning.untuned import Untuned

METHODS: Mapping[str, Callable[[str, Kind], Method]] = {
    "zero-shot": zero_shot,
    "icl-dominant": icl_dominant,
    "icl-target": icl_target,
    "icl-mixed": icl_mixed,
    "icl-retrieved": icl_retrieved,
    "icl-calibrated": icl_calibrated,
    "direct-transfer": direct_transfer,
    "ft": ft,
    "tl": tl,
    "mtl": mtl,
    "shifcon": shifcon,
    "cl-icp": cl_icp,
    "cl-icp-s": cl_icp_s,
    "cl-ict": cl_ict,
    "cl-ict-lora": cl_ict_lora,
    "cl-ict-prompt": cl_ict_prompt,
    "mtl-prompt": mtl_prompt,
    "mtl-lora": mtl_lora,
    "mid-align": mid_align,
    "prompt-tuning": prompt_tuning,
    "prefix-tuning": prefix_tuning,
    "lora": lora,
    "dora": dora,
    "cpt": cpt,
}


def method(name: str, task: str, kind: Kind) -> Method:
    """The method of this name with its settings for a task.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise no_such("method", name, METHODS)
    return METHODS[name](task, kind)


TUNINGS: Mapping[str, type[Tuning]] = {
    "soft-prompt": SoftPrompt,
    "full": FullParameters,
    "lora": Lora,
    "prefix": Prefix,
    "context-prompt": ContextPrompt,
    "compiled": Compiled,
    "none": Untuned,
}


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
        shift, contrast = record.get("shift"), record.get("contrast")
        parts = {
            "stages": stages,
            "tune": tune,
            "context": context,
            "loss": loss,
            "shift": Shift(**shift) if shift else None,
            "contrast": Contrast(**contrast) if contrast else None,
        }
        return Method(**(dict(record) | parts))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"this version cannot read the run's method: {error}") from None
