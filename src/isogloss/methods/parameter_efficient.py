"""Methods that tune few parameters (Table 5, Fig. 6) and further baselines, with their settings."""

from __future__ import annotations

from dataclasses import replace

from isogloss.demonstrations.choose import Demonstrations
from isogloss.methods.contrast import Contrast
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method, Stage, TargetLanguage
from isogloss.methods.published import (
    CL_ICP_LEARNING_RATE,
    FULL_LEARNING_RATE,
    MTL_EPOCHS,
    cl_icp,
    epochs_of,
    preset_of,
)
from isogloss.tasks.example import Kind
from isogloss.tuning.context_prompt import ContextPrompt
from isogloss.tuning.full import FullParameters
from isogloss.tuning.lora import Lora
from isogloss.tuning.prefix import Prefix
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import Tuning

# Appendix B.2, the parameter-efficient test of Table 5: these three, on one device.
LORA_LEARNING_RATE, LORA_BATCH, LORA_EPOCHS = 2e-4, 8, 3
# Tu et al. 2022, whom the paper cites: deep prefixes of length 16, up to this learning rate.
PREFIX_LENGTH, PREFIX_LEARNING_RATE = 16, 5e-3
# Liu and Niehues 2025: LoRA at 5e-4, updates of task and contrastive loss in turn, temperature 0.1.
ALIGN_LEARNING_RATE, ALIGN_TEMPERATURE = 5e-4, 0.1
# Blau et al. 2024 by the notebook that comes with PEFT's CPT.
CPT_LEARNING_RATE, CPT_EPOCHS = 1e-4, 5
BOTH: tuple[TargetLanguage, ...] = ("dominant", "target")


def _alone(name: str, section: str, summary: str, tune: Tuning, stage: Stage) -> Method:
    """A method whose targets stand alone, without demonstrations."""
    return Method(
        name=name,
        section=section,
        summary=summary,
        stages=(stage,),
        tune=tune,
        context=Demonstrations(0, "mixed"),
        loss=AnswerLoss("off"),
    )


def mtl_prompt(task: str, kind: Kind) -> Method:
    """MTL by prompt tuning (Table 5, row PT): CL-ICP's soft prompt without demonstrations.

    Its settings are CL-ICP's; Appendix B.2 also lists longer prompts, more epochs and other rates.
    """
    preset = preset_of(task, kind)
    stage = Stage(BOTH, preset.epochs, CL_ICP_LEARNING_RATE)
    summary = "a soft prompt tuned on both languages together, without demonstrations"
    return _alone("mtl-prompt", "6.3", summary, SoftPrompt(preset.prompt_length), stage)


def prompt_tuning(task: str, kind: Kind) -> Method:
    """Plain prompt tuning (Lester et al. 2021) on D_t alone, with CL-ICP's settings."""
    preset = preset_of(task, kind)
    stage = Stage(("target",), preset.epochs, CL_ICP_LEARNING_RATE)
    summary = "a soft prompt tuned on the target language alone, without demonstrations"
    return _alone("prompt-tuning", "beyond", summary, SoftPrompt(preset.prompt_length), stage)


def prefix_tuning(task: str, kind: Kind) -> Method:
    """Prefix tuning (Li and Liang 2021) on D_t alone, for as many epochs as CL-ICP."""
    stage = Stage(("target",), preset_of(task, kind).epochs, PREFIX_LEARNING_RATE)
    summary = "keys and values before the context tuned on the target language alone"
    return _alone("prefix-tuning", "beyond", summary, Prefix(PREFIX_LENGTH), stage)


def _lora(name: str, section: str, summary: str, targets: tuple[TargetLanguage, ...]) -> Method:
    stage = Stage(targets, LORA_EPOCHS, LORA_LEARNING_RATE)
    return replace(_alone(name, section, summary, Lora(), stage), batch_size=LORA_BATCH)


def lora(task: str, kind: Kind) -> Method:
    """LoRA (Hu et al. 2022) on D_t alone, with the settings of Table 5."""
    return _lora("lora", "beyond", "low-rank updates tuned on the target language", ("target",))


def dora(task: str, kind: Kind) -> Method:
    """DoRA (Liu et al. 2024) on D_t alone, with LoRA's settings."""
    summary = "low-rank updates with magnitudes tuned on the target language"
    return replace(_lora("dora", "beyond", summary, ("target",)), tune=Lora(dora=True))


def mtl_lora(task: str, kind: Kind) -> Method:
    """MTL by LoRA (Table 5)."""
    return _lora("mtl-lora", "6.3", "low-rank updates tuned on both languages together", BOTH)


def mid_align(task: str, kind: Kind) -> Method:
    """Mid-layer alignment (Liu and Niehues 2025): MTL by LoRA, and translations drawn together.

    Every other update is of the contrastive loss alone, at the layer in the middle of the model.
    """
    summary = "MTL by LoRA, every other update drawing translations together in the middle layer"
    base = _lora("mid-align", "beyond", summary, BOTH)
    contrast = Contrast(
        weight=1.0,
        answer_weight=1.0,
        temperature=ALIGN_TEMPERATURE,
        layers="middle",
        recentre=False,
        alternate=True,
    )
    stage = replace(base.stages[0], learning_rate=ALIGN_LEARNING_RATE)
    return replace(base, stages=(stage,), contrast=contrast)


def cl_ict(task: str, kind: Kind) -> Method:
    """CL-ICT (Fig. 6): CL-ICP's episodes, all parameters tuned.

    Learning rate and epochs are not given: those of the other full-parameter rows.
    """
    base = cl_icp(task, kind)
    epochs = epochs_of(MTL_EPOCHS, task, kind)
    return replace(
        base,
        name="cl-ict",
        section="6.3",
        summary="all parameters tuned with demonstrations of both languages in context",
        stages=(Stage(("target",), epochs, FULL_LEARNING_RATE),),
        tune=FullParameters(),
    )


def cl_ict_lora(task: str, kind: Kind) -> Method:
    """CL-ICT by LoRA (Table 5): CL-ICP's episodes, low-rank updates tuned."""
    return replace(
        cl_icp(task, kind),
        name="cl-ict-lora",
        section="6.3",
        summary="low-rank updates tuned with demonstrations of both languages in context",
        stages=(Stage(("target",), LORA_EPOCHS, LORA_LEARNING_RATE),),
        tune=Lora(),
        batch_size=LORA_BATCH,
    )


def cl_ict_prompt(task: str, kind: Kind) -> Method:
    """CL-ICT by prompt tuning (Table 5, row PT), which is CL-ICP by another name."""
    summary = "CL-ICP by its name in Table 5"
    return replace(cl_icp(task, kind), name="cl-ict-prompt", section="6.3", summary=summary)


def cpt(task: str, kind: Kind) -> Method:
    """CPT (Blau et al. 2024) on D_t: not in the paper; as many demonstrations as CL-ICP has."""
    tune = ContextPrompt(preset_of(task, kind).demonstrations)
    stage = Stage(("target",), CPT_EPOCHS, CPT_LEARNING_RATE)
    summary = "context-aware prompt tuning: the vectors of one demonstration set, a little changed"
    return _alone("cpt", "beyond", summary, tune, stage)
